//! Trustee's JSON form of Azure evidence (`az-snp-vtpm` and `az-tdx-vtpm`), versions 1 and 2.
//!
//! *Takes* the JSON. *Guarantees* its form. *Does not check* anything that it says.

use super::error::AzureError;
use super::evidence::AzureEvidence;
use super::hcl::HclReport;
use crate::tpm::{Quote, Signature, kbs};
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

/// Longest JSON that is read.
pub const MAX_JSON: usize = 128 * 1024;

/// Evidence, and what came along to verify its hardware report with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// HCL report, quote and PCRs.
    pub evidence: AzureEvidence,
    /// The VCEK in DER: untrusted, the chain to AMD's root is checked.
    pub vcek: Option<Vec<u8>>,
    /// The TDX quote: to be verified apart.
    pub td_quote: Option<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u32,
    tpm_quote: kbs::WireQuote,
    hcl_report: String,
    #[serde(default)]
    vcek: Option<String>,
    #[serde(default)]
    td_quote: Option<String>,
}

/// Parses `{"version": 1|2, "tpm_quote": {"signature", "message", "pcrs"} in hex, "hcl_report", "vcek" or "td_quote" in
/// base64url}`.
pub fn parse(json: &[u8]) -> Result<Envelope, AzureError> {
    let form = |what: &str| AzureError::Envelope { what: what.to_owned() };
    if json.len() > MAX_JSON {
        return Err(form("too long"));
    }
    let wire: Wire = serde_json::from_slice(json).map_err(|error| AzureError::Envelope { what: error.to_string() })?;
    if !matches!(wire.version, 1 | 2) {
        return Err(form("the version is neither 1 nor 2"));
    }
    let base64url = GeneralPurpose::new(
        &URL_SAFE,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let bytes = |text: &str| base64url.decode(text).map_err(|_| form("a part is not base64url"));
    let hexed = |text: &str| hex::decode(text).map_err(|_| form("the quote is not hex"));
    let signature = Signature::raw_rsa(&hexed(&wire.tpm_quote.signature)?)?;
    Ok(Envelope {
        evidence: AzureEvidence {
            hcl: HclReport::parse(&bytes(&wire.hcl_report)?)?,
            quote: Quote::parse(&hexed(&wire.tpm_quote.message)?, signature)?,
            pcrs: kbs::pcrs(&wire.tpm_quote.pcrs)?,
        },
        vcek: wire.vcek.as_deref().map(bytes).transpose()?,
        td_quote: wire.td_quote.as_deref().map(bytes).transpose()?,
    })
}
