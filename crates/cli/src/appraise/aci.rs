//! Confidential container groups: the sidecar's `/attest/combined` answer, or the same with the policy beside it.

use super::{Accepted, Question, Refused, Verdict, Wanted, waived};
use crate::args::EvidenceKind as Kind;
use crate::outcome::Result;
use attest::aci::{AciError, AciEvidence, Expected, SvnFloor, UVM_FEED, UVM_ISSUER, UVM_SVN_FLOOR};
use attest::snp::CrlPolicy;
use claims::wanted::AciWanted;
use claims::{Allowed, Code, HostData};
use serde_json::{Value, json};

/// Whether it is the combined form.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok_and(|value| value.get("uvm_endorsements").is_some())
}

/// Verifies and appraises.
pub(super) fn verify(question: &Question<'_>) -> Result<Verdict> {
    let wanted: AciWanted = question.wanted.values(Kind::Aci)?;
    let mut evidence = match AciEvidence::from_combined(question.bytes) {
        Ok(evidence) => evidence,
        Err(error) => return Ok(Err(Box::new(Refused::of(&error)))),
    };
    evidence.policy = question.pieces.policy().map(|piece| piece.bytes.clone());
    let claims = super::snp::fields(evidence.report.claimed());
    let refused = |error: AciError, genuine| Box::new(refusal(&error, question, claims.clone(), genuine));
    let crl = match question.require_crl {
        true => CrlPolicy::Required,
        false => CrlPolicy::AbsentOk { reason: "no --require-crl was given".to_owned() },
    };
    let issuer = wanted.issuer.as_deref().unwrap_or(UVM_ISSUER);
    let expected = expected(question, &wanted);
    let verdict = evidence
        .verify(issuer, &crl, question.at)
        .map_err(|error| refused(error, false))
        .and_then(|verified| verified.appraise(&expected).map_err(|error| refused(error, true)))
        .map(|appraised| Accepted {
            claims: json!(appraised.claims()),
            not_compared: waived(appraised.waivers()),
            facts: json!({}),
            warnings: match appraised.claims().uvm.svn {
                svn if svn < UVM_SVN_FLOOR.svn => vec![format!(
                    "the utility VM has security version {svn}; {} ({}) asks for {}",
                    UVM_SVN_FLOOR.source, UVM_SVN_FLOOR.date, UVM_SVN_FLOOR.svn
                )],
                _ => Vec::new(),
            },
        });
    Ok(verdict)
}

/// Unverified claims.
pub(super) fn claimed_of(bytes: &[u8]) -> std::result::Result<Value, Box<Refused>> {
    AciEvidence::from_combined(bytes)
        .map(|evidence| super::snp::fields(evidence.report.claimed()))
        .map_err(|error| Box::new(Refused::of(&error)))
}

fn expected(question: &Question<'_>, wanted: &AciWanted) -> Expected {
    let why = question.wanted.reason();
    let report_data = match question.report_data {
        Some(data) => Allowed::only(data),
        None => Allowed::any("no --report-data was given"),
    };
    let snp = super::snp::any(&why, report_data);
    let policies = wanted.host_data.iter().map(|digest| HostData(digest.0)).collect();
    let policy = question.wanted.allowed(policies);
    let feed = match (&question.wanted, wanted.feed.is_empty()) {
        (_, false) => Allowed::OneOf(wanted.feed.clone()),
        (Wanted::Any { reason }, true) => Allowed::any(reason),
        (Wanted::Reference { .. }, true) => Allowed::only(UVM_FEED.to_owned()),
    };
    let svn = match (&question.wanted, wanted.svn) {
        (_, Some(floor)) => SvnFloor::AtLeast(floor),
        (Wanted::Any { reason }, None) => SvnFloor::None { reason: reason.clone() },
        (Wanted::Reference { .. }, None) => SvnFloor::AtLeast(UVM_SVN_FLOOR.svn),
    };
    Expected { snp, feed, svn, policy }
}

fn refusal(error: &AciError, question: &Question<'_>, claims: Value, genuine: bool) -> Refused {
    let wanted_from = question.wanted.source();
    let refused = Refused { claims, genuine, wanted_from, ..Refused::of(error) };
    match error.code() {
        Code::AciPolicy => refused.next("compare the policies: confide aci policy … --diff"),
        _ => refused,
    }
}
