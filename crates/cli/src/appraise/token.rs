//! Attestation tokens of services: Microsoft Azure Attestation, EAR, NVIDIA's NRAS.

use super::{Accepted, Question, Refused, Verdict, Wanted, waived};
use crate::args::EvidenceKind as Kind;
use crate::collateral::{Form, Piece};
use crate::outcome::Result;
use attest::token::nras::DetachedEat;

use attest::token::{Audience, KeySet, Rules, Token, TokenError, VerifiedToken, ear, maa, nras};
use claims::token::MaaTee;
use claims::wanted::TokenWanted;
use claims::{Allowed, Code, Finding, ReportData};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Clocks of services and verifiers may differ by so much.
const LEEWAY_SECONDS: u64 = 60;

/// The kind of a token, by its claims.
pub(super) fn looks_like(bytes: &[u8]) -> Option<Kind> {
    if DetachedEat::parse(bytes).is_ok() {
        return Some(Kind::Nras);
    }
    let token = parse(bytes).ok()?;
    let has = |claim: &str| token.claimed().contains_key(claim);
    match () {
        () if has("x-ms-attestation-type") || has("x-ms-isolation-tee") => Some(Kind::Maa),
        () if has("submods") && has("eat_profile") => Some(Kind::Ear),
        () => None,
    }
}

/// Verifies and appraises.
pub(super) fn verify(kind: Kind, question: &Question<'_>) -> Result<Verdict> {
    let wanted: TokenWanted = question.wanted.values(kind)?;
    let verdict = match kind {
        Kind::Nras => of_nras(question, &wanted),
        _ => of_token(kind, question, &wanted),
    };
    Ok(verdict.map_err(|refused| {
        let next = match refused.code {
            Code::JwtKey => Some("give the service's current key set (JWKS) with --collateral"),
            Code::JwtTime => Some("to appraise an old token, give its time with --at"),
            _ => None,
        };
        let claims = claimed_of(kind, question.bytes).unwrap_or_default();
        let wanted_from = refused.genuine.then(|| question.wanted.source()).flatten();
        let refused = Refused { claims, wanted_from, ..*refused };
        Box::new(match next {
            Some(next) => refused.next(next),
            None => refused,
        })
    }))
}

/// Unverified claims.
pub(super) fn claimed_of(kind: Kind, bytes: &[u8]) -> std::result::Result<Value, Box<Refused>> {
    let of = |error: TokenError| Box::new(Refused::of(&error));
    match kind {
        Kind::Nras => DetachedEat::parse(bytes).map(|eat| json!(eat.overall().claimed())).map_err(of),
        _ => parse(bytes).map(|token| json!(token.claimed())).map_err(of),
    }
}

fn parse(bytes: &[u8]) -> std::result::Result<Token, TokenError> {
    let text = std::str::from_utf8(bytes).map_err(|error| TokenError::Form { what: error.to_string() })?;
    Token::parse(text.trim())
}

fn of_token(kind: Kind, question: &Question<'_>, wanted: &TokenWanted) -> Verdict {
    let refused = |error: TokenError, genuine| Box::new(Refused { genuine, ..Refused::of(&error) });
    let token = parse(question.bytes).map_err(|error| refused(error, false))?;
    let verified = keys(question)
        .and_then(|keys| token.verify(&keys, &rules(question, wanted), question.at))
        .map_err(|error| refused(error, false))?;
    other_claims(&verified, wanted)?;
    let mut not_compared = waived(verified.waivers());
    let (claims, waivers) = match kind {
        Kind::Ear => {
            let expected = ear_expected(question, &verified);
            let appraised = ear::appraise(&verified, &expected).map_err(|error| refused(error, true))?;
            (json!(appraised.claims), appraised.waivers)
        }
        _ => {
            let stated = maa::claims(&verified).map_err(|error| refused(error, true))?;
            let expected = maa_expected(question, &stated.tee);
            let appraised = maa::appraise(&verified, &expected).map_err(|error| refused(error, true))?;
            (json!(appraised.claims), appraised.waivers)
        }
    };
    not_compared.extend(waived(&waivers));
    Ok(Accepted { claims, not_compared, facts: json!({ "expires": verified.expires() }), warnings: Vec::new() })
}

