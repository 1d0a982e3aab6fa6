//! `confide reference`: what a broker releases against. Release rules, and reference values of appraisal policies.

use super::reference_files as files;
use crate::Context;
use crate::args::{ReferenceAddArgs, ReferenceCommand, ReferenceExpireArgs, ReferenceRemoveArgs, ReferenceRevokeArgs};
use crate::broker_api::BrokerApi;
use crate::outcome::{self, Failure, Outcome, Result};
use claims::Code;
use claims::reference::Reference;
use serde_json::{Value, json};
use std::path::Path;

const RULES: &str = "/confide/v0/references";
const VALUES: &str = "/confide/v0/reference-values";
pub(super) const JSON: &str = "application/json";

/// Runs the command.
pub(super) fn run(command: &ReferenceCommand, context: &Context) -> Result {
    match command {
        ReferenceCommand::Add(args) => match &args.value {
            None => add_rule(args, context)?,
            Some(value) => add_value(args, value, context)?,
        },
        ReferenceCommand::List(args) => {
            let api = BrokerApi::open(&args.broker)?;
            let mut list = api.get(RULES)?;
            let (values, signers) = (api.get(VALUES)?, api.get(files::SIGNERS)?);
            for (name, from) in [("values", &values), ("signers", &signers)] {
                if let (Some(members), Some(rows)) = (list.as_object_mut(), from.get(name)) {
                    members.insert(name.into(), rows.clone());
                }
            }
            context.printer.data(&list, || lists(&list));
        }
        ReferenceCommand::Remove(args) => remove(args, context)?,
        ReferenceCommand::Revoke(args) => revoke(args, context)?,
        ReferenceCommand::Expire(args) => expire(args, context)?,
        ReferenceCommand::Import(args) => files::import(args, context)?,
        ReferenceCommand::Sign(args) => files::sign(args, context)?,
        ReferenceCommand::Trust(args) => files::trust(args, context)?,
        ReferenceCommand::Untrust(args) => files::untrust(args, context)?,
    }
    Ok(Outcome::Done)
}

/// Rules first; values and keys where there are some.
fn lists(list: &Value) -> String {
    let some = |member: &str| list.get(member).and_then(Value::as_array).is_some_and(|rows| !rows.is_empty());
    let mut text = super::table(list, "references", &["id", "name", "site", "resources", "added"]);
    if some("values") {
        let columns = ["id", "name", "value", "expires", "revoked", "reason"];
        text.push_str(&format!(
            "\n\nreference values\n{}",
            super::table(&super::timed(list, "values"), "values", &columns)
        ));
    }
    if some("signers") {
        text.push_str(&format!("\n\npinned keys\n{}", super::table(list, "signers", &["name", "key", "serial"])));
    }
    text
}

fn add_rule(args: &ReferenceAddArgs, context: &Context) -> Result<()> {
    let file = Path::new(&args.what);
    let bytes = outcome::read(file)?;
    let reference = Reference::parse(&bytes).map_err(|error| {
        Failure::usage(format!("{} is not a reference file", file.display()))
            .because(error)
            .hint("use the reference.json of a bundle that `confide build` made")
            .hint("a reference value has a name and a value: confide reference add NAME VALUE")
    })?;
    let api = BrokerApi::open(&args.broker)?;
    if args.dry_run {
        context.printer.say(format!("would release {} to {}", reference.resources.join(", "), reference.name));
        return Ok(());
    }
    let answer = api.post(RULES, &bytes, JSON)?;
    let id = answer.get("id").and_then(|id| id.as_str()).unwrap_or("?").to_owned();
    context.printer.data(&answer, || format!("rule {id} for {} ({})", reference.name, reference.resources.join(", ")));
    Ok(())
}

