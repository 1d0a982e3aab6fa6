//! `/confide/v0/`: what the command line asks of a broker.

use super::admin::Change;
use super::gate::{Admin, Scope};
use super::protocol::strict;
use super::refusal::Refusal;
use super::{Answer, Call, Table, json};
use crate::app::App;
use crate::ledger::Stored as Row;
use crate::path::ResourcePath;
use crate::policy::Mode;
use crate::store::audit::{self, Kind};
use crate::store::{rules, secrets};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use claims::reference::Reference;
use claims::site::{self, Site};
use claims::{Code, Digest256};
use serde_json::{Value, json as object};
use std::sync::Arc;

/// Entries in one answer, at most.
const PAGE: u32 = 500;
/// Resources and measurements that one rule may name.
const MAX_LIST: usize = 256;

pub(crate) fn register(table: Table) -> Table {
    table
        .guarded(Scope::Look, "GET", "/confide/v0/status", status)
        .guarded(Scope::Change, "POST", "/confide/v0/references", add_reference)
        .guarded(Scope::Look, "GET", "/confide/v0/references", list_references)
        .guarded(Scope::Look, "GET", "/confide/v0/references/{id}", show_reference)
        .guarded(Scope::Change, "DELETE", "/confide/v0/references/{id}", remove_reference)
        .guarded(Scope::Change, "POST", "/confide/v0/sites", add_site)
        .guarded(Scope::Look, "GET", "/confide/v0/resources", list_resources)
        .guarded(Scope::Look, "GET", "/confide/v0/resources/{*path}", list_versions)
        .guarded(Scope::Look, "GET", "/confide/v0/decisions", list_decisions)
        .guarded(Scope::Look, "GET", "/confide/v0/decisions/{id}", show_decision)
}

pub(crate) async fn healthz(_: Arc<App>, _: Call) -> Answer {
    Ok(Response::new(Body::empty()))
}

pub(crate) async fn metrics(app: Arc<App>, _: Call) -> Answer {
    let mut response = Response::new(Body::from(app.metrics.text(app.started)));
    let text = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    Ok(response)
}

/// The public keys of tokens, for relying parties.
pub(crate) async fn key_set(app: Arc<App>, _: Call) -> Answer {
    json(StatusCode::OK, &app.tokens.key_set(app.clock.now()))
}

async fn status(app: Arc<App>, _: Admin, _: Call) -> Answer {
    let log = Arc::clone(&app.store.audit);
    let (rules, secrets, head) = app
        .store
        .read(move |connection| {
            Ok((rules::all(connection)?.len(), secrets::list(connection)?.len(), log.reader().head(connection)?))
        })
        .await?;
    let counters: serde_json::Map<String, Value> =
        app.metrics.values().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let mut status = object!({
        "version": env!("CARGO_PKG_VERSION"),
        "development": app.mode == Mode::Development,
        "identity": app.identity,
        "started": app.started.0,
        "time": app.clock.now().0,
        "protocols": ["0.4.0", "0.2.0"],
        "references": rules,
        "resources": secrets,
        "audit": {"sequence": head.size, "head": head.root},
        "counters": counters,
    });
    if let Some(keeper) = &app.keeper {
        status["vault"] = keeper.problem().unwrap_or("answers").into();
    }
    json(StatusCode::OK, &status)
}

async fn add_reference(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let wrong = |words| Refusal::of(Code::Format, words);
    let document: Value = strict(&call.body)?;
    let reference = Reference::parse(&call.body).map_err(|_| wrong("the body is not a reference.json"))?;
    if reference.substrate != "cvm" {
        return Err(Refusal::of(Code::TeeUnsupported, "rules of this substrate are not evaluated here"));
    }
    let lists = [reference.launch_measurements.len(), reference.resources.len()];
    if lists.iter().any(|length| *length == 0 || *length > MAX_LIST) {
        return Err(wrong("a rule names 1 to 256 measurements and 1 to 256 resources"));
    }
    if reference.resources.iter().any(|resource| ResourcePath::parse(resource).is_err()) {
        return Err(Refusal::of(Code::Path, "a resource of the rule is not REPOSITORY/TYPE/TAG"));
    }
    let text = claims::json::canonical(&document).map_err(|_| wrong("the body has no canonical form"))?;
    let id = Digest256::of(&text);
    let text = String::from_utf8(text).map_err(|_| wrong("the body is not UTF-8"))?;
    let (log, now) = (Arc::clone(&app.store.audit), app.clock.now());
    let added = app
        .store
        .write(move |connection| {
            let added = rules::add(connection, &id, &reference, &text, now)?;
            let object = id.to_string();
            let facts = change(&admin, &call, "add reference", &object, added);
            log.append(connection, now, Kind::Admin, "", &facts)?;
            Ok(added)
        })
        .await?;
    let status = if added { StatusCode::CREATED } else { StatusCode::OK };
    json(status, &object!({"id": id, "added": added}))
}

async fn list_references(app: Arc<App>, _: Admin, _: Call) -> Answer {
    let rules = app.store.read(rules::all).await?;
    let list: Vec<Value> = rules.iter().map(summary).collect();
    json(StatusCode::OK, &object!({"references": list}))
}

async fn show_reference(app: Arc<App>, _: Admin, call: Call) -> Answer {
    let id = reference_id(&call)?;
    let rules = app.store.read(rules::all).await?;
    let rule = rules.into_iter().find(|rule| rule.id == id).ok_or_else(no_reference)?;
    let mut value = summary(&rule);
    if let (Some(members), Ok(reference)) = (value.as_object_mut(), serde_json::to_value(&rule.reference)) {
        members.insert("reference".into(), reference);
    }
    json(StatusCode::OK, &value)
}

