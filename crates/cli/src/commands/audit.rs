//! `confide audit`: what a broker decided, and whether its log is whole.

use crate::Context;
use crate::args::AuditCommand;
use crate::broker_api::BrokerApi;
use crate::outcome::{Outcome, Result};
use serde_json::{Value, json};

/// Entries that a broker gives in one answer.
const PAGE: u64 = 500;

/// Runs the command.
pub(super) fn run(command: &AuditCommand, context: &Context) -> Result {
    match command {
        AuditCommand::Show(args) => {
            let api = BrokerApi::open(&args.broker)?;
            let list = json!({ "entries": last(&api, args.last)? });
            context.printer.data(&list, || {
                super::table(
                    &list,
                    "entries",
                    &["sequence", "at", "kind", "code", "resource", "action", "object", "peer", "decision"],
                )
            });
            Ok(Outcome::Done)
        }
        AuditCommand::Verify(args) => {
            let answer = BrokerApi::open(&args.broker)?.get("/confide/v0/audit/verify")?;
            let whole = answer.get("ok").and_then(serde_json::Value::as_bool).unwrap_or(false);
            context.printer.data(&answer, || {
                if whole { "the log is whole".to_owned() } else { format!("the log is NOT whole: {answer}") }
            });
            Ok(if whole { Outcome::Done } else { Outcome::Refused })
        }
    }
}

/// The newest `count` entries, oldest first, each with its number and a readable time.
pub(super) fn last(api: &BrokerApi, count: u64) -> Result<Vec<Value>> {
    let status = api.get("/confide/v0/status")?;
    let end = status.pointer("/audit/sequence").and_then(Value::as_u64).unwrap_or(0);
    let mut next = end.saturating_sub(count).saturating_add(1);
    let mut entries = Vec::new();
    while next <= end {
        let page = api.get(&format!("/confide/v0/audit?from={next}&limit={PAGE}"))?;
        let rows = page.get("entries").and_then(Value::as_array).cloned().unwrap_or_default();
        if rows.is_empty() {
            break;
        }
        next = next.saturating_add(rows.len() as u64);
        entries.extend(rows.iter().map(entry));
    }
    Ok(entries)
}

/// The body of an entry, which the broker gives as the very text that the chain is over, with number and time added.
fn entry(row: &Value) -> Value {
    let mut body: Value =
        row.get("body").and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    if let Some(members) = body.as_object_mut() {
        let at = members.get("time").and_then(Value::as_i64).and_then(readable);
        members.insert("at".into(), at.into());
        for name in ["sequence", "hash"] {
            members.insert(name.into(), row.get(name).cloned().unwrap_or_default());
        }
    }
    body
}

/// Seconds since 1970 as RFC 3339.
pub(super) fn readable(seconds: i64) -> Option<String> {
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    time.format(&time::format_description::well_known::Rfc3339).ok()
}
