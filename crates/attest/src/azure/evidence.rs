//! All of an Azure confidential VM's evidence in one: HCL report, quote, PCR values.

use super::error::AzureError;
use super::expected::Expected;
use super::hcl::HclReport;
use super::td::VerifiedTdBody;
use super::verify::VerifiedHcl;
use crate::snp::{CrlPolicy, Endorsements, UnanchoredRoot, Waiver};
use crate::tpm::{AppraisedQuote, PcrValues, Quote, VerifiedQuote};
use claims::UnixTime;
use claims::azure::{AzureClaims, TpmClaims};

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

/// Evidence that holds against a root which the caller brought: a forged chain in a test. It says nothing about hardware,
/// and there is no way from it to [`VerifiedAzure`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnanchoredAzure {
    claims: AzureClaims,
    quote: VerifiedQuote,
    pcrs: PcrValues,
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

    /// The whole verification of an SNP machine against a root that the caller brings. The result is of another type
    /// than verified evidence, and its claims say `tee: emulated`.
    pub fn check_unanchored_snp(
        self,
        with: &Endorsements,
        root: &UnanchoredRoot,
        crl: &CrlPolicy,
        now: UnixTime,
    ) -> Result<UnanchoredAzure, AzureError> {
        let hcl = self.hcl.check_unanchored_snp(with, root, crl, now)?;
        let quote = self.quote.verify(&hcl.key)?;
        Ok(UnanchoredAzure { claims: hcl.claims, quote, pcrs: self.pcrs })
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
        let mut waivers = expected.admit(&claims)?;
        let quote = self.quote.appraise(&expected.quote, &self.pcrs)?;
        waivers.extend(quote.waivers().iter().cloned());
        Ok(AppraisedAzure { claims, quote, waivers })
    }
}

impl UnanchoredAzure {
    /// What the report states.
    pub fn claims(&self) -> &AzureClaims {
        &self.claims
    }

    /// Compares claims, quote and PCRs with what is wanted. The answer is about a forged machine.
    pub fn admit(self, expected: &Expected) -> Result<Vec<Waiver>, AzureError> {
        let mut waivers = expected.admit(&self.claims)?;
        waivers.extend(self.quote.appraise(&expected.quote, &self.pcrs)?.waivers().iter().cloned());
        Ok(waivers)
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
