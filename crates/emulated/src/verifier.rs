//! The verifier of emulated evidence: another type, another root, another result than for silicon.

use crate::issue::{ORGANIZATION, PREFIX};
use attest::snp::{
    CrlPolicy, EMULATED_CHIP_PREFIX, EMULATED_MARKER, Endorsements, Expected, Report, SnpError, UnanchoredCache,
    UnanchoredReport, UnanchoredRoot, Waiver,
};
use claims::UnixTime;
use claims::bytes::Digest384;
use claims::snp::{Product, SnpClaims};
use std::sync::Arc;

/// Patch levels of one chip that are remembered as verified.
const KNOWN_KEYS: usize = 16;

/// Trusts the development root of one workspace; remembers the keys that it has verified.
#[derive(Debug, Clone)]
pub struct EmulatedVerifier {
    known: Arc<UnanchoredCache>,
}

/// Evidence of an emulated processor that holds against its development root. It says nothing about confidentiality,
/// and its claims say `tee: emulated`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmulatedEvidence {
    report: UnanchoredReport,
}

impl EmulatedVerifier {
    pub(crate) fn new(spki: Digest384, product: Product) -> Self {
        let root = UnanchoredRoot {
            spki,
            product,
            organization: ORGANIZATION.to_owned(),
            prefix: PREFIX.to_owned(),
            vek_prefix: PREFIX.to_owned(),
            marker: Some(EMULATED_MARKER.to_owned()),
        };
        Self { known: Arc::new(UnanchoredCache::new(root, KNOWN_KEYS)) }
    }

    /// Verifies the raw bytes of a report: the same checks as for silicon, revocation list included, against the
    /// development root, and every mark of an emulated processor must be there.
    pub fn verify(&self, report: &[u8], with: &Endorsements, now: UnixTime) -> Result<EmulatedEvidence, SnpError> {
        let report = Report::parse(report)?;
        let checked = report.check_unanchored_cached(with, &self.known, &CrlPolicy::Required, now)?;
        let chip = checked.claims().chip_id;
        if !chip.as_bytes().starts_with(&EMULATED_CHIP_PREFIX) {
            return Err(SnpError::Chip { got: chip, allowed: Vec::new() });
        }
        Ok(EmulatedEvidence { report: checked })
    }
}

impl EmulatedEvidence {
    /// What the emulated processor states; `tee` is always `emulated`.
    pub fn claims(&self) -> &SnpClaims {
        self.report.claims()
    }

    /// The time that was given as now.
    pub fn checked_at(&self) -> UnixTime {
        self.report.checked_at()
    }

    /// Appraises the claims like those of silicon; the answer is about an emulated guest all the same.
    pub fn appraise(&self, expected: &Expected) -> Result<Vec<Waiver>, SnpError> {
        expected.admit(self.report.claims())
    }
}
