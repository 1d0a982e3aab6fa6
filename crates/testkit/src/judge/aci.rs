//! Vectors of confidential container groups.

use super::{NOT_ASKED, Verdict, array, needed, number, refused, snp};
use crate::text::TextVector;
use attest::aci::{AciError, AciEvidence, Expected, SvnFloor, UVM_FEED};
use claims::{Allowed, HostData, ReportData, UnixTime};

pub(super) fn judge(vector: &TextVector) -> Verdict {
    let mut rule = snp::any_guest();
    rule.report_data = Allowed::only(ReportData(needed(array(vector, "want.report-data")?, "want.report-data")?));
    let expected = Expected {
        snp: rule,
        feed: Allowed::only(UVM_FEED.to_owned()),
        svn: number(vector, "want.svn")?.map_or(SvnFloor::None { reason: NOT_ASKED.to_owned() }, SvnFloor::AtLeast),
        policy: Allowed::only(HostData(needed(array(vector, "want.policy")?, "want.policy")?)),
    };
    let issuer = needed(vector.text("want.issuer")?, "want.issuer")?;
    let (anchor, policy, now) = (snp::anchor(vector)?, snp::crl_policy(vector)?, UnixTime(vector.now));
    let file = |name: &str| vector.bytes(name).unwrap_or_default();
    let checked = || -> Result<(), AciError> {
        let evidence = AciEvidence::from_files(
            file("report"),
            file("host-amd-cert-base64"),
            file("security-policy-base64"),
            file("reference-info-base64"),
        )?;
        match anchor {
            Some(root) => {
                let checked = evidence.check_unanchored(issuer, &root, &policy, now)?;
                expected.admit(checked.claims()).map(drop)
            }
            None => evidence.verify(issuer, &policy, now)?.appraise(&expected).map(drop),
        }
    };
    Ok(checked().map_err(|error| refused(&error, error.code())))
}
