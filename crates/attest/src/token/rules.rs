//! What every token must state: who issued it, for whom, and when.

use super::error::TokenError;
use super::value;
use crate::snp::Waiver;
use claims::{Allowed, UnixTime};
use serde_json::{Map, Value};

/// What every token must state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Who may have issued it (`iss`).
    pub issuer: Allowed<String>,
    /// Who it must be for (`aud`).
    pub audience: Audience,
    /// How far clocks may differ, in seconds: `exp` may be so long ago, `nbf` and `iat` so far ahead.
    pub leeway_seconds: u64,
}

/// Who a token must be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// One of these.
    OneOf(Vec<String>),
    /// The service writes none; one that does is accepted too. For the reason given.
    NotUsed {
        /// Why.
        reason: String,
    },
}

impl Rules {
    /// `exp` is needed; `nbf` and `iat` count when they are there.
    pub(super) fn check_time(&self, claims: &Map<String, Value>, now: UnixTime) -> Result<u64, TokenError> {
        let UnixTime(now) = now;
        let expires = value::time(claims, "exp")?.ok_or(TokenError::NoExpiry)?;
        if now >= expires.saturating_add(self.leeway_seconds) {
            return Err(TokenError::Expired { expires, now });
        }
        for claim in ["nbf", "iat"] {
            match value::time(claims, claim)? {
                Some(from) if from > now.saturating_add(self.leeway_seconds) => {
                    return Err(TokenError::NotYetValid { claim, from, now });
                }
                _ => {}
            }
        }
        Ok(expires)
    }

    pub(super) fn check_issuer(
        &self,
        claims: &Map<String, Value>,
        waivers: &mut Vec<Waiver>,
    ) -> Result<(), TokenError> {
        let got = value::optional_text(claims, "iss")?.unwrap_or_default();
        match &self.issuer {
            Allowed::OneOf(issuers) if issuers.contains(&got) => Ok(()),
            Allowed::OneOf(issuers) => Err(TokenError::Issuer { got, wanted: issuers.join(" or ") }),
            Allowed::Any { reason } => {
                waivers.push(Waiver { claim: "iss", reason: reason.clone() });
                Ok(())
            }
        }
    }

    pub(super) fn check_audience(
        &self,
        claims: &Map<String, Value>,
        waivers: &mut Vec<Waiver>,
    ) -> Result<(), TokenError> {
        let wrong = || TokenError::Claim { claim: "aud".to_owned(), what: "is neither a text nor a list of texts" };
        let got: Vec<String> = match claims.get("aud") {
            None => Vec::new(),
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(several)) => {
                let texts: Option<Vec<String>> = several.iter().map(|text| text.as_str().map(str::to_owned)).collect();
                texts.ok_or_else(wrong)?
            }
            Some(_) => return Err(wrong()),
        };
        match &self.audience {
            Audience::OneOf(wanted) if got.iter().any(|audience| wanted.contains(audience)) => Ok(()),
            Audience::OneOf(wanted) => Err(TokenError::Audience { got, wanted: wanted.join(" or ") }),
            Audience::NotUsed { reason } => {
                waivers.push(Waiver { claim: "aud", reason: reason.clone() });
                Ok(())
            }
        }
    }
}
