//! A bundle of reference values: one JSON document, and beside it a detached JWS over its bytes.
//!
//! ```text
//! {"type": "confide-reference-values", "version": 1, "serial": 7, "expires": "2027-01-01T00:00:00Z",
//!  "values": [{"name": "snp_launch_measurement", "value": "…", "single": false, "expires": …}],
//!  "revoked": [{"name": "snp_launch_measurement", "value": "…", "reason": "…"}]}
//! ```

use super::signer::{self, Signer};
use super::{IntakeError, Reading, seconds};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Validation;
use serde::Deserialize;
use serde_json::Value;

/// What the document's `type` says.
pub(crate) const TYPE: &str = "confide-reference-values";
/// Longest signature.
const MAX_SIGNATURE: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bundle {
    #[serde(rename = "type")]
    _kind: String,
    version: u32,
    serial: u64,
    #[serde(default)]
    expires: Option<Time>,
    values: Vec<Item>,
    #[serde(default)]
    revoked: Vec<Withdrawn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    name: String,
    value: Value,
    #[serde(default)]
    single: bool,
    #[serde(default)]
    expires: Option<Time>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Withdrawn {
    name: String,
    value: Value,
    reason: String,
}

/// RFC 3339, or seconds since 1970.
#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(u64),
    Text(String),
}

impl Time {
    fn seconds(&self) -> Result<u64, IntakeError> {
        match self {
            Self::Seconds(seconds) => Ok(*seconds),
            Self::Text(text) => seconds(text)
                .ok_or_else(|| IntakeError::form(format!("`{text}` is not a time like 2027-01-01T00:00:00Z"))),
        }
    }
}

/// Reads a bundle; its signature first.
pub(super) fn read(
    reading: &mut Reading<'_>,
    value: Value,
    signature: Option<&str>,
    signers: &[Signer],
) -> Result<(), IntakeError> {
    reading.intake.format = "bundle";
    reading.intake.signed_by = match signature {
        Some(signature) => Some(verify(reading.bytes, signature, signers)?),
        None if signers.is_empty() => None,
        None => return Err(IntakeError::Unsigned { pinned: signer::names(signers) }),
    };
    let bundle: Bundle = serde_json::from_value(value).map_err(|error| IntakeError::form(error.to_string()))?;
    if bundle.version != 1 {
        return Err(IntakeError::form("its version is not 1"));
    }
    if i64::try_from(bundle.serial).is_err() {
        return Err(IntakeError::form("its serial is over 2^63"));
    }
    let end = bundle.expires.as_ref().map(Time::seconds).transpose()?;
    reading.in_date(None, end)?;
    reading.intake.serial = Some(bundle.serial);
    for item in bundle.values {
        let own = item.expires.as_ref().map(Time::seconds).transpose()?;
        // No value outlives the document that vouches for it.
        let expires = own.into_iter().chain(end).min();
        reading.add(&item.name, item.value, item.single, expires)?;
    }
    for item in bundle.revoked {
        if item.reason.trim().is_empty() || item.reason.len() > 1024 {
            return Err(IntakeError::form(format!("`{}`: a revocation has a reason of 1 to 1024 bytes", item.name)));
        }
        reading.revoke(&item.name, item.value, item.reason)?;
    }
    Ok(())
}

/// The name of the pinned key that made the signature.
fn verify(document: &[u8], signature: &str, signers: &[Signer]) -> Result<String, IntakeError> {
    let wrong = || IntakeError::form("the signature is not a detached JWS");
    let (header, signature) = signature.trim().split_once("..").ok_or_else(wrong)?;
    if header.len().saturating_add(signature.len()) > MAX_SIGNATURE {
        return Err(wrong());
    }
    let token = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(document));
    let parsed = jsonwebtoken::decode_header(&token).map_err(|_| wrong())?;
    if parsed.crit.is_some() || parsed.typ.as_deref() != Some(TYPE) {
        return Err(IntakeError::form(format!(
            "the signature's header has a critical member, or another type than {TYPE}"
        )));
    }
    signer::find(signers, |key| {
        let mut validation = Validation::new(key.algorithm());
        // The document has members of its own for that.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let checked = key.decoding().map(|key| jsonwebtoken::decode::<Value>(&token, &key, &validation));
        matches!(checked, Some(Ok(_)))
    })
}
