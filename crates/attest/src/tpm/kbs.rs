//! Trustee's JSON forms of a quote.
//!
//! *Takes* the JSON that a `tpm` attester sends. *Guarantees* its form. *Does not check* the key that it brings: that
//! key is a name to look up among the enrolled ones, and nothing else (Trustee verifies with it, which proves nothing).

use super::error::TpmError;
use super::expected::PcrValues;
use super::key::EnrolledKey;
use super::quote::Quote;
use super::signature::Signature;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::bytes::Digest256;
use serde::Deserialize;

/// Longest JSON that is read.
pub const MAX_JSON: usize = 64 * 1024;

/// A quote, the PCR values that come with it, and the name of the key that is said to have signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmEvidence {
    /// The quote.
    pub quote: Quote,
    /// PCR 0 and up.
    pub pcrs: PcrValues,
    /// SHA-256 of the SubjectPublicKeyInfo that the evidence names. Look it up among enrolled keys; never use it else.
    pub claimed_key: Digest256,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    ak_public: String,
    tpm_quote: WireQuote,
}

/// A quote in Trustee's JSON; `tpm` writes its parts in base64, the Azure kinds in hex.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireQuote {
    pub(crate) signature: String,
    pub(crate) message: String,
    pub(crate) pcrs: Vec<String>,
}

/// Parses `{"ak_public", "tpm_quote": {"signature", "message", "pcrs"}}` (Trustee, `tpm`): base64 of SPKI,
/// `TPMT_SIGNATURE` and `TPMS_ATTEST`, hex of the PCRs.
pub fn parse(json: &[u8]) -> Result<TpmEvidence, TpmError> {
    let form = |what: &str| TpmError::Json { what: what.to_owned() };
    if json.len() > MAX_JSON {
        return Err(form("too long"));
    }
    let wire: Wire = serde_json::from_slice(json).map_err(|error| TpmError::Json { what: error.to_string() })?;
    let bytes = |text: &str, what| STANDARD.decode(text).map_err(|_| form(what));
    let message = bytes(&wire.tpm_quote.message, "`message` is not base64")?;
    let signature = bytes(&wire.tpm_quote.signature, "`signature` is not base64")?;
    let key = EnrolledKey::from_spki(&bytes(&wire.ak_public, "`ak_public` is not base64")?)?;
    Ok(TpmEvidence {
        quote: Quote::parse(&message, Signature::from_tpmt(&signature)?)?,
        pcrs: pcrs(&wire.tpm_quote.pcrs)?,
        claimed_key: key.digest(),
    })
}

/// PCR values from hex, numbered from zero.
pub(crate) fn pcrs(texts: &[String]) -> Result<PcrValues, TpmError> {
    let values: Result<Vec<Digest256>, _> = texts.iter().map(|text| text.parse()).collect();
    PcrValues::from_zero(&values.map_err(|_| TpmError::Json { what: "a PCR is not 64 hex digits".to_owned() })?)
}
