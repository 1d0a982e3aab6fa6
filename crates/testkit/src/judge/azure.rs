//! Vectors of Azure confidential VMs.

use super::{NOT_ASKED, Verdict, array, needed, refused, snp, tpm};
use crate::text::TextVector;
use attest::azure::{
    AzureError, AzureEvidence, Expected, ExpectedHardware, Hardware, HclReport, VerifiedTdBody, VmRules,
};
use attest::snp::Endorsements;
use claims::{Allowed, UnixTime};

pub(super) fn judge(vector: &TextVector) -> Verdict {
    let tdx = match needed(vector.text("want.tee")?, "want.tee")? {
        "snp" => false,
        "tdx" => true,
        other => return Err(format!("the TEE `{other}` is not known")),
    };
    let mr_td = vector.bytes("want.mrtd").map(hex::encode);
    let expected = Expected {
        hardware: match tdx {
            false => ExpectedHardware::Snp(Box::new(snp::any_guest())),
            true => ExpectedHardware::Tdx { mr_td: mr_td.map_or(Allowed::any(NOT_ASKED), Allowed::only) },
        },
        quote: tpm::expected(vector)?,
        vm: VmRules::strict(),
        user_data: match array(vector, "want.user-data")? {
            Some(value) => Allowed::only(Some(claims::ReportData(value))),
            None => Allowed::any(NOT_ASKED),
        },
    };
    let checked = checked(vector, &expected)?;
    Ok(checked.map_err(|error| refused(&error, error.code())))
}

fn checked(vector: &TextVector, expected: &Expected) -> Result<Result<(), AzureError>, String> {
    let piece = |name: &str| vector.bytes(name).unwrap_or_default().to_vec();
    let evidence = || -> Result<AzureEvidence, AzureError> {
        let hcl = HclReport::parse(&piece("hcl"))?;
        Ok(AzureEvidence { hcl, quote: tpm::quote(vector)?, pcrs: tpm::values(vector)? })
    };
    let evidence = match evidence() {
        Ok(evidence) => evidence,
        Err(error) => return Ok(Err(error)),
    };
    // With the body of a quote at hand the machine is to be a TDX one.
    if let Some(body) = vector.bytes("td-body") {
        let body = body.try_into().map_err(|_| "td-body has another length".to_owned())?;
        let verified = evidence.verify_tdx(&VerifiedTdBody::assertion(body));
        return Ok(verified.and_then(|verified| verified.appraise(expected)).map(drop));
    }
    let with = Endorsements { vek: piece("vek"), intermediate: piece("intermediate"), root: piece("root"), crl: None };
    let (policy, now) = (snp::crl_policy(vector)?, UnixTime(vector.now));
    let anchor = snp::anchor(vector)?;
    Ok(match (anchor, evidence.hcl.hardware()) {
        (Some(root), Hardware::Snp(_)) => evidence
            .check_unanchored_snp(&with, &root, &policy, now)
            .and_then(|checked| checked.admit(expected))
            .map(drop),
        _ => evidence.verify_snp(&with, &policy, now).and_then(|verified| verified.appraise(expected)).map(drop),
    })
}
