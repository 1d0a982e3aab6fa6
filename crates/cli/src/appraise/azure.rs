//! Azure confidential VMs with SNP or TDX: Trustee's JSON form of HCL report, vTPM quote and PCRs.

use super::{Accepted, Question, Refused, Verdict, dcap, tpm, waived};
use crate::args::EvidenceKind as Kind;
use crate::outcome::Result;
use attest::azure::kbs::{self, Envelope};
use attest::azure::{
    AzureError, Console, Expected, ExpectedHardware, Hardware, VerifiedAzure, VerifiedTdBody, VmRules,
};
use attest::dcap::{ExpectedBody, Tolerance};
use attest::snp::{CertificateTable, CrlPolicy, Endorsements, Rule};
use claims::wanted::{AzureTdxWanted, AzureWanted, TdxWanted};
use claims::{Allowed, Code, Digest256, LaunchDigest};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Whether it is the JSON form, of an SNP VM.
pub(super) fn looks_like_snp(bytes: &[u8]) -> bool {
    members(bytes).is_some_and(|td| !td)
}

/// Whether it is the JSON form, of a TDX VM.
pub(super) fn looks_like_tdx(bytes: &[u8]) -> bool {
    members(bytes).is_some_and(|td| td)
}

/// Whether a TD's quote is in the JSON form; none if it is another JSON.
fn members(bytes: &[u8]) -> Option<bool> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    (value.get("hcl_report")?.is_string() && value.get("tpm_quote")?.is_object())
        .then(|| value.get("td_quote").is_some())
}

/// Verifies and appraises an SNP VM.
pub(super) fn verify_snp(question: &Question<'_>) -> Result<Verdict> {
    let mut collateral = question.pieces.snp()?;
    let wanted: AzureWanted = question.wanted.values(Kind::AzSnpVtpm)?;
    let envelope = match kbs::parse(question.bytes) {
        Ok(envelope) => envelope,
        Err(error) => return Ok(Err(Box::new(refusal(&error, question)))),
    };
    if let Some(vcek) = &envelope.vcek {
        // Untrusted like all the rest: a bad one makes the chain fail.
        let _ = collateral.add(vcek);
    }
    let claimed = claimed(&envelope.evidence.hcl);
    let Hardware::Snp(report) = envelope.evidence.hcl.hardware() else {
        return Ok(Err(Box::new(Refused::malformed(Code::EvidenceKind, "the HCL report is not of an SNP VM".into()))));
    };
    let with = Endorsements::choose(report, &CertificateTable::of(Vec::new()), &collateral);
    let crl = match question.require_crl {
        true => CrlPolicy::Required,
        false => CrlPolicy::AbsentOk { reason: "no --require-crl was given".to_owned() },
    };
    let why = question.wanted.reason();
    let mut hardware = super::snp::any(&why, Allowed::any("the runtime claims' hash stands there"));
    // The HCL reports for itself, at the highest level (`reference/snp.md` 5.4).
    hardware.vmpl = Allowed::only(0);
    hardware.measurement = question.wanted.allowed(measurements(&wanted.measurement)?);
    let vm = Vm { pcrs: &wanted.pcrs, secure_boot: wanted.secure_boot, console: wanted.console };
    let expected = expected(question, ExpectedHardware::Snp(Box::new(hardware)), &vm);
    let verified = envelope.evidence.verify_snp(&with, &crl, question.at);
    Ok(appraise(verified, &expected, &claimed, question, json!({})))
}

