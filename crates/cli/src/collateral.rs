//! Collateral from files. No socket is opened here, and none by anything that this module calls.

use crate::outcome::{self, Failure, Result};
use attest::snp::Collateral;
use claims::Code;
use std::path::{Path, PathBuf};

/// Largest collateral file.
const MAX_LENGTH: u64 = 4 << 20;

/// Reads certificates and lists: DER or PEM files, or folders of them (one level).
pub(crate) fn read(paths: &[PathBuf]) -> Result<Collateral> {
    let mut collateral = Collateral::new();
    for path in paths {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).map_err(|error| outcome::cannot("read", path, error))?;
            let mut files: Vec<PathBuf> =
                entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
            files.sort();
            files.iter().filter(|file| is_collateral(file)).try_for_each(|file| add(&mut collateral, file))?;
        } else {
            add(&mut collateral, path)?;
        }
    }
    Ok(collateral)
}

fn add(collateral: &mut Collateral, path: &Path) -> Result<()> {
    let length = std::fs::metadata(path).map_err(|error| outcome::cannot("read", path, error))?.len();
    if length > MAX_LENGTH {
        return Err(Failure::usage(format!("{} is too large for a certificate or a revocation list", path.display())));
    }
    collateral.add(&outcome::read(path)?).map_err(|error| {
        Failure::usage(format!("{} cannot be used as collateral", path.display())).because(error).code(Code::SnpChain)
    })
}

fn is_collateral(path: &Path) -> bool {
    let known = ["der", "pem", "crt", "cer", "crl"];
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| known.contains(&extension))
}
