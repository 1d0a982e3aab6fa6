//! Claims by name, each of one form.

use super::error::TokenError;
use crate::snp::Waiver;
use claims::{Allowed, Code};
use serde_json::{Map, Value};
use std::fmt::Display;

type Members = Map<String, Value>;

/// Seconds since 1970 (`NumericDate`); services write whole numbers.
pub(super) fn time(claims: &Members, claim: &str) -> Result<Option<u64>, TokenError> {
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| wrong(claim, "is no whole number of seconds")),
    }
}

pub(super) fn text(claims: &Members, claim: &str) -> Result<String, TokenError> {
    optional_text(claims, claim)?.ok_or_else(|| wrong(claim, "is missing"))
}

pub(super) fn optional_text(claims: &Members, claim: &str) -> Result<Option<String>, TokenError> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(claim, "is no text")),
    }
}

pub(super) fn flag(claims: &Members, claim: &str) -> Result<bool, TokenError> {
    match claims.get(claim) {
        None => Err(wrong(claim, "is missing")),
        Some(value) => value.as_bool().ok_or_else(|| wrong(claim, "is neither true nor false")),
    }
}

pub(super) fn number(claims: &Members, claim: &str) -> Result<u64, TokenError> {
    match claims.get(claim) {
        None => Err(wrong(claim, "is missing")),
        Some(value) => value.as_u64().ok_or_else(|| wrong(claim, "is no whole number")),
    }
}

/// Hex of a fixed length, as its type.
pub(super) fn bytes<T: std::str::FromStr>(claims: &Members, claim: &str) -> Result<T, TokenError> {
    text(claims, claim)?.parse().map_err(|_| wrong(claim, "is not hex of the right length"))
}

/// Hex of so many bytes, in lower case.
pub(super) fn hex_text(claims: &Members, claim: &str, length: usize) -> Result<String, TokenError> {
    let text = text(claims, claim)?.to_ascii_lowercase();
    match hex::decode(&text) {
        Ok(bytes) if bytes.len() == length => Ok(text),
        _ => Err(wrong(claim, "is not hex of the right length")),
    }
}

/// Compares a value with what is allowed, or notes that it was not compared.
pub(super) fn compare<T: PartialEq + Display>(
    waivers: &mut Vec<Waiver>,
    claim: &'static str,
    code: Code,
    allowed: &Allowed<T>,
    got: &T,
) -> Result<(), TokenError> {
    match allowed {
        Allowed::OneOf(values) if values.contains(got) => Ok(()),
        Allowed::OneOf(values) => {
            let wanted: Vec<String> = values.iter().map(ToString::to_string).collect();
            Err(differs(claim, got, wanted.join(" or "), code))
        }
        Allowed::Any { reason } => {
            waivers.push(Waiver { claim, reason: reason.clone() });
            Ok(())
        }
    }
}

pub(super) fn differs(claim: &str, got: impl ToString, wanted: impl ToString, code: Code) -> TokenError {
    TokenError::Differs { claim: claim.to_owned(), got: got.to_string(), wanted: wanted.to_string(), code }
}

pub(super) fn wrong(claim: &str, what: &'static str) -> TokenError {
    TokenError::Claim { claim: claim.to_owned(), what }
}
