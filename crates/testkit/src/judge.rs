//! What our verifiers say of a text vector.
//!
//! *Takes* a vector. *Guarantees* that its bytes go through the public way in of the verifier, production's where the
//! vector names the anchor `production`, else the one for roots that the caller brings. *Does not check* whether the
//! verdict is the expected one: [`agrees`] does.

mod aci;
mod azure;
mod dcap;
mod nvidia;
mod ratls;
mod snp;
mod token;
mod tpm;

use crate::text::{Expect, TextVector};
use claims::Code;
use std::fmt::Debug;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The stable code.
    pub code: Code,
    /// The variant of the error type.
    pub reason: String,
    /// What the operator reads.
    pub text: String,
}

/// What a verifier says of a vector; the outer error is a vector that cannot be read.
pub type Verdict = Result<Result<(), Refused>, String>;

/// Kinds of vectors that have a verifier here.
pub const KINDS: &[&str] = &["aci", "azure", "dcap", "gpu", "ratls", "rim", "snp", "token", "tpm"];

/// Runs a vector.
pub fn judge(vector: &TextVector) -> Verdict {
    match vector.kind.as_str() {
        "aci" => aci::judge(vector),
        "azure" => azure::judge(vector),
        "dcap" => dcap::judge(vector),
        "gpu" => nvidia::gpu(vector),
        "rim" => nvidia::rim(vector),
        "ratls" => ratls::judge(vector),
        "token" => token::judge(vector),
        "tpm" => tpm::judge(vector),
        "snp" => snp::judge(vector),
        kind => Err(format!("there is no verifier for the kind `{kind}`")),
    }
}

/// Runs a vector and compares; the error says what differs.
pub fn agrees(vector: &TextVector) -> Result<(), String> {
    match (judge(vector)?, &vector.expect) {
        (Ok(()), Expect::Ok) => Ok(()),
        (Err(got), Expect::Refuse { code, reason }) if got.code == *code && got.reason == *reason => Ok(()),
        (got, wanted) => Err(format!("{}/{}: wanted {wanted:?}, the verifier says {got:?}", vector.kind, vector.name)),
    }
}

/// A refusal of any error type: its variant, and behind a dot the variant of the error that it wraps.
fn refused(error: &(impl Debug + ToString), code: Code) -> Refused {
    let debug = format!("{error:?}");
    let mut rest = debug.as_str();
    let mut reason = String::new();
    while rest.starts_with(|c: char| c.is_ascii_uppercase()) {
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let (variant, behind) = rest.split_at(end);
        reason.push_str(if reason.is_empty() { "" } else { "." });
        reason.push_str(variant);
        rest = behind.strip_prefix('(').unwrap_or_default();
    }
    Refused { code, reason, text: error.to_string() }
}

fn array<const N: usize>(vector: &TextVector, name: &str) -> Result<Option<[u8; N]>, String> {
    let value = vector.bytes(name).map(<[u8; N]>::try_from);
    value.transpose().map_err(|_| format!("{name} has not {N} bytes"))
}

fn number<T: std::str::FromStr>(vector: &TextVector, name: &str) -> Result<Option<T>, String> {
    vector.text(name)?.map(str::parse).transpose().map_err(|_| format!("{name} is no number in range"))
}

/// A field that must be there.
fn needed<T>(value: Option<T>, name: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("{name} is missing"))
}

/// Why something is not compared.
const NOT_ASKED: &str = "the vector does not ask for it";
