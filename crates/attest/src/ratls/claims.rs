//! The claims of the interoperable format: a CBOR map whose SHA-256 is the evidence's report data.

use super::error::RaTlsError;
use aws_lc_rs::digest;
use ciborium::Value;
use claims::bytes::{Digest256, ReportData};
use std::collections::BTreeMap;

/// Claims, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    /// Hash algorithm (IANA named information: 1, 7, 8) and hash of the SubjectPublicKeyInfo.
    pub(super) key_hash: (u64, Vec<u8>),
    pub(super) nonce: Option<Vec<u8>>,
    /// Other claims, as CBOR: nobody here knows them.
    pub(super) other: BTreeMap<String, Vec<u8>>,
}

/// Claims that name a key by the SHA-256 of its SubjectPublicKeyInfo, and a nonce.
pub fn key_claims(spki: &[u8], nonce: Option<&[u8]>) -> Result<Vec<u8>, RaTlsError> {
    let hash = Value::Array(vec![SHA256.into(), Value::Bytes(Digest256::of(spki).0.to_vec())]);
    let mut members = Vec::new();
    if let Some(nonce) = nonce {
        members.push((NONCE.into(), Value::Bytes(nonce.to_vec())));
    }
    members.push((KEY_HASH.into(), Value::Bytes(to_cbor(&hash)?)));
    to_cbor(&Value::Map(members))
}

/// What the evidence must hold for these claims: their SHA-256, then zeros.
pub fn report_data_of(claims: &[u8]) -> ReportData {
    let mut bytes = [0; 64];
    for (place, byte) in bytes.iter_mut().zip(Digest256::of(claims).0) {
        *place = byte;
    }
    ReportData(bytes)
}

/// What the evidence must hold in Gramine's old format: the SHA-256 of the SubjectPublicKeyInfo, then zeros.
pub fn key_report_data(spki: &[u8]) -> ReportData {
    report_data_of(spki)
}

impl Claims {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, RaTlsError> {
        let Value::Map(members) = from_cbor(bytes)? else {
            return Err(RaTlsError::Cbor { what: "the claims are no map" });
        };
        let (mut key_hash, mut nonce, mut other) = (None, None, BTreeMap::new());
        for (name, value) in members {
            let Value::Text(name) = name else { return Err(RaTlsError::Cbor { what: "a claim's name is no text" }) };
            let first = match (name.as_str(), &value) {
                (KEY_HASH, Value::Bytes(bytes)) => key_hash.replace(key_hash_of(bytes)?).is_none(),
                (NONCE, Value::Bytes(bytes)) => nonce.replace(bytes.clone()).is_none(),
                (KEY_HASH | NONCE, _) => return Err(RaTlsError::Cbor { what: "a claim is no byte string" }),
                _ => other.insert(name, to_cbor(&value)?).is_none(),
            };
            if !first {
                return Err(RaTlsError::Cbor { what: "a claim is there twice" });
            }
        }
        let key_hash = key_hash.ok_or(RaTlsError::Cbor { what: "the claims name no key" })?;
        Ok(Self { key_hash, nonce, other })
    }

    /// Whether the claims name this key.
    pub(super) fn check_key(&self, spki: &[u8]) -> Result<(), RaTlsError> {
        let (algorithm, got) = &self.key_hash;
        let algorithm = match *algorithm {
            SHA256 => &digest::SHA256,
            SHA384 => &digest::SHA384,
            SHA512 => &digest::SHA512,
            _ => return Err(RaTlsError::Cbor { what: "the key's hash is none of SHA-256, SHA-384, SHA-512" }),
        };
        let wanted = digest::digest(algorithm, spki);
        match wanted.as_ref() == got {
            true => Ok(()),
            false => Err(RaTlsError::Key { got: hex::encode(got), wanted: hex::encode(wanted) }),
        }
    }
}

/// One CBOR value and nothing behind it.
pub(super) fn from_cbor(bytes: &[u8]) -> Result<Value, RaTlsError> {
    let mut rest = bytes;
    let value = ciborium::from_reader(&mut rest).map_err(|_| RaTlsError::Cbor { what: "this is no CBOR" })?;
    match rest.is_empty() {
        true => Ok(value),
        false => Err(RaTlsError::Cbor { what: "bytes follow the CBOR value" }),
    }
}

pub(super) fn to_cbor(value: &Value) -> Result<Vec<u8>, RaTlsError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|error| RaTlsError::Encode { what: error.to_string() })?;
    Ok(bytes)
}

/// `[algorithm, hash]`, encoded once more.
fn key_hash_of(bytes: &[u8]) -> Result<(u64, Vec<u8>), RaTlsError> {
    let wrong = RaTlsError::Cbor { what: "the key's hash is not `[algorithm, hash]`" };
    let Value::Array(parts) = from_cbor(bytes)? else { return Err(wrong) };
    match parts.as_slice() {
        [Value::Integer(algorithm), Value::Bytes(hash)] => {
            Ok((u64::try_from(*algorithm).map_err(|_| wrong)?, hash.clone()))
        }
        _ => Err(wrong),
    }
}

const KEY_HASH: &str = "pubkey-hash";
const NONCE: &str = "nonce";
// IANA "Named Information Hash Algorithm".
const SHA256: u64 = 1;
const SHA384: u64 = 7;
const SHA512: u64 = 8;
