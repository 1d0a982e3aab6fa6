//! Why a TPM quote is refused: one variant per check.

use claims::bytes::Digest256;
use claims::{Code, Finding, Refusal};

/// Why a quote was refused. The remote caller gets the code only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// Longer than any quote.
    #[error("the quote has {got} bytes, at most 512 are read")]
    Length {
        /// Bytes found.
        got: usize,
    },
    /// A field ends behind the message.
    #[error("the structure ends in the field at byte {offset}")]
    Truncated {
        /// Where.
        offset: usize,
    },
    /// Bytes behind the structure.
    #[error("{more} bytes follow the structure, which ends at byte {offset}")]
    Trailing {
        /// Where the structure ends.
        offset: usize,
        /// How many.
        more: usize,
    },
    /// `magic`: a message that the TPM did not make itself.
    #[error("the magic is {got:#010x}, a TPM writes 0xff544347")]
    Magic {
        /// Found.
        got: u32,
    },
    /// `type`: another attestation structure.
    #[error("the attestation is of type {got:#06x}, a quote is 0x8018")]
    Kind {
        /// Found.
        got: u16,
    },
    /// A field with an impossible value.
    #[error("the {what} at byte {offset} is not in range")]
    Field {
        /// Which.
        what: &'static str,
        /// Where.
        offset: usize,
    },
    /// More or less than one PCR selection.
    #[error("the quote is over {got} PCR banks, wanted is exactly one")]
    Banks {
        /// Found.
        got: u32,
    },
    /// A bank other than SHA-256.
    #[error("the quote is over PCR bank {got:#06x}, wanted is 0x000b (SHA-256)")]
    Bank {
        /// Found.
        got: u16,
    },
    /// A selection that has not three bytes.
    #[error("the PCR selection has {got} bytes, wanted are 3")]
    SelectionSize {
        /// Found.
        got: u8,
    },
    /// The signature is not in a known form.
    #[error("the signature is malformed: {what} (found {got})")]
    SignatureForm {
        /// What is wrong.
        what: &'static str,
        /// Length or algorithm found.
        got: usize,
    },
    /// The enrolled key is of a kind that no attestation key should be.
    #[error("the attestation key is refused: {what}")]
    KeyForm {
        /// What is wrong.
        what: &'static str,
    },
    /// RSA signature with an elliptic key, or the reverse.
    #[error("the signature is of another kind than the enrolled key")]
    SignatureKind,
    /// The enrolled key did not sign the message.
    #[error("the enrolled key did not sign this quote")]
    Signature,
    /// Not this session's nonce.
    #[error("extra data `{got}` is not the nonce of this session")]
    Nonce {
        /// Found, hex.
        got: String,
    },
    /// Other PCRs than those wanted.
    #[error("the quote is over PCRs {got:?}, wanted are exactly {wanted:?}")]
    Selection {
        /// Quoted.
        got: Vec<u8>,
        /// Wanted.
        wanted: Vec<u8>,
    },
    /// An index that no TPM has.
    #[error("there is no PCR {index}")]
    PcrIndex {
        /// Which.
        index: u8,
    },
    /// A quoted PCR whose value is not given.
    #[error("the value of the quoted PCR {index} is missing")]
    PcrMissing {
        /// Which.
        index: u8,
    },
    /// A value that the quote does not cover.
    #[error("PCR {index} is not part of the quote")]
    PcrNotQuoted {
        /// Which.
        index: u8,
    },
    /// The values do not hash to the signed digest.
    #[error("the PCR values hash to {values}, the quote says {quoted}")]
    PcrDigest {
        /// SHA-256 over the values.
        values: Digest256,
        /// Signed.
        quoted: Digest256,
    },
    /// A PCR that is not among the reference values.
    #[error("PCR {index} is {got}, which is not among {} allowed values", allowed.len())]
    Pcr {
        /// Which.
        index: u8,
        /// Value found.
        got: Digest256,
        /// Values wanted.
        allowed: Vec<Digest256>,
    },
    /// The JSON form (Trustee's `tpm` evidence) is not readable.
    #[error("the evidence is not in Trustee's form: {what}")]
    Json {
        /// What is wrong.
        what: String,
    },
}

impl TpmError {
    /// The stable code of this refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Length { .. }
            | Self::Truncated { .. }
            | Self::Trailing { .. }
            | Self::Magic { .. }
            | Self::Kind { .. }
            | Self::Field { .. }
            | Self::Json { .. } => Code::TpmFormat,
            Self::KeyForm { .. } => Code::TpmKey,
            Self::SignatureForm { .. } | Self::SignatureKind | Self::Signature => Code::TpmSignature,
            Self::Nonce { .. } => Code::TpmNonce,
            Self::Banks { .. } | Self::Bank { .. } | Self::SelectionSize { .. } | Self::Selection { .. } => {
                Code::TpmSelection
            }
            Self::PcrIndex { .. }
            | Self::PcrMissing { .. }
            | Self::PcrNotQuoted { .. }
            | Self::PcrDigest { .. }
            | Self::Pcr { .. } => Code::TpmPcr,
        }
    }
}

impl Refusal for TpmError {
    fn code(&self) -> Code {
        Self::code(self)
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::Nonce { got } => Some(Finding::new("nonce", got, "the nonce of this session")),
            Self::Selection { got, wanted } => {
                Some(Finding::new("pcr_selection", format!("{got:?}"), format!("{wanted:?}")))
            }
            Self::PcrDigest { values, quoted } => Some(Finding::new("pcr_digest", values, quoted)),
            Self::Pcr { index, got, allowed } => {
                let wanted: Vec<String> = allowed.iter().map(ToString::to_string).collect();
                Some(Finding::new(format!("pcrs.{index}"), got, wanted.join(" or ")))
            }
            _ => None,
        }
    }
}
