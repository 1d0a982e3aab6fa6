//! Keys that an administrator pinned to sign reference values: Ed25519, P-256, P-384.

use super::IntakeError;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, DecodePem, Encode};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

const ED25519_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// Largest public key, as DER.
const MAX_KEY: usize = 256;

/// A pinned key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signer {
    pub(crate) name: String,
    pub(crate) key: Key,
}

/// A public key of a kind that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Ed25519(Vec<u8>),
    /// An uncompressed point.
    P256(Vec<u8>),
    /// An uncompressed point.
    P384(Vec<u8>),
}

impl Key {
    /// Reads PEM of a SubjectPublicKeyInfo; the key, and its DER.
    pub(crate) fn from_pem(pem: &[u8]) -> Option<(Self, Vec<u8>)> {
        let der = SubjectPublicKeyInfoOwned::from_pem(pem).ok()?.to_der().ok()?;
        Some((Self::from_der(&der)?, der))
    }

    /// Reads a SubjectPublicKeyInfo.
    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        if der.len() > MAX_KEY {
            return None;
        }
        let info = SubjectPublicKeyInfoOwned::from_der(der).ok()?;
        let bits = info.subject_public_key.as_bytes()?.to_vec();
        let point = |length: usize| bits.len() == length && bits.first() == Some(&4);
        let curve = || info.algorithm.parameters.as_ref()?.decode_as::<ObjectIdentifier>().ok();
        match info.algorithm.oid {
            ED25519_KEY if bits.len() == 32 => Some(Self::Ed25519(bits)),
            EC_KEY if curve() == Some(P256) && point(65) => Some(Self::P256(bits)),
            EC_KEY if curve() == Some(P384) && point(97) => Some(Self::P384(bits)),
            _ => None,
        }
    }

    /// What the key's signatures are called in a JWS.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDSA,
            Self::P256(_) => Algorithm::ES256,
            Self::P384(_) => Algorithm::ES384,
        }
    }

    /// For the library that checks a JWS.
    pub(crate) fn decoding(&self) -> Option<DecodingKey> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ed25519(key) => DecodingKey::from_ed_components(&text(key)).ok(),
            Self::P256(point) | Self::P384(point) => {
                let coordinates = point.get(1..)?;
                let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
                DecodingKey::from_ec_components(&text(x), &text(y)).ok()
            }
        }
    }

    /// Checks a signature of fixed length (COSE and JWS have the same one).
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let checked = match self {
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Self::P384(point) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature),
        };
        checked.is_ok()
    }
}

/// The names of keys, for messages.
pub(crate) fn names(signers: &[Signer]) -> String {
    match signers {
        [] => "none is pinned".to_owned(),
        some => some.iter().map(|signer| signer.name.as_str()).collect::<Vec<_>>().join(", "),
    }
}

/// The pinned key that `holds` says yes to.
pub(crate) fn find(signers: &[Signer], holds: impl Fn(&Key) -> bool) -> Result<String, IntakeError> {
    let signer = signers.iter().find(|signer| holds(&signer.key));
    signer.map(|signer| signer.name.clone()).ok_or_else(|| IntakeError::Signer { pinned: names(signers) })
}

/// The file is no Ed25519 private key.
#[derive(Debug, thiserror::Error)]
#[error("this is not an Ed25519 private key in PEM")]
pub struct SignError;

/// Signs a bundle of reference values: a detached JWS (RFC 7515, appendix F; EdDSA) over its very bytes.
pub fn sign_references(key_pem: &[u8], document: &[u8]) -> Result<String, SignError> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(key_pem).map_err(|_| SignError)?;
    let key = jsonwebtoken::EncodingKey::from_ed_der(key.secret_pkcs8_der());
    let header = serde_json::json!({"alg": "EdDSA", "typ": super::bundle::TYPE});
    let header = URL_SAFE_NO_PAD.encode(header.to_string());
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(document));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::EdDSA).map_err(|_| SignError)?;
    Ok(format!("{header}..{signature}"))
}
