//! Decisions of CCE policies: each case is a policy and requests in order; one request is one case here.

use super::{Case, Run, Verdict};
use claims::{Code, Refusal, UnixTime};
use image::cce::enforce::{Enforcer, Platform};
use image::cce::{Document, host_data};
use serde_json::Value;
use std::fs;
use std::path::Path;

const KIND: &str = "cce";

pub(super) fn run(base: &Path, manifest: &Value, _now: UnixTime, run: &mut Run<'_>) {
    let read = |name: &str| fs::read(base.join(name)).map_err(|error| format!("{name}: {error}"));
    let json = |name: &str| {
        let bytes = read(name)?;
        serde_json::from_slice::<Value>(&bytes).map_err(|error| format!("{name}: {error}"))
    };
    let platform = match manifest["data"].as_str().map(json) {
        Some(Ok(data)) => Platform::of_data(&data),
        Some(Err(error)) => return run.error(KIND, "data", error),
        None => Platform::azure(),
    };
    for case in manifest["cases"].as_array().into_iter().flatten() {
        let text = |member: &str| case[member].as_str().unwrap_or_default();
        let id = text("id");
        let input = read(text("policy")).and_then(|policy| Ok((policy, json(text("commands"))?)));
        let (policy, commands) = match input {
            Ok(input) => input,
            Err(error) => {
                run.error(KIND, id, error);
                continue;
            }
        };
        let digest = host_data(&policy).to_string();
        if case["policy_sha256"].as_str().is_some_and(|wanted| wanted != digest) {
            run.error(KIND, id, format!("the policy has SHA-256 {digest}"));
            continue;
        }
        let document = match Document::parse(&String::from_utf8_lossy(&policy)) {
            Ok(document) => document,
            Err(error) => {
                run.error(KIND, id, format!("{error} [{}]", error.code()));
                continue;
            }
        };
        let commands = commands.as_array().map(Vec::as_slice).unwrap_or_default();
        let expected = case["expected"].as_array().map(Vec::as_slice).unwrap_or_default();
        if commands.len() != expected.len() {
            run.error(KIND, id, format!("{} requests, {} decisions", commands.len(), expected.len()));
        }
        let mut guest = Enforcer::new(&document, platform.clone());
        for (index, (command, expected)) in commands.iter().zip(expected).enumerate() {
            decide(&format!("{id}/{index}"), &mut guest, command, expected, run);
        }
    }
}

fn decide(id: &str, guest: &mut Enforcer<'_>, command: &Value, expected: &Value, run: &mut Run<'_>) {
    let name = command["name"].as_str().unwrap_or_default();
    let decision = guest.decide(name, &command["input"]);
    let verdict = |allowed| if allowed { Verdict::Accept } else { Verdict::Refuse };
    let joined = decision.errors.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let wanted = expected["reasons_joined"].as_str().unwrap_or_default();
    let detail = if expected["name"].as_str().is_some_and(|other| other != name) {
        Some(format!("the request is `{name}`, the decision is about {}", expected["name"]))
    } else {
        (joined != wanted).then(|| format!("reasons are `{joined}`, the manifest says `{wanted}`"))
    };
    run.tell(&Case {
        kind: KIND,
        name: format!("{id} {name}"),
        expected: verdict(expected["allowed"] == Value::Bool(true)),
        got: verdict(decision.allowed),
        code: (!decision.allowed).then(|| Code::CceDenied.name().to_owned()),
        detail,
    });
}
