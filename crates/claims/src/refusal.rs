//! What every refusal can say about itself: a stable code, and what was compared.

use crate::Code;
use std::error::Error;

/// What a check compared. For the operator; the remote caller gets the code only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The claim, by the name it has in the claims that are printed: `measurement`, `policy.debug`.
    pub claim: String,
    /// What the evidence says.
    pub got: String,
    /// What was asked for: a value, several, or a condition in words.
    pub wanted: String,
}

/// A reason for refusing evidence.
pub trait Refusal: Error {
    /// The stable code.
    fn code(&self) -> Code;

    /// Claim, got and wanted, where the refusing check compared values; nothing where there was nothing to compare
    /// (bytes that are malformed, a signature that is wrong).
    fn finding(&self) -> Option<Finding>;
}

impl Finding {
    /// A comparison of two values that can be printed.
    pub fn new(claim: impl Into<String>, got: impl ToString, wanted: impl ToString) -> Self {
        Self { claim: claim.into(), got: got.to_string(), wanted: wanted.to_string() }
    }
}
