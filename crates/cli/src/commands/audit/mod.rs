//! `confide audit`: what a broker decided, and whether its log is whole.

mod log;

use crate::Context;
use crate::args::{AuditCommand, AuditExportArgs, AuditVerifyArgs};
use crate::broker_api::{self, BrokerApi};
use crate::outcome::{self, Failure, Outcome, Result};
use broker::ledger::{LedgerError, Receipt, Verdict, verify_export};
use claims::Digest256;
use log::Log;
use serde_json::{Value, json};
use std::io::{BufWriter, Write};
use std::path::Path;

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
        }
        AuditCommand::Verify(args) => return verify(args, context),
        AuditCommand::Export(args) => export(args, context)?,
        AuditCommand::Receipt(args) => {
            named(&args.decision)?;
            let receipt = Log::open(&args.broker)?.receipt(&args.decision)?;
            context.printer.data(&receipt, || receipt.to_string());
        }
        AuditCommand::Head(args) => {
            let head = Log::open(&args.broker)?.head()?;
            context.printer.data(&json!({ "head": head }), || head.trim_end().to_owned());
        }
    }
    Ok(Outcome::Done)
}

fn verify(args: &AuditVerifyArgs, context: &Context) -> Result {
    let kept = args.kept.iter().map(|path| kept_head(path)).collect::<Result<Vec<_>>>()?;
    let Some(path) = &args.file else {
        let log = Log::open(&args.broker)?;
        let verdict = log.verify(pinned(args)?, &kept)?;
        return Ok(print(&verdict, context));
    };
    let pinned = pinned(args)?;
    let bytes = outcome::read(path)?;
    if first_line_is_log(&bytes) {
        let verdict = verify_export(bytes.as_slice(), pinned, &kept).map_err(|error| unbelievable(path, error))?;
        return Ok(print(&verdict, context));
    }
    if !kept.is_empty() {
        return Err(Failure::usage("--kept goes with a log, not with a receipt"));
    }
    let facts =
        Receipt::parse(&bytes).and_then(|receipt| receipt.verify(pinned)).map_err(|error| unbelievable(path, error))?;
    let entry: Option<Value> = facts.entry.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let answer = json!({
        "ok": true, "decision": facts.decision, "index": facts.index, "leaf": facts.leaf, "size": facts.head.size,
        "root": facts.head.root, "entry": entry,
    });
    context.printer.data(&answer, || match &facts.decision {
        Some(decision) => {
            let members = ["kind", "resource", "code", "rule", "version", "peer"];
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let said: String = members
                .iter()
                .filter_map(|name| Some(format!("\n  {name:<9} {}", text(entry.as_ref()?.get(name)?))))
                .collect();
            format!(
                "the receipt is good: decision {decision} is entry {} of {}{said}",
                facts.index + 1,
                facts.head.size
            )
        }
        None => {
            let (number, size, leaf) = (facts.index + 1, facts.head.size, facts.leaf);
            format!(
                "the receipt is good: entry {number} of {size} has the digest {leaf} (the entry is with the broker)"
            )
        }
    });
    Ok(Outcome::Done)
}

fn print(verdict: &Verdict, context: &Context) -> Outcome {
    context.printer.data(&json!(verdict), || match &verdict.bad {
        None => format!("the log is whole: {} entries, root {}", verdict.entries, verdict.root),
        Some(bad) if bad.sequence == bad.through => {
            format!("the log is NOT whole: entry {}: {}", bad.sequence, bad.problem)
        }
        Some(bad) => format!("the log is NOT whole: entries {} to {}: {}", bad.sequence, bad.through, bad.problem),
    });
    if verdict.ok { Outcome::Done } else { Outcome::Refused }
}

fn export(args: &AuditExportArgs, context: &Context) -> Result<()> {
    let log = Log::open(&args.broker)?;
    if args.dry_run {
        context.printer.say(format!("would write the log to {}", args.output.display()));
        return Ok(());
    }
    let cannot = |error| outcome::cannot("write", &args.output, error);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&args.output).map_err(cannot)?;
    let mut file = BufWriter::new(file);
    let mut lines: u64 = 0;
    log.export(|line| {
        lines += 1;
        file.write_all(line.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(cannot)
    })?;
    file.flush().map_err(cannot)?;
    let entries = lines.saturating_sub(1);
    let answer = json!({ "exported": args.output, "entries": entries });
    context.printer.data(&answer, || format!("{}: {entries} entries", args.output.display()));
    Ok(())
}

/// The identity to believe: the one given, or that of the broker's folder; never one out of the file.
fn pinned(args: &AuditVerifyArgs) -> Result<Digest256> {
    match &args.identity {
        Some(text) => text.parse().map_err(|error| {
            Failure::usage("--identity is not a SHA-256").because(error).hint("`confide broker status` prints it")
        }),
        None => broker_api::folder(&args.broker).and_then(|folder| broker_api::identity(&folder)).map_err(|failure| {
            failure.hint("or name the broker's identity with --identity: `confide broker status` prints it")
        }),
    }
}

/// The head out of a receipt, or a head as it stands.
fn kept_head(path: &Path) -> Result<String> {
    let bytes = outcome::read(path)?;
    if bytes.starts_with(b"{") {
        return Receipt::parse(&bytes)
            .map(|receipt| receipt.head().to_owned())
            .map_err(|error| unbelievable(path, error));
    }
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is neither a receipt nor a head", path.display())))
}

fn first_line_is_log(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice::<Value>(line).is_ok_and(|value| value.get("kind") == Some(&"confide-audit-log".into()))
}

fn unbelievable(path: &Path, error: LedgerError) -> Failure {
    Failure::refused(format!("{} does not verify", path.display())).because(error)
}

fn named(decision: &str) -> Result<()> {
    if !decision.is_empty() && decision.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(Failure::usage(format!("`{decision}` is not the name of a decision")).hint("list them: confide audit show"))
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

/// The body of an entry, which the broker gives as the very text that the leaf is of, with number and time added.
fn entry(row: &Value) -> Value {
    let mut body: Value =
        row.get("body").and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    if let Some(members) = body.as_object_mut() {
        let at = members.get("time").and_then(Value::as_i64).and_then(readable);
        members.insert("at".into(), at.into());
        for name in ["sequence", "leaf"] {
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
