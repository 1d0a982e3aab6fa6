//! qcow2 drives: a writer whose bytes do not depend on the order of writes, and a reader for hostile files.
//!
//! *Takes* anything that is written or read by offset ([`sealed::WriteAt`], [`sealed::ReadAt`]).
//! *Guarantees* that equal plans and contents give equal files; that the reader never opens another file, needs memory
//! bounded by the file's own first-level table (32 MiB at most), and never maps one part of the file twice.
//! *Does not check* refcounts when reading: nothing is ever allocated in a file that is read.
//!
//! Format: QEMU's `docs/interop/qcow2.rst`, versions 2 and 3.

mod header;
mod reader;
mod writer;

pub use header::Header;
pub use reader::Reader;
pub use writer::{Plan, PlanError, Writer};

use claims::Code;
use std::io;

/// `QFI\xfb`.
const MAGIC: u32 = 0x5146_49fb;
/// Bits 9 to 55 of a table entry are an offset.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// Bit 63: the cluster's refcount is exactly 1.
const COPIED: u64 = 1 << 63;

/// A qcow2 file that is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Qcow2Error {
    /// The file cannot be read.
    #[error("cannot read the disk image")]
    Io(#[from] io::Error),
    /// No qcow2 file. What it is instead is not guessed.
    #[error("it is not a qcow2 file")]
    Magic,
    /// A version that is not read.
    #[error("it is qcow2 version {got}; versions 2 and 3 are read")]
    Version {
        /// The version.
        got: u32,
    },
    /// The file ends before its tables do.
    #[error("it is truncated: {what} lies outside of the file")]
    Truncated {
        /// What is missing.
        what: &'static str,
    },
    /// It would make other files be read, or hides data.
    #[error("it has {what}, which is not allowed")]
    Feature {
        /// The feature.
        what: &'static str,
    },
    /// Feature bits that are not known.
    #[error("it needs unknown features (bits {bits:#x})")]
    UnknownFeatures {
        /// The bits.
        bits: u64,
    },
    /// A field of the header is out of range.
    #[error("{field} in its header is out of range ({got})")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        got: u64,
    },
    /// A table entry with reserved bits, or an offset that is not on a cluster.
    #[error("{table} entry {index} is malformed ({entry:#x})")]
    Entry {
        /// Which table.
        table: &'static str,
        /// Index of the entry.
        index: u64,
        /// The entry.
        entry: u64,
    },
    /// Two parts of the image lie in the same cluster of the file.
    #[error("{what} overlaps another part of the image at byte {offset} of the file")]
    Overlap {
        /// What overlaps.
        what: &'static str,
        /// Where.
        offset: u64,
    },
}

impl Qcow2Error {
    /// The code of the refusal, where it is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Io(_) => None,
            _ => Some(Code::Disk),
        }
    }
}
