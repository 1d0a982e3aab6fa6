//! Confidential container groups: the sidecar's `/attest/combined` answer, and beside it, as `policy`, base64 of the
//! container policy, where the client sends it. Upstream has no form for them; the name is ours.

use super::{Appraiser, Init, Kind, Session, Verified, snp};
use crate::http::protocol::check_report_data;
use attest::aci::{AciEvidence, UVM_ISSUER, runtime_report_data};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::{Code, ReportData, UnixTime};
use serde_json::{Value, json};

impl Appraiser {
    pub(super) fn verify_aci(&self, evidence: &Value, session: &Session<'_>) -> Result<Verified, Code> {
        let (verified, report_data) = self.container_group(evidence, session.now)?;
        // The sidecar hashes what it is given; who talks to the device himself puts the binding there as it is.
        if report_data != runtime_report_data(&session.binding) {
            check_report_data(&report_data.0, &session.binding)?;
        }
        Ok(verified)
    }

    /// Everything of a group's evidence but what it is bound to.
    pub(super) fn container_group(&self, evidence: &Value, now: UnixTime) -> Result<(Verified, ReportData), Code> {
        let text = serde_json::to_vec(evidence).map_err(|_| Code::AciFormat)?;
        let mut sent = AciEvidence::from_combined(&text).map_err(|error| error.code())?;
        sent.policy = match evidence.get("policy") {
            None | Some(Value::Null) => None,
            Some(policy) => {
                let bytes = policy.as_str().and_then(|text| STANDARD.decode(text).ok());
                Some(bytes.ok_or(Code::AciFormat)?)
            }
        };
        let verified = sent.verify(UVM_ISSUER, &self.revocation, now).map_err(|error| {
            tracing::info!(%error, "evidence of a container group is refused");
            error.code()
        })?;
        let claims = verified.claims();
        let report_data = claims.snp.report_data;
        let mut members = snp::upstream_claims(&claims.snp);
        if let Some(members) = members.as_object_mut() {
            members.insert("uvm".into(), json!(claims.uvm));
            members.insert("policy_sha256".into(), json!(claims.policy_sha256));
        }
        let verified = Verified {
            kind: Kind::Aci,
            snp: None,
            claims: members,
            report_data: hex::encode(report_data.0),
            init: Init::Field(claims.snp.host_data.0.to_vec()),
            instance: Some(claims.snp.report_id.clone()),
            revocation: None,
        };
        Ok((verified, report_data))
    }
}
