//! Attestation results: EAR tokens (ES256), and the session they stand for.
//!
//! *Takes* a session that an attestation made.
//! *Guarantees* that a token which is read back was signed by this broker's key, for this mode, and has not expired.
//! *Does not check* rules again: a release evaluates them anew.
//!
//! A key that is replaced stays believed till the last token it signed has ended. A development broker has its own issuer and audience, so that neither kind of broker takes the other's tokens.

use crate::clock::after;
use crate::ear::Issue;
use crate::keys::Keys;
use crate::policy::{Appraised, Mode};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use claims::kbs::TeeKey;
use claims::{Code, Digest256, UnixTime};
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, EllipticCurveKeyType, Jwk,
    KeyAlgorithm, ThumbprintHash,
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::{PoisonError, RwLock};

/// The member of a token that is ours.
const OWN: &str = "confide";

/// Who attested, as what, with which key: what a cookie or a token stands for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    /// The decision of the attestation.
    pub(crate) decision: String,
    /// Names this guest among those that hold a resource.
    pub(crate) instance: String,
    /// What release rules ask about; of bare SNP only.
    pub(crate) claims: Option<Appraised>,
    /// Secrets are encrypted to this key.
    pub(crate) key: TeeKey,
    /// Whether the client spoke protocol 0.2.0.
    pub(crate) old: bool,
    /// Seconds a lease runs.
    pub(crate) lease_seconds: u64,
    /// When it ends.
    pub(crate) expires: u64,
    /// The release rule that admitted the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<Digest256>,
    /// The administrator's appraisal policies that the result rests on, each as `NAME@VERSION`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) appraised_by: Vec<String>,
    /// The attestation result: what release policies have as input.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) ear: Value,
}

/// The token key is not usable.
#[derive(Debug, thiserror::Error)]
#[error("the token key cannot be used")]
pub struct TokenKeyError;

/// Signs and reads tokens.
pub(crate) struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    /// With `kid`, without certificates.
    jwk: Jwk,
    previous: RwLock<Vec<Previous>>,
    header: Header,
    issuer: &'static str,
    audience: &'static str,
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
        let mut jwk = Jwk {
            common: CommonParameters { key_algorithm: Some(KeyAlgorithm::ES256), ..CommonParameters::default() },
            algorithm: AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters {
                key_type: EllipticCurveKeyType::EC,
                curve: EllipticCurve::P256,
                x,
                y,
            }),
        };
        let id = jwk.thumbprint(ThumbprintHash::SHA256);
        let mut header = Header::new(Algorithm::ES256);
        // Upstream's relying parties want the certificates here; ours believe keys they know, never this one.
        let mut shown = jwk.clone();
        shown.common.x509_chain = Some(keys.token_chain.iter().map(|der| STANDARD.encode(der)).collect());
        header.jwk = Some(shown);
        header.kid = Some(id.clone());
        jwk.common.key_id = Some(id);
        let (issuer, audience) = match mode {
            Mode::Production => ("confide-broker", "confide"),
            Mode::Development => ("confide-broker-development", "confide-development"),
        };
        let encoding = keys.token_key.expose(|der| EncodingKey::from_ec_der(der));
        Ok(Self { encoding, decoding, jwk, previous: RwLock::default(), header, issuer, audience })
    }

    /// The public key in use, with its id.
    pub(crate) fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// Believes tokens of these keys too, till they end: keys of before, and those of other brokers on the same store.
    pub(crate) fn believe(&self, others: Vec<Previous>) {
        *self.previous.write().unwrap_or_else(PoisonError::into_inner) = others;
    }

    /// What an attestation result made now says of its issuer.
    pub(crate) fn issue(&self, now: UnixTime, expires: u64) -> Issue {
        Issue { issuer: self.issuer, audience: self.audience, now, expires }
    }

    /// Signs the token of a session: its attestation result, and beside it what else the session stands for.
    pub(crate) fn sign(&self, session: &Session) -> Result<String, Code> {
        let mut claims = session.ear.clone();
        let rest = Session { ear: Value::Null, ..session.clone() };
        if let Some(members) = claims.as_object_mut() {
            members.insert(OWN.into(), serde_json::to_value(rest).map_err(|_| Code::Busy)?);
        }
        jsonwebtoken::encode(&self.header, &claims, &self.encoding).map_err(|error| {
            tracing::error!(%error, "a token could not be signed");
            Code::Busy
        })
    }

    /// The public keys whose tokens are believed now: the one in use, and those of before whose tokens still run.
    pub(crate) fn key_set(&self, now: UnixTime) -> Value {
        let previous = self.previous.read().unwrap_or_else(PoisonError::into_inner);
        let before = previous.iter().filter(|key| now.0 < key.until).map(|key| &key.jwk);
        let keys: Vec<&Jwk> = std::iter::once(&self.jwk).chain(before).collect();
        json!({ "keys": keys })
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
        let own = std::iter::once(&self.decoding);
        let previous = self.previous.read().unwrap_or_else(PoisonError::into_inner);
        let before = previous.iter().filter(|key| now.0 < key.until).map(|key| &key.decoding);
        let mut read = own.chain(before).find_map(|key| {
            jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation).ok().map(|read| read.claims)
        });
        let claims = read.as_mut().ok_or(Code::Token)?;
        let session = claims.remove(OWN).ok_or(Code::Token)?;
        let mut session: Session = serde_json::from_value(session).map_err(|_| Code::Token)?;
        let ends = claims.get("exp").and_then(Value::as_u64).ok_or(Code::Token)?.min(session.expires);
        session.ear = Value::Object(std::mem::take(claims));
        if now < UnixTime(ends) { Ok(session) } else { Err(Code::Token) }
    }
}

/// A key of before, public half only.
pub(crate) struct Previous {
    jwk: Jwk,
    decoding: DecodingKey,
    until: u64,
}

impl Previous {
    /// Takes the key as the store keeps it. Tokens signed with it end at `until`.
    pub(crate) fn new(jwk: Jwk, until: u64) -> Option<Self> {
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { jwk, decoding, until })
    }
}

/// When a session made now ends.
pub(crate) fn session_end(now: UnixTime, seconds: u64) -> u64 {
    after(now, seconds).0
}
