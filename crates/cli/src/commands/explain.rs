//! `confide explain`: what a refusal means and what to change.

use crate::Context;
use crate::args::ExplainArgs;
use crate::broker_api::BrokerApi;
use crate::outcome::{Failure, Outcome, Result};
use claims::Code;
use serde_json::Value;

/// Runs the command.
pub(super) fn run(args: &ExplainArgs, context: &Context) -> Result {
    if args.list {
        let codes: Vec<Value> = Code::ALL.iter().map(|code| code_json(*code)).collect();
        context.printer.data(&Value::from(codes), || {
            Code::ALL
                .iter()
                .map(|code| format!("{:<18} {}", code.name(), code.page().title))
                .collect::<Vec<_>>()
                .join("\n")
        });
        return Ok(Outcome::Done);
    }
    let what = args.what.as_deref().unwrap_or_default();
    if let Ok(code) = what.parse::<Code>() {
        context.printer.data(&code_json(code), || code_page(code));
        return Ok(Outcome::Done);
    }
    if what.is_empty()
        || !what.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        || what.starts_with("E-")
    {
        return Err(Failure::usage(format!("`{what}` is neither a code nor the number of a decision"))
            .hint("list the codes: confide explain --list")
            .hint("list the decisions: confide audit show"));
    }
    let api = BrokerApi::open(&args.broker)?;
    let id = if what == "last" { last_refusal(&api)? } else { what.to_owned() };
    let decision = api.get(&format!("/confide/v0/decisions/{id}"))?;
    context.printer.data(&decision, || decision_page(&decision));
    Ok(Outcome::Done)
}

/// The newest decision that refused.
fn last_refusal(api: &BrokerApi) -> Result<String> {
    let list = api.get("/confide/v0/decisions?limit=500")?;
    let decisions = list.get("decisions").and_then(Value::as_array).into_iter().flatten();
    decisions
        .filter(|entry| entry.get("code").is_some_and(|code| !code.is_null()))
        .max_by_key(|entry| entry.get("sequence").and_then(Value::as_u64))
        .and_then(|entry| entry.get("decision").and_then(Value::as_str).map(str::to_owned))
        .ok_or_else(|| Failure::refused("no decision of this broker was a refusal"))
}

pub(super) fn code_json(code: Code) -> Value {
    let page = code.page();
    serde_json::json!({ "code": code.name(), "title": page.title, "cause": page.cause, "risk": page.risk, "fix": page.fix })
}

fn code_page(code: Code) -> String {
    let page = code.page();
    format!("{code}: {}\n\n  cause  {}\n  risk   {}\n  fix    {}", page.title, page.cause, page.risk, page.fix)
}

/// A decision for people: what was asked, the verdict, then each check with got, wanted and where that came from.
fn decision_page(decision: &Value) -> String {
    let text = |value: &Value, member: &str| match value.get(member) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let code = decision.get("code").and_then(Value::as_str);
    let verdict = if code.is_some() { "refused" } else { "permitted" };
    let at = decision.get("time").and_then(Value::as_i64).and_then(super::audit::readable).unwrap_or_default();
    let mut page = format!(
        "decision {}: {} {verdict}, {at}, peer {}",
        text(decision, "decision"),
        text(decision, "kind"),
        text(decision, "peer")
    );
    if decision.get("resource").is_some() {
        page.push_str(&format!("\n  resource  {}", text(decision, "resource")));
    }
    if let Some(problem) = decision.get("problem").and_then(Value::as_str) {
        page.push_str(&format!("\n  problem   {problem}; the rules permit"));
    }
    if decision.get("selector").is_some() {
        page.push_str(&format!("\n  selector  {}", text(decision, "selector")));
    }
    if decision.get("concurrent").and_then(Value::as_bool) == Some(true) {
        page.push_str("\n  note      another guest holds this resource at the same time");
    }
    for rule in decision.get("trace").and_then(Value::as_array).into_iter().flatten() {
        page.push_str(&format!(
            "\n\nrule {} ({}, site {})",
            text(rule, "rule"),
            text(rule, "name"),
            text(rule, "site")
        ));
        for check in rule.get("checks").and_then(Value::as_array).into_iter().flatten() {
            let passed = check.get("passed").and_then(Value::as_bool).unwrap_or(false);
            page.push_str(&format!("\n  {:<8} {}", if passed { "ok" } else { "REFUSED" }, text(check, "claim")));
            if !passed {
                page.push_str(&format!(
                    "\n             got     {}\n             wanted  {}\n             from    {}\n             code    {}",
                    text(check, "got"),
                    text(check, "wanted"),
                    text(check, "source"),
                    text(check, "code"),
                ));
            }
        }
    }
    if let Some(revoked) = decision.get("revoked") {
        let since = revoked.get("added").and_then(Value::as_i64).and_then(super::audit::readable).unwrap_or_default();
        page.push_str(&format!(
            "\n\nrevoked: {} {}\n  reason    {}\n  by        {}, {since}\n  lift it   confide revoke lift {} --reason TEXT",
            text(revoked, "what"),
            text(revoked, "subject"),
            text(revoked, "reason"),
            text(revoked, "admin"),
            text(revoked, "id"),
        ));
    }
    let changes: Vec<&Value> = decision.get("site_changes").and_then(Value::as_array).into_iter().flatten().collect();
    if !changes.is_empty() {
        page.push_str(
            "\n\nsite.json of the guest (its digest is the signed HOST_DATA) against the one that was registered:",
        );
        for change in changes {
            page.push_str(&format!(
                "\n  {}: {} instead of {}",
                text(change, "setting"),
                text(change, "got"),
                text(change, "wanted")
            ));
        }
    }
    if let Some(code) = code.and_then(|code| code.parse().ok()) {
        page.push_str(&format!("\n\n{}", code_page(code)));
    }
    page
}
