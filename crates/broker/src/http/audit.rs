//! The audit log over HTTP: entries, heads, proofs, receipts.
//!
//! *Takes* auditors; and guests, with the session that a secret was released to.
//! *Guarantees* that a guest learns the place and the digest of its own release, never an entry: what rules demand is the
//! operator's.
//! *Does not check* the log for those who can do it themselves: everything here is made to be verified elsewhere.

use super::confide::{limit, number};
use super::gate::{Admin, Scope};
use super::refusal::Refusal;
use super::{Access, Answer, Call, Table, json, resource};
use crate::app::App;
use crate::ledger::{Kept, Stored, chain_text};
use crate::store::audit::{self, Kind};
use crate::store::db::Connection;
use crate::store::sessions;
use axum::http::StatusCode;
use claims::Code;
use serde_json::{Value, json as object};
use std::sync::Arc;

/// Header of a release that names the decision.
pub(super) const DECISION: &str = "confide-decision";

/// Under what the time of the last question is kept.
const READY: &str = "ready";

pub(crate) fn register(table: Table) -> Table {
    table
        .guarded(Scope::Look, "GET", "/confide/v0/audit", entries)
        .guarded(Scope::Look, "GET", "/confide/v0/audit/head", head)
        .guarded(Scope::Look, "GET", "/confide/v0/audit/verify", verify)
        .guarded(Scope::Look, "GET", "/confide/v0/audit/receipts/{id}", receipt)
        .open(Access::Guest, "GET", "/confide/v0/receipts/{id}", own_receipt)
}

/// Whether the broker can decide anything: its store takes a write, its log has a head that it signed, and Vault answers,
/// where anything is kept there.
pub(crate) async fn readyz(app: Arc<App>, _: Call) -> Answer {
    let (log, now) = (Arc::clone(&app.store.audit), app.clock.now().0);
    let work = move |connection: &_| {
        // A transaction that changes nothing also goes well on a full disk. Once a second is enough.
        if sessions::number(connection, READY)? != now {
            sessions::set_number(connection, READY, now)?;
        }
        Ok(log.reader().head(connection)?.size)
    };
    let size = app.store.write(work).await?;
    if let Some(words) = app.keeper.as_ref().and_then(|keeper| keeper.problem()) {
        return Err(Refusal::of(Code::Store, words));
    }
    json(StatusCode::OK, &object!({"ready": true, "audit": size}))
}

async fn entries(app: Arc<App>, _: Admin, call: Call) -> Answer {
    let first = number(&call.query, "from")?.unwrap_or(1);
    let limit = limit(&call.query)?;
    let rows = app.store.read(move |connection| audit::range(connection, first, limit)).await?;
    // The body as text: its exact bytes are what the leaf is of.
    let entry = |row: &Stored| object!({"sequence": row.sequence, "body": row.body, "leaf": hex::encode(&row.leaf)});
    json(StatusCode::OK, &object!({"entries": rows.iter().map(entry).collect::<Vec<Value>>()}))
}

async fn head(app: Arc<App>, _: Admin, call: Call) -> Answer {
    let old = number(&call.query, "from")?.unwrap_or(0);
    let log = Arc::clone(&app.store.audit);
    let (text, proof) = app
        .store
        .read(move |connection| {
            // One state of the log for both.
            let state = connection.unchecked_transaction()?;
            Ok((log.reader().head_text(&state)?, log.reader().consistency(&state, old)?))
        })
        .await?;
    json(
        StatusCode::OK,
        &object!({"head": text, "certificates": chain_text(&app.audit_chain), "from": old, "consistency": proof}),
    )
}

async fn verify(app: Arc<App>, _: Admin, call: Call) -> Answer {
    // It reads everything, however long the log is: one at a time, and none for a caller who has gone away.
    let Ok(_only) = app.walks.try_acquire() else {
        return Err(Refusal::of(Code::Busy, "the log is being verified for somebody else: try again later"));
    };
    call.unhurried.claim();
    let waits = Arc::new(());
    let (log, caller) = (Arc::clone(&app.store.audit), Arc::downgrade(&waits));
    let walk = move |connection: &Connection| {
        let state = connection.unchecked_transaction()?;
        log.reader().verify(&state, &Kept::default(), &|| caller.strong_count() > 0)
    };
    json(StatusCode::OK, &app.store.read(walk).await?)
}

async fn receipt(app: Arc<App>, _: Admin, call: Call) -> Answer {
    let (entry, receipt) = find(&app, call.rest, |_| true).await?;
    json(StatusCode::OK, &receipt.with_entry(entry.body))
}

/// The receipt of a release to this very session. Everything else is as if it were not there.
async fn own_receipt(app: Arc<App>, call: Call) -> Answer {
    let session = resource::session(&app, &call, app.clock.now()).await?;
    let own = move |entry: &Stored| {
        let body: Value = serde_json::from_str(&entry.body).unwrap_or_default();
        entry.kind == Kind::Release.name()
            && body.get("session").and_then(Value::as_str) == Some(session.decision.as_str())
            && body.get("code").is_none()
    };
    let (_, receipt) = find(&app, call.rest, own).await?;
    json(StatusCode::OK, &receipt)
}

async fn find(
    app: &App,
    id: String,
    wanted: impl FnOnce(&Stored) -> bool + Send + 'static,
) -> Result<(Stored, crate::ledger::Receipt), Refusal> {
    let log = Arc::clone(&app.store.audit);
    let found = app
        .store
        .read(move |connection| {
            let state = connection.unchecked_transaction()?;
            let Some(entry) = audit::decision(&state, &id)?.filter(wanted) else { return Ok(None) };
            let receipt = log.reader().receipt(&state, &entry)?;
            Ok(Some((entry, receipt)))
        })
        .await?;
    let (entry, receipt) = found.ok_or_else(|| Refusal::of(Code::Absent, "there is no such decision"))?;
    Ok((entry, receipt.with_certificates(&app.audit_chain)))
}
