//! Attestation tokens of services: Microsoft Azure Attestation, EAR, NVIDIA's NRAS.

use super::{Accepted, Question, Refused, Verdict, Wanted, waived};
use crate::args::EvidenceKind as Kind;
use crate::collateral::{Form, Piece};
use crate::outcome::{Failure, Result};
use attest::token::nras::DetachedEat;
use attest::token::{Audience, KeySet, Rules, Token, TokenError, VerifiedToken, ear, maa, nras};
use base64::Engine;
use base64::prelude::{
    BASE64_STANDARD as STANDARD, BASE64_URL_SAFE as URL_SAFE, BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD,
};
use claims::token::MaaTee;
use claims::wanted::{EarWanted, MaaWanted, NrasWanted, claim_difference};
use claims::{Allowed, Code, Finding, HostData, LaunchDigest, ReportData};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

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
    let verdict = match kind {
        Kind::Nras => of_nras(question, &question.wanted.values(kind)?),
        Kind::Ear => of_ear(question, &question.wanted.values(kind)?),
        _ => of_maa(question, &question.wanted.values(kind)?)?,
    };
    Ok(verdict.map_err(|refused| {
        let next = match refused.code {
            Code::JwtKey => Some("give the service's current key set (JWKS) with --collateral"),
            Code::JwtTime => Some("to appraise an old token, give its time with --at"),
            _ => None,
        };
        let claims = claimed_of(kind, question.bytes).unwrap_or_default();
        let claim = refused.finding.as_ref().map_or("", |finding| &finding.claim);
        let wanted_from = match refused.code {
            Code::JwtBinding if question.nonce.is_some() && claim.ends_with("nonce") => Some("--nonce".to_owned()),
            Code::JwtBinding if question.report_data.is_some() => Some("--report-data".to_owned()),
            // Compared before the signature's verdict is handed out, but with what the file says.
            Code::JwtIssuer | Code::JwtAudience => question.wanted.source(),
            _ => refused.genuine.then(|| question.wanted.source()).flatten(),
        };
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

type Claims = BTreeMap<String, Value>;

/// Whether the service signed the token, for us, and what the file says about claims by name holds.
fn genuine(
    question: &Question<'_>,
    rules: &Rules,
    wanted: &Claims,
) -> std::result::Result<VerifiedToken, Box<Refused>> {
    let token = parse(question.bytes).map_err(|error| refused(error, false))?;
    let verified = keys(question)
        .and_then(|keys| token.verify(&keys, rules, question.at))
        .map_err(|error| refused(error, false))?;
    other_claims(verified.claims(), wanted, "")?;
    Ok(verified)
}

fn of_maa(question: &Question<'_>, wanted: &MaaWanted) -> Result<Verdict> {
    let asked = asked_tee(question, wanted)?;
    let verdict = || {
        let verified = genuine(question, &rules(question, &wanted.issuer, &wanted.audience), &wanted.claims)?;
        let stated = maa::claims(&verified).map_err(|error| refused(error, true))?;
        if matches!(stated.tee, MaaTee::Sgx(_)) && question.report_data.is_some() {
            let reason = "the token is about an SGX enclave, and holds no report data to compare".to_owned();
            return Err(Box::new(Refused { genuine: true, ..Refused::malformed(Code::JwtBinding, reason) }));
        }
        let tee = asked.unwrap_or(match stated.tee {
            MaaTee::Snp(_) => Tee::Snp,
            MaaTee::Sgx(_) => Tee::Sgx,
            MaaTee::Tdx(_) => Tee::Tdx,
        });
        let expected = maa_expected(question, wanted, tee);
        let appraised = maa::appraise(&verified, &expected).map_err(|error| refused(error, true))?;
        let not_compared = waived(&appraised.waivers);
        let facts = json!({ "expires": verified.expires() });
        Ok(Accepted { claims: json!(appraised.claims), not_compared, facts, warnings: Vec::new() })
    };
    Ok(verdict())
}

fn of_ear(question: &Question<'_>, wanted: &EarWanted) -> Verdict {
    let verified = genuine(question, &rules(question, &wanted.issuer, &wanted.audience), &wanted.claims)?;
    let mut not_compared = Vec::new();
    if wanted.submods.is_empty() {
        not_compared.push(format!("submods: {}", question.wanted.reason()));
    }
    let expected = ear_expected(question, wanted, &verified);
    let appraised = ear::appraise(&verified, &expected).map_err(|error| refused(error, true))?;
    not_compared.extend(waived(&appraised.waivers));
    let facts = json!({ "expires": verified.expires() });
    Ok(Accepted { claims: json!(appraised.claims), not_compared, facts, warnings: Vec::new() })
}

fn of_nras(question: &Question<'_>, wanted: &NrasWanted) -> Verdict {
    let eat = DetachedEat::parse(question.bytes).map_err(|error| refused(error, false))?;
    let rules = rules(question, &wanted.issuer, &wanted.audience);
    let verified = keys(question)
        .and_then(|keys| eat.verify(&keys, &rules, question.at))
        .map_err(|error| refused(error, false))?;
    other_claims(verified.overall(), &wanted.claims, "")?;
    for (name, claims) in verified.devices() {
        other_claims(claims, &wanted.device_claims, &format!("{name}."))?;
    }
    let allowed = |values: &[String]| question.wanted.allowed(values.to_vec());
    let expected = nras::Expected {
        nonce: match &question.nonce {
            Some(nonce) => Allowed::only(hex::encode(nonce)),
            None => Allowed::any("no --nonce was given"),
        },
        devices: question.wanted.allowed(wanted.count.into_iter().collect()),
        ueids: allowed(&wanted.devices),
        models: allowed(&wanted.hardware_model),
        drivers: allowed(&wanted.driver),
        vbios: allowed(&wanted.vbios),
    };
    let appraised = verified.appraise(&expected).map_err(|error| refused(error, true))?;
    let mut not_compared = waived(&appraised.waivers);
    // One line where every device says the same.
    let mut seen = BTreeSet::new();
    not_compared.retain(|line| seen.insert(line.clone()));
    let facts = json!({ "expires": appraised.claims.expires });
    Ok(Accepted { claims: json!(appraised.claims), not_compared, facts, warnings: Vec::new() })
}

fn refused(error: TokenError, genuine: bool) -> Box<Refused> {
    Box::new(Refused { genuine, ..Refused::of(&error) })
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

fn rules(question: &Question<'_>, issuer: &[String], audience: &[String]) -> Rules {
    let audience = match audience {
        [] => Audience::NotUsed { reason: question.wanted.reason() },
        some => Audience::OneOf(some.to_vec()),
    };
    Rules { issuer: question.wanted.allowed(issuer.to_vec()), audience, leeway_seconds: LEEWAY_SECONDS }
}

/// Claims that the reference file names beside the ones that have a meaning here.
fn other_claims(claims: &Map<String, Value>, wanted: &Claims, whose: &str) -> std::result::Result<(), Box<Refused>> {
    match claim_difference(wanted, claims) {
        Some((claim, got, wanted)) => {
            let claim = format!("{whose}{claim}");
            let refused = Refused::malformed(Code::JwtClaim, format!("claim `{claim}` is not the wanted one"));
            let finding = Some(Finding::new(claim, got, wanted));
            Err(Box::new(Refused { finding, genuine: true, ..refused }))
        }
        None => Ok(()),
    }
}

fn ear_expected(question: &Question<'_>, wanted: &EarWanted, token: &VerifiedToken) -> ear::Expected {
    let submods = token.claims().get("submods").and_then(Value::as_object);
    let submods: BTreeSet<String> = match wanted.submods.as_slice() {
        [] => submods.into_iter().flat_map(|submods| submods.keys().cloned()).collect(),
        some => some.iter().cloned().collect(),
    };
    let tiers = match &question.wanted {
        Wanted::Any { reason } => Allowed::any(reason),
        Wanted::Reference { .. } => ear::affirming(),
    };
    ear::Expected {
        profile: question.wanted.allowed(wanted.profile.clone()),
        submods,
        tiers,
        nonce: nonce(question),
        policies: question.wanted.allowed(wanted.policies.clone()),
    }
}

/// The session's nonce in the spellings in which services repeat it: the bytes themselves, where they are text, and hex
/// and base64 of them.
fn nonce(question: &Question<'_>) -> Allowed<String> {
    let Some(bytes) = &question.nonce else { return Allowed::any("no --nonce was given") };
    let mut spellings = vec![hex::encode(bytes), hex::encode_upper(bytes)];
    spellings.extend([STANDARD.encode(bytes), URL_SAFE.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)]);
    spellings.extend(std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty()).map(str::to_owned));
    spellings.retain(|text| !text.is_empty());
    Allowed::OneOf(spellings)
}

/// What the processor behind a token of MAA is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tee {
    Snp,
    Sgx,
    Tdx,
}

/// The TEE that the file is about, by what it names; none when it names nothing of any.
fn asked_tee(question: &Question<'_>, wanted: &MaaWanted) -> Result<Option<Tee>> {
    let snp = !wanted.measurement.is_empty() || !wanted.host_data.is_empty();
    let sgx = !wanted.mrenclave.is_empty()
        || !wanted.mrsigner.is_empty()
        || !wanted.product_id.is_empty()
        || wanted.svn.is_some()
        || !wanted.enclave_held_data.is_empty();
    let tdx = !wanted.mr_td.is_empty() || !wanted.tcb_status.is_empty();
    match (snp, sgx, tdx) {
        (false, false, false) => Ok(None),
        (false, true, false) if question.report_data.is_some() => {
            Err(Failure::usage("a token about an SGX enclave holds no report data")
                .hint("name what the session binds as `enclave_held_data` in the reference file"))
        }
        (true, false, false) => Ok(Some(Tee::Snp)),
        (false, true, false) => Ok(Some(Tee::Sgx)),
        (false, false, true) => Ok(Some(Tee::Tdx)),
        _ => Err(Failure::usage("the reference file names values of more than one kind of TEE").hint(
            "write one file for each; the manual's page on reference values shows which member is of which kind",
        )),
    }
}

fn maa_expected(question: &Question<'_>, wanted: &MaaWanted, tee: Tee) -> maa::Expected {
    let allowed = |values: &[String]| question.wanted.allowed(values.to_vec());
    let report_data: Allowed<ReportData> = match question.report_data {
        Some(data) => Allowed::only(data),
        None => Allowed::any("no --report-data was given"),
    };
    let hex = |digests: &[claims::Digest256]| digests.iter().map(ToString::to_string).collect();
    let tee = match tee {
        Tee::Snp => maa::ExpectedTee::Snp {
            measurement: question.wanted.allowed(wanted.measurement.iter().map(|one| LaunchDigest(one.0)).collect()),
            host_data: question.wanted.allowed(wanted.host_data.iter().map(|one| HostData(one.0)).collect()),
            report_data,
        },
        Tee::Sgx => maa::ExpectedTee::Sgx {
            mrenclave: question.wanted.allowed(hex(&wanted.mrenclave)),
            mrsigner: question.wanted.allowed(hex(&wanted.mrsigner)),
            product_id: question.wanted.allowed(wanted.product_id.clone()),
            svn_floor: wanted.svn.unwrap_or(0),
            enclave_held_data: allowed(&wanted.enclave_held_data),
        },
        Tee::Tdx => maa::ExpectedTee::Tdx {
            mr_td: question.wanted.allowed(wanted.mr_td.iter().map(ToString::to_string).collect()),
            tcb_status: allowed(&wanted.tcb_status),
            report_data,
        },
    };
    maa::Expected {
        compliance: allowed(&wanted.compliance_status),
        policy_hash: allowed(&wanted.policy_hash),
        nonce: nonce(question),
        tee,
    }
}
