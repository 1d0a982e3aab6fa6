//! Vectors of confidential container groups: the files in `aci/` beside a manifest of SNP reports.
//!
//! The manifest names the digest of the policy; the report is the one with that digest as host data.

use super::{Case, Run, Verdict, snp};
use attest::aci::{AciError, AciEvidence, Expected, SvnFloor, UVM_ISSUER};
use attest::snp::{BelievedVersions, PlatformRules, Rule};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::{Allowed, UnixTime};
use serde_json::Value;
use std::fs;
use std::path::Path;

const KIND: &str = "aci";

pub(super) fn run(base: &Path, manifest: &Value, now: UnixTime, run: &mut Run<'_>) {
    let check = &manifest["aci_host_data_check"];
    let evidence = match read(base, manifest, check) {
        Ok(evidence) => evidence,
        Err(error) => return run.error(KIND, "aci", error),
    };
    let believe = || -> Result<(), AciError> {
        evidence.verify(UVM_ISSUER, &snp::no_list(), now)?.appraise(&expected(evidence.report.claimed().host_data))?;
        Ok(())
    };
    let wanted = if check["equal"] == true { Verdict::Accept } else { Verdict::Refuse };
    tell(run, "report, endorsement and policy", wanted, believe());

    let mut strict = expected(evidence.report.claimed().host_data);
    strict.svn = Expected::strict(strict.snp.clone(), strict.policy.clone()).svn;
    let floor = match strict.svn {
        SvnFloor::AtLeast(floor) if evidence.uvm.claimed().svn < floor => Verdict::Refuse,
        _ => wanted,
    };
    let result = evidence.verify(UVM_ISSUER, &snp::no_list(), now).and_then(|verified| verified.appraise(&strict));
    tell(run, "the published floor of security versions", floor, result.map(|_| ()));

    let mut other = evidence.clone();
    if let Some(byte) = other.policy.as_mut().and_then(|policy| policy.first_mut()) {
        *byte ^= 1;
    }
    let result = other.verify(UVM_ISSUER, &snp::no_list(), now);
    tell(run, "another policy", Verdict::Refuse, result.map(|_| ()));
}

fn read(base: &Path, manifest: &Value, check: &Value) -> Result<AciEvidence, String> {
    let file = |name: &str| fs::read(base.join(name)).map_err(|error| format!("{name}: {error}"));
    let case = snp::list(manifest, "reports").find(|case| case["fields"]["host_data"] == check["host_data"]);
    let report = case.and_then(|case| case["report"]["file"].as_str()).ok_or("no report has this host data")?;
    let encoded = |name: &str| file(name).map(|bytes| STANDARD.encode(bytes).into_bytes());
    AciEvidence::from_files(
        &file(report)?,
        &encoded("aci/uvm_host_amd_certificate.json")?,
        &file("aci/uvm_security_policy.base64")?,
        &encoded("aci/body.uvm_reference_info.bin")?,
    )
    .map_err(|error| error.to_string())
}

fn expected(policy: claims::HostData) -> Expected {
    let mut snp = snp::strict();
    snp.versions = BelievedVersions::AlsoVersion2 { reason: "the report is of old firmware".to_owned() };
    snp.platform = PlatformRules { alias_check: Rule::NotAsked, ..PlatformRules::STRICT };
    let mut expected = Expected::strict(snp, Allowed::only(policy));
    expected.svn = SvnFloor::None { reason: "the endorsement is of 2023".to_owned() };
    expected
}

fn tell(run: &mut Run<'_>, name: &str, expected: Verdict, result: Result<(), AciError>) {
    let (got, code) = match result {
        Ok(()) => (Verdict::Accept, None),
        Err(error) => (Verdict::Refuse, Some(error.code().to_string())),
    };
    run.tell(&Case { kind: KIND, name: name.to_owned(), expected, got, code, detail: None });
}
