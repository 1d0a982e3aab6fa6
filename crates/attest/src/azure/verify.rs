//! From an HCL report as it came to runtime claims that the processor vouches for.

use super::error::AzureError;
use super::hcl::{Hardware, HclReport};
use super::td::VerifiedTdBody;
use crate::snp::{CrlPolicy, Endorsements, VerifiedReport};
use crate::tpm::EnrolledKey;
use claims::UnixTime;
use claims::azure::{AzureClaims, AzureHardware};
use claims::bytes::ReportData;

/// An HCL report whose runtime claims a processor signed. Its attestation key may verify quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedHcl {
    claims: AzureClaims,
    key: EnrolledKey,
    snp: Option<VerifiedReport>,
}

impl HclReport {
    /// Verifies an SNP report inside and its binding to the runtime claims.
    pub fn verify_snp(&self, with: &Endorsements, crl: &CrlPolicy, now: UnixTime) -> Result<VerifiedHcl, AzureError> {
        let Hardware::Snp(report) = self.hardware() else { return Err(AzureError::Hardware { wanted: "SNP" }) };
        let verified = report.verify(with, crl, now)?;
        self.attested(&verified.claims().report_data, AzureHardware::Snp(Box::new(verified.claims().clone())), {
            Some(verified.clone())
        })
    }

    /// Verifies that the TD report inside is the one of a verified quote, and its binding to the runtime claims.
    pub fn verify_tdx(&self, quoted: &VerifiedTdBody) -> Result<VerifiedHcl, AzureError> {
        let Hardware::Tdx(report) = self.hardware() else { return Err(AzureError::Hardware { wanted: "TDX" }) };
        report.equals(quoted)?;
        let claims = quoted.claims();
        let report_data = claims.report_data;
        self.attested(&report_data, AzureHardware::Tdx(Box::new(claims)), None)
    }

    /// Whether this report data binds the runtime claims: their SHA-256, then zeros.
    pub fn check_binding(&self, report_data: &ReportData) -> Result<(), AzureError> {
        match *report_data == self.bound_report_data() {
            true => Ok(()),
            false => Err(AzureError::Binding { got: *report_data, wanted: self.claims_hash() }),
        }
    }

    fn attested(
        &self,
        report_data: &ReportData,
        hardware: AzureHardware,
        snp: Option<VerifiedReport>,
    ) -> Result<VerifiedHcl, AzureError> {
        self.check_binding(report_data)?;
        let runtime = self.runtime();
        let claims = AzureClaims {
            hcl_version: self.version(),
            hardware,
            runtime_data_hash: self.claims_hash(),
            vm_configuration: runtime.vm_configuration.clone(),
            user_data: runtime.user_data,
            attestation_key: runtime.attestation_key.digest(),
        };
        Ok(VerifiedHcl { claims, key: runtime.attestation_key.clone(), snp })
    }
}

impl VerifiedHcl {
    /// What the processor vouches for.
    pub fn claims(&self) -> &AzureClaims {
        &self.claims
    }

    /// The vTPM's attestation key: the processor's report holds the hash of the claims that name it.
    pub fn attestation_key(&self) -> &EnrolledKey {
        &self.key
    }

    pub(super) fn snp(&self) -> Option<&VerifiedReport> {
        self.snp.as_ref()
    }
}
