//! Administrators and the secrets that are kept in Vault: written there, destroyed there, listed from there.
//!
//! *Takes* an administrator, and a path that Vault keeps.
//! *Guarantees* that no value comes into the broker's own store, and that a change is in the audit log before the answer.
//! *Does not check* what happens in Vault without the broker: Vault's own audit log says that. A crash between the change
//! and the entry leaves the change in that one only.

use super::admin::{Change, VERSION, empty};
use super::gate::Admin;
use super::refusal::Refusal;
use super::{Answer, Call, json};
use crate::app::App;
use crate::path::ResourcePath;
use crate::store::audit::Kind;
use crate::vault::{Keeper, KeptInVault, KvVersion};
use axum::http::{HeaderValue, StatusCode};
use claims::{Code, Secret};
use serde_json::{Value, json as object};
use std::sync::Arc;

/// Largest value, as in the broker's own store.
const MAX_VALUE: usize = 1 << 20;

pub(super) async fn put(app: Arc<App>, admin: Admin, call: Call, path: ResourcePath, value: Secret<Vec<u8>>) -> Answer {
    if value.expose(Vec::len) > MAX_VALUE {
        return Err(Refusal::of(Code::TooLarge, "a secret has at most 1 MiB"));
    }
    let (keeper, kept) = place(&app, &path)?;
    let object = path.clone();
    let version = keeper.ask(move |vault| vault.write(&kept, &object, &value)).await?;
    note(&app, &admin, &call, "put secret in Vault", path, version, true).await?;
    app.metrics.resource_writes.add();
    let mut answer = empty();
    if let Some(version) = version {
        answer.headers_mut().insert(VERSION, HeaderValue::from(version));
    }
    Ok(answer)
}

pub(super) async fn delete(
    app: Arc<App>,
    admin: Admin,
    call: Call,
    path: ResourcePath,
    version: Option<u64>,
) -> Answer {
    let (keeper, kept) = place(&app, &path)?;
    let object = path.clone();
    let changed = keeper.ask(move |vault| vault.destroy(&kept, &object, version)).await?;
    note(&app, &admin, &call, "delete secret in Vault", path, version, changed).await?;
    if !changed {
        return Err(Refusal::of(Code::Absent, "there is no such secret"));
    }
    app.metrics.resource_deletes.add();
    Ok(empty())
}

/// The versions of one path; KV version 1 has one without a number.
pub(super) async fn versions(app: &App, path: ResourcePath) -> Answer {
    let (keeper, kept) = place(app, &path)?;
    let (name, mount) = (path.to_string(), kept.mount.clone());
    let versions = keeper
        .ask(move |vault| match kept.version {
            KvVersion::One => {
                Ok(vault.exists(&kept, &path)?.then(|| object!([{"version": null, "added": null, "deleted": null}])))
            }
            KvVersion::Two => Ok(vault.versions(&kept, &path)?.map(|list| object!(list))),
        })
        .await?;
    let versions = versions.ok_or_else(|| Refusal::of(Code::Absent, "there is no such secret"))?;
    json(StatusCode::OK, &object!({"path": name, "kept_in": format!("vault, mount {mount}"), "versions": versions}))
}

/// What is kept elsewhere, for the list of resources: Vault is not searched.
pub(super) fn elsewhere(app: &App) -> Vec<Value> {
    let one = |kept: &KeptInVault| object!({"prefix": kept.prefix, "kept_in": "vault", "mount": kept.mount, "version": u8::from(kept.version)});
    app.keeper.iter().flat_map(|keeper| keeper.kept()).map(one).collect()
}

fn place(app: &App, path: &ResourcePath) -> Result<(Arc<Keeper>, KeptInVault), Refusal> {
    let keeper = app.keeper.clone().ok_or_else(|| Refusal::of(Code::Absent, "nothing is kept in Vault"))?;
    let kept = keeper.keeps(path).cloned().ok_or_else(|| Refusal::of(Code::Absent, "this is not kept in Vault"))?;
    Ok((keeper, kept))
}

async fn note(
    app: &App,
    admin: &Admin,
    call: &Call,
    action: &'static str,
    path: ResourcePath,
    version: Option<u64>,
    changed: bool,
) -> Result<(), Refusal> {
    let (log, now, admin, peer) = (Arc::clone(&app.store.audit), app.clock.now(), admin.clone(), call.peer.to_string());
    let write = app.store.write(move |connection| {
        let facts = Change { admin: admin.name(), peer, action, object: path.as_str(), version, changed };
        log.append(connection, now, Kind::Admin, "", &facts)
    });
    write.await?;
    Ok(())
}
