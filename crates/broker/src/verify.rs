//! Evidence in, claims out: the production verifier first, then the one that a development program adds.
//!
//! *Takes* a parsed report, certificates as they came, the time.
//! *Guarantees* that claims come from a verifier: AMD's pinned roots, or, only in a development broker, the program's.
//! *Does not check* rules, nonces and keys.

use crate::policy::Mode;
use crate::settings::Revocation;
use attest::snp::{CertificateTable, Collateral, CrlPolicy, CrlStatus, Endorsements, Report, VekCache};
use claims::snp::{Product, SigningKey, SnpClaims, Tee};
use claims::{Code, UnixTime};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Oldest report format that is believed: version 2 names no CPU and comes from outdated firmware.
const OLDEST_REPORT: u32 = 3;
/// Endorsement keys that are remembered as verified.
const KNOWN_KEYS: usize = 4096;
/// Largest file of a collateral folder, and most files read there.
const MAX_FILE: u64 = 1 << 20;
const MAX_FILES: usize = 48;

/// A verifier that a program adds to the broker's own. Asked only by a development broker, and only after the
/// production verifier refused.
pub trait ExtraVerifier: Send + Sync {
    /// Verifies the raw bytes of a report. The broker compares the report data itself.
    fn verify(&self, report: &[u8], certificates: &Endorsements, now: UnixTime) -> Result<SnpClaims, Code>;
}

/// Who may say that evidence is genuine.
#[derive(Clone, Default)]
pub struct Verifiers {
    /// Beside the production verifier; ignored unless the broker runs with `dev`.
    pub extra: Option<Arc<dyn ExtraVerifier>>,
}

/// The verifiers of a running broker.
pub(crate) struct Appraiser {
    revocation: CrlPolicy,
    known: VekCache,
    collateral: Option<PathBuf>,
    extra: Option<Arc<dyn ExtraVerifier>>,
}

/// Claims, and what was known about revocation.
pub(crate) struct Verified {
    pub(crate) claims: SnpClaims,
    pub(crate) revocation: CrlStatus,
}

impl Appraiser {
    pub(crate) fn new(mode: Mode, revocation: &Revocation, collateral: Option<PathBuf>, verifiers: Verifiers) -> Self {
        let revocation = match revocation {
            Revocation::Required => CrlPolicy::Required,
            Revocation::AbsentOk { reason } => CrlPolicy::AbsentOk { reason: reason.clone() },
        };
        let extra = verifiers.extra.filter(|_| mode == Mode::Development);
        Self { revocation, known: VekCache::new(KNOWN_KEYS), collateral, extra }
    }

    /// Verifies. Does arithmetic of a few milliseconds and may read files: not for an async thread.
    pub(crate) fn verify(&self, report: &Report, table: &CertificateTable, now: UnixTime) -> Result<Verified, Code> {
        let collateral = self.collateral.as_deref().map_or_else(Collateral::new, |folder| read(folder, report));
        let with = Endorsements::choose(report, table, &collateral);
        let verified = match report.verify_cached(&with, &self.revocation, now, &self.known) {
            Ok(verified) => Verified { claims: verified.claims().clone(), revocation: verified.crl().clone() },
            Err(error) => {
                let Some(extra) = &self.extra else { return Err(error.code()) };
                let claims = match extra.verify(report.as_bytes(), &with, now) {
                    Ok(claims) => claims,
                    // Evidence that does not look emulated keeps the production verifier's reason.
                    Err(code) => return Err(if error.code() == Code::Emulated { code } else { error.code() }),
                };
                // A verifier that is not the production one cannot vouch for silicon, whatever it says.
                let claims = SnpClaims { tee: Tee::Emulated, ..claims };
                Verified { claims, revocation: CrlStatus::Absent { reason: "emulated processor".into() } }
            }
        };
        if verified.claims.version < OLDEST_REPORT { Err(Code::SnpVersion) } else { Ok(verified) }
    }
}

/// The parts of an offline store that this report may need: chains and lists in the folder itself, and the chip's
/// certificate under `vcek/HWID/`. What does not parse is skipped; verification then says what is missing.
fn read(folder: &Path, report: &Report) -> Collateral {
    let mut collateral = Collateral::new();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
        .unwrap_or_default();
    paths.sort();
    paths.truncate(MAX_FILES);
    if report.signing_key() == SigningKey::Vcek {
        paths.extend(chip_files(folder, report));
    }
    for path in paths {
        let small = std::fs::metadata(&path).is_ok_and(|facts| facts.is_file() && facts.len() <= MAX_FILE);
        if small
            && let Ok(bytes) = std::fs::read(&path)
            && let Err(error) = collateral.add(&bytes)
        {
            tracing::debug!(path = %path.display(), %error, "not collateral");
        }
    }
    collateral
}

/// The offline store's names for the certificate of this chip at this patch level.
fn chip_files(folder: &Path, report: &Report) -> [PathBuf; 2] {
    let fields = report.claimed();
    let length = if report.product() == Some(Product::Turin) { 8 } else { 64 };
    let chip = hex::encode(fields.chip_id.as_bytes().get(..length).unwrap_or(&[]));
    let folder = folder.join("vcek").join(chip);
    let tcb = &fields.reported_tcb;
    let fmc = tcb.fmc.map(|fmc| format!("_fmc{fmc:02}")).unwrap_or_default();
    let name =
        format!("bl{:02}_tee{:02}_snp{:02}_ucode{:02}{fmc}_vcek.der", tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode);
    [folder.join(name), folder.join("vcek.der")]
}
