//! Confidential container groups: the sidecar's `/attest/combined` answer, or the raw report with the files of the
//! security context folder as collateral. The policy comes as collateral either way.

use super::{Accepted, Question, Refused, Verdict, Wanted, waived};
use crate::args::EvidenceKind as Kind;
use crate::outcome::Result;
use attest::aci::{
    AciError, AciEvidence, Expected, HostCertificates, SvnFloor, UVM_FEED, UVM_ISSUER, UVM_SVN_FLOOR, UvmEndorsement,
    UvmFloor,
};
use attest::snp::{CrlPolicy, REPORT_LENGTH, Report};
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
    let mut evidence = match read(question) {
        Ok(evidence) => evidence,
        Err(error) => return Ok(Err(Box::new(Refused::of(&error)))),
    };
    evidence.policy = question.pieces.policy();
    let claims = super::snp::fields(evidence.report.claimed());
    let refused = |error: AciError, genuine| {
        Box::new(refusal(
            &error,
            question,
            wanted.svn.is_some(),
            Refused { claims: claims.clone(), genuine, ..Refused::of(&error) },
        ))
    };
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

/// Reads either form; what a raw report needs is looked for among the collateral.
fn read(question: &Question<'_>) -> std::result::Result<AciEvidence, AciError> {
    if question.bytes.len() != REPORT_LENGTH {
        return AciEvidence::from_combined(question.bytes);
    }
    let missing = |file| AciError::File { file, what: "it is not among the collateral".to_owned() };
    let host = question.pieces.host_certificates().ok_or_else(|| missing("host-amd-cert-base64"))?;
    let uvm = question.pieces.reference_info().ok_or_else(|| missing("reference-info-base64"))?;
    Ok(AciEvidence {
        report: Report::parse(question.bytes)?,
        certificates: HostCertificates::parse(&host)?,
        uvm: UvmEndorsement::parse(&uvm)?,
        policy: None,
    })
}

/// Unverified claims.
pub(super) fn claimed_of(bytes: &[u8]) -> std::result::Result<Value, Box<Refused>> {
    if bytes.len() == REPORT_LENGTH {
        return super::snp::read(bytes).map(|(report, _)| super::snp::fields(report.claimed()));
    }
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
    // The utility VM is the whole machine: it runs at the highest level (`reference/aci.md` 6.3, check 2).
    let snp = attest::snp::Expected { vmpl: Allowed::only(0), ..super::snp::any(&why, report_data) };
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

/// Adds where the wanted value comes from and what to do; `wanted_svn` says whether the file names a least version.
fn refusal(error: &AciError, question: &Question<'_>, wanted_svn: bool, refused: Refused) -> Refused {
    let refused = Refused { wanted_from: question.wanted.source(), ..refused };
    match error.code() {
        Code::AciPolicy => refused.next("compare the policies: confide aci policy … --diff"),
        Code::AciSvn if !wanted_svn => {
            let UvmFloor { source, date, .. } = UVM_SVN_FLOOR;
            let refused = Refused { wanted_from: Some(format!("the published floor of {date} ({source})")), ..refused };
            refused.next("to accept an older utility VM, name its least version as `svn` in the reference file")
        }
        Code::ReportData => Refused { wanted_from: Some("--report-data".to_owned()), ..refused },
        _ => refused,
    }
}
