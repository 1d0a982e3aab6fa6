//! What tests of the program from outside share.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of the vectors; none, and a line that says so, where they are not.
pub(crate) fn vectors(folder: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from)
        .join(folder);
    if !folder.exists() {
        eprintln!("skipped: vectors are not here");
        return None;
    }
    Some(folder)
}

/// Runs `confide`.
pub(crate) fn confide(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_confide")).args(arguments).output().unwrap()
}

/// What it printed, as JSON.
pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}
