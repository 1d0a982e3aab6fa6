//! Attestation results: EAR tokens (ES256), and the session they stand for.
//!
//! *Takes* a session that an attestation made.
//! *Guarantees* that a token which is read back was signed by this broker's key, for this mode, and has not expired.
//! *Does not check* rules again: a release evaluates them anew.
//!
//! `ear.status` is `affirming` exactly when a release rule admits the evidence, else `contraindicated`. A development
//! broker has its own issuer and audience, so that neither kind of broker takes the other's tokens.

use crate::clock::after;
use crate::keys::Keys;
use crate::policy::{Appraised, Mode};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use claims::kbs::{RuntimeData, TeeKey};
use claims::snp::SnpClaims;
use claims::{Code, UnixTime};
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, EllipticCurveKeyType, Jwk,
    KeyAlgorithm,
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Who attested, as what, with which key: what a cookie or a token stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    /// The decision of the attestation.
    pub(crate) decision: String,
    /// What the evidence said.
    pub(crate) claims: Appraised,
    /// Secrets are encrypted to this key.
    pub(crate) key: TeeKey,
    /// Whether the client spoke protocol 0.2.0.
    pub(crate) old: bool,
    /// Seconds a lease runs.
    pub(crate) lease_seconds: u64,
    /// When it ends.
    pub(crate) expires: u64,
}

/// What a token says beside the session.
pub(crate) struct Statement<'a> {
    pub(crate) affirming: bool,
    pub(crate) claims: &'a SnpClaims,
    pub(crate) runtime_data: &'a RuntimeData,
    pub(crate) additional_evidence: &'a str,
    pub(crate) init_data: Option<Value>,
}

/// The token key is not usable.
#[derive(Debug, thiserror::Error)]
#[error("the token key cannot be used")]
pub struct TokenKeyError;

/// Signs and reads tokens.
pub(crate) struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    header: Header,
    issuer: &'static str,
    audience: &'static str,
}

#[derive(Deserialize)]
struct Read {
    exp: u64,
    confide: Session,
}

impl Tokens {
    pub(crate) fn new(keys: &Keys, mode: Mode) -> Result<Self, TokenKeyError> {
        let point = keys
            .token_key
            .expose(|der| EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der))
            .map_err(|_| TokenKeyError)?
            .public_key()
            .as_ref()
            .to_vec();
        let (x, y) = point.get(1..).and_then(|xy| xy.split_at_checked(32)).ok_or(TokenKeyError)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let decoding = DecodingKey::from_ec_components(&x, &y).map_err(|_| TokenKeyError)?;
        let mut header = Header::new(Algorithm::ES256);
        header.jwk = Some(Jwk {
            common: CommonParameters {
                key_algorithm: Some(KeyAlgorithm::ES256),
                x509_chain: Some(keys.token_chain.iter().map(|der| STANDARD.encode(der)).collect()),
                ..CommonParameters::default()
            },
            algorithm: AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters {
                key_type: EllipticCurveKeyType::EC,
                curve: EllipticCurve::P256,
                x,
                y,
            }),
        });
        let (issuer, audience) = match mode {
            Mode::Production => ("confide-broker", "confide"),
            Mode::Development => ("confide-broker-development", "confide-development"),
        };
        let encoding = keys.token_key.expose(|der| EncodingKey::from_ec_der(der));
        Ok(Self { encoding, decoding, header, issuer, audience })
    }

    /// Signs the token of a session.
    pub(crate) fn issue(&self, session: &Session, statement: &Statement<'_>, now: UnixTime) -> Result<String, Code> {
        let (status, vector) = if statement.affirming {
            (
                "affirming",
                json!({"instance-identity": 0, "configuration": 2, "executables": 3, "file-system": 0,
                "hardware": 2, "runtime-opaque": 0, "storage-opaque": 0, "sourced-data": 0}),
            )
        } else {
            (
                "contraindicated",
                json!({"instance-identity": 0, "configuration": 36, "executables": 33,
                "file-system": 0, "hardware": 97, "runtime-opaque": 0, "storage-opaque": 0, "sourced-data": 0}),
            )
        };
        let mut evidence = json!({
            "snp": upstream_claims(statement.claims),
            "report_data": hex::encode(statement.claims.report_data.0),
            "init_data": hex::encode(statement.claims.host_data.0),
            "runtime_data_claims": {
                "nonce": statement.runtime_data.nonce,
                "tee-pubkey": statement.runtime_data.tee_pubkey,
                "additional-evidence": statement.additional_evidence,
            },
        });
        if let (Some(init_data), Some(members)) = (&statement.init_data, evidence.as_object_mut()) {
            members.insert("init_data_claims".into(), init_data.clone());
        }
        let claims = json!({
            "eat_profile": "tag:github.com,2024:confidential-containers/Trustee",
            "iat": now.0,
            "exp": session.expires,
            "iss": self.issuer,
            "aud": self.audience,
            "ear.verifier-id": {"developer": "confide", "build": concat!("broker ", env!("CARGO_PKG_VERSION"))},
            "submods": {"cpu0": {
                "ear.status": status,
                "ear.trustworthiness-vector": vector,
                "ear.appraisal-policy-id": "release-rules",
                "ear.veraison.annotated-evidence": evidence,
            }},
            "confide": session,
        });
        jsonwebtoken::encode(&self.header, &claims, &self.encoding).map_err(|error| {
            tracing::error!(%error, "a token could not be signed");
            Code::Busy
        })
    }

    /// Reads a token of this broker. The key in a token's header is never used.
    pub(crate) fn read(&self, token: &str, now: UnixTime) -> Result<Session, Code> {
        let refused = |_| Code::Token;
        if jsonwebtoken::decode_header(token).map_err(refused)?.crit.is_some() {
            return Err(Code::Token);
        }
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[self.audience]);
        validation.set_issuer(&[self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // Time is the broker's own clock, below.
        validation.validate_exp = false;
        let read = jsonwebtoken::decode::<Read>(token, &self.decoding, &validation).map_err(refused)?.claims;
        let ends = UnixTime(read.exp.min(read.confide.expires));
        if now < ends { Ok(read.confide) } else { Err(Code::Token) }
    }
}

/// The claims under upstream's names, so that policies and tools written for it find them, and the rest under ours.
fn upstream_claims(claims: &SnpClaims) -> Value {
    let (abi_major, abi_minor) = claims.policy.abi();
    let mut value = serde_json::to_value(claims).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.remove("report_data");
        let flat = json!({
            "policy_abi_major": abi_major,
            "policy_abi_minor": abi_minor,
            "policy_smt_allowed": claims.policy.smt(),
            "policy_migrate_ma": claims.policy.migration(),
            "policy_debug_allowed": claims.policy.debug(),
            "policy_single_socket": claims.policy.single_socket(),
            "reported_tcb_bootloader": claims.reported_tcb.bootloader,
            "reported_tcb_tee": claims.reported_tcb.tee,
            "reported_tcb_snp": claims.reported_tcb.snp,
            "reported_tcb_microcode": claims.reported_tcb.microcode,
            "platform_tsme_enabled": claims.platform_info.tsme(),
            "platform_smt_enabled": claims.platform_info.smt(),
        });
        if let Value::Object(flat) = flat {
            members.extend(flat);
        }
    }
    value
}

/// When a session made now ends.
pub(crate) fn session_end(now: UnixTime, seconds: u64) -> u64 {
    after(now, seconds).0
}
