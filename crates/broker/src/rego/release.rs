//! Which policies are asked about a resource, and how their answers go together.
//!
//! 1. A policy is for a prefix of paths, on whole segments; the empty prefix is every path.
//! 2. Denials win: `deny` (true, or a list or object that is not empty) of any policy whose prefix covers the path
//!    refuses, and so does such a policy that cannot be evaluated.
//! 3. Of the permissions the longest prefix decides: only policies of the longest prefix that covers the path are asked
//!    for `allow`, and one of them is enough. A release rule (`reference.json`) that names the path is longer than
//!    every prefix, so a policy for the very path and such rules stand together, and wider policies don't count there.
//! 4. No policy permits for evidence whose status is not `affirming` in every submodule, unless it names the status in
//!    `accepted_statuses`.

use super::engine::{Program, References, RegoError};
use super::snapshot::Policy;
use crate::path::ResourcePath;
use claims::{Code, Digest256};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What one policy said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PolicyTrace {
    pub(crate) policy: String,
    pub(crate) version: u64,
    pub(crate) prefix: String,
    pub(crate) digest: Digest256,
    /// Of the longest prefix: its permission counts.
    pub(crate) decides: bool,
    pub(crate) allow: bool,
    pub(crate) deny: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'static str>,
    /// Got and wanted, or why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// What all of them said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Opinion {
    /// The policy that permits.
    pub(crate) allowed_by: Option<Digest256>,
    /// A policy refuses, whatever rules say.
    pub(crate) denied: bool,
    /// Why it is not permitted, where a policy was asked.
    pub(crate) code: Option<Code>,
    pub(crate) trace: Vec<PolicyTrace>,
}

/// One policy's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) allow: bool,
    pub(crate) deny: bool,
    /// `allow` was true, but for this reason it does not count.
    pub(crate) status: Option<String>,
}

/// Asks every policy that covers the path. `ruled`: a release rule names the path.
pub(crate) fn consult(
    policies: &[Arc<Policy>],
    path: &ResourcePath,
    query: &Value,
    ear: &Value,
    references: &Arc<References>,
    ruled: bool,
) -> Opinion {
    let covering: Vec<_> = policies.iter().filter(|policy| covers(&policy.prefix, path.as_str())).collect();
    let longest = if ruled { Some(path.as_str().len()) } else { covering.iter().map(|one| one.prefix.len()).max() };
    let mut opinion = Opinion::default();
    for policy in covering {
        let decides = Some(policy.prefix.len()) == longest;
        let mut trace = PolicyTrace {
            policy: policy.name.clone(),
            version: policy.version,
            prefix: policy.prefix.clone(),
            digest: policy.program.digest(),
            decides,
            allow: false,
            deny: false,
            code: None,
            reason: None,
        };
        let answer = match &policy.revoked {
            None => ask(&policy.program, policy.path_form, path, query, ear, references),
            Some(reason) => Err(RegoError::Revoked { reason: reason.clone() }),
        };
        match answer {
            Ok(answer) => {
                (trace.allow, trace.deny) = (answer.allow && answer.status.is_none(), answer.deny);
                if let Some(status) = answer.status {
                    trace.code = Some(Code::NotAffirming.name());
                    trace.reason = Some(status);
                    opinion.code = Some(Code::NotAffirming);
                }
            }
            Err(error) => {
                // It might have denied.
                (trace.deny, trace.code, trace.reason) = (true, Some(error.code().name()), Some(error.to_string()));
                opinion.code = Some(error.code());
            }
        }
        opinion.denied |= trace.deny;
        if trace.decides && trace.allow && opinion.allowed_by.is_none() {
            opinion.allowed_by = Some(policy.program.digest());
        }
        opinion.trace.push(trace);
    }
    if opinion.denied {
        opinion.allowed_by = None;
    }
    if opinion.allowed_by.is_none() && opinion.code.is_none() && !opinion.trace.is_empty() {
        opinion.code = Some(Code::Denied);
    }
    opinion
}

