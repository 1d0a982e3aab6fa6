//! All of a container group's evidence in one: report, AMD's certificates, the UVM endorsement, the policy.

use super::error::AciError;
use super::expected::Expected;
use super::host::{HostCertificates, object, unbase64};
use super::uvm::{UvmEndorsement, VerifiedUvm};
use crate::snp::{CrlPolicy, Report, UnanchoredRoot, VerifiedReport, Waiver};
use crate::token::strict::member;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::aci::AciClaims;
use claims::bytes::{Digest256, ReportData};
use claims::snp::SnpClaims;
use claims::{HostData, UnixTime};

/// Evidence as it came.
#[derive(Debug, Clone)]
pub struct AciEvidence {
    /// The processor's report.
    pub report: Report,
    /// AMD's certificates.
    pub certificates: HostCertificates,
    /// Microsoft's endorsement of the utility VM.
    pub uvm: UvmEndorsement,
    /// The container policy's exact bytes, when they came along.
    pub policy: Option<Vec<u8>>,
}

/// Evidence of one utility VM, vouched for by AMD and Microsoft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAci {
    report: VerifiedReport,
    uvm: VerifiedUvm,
    policy: Option<HostData>,
}

/// Verified evidence whose claims are the wanted ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppraisedAci {
    claims: AciClaims,
    waivers: Vec<Waiver>,
}

/// Evidence that holds against a root which the caller brought in place of AMD's: a forged chain in a test. It says
/// nothing about hardware, and there is no way from it to [`VerifiedAci`].
#[derive(Debug, Clone, PartialEq)]
pub struct UnanchoredAci {
    claims: AciClaims,
}

impl AciEvidence {
    /// A report and the three files of the security context folder, as they lie there (base64).
    pub fn from_files(
        report: &[u8],
        host_amd_cert: &[u8],
        policy: &[u8],
        reference_info: &[u8],
    ) -> Result<Self, AciError> {
        Ok(Self {
            report: Report::parse(report)?,
            certificates: HostCertificates::parse(&unbase64("host-amd-cert-base64", host_amd_cert)?)?,
            uvm: UvmEndorsement::parse(&unbase64("reference-info-base64", reference_info)?)?,
            policy: Some(unbase64("security-policy-base64", policy)?),
        })
    }

    /// The sidecar's answer to `/attest/combined`: `{"evidence", "endorsements", "uvm_endorsements", "endorsed_tcb"}`.
    /// The policy is not in it.
    pub fn from_combined(json: &[u8]) -> Result<Self, AciError> {
        let file = "the combined evidence";
        let value = object(file, json)?;
        let part = |name: &str| {
            let bytes = member(&value, name).as_str().and_then(|text| STANDARD.decode(text).ok());
            bytes.ok_or_else(|| AciError::File { file, what: format!("`{name}` is missing or not base64") })
        };
        let endorsements = part("endorsements")?;
        Ok(Self {
            report: Report::parse(&part("evidence")?)?,
            certificates: HostCertificates::from_pem(file, &[&endorsements], member(&value, "endorsed_tcb").as_str())?,
            uvm: UvmEndorsement::parse(&part("uvm_endorsements")?)?,
            policy: None,
        })
    }

    /// Verifies report, endorsement, that both are of one utility VM, and that the policy is the one in HOST_DATA.
    /// `issuer` is who may endorse utility VMs, [`super::UVM_ISSUER`] for Microsoft's.
    pub fn verify(&self, issuer: &str, crl: &CrlPolicy, now: UnixTime) -> Result<VerifiedAci, AciError> {
        self.attested(issuer, crl, now)
    }

    /// The whole verification against a root that the caller brings in place of AMD's. The result is of another type than
    /// verified evidence, and its claims say `tee: emulated`.
    pub fn check_unanchored(
        &self,
        issuer: &str,
        root: &UnanchoredRoot,
        crl: &CrlPolicy,
        now: UnixTime,
    ) -> Result<UnanchoredAci, AciError> {
        self.certificates.check_tcb(&self.report)?;
        let with = self.certificates.endorsements(&self.report);
        let snp = self.report.check_unanchored(&with, root, crl, now)?.claims().clone();
        let (uvm, policy) = self.bound(issuer, &snp, now)?;
        Ok(UnanchoredAci { claims: AciClaims { snp, uvm: uvm.claims().clone(), policy_sha256: policy } })
    }

    fn attested(&self, issuer: &str, crl: &CrlPolicy, now: UnixTime) -> Result<VerifiedAci, AciError> {
        self.certificates.check_tcb(&self.report)?;
        let report = self.report.verify(&self.certificates.endorsements(&self.report), crl, now)?;
        let (uvm, policy) = self.bound(issuer, report.claims(), now)?;
        Ok(VerifiedAci { report, uvm, policy })
    }

    /// The endorsement, verified, and the policy's digest, when the report binds both.
    fn bound(
        &self,
        issuer: &str,
        report: &SnpClaims,
        now: UnixTime,
    ) -> Result<(VerifiedUvm, Option<HostData>), AciError> {
        let uvm = self.uvm.verify(issuer, now)?;
        let (endorsed, measured) = (uvm.claims().launch_measurement, report.measurement);
        if endorsed != measured {
            return Err(AciError::Measurement { endorsed: Box::new(endorsed), report: Box::new(measured) });
        }
        let policy = self.policy.as_deref().map(|bytes| HostData(Digest256::of(bytes).0));
        let host_data = report.host_data;
        match policy {
            Some(policy) if policy != host_data => Err(AciError::PolicyDigest { policy, host_data }),
            _ => Ok((uvm, policy)),
        }
    }
}

impl UnanchoredAci {
    /// What report and endorsement say.
    pub fn claims(&self) -> &AciClaims {
        &self.claims
    }
}

impl VerifiedAci {
    /// What AMD and Microsoft vouch for.
    pub fn claims(&self) -> AciClaims {
        AciClaims { snp: self.report.claims().clone(), uvm: self.uvm.claims().clone(), policy_sha256: self.policy }
    }

    /// Compares feed, security version, policy and the report with what is wanted, in that order.
    pub fn appraise(self, expected: &Expected) -> Result<AppraisedAci, AciError> {
        let claims = self.claims();
        let waivers = expected.admit(&claims)?;
        Ok(AppraisedAci { claims, waivers })
    }
}

impl AppraisedAci {
    /// What AMD and Microsoft vouch for; all of it was wanted or waived.
    pub fn claims(&self) -> &AciClaims {
        &self.claims
    }

    /// What was not compared, and why.
    pub fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }
}

/// What the sidecar puts into the report for runtime data: its SHA-256, then zeros (`reference/aci.md` 1.4).
pub fn runtime_report_data(runtime_data: &[u8]) -> ReportData {
    let mut bytes = [0; 64];
    for (place, byte) in bytes.iter_mut().zip(Digest256::of(runtime_data).0) {
        *place = byte;
    }
    ReportData(bytes)
}
