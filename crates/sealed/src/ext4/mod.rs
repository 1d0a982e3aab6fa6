//! ext4: a writer that plans a whole volume and then gives any of its blocks, and a reader for hostile images.

mod blocks;
mod format;
mod groups;
mod layout;
mod plan;
mod reader;
mod scratch;
mod xattr;

pub use layout::{Layout, LayoutError, Options, Size};
pub use reader::{Found, MAX_NAMES, ReadError, Reader, Stat, VolumeSources, blocks_of};
pub use scratch::scratch;

use std::io;

/// Where the bytes of [`crate::tree::Content::Source`] come from.
pub trait Sources: Sync {
    /// Fills `out` with what stands at `offset` of `source`.
    fn read(&self, source: u32, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

/// No sources: for trees whose files are all in memory.
#[derive(Debug, Clone, Copy)]
pub struct NoSources;

impl Sources for NoSources {
    fn read(&self, _source: u32, _offset: u64, _out: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
}
