//! `confide aci explain` and `confide aci check`.

use super::{document, policy_text, refused, text};
use crate::Context;
use crate::args::{AciCheckArgs, AciExplainArgs};
use crate::outcome::{self, Failure, Outcome, Result};
use claims::Code;
use image::cce::enforce::{Enforcer, Platform};
use image::cce::{self, Denial};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;

/// `confide aci explain`.
pub(super) fn explain(args: &AciExplainArgs, context: &Context) -> Result {
    let message = match (&args.file, args.message.as_deref()) {
        (Some(path), _) => text(path)?,
        (None, Some("-")) => {
            let mut message = String::new();
            let limit = cce::INPUT_LIMIT as u64;
            let read = std::io::stdin().take(limit).read_to_string(&mut message);
            read.map_err(|error| outcome::cannot("read", Path::new("stdin"), error))?;
            message
        }
        (None, message) => message.unwrap_or_default().to_owned(),
    };
    let denial = Denial::parse(&message).map_err(|error| refused("nothing to explain", error))?;
    let policy = args.policy.as_deref().map(|path| {
        let text = policy_text(path, args.group.as_deref())?;
        Ok::<_, Failure>((cce::host_data(text.as_bytes()), document(&text, path)?))
    });
    let policy = policy.transpose()?;
    let nearest = policy.as_ref().and_then(|(_, policy)| denial.nearest(policy));
    let layer = policy.as_ref().and_then(|(_, policy)| denial.layer(policy));
    let advice = denial.advice();
    let answer = json!({
        "rule": denial.rule,
        "errors": advice.iter().map(|one| json!({ "error": one.error, "means": one.means, "fix": one.fix })).collect::<Vec<_>>(),
        "policy_error": denial.policy_error, "truncated": denial.truncated, "input": denial.input,
        "host_data": policy.as_ref().map(|(digest, _)| digest),
        "nearest": nearest.as_ref().map(|nearest| json!({
            "container": nearest.container,
            "differences": nearest.differences.iter().map(|one| json!({
                "field": one.field, "got": one.got, "wanted": one.wanted
            })).collect::<Vec<_>>(),
        })),
        "layer": layer.as_ref().map(|(hash, containers)| json!({ "hash": hash, "containers": containers })),
    });
    context.printer.data(&answer, || {
        let mut lines = vec![format!("the guest refused {}", words(denial.rule))];
        for one in &advice {
            lines.push(format!("\n  {}\n    means  {}\n    fix    {}", one.error, one.means, one.fix));
        }
        lines.extend(denial.policy_error.iter().map(|error| format!("\n  error inside the policy: {error}")));
        if !denial.truncated.is_empty() {
            lines.push(format!("\n  cut off by the guest: {}", denial.truncated.join(", ")));
        }
        if let Some((hash, containers)) = &layer {
            let held = match containers.as_slice() {
                [] => "no container of the policy has it".to_owned(),
                containers => format!("{} has it", containers.join(", ")),
            };
            lines.push(format!("\nlayer {hash}: {held}"));
        }
        if let Some(nearest) = &nearest {
            lines.push(format!("\nnearest container of the policy: {}", nearest.container));
            for one in &nearest.differences {
                lines.push(format!("  {}\n    got     {}\n    wanted  {}", one.field, one.got, one.wanted));
            }
            if nearest.differences.is_empty() {
                lines.push("  nothing in the request differs: the layers, or what happened before, do".to_owned());
            }
        }
        lines.join("\n")
    });
    Ok(Outcome::Done)
}

/// `confide aci check`.
pub(super) fn check(args: &AciCheckArgs, context: &Context) -> Result {
    let policy = document(&policy_text(&args.policy, args.group.as_deref())?, &args.policy)?;
    let json = |path: &Path| {
        serde_json::from_slice::<Value>(&outcome::read(path)?)
            .map_err(|error| Failure::usage(format!("{} is not JSON", path.display())).because(error))
    };
    let platform =
        args.data.as_deref().map(json).transpose()?.map_or_else(Platform::azure, |data| Platform::of_data(&data));
    let requests = json(&args.requests)?;
    let requests = requests.as_array().ok_or_else(|| {
        Failure::usage(format!("{} is not a list of requests", args.requests.display()))
            .hint("a request is {\"name\": \"create_container\", \"input\": {…}}")
    })?;
    let mut guest = Enforcer::new(&policy, platform);
    let mut answers = Vec::new();
    let mut lines = Vec::new();
    for request in requests {
        let name = request.get("name").and_then(Value::as_str).unwrap_or_default();
        let decision = guest.decide(name, request.get("input").unwrap_or(&Value::Null));
        let errors: Vec<&str> = decision.errors.iter().map(String::as_str).collect();
        lines.push(
            format!("{} {name}  {}", if decision.allowed { "allow" } else { "DENY " }, errors.join("; "))
                .trim_end()
                .to_owned(),
        );
        answers.push(json!({ "name": name, "allowed": decision.allowed, "errors": errors }));
    }
    let denied = answers.iter().filter(|answer| answer["allowed"] == json!(false)).count();
    let code = (denied > 0).then(|| Code::CceDenied.name());
    context.printer.data(&json!({ "decisions": answers, "denied": denied, "code": code }), || lines.join("\n"));
    Ok(if denied > 0 { Outcome::Refused } else { Outcome::Done })
}

/// The name of a call, in words.
fn words(rule: &str) -> String {
    let known = match rule {
        "mount_device" => "to mount a layer",
        "mount_overlay" => "to put a container's layers together",
        "rw_mount_device" | "scratch_mount" => "to mount a disk for temporary files",
        "create_container" => "to create a container",
        "exec_in_container" => "to start a process in a container",
        "exec_external" => "to start a process outside of the containers",
        "signal_container_process" => "to send a signal",
        "shutdown_container" => "to shut a container down",
        "load_fragment" => "to load a fragment",
        "unmount" | "unmount_device" | "unmount_overlay" => "to unmount",
        _ => return "a request".to_owned(),
    };
    format!("{known} ({rule})")
}
