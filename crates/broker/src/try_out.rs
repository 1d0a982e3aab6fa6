//! What a proposed release policy would change: recorded evidence is decided on again.

use crate::path::ResourcePath;
use crate::policy::{Appraised, Mode, Question, combine, decide, unruled};
use crate::rego::Snapshot;
use crate::rego::release::consult;
use crate::rego::snapshot::Policy;
use crate::store::db::Connection;
use crate::store::{StoreError, audit, rules};
use claims::Code;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Decisions that are looked at, newest first.
const MAX_DECISIONS: usize = 2000;
const PAGE: u32 = 500;

/// What came of it.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Releases that were decided again.
    pub(crate) replayed: usize,
    /// Releases whose evidence is not in the log.
    pub(crate) skipped: usize,
    pub(crate) flips: Vec<Flip>,
}

/// A decision that would be another.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Flip {
    pub(crate) decision: String,
    pub(crate) resource: String,
    /// `allow`, or the code of the refusal.
    pub(crate) was: String,
    pub(crate) would: String,
}

/// Decides on recorded releases with the policies and rules of now and `proposed` in the place of its namesake. Leases
/// are of their time, and left out on both sides.
pub(crate) fn replay(
    connection: &Connection,
    mode: Mode,
    snapshot: &Snapshot,
    proposed: Arc<Policy>,
) -> Result<Report, StoreError> {
    let mut policies: Vec<_> = snapshot.release.iter().filter(|policy| policy.name != proposed.name).cloned().collect();
    policies.push(proposed);
    let (mut report, mut before) = (Report::default(), i64::MAX.cast_unsigned());
    let mut seen = 0_usize;
    while seen < MAX_DECISIONS {
        let rows = audit::decisions(connection, before, PAGE)?;
        let Some(last) = rows.last() else { break };
        before = last.sequence;
        seen = seen.saturating_add(rows.len());
        for row in rows.iter().filter(|row| row.kind == "release") {
            let entry: Value = serde_json::from_str(&row.body).unwrap_or_default();
            let was = match entry.get("code").and_then(Value::as_str) {
                // The resource was not there; it was permitted all the same.
                None => "allow",
                Some(code) if code == Code::Absent.name() => "allow",
                // Of their time, both.
                Some(code) if code == Code::Lease.name() || code == Code::Revoked.name() => continue,
                Some(code) => code,
            };
            let Some(would) = again(connection, mode, snapshot, &policies, &entry)? else {
                report.skipped = report.skipped.saturating_add(1);
                continue;
            };
            report.replayed = report.replayed.saturating_add(1);
            if (was == "allow") != (would == "allow") {
                report.flips.push(Flip {
                    decision: row.decision.clone(),
                    resource: entry.get("resource").and_then(Value::as_str).unwrap_or_default().to_owned(),
                    was: was.to_owned(),
                    would: would.to_owned(),
                });
            }
        }
    }
    Ok(report)
}

fn again(
    connection: &Connection,
    mode: Mode,
    snapshot: &Snapshot,
    policies: &[Arc<Policy>],
    entry: &Value,
) -> Result<Option<&'static str>, StoreError> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let (Some(session), Some(resource)) = (text("session"), text("resource")) else { return Ok(None) };
    let Ok(resource) = ResourcePath::parse(resource) else { return Ok(None) };
    let Some(attested) = audit::decision(connection, session)? else { return Ok(None) };
    let attested: Value = serde_json::from_str(&attested.body).unwrap_or_default();
    let Some(submods) = attested.get("submods") else { return Ok(None) };
    let ear = json!({"submods": submods, "iat": attested.get("time")});
    let rules = rules::of_resource(connection, resource.as_str())?;
    let references = &snapshot.references;
    let opinion = consult(policies, &resource, &json!({}), &ear, references, !rules.is_empty());
    let claims = attested.get("claims").and_then(|claims| serde_json::from_value::<Appraised>(claims.clone()).ok());
    let ruled = match &claims {
        Some(claims) => decide(mode, &rules, claims, Question::Release { resource: &resource, others: &[] }),
        None => unruled(),
    };
    Ok(Some(match combine(ruled, &opinion, &resource).outcome {
        Ok(_) => "allow",
        Err(code) => code.name(),
    }))
}
