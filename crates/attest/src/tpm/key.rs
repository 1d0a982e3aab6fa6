//! Attestation keys that were enrolled: the caller knows from elsewhere that a genuine TPM holds them.

use super::error::TpmError;
use super::signature::Signature;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use claims::bytes::Digest256;
use x509_cert::der::asn1::{BitString, ObjectIdentifier, UintRef};
use x509_cert::der::{Any, AnyRef, Decode, Encode, Reader, SliceReader};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};

/// A public attestation key that the caller trusts, from an enrolment or from a hardware-signed report. There is no way
/// from the evidence of a quote to this type: `grep EnrolledKey::` finds every place where one is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledKey {
    key: Key,
    /// SHA-256 of the SubjectPublicKeyInfo.
    digest: Digest256,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Rsa { modulus: Vec<u8> },
    P256 { point: Vec<u8> },
}

impl EnrolledKey {
    /// A SubjectPublicKeyInfo in DER: RSA of 2048 to 4096 bits with exponent 65537, or P-256.
    pub fn from_spki(der: &[u8]) -> Result<Self, TpmError> {
        let malformed = |_| TpmError::KeyForm { what: "not a SubjectPublicKeyInfo" };
        if der.len() > MAX_KEY {
            return Err(TpmError::KeyForm { what: "too long" });
        }
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(malformed)?;
        let bits =
            info.subject_public_key.as_bytes().ok_or(TpmError::KeyForm { what: "not a whole number of bytes" })?;
        match info.algorithm.oid {
            RSA_ENCRYPTION => {
                let mut reader = SliceReader::new(bits).map_err(malformed)?;
                let (modulus, exponent) = reader
                    .sequence(|reader| Ok((UintRef::decode(reader)?, UintRef::decode(reader)?)))
                    .and_then(|parts| reader.finish(parts))
                    .map_err(malformed)?;
                Self::from_rsa(modulus.as_bytes(), exponent.as_bytes())
            }
            EC_PUBLIC_KEY => {
                let curve = info.algorithm.parameters.and_then(|value| value.decode_as::<ObjectIdentifier>().ok());
                if curve != Some(SECP256R1) {
                    return Err(TpmError::KeyForm { what: "an elliptic curve other than P-256" });
                }
                Self::from_p256(bits)
            }
            _ => Err(TpmError::KeyForm { what: "neither RSA nor P-256" }),
        }
    }

    /// The same in PEM (`PUBLIC KEY`).
    pub fn from_pem(text: &[u8]) -> Result<Self, TpmError> {
        let (label, der) = x509_cert::der::pem::decode_vec(text).map_err(|_| TpmError::KeyForm { what: "not PEM" })?;
        if label != "PUBLIC KEY" {
            return Err(TpmError::KeyForm { what: "the PEM block is no `PUBLIC KEY`" });
        }
        Self::from_spki(&der)
    }

    /// Modulus and exponent, big-endian.
    pub fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, TpmError> {
        if exponent != [1, 0, 1] {
            return Err(TpmError::KeyForm { what: "an RSA exponent other than 65537" });
        }
        if !(256..=512).contains(&modulus.len()) || modulus.first().is_none_or(|byte| byte >> 7 == 0) {
            return Err(TpmError::KeyForm { what: "an RSA modulus that has not 2048 to 4096 bits" });
        }
        if modulus.last().is_none_or(|byte| byte & 1 == 0) {
            return Err(TpmError::KeyForm { what: "an even RSA modulus" });
        }
        let digest = Digest256::of(&spki_of_rsa(modulus, exponent)?);
        Ok(Self { key: Key::Rsa { modulus: modulus.to_vec() }, digest })
    }

    /// An uncompressed P-256 point.
    pub fn from_p256(point: &[u8]) -> Result<Self, TpmError> {
        let parsed = aws_lc_rs::signature::ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        if point.len() != 65 || parsed.is_err() {
            return Err(TpmError::KeyForm { what: "not an uncompressed point on P-256" });
        }
        let digest = Digest256::of(&spki(EC_PUBLIC_KEY, Some(Any::from(SECP256R1)), point)?);
        Ok(Self { key: Key::P256 { point: point.to_vec() }, digest })
    }

    /// SHA-256 of the SubjectPublicKeyInfo: the key's name in lists.
    pub fn digest(&self) -> Digest256 {
        self.digest
    }

    /// Length of an RSA modulus in bits.
    pub(crate) fn rsa_bits(&self) -> Option<usize> {
        match &self.key {
            Key::Rsa { modulus } => modulus.len().checked_mul(8),
            Key::P256 { .. } => None,
        }
    }

    /// Checks a signature of this key; the key says of which kind it has to be.
    pub(super) fn check(&self, message: &[u8], signature: &Signature) -> Result<(), TpmError> {
        let verified = match (&self.key, signature) {
            (Key::Rsa { modulus }, Signature::Rsassa(bytes)) => {
                let exponent: &[u8] = &[1, 0, 1];
                RsaPublicKeyComponents { n: modulus.as_slice(), e: exponent }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, bytes)
                    .is_ok()
            }
            (Key::P256 { point }, Signature::Ecdsa(bytes)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, bytes.as_slice()).is_ok()
            }
            _ => return Err(TpmError::SignatureKind),
        };
        if verified { Ok(()) } else { Err(TpmError::Signature) }
    }
}

fn spki_of_rsa(modulus: &[u8], exponent: &[u8]) -> Result<Vec<u8>, TpmError> {
    let key =
        || -> Result<Vec<u8>, x509_cert::der::Error> { vec![UintRef::new(modulus)?, UintRef::new(exponent)?].to_der() };
    let key = key().map_err(|_| TpmError::KeyForm { what: "not encodable" })?;
    spki(RSA_ENCRYPTION, Some(Any::from(AnyRef::NULL)), &key)
}

fn spki(oid: ObjectIdentifier, parameters: Option<Any>, key: &[u8]) -> Result<Vec<u8>, TpmError> {
    let algorithm = AlgorithmIdentifierOwned { oid, parameters };
    BitString::from_bytes(key)
        .and_then(|subject_public_key| SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der())
        .map_err(|_| TpmError::KeyForm { what: "not encodable" })
}

/// Longest SubjectPublicKeyInfo that is read: RSA 4096 has 550 bytes.
const MAX_KEY: usize = 1024;
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
