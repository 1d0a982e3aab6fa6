//! Reference values out of documents, and the keys that are pinned to sign them.

use super::admin::{Change, written};
use super::gate::{Admin, Scope};
use super::protocol::strict;
use super::refusal::Refusal;
use super::{Answer, Call, Table, json};
use crate::app::App;
use crate::intake::signer::{Key, Signer};
use crate::intake::{self, Intake, IntakeError, Sent};
use crate::store::audit::Kind;
use crate::store::db::Connection;
use crate::store::signers::{Advance, Pinned};
use crate::store::{StoreError, references, signers};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::{Code, Digest256};
use serde::Deserialize;
use serde_json::{Value, json as object};
use std::sync::Arc;

/// Most keys that may be pinned.
const MAX_SIGNERS: usize = 32;

pub(crate) fn register(table: Table) -> Table {
    table
        .guarded(Scope::Change, "POST", "/confide/v0/reference-imports", import)
        .guarded(Scope::Look, "GET", "/confide/v0/reference-signers", list)
        .guarded(Scope::Change, "POST", "/confide/v0/reference-signers", trust)
        .guarded(Scope::Change, "DELETE", "/confide/v0/reference-signers/{id}", distrust)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// Base64 of the document's bytes.
    document: String,
    /// A detached JWS.
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    name: Option<String>,
    /// Check only.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSigner {
    name: String,
    /// PEM.
    public_key: String,
}

async fn import(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let Document { document, signature, name, dry_run } = strict(&call.body)?;
    let document = STANDARD.decode(&document).map_err(|_| Refusal::of(Code::Format, "`document` is not base64"))?;
    let pinned = app.store.read(signers::all).await?;
    let (now, appraiser) = (app.clock.now(), Arc::clone(&app.appraiser));
    let reading = move || {
        let signers: Vec<Signer> = pinned.iter().filter_map(signer).collect();
        let sent = Sent { document: &document, signature: signature.as_deref(), name: name.as_deref() };
        intake::read(&sent, &signers, now, |bytes| appraiser.verify_rim(bytes, now))
    };
    let intake = tokio::task::spawn_blocking(reading).await.map_err(|_| Refusal::of(Code::Busy, "try again later"))?;
    let intake = intake.map_err(|error| refused(&error))?;
    let mut answer = object!({"format": intake.format, "signed_by": intake.signed_by, "serial": intake.serial,
        "notes": intake.notes, "values": intake.values.len(), "revoked": intake.revoked.len()});
    let names = intake.values.iter().map(|entry| object!({"name": entry.name, "id": entry.id})).collect();
    let mut add = |name: &str, value: Value| answer.as_object_mut().map(|members| members.insert(name.into(), value));
    add("names", names);
    if dry_run {
        return json(StatusCode::OK, &answer);
    }
    let (log, peer, admin) = (Arc::clone(&app.store.audit), call.peer.to_string(), admin.name().to_owned());
    let outcome = app
        .store
        .write(move |connection| {
            let added = match taken(connection, &intake, now)? {
                Ok(added) => added,
                Err(error) => return Ok(Err(error)),
            };
            let signed = intake.signed_by.as_deref().unwrap_or("nobody");
            let count = intake.values.len();
            let object = format!("{} {}, signed by {signed}, {count} values", intake.format, intake.digest);
            let (action, version) = ("import reference values", intake.serial);
            let changed = added > 0 || !intake.revoked.is_empty();
            let facts = Change { admin: &admin, peer, action, object: &object, version, changed };
            log.append(connection, now, Kind::Admin, "", &facts)?;
            Ok(Ok(added))
        })
        .await?;
    app.policies.reload(&app.store, now).await?;
    add("added", outcome.map_err(|error| refused(&error))?.into());
    json(StatusCode::OK, &answer)
}

/// Puts everything into the store, or nothing; how many values are new.
fn taken(
    connection: &Connection,
    intake: &Intake,
    now: claims::UnixTime,
) -> Result<Result<usize, IntakeError>, StoreError> {
    if let (Some(name), Some(serial)) = (&intake.signed_by, intake.serial) {
        match signers::advance(connection, name, serial, &intake.digest)? {
            Advance::Newer | Advance::Same => {}
            Advance::Older { last } => return Ok(Err(IntakeError::Rollback { got: serial, last })),
            Advance::Gone => return Ok(Err(IntakeError::Signer { pinned: "it is pinned no more".into() })),
        }
    }
    let mut added = 0_usize;
    for entry in &intake.values {
        added = added.saturating_add(usize::from(references::add(connection, entry)?));
    }
    for (entry, reason) in &intake.revoked {
        // One that was never here is revoked as well, so that it cannot come later.
        if !references::revoke(connection, &entry.id, reason, now)? {
            references::add(connection, entry)?;
            references::revoke(connection, &entry.id, reason, now)?;
        }
    }
    Ok(Ok(added))
}

async fn list(app: Arc<App>, _: Admin, _: Call) -> Answer {
    let pinned = app.store.read(signers::all).await?;
    let rows: Vec<Value> = pinned
        .iter()
        .map(|one| {
            object!({"name": one.name, "key": Digest256::of(&one.public_key), "added": one.added,
                "serial": one.serial})
        })
        .collect();
    json(StatusCode::OK, &object!({"signers": rows}))
}

async fn trust(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let wrong = |words| Refusal::of(Code::Format, words);
    let NewSigner { name, public_key } = strict(&call.body)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) || name.starts_with('.') {
        return Err(wrong("a signer's name is 1 to 64 letters, digits, dashes, underscores and dots"));
    }
    let (_, der) = Key::from_pem(public_key.as_bytes())
        .ok_or_else(|| wrong("the key is not a public key in PEM of Ed25519, P-256 or P-384"))?;
    let key = Digest256::of(&der);
    if app.store.read(signers::all).await?.len() >= MAX_SIGNERS {
        return Err(wrong("at most 32 keys are pinned"));
    }
    let (object, now, pinned) = (format!("{name}, {key}"), app.clock.now(), name.clone());
    let work = move |connection: &Connection| signers::add(connection, &pinned, &der, now);
    match written(&app, &admin, &call, "pin signer", object, work).await? {
        true => json(StatusCode::OK, &object!({"name": name, "key": key})),
        false => Err(wrong("another key is pinned under that name; take it off first")),
    }
}

async fn distrust(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let name = call.rest.clone();
    let work = move |connection: &Connection| signers::remove(connection, &name);
    match written(&app, &admin, &call, "take signer off", call.rest.chars().take(64).collect(), work).await? {
        true => json(StatusCode::OK, &object!({"removed": true})),
        false => Err(Refusal::of(Code::Absent, "no key is pinned under that name")),
    }
}

fn signer(pinned: &Pinned) -> Option<Signer> {
    Some(Signer { name: pinned.name.clone(), key: Key::from_der(&pinned.public_key)? })
}

fn refused(error: &IntakeError) -> Refusal {
    Refusal::of(error.code(), "the document is not taken").explained(error.to_string())
}
