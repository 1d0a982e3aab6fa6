//! Cases that a policy carries (`confide_cases`): it is put into force only when each comes out as it says.
//!
//! A release policy's case: `{"name", "resource": "a/b/c", "input": claims of a token, "allow": bool}`, and optionally
//! `"deny": bool`, `"reference": {name: value}`, `"query": {}`. An appraisal policy's case: `{"name", "input": evidence,
//! "reference", "status": "affirming"}`.

use super::appraise;
use super::engine::{References, RegoError};
use super::release;
use super::snapshot::Policy;
use super::{Program, Use};
use crate::path::ResourcePath;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// Most cases of one policy.
const MAX_CASES: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    input: Value,
    #[serde(default)]
    reference: References,
    #[serde(default)]
    query: Option<Value>,
    #[serde(default)]
    resource: Option<String>,
    #[serde(default)]
    allow: Option<bool>,
    #[serde(default)]
    deny: Option<bool>,
    #[serde(default)]
    status: Option<appraise::Status>,
}

/// A case that came out otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failed {
    pub(crate) name: String,
    pub(crate) got: String,
    pub(crate) wanted: String,
}

/// Runs the cases of a policy: how many there are, and those that fail. The policy must have the rules of its use.
pub(crate) fn run(policy: &Policy, used_for: Use) -> Result<(usize, Vec<Failed>), RegoError> {
    let nothing = Arc::new(References::new());
    let mut question = policy.program.ask(&json!({}), None, &nothing)?;
    let listed = question.rule("confide_cases")?.unwrap_or_else(|| json!([]));
    let wrong = || RegoError::Result { rule: "confide_cases".into(), wanted: "a list of at most 64 cases" };
    let cases: Vec<Case> = serde_json::from_value(listed).map_err(|_| wrong())?;
    if cases.len() > MAX_CASES {
        return Err(wrong());
    }
    let mut failed = Vec::new();
    for case in &cases {
        let outcome = match used_for {
            Use::Release => release_case(policy, case)?,
            Use::Appraisal => appraisal_case(&policy.program, case)?,
        };
        failed.extend(outcome);
    }
    Ok((cases.len(), failed))
}

fn release_case(policy: &Policy, case: &Case) -> Result<Option<Failed>, RegoError> {
    let wrong = |wanted| RegoError::Result { rule: format!("confide_cases: {}", case.name), wanted };
    let path = case.resource.as_deref().and_then(|path| ResourcePath::parse(path).ok());
    let path = path.ok_or_else(|| wrong("a case with `resource` REPOSITORY/TYPE/TAG"))?;
    let allow = case.allow.ok_or_else(|| wrong("a case with `allow` true or false"))?;
    if case.status.is_some() {
        return Err(wrong("a case without `status`, which is of appraisal policies"));
    }
    let query = case.query.clone().unwrap_or_else(|| json!({}));
    let references = Arc::new(case.reference.clone());
    let answer = release::ask(&policy.program, policy.path_form, &path, &query, &case.input, &references)?;
    let got = (answer.allow && answer.status.is_none(), answer.deny);
    let wanted = (allow, case.deny.unwrap_or(got.1));
    let say = |(allow, deny)| format!("allow {allow}, deny {deny}");
    Ok((got != wanted).then(|| Failed {
        name: case.name.clone(),
        got: match answer.status {
            Some(status) => format!("{} ({status})", say(got)),
            None => say(got),
        },
        wanted: say(wanted),
    }))
}

fn appraisal_case(program: &Program, case: &Case) -> Result<Option<Failed>, RegoError> {
    let wanted = "a case with `status`, and without `resource`, `allow` and `deny`";
    let wrong = || RegoError::Result { rule: format!("confide_cases: {}", case.name), wanted };
    let status = case.status.ok_or_else(wrong)?;
    if case.resource.is_some() || case.allow.is_some() || case.deny.is_some() || case.query.is_some() {
        return Err(wrong());
    }
    let (vector, _) = appraise::ask(program, &case.input, &Arc::new(case.reference.clone()))?;
    let got = vector.status();
    Ok((got != status).then(|| Failed {
        name: case.name.clone(),
        got: format!("{} {}", got.name(), vector.json()),
        wanted: status.name().to_owned(),
    }))
}
