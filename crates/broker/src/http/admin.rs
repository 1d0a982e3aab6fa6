//! Administrators' part of the KBS protocol: secrets in and out of the store.

use super::confide::number;
use super::gate::{Admin, Scope};
use super::refusal::Refusal;
use super::{Answer, Call, Table};
use crate::app::App;
use crate::path::ResourcePath;
use crate::store::audit::Kind;
use crate::store::db::Connection;
use crate::store::{StoreError, secrets};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use claims::{Code, Secret};
use serde::Serialize;
use std::sync::Arc;

pub(crate) fn register(table: Table) -> Table {
    table.guarded(Scope::Change, "POST", "/kbs/v0/resource/{*path}", put).guarded(
        Scope::Change,
        "DELETE",
        "/kbs/v0/resource/{*path}",
        delete,
    )
}

/// Header of an answer that names the version stored.
pub(super) const VERSION: &str = "confide-version";

/// The audit entry of an administrator's change.
#[derive(Serialize)]
pub(super) struct Change<'a> {
    pub(super) admin: &'a str,
    pub(super) peer: String,
    pub(super) action: &'static str,
    pub(super) object: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u64>,
    pub(super) changed: bool,
}

/// Changes the store, writes that down, and puts it into force.
pub(super) async fn written(
    app: &Arc<App>,
    admin: &Admin,
    call: &Call,
    action: &'static str,
    object: String,
    work: impl FnOnce(&Connection) -> Result<bool, StoreError> + Send + 'static,
) -> Result<bool, Refusal> {
    let (log, now) = (Arc::clone(&app.store.audit), app.clock.now());
    let (name, peer) = (admin.name().to_owned(), call.peer.to_string());
    let changed = app
        .store
        .write(move |connection| {
            let changed = work(connection)?;
            let facts = Change { admin: &name, peer, action, object: &object, version: None, changed };
            log.append(connection, now, Kind::Admin, "", &facts)?;
            Ok(changed)
        })
        .await?;
    app.policies.reload(&app.store, now).await?;
    Ok(changed)
}

async fn put(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let path = path(&call)?;
    if call.body.is_empty() {
        return Err(Refusal::of(Code::Format, "an empty secret is a mistake"));
    }
    let value = Secret::new(call.body.to_vec());
    if app.keeper.as_ref().is_some_and(|keeper| keeper.keeps(&path).is_some()) {
        return super::kept::put(app, admin, call, path, value).await;
    }
    let (log, vault, now) = (Arc::clone(&app.store.audit), Arc::clone(&app.store.vault), app.clock.now());
    let version = app
        .store
        .write(move |connection| {
            let version = secrets::put(connection, &vault, &path, &value, now)?;
            let facts = Change {
                admin: admin.name(),
                peer: call.peer.to_string(),
                action: "put secret",
                object: path.as_str(),
                version: Some(version),
                changed: true,
            };
            log.append(connection, now, Kind::Admin, "", &facts)?;
            Ok(version)
        })
        .await?;
    app.metrics.resource_writes.add();
    let mut answer = empty();
    answer.headers_mut().insert(VERSION, HeaderValue::from(version));
    Ok(answer)
}

async fn delete(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let path = path(&call)?;
    let version = number(&call.query, "version")?;
    if app.keeper.as_ref().is_some_and(|keeper| keeper.keeps(&path).is_some()) {
        return super::kept::delete(app, admin, call, path, version).await;
    }
    let (log, now) = (Arc::clone(&app.store.audit), app.clock.now());
    let changed = app
        .store
        .write(move |connection| {
            let changed = secrets::delete(connection, &path, version, now)? > 0;
            let facts = Change {
                admin: admin.name(),
                peer: call.peer.to_string(),
                action: "delete secret",
                object: path.as_str(),
                version,
                changed,
            };
            log.append(connection, now, Kind::Admin, "", &facts)?;
            Ok(changed)
        })
        .await?;
    if !changed {
        return Err(Refusal::of(Code::Absent, "there is no such secret"));
    }
    app.metrics.resource_deletes.add();
    Ok(empty())
}

fn path(call: &Call) -> Result<ResourcePath, Refusal> {
    ResourcePath::parse(&call.rest).map_err(|code| Refusal::of(code, "a resource path is REPOSITORY/TYPE/TAG"))
}

/// What upstream answers to a change: an empty body of this type.
pub(super) fn empty() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}
