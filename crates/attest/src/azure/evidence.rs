//! All of an Azure confidential VM's evidence in one: HCL report, quote, PCR values.

use super::error::AzureError;
use super::expected::{Expected, ExpectedHardware, admit_td};
use super::hcl::HclReport;
use super::td::VerifiedTdBody;
use super::verify::VerifiedHcl;
use crate::snp::{CrlPolicy, Endorsements, Waiver};
use crate::tpm::{AppraisedQuote, PcrValues, Quote, VerifiedQuote};
use claims::azure::{AzureClaims, AzureHardware, TpmClaims};
use claims::{Allowed, UnixTime};

/// Evidence as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureEvidence {
    /// NV index 0x01400001.
    pub hcl: HclReport,
    /// A quote by the key at handle 0x81000003.
    pub quote: Quote,
    /// The PCR values that the sender says.
    pub pcrs: PcrValues,
}

/// Evidence of which the processor vouches for the key, and the key for the quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAzure {
    hcl: VerifiedHcl,
    quote: VerifiedQuote,
    pcrs: PcrValues,
}

/// Verified evidence whose claims are the wanted ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppraisedAzure {
    claims: AzureClaims,
    quote: AppraisedQuote,
    waivers: Vec<Waiver>,
}

impl AzureEvidence {
    /// Verifies an SNP VM: AMD's chain and report, the binding of the claims, the quote by their key.
    pub fn verify_snp(self, with: &Endorsements, crl: &CrlPolicy, now: UnixTime) -> Result<VerifiedAzure, AzureError> {
        let hcl = self.hcl.verify_snp(with, crl, now)?;
        self.attested(hcl)
    }

    /// Verifies a TDX VM, given the body of its verified quote.
    pub fn verify_tdx(self, quoted: &VerifiedTdBody) -> Result<VerifiedAzure, AzureError> {
        let hcl = self.hcl.verify_tdx(quoted)?;
        self.attested(hcl)
    }

    fn attested(self, hcl: VerifiedHcl) -> Result<VerifiedAzure, AzureError> {
        let quote = self.quote.verify(hcl.attestation_key())?;
        Ok(VerifiedAzure { hcl, quote, pcrs: self.pcrs })
    }
}

impl VerifiedAzure {
    /// What the processor vouches for.
    pub fn claims(&self) -> &AzureClaims {
        self.hcl.claims()
    }

    /// What the vTPM signed.
    pub fn quote(&self) -> &TpmClaims {
        self.quote.claims()
    }

    /// Compares hardware, settings, user data and the quote with what is wanted, in that order.
    pub fn appraise(self, expected: &Expected) -> Result<AppraisedAzure, AzureError> {
        let claims = self.hcl.claims().clone();
        let mut waivers = match (&expected.hardware, self.hcl.snp(), &claims.hardware) {
            (ExpectedHardware::Snp(rule), Some(report), AzureHardware::Snp(stated)) => {
                let mut rule = (**rule).clone();
                rule.report_data = Allowed::only(stated.report_data);
                report.clone().appraise(&rule)?.waivers().to_vec()
            }
            (ExpectedHardware::Tdx { mr_td }, None, AzureHardware::Tdx(td)) => {
                let mut waivers = Vec::new();
                admit_td(mr_td, td, &mut waivers)?;
                waivers
            }
            (ExpectedHardware::Snp(_), ..) => return Err(AzureError::Hardware { wanted: "SNP" }),
            (ExpectedHardware::Tdx { .. }, ..) => return Err(AzureError::Hardware { wanted: "TDX" }),
        };
        expected.vm.admit(&claims.vm_configuration, &mut waivers)?;
        match &expected.user_data {
            Allowed::OneOf(values) if values.contains(&claims.user_data) => {}
            Allowed::OneOf(_) => return Err(AzureError::UserData { got: claims.user_data }),
            Allowed::Any { reason } => waivers.push(Waiver { claim: "user-data", reason: reason.clone() }),
        }
        let quote = self.quote.appraise(&expected.quote, &self.pcrs)?;
        waivers.extend(quote.waivers().iter().cloned());
        Ok(AppraisedAzure { claims, quote, waivers })
    }
}

impl AppraisedAzure {
    /// What the processor vouches for; all of it was wanted or waived.
    pub fn claims(&self) -> &AzureClaims {
        &self.claims
    }

    /// What the vTPM signed, with the PCR values.
    pub fn quote(&self) -> &TpmClaims {
        self.quote.claims()
    }

    /// What was not compared, and why.
    pub fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }
}
