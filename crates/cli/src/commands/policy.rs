//! `confide policy`: who gets what, and what evidence is worth.

use crate::Context;
use crate::args::{PolicyCommand, PolicyRollbackArgs, PolicySetArgs};
use crate::broker_api::BrokerApi;
use crate::outcome::{self, Failure, Outcome, Result};
use serde_json::{Value, json};
use std::path::Path;

const PATH: &str = "/confide/v0/policies";
const JSON: &str = "application/json";

/// Runs the command.
pub(super) fn run(command: &PolicyCommand, context: &Context) -> Result {
    match command {
        PolicyCommand::Set(args) => set(args, context)?,
        PolicyCommand::Get(args) => {
            let query = args.revision.map(|version| format!("?version={version}")).unwrap_or_default();
            let policy = BrokerApi::open(&args.broker)?.get(&format!("{}{query}", place(&args.name)?))?;
            context.printer.data(&policy, || text(&policy).trim_end().to_owned());
        }
        PolicyCommand::List(args) => {
            let list = BrokerApi::open(&args.broker)?.get(PATH)?;
            context
                .printer
                .data(&list, || super::table(&list, "policies", &["name", "use", "for", "version", "added", "digest"]));
        }
        PolicyCommand::Remove(args) => {
            let (api, place) = (BrokerApi::open(&args.broker)?, place(&args.name)?);
            if args.dry_run {
                context.printer.say(format!("would take {} out of force", args.name));
                return Ok(Outcome::Done);
            }
            api.delete(&place)?;
            context.printer.data(&json!({ "removed": args.name }), || format!("removed {}", args.name));
        }
        PolicyCommand::Diff(args) => {
            let (api, place) = (BrokerApi::open(&args.broker)?, place(&args.name)?);
            let current = api.get(&place)?;
            let (label, other) = match (&args.file, args.revision) {
                (Some(file), _) => (file.display().to_string(), read(file)?),
                (None, revision) => {
                    let version = revision.unwrap_or(1);
                    let old = api.get(&format!("{place}?version={version}"))?;
                    (format!("version {version}"), text(&old).to_owned())
                }
            };
            // From old to new: a file would come, an older version was.
            let changes = match args.file {
                Some(_) => changed_lines(text(&current), &other),
                None => changed_lines(&other, text(&current)),
            };
            let answer = json!({ "name": args.name, "with": label, "same": changes.is_empty(), "lines": changes });
            context.printer.data(&answer, || match changes.is_empty() {
                true => format!("{} and {label} are the same", args.name),
                false => changes.join("\n"),
            });
        }
        PolicyCommand::Rollback(args) => rollback(args, context)?,
        PolicyCommand::Try(args) => {
            let body = json!({ "name": args.name, "for": args.prefix, "policy": read(&args.file)? });
            let report =
                BrokerApi::open(&args.broker)?.post(&format!("{PATH}/try"), body.to_string().as_bytes(), JSON)?;
            context.printer.data(&report, || {
                let number = |name| report.get(name).and_then(Value::as_u64).unwrap_or(0);
                let (replayed, skipped) = (number("replayed"), number("skipped"));
                let flips = super::table(&report, "flips", &["decision", "resource", "was", "would"]);
                format!("{replayed} decisions made again, {skipped} without recorded evidence; other answers:\n{flips}")
            });
        }
    }
    Ok(Outcome::Done)
}

fn set(args: &PolicySetArgs, context: &Context) -> Result<()> {
    let place = place(&args.name)?;
    let used_for = if args.appraisal { "appraisal" } else { "release" };
    let body = json!({ "use": used_for, "for": args.prefix, "policy": read(&args.file)?, "dry_run": args.dry_run });
    let answer = BrokerApi::open(&args.broker)?.post(&place, body.to_string().as_bytes(), JSON)?;
    say_set(&answer, args.dry_run, context);
    Ok(())
}

fn rollback(args: &PolicyRollbackArgs, context: &Context) -> Result<()> {
    let (api, place) = (BrokerApi::open(&args.broker)?, place(&args.name)?);
    let version = match args.revision {
        Some(version) => version,
        None => {
            let policy = api.get(&place)?;
            let before = policy.pointer("/versions/1/version").and_then(Value::as_u64);
            before.ok_or_else(|| Failure::usage(format!("{} has no version before the last", args.name)))?
        }
    };
    let body = json!({ "version": version, "dry_run": args.dry_run });
    let answer = api.post(&place, body.to_string().as_bytes(), JSON)?;
    say_set(&answer, args.dry_run, context);
    Ok(())
}

fn say_set(answer: &Value, dry_run: bool, context: &Context) {
    let member = |name: &str| answer.get(name).map(Value::to_string).unwrap_or_default().replace('"', "");
    context.printer.data(answer, || {
        let checked = format!("Rego version {}, {} cases hold", member("rego"), member("cases"));
        match dry_run {
            true => format!("{} can be put into force ({checked})", member("name")),
            false => format!("{} is in force as version {} ({checked})", member("name"), member("version")),
        }
    });
}

/// Lines that only one side has, between what both begin and end with.
fn changed_lines(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let head = old.iter().zip(&new).take_while(|(left, right)| left == right).count();
    let (old, new) = (old.get(head..).unwrap_or_default(), new.get(head..).unwrap_or_default());
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(left, right)| left == right).count();
    let kept = |lines: &[&str], sign: char| -> Vec<String> {
        let end = lines.len().saturating_sub(tail);
        lines.iter().take(end).map(|line| format!("{sign}{line}")).collect()
    };
    [kept(old, '-'), kept(new, '+')].concat()
}

fn text(policy: &Value) -> &str {
    policy.get("policy").and_then(Value::as_str).unwrap_or_default()
}

fn read(file: &Path) -> Result<String> {
    String::from_utf8(outcome::read(file)?)
        .map_err(|error| Failure::usage(format!("{} is not text", file.display())).because(error))
}

/// The broker's path of a policy, checked before it is sent.
fn place(name: &str) -> Result<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let own = name.strip_prefix("confide/").unwrap_or(name);
    if own.is_empty() || own.starts_with('.') || !own.bytes().all(plain) {
        return Err(Failure::usage(format!("`{name}` is not a policy's name"))
            .hint("letters, digits, dash, underscore and dot; list them: confide policy list"));
    }
    Ok(format!("{PATH}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_middle_that_differs_is_shown() {
        assert_eq!(changed_lines("a\nx\ny\nc", "a\nb\nc"), ["-x", "-y", "+b"]);
        assert_eq!(changed_lines("a\nb", "a\nb\n"), Vec::<String>::new());
        assert_eq!(changed_lines("a\na", "a"), ["-a"]);
        assert!(place("a/b").is_err() && place("..").is_err() && place("confide/snp").is_ok());
    }
}