/// Verifies and appraises a TDX VM: the TD's quote first, as any other, then that the TD report inside of the HCL report
/// is the quoted one.
pub(super) fn verify_tdx(question: &Question<'_>) -> Result<Verdict> {
    let wanted: AzureTdxWanted = question.wanted.values(Kind::AzTdxVtpm)?;
    let Envelope { evidence, td_quote, .. } = match kbs::parse(question.bytes) {
        Ok(envelope) => envelope,
        Err(error) => return Ok(Err(Box::new(refusal(&error, question)))),
    };
    let claimed = claimed(&evidence.hcl);
    let not_tdx = || Ok(Err(Box::new(Refused::malformed(Code::EvidenceKind, "there is no quote of a TD".into()))));
    let Some(quote) = td_quote else { return not_tdx() };
    let quoted = match dcap::genuine(&quote, question)? {
        Ok(quoted) => quoted,
        Err(refused) => return Ok(Err(refused)),
    };
    let Some(body) = VerifiedTdBody::of_quote(&quoted) else { return not_tdx() };
    let td = TdxWanted { mr_td: wanted.mr_td, tcb: wanted.tcb, ..TdxWanted::default() };
    let mut td = dcap::td_expected(td, Allowed::any("the runtime claims' hash stands there"), question)?;
    if let ExpectedBody::Tdx(td) = &mut td.body {
        // Azure's TDs all have it off: the paravisor in them handles a missing page, not the guest.
        td.sept_ve = Tolerance::Tolerated { reason: "Azure's paravisor answers for missing pages".to_owned() };
    }
    let quoted = match quoted.appraise(&td) {
        Ok(quoted) => quoted,
        Err(error) => return Ok(Err(Box::new(dcap::refusal(&error, question, claimed, true)))),
    };
    let hardware = ExpectedHardware::Tdx { mr_td: Allowed::any("compared as part of the quote") };
    let vm = Vm { pcrs: &wanted.pcrs, secure_boot: wanted.secure_boot, console: wanted.console };
    let expected = expected(question, hardware, &vm);
    let facts = dcap::facts(quoted.claims());
    let verdict = appraise(evidence.verify_tdx(&body), &expected, &claimed, question, facts);
    Ok(verdict.map(|mut accepted| {
        accepted.not_compared.extend(waived(quoted.waivers()));
        accepted.warnings.extend(dcap::warnings(quoted.claims(), question.at));
        accepted
    }))
}

/// The last step of both: settings, user data, the vTPM's quote.
fn appraise(
    verified: std::result::Result<VerifiedAzure, AzureError>,
    expected: &Expected,
    claimed: &Value,
    question: &Question<'_>,
    facts: Value,
) -> Verdict {
    let refused = |error: AzureError, genuine| {
        Box::new(Refused { genuine, claims: claimed.clone(), ..refusal(&error, question) })
    };
    verified
        .map_err(|error| refused(error, false))
        .and_then(|verified| verified.appraise(expected).map_err(|error| refused(error, true)))
        .map(|appraised| Accepted {
            claims: json!({ "azure": appraised.claims(), "quote": appraised.quote() }),
            not_compared: waived(appraised.waivers()),
            facts,
            warnings: Vec::new(),
        })
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

/// The TD's quote inside; for the vendor's services.
pub(crate) fn azure_quote(bytes: &[u8]) -> Option<Vec<u8>> {
    kbs::parse(bytes).ok()?.td_quote
}

fn claimed(hcl: &attest::azure::HclReport) -> Value {
    let hardware = match hcl.hardware() {
        Hardware::Snp(report) => super::snp::fields(report.claimed()),
        Hardware::Tdx(td) => json!({ "report_data": td.report_data() }),
    };
    json!({ "hardware": hardware, "vm_configuration": hcl.vm_configuration() })
}

/// What is wanted of the VM, whichever processor it runs on.
struct Vm<'a> {
    pcrs: &'a BTreeMap<u8, Vec<Digest256>>,
    secure_boot: Option<bool>,
    console: Option<bool>,
}

fn expected(question: &Question<'_>, hardware: ExpectedHardware, vm: &Vm<'_>) -> Expected {
    let why = question.wanted.reason();
    let console = match vm.console {
        Some(false) => Console::Forbidden,
        _ => Console::Allowed { reason: why.clone() },
    };
    let rules = VmRules {
        secure_boot: if vm.secure_boot == Some(false) { Rule::NotAsked } else { Rule::Required },
        console,
        ..VmRules::strict()
    };
    Expected { hardware, quote: tpm::expected(question, vm.pcrs), vm: rules, user_data: Allowed::any(why) }
}

fn measurements(texts: &[String]) -> Result<Vec<LaunchDigest>> {
    let parse = |text: &String| {
        text.parse().map_err(|error| {
            crate::outcome::Failure::usage(format!("`{text}` is not a launch measurement")).because(error)
        })
    };
    texts.iter().map(parse).collect()
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