fn of_nras(question: &Question<'_>, wanted: &TokenWanted) -> Verdict {
    let refused = |error: TokenError, genuine| Box::new(Refused { genuine, ..Refused::of(&error) });
    let eat = DetachedEat::parse(question.bytes).map_err(|error| refused(error, false))?;
    let devices = eat.devices().len();
    let verified = keys(question)
        .and_then(|keys| eat.verify(&keys, &rules(question, wanted), question.at))
        .map_err(|error| refused(error, false))?;
    let why = question.wanted.reason();
    let nonce = match &question.nonce {
        Some(nonce) => Allowed::only(hex::encode(nonce)),
        None => Allowed::any("no --nonce was given"),
    };
    let expected = nras::Expected { nonce, devices, drivers: Allowed::any(&why), vbios: Allowed::any(why) };
    let appraised = verified.appraise(&expected).map_err(|error| refused(error, true))?;
    let not_compared = waived(&appraised.waivers);
    Ok(Accepted { claims: json!(appraised.claims), not_compared, facts: json!({}), warnings: Vec::new() })
}

/// The key set among the collateral; without one, no key is known.
fn keys(question: &Question<'_>) -> std::result::Result<KeySet, TokenError> {
    let is_set =
        |piece: &&Piece| serde_json::from_slice::<Value>(&piece.bytes).is_ok_and(|value| value.get("keys").is_some());
    match question.pieces.of(Form::Json).find(is_set) {
        Some(piece) => KeySet::parse(&piece.bytes),
        None => KeySet::parse(br#"{"keys":[]}"#),
    }
}

fn rules(question: &Question<'_>, wanted: &TokenWanted) -> Rules {
    let issuer = question.wanted.allowed(wanted.issuer.clone());
    let audience = match wanted.audience.as_slice() {
        [] => Audience::NotUsed { reason: question.wanted.reason() },
        some => Audience::OneOf(some.to_vec()),
    };
    Rules { issuer, audience, leeway_seconds: LEEWAY_SECONDS }
}

/// Claims that the reference file names beside the ones that have a meaning here.
fn other_claims(token: &VerifiedToken, wanted: &TokenWanted) -> std::result::Result<(), Box<Refused>> {
    for (claim, value) in &wanted.claims {
        let got = token.claims().get(claim).cloned().unwrap_or(Value::Null);
        if got != *value {
            let refused = Refused::malformed(Code::JwtClaim, format!("claim `{claim}` is not the wanted one"));
            let finding = Some(Finding::new(claim.as_str(), got, value));
            return Err(Box::new(Refused { finding, genuine: true, ..refused }));
        }
    }
    Ok(())
}

fn ear_expected(question: &Question<'_>, token: &VerifiedToken) -> ear::Expected {
    let why = question.wanted.reason();
    let submods = token.claims().get("submods").and_then(Value::as_object);
    let submods: BTreeSet<String> = submods.into_iter().flat_map(|submods| submods.keys().cloned()).collect();
    let tiers = match &question.wanted {
        Wanted::Any { reason } => Allowed::any(reason),
        Wanted::Reference { .. } => ear::affirming(),
    };
    let nonce = match &question.nonce {
        Some(nonce) => Allowed::only(String::from_utf8_lossy(nonce).into_owned()),
        None => Allowed::any("no --nonce was given"),
    };
    ear::Expected { profile: Allowed::any(&why), submods, tiers, nonce, policies: Allowed::any(why) }
}

fn maa_expected(question: &Question<'_>, tee: &MaaTee) -> maa::Expected {
    let why = question.wanted.reason();
    let report_data: Allowed<ReportData> = match question.report_data {
        Some(data) => Allowed::only(data),
        None => Allowed::any("no --report-data was given"),
    };
    let tee = match tee {
        MaaTee::Snp(_) => {
            maa::ExpectedTee::Snp { measurement: Allowed::any(&why), host_data: Allowed::any(&why), report_data }
        }
        MaaTee::Sgx(_) => maa::ExpectedTee::Sgx {
            mrenclave: Allowed::any(&why),
            mrsigner: Allowed::any(&why),
            product_id: Allowed::any(&why),
            svn_floor: 0,
            enclave_held_data: Allowed::any(&why),
        },
        MaaTee::Tdx(_) => {
            maa::ExpectedTee::Tdx { mr_td: Allowed::any(&why), tcb_status: Allowed::any(&why), report_data }
        }
    };
    maa::Expected { compliance: Allowed::any(&why), policy_hash: Allowed::any(why), tee }
}
