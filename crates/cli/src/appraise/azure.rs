//! Azure confidential VMs with SNP: Trustee's JSON form of HCL report, vTPM quote and PCRs.

use super::{Accepted, Question, Refused, Verdict, tpm, waived};
use crate::args::EvidenceKind as Kind;
use crate::outcome::Result;
use attest::azure::{AzureError, Console, Expected, ExpectedHardware, Hardware, VmRules, kbs};
use attest::snp::{CertificateTable, CrlPolicy, Endorsements, Rule};
use claims::wanted::AzureWanted;
use claims::{Allowed, Code, LaunchDigest};
use serde_json::{Value, json};

/// Whether it is the JSON form.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok_and(|value| {
        value.get("hcl_report").is_some() && value.get("tpm_quote").is_some() && value.get("td_quote").is_none()
    })
}

/// Verifies and appraises.
pub(super) fn verify(question: &Question<'_>) -> Result<Verdict> {
    let collateral = question.pieces.snp()?;
    let wanted: AzureWanted = question.wanted.values(Kind::AzSnpVtpm)?;
    let mut collateral = collateral;
    let envelope = match kbs::parse(question.bytes) {
        Ok(envelope) => envelope,
        Err(error) => return Ok(Err(Box::new(refusal(&error, question)))),
    };
    if let Some(vcek) = &envelope.vcek {
        // Untrusted like all the rest: a bad one makes the chain fail.
        let _ = collateral.add(vcek);
    }
    let claimed = claimed(&envelope.evidence.hcl);
    let refused = |error: AzureError, genuine| {
        Box::new(Refused { genuine, claims: claimed.clone(), ..refusal(&error, question) })
    };
    let Hardware::Snp(report) = envelope.evidence.hcl.hardware() else {
        return Ok(Err(Box::new(Refused::malformed(Code::EvidenceKind, "the HCL report is not of an SNP VM".into()))));
    };
    let with = Endorsements::choose(report, &CertificateTable::of(Vec::new()), &collateral);
    let crl = match question.require_crl {
        true => CrlPolicy::Required,
        false => CrlPolicy::AbsentOk { reason: "no --require-crl was given".to_owned() },
    };
    let expected = expected(question, &wanted)?;
    let verdict = envelope
        .evidence
        .verify_snp(&with, &crl, question.at)
        .map_err(|error| refused(error, false))
        .and_then(|verified| verified.appraise(&expected).map_err(|error| refused(error, true)))
        .map(|appraised| Accepted {
            claims: json!({ "azure": appraised.claims(), "quote": appraised.quote() }),
            not_compared: waived(appraised.waivers()),
            facts: json!({}),
            warnings: Vec::new(),
        });
    Ok(verdict)
}

/// Unverified claims.
pub(super) fn claimed_of(bytes: &[u8]) -> std::result::Result<Value, Box<Refused>> {
    kbs::parse(bytes).map(|envelope| claimed(&envelope.evidence.hcl)).map_err(|error| Box::new(Refused::of(&error)))
}

/// The SNP report inside; for the vendor's services.
pub(crate) fn azure_report(bytes: &[u8]) -> Option<attest::snp::Report> {
    let envelope = kbs::parse(bytes).ok()?;
    match envelope.evidence.hcl.hardware() {
        Hardware::Snp(report) => Some((**report).clone()),
        Hardware::Tdx(_) => None,
    }
}

fn claimed(hcl: &attest::azure::HclReport) -> Value {
    let hardware = match hcl.hardware() {
        Hardware::Snp(report) => super::snp::fields(report.claimed()),
        Hardware::Tdx(td) => json!({ "report_data": td.report_data() }),
    };
    json!({ "hardware": hardware, "vm_configuration": hcl.vm_configuration() })
}

fn expected(question: &Question<'_>, wanted: &AzureWanted) -> Result<Expected> {
    let mut measurements = Vec::new();
    for text in &wanted.measurement {
        let digest: LaunchDigest = text.parse().map_err(|error| {
            crate::outcome::Failure::usage(format!("`{text}` is not a launch measurement")).because(error)
        })?;
        measurements.push(digest);
    }
    let why = question.wanted.reason();
    let mut hardware = super::snp::any(&why, Allowed::any("the runtime claims' hash stands there"));
    hardware.measurement = question.wanted.allowed(measurements);
    let console = match wanted.console {
        Some(false) => Console::Forbidden,
        _ => Console::Allowed { reason: why.clone() },
    };
    let vm = VmRules {
        secure_boot: if wanted.secure_boot == Some(false) { Rule::NotAsked } else { Rule::Required },
        console,
        ..VmRules::strict()
    };
    Ok(Expected {
        hardware: ExpectedHardware::Snp(Box::new(hardware)),
        quote: tpm::expected(question, &wanted.pcrs),
        vm,
        user_data: Allowed::any(why),
    })
}

fn refusal(error: &AzureError, question: &Question<'_>) -> Refused {
    let refused = Refused { wanted_from: question.wanted.source(), ..Refused::of(error) };
    match error.code() {
        Code::SnpChain | Code::SnpRoot => refused
            .next("give AMD's chain with --collateral")
            .next(format!("or fetch it: confide evidence fetch-collateral {}", question.file.display())),
        _ => refused,
    }
}