fn add_value(args: &ReferenceAddArgs, value: &str, context: &Context) -> Result<()> {
    let value: Value = match args.as_json {
        false => value.into(),
        true => serde_json::from_str(value).map_err(|error| {
            Failure::usage("the value is not JSON").because(error).hint("leave --as-json away for text")
        })?,
    };
    let expires = args.expires.as_deref().map(|text| time("--expires", text)).transpose()?;
    let body = json!({ "name": args.what, "value": value, "single": args.single, "expires": expires });
    let api = BrokerApi::open(&args.broker)?;
    if args.dry_run {
        context.printer.say(format!("would add {value} to {}", args.what));
        return Ok(());
    }
    let answer = api.post(VALUES, body.to_string().as_bytes(), JSON)?;
    let id = answer.get("id").and_then(Value::as_str).unwrap_or("?").to_owned();
    let known = answer.get("added") == Some(&Value::Bool(false));
    context
        .printer
        .data(&answer, || format!("value {id} of {}{}", args.what, if known { ", which was there" } else { "" }));
    Ok(())
}

/// An id is a rule's or a value's; a name takes every value of it.
fn remove(args: &ReferenceRemoveArgs, context: &Context) -> Result<()> {
    if args.id.is_empty() {
        return Err(Failure::usage("`` is neither an id nor a name").hint("list them: confide reference list"));
    }
    let api = BrokerApi::open(&args.broker)?;
    let ids = if is_id(&args.id) { vec![args.id.clone()] } else { ids_of(&api, &args.id)? };
    if args.dry_run {
        context.printer.say(format!("would remove {}", ids.join(", ")));
        return Ok(());
    }
    for id in &ids {
        let rule = if is_id(&args.id) { absent(api.delete(&format!("{RULES}/{id}")))? } else { None };
        if rule.is_none() {
            api.delete(&format!("{VALUES}/{id}"))?;
        }
    }
    context.printer.data(&json!({ "removed": args.id, "ids": ids }), || format!("removed {}", args.id));
    Ok(())
}

fn revoke(args: &ReferenceRevokeArgs, context: &Context) -> Result<()> {
    let body = json!({ "reason": args.reason });
    change(&args.id, &body, args.dry_run, &BrokerApi::open(&args.broker)?, ["revoke", "revoked"], context)
}

fn expire(args: &ReferenceExpireArgs, context: &Context) -> Result<()> {
    let at = args.at.as_deref().map(|text| time("--at", text)).transpose()?;
    let body = json!({ "expires": at.unwrap_or(0) });
    change(&args.id, &body, args.dry_run, &BrokerApi::open(&args.broker)?, ["end", "ended"], context)
}

fn change(
    id: &str,
    body: &Value,
    dry_run: bool,
    api: &BrokerApi,
    [verb, done]: [&str; 2],
    context: &Context,
) -> Result<()> {
    if !is_id(id) {
        return Err(Failure::usage(format!("`{id}` is not a reference value's id"))
            .hint("list them: confide reference list")
            .hint("an image, site, chip, key or policy is revoked with `confide revoke`"));
    }
    if dry_run {
        context.printer.say(format!("would {verb} value {id}"));
        return Ok(());
    }
    let answer = api.post(&format!("{VALUES}/{id}"), body.to_string().as_bytes(), JSON)?;
    context.printer.data(&answer, || format!("{done} value {id}"));
    Ok(())
}

/// None where the broker knows nothing of that id.
fn absent(answer: Result<Value>) -> Result<Option<Value>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(failure) if failure.is(Code::Absent) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn ids_of(api: &BrokerApi, name: &str) -> Result<Vec<String>> {
    let list = api.get(VALUES)?;
    let rows = list.get("values").and_then(Value::as_array).into_iter().flatten();
    let own = rows.filter(|row| row.get("name").and_then(Value::as_str) == Some(name));
    let ids: Vec<String> = own.filter_map(|row| row.get("id").and_then(Value::as_str).map(str::to_owned)).collect();
    if ids.is_empty() {
        return Err(Failure::refused(format!(
            "there is no rule with the id and no reference value of the name `{name}`"
        ))
        .code(Code::Absent)
        .hint("list them: confide reference list"));
    }
    Ok(ids)
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// RFC 3339 as seconds since 1970.
fn time(option: &str, text: &str) -> Result<u64> {
    let wrong = || Failure::usage(format!("{option} {text} is not a time like 2027-01-01T00:00:00Z"));
    let time = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
        .map_err(|error| wrong().because(error))?;
    u64::try_from(time.unix_timestamp()).map_err(|_| wrong())
}
