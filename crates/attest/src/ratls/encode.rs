//! Making RA-TLS certificates. Keys and their randomness are the caller's.

use super::certificate::{DICE, EvidenceKind, GRAMINE, TAG_QUOTE, TAG_SNP};
use super::claims::to_cbor;
use super::error::RaTlsError;
use ciborium::Value;
use claims::UnixTime;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType};
use time::OffsetDateTime;
use x509_cert::der::asn1::ObjectIdentifier;

/// A private key that signs: in memory, or behind an interface.
pub use rcgen::SigningKey;

/// What goes into a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate<'a> {
    /// Common name.
    pub name: &'a str,
    /// Start of validity.
    pub from: UnixTime,
    /// End of validity.
    pub until: UnixTime,
    /// The interoperable extension.
    pub evidence: Option<Evidence<'a>>,
    /// A bare quote for readers of Gramine's old format, bound by [`super::key_report_data`].
    pub gramine_quote: Option<&'a [u8]>,
}

/// Evidence and the claims that it binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence<'a> {
    /// Of which kind.
    pub kind: EvidenceKind,
    /// Quote or report, with [`super::report_data_of`] the claims as report data.
    pub bytes: &'a [u8],
    /// What [`super::key_claims`] made.
    pub claims: &'a [u8],
}

/// The value of the interoperable extension: `tag([evidence, claims])`.
pub fn extension(evidence: &Evidence<'_>) -> Result<Vec<u8>, RaTlsError> {
    let tag = match evidence.kind {
        EvidenceKind::SgxQuote | EvidenceKind::TdxQuote => TAG_QUOTE,
        EvidenceKind::SnpReport => TAG_SNP,
    };
    let parts = vec![Value::Bytes(evidence.bytes.to_vec()), Value::Bytes(evidence.claims.to_vec())];
    to_cbor(&Value::Tag(tag, Box::new(Value::Array(parts))))
}

/// A self-signed certificate in DER.
pub fn self_signed<K: SigningKey>(key: &K, content: &Certificate<'_>) -> Result<Vec<u8>, RaTlsError> {
    let cannot = |error: rcgen::Error| RaTlsError::Encode { what: error.to_string() };
    let mut params = CertificateParams::new(Vec::new()).map_err(cannot)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, content.name);
    params.not_before = date(content.from)?;
    params.not_after = date(content.until)?;
    if let Some(evidence) = &content.evidence {
        params.custom_extensions.push(custom(DICE, extension(evidence)?));
    }
    if let Some(quote) = content.gramine_quote {
        params.custom_extensions.push(custom(GRAMINE, quote.to_vec()));
    }
    Ok(params.self_signed(key).map_err(cannot)?.der().to_vec())
}

fn custom(oid: ObjectIdentifier, value: Vec<u8>) -> CustomExtension {
    let arcs: Vec<u64> = oid.arcs().map(u64::from).collect();
    CustomExtension::from_oid_content(&arcs, value)
}

fn date(UnixTime(seconds): UnixTime) -> Result<OffsetDateTime, RaTlsError> {
    let wrong = || RaTlsError::Encode { what: "a date is out of range".to_owned() };
    i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()).ok_or_else(wrong)
}
