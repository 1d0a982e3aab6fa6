//! `GET /openapi.json`: the routes as an OpenAPI document, made of the table that serves them.

mod details;
mod schemas;

use super::{Access, Route};
use details::{Content, Details, Reply};
use serde_json::{Map, Value, json};

/// The document (OpenAPI 3.0.3).
pub(crate) fn document(routes: &[Route]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let path = described(route.path);
        let entry = paths.entry(path.clone()).or_insert_with(|| json!({}));
        if let Some(methods) = entry.as_object_mut() {
            methods.insert(route.method.to_lowercase(), operation(route, &path));
        }
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Confide key broker",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "KBS protocol 0.4.0 and 0.2.0 for guests, release rules and audit log for administrators.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "admin": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "EdDSA, signed with the admin key, valid for two hours at most; role admin or auditor"},
                "session": {"type": "apiKey", "in": "cookie", "name": "kbs-session-id"},
                "attestation": {"type": "http", "scheme": "bearer", "bearerFormat": "EAR"},
            },
        },
    })
}

/// A route's path as the document has it: what stands for several segments is spelt out.
pub(super) fn described(path: &str) -> String {
    path.replace("{*path}", "{repository}/{type}/{tag}").replace("{*", "{")
}

fn operation(route: &Route, path: &str) -> Value {
    let name = |word: &str| word.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    let id: Vec<String> = path.split('/').map(name).filter(|word| !word.is_empty()).collect();
    let Details { summary, query, body, answers } = details::of(route.method, route.path);
    let in_path = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let number = json!({"type": "integer", "minimum": 0, "maximum": i64::MAX});
    let parameters: Vec<Value> = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": segment(path, name)}))
        .chain(query.iter().map(|name| json!({"name": name, "in": "query", "required": false, "schema": number})))
        .collect();
    let (who, security) = match route.access {
        Access::Public => ("Anybody", json!([])),
        Access::Guest => ("Guests with an attested session", json!([{"session": []}, {"attestation": []}])),
        Access::Auditor => ("Administrators and auditors", json!([{"admin": []}])),
        Access::Administrator => ("Administrators", json!([{"admin": []}])),
    };
    let mut responses: Map<String, Value> = answers.iter().map(response).collect();
    let refusal = json!({
        "description": "Refused; the detail begins with a stable code",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorInformation"}}},
    });
    responses.insert("4XX".into(), refusal.clone());
    responses.insert("5XX".into(), refusal);
    let mut operation = json!({
        "operationId": format!("{}_{}", route.method.to_lowercase(), id.join("_")),
        "summary": summary,
        "description": format!("For: {who}."),
        "parameters": parameters,
        "security": security,
        "responses": responses,
    });
    let body = body.or((matches!(route.method, "POST" | "PUT")).then_some(("application/json", None)));
    if let (Some((kind, schema)), Some(members)) = (body, operation.as_object_mut()) {
        let schema = match schema {
            Some(name) => json!({"$ref": format!("#/components/schemas/{name}")}),
            None if kind == "application/json" => json!({}),
            None => json!({"type": "string", "format": "binary", "minLength": 1}),
        };
        let content = Map::from_iter([(kind.to_owned(), json!({"schema": schema}))]);
        members.insert("requestBody".into(), json!({"required": true, "content": content}));
    }
    operation
}

/// What may stand in a place of a path.
fn segment(path: &str, name: &str) -> Value {
    let names = |most: u32| {
        json!({"type": "string", "minLength": 1, "maxLength": most,
        "pattern": "^[a-zA-Z0-9_-][a-zA-Z0-9_.-]*$"})
    };
    match name {
        "repository" | "type" | "tag" => names(128),
        _ if path.contains("/policies/confide/") => json!({"type": "string", "pattern": "^[a-z0-9-]+$"}),
        _ if path.contains("/policies/") => names(128),
        _ if path.contains("/kbs/v0/") => json!({"type": "string", "minLength": 1}),
        _ if path.contains("/references/") || path.contains("/reference-values/") => {
            json!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
        }
        _ => json!({"type": "string", "minLength": 1}),
    }
}

fn response(reply: &Reply) -> (String, Value) {
    let mut response = json!({"description": "Done"});
    if let Some(members) = response.as_object_mut() {
        let content = match reply.content {
            Content::Empty => None,
            Content::Json(name) => Some(("application/json", json!({"$ref": format!("#/components/schemas/{name}")}))),
            Content::Text => Some(("text/plain", json!({"type": "string"}))),
        };
        if let Some((kind, schema)) = content {
            let content = Map::from_iter([(kind.to_owned(), json!({"schema": schema}))]);
            members.insert("content".into(), content.into());
        }
        let header = |name: &&str| ((*name).to_owned(), json!({"required": true, "schema": {"type": "string"}}));
        if !reply.headers.is_empty() {
            members.insert("headers".into(), reply.headers.iter().map(header).collect::<Map<_, _>>().into());
        }
    }
    // A route that nobody described.
    let status = if reply.status == 0 { "2XX".to_owned() } else { reply.status.to_string() };
    (status, response)
}
