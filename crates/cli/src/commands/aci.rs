//! `confide aci`: policies of confidential container groups, and why the guest refused.

mod explain;
mod images;
mod policy;

use crate::Context;
use crate::args::AciCommand;
use crate::outcome::{self, Failure, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::{Code, Refusal};
use image::cce::{CceError, Document, Group, Template};
use std::path::Path;

/// Runs a verb of `aci`.
pub(super) fn run(command: &AciCommand, context: &Context) -> Result {
    match command {
        AciCommand::Policy(args) => policy::run(args, context),
        AciCommand::Explain(args) => explain::explain(args, context),
        AciCommand::Check(args) => explain::check(args, context),
    }
}

/// The failure of making or reading a policy.
fn refused(what: impl Into<String>, error: CceError) -> Failure {
    let code = error.code();
    let failure = Failure::refused(what).code(code);
    let failure = match &error {
        CceError::Image { image, .. } => {
            failure.hint(format!("save it and name the file: --image {image}=ARCHIVE.tar"))
        }
        CceError::Wildcard { variable, .. } => {
            failure.hint(format!("give `{variable}` a value with --parameters FILE, or accept any with -y"))
        }
        CceError::NoValue { parameter, .. } => {
            failure.hint(format!("give `{parameter}` a value with --parameters FILE"))
        }
        _ => failure,
    };
    failure.because(error)
}

/// Reads a file that must be text.
fn text(path: &Path) -> Result<String> {
    String::from_utf8(outcome::read(path)?)
        .map_err(|error| Failure::usage(format!("{} is not text", path.display())).because(error))
}

/// A policy's exact text: a file of it, of its base64, or a template that it is in.
fn policy_text(path: &Path, group: Option<&str>) -> Result<String> {
    let held = text(path)?;
    let start = held.trim_start();
    if start.starts_with("package") || start.starts_with('#') {
        return Ok(held);
    }
    if start.starts_with(['{', '/']) {
        // Only the policy is wanted, so a variable without a value is no matter.
        let template = Template::parse(&held, None, true);
        let template = template.map_err(|error| refused(format!("cannot read {}", path.display()), error))?;
        let group = one_group(&template, group)?;
        let none = || {
            Failure::refused(format!("group `{}` of {} has no policy", group.name, path.display()))
                .code(Code::CceAllowAll)
        };
        return decoded(group.existing.as_deref().ok_or_else(none)?, path);
    }
    decoded(start, path)
}

fn decoded(encoded: &str, path: &Path) -> Result<String> {
    let letters: String = encoded.split_whitespace().collect();
    let bytes = STANDARD.decode(letters).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        Failure::refused(format!("{} holds no policy: neither Rego nor its base64", path.display()))
            .code(Code::CcePolicy)
    })
}

fn document(text: &str, path: &Path) -> Result<Document> {
    Document::parse(text).map_err(|error| refused(format!("cannot read the policy in {}", path.display()), error))
}

/// The group that is named, or the only one.
fn one_group<'a>(template: &'a Template, name: Option<&str>) -> Result<&'a Group> {
    let names = || template.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, template.groups.as_slice()) {
        (None, [group]) => Ok(group),
        (None, _) => Err(Failure::usage("the template has several container groups")
            .hint(format!("name one with --group: {}", names()))),
        (Some(name), groups) => groups.iter().find(|group| group.name == name).ok_or_else(|| {
            Failure::usage(format!("the template has no container group `{name}`")).hint(format!("it has: {}", names()))
        }),
    }
}

/// A code's page for `--json`.
fn code_json(code: Code) -> serde_json::Value {
    super::explain::code_json(code)
}