async fn remove_reference(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let id = reference_id(&call)?;
    let (log, now) = (Arc::clone(&app.store.audit), app.clock.now());
    let removed = app
        .store
        .write(move |connection| {
            let removed = rules::remove(connection, &id)?;
            let object = id.to_string();
            log.append(connection, now, Kind::Admin, "", &change(&admin, &call, "remove reference", &object, removed))?;
            Ok(removed)
        })
        .await?;
    if removed { json(StatusCode::OK, &object!({"id": id, "removed": true})) } else { Err(no_reference()) }
}

/// The text of a `site.json`, kept under its digest: refusals then say which setting differs.
async fn add_site(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let wrong = || Refusal::of(Code::Format, "the body is not a site.json");
    Site::parse(&call.body).map_err(|_| wrong())?;
    let text = String::from_utf8(call.body.to_vec()).map_err(|_| wrong())?;
    let host_data = site::host_data(&call.body);
    let (log, now) = (Arc::clone(&app.store.audit), app.clock.now());
    app.store
        .write(move |connection| {
            rules::keep_site(connection, &host_data, &text)?;
            let object = host_data.to_string();
            log.append(connection, now, Kind::Admin, "", &change(&admin, &call, "add site", &object, true))
        })
        .await?;
    json(StatusCode::OK, &object!({"host_data": host_data}))
}

async fn list_resources(app: Arc<App>, _: Admin, _: Call) -> Answer {
    let list = app.store.read(secrets::list).await?;
    let elsewhere = super::kept::elsewhere(&app);
    match elsewhere.is_empty() {
        true => json(StatusCode::OK, &object!({"resources": list})),
        false => json(StatusCode::OK, &object!({"resources": list, "elsewhere": elsewhere})),
    }
}

async fn list_versions(app: Arc<App>, _: Admin, call: Call) -> Answer {
    let path =
        ResourcePath::parse(&call.rest).map_err(|code| Refusal::of(code, "a resource path is REPOSITORY/TYPE/TAG"))?;
    if app.keeper.as_ref().is_some_and(|keeper| keeper.keeps(&path).is_some()) {
        return super::kept::versions(&app, path).await;
    }
    let name = path.to_string();
    let versions = app.store.read(move |connection| secrets::versions(connection, &path)).await?;
    if versions.is_empty() {
        return Err(Refusal::of(Code::Absent, "there is no such secret"));
    }
    json(StatusCode::OK, &object!({"path": name, "versions": versions}))
}

async fn list_decisions(app: Arc<App>, _: Admin, call: Call) -> Answer {
    let before = number(&call.query, "before")?.unwrap_or(i64::MAX as u64);
    let limit = limit(&call.query)?;
    let rows = app.store.read(move |connection| audit::decisions(connection, before, limit)).await?;
    let list: Vec<Value> = rows.iter().map(decision_summary).collect();
    json(StatusCode::OK, &object!({"decisions": list}))
}

async fn show_decision(app: Arc<App>, _: Admin, call: Call) -> Answer {
    let id = call.rest.clone();
    let row = app.store.read(move |connection| audit::decision(connection, &id)).await?;
    let row = row.ok_or_else(|| Refusal::of(Code::Absent, "there is no such decision"))?;
    json(StatusCode::OK, &body(&row))
}

fn summary(rule: &rules::Rule) -> Value {
    let reference = &rule.reference;
    object!({"id": rule.id, "added": rule.added, "name": reference.name, "site": reference.site,
        "host_data": reference.host_data, "resources": reference.resources, "chips": reference.chips,
        "lease": reference.lease, "first_use_chip": rule.chip})
}

fn decision_summary(row: &Row) -> Value {
    let body = body(row);
    let members = ["sequence", "decision", "time", "kind", "code", "rule", "resource", "session", "peer", "concurrent"];
    let kept: serde_json::Map<String, Value> =
        members.iter().filter_map(|name| Some(((*name).to_owned(), body.get(name)?.clone()))).collect();
    Value::Object(kept)
}

fn body(row: &Row) -> Value {
    serde_json::from_str(&row.body).unwrap_or_default()
}

fn change<'a>(admin: &'a Admin, call: &Call, action: &'static str, object: &'a str, changed: bool) -> Change<'a> {
    Change { admin: admin.name(), peer: call.peer.to_string(), action, object, version: None, changed }
}

fn reference_id(call: &Call) -> Result<Digest256, Refusal> {
    call.rest.parse().map_err(|_| Refusal::of(Code::Format, "a reference's id is 64 hex digits"))
}

fn no_reference() -> Refusal {
    Refusal::of(Code::Absent, "there is no such reference")
}

/// A number in the query; anything else under that name is refused.
pub(super) fn number(query: &str, name: &str) -> Result<Option<u64>, Refusal> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let parsed = value.map(|text| text.parse::<u64>().ok().filter(|number| *number <= i64::MAX as u64));
    match parsed {
        Some(None) => Err(Refusal::of(Code::Format, "a number in the query is malformed")),
        other => Ok(other.flatten()),
    }
}

pub(super) fn limit(query: &str) -> Result<u32, Refusal> {
    let limit = number(query, "limit")?.unwrap_or(100);
    Ok(u32::try_from(limit).unwrap_or(PAGE).clamp(1, PAGE))
}
