//! `GET /openapi.json`: the routes as an OpenAPI document, made of the table that serves them.

use super::{Access, Route};
use serde_json::{Map, Value, json};

/// The document (OpenAPI 3.0.3).
pub(crate) fn document(routes: &[Route]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let path = route.path.replace("{*", "{");
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
            "description": "KBS protocol 0.4.0 and 0.2.0 for guests, release rules and audit log for administrators. A \
                resource path is three segments, REPOSITORY/TYPE/TAG, with plain slashes.",
        },
        "paths": paths,
        "components": {
            "schemas": {"ErrorInformation": {
                "type": "object", "required": ["type", "detail"],
                "properties": {"type": {"type": "string"}, "detail": {"type": "string"}},
            }},
            "securitySchemes": {
                "admin": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "EdDSA, signed with the admin key, valid for two hours at most; role admin or auditor"},
                "session": {"type": "apiKey", "in": "cookie", "name": "kbs-session-id"},
                "attestation": {"type": "http", "scheme": "bearer", "bearerFormat": "EAR"},
            },
        },
    })
}

fn operation(route: &Route, path: &str) -> Value {
    let name = |word: &str| word.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    let id: Vec<String> = path.split('/').map(name).filter(|word| !word.is_empty()).collect();
    let parameters: Vec<Value> = path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    let (summary, security) = match route.access {
        Access::Public => ("Anybody", json!([])),
        Access::Guest => ("Guests with an attested session", json!([{"session": []}, {"attestation": []}])),
        Access::Auditor => ("Administrators and auditors", json!([{"admin": []}])),
        Access::Administrator => ("Administrators", json!([{"admin": []}])),
    };
    let refusal = json!({
        "description": "Refused; the detail begins with a stable code",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorInformation"}}},
    });
    let mut operation = json!({
        "operationId": format!("{}_{}", route.method.to_lowercase(), id.join("_")),
        "summary": summary,
        "parameters": parameters,
        "security": security,
        "responses": {"2XX": {"description": "Done"}, "4XX": refusal, "5XX": refusal},
    });
    if matches!(route.method, "POST" | "PUT")
        && let Some(members) = operation.as_object_mut()
    {
        let any = json!({"content": {"application/json": {"schema": {}}, "application/octet-stream": {"schema": {}}}});
        members.insert("requestBody".into(), any);
    }
    operation
}