/// How a policy wants to see the path in `data["resource-path"]`. One form per policy: asking with several would turn
/// `!=` and `not` into permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PathForm {
    /// `["repository", "type", "tag"]`, upstream since 0.18.
    List,
    /// `repository/type/tag`, before.
    Text,
    /// `resource/repository/type/tag`, before.
    TextWithPlugin,
}

impl PathForm {
    /// By the language version, and by what the text does with the path: version 0 is text, and so is a comparison with
    /// a text or a text function. A text with the plugin's name in front is given to a policy that writes that name.
    pub(crate) fn of(text: &str, version: u8) -> Self {
        let squeezed: String = text.split_whitespace().collect();
        let name = "data[\"resource-path\"]";
        let compared = ["==\"", "!=\"", "inresource", "in{\""].map(|behind| format!("{name}{behind}"));
        let before = ["\"==", "\"!="].map(|before| format!("{before}{name}"));
        let functions = ["startswith", "endswith", "contains", "split", "trim_prefix", "replace"]
            .map(|function| format!("{function}({name}"));
        let texts = compared.iter().chain(&before).chain(&functions);
        let used = version == 0 || texts.into_iter().any(|form| squeezed.contains(form));
        match used {
            false => Self::List,
            true if squeezed.contains("\"resource/") || squeezed.contains("==\"resource\"") => Self::TextWithPlugin,
            true => Self::Text,
        }
    }

    fn value(self, path: &ResourcePath) -> Value {
        match self {
            Self::List => path.as_str().split('/').collect(),
            Self::Text => path.as_str().into(),
            Self::TextWithPlugin => format!("resource/{path}").into(),
        }
    }
}

/// Asks one policy.
pub(crate) fn ask(
    program: &Program,
    form: PathForm,
    path: &ResourcePath,
    query: &Value,
    ear: &Value,
    references: &Arc<References>,
) -> Result<Answer, RegoError> {
    let data = json!({"plugin": "resource", "resource-path": form.value(path), "query": query});
    let mut question = program.ask(&program.claims.apply(ear), Some(data), references)?;
    let allow = match question.rule("allow")? {
        None => false,
        Some(Value::Bool(allow)) => allow,
        Some(_) => return Err(RegoError::Result { rule: "allow".into(), wanted: "a boolean" }),
    };
    let deny = match question.rule("deny")? {
        None => false,
        Some(Value::Bool(deny)) => deny,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(members)) => !members.is_empty(),
        Some(_) => return Err(RegoError::Result { rule: "deny".into(), wanted: "a boolean or a set" }),
    };
    let mut accepted = Vec::new();
    if allow && let Some(names) = question.rule("accepted_statuses")? {
        let wrong = || RegoError::Result { rule: "accepted_statuses".into(), wanted: "a set of statuses" };
        for name in names.as_array().ok_or_else(wrong)? {
            accepted.push(name.as_str().ok_or_else(wrong)?.to_owned());
        }
    }
    let status = if allow { unaccepted(ear, &accepted) } else { None };
    Ok(Answer { allow, deny, status })
}

/// Which submodule's status stands against a release.
fn unaccepted(ear: &Value, accepted: &[String]) -> Option<String> {
    let submods = ear.get("submods").and_then(Value::as_object).filter(|submods| !submods.is_empty());
    let Some(submods) = submods else { return Some("the evidence has no submodule".into()) };
    submods.iter().find_map(|(name, submod)| {
        let status = submod.get("ear.status").and_then(Value::as_str).unwrap_or("none");
        let good = status == "affirming" || accepted.iter().any(|one| one == status);
        (!good).then(|| format!("{name}: ear.status got {status}, wanted affirming"))
    })
}

/// Whether a prefix covers a path: on whole segments.
pub(crate) fn covers(prefix: &str, path: &str) -> bool {
    prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
