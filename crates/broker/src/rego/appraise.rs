//! What evidence is worth: an AR4SI trustworthiness vector (draft-ietf-rats-ar4si), by an appraisal policy.
//!
//! Two dialects are read: `trust_claims` with `query_reference_value` (upstream since 2025), and eight rules of their own
//! with `data.reference` (before).

use super::engine::{Program, References, RegoError};
use super::snapshot::Chosen;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The members of a vector, as tokens name them and as policies do.
const NAMES: [(&str, &str); 8] = [
    ("instance-identity", "instance_identity"),
    ("configuration", "configuration"),
    ("executables", "executables"),
    ("file-system", "file_system"),
    ("hardware", "hardware"),
    ("runtime-opaque", "runtime_opaque"),
    ("storage-opaque", "storage_opaque"),
    ("sourced-data", "sourced_data"),
];
const CONFIGURATION: usize = 1;
const EXECUTABLES: usize = 2;
const HARDWARE: usize = 4;
/// AR4SI: a verifier that does not work.
const MALFUNCTION: i8 = -1;

/// A trustworthiness vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Vector([i8; 8]);

/// The worst tier of a vector, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Nothing is known.
    None,
    /// As wanted.
    Affirming,
    /// Not quite as wanted.
    Warning,
    /// Not what was wanted.
    Contraindicated,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        }
    }
}

impl Vector {
    /// What a release rule that admits the evidence says.
    pub(crate) fn admitted() -> Self {
        let mut vector = Self::default();
        vector.set(CONFIGURATION, 2);
        vector.set(EXECUTABLES, 3);
        vector.set(HARDWARE, 2);
        vector
    }

    /// The policy gave no vector.
    fn malfunction() -> Self {
        Self([MALFUNCTION; 8])
    }

    /// The worst tier in it: numbers up to 1 are none, 2 to 31 affirm, 32 to 95 warn, and the same below zero.
    pub(crate) fn status(&self) -> Status {
        let tier = |value: &i8| match *value {
            -1..=1 => Status::None,
            -32..=31 => Status::Affirming,
            -96..=95 => Status::Warning,
            _ => Status::Contraindicated,
        };
        self.0.iter().map(tier).max().unwrap_or(Status::None)
    }

    pub(crate) fn json(&self) -> Value {
        let members = NAMES.iter().zip(self.0).map(|((name, _), value)| ((*name).to_owned(), value.into()));
        Value::Object(members.collect())
    }

    fn set(&mut self, index: usize, value: i8) {
        if let Some(place) = self.0.get_mut(index) {
            *place = value;
        }
    }

    fn of_claims(claims: &Map<String, Value>) -> Result<Self, RegoError> {
        let wanted = "an object of trustworthiness claims from -128 to 127";
        let wrong = |rule: &str| RegoError::Result { rule: format!("trust_claims.{rule}"), wanted };
        if claims.is_empty() {
            return Err(wrong(""));
        }
        let mut vector = Self::default();
        for (name, value) in claims {
            let index = NAMES.iter().position(|(dashed, under)| name == dashed || name == under);
            let value = value.as_i64().and_then(|value| i8::try_from(value).ok());
            let (Some(index), Some(value)) = (index, value) else { return Err(wrong(name)) };
            vector.set(index, value);
        }
        Ok(vector)
    }
}

/// What a policy said of one submodule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Appraisal {
    pub(crate) vector: Vector,
    /// The policy's name.
    pub(crate) policy: String,
    /// Its version, of an administrator's.
    pub(crate) version: Option<u64>,
    /// Members that the policy adds to the submodule.
    pub(crate) extensions: Map<String, Value>,
    /// Why there is no vector of the policy's.
    pub(crate) error: Option<RegoError>,
}

/// Asks a policy. One that gives no answer makes nothing trustworthy.
pub(crate) fn appraise(chosen: Chosen<'_>, evidence: &Value, references: &Arc<References>) -> Appraisal {
    let answer = match chosen.revoked {
        None => ask(chosen.program, evidence, references),
        Some(reason) => Err(RegoError::Revoked { reason: reason.to_owned() }),
    };
    let (vector, extensions, error) = match answer {
        Ok((vector, extensions)) => (vector, extensions, None),
        Err(error) => {
            tracing::warn!(policy = chosen.name, %error, "an appraisal policy gave no answer");
            (Vector::malfunction(), Map::new(), Some(error))
        }
    };
    Appraisal { vector, policy: chosen.name, version: chosen.version, extensions, error }
}

/// A vector, and further members.
pub(crate) fn ask(
    program: &Program,
    evidence: &Value,
    references: &Arc<References>,
) -> Result<(Vector, Map<String, Value>), RegoError> {
    let mut question = program.ask(&program.claims.apply_to_evidence(evidence), None, references)?;
    let vector = match question.rule("trust_claims")? {
        Some(Value::Object(claims)) => Vector::of_claims(&claims)?,
        Some(_) => return Err(RegoError::Result { rule: "trust_claims".into(), wanted: "an object" }),
        None => {
            let mut claims = Map::new();
            for (_, rule) in NAMES {
                if let Some(value) = question.rule(rule)? {
                    claims.insert(rule.into(), value);
                }
            }
            // Nothing defined is nothing known.
            if claims.is_empty() { Vector::default() } else { Vector::of_claims(&claims)? }
        }
    };
    let mut extensions = Map::new();
    if let Some(list) = question.rule("extensions")? {
        let wrong = || RegoError::Result { rule: "extensions".into(), wanted: "a list of {name, key, value}" };
        for extension in list.as_array().ok_or_else(wrong)? {
            let name = extension.get("name").and_then(Value::as_str).ok_or_else(wrong)?;
            // What the token itself says cannot be said over.
            if name.starts_with("ear.") && !name.starts_with("ear.trustee.") {
                return Err(wrong());
            }
            extensions.insert(name.to_owned(), extension.get("value").cloned().ok_or_else(wrong)?);
        }
    }
    Ok((vector, extensions))
}
