//! Rego policies, through `regorus`: appraisal policies (what is evidence worth?) and release policies (who gets what?).
//!
//! *Takes* policies as administrators write them, in version 1 of the language or version 0; claims as input.
//! *Guarantees* an answer within a budget of time and size for every policy and input; what is not an answer (an error,
//! a budget used up, a result of another kind) never admits anything.
//! *Does not check* that a policy is wise.

pub(crate) mod appraise;
mod budget;
pub(crate) mod cases;
mod claims_form;
pub(crate) mod engine;
mod guard;
pub(crate) mod release;
pub(crate) mod shipped;
pub(crate) mod snapshot;

#[cfg(test)]
mod tests;

pub(crate) use engine::{Program, RegoError};
pub(crate) use snapshot::{Policies, Snapshot};

use serde::{Deserialize, Serialize};

/// What a policy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Use {
    /// What evidence is worth: a trustworthiness vector.
    Appraisal,
    /// Whether a resource may go to an attested guest.
    Release,
}

impl Use {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Appraisal => "appraisal",
            Self::Release => "release",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Appraisal, Self::Release].into_iter().find(|known| known.name() == name)
    }
}
