//! Verification: from a report as it came to one that a vendor's key vouches for.
//!
//! *Takes* a parsed report, a chain, a policy for revocation, and the time. *Guarantees* of a [`VerifiedReport`]: AMD's
//! pinned root, through one intermediate, certified the key that signed these bytes, for this chip and this TCB, and at
//! `checked_at` nothing of it was out of date or revoked. *Does not check* whether the guest is the one you want:
//! [`VerifiedReport::appraise`] does.

use super::cache::{UnanchoredCache, VekCache};
use super::chain::{EMULATED_CHIP_PREFIX, Vek};
use super::crl::{CrlPolicy, CrlStatus};
use super::crypto::{AwsLc, Provider};
use super::endorsements::Endorsements;
use super::error::SnpError;
use super::expected::{Expected, Waiver};
use super::report::Report;
use super::roots::{Anchors, UnanchoredRoot};
use claims::UnixTime;
use claims::snp::{Product, SigningKey, SnpClaims, Tee};

/// A report that AMD silicon signed. The only way here is verification against AMD's pinned roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReport {
    facts: Facts,
}

/// A report that holds against a root which the caller brought: an emulated processor, or a forged chain in a test.
/// It says nothing about hardware, and there is no way from it to a [`VerifiedReport`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnanchoredReport {
    facts: Facts,
}

/// A verified report whose claims are the wanted ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppraisedReport {
    facts: Facts,
    waivers: Vec<Waiver>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    claims: SnpClaims,
    checked_at: UnixTime,
    crl: CrlStatus,
    vek_not_after: u64,
}

impl Report {
    /// Verifies the whole chain and the signature (checks 8 to 25), against AMD's pinned roots.
    pub fn verify(&self, with: &Endorsements, crl: &CrlPolicy, now: UnixTime) -> Result<VerifiedReport, SnpError> {
        self.refuse_emulated()?;
        attested(self, with, &Anchors::Production, crl, now, Tee::Snp).map(|facts| VerifiedReport { facts })
    }

    /// The same with a cache of verified endorsement keys and lists: a known key costs one signature check. Time,
    /// revocation and the binding of key and report are checked at every call.
    pub fn verify_cached(
        &self,
        with: &Endorsements,
        crl: &CrlPolicy,
        now: UnixTime,
        cache: &VekCache,
    ) -> Result<VerifiedReport, SnpError> {
        self.refuse_emulated()?;
        let (vek, list) = cache.look_up(with, self.signing_key(), now)?;
        let status = vek.check_revocation(list.as_deref(), crl, now)?;
        bind_and_check(self, &vek, status, now, Tee::Snp).map(|facts| VerifiedReport { facts })
    }

    /// Verifies against a root that the caller brings. The result is of another type than a verified report, and its
    /// claims say `tee: emulated`.
    pub fn check_unanchored(
        &self,
        with: &Endorsements,
        root: &UnanchoredRoot,
        crl: &CrlPolicy,
        now: UnixTime,
    ) -> Result<UnanchoredReport, SnpError> {
        attested(self, with, &Anchors::Unanchored(root), crl, now, Tee::Emulated)
            .map(|facts| UnanchoredReport { facts })
    }

    /// The same with a cache of endorsement keys and lists under the cache's root.
    pub fn check_unanchored_cached(
        &self,
        with: &Endorsements,
        cache: &UnanchoredCache,
        crl: &CrlPolicy,
        now: UnixTime,
    ) -> Result<UnanchoredReport, SnpError> {
        let (vek, list) = cache.look_up(with, self.signing_key(), now)?;
        let status = vek.check_revocation(list.as_deref(), crl, now)?;
        bind_and_check(self, &vek, status, now, Tee::Emulated).map(|facts| UnanchoredReport { facts })
    }

    fn refuse_emulated(&self) -> Result<(), SnpError> {
        match self.claimed().chip_id.as_bytes().starts_with(&EMULATED_CHIP_PREFIX) {
            true => Err(SnpError::Emulated { mark: "the chip id starts with EMUL" }),
            false => Ok(()),
        }
    }
}

impl VerifiedReport {
    /// What the processor states.
    pub fn claims(&self) -> &SnpClaims {
        &self.facts.claims
    }

    /// The time that was given as now.
    pub fn checked_at(&self) -> UnixTime {
        self.facts.checked_at
    }

    /// What was known about revocation.
    pub fn crl(&self) -> &CrlStatus {
        &self.facts.crl
    }

