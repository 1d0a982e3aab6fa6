//! `confide revoke`: what is not believed any more, from the next request on.

use crate::Context;
use crate::args::{RevokeArgs, RevokeCommand};
use crate::broker_api::BrokerApi;
use crate::outcome::{self, Failure, Outcome, Result};
use claims::reference::Reference;
use serde_json::{Value, json};
use std::path::Path;
use std::slice::from_ref;

const PATH: &str = "/confide/v0/revocations";
const JSON: &str = "application/json";

/// Runs the command.
pub(super) fn run(command: &RevokeCommand, context: &Context) -> Result {
    match command {
        RevokeCommand::Image(args) => revoke("image", args, &images(&args.subject)?, context)?,
        RevokeCommand::Site(args) => revoke("site", args, &[site(&args.subject)?], context)?,
        RevokeCommand::Chip(args) => revoke("chip", args, from_ref(&args.subject), context)?,
        RevokeCommand::Key(args) => revoke("key", args, from_ref(&args.subject), context)?,
        RevokeCommand::Policy(args) => revoke("policy", args, from_ref(&args.subject), context)?,
        RevokeCommand::Rule(args) => revoke("rule", args, from_ref(&args.subject), context)?,
        RevokeCommand::List(args) => {
            let list = BrokerApi::open(&args.broker)?.get(PATH)?;
            let columns = ["id", "what", "subject", "reason", "admin", "added", "lifted"];
            context.printer.data(&list, || super::table(&super::timed(&list, "revocations"), "revocations", &columns));
        }
        RevokeCommand::Lift(args) => {
            if args.id.len() != 64 || !args.id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(Failure::usage(format!("`{}` is not a revocation's id", args.id))
                    .hint("list them: confide revoke list"));
            }
            let api = BrokerApi::open(&args.broker)?;
            if args.dry_run {
                context.printer.say(format!("would lift revocation {}", args.id));
                return Ok(Outcome::Done);
            }
            let body = json!({ "reason": args.reason });
            let answer = api.post(&format!("{PATH}/{}", args.id), body.to_string().as_bytes(), JSON)?;
            context.printer.data(&answer, || format!("lifted {}", args.id));
        }
    }
    Ok(Outcome::Done)
}

/// Revokes one or several things of a kind; the answer of `--json` lists them.
fn revoke(what: &str, args: &RevokeArgs, subjects: &[String], context: &Context) -> Result<()> {
    let api = BrokerApi::open(&args.broker)?;
    let mut revoked = Vec::new();
    for subject in subjects {
        let body = json!({ "what": what, "subject": subject, "reason": args.reason, "dry_run": args.dry_run });
        let answer = api.post(PATH, body.to_string().as_bytes(), JSON)?;
        if answer.get("known") == Some(&Value::Bool(false)) {
            context.printer.warn(format!("nothing that this broker knows is called {what} {subject}"));
        }
        revoked.push(answer);
    }
    let verb = if args.dry_run { "would revoke" } else { "revoked" };
    context.printer.data(&json!({ "revoked": revoked, "dry_run": args.dry_run }), || {
        let lines = revoked.iter().map(|one| {
            let text = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
            format!("{verb} {what} {} ({})", text("subject"), text("id"))
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

/// The measurements of a reference.json, or the one that was typed.
fn images(subject: &str) -> Result<Vec<String>> {
    let file = Path::new(subject);
    if !file.is_file() {
        return Ok(vec![subject.to_owned()]);
    }
    let reference = Reference::parse(&outcome::read(file)?)
        .map_err(|error| Failure::usage(format!("{subject} is not a reference file")).because(error))?;
    let measurements = reference.launch_measurements.iter().map(|entry| entry.launch_measurement.to_string());
    Ok(measurements.collect())
}

/// The HOST_DATA of a site.json, or what was typed.
fn site(subject: &str) -> Result<String> {
    let file = Path::new(subject);
    if !file.is_file() {
        return Ok(subject.to_owned());
    }
    let bytes = outcome::read(file)?;
    claims::site::Site::parse(&bytes)
        .map_err(|error| Failure::usage(format!("{subject} is not a site.json")).because(error))?;
    Ok(claims::site::host_data(&bytes).to_string())
}
