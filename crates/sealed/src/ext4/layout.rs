//! Plans a volume.

use super::Sources;
use crate::tree::Tree;
use std::io;
use std::ops::Range;

/// How large a volume becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// As small as its contents allow; for volumes that are only read.
    Minimal,
    /// Exactly this many bytes (whole blocks), with room to write.
    Bytes(u64),
}

/// Everything about a volume that is not in its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How large.
    pub size: Size,
    /// Volume label, at most 16 bytes.
    pub label: String,
    /// File system UUID; the directory hash seed is derived from it.
    pub uuid: [u8; 16],
    /// Whether there is a journal (only with [`Size::Bytes`]).
    pub journal: bool,
    /// Seconds since 1970 for the superblock and for what is made along.
    pub time: u32,
}

/// Why a tree does not become a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The contents do not fit.
    #[error("needs {wanted} bytes, the volume has {got}")]
    TooSmall {
        /// Bytes needed.
        wanted: u64,
        /// Bytes there.
        got: u64,
    },
}

/// A planned volume: any block of it can be had at any time, from any thread.
#[derive(Debug)]
pub struct Layout {
    blocks: u64,
}

impl Layout {
    /// Gives every file its inode and blocks.
    pub fn plan(tree: &Tree, options: &Options) -> Result<Self, LayoutError> {
        let Size::Bytes(bytes) = options.size else {
            return Ok(Self { blocks: tree.content_bytes().div_ceil(4096) });
        };
        Ok(Self { blocks: bytes / 4096 })
    }

    /// Blocks in the volume.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Fills `out`, a whole number of blocks, with the plaintext from `block` on.
    pub fn fill(&self, block: u64, out: &mut [u8], sources: &dyn Sources) -> io::Result<()> {
        let _ = (block, out, sources);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Block ranges that have to be written; all others are holes and read as zeros.
    pub fn allocated(&self) -> impl Iterator<Item = Range<u64>> {
        std::iter::empty()
    }

    /// The byte ranges on the volume where a file's data lie, in order.
    pub fn extents_of(&self, path: &[u8]) -> Vec<Range<u64>> {
        let _ = path;
        Vec::new()
    }
}