    /// End of validity of the endorsement certificate, seconds since 1970.
    pub fn vek_not_after(&self) -> u64 {
        self.facts.vek_not_after
    }

    /// Appraises the claims (checks 26 to 46): the report is the wanted one, or the reason why not.
    pub fn appraise(self, expected: &Expected) -> Result<AppraisedReport, SnpError> {
        let waivers = expected.admit(&self.facts.claims)?;
        Ok(AppraisedReport { facts: self.facts, waivers })
    }
}

impl UnanchoredReport {
    /// What the report states.
    pub fn claims(&self) -> &SnpClaims {
        &self.facts.claims
    }

    /// The time that was given as now.
    pub fn checked_at(&self) -> UnixTime {
        self.facts.checked_at
    }

    /// What was known about revocation.
    pub fn crl(&self) -> &CrlStatus {
        &self.facts.crl
    }
}

impl AppraisedReport {
    /// What the processor states; all of it was wanted or waived.
    pub fn claims(&self) -> &SnpClaims {
        &self.facts.claims
    }

    /// What was not compared, and why.
    pub fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }

    /// What was known about revocation.
    pub fn crl(&self) -> &CrlStatus {
        &self.facts.crl
    }

    /// The time that was given as now.
    pub fn checked_at(&self) -> UnixTime {
        self.facts.checked_at
    }
}

/// The whole verification. `grep attested` finds every place where trust begins.
fn attested(
    report: &Report,
    with: &Endorsements,
    anchors: &Anchors<'_>,
    crl: &CrlPolicy,
    now: UnixTime,
    tee: Tee,
) -> Result<Facts, SnpError> {
    let vek = Vek::verify(with, report.signing_key(), anchors, now)?;
    let list = with.crl.as_deref().map(|der| vek.signed_crl(der)).transpose()?;
    let status = vek.check_revocation(list.as_ref(), crl, now)?;
    bind_and_check(report, &vek, status, now, tee)
}

/// Binds the key to the report (checks 17, 20 to 23) and checks the signature (25).
fn bind_and_check(report: &Report, vek: &Vek, crl: CrlStatus, now: UnixTime, tee: Tee) -> Result<Facts, SnpError> {
    let fields = report.claimed();
    let extensions = &vek.extensions;
    if extensions.kind != report.signing_key() {
        return Err(SnpError::VekKind { report: report.signing_key(), certificate: extensions.kind });
    }
    // 23 before 20: patch levels of different products mean different things. A version 2 report has no CPUID and the
    // layout of Milan and Genoa.
    let chain = vek.product;
    match report.product() {
        Some(product) if product != chain => return Err(SnpError::ProductMismatch { report: product, chain }),
        None if chain == Product::Turin => {
            return Err(SnpError::ProductMismatch { report: Product::Milan, chain });
        }
        _ => {}
    }
    let (certificate, reported) = (&extensions.tcb, &fields.reported_tcb);
    let components = [
        ("fmc", certificate.fmc.unwrap_or(0), reported.fmc.unwrap_or(0)),
        ("bootloader", certificate.bootloader, reported.bootloader),
        ("tee", certificate.tee, reported.tee),
        ("snp", certificate.snp, reported.snp),
        ("microcode", certificate.microcode, reported.microcode),
    ];
    if let Some((component, certificate, report)) =
        components.into_iter().find(|(_, certificate, report)| certificate != report)
    {
        return Err(SnpError::TcbMismatch { component, certificate, report });
    }
    if let Some(hardware_id) = &extensions.hardware_id {
        if fields.chip_id.is_zero() {
            return Err(SnpError::ChipMasked);
        }
        let (id, rest) = fields.chip_id.as_bytes().split_at_checked(hardware_id.len()).unwrap_or((&[], &[]));
        if id != hardware_id || rest.iter().any(|byte| *byte != 0) {
            return Err(SnpError::ChipMismatch { certificate: hex::encode(hardware_id), report: fields.chip_id });
        }
    }
    if !AwsLc::p384_sha384(&vek.key, report.signed_bytes(), &report.signature()) {
        return Err(SnpError::Signature);
    }
    let csp_id = match report.signing_key() {
        SigningKey::Vcek => None,
        SigningKey::Vlek => extensions.csp_id.clone(),
    };
    Ok(Facts { claims: report.claims(tee, chain, csp_id), checked_at: now, crl, vek_not_after: vek.not_after() })
}
