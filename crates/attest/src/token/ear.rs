//! Attestation results (draft-fv-rats-ear) with trust vectors (AR4SI), as Trustee and Veraison write them.
//!
//! *Takes* a verified token. *Guarantees* that its submodules are exactly the wanted ones, each of a wanted tier, and that
//! each status is no better than its own vector. *Does not check* the annotated evidence, beyond the nonce in it.

use super::error::TokenError;
use super::jwt::VerifiedToken;
use super::value::{compare, differs, optional_text, text, wrong};
use crate::snp::Waiver;
use claims::token::{Appraisal, EarClaims, Tier};
use claims::{Allowed, Code};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a result must state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// `eat_profile`.
    pub profile: Allowed<String>,
    /// Exactly these submodules, no more and no fewer.
    pub submods: BTreeSet<String>,
    /// Tiers that are accepted; [`affirming`] is what a release should ask for.
    pub tiers: Allowed<Tier>,
    /// The session's nonce, as text: `eat_nonce`, or the nonce in the annotated evidence of every submodule (Trustee);
    /// empty stands for none.
    pub nonce: Allowed<String>,
    /// Appraisal policies that are accepted; empty stands for none.
    pub policies: Allowed<String>,
}

/// A result whose claims are the wanted ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraised {
    /// What the service says.
    pub claims: EarClaims,
    /// What was not compared, and why.
    pub waivers: Vec<Waiver>,
}

/// `eat_profile` of Trustee.
pub const TRUSTEE_PROFILE: &str = "tag:github.com,2024:confidential-containers/Trustee";
/// `eat_profile` of the draft.
pub const DRAFT_PROFILE: &str = "tag:github.com,2023:veraison/ear";

/// Affirming results only.
pub fn affirming() -> Allowed<Tier> {
    Allowed::only(Tier::Affirming)
}

/// Reads the claims of a verified token. A status that is better than its own vector is refused.
pub fn claims(token: &VerifiedToken) -> Result<EarClaims, TokenError> {
    let members = token.claims();
    let submods = members.get("submods").and_then(Value::as_object).ok_or_else(|| wrong("submods", "is no object"))?;
    let submods: Result<BTreeMap<String, Appraisal>, TokenError> =
        submods.iter().map(|(name, value)| Ok((name.clone(), appraisal(name, value)?))).collect();
    Ok(EarClaims {
        issuer: optional_text(members, "iss")?,
        profile: text(members, "eat_profile")?,
        expires: token.expires(),
        nonce: optional_text(members, "eat_nonce")?,
        submods: submods?,
    })
}

/// Compares the claims of a verified token with what is wanted.
pub fn appraise(token: &VerifiedToken, expected: &Expected) -> Result<Appraised, TokenError> {
    let claims = claims(token)?;
    let mut waivers = token.waivers().to_vec();
    compare(&mut waivers, "eat_profile", Code::JwtClaim, &expected.profile, &claims.profile)?;
    if let Some(name) = expected.submods.iter().find(|name| !claims.submods.contains_key(*name)) {
        return Err(TokenError::Submod { name: name.clone(), what: "is missing" });
    }
    for (name, appraisal) in &claims.submods {
        if !expected.submods.contains(name) {
            return Err(TokenError::Submod { name: name.clone(), what: "is not expected" });
        }
        compare(&mut waivers, "ear.status", Code::JwtStatus, &expected.tiers, &appraisal.status)?;
        let policy = appraisal.policy_id.clone().unwrap_or_default();
        compare(&mut waivers, "ear.appraisal-policy-id", Code::JwtClaim, &expected.policies, &policy)?;
        let inside = appraisal.annotated_evidence.as_ref();
        let inside = inside.and_then(|value| value.pointer("/runtime_data_claims/nonce")).and_then(Value::as_str);
        let nonce = claims.nonce.as_deref().or(inside).unwrap_or_default().to_owned();
        compare(&mut waivers, "eat_nonce", Code::JwtBinding, &expected.nonce, &nonce)?;
    }
    if claims.submods.is_empty() {
        return Err(TokenError::Submod { name: String::new(), what: "is missing: a result about nothing" });
    }
    Ok(Appraised { claims, waivers })
}

fn appraisal(name: &str, value: &Value) -> Result<Appraisal, TokenError> {
    let claim = |member: &str| format!("submods.{name}.{member}");
    let members = value.as_object().ok_or_else(|| wrong(&claim(""), "is no object"))?;
    let status = match members.get("ear.status").and_then(Value::as_str) {
        Some("affirming") => Tier::Affirming,
        Some("none") => Tier::None,
        Some("warning") => Tier::Warning,
        Some("contraindicated") => Tier::Contraindicated,
        _ => return Err(wrong(&claim("ear.status"), "is no tier")),
    };
    let mut trust_vector = BTreeMap::new();
    match members.get("ear.trustworthiness-vector") {
        None => {}
        Some(Value::Object(vector)) => {
            for (name, value) in vector {
                let number = value.as_i64().and_then(|number| i8::try_from(number).ok());
                let number = number.ok_or_else(|| wrong(&claim(name), "is no trust value"))?;
                trust_vector.insert(name.clone(), number);
            }
        }
        Some(_) => return Err(wrong(&claim("ear.trustworthiness-vector"), "is no object")),
    }
    // The worst of what was looked at; a status may be worse than that, never better.
    let worst = trust_vector.values().map(|value| Tier::of(*value)).filter(|tier| *tier != Tier::None).max();
    if let Some(worst) = worst.filter(|worst| status < *worst) {
        return Err(differs(&claim("ear.status"), status, format!("{worst}, by its own vector"), Code::JwtStatus));
    }
    Ok(Appraisal {
        status,
        trust_vector,
        policy_id: optional_text(members, "ear.appraisal-policy-id")?,
        annotated_evidence: members.get("ear.veraison.annotated-evidence").cloned(),
    })
}
