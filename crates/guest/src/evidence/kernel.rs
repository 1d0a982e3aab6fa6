//! Small reads and writes of kernel files.

use super::EvidenceError;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

/// Reads a kernel file that may not be longer than `limit`.
pub(super) fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(bound).read_to_end(&mut bytes)?;
    if bytes.len() > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// Writes a kernel file that is there, in one write.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = OpenOptions::new().write(true).open(path)?.write(bytes)?;
    if written == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Names what failed.
pub(super) fn failed(what: &'static str) -> impl FnOnce(io::Error) -> EvidenceError {
    move |source| EvidenceError::Io { what, source }
}
