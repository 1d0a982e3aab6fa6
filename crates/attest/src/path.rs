//! Certificate paths that are not a processor's own: signers of endorsements and of tokens, checked by `webpki`.
//!
//! *Takes* certificates in DER, the anchor that the caller trusts, and the time. *Guarantees* signatures, validity,
//! constraints and usage of the path. *Does not check* revocation, nor the validity of the anchor itself.

use claims::UnixTime;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use std::time::Duration;
use webpki::aws_lc_rs::{
    ECDSA_P256_SHA256, ECDSA_P256_SHA384, ECDSA_P384_SHA256, ECDSA_P384_SHA384, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    RSA_PSS_2048_8192_SHA384_LEGACY_KEY, RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{AnyRef, Decode};
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::spki::SubjectPublicKeyInfo;

/// Longest certificate that is read.
pub(crate) const MAX_CERTIFICATE: usize = 32 * 1024;

/// A public key out of a certificate or a key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// RSA: `RSAPublicKey` (PKCS #1) in DER.
    Rsa(Vec<u8>),
    /// An uncompressed P-256 point.
    P256(Vec<u8>),
    /// An uncompressed P-384 point.
    P384(Vec<u8>),
}

/// What the leaf may be used for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Usage {
    /// Anything.
    Any,
    /// The leaf must name this purpose.
    Purpose(ObjectIdentifier),
}

impl PublicKey {
    /// The subject's key of a certificate.
    pub(crate) fn of_certificate(der: &[u8]) -> Result<Self, String> {
        Self::of(&certificate(der)?)
    }

    /// The same of a parsed one.
    pub(crate) fn of(certificate: &Certificate) -> Result<Self, String> {
        Self::of_info(&certificate.tbs_certificate.subject_public_key_info)
    }

    fn of_info(
        info: &SubjectPublicKeyInfo<x509_cert::der::Any, x509_cert::der::asn1::BitString>,
    ) -> Result<Self, String> {
        let bits = info.subject_public_key.as_bytes().ok_or("the key is not a whole number of bytes")?.to_vec();
        let curve = info.algorithm.parameters.as_ref().map(AnyRef::from);
        let curve = curve.and_then(|value| value.decode_as::<ObjectIdentifier>().ok());
        match (info.algorithm.oid, curve) {
            (RSA_ENCRYPTION, _) => Ok(Self::Rsa(bits)),
            (EC_PUBLIC_KEY, Some(SECP256R1)) => Ok(Self::P256(bits)),
            (EC_PUBLIC_KEY, Some(SECP384R1)) => Ok(Self::P384(bits)),
            (oid, _) => Err(format!("a key of kind {oid} is not taken")),
        }
    }
}

/// Parses one certificate, bounded.
pub(crate) fn certificate(der: &[u8]) -> Result<Certificate, String> {
    if der.len() > MAX_CERTIFICATE {
        return Err(format!("a certificate has {} bytes, at most {MAX_CERTIFICATE} are read", der.len()));
    }
    Certificate::from_der(der).map_err(|error| format!("a certificate is malformed: {error}"))
}

/// Verifies the path from a leaf over intermediates to an anchor that the caller trusts.
pub(crate) fn verify(
    leaf: &[u8],
    intermediates: &[&[u8]],
    anchor: &[u8],
    usage: Usage,
    at: UnixTime,
) -> Result<(), String> {
    let told = |error: webpki::Error| error.to_string();
    if let Usage::Purpose(purpose) = usage {
        require_purpose(leaf, purpose)?;
    }
    let (leaf, anchor) = (CertificateDer::from(leaf), CertificateDer::from(anchor));
    let intermediates: Vec<_> = intermediates.iter().map(|der| CertificateDer::from(*der)).collect();
    let anchors = [anchor_from_trusted_cert(&anchor).map_err(told)?];
    let time = rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(at.0));
    let leaf = EndEntityCert::try_from(&leaf).map_err(told)?;
    leaf.verify_for_usage(ALGORITHMS, &anchors, &intermediates, time, WellFormed, None, None).map_err(told)?;
    Ok(())
}

/// The leaf has to name the purpose; authorities above it need not.
fn require_purpose(leaf: &[u8], purpose: ObjectIdentifier) -> Result<(), String> {
    let parsed = certificate(leaf)?;
    let usage = parsed.tbs_certificate.get::<ExtendedKeyUsage>().map_err(|error| error.to_string())?;
    match usage {
        Some((_, ExtendedKeyUsage(purposes))) if purposes.contains(&purpose) => Ok(()),
        _ => Err(format!("the leaf is not meant for {purpose}")),
    }
}

/// Purposes are compared above, on the leaf; here they only have to be readable.
struct WellFormed;

impl ExtendedKeyUsageValidator for WellFormed {
    fn validate(&self, mut purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        purposes.try_for_each(|purpose| purpose.map(|_| ()))
    }
}

const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    ECDSA_P256_SHA256,
    ECDSA_P256_SHA384,
    ECDSA_P384_SHA256,
    ECDSA_P384_SHA384,
    RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
