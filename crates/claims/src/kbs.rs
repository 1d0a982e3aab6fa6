//! The words of the KBS attestation protocol, version 0.4.0, that broker and guest share (kbs-types 0.18).
//!
//! The hash that binds a key to evidence is over RFC 8785 canonical JSON of typed members, so members that are not
//! listed here are dropped before hashing, as upstream does.

use crate::ReportData;
use crate::json::canonical_value;
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

/// The version that guests of this program speak.
pub const VERSION: &str = "0.4.0";

/// `POST /kbs/v0/auth`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Protocol version.
    pub version: String,
    /// Kind of TEE, as `snp`.
    pub tee: String,
    /// Must be there; unknown members are ignored.
    #[serde(rename = "extra-params")]
    pub extra_params: serde_json::Value,
}

/// The answer to [`Request`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Challenge {
    /// Standard base64 of 32 bytes.
    pub nonce: String,
    /// An empty text.
    #[serde(rename = "extra-params")]
    pub extra_params: serde_json::Value,
}

/// `POST /kbs/v0/attest`, with evidence as a value, or as a text that is not taken apart (`RawValue`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attestation<E = serde_json::Value> {
    /// Plain text whose digest is in the evidence, or nothing.
    pub init_data: Option<InitData>,
    /// What the evidence is bound to.
    pub runtime_data: RuntimeData,
    /// The evidence.
    pub tee_evidence: CompositeEvidence<E>,
}

/// Init-data: a text whose digest the host put into the evidence at launch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InitData {
    /// `toml`; our guests send `site`, with the text of `site.json`.
    pub format: String,
    /// The whole text.
    pub body: String,
}

/// What the evidence is bound to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RuntimeData {
    /// The challenge's nonce.
    pub nonce: String,
    /// The guest's key: secrets are encrypted to it.
    pub tee_pubkey: TeeKey,
}

/// Evidence of the CPU, and of devices.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CompositeEvidence<E = serde_json::Value> {
    /// Of the CPU; its form depends on the TEE.
    pub primary_evidence: E,
    /// JSON text of a map of device evidence, or empty; its exact bytes are hashed.
    #[serde(default)]
    pub additional_evidence: String,
}

/// A guest's public key as a JWK with exactly the members that are hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty")]
pub enum TeeKey {
    /// Elliptic curve.
    #[serde(rename = "EC")]
    Ec {
        /// `P-256` or `P-521`.
        crv: String,
        /// `ECDH-ES+A256KW`.
        alg: String,
        /// Base64url without padding.
        x: String,
        /// Base64url without padding.
        y: String,
    },
    /// RSA.
    #[serde(rename = "RSA")]
    Rsa {
        /// `RSA-OAEP-256` or, for old clients, `RSA1_5`.
        alg: String,
        /// Modulus, base64url without padding.
        n: String,
        /// Exponent, base64url without padding.
        e: String,
    },
}

/// `{"token": …}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Token {
    /// A JWT.
    pub token: String,
}

/// A secret encrypted to the guest's key (RFC 7516, flattened JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwe {
    /// Header, base64url. Its member order matters to real clients: alg, enc, then the rest sorted.
    pub protected: String,
    /// Wrapped content key, base64url.
    pub encrypted_key: String,
    /// Base64url.
    pub iv: String,
    /// Base64url.
    pub ciphertext: String,
    /// Base64url.
    pub tag: String,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInformation {
    /// `https://github.com/confidential-containers/kbs/errors/VARIANT`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the remote caller may know; our own servers put a stable code here.
    pub detail: String,
}

/// The runtime data has no canonical form.
pub type BindingError = crate::json::CanonicalError;

/// SHA-384 that the CPU's evidence must carry as the first 48 bytes of its report data; the other 16 are zero.
pub fn runtime_binding(data: &RuntimeData, additional_evidence: &str) -> Result<[u8; 48], BindingError> {
    let value = serde_json::json!({
        "additional-evidence": additional_evidence,
        "nonce": data.nonce,
        "tee-pubkey": data.tee_pubkey,
    });
    let hash = digest::digest(&digest::SHA384, &canonical_value(&value)?);
    let mut bytes = [0; 48];
    bytes.copy_from_slice(hash.as_ref());
    Ok(bytes)
}

/// Report data of evidence that a workload asked for: `SHA-384("confide/workload/v1\0" || bytes)`, then a role tag.
///
/// A broker never accepts it: there the last 16 bytes are zero.
pub fn workload_report_data(bytes: &[u8]) -> ReportData {
    let mut context = digest::Context::new(&digest::SHA384);
    context.update(b"confide/workload/v1\0");
    context.update(bytes);
    joined(context.finish().as_ref(), b"confide workload")
}

/// Report data of a workload's evidence in the form of secure key release: `SHA-256(bytes)`, then zeros.
///
/// A broker never accepts it: there the first 48 bytes are a SHA-384.
pub fn key_release_report_data(bytes: &[u8]) -> ReportData {
    joined(digest::digest(&digest::SHA256, bytes).as_ref(), &[0; 32])
}

fn joined(hash: &[u8], rest: &[u8]) -> ReportData {
    let mut data = [0; ReportData::LENGTH];
    for (place, byte) in data.iter_mut().zip(hash.iter().chain(rest)) {
        *place = *byte;
    }
    ReportData(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workloads_evidence_is_never_a_guests() {
        let data = workload_report_data(b"hello").0;
        assert_eq!(&data[48..], b"confide workload");
        let plain = digest::digest(&digest::SHA384, b"confide/workload/v1\0hello");
        assert_eq!(&data[..48], plain.as_ref());
        let data = key_release_report_data(b"hello").0;
        assert_eq!(&data[..32], &crate::Digest256::of(b"hello").0);
        assert_eq!(data[32..], [0; 32]);
    }

    #[test]
    fn binding_equals_the_known_answer() {
        // reference/trustee.md 1.4, accepted by the real upstream server.
        let data = RuntimeData {
            nonce: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into(),
            tee_pubkey: TeeKey::Ec {
                crv: "P-256".into(),
                alg: "ECDH-ES+A256KW".into(),
                x: "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4".into(),
                y: "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM".into(),
            },
        };
        assert_eq!(
            hex::encode(runtime_binding(&data, "").unwrap()),
            "1341202dde83ec1a934a297c4db4ce6f906acdb7d46d1dd9a9cc7081ff62bf4351d9731d2cf253c5b69005bde4d4592f"
        );
    }
}
