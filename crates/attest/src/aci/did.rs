//! `did:x509` names: a root by digest, and what the leaf is for
//! (`did:x509:0:sha256:<base64url>::eku:<oid>`, microsoft/did-x509).

use super::error::AciError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claims::bytes::Digest256;
use x509_cert::der::asn1::ObjectIdentifier;

/// A name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Did {
    /// SHA-256 of the root certificate.
    pub(super) root: Digest256,
    /// The leaf's extended key usage.
    pub(super) purpose: ObjectIdentifier,
}

impl Did {
    pub(super) fn parse(text: &str) -> Result<Self, AciError> {
        let wrong = || AciError::Did { got: text.chars().take(200).collect() };
        let (root, purpose) =
            text.strip_prefix("did:x509:0:sha256:").and_then(|rest| rest.split_once("::eku:")).ok_or_else(wrong)?;
        let root = URL_SAFE_NO_PAD.decode(root).ok().and_then(|bytes| Digest256::from_slice(&bytes));
        let purpose = ObjectIdentifier::new(purpose).ok();
        root.zip(purpose).map(|(root, purpose)| Self { root, purpose }).ok_or_else(wrong)
    }
}
