//! From an HCL report as it came to runtime claims that the processor vouches for.

use super::error::AzureError;
use super::hcl::{Hardware, HclReport};
use super::td::VerifiedTdBody;
use crate::snp::{CrlPolicy, Endorsements, UnanchoredRoot};
use crate::tpm::EnrolledKey;
use claims::UnixTime;
use claims::azure::{AzureClaims, AzureHardware};
use claims::bytes::ReportData;

/// An HCL report whose runtime claims a processor signed. Its attestation key may verify quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedHcl {
    claims: AzureClaims,
    key: EnrolledKey,
}

/// An HCL report that holds against a root which the caller brought: a forged chain in a test. It says nothing about
/// hardware, and there is no way from it to a [`VerifiedHcl`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnanchoredHcl {
    pub(super) claims: AzureClaims,
    pub(super) key: EnrolledKey,
}

impl HclReport {
    /// Verifies an SNP report inside and its binding to the runtime claims.
    pub fn verify_snp(&self, with: &Endorsements, crl: &CrlPolicy, now: UnixTime) -> Result<VerifiedHcl, AzureError> {
        let Hardware::Snp(report) = self.hardware() else { return Err(AzureError::Hardware { wanted: "SNP" }) };
        let claims = report.verify(with, crl, now)?.claims().clone();
        self.attested(&claims.report_data.clone(), AzureHardware::Snp(Box::new(claims)))
    }

    /// The same against a root that the caller brings.
    pub(super) fn check_unanchored_snp(
        &self,
        with: &Endorsements,
        root: &UnanchoredRoot,
        crl: &CrlPolicy,
        now: UnixTime,
    ) -> Result<UnanchoredHcl, AzureError> {
        let Hardware::Snp(report) = self.hardware() else { return Err(AzureError::Hardware { wanted: "SNP" }) };
        let claims = report.check_unanchored(with, root, crl, now)?.claims().clone();
        let (claims, key) = self.bound(&claims.report_data.clone(), AzureHardware::Snp(Box::new(claims)))?;
        Ok(UnanchoredHcl { claims, key })
    }

    /// Verifies that the TD report inside is the one of a verified quote, and its binding to the runtime claims.
    pub fn verify_tdx(&self, quoted: &VerifiedTdBody) -> Result<VerifiedHcl, AzureError> {
        let Hardware::Tdx(report) = self.hardware() else { return Err(AzureError::Hardware { wanted: "TDX" }) };
        report.equals(quoted)?;
        let claims = quoted.claims();
        let report_data = claims.report_data;
        self.attested(&report_data, AzureHardware::Tdx(Box::new(claims)))
    }

    /// Whether this report data binds the runtime claims: their SHA-256, then zeros.
    pub fn check_binding(&self, report_data: &ReportData) -> Result<(), AzureError> {
        match *report_data == self.bound_report_data() {
            true => Ok(()),
            false => Err(AzureError::Binding { got: *report_data, wanted: self.claims_hash() }),
        }
    }

    fn attested(&self, report_data: &ReportData, hardware: AzureHardware) -> Result<VerifiedHcl, AzureError> {
        self.bound(report_data, hardware).map(|(claims, key)| VerifiedHcl { claims, key })
    }

    /// The runtime claims and their key, when the hardware's report data binds them.
    fn bound(
        &self,
        report_data: &ReportData,
        hardware: AzureHardware,
    ) -> Result<(AzureClaims, EnrolledKey), AzureError> {
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
        Ok((claims, runtime.attestation_key.clone()))
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
}
