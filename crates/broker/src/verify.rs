//! Evidence in, claims out: the production verifier first, then the one that a development program adds.

use claims::snp::SnpClaims;
use claims::{Code, UnixTime};
use std::sync::Arc;

/// Certificates as they came with evidence, DER. Nothing here is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresentedCertificates {
    /// Root (ARK).
    pub root: Option<Vec<u8>>,
    /// Intermediate (ASK or ASVK).
    pub intermediate: Option<Vec<u8>>,
    /// The key that signed the report (VCEK or VLEK).
    pub leaf: Option<Vec<u8>>,
    /// Revocation list of the root.
    pub revocation_list: Option<Vec<u8>>,
}

/// A verifier that a program adds to the broker's own. Asked only by a development broker, and only after the
/// production verifier refused.
pub trait ExtraVerifier: Send + Sync {
    /// Verifies the raw bytes of a report. The broker compares the report data itself.
    fn verify(
        &self,
        report: &[u8],
        certificates: &PresentedCertificates,
        now: UnixTime,
    ) -> Result<SnpClaims, Code>;
}

/// Who may say that evidence is genuine.
#[derive(Clone, Default)]
pub struct Verifiers {
    /// Beside the production verifier; ignored unless the broker runs with `dev`.
    pub extra: Option<Arc<dyn ExtraVerifier>>,
}
