//! JWTs (RFC 7519) as JWS in compact form (RFC 7515): parsed strictly, signatures checked by `jsonwebtoken`.

use super::error::TokenError;
use super::keys::KeySet;
use super::rules::Rules;
use super::strict;
use crate::snp::Waiver;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claims::UnixTime;
use jsonwebtoken::{Algorithm, crypto};
use serde_json::{Map, Value};

/// Longest token that is read.
pub const MAX_TOKEN: usize = 256 * 1024;

/// A token whose form is right. Nothing in it is true before [`Token::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Header, dot, payload: what is signed.
    message: String,
    signature: String,
    algorithm: Algorithm,
    kid: Option<String>,
    claims: Map<String, Value>,
}

/// A token that a given key signed, for the wanted issuer and audience, and that is in date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    claims: Map<String, Value>,
    expires: u64,
    waivers: Vec<Waiver>,
}

impl Token {
    /// Parses `header.payload.signature`. No member may be there twice, nothing may be critical.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN {
            return Err(TokenError::Length { got: text.len(), most: MAX_TOKEN });
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(form("it has not three parts"));
        };
        let members = object(header, "the header")?;
        if members.contains_key("crit") || members.contains_key("b64") {
            return Err(TokenError::Critical);
        }
        let named = members.get("alg").and_then(Value::as_str).unwrap_or("");
        let algorithm = taken(named)?;
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(form("the header's `kid` is no text")),
        };
        let claims = object(payload, "the payload")?;
        if signature.is_empty() {
            return Err(form("it is not signed"));
        }
        Ok(Self { message: format!("{header}.{payload}"), signature: signature.to_owned(), algorithm, kid, claims })
    }

    /// The claims. **Not verified**: good for finding the right keys and for explaining, never for trust.
    pub fn claimed(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The key id that the token names. Not verified.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Verifies signature, time, issuer and audience, in that order.
    pub fn verify(self, keys: &KeySet, rules: &Rules, now: UnixTime) -> Result<VerifiedToken, TokenError> {
        self.attested(keys, rules, now)
    }

    fn attested(self, keys: &KeySet, rules: &Rules, now: UnixTime) -> Result<VerifiedToken, TokenError> {
        let key = keys.find(self.kid.as_deref())?;
        // The key says which algorithm it is for; what the header says must agree and decides nothing.
        if self.algorithm != key.algorithm {
            let (token, key) = (format!("{:?}", self.algorithm), format!("{:?}", key.algorithm));
            return Err(TokenError::AlgorithmMismatch { token, key });
        }
        let signed = crypto::verify(&self.signature, self.message.as_bytes(), &key.decoding, key.algorithm);
        if !matches!(signed, Ok(true)) {
            return Err(TokenError::Signature);
        }
        let expires = rules.check_time(&self.claims, now)?;
        let mut waivers = Vec::new();
        rules.check_issuer(&self.claims, &mut waivers)?;
        rules.check_audience(&self.claims, &mut waivers)?;
        Ok(VerifiedToken { claims: self.claims, expires, waivers })
    }
}

impl VerifiedToken {
    /// What the service says.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// `exp`, seconds since 1970.
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// What was not compared, and why.
    pub fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }
}

/// Algorithms with a public key. `none` and HMAC are refused by name, before any key is looked at.
fn taken(named: &str) -> Result<Algorithm, TokenError> {
    match named {
        "RS256" => Ok(Algorithm::RS256),
        "RS384" => Ok(Algorithm::RS384),
        "RS512" => Ok(Algorithm::RS512),
        "PS256" => Ok(Algorithm::PS256),
        "PS384" => Ok(Algorithm::PS384),
        "PS512" => Ok(Algorithm::PS512),
        "ES256" => Ok(Algorithm::ES256),
        "ES384" => Ok(Algorithm::ES384),
        other => Err(TokenError::AlgorithmRefused { got: other.chars().take(40).collect() }),
    }
}

fn object(part: &str, which: &str) -> Result<Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| form(&format!("{which} is not base64url")))?;
    match strict::parse(&bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(form(&format!("{which} is no object"))),
        Err(error) => Err(form(&format!("{which} is not JSON: {error}"))),
    }
}

fn form(what: &str) -> TokenError {
    TokenError::Form { what: what.to_owned() }
}
