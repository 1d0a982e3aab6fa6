//! Keys that follow from the seed, and signatures that follow from the keys.
//!
//! Elliptic keys come out of ChaCha20 under HKDF-SHA256 of the seed and the key's name; ECDSA is deterministic (RFC
//! 6979); the salt of RSASSA-PSS comes out of the same generator, by key and message. RSA keys are the published ones.

use super::Result;
use aws_lc_rs::digest;
use aws_lc_rs::hkdf;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rsa::pkcs1::EncodeRsaPublicKey;
use rsa::signature::{RandomizedSigner, SignatureEncoding, Signer as _};
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, RsaPrivateKey, RsaPublicKey};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use x509_cert::der::asn1::{Any, BitString, ObjectIdentifier};
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

/// All keys of one seed, made when they are asked for.
pub(super) struct Keys {
    seed: u64,
    made: Mutex<BTreeMap<&'static str, Arc<Key>>>,
    /// Signatures by key, kind and digest of the message: RSA takes a while.
    signed: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

/// A kind of key with its way to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// ECDSA P-256 with SHA-256.
    P256,
    /// ECDSA P-384 with SHA-384.
    P384,
    /// RSASSA-PSS with SHA-384, salt 48.
    Pss384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Pkcs1,
}

enum Key {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    Rsa(Box<RsaPrivateKey>),
}

/// A key by name, and how it signs. RSA names stand in `rsa-test-keys.txt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyName(pub(super) &'static str, pub(super) Kind);

impl Keys {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, made: Mutex::default(), signed: Mutex::default() }
    }

    /// The public key as certificates have it.
    pub(super) fn info(&self, name: KeyName) -> Result<SubjectPublicKeyInfoOwned> {
        let (algorithm, parameters, bits) = match &*self.key(name)? {
            Key::P256(key) => (EC, Any::encode_from(&SECP256R1)?, point(key.verifying_key().to_encoded_point(false))),
            Key::P384(key) => (EC, Any::encode_from(&SECP384R1)?, point(key.verifying_key().to_encoded_point(false))),
            Key::Rsa(key) => (RSA, Any::null(), RsaPublicKey::from(key.as_ref()).to_pkcs1_der()?.as_bytes().to_vec()),
        };
        Ok(SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned { oid: algorithm, parameters: Some(parameters) },
            subject_public_key: BitString::from_bytes(&bits)?,
        })
    }

    /// The same in DER.
    pub(super) fn spki(&self, name: KeyName) -> Result<Vec<u8>> {
        Ok(self.info(name)?.to_der()?)
    }

    /// The modulus of an RSA key.
    pub(super) fn modulus(&self, name: KeyName) -> Result<Vec<u8>> {
        match &*self.key(name)? {
            Key::Rsa(key) => Ok(key.n().to_bytes_be()),
            _ => Err(format!("`{}` is no RSA key", name.0).into()),
        }
    }

    /// Bytes that follow from the seed and a name.
    pub(super) fn bytes<const N: usize>(&self, name: &str) -> Result<[u8; N]> {
        use rand_chacha::rand_core::RngCore;
        let mut bytes = [0; N];
        self.generator(&["bytes", name])?.fill_bytes(&mut bytes);
        Ok(bytes)
    }

    /// A signature in the form that certificates have: DER for ECDSA.
    pub(super) fn sign(&self, name: KeyName, message: &[u8]) -> Result<Vec<u8>> {
        let fixed = self.sign_fixed(name, message)?;
        Ok(match name.1 {
            Kind::P256 => p256::ecdsa::Signature::from_slice(&fixed)?.to_der().as_bytes().to_vec(),
            Kind::P384 => p384::ecdsa::Signature::from_slice(&fixed)?.to_der().as_bytes().to_vec(),
            Kind::Pss384 | Kind::Pkcs1 => fixed,
        })
    }

    /// A signature as R and S of fixed length (ECDSA), or as it is (RSA).
    pub(super) fn sign_fixed(&self, name: KeyName, message: &[u8]) -> Result<Vec<u8>> {
        let digest = digest::digest(&digest::SHA256, message).as_ref().to_vec();
        let known = [format!("{name:?}").as_bytes(), &digest].concat();
        if let Some(signature) = self.signed.lock().unwrap_or_else(PoisonError::into_inner).get(&known) {
            return Ok(signature.clone());
        }
        let signature = match (&*self.key(name)?, name.1) {
            (Key::P256(key), _) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            (Key::P384(key), _) => {
                let signature: p384::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            (Key::Rsa(key), Kind::Pss384) => {
                let mut generator = self.generator(&["salt", name.0, &hex::encode(&digest)])?;
                let key = rsa::pss::SigningKey::<rsa::sha2::Sha384>::new(key.as_ref().clone());
                key.sign_with_rng(&mut generator, message).to_vec()
            }
            (Key::Rsa(key), _) => {
                rsa::pkcs1v15::SigningKey::<rsa::sha2::Sha256>::new(key.as_ref().clone()).sign(message).to_vec()
            }
        };
        self.signed.lock().unwrap_or_else(PoisonError::into_inner).insert(known, signature.clone());
        Ok(signature)
    }

    fn key(&self, name: KeyName) -> Result<Arc<Key>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = made.get(name.0) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(match name.1 {
            Kind::P256 => Key::P256(p256::ecdsa::SigningKey::random(&mut self.generator(&["key", name.0])?)),
            Kind::P384 => Key::P384(p384::ecdsa::SigningKey::random(&mut self.generator(&["key", name.0])?)),
            Kind::Pss384 | Kind::Pkcs1 => Key::Rsa(Box::new(published(name.0)?)),
        });
        made.insert(name.0, Arc::clone(&key));
        Ok(key)
    }

    fn generator(&self, info: &[&str]) -> Result<ChaCha20Rng> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"confide forge 1");
        let key = salt.extract(&self.seed.to_be_bytes());
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in info {
            parts.extend([part.as_bytes(), b"\0"]);
        }
        let mut seed = [0; 32];
        let expanded = key.expand(&parts, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut seed));
        expanded.map_err(|_| "key derivation failed")?;
        Ok(ChaCha20Rng::from_seed(seed))
    }
}

impl Kind {
    /// `AlgorithmIdentifier` of its signatures.
    pub(super) fn algorithm(self) -> Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned::from_der(match self {
            Self::P256 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
            Self::P384 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03",
            Self::Pss384 => PSS_SHA384,
            Self::Pkcs1 => b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00",
        })?)
    }
}

fn point(point: impl AsRef<[u8]>) -> Vec<u8> {
    point.as_ref().to_vec()
}

/// An RSA key by its two primes.
fn published(name: &str) -> Result<RsaPrivateKey> {
    let line = include_str!("rsa-test-keys.txt").lines().find(|line| line.split(' ').next() == Some(name));
    let parts: Vec<&str> = line.ok_or_else(|| format!("no RSA key `{name}`"))?.split(' ').collect();
    let [_, _, p, q] = parts.as_slice() else { return Err(format!("RSA key `{name}` is not in its form").into()) };
    let prime = |digits: &str| BigUint::parse_bytes(digits.as_bytes(), 16).ok_or("a prime is not hex");
    Ok(RsaPrivateKey::from_p_q(prime(p)?, prime(q)?, BigUint::from(65537u32))?)
}

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// RSASSA-PSS with SHA-384, MGF1-SHA384, salt 48 (RFC 4055), as AMD's certificates have it.
const PSS_SHA384: &[u8] = b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xa2\x03\x02\x01\x30";
