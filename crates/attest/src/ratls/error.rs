//! Why an RA-TLS certificate is refused: one variant per check.

use claims::bytes::ReportData;
use claims::{Code, Finding, Refusal};

/// Why a certificate was refused. The remote caller gets the code only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RaTlsError {
    /// Too long.
    #[error("the certificate has {got} bytes, at most 65536 are read")]
    Length {
        /// Bytes found.
        got: usize,
    },
    /// Not an X.509 certificate.
    #[error("the certificate is malformed: {what}")]
    Certificate {
        /// What is wrong.
        what: String,
    },
    /// No extension with evidence in it.
    #[error("the certificate holds no evidence")]
    NoEvidence,
    /// The same extension twice.
    #[error("the certificate holds the extension {oid} twice")]
    Doubled {
        /// Its object identifier.
        oid: String,
    },
    /// The extension's CBOR is not in its form.
    #[error("the evidence in the certificate is malformed: {what}")]
    Cbor {
        /// What is wrong.
        what: &'static str,
    },
    /// Evidence of an unknown kind.
    #[error("the certificate holds evidence with CBOR tag {tag}, which is not known")]
    Tag {
        /// Tag found.
        tag: u64,
    },
    /// A quote that is neither SGX's nor TDX's.
    #[error("the quote in the certificate is of version {version} for TEE {tee:#x}, which is not known")]
    Quote {
        /// Version.
        version: u16,
        /// TEE type.
        tee: u32,
    },
    /// Key or signature of a kind that is not taken.
    #[error("the certificate is signed in a way that is not taken: {what}")]
    Algorithm {
        /// What is wrong.
        what: String,
    },
    /// Its own key did not sign it.
    #[error("the certificate is not signed by its own key")]
    Signature,
    /// Out of date.
    #[error("the certificate is for {from} to {until} (seconds since 1970), the time given is {now}")]
    Validity {
        /// `notBefore`.
        from: u64,
        /// `notAfter`.
        until: u64,
        /// Verification time.
        now: u64,
    },
    /// The claims name another key.
    #[error("the claims in the certificate are about the key with hash {got}, its key has {wanted}")]
    Key {
        /// Hash in the claims, hex.
        got: String,
        /// Hash of the certificate's key, hex.
        wanted: String,
    },
    /// The evidence does not bind the claims, or the key.
    #[error("the evidence in the certificate holds report data {got}, which does not bind its key")]
    Binding {
        /// In the evidence.
        got: Box<ReportData>,
        /// What binds the key.
        wanted: Box<ReportData>,
    },
    /// Another nonce, or none.
    #[error("the certificate's nonce is `{got}`, which is not the one of this session")]
    Nonce {
        /// Found, hex; empty when there is none.
        got: String,
    },
    /// A certificate could not be made.
    #[error("the certificate cannot be made: {what}")]
    Encode {
        /// Why.
        what: String,
    },
}

impl RaTlsError {
    /// The stable code of this refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Length { .. }
            | Self::Certificate { .. }
            | Self::NoEvidence
            | Self::Doubled { .. }
            | Self::Cbor { .. }
            | Self::Tag { .. }
            | Self::Quote { .. }
            | Self::Encode { .. } => Code::RaTlsFormat,
            Self::Algorithm { .. } | Self::Signature => Code::RaTlsSignature,
            Self::Validity { .. } => Code::RaTlsTime,
            Self::Key { .. } | Self::Binding { .. } | Self::Nonce { .. } => Code::RaTlsBinding,
        }
    }
}

impl Refusal for RaTlsError {
    fn code(&self) -> Code {
        Self::code(self)
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::Validity { from, until, now } => {
                Some(Finding::new("validity", format!("{from} to {until}"), format!("around {now}")))
            }
            Self::Key { got, wanted } => Some(Finding::new("pubkey-hash", got, wanted)),
            Self::Binding { got, wanted } => Some(Finding::new("report_data", got, wanted)),
            Self::Nonce { got } => Some(Finding::new("nonce", got, "the nonce of this session")),
            _ => None,
        }
    }
}
