//! The administrators' gate: a short-lived JWT signed with the admin key (EdDSA).
//!
//! Tokens with a `role` (`admin`, `auditor`) and the older form without one (`iat`, `exp` only, as upstream's client
//! signs it) are taken; the latter is an administrator's, because the same key signs both.

use super::refusal::Refusal;
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claims::{Code, UnixTime};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

/// Longest life of an admin token.
pub const MAX_ADMIN_SECONDS: u64 = 2 * 3600;
/// How far an administrator's clock may be ahead.
const LEEWAY: u64 = 60;

/// What an administrator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// See.
    Look,
    /// See and change.
    Change,
}

/// An administrator whose token was checked for the route's scope. Made by [`Gate::admit`] only.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    name: String,
}

impl Admin {
    /// Who, for the audit log.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Knows the admin key.
pub(crate) struct Gate {
    key: DecodingKey,
}

#[derive(Debug, Serialize, Deserialize)]
struct AdminClaims {
    /// Tokens with a role may go without (upstream's from v0.21 on).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<Seconds>,
    exp: Seconds,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<Seconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
}

/// A time in a token: seconds since 1970, which may have a fraction (RFC 7519, section 2).
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(from = "Date")]
struct Seconds(u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum Date {
    Whole(u64),
    Fraction(f64),
}

impl From<Date> for Seconds {
    fn from(date: Date) -> Self {
        match date {
            Date::Whole(seconds) => Self(seconds),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "cast ends at 0 and at the largest"
            )]
            Date::Fraction(seconds) => Self(seconds as u64),
        }
    }
}

impl Gate {
    pub(crate) fn new(public_key: &[u8]) -> Option<Self> {
        DecodingKey::from_ed_components(&URL_SAFE_NO_PAD.encode(public_key)).ok().map(|key| Self { key })
    }

    /// Checks the token of a request for `scope`.
    pub(crate) fn admit(&self, headers: &HeaderMap, scope: Scope, now: UnixTime) -> Result<Admin, Refusal> {
        let refused = |words| Refusal::of(Code::Admin, words);
        let token = bearer(headers).ok_or_else(|| refused("an admin token is needed"))?;
        let header = jsonwebtoken::decode_header(token).map_err(|_| refused("the admin token is malformed"))?;
        if header.crit.is_some() {
            return Err(refused("the admin token has a critical header"));
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        // Time is the broker's own clock, below.
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<AdminClaims>(token, &self.key, &validation)
            .map_err(|error| match error.kind() {
                ErrorKind::Json(_) => refused("the admin token has no exp, or a claim of another type"),
                _ => refused("the admin token is not signed by the admin key"),
            })?
            .claims;
        if claims.iat.is_none() && claims.role.is_none() {
            return Err(refused("the admin token says neither role nor iat"));
        }
        let soon = now.0.saturating_add(LEEWAY);
        let later = |start: Option<Seconds>| start.is_some_and(|start| start.0 > soon);
        if claims.exp.0 <= now.0 || later(claims.iat) || later(claims.nbf) {
            return Err(refused("the admin token is not valid at this time"));
        }
        if claims.exp.0.saturating_sub(claims.iat.map_or(now.0, |start| start.0)) > MAX_ADMIN_SECONDS {
            return Err(refused("the admin token is valid for too long"));
        }
        let role = claims.role.as_deref().unwrap_or("admin");
        let allowed = match scope {
            Scope::Look => matches!(role, "admin" | "auditor"),
            Scope::Change => role == "admin",
        };
        if !allowed {
            return Err(refused("the admin token's role may not do this"));
        }
        let name: String = claims.sub.as_deref().unwrap_or(role).chars().take(64).collect();
        Ok(Admin { name })
    }
}

/// The token of an `Authorization: Bearer` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let only = values.next().is_none();
    (only && scheme.eq_ignore_ascii_case("bearer")).then_some(token.trim())
}

/// The admin key file is not usable.
#[derive(Debug, thiserror::Error)]
#[error("this is not an Ed25519 private key in PEM")]
pub struct AdminKeyError;

/// Signs a short-lived admin token with the key that [`crate::init`] made: what an admin's client sends.
///
/// `role` is `admin` or `auditor`; `seconds` is cut to [`MAX_ADMIN_SECONDS`].
pub fn admin_token(key_pem: &[u8], role: &str, now: UnixTime, seconds: u64) -> Result<String, AdminKeyError> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(key_pem).map_err(|_| AdminKeyError)?;
    let claims = AdminClaims {
        iat: Some(Seconds(now.0)),
        exp: Seconds(now.0.saturating_add(seconds.min(MAX_ADMIN_SECONDS))),
        nbf: None,
        role: Some(role.to_owned()),
        sub: None,
    };
    let key = EncodingKey::from_ed_der(key.secret_pkcs8_der());
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key).map_err(|_| AdminKeyError)
}
