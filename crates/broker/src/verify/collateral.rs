//! The broker's collateral folder: the offline store layout, read only.
//!
//! Chains, lists, Intel's answers and NVIDIA's RIMs lie in the folder itself, a chip's certificate under `vcek/HWID/`.
//! What does not parse is skipped; verification then says what is missing.

use attest::snp::{Collateral, Report};
use claims::snp::{Product, SigningKey};
use std::path::{Path, PathBuf};

/// Largest file of a collateral folder, and most files read there.
const MAX_FILE: u64 = 4 << 20;
const MAX_FILES: usize = 128;

/// What this report may need.
pub(super) fn amd(folder: Option<&Path>, report: &Report) -> Collateral {
    let mut collateral = Collateral::new();
    let Some(folder) = folder else { return collateral };
    let mut paths = listed(folder);
    if report.signing_key() == SigningKey::Vcek {
        paths.extend(chip_files(folder, report));
    }
    for (path, bytes) in paths.into_iter().filter_map(read) {
        if let Err(error) = collateral.add(&bytes) {
            tracing::debug!(path = %path.display(), %error, "not AMD's collateral");
        }
    }
    collateral
}

/// Everything of Intel's.
pub(super) fn intel(folder: Option<&Path>) -> attest::dcap::Collateral {
    let mut collateral = attest::dcap::Collateral::new();
    for (path, bytes) in folder.map(listed).unwrap_or_default().into_iter().filter_map(read) {
        if let Err(error) = collateral.add(&bytes) {
            tracing::debug!(path = %path.display(), %error, "not Intel's collateral");
        }
    }
    collateral
}

/// Every file whose name has one of these endings.
pub(super) fn with_ending(folder: Option<&Path>, endings: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
    let ends = |path: &PathBuf| {
        path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| endings.contains(&ending))
    };
    folder.map(listed).unwrap_or_default().into_iter().filter(ends).filter_map(read).collect()
}

/// Files of the folder, in order of their names.
fn listed(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
        .unwrap_or_default();
    paths.sort();
    paths.truncate(MAX_FILES);
    paths
}

fn read(path: PathBuf) -> Option<(PathBuf, Vec<u8>)> {
    let small = std::fs::metadata(&path).is_ok_and(|facts| facts.is_file() && facts.len() <= MAX_FILE);
    let bytes = small.then(|| std::fs::read(&path).ok()).flatten()?;
    Some((path, bytes))
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
