//! Reference values: added, listed, removed and revoked one by one, or set as upstream's tools set them.

use super::admin::written;
use super::gate::{Admin, Scope};
use super::protocol::strict;
use super::refusal::Refusal;
use super::{Answer, Call, Table, json};
use crate::app::App;
use crate::intake;
use crate::store::db::Connection;
use crate::store::references::{self, Entry};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::{Code, Digest256, UnixTime};
use serde::Deserialize;
use serde_json::{Map, Value, json as object};
use std::sync::Arc;

/// Version of upstream's message.
const MESSAGE: &str = "0.1.0";
/// Most names in one message, and most values of one name.
const MAX_LIST: usize = 1024;

pub(crate) fn register(table: Table) -> Table {
    table
        .guarded(Scope::Change, "POST", "/kbs/v0/reference-value", message)
        .guarded(Scope::Look, "GET", "/kbs/v0/reference-value", everything)
        .guarded(Scope::Look, "GET", "/kbs/v0/reference-value/{*id}", one)
        .guarded(Scope::Change, "POST", "/confide/v0/reference-values", add)
        .guarded(Scope::Look, "GET", "/confide/v0/reference-values", list)
        .guarded(Scope::Change, "DELETE", "/confide/v0/reference-values/{id}", remove)
        .guarded(Scope::Change, "POST", "/confide/v0/reference-values/{id}", end)
}

/// One value to add.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Addition {
    name: String,
    value: Value,
    /// Seconds since 1970.
    #[serde(default)]
    expires: Option<u64>,
    #[serde(default)]
    single: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending {
    /// Revokes it.
    #[serde(default)]
    reason: Option<String>,
    /// Gives it this end, seconds since 1970; 0 is now.
    #[serde(default)]
    expires: Option<u64>,
}

/// Upstream's message to its reference value service.
#[derive(Deserialize)]
struct Message {
    version: String,
    #[serde(rename = "type")]
    kind: String,
    payload: String,
}

async fn add(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let Addition { name, value, expires, single } = strict(&call.body)?;
    let now = app.clock.now();
    if expires.is_some_and(|end| end <= now.0) {
        return Err(Refusal::of(Code::Format, "`expires` is in the past"));
    }
    let entry = entry(&name, value, single, now.0, expires)?;
    let id = entry.id;
    let object = format!("{name}, {id}");
    let added = written(&app, &admin, &call, "add reference value", object, move |connection| {
        references::add(connection, &entry)
    })
    .await?;
    json(if added { StatusCode::CREATED } else { StatusCode::OK }, &object!({"id": id, "added": added}))
}

async fn list(app: Arc<App>, _: Admin, _: Call) -> Answer {
    let entries = app.store.read(references::all).await?;
    json(StatusCode::OK, &object!({"values": entries}))
}

async fn remove(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let id = id(&call)?;
    let work = move |connection: &Connection| references::remove(connection, &id);
    match written(&app, &admin, &call, "remove reference value", id.to_string(), work).await? {
        true => json(StatusCode::OK, &object!({"id": id, "removed": true})),
        false => Err(absent()),
    }
}

/// Revokes a value, or gives it an end.
async fn end(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let (id, Ending { reason, expires }) = (id(&call)?, strict(&call.body)?);
    let now = app.clock.now();
    let reason = match (reason, expires) {
        (Some(reason), None) => reason,
        (None, Some(expires)) => {
            let end = expires.max(now.0);
            let work = move |connection: &Connection| references::expire(connection, &id, end);
            let object = format!("{id}, {end}");
            return match written(&app, &admin, &call, "end reference value", object, work).await? {
                true => json(StatusCode::OK, &object!({"id": id, "expires": end})),
                false => Err(absent()),
            };
        }
        _ => return Err(Refusal::of(Code::Format, "either `reason` or `expires` is wanted")),
    };
    if reason.trim().is_empty() || reason.len() > 1024 {
        return Err(Refusal::of(Code::Format, "a revocation has a reason of 1 to 1024 bytes"));
    }
    let object = format!("{id}: {reason}");
    let work = move |connection: &Connection| references::revoke(connection, &id, &reason, now);
    match written(&app, &admin, &call, "revoke reference value", object, work).await? {
        true => json(StatusCode::OK, &object!({"id": id, "revoked": true})),
        false => Err(absent()),
    }
}

/// Upstream's form: each name's values are replaced by those of the message.
async fn message(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let wrong = |words| Refusal::of(Code::Format, words);
    let sent: Message = strict(&call.body)?;
    if sent.version != MESSAGE {
        return Err(wrong("the message's version is not 0.1.0"));
    }
    if sent.kind != "sample" {
        return Err(Refusal::of(Code::Unsupported, "only messages of type sample are taken"));
    }
    let payload = STANDARD.decode(&sent.payload).map_err(|_| wrong("`payload` is not base64"))?;
    let values: Map<String, Value> = strict(&payload)?;
    if values.len() > MAX_LIST {
        return Err(wrong("a message names at most 1024 reference values"));
    }
    let now = app.clock.now();
    let mut entries = Vec::new();
    for (name, value) in &values {
        let (list, single) = match value {
            // A name without values reads like one that nobody ever set, and an optional comparison would lapse.
            Value::Array(list) if list.is_empty() => {
                return Err(wrong("a name has no values; revoke those that are there instead"));
            }
            Value::Array(list) if list.len() <= MAX_LIST => (list.clone(), false),
            Value::Array(_) => return Err(wrong("a name has at most 1024 values")),
            value => (vec![value.clone()], true),
        };
        for value in list {
            entries.push(entry(name, value, single, now.0, None)?);
        }
    }
    let names: Vec<String> = values.into_iter().map(|(name, _)| name).collect();
    let object = names.join(", ").chars().take(512).collect();
    written(&app, &admin, &call, "set reference values", object, move |connection| {
        names.iter().try_for_each(|name| references::clear(connection, name))?;
        entries.iter().try_for_each(|entry| references::add(connection, entry).map(drop))?;
        Ok(true)
    })
    .await?;
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn everything(app: Arc<App>, _: Admin, _: Call) -> Answer {
    let snapshot = app.policies.now(&app.store, app.clock.now()).await?;
    json(StatusCode::OK, &*snapshot.references)
}

async fn one(app: Arc<App>, _: Admin, call: Call) -> Answer {
    let snapshot = app.policies.now(&app.store, app.clock.now()).await?;
    // A name may hold anything, as `rvps:///…:v1`, and clients escape it; nothing is released by it.
    let name = percent_encoding::percent_decode_str(&call.rest).decode_utf8();
    let name = name.map_err(|_| Refusal::of(Code::Format, "a reference value's name is UTF-8"))?;
    json(StatusCode::OK, snapshot.references.get(name.as_ref()).ok_or_else(absent)?)
}

fn entry(name: &str, value: Value, single: bool, added: u64, expires: Option<u64>) -> Result<Entry, Refusal> {
    intake::entry(name, value, single, UnixTime(added), expires).map_err(|words| Refusal::of(Code::Format, words))
}

fn id(call: &Call) -> Result<Digest256, Refusal> {
    call.rest.parse().map_err(|_| Refusal::of(Code::Format, "a reference value's id is 64 hex digits"))
}

fn absent() -> Refusal {
    Refusal::of(Code::Absent, "there is no such reference value")
}
