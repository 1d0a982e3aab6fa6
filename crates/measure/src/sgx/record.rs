//! The records of an SGXS stream, as they are written and measured.

use super::sgxs::SgxsError;
use std::fmt;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Bytes that one EEXTEND measures.
pub const CHUNK: usize = 256;
/// Bytes of a record without data.
pub(super) const HEADER: usize = 64;
/// Bytes of the longest record.
pub(super) const RECORD_WITH_DATA: usize = HEADER + CHUNK;

const ECREATE: &[u8; 8] = b"ECREATE\0";
const EADD: &[u8; 8] = b"EADD\0\0\0\0";
const EEXTEND: &[u8; 8] = b"EEXTEND\0";
const UNMEASURED: &[u8; 8] = b"UNMEASRD";
const UNSIZED: &[u8; 8] = b"UNSIZED\0";

/// SECINFO.FLAGS of a page: R 1, W 2, X 4, and the type in bits 8 to 15 (TCS 1, REG 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageFlags(pub u64);

impl PageFlags {
    /// A thread's control structure; the processor clears its R, W and X.
    pub const TCS: Self = Self(0x100);
    /// Data, readable and writable.
    pub const READ_WRITE: Self = Self(0x203);

    /// A regular page.
    pub fn regular(read: bool, write: bool, execute: bool) -> Self {
        Self(0x200 | u64::from(read) | u64::from(write) << 1 | u64::from(execute) << 2)
    }

    /// Shadow stacks (types 5 and 6) are CET's; W without R, PENDING and MODIFIED are refused by EADD.
    pub(super) fn valid(self) -> bool {
        let access = self.0 & 7;
        let known = self.0 & !0xFF07 == 0;
        let allowed = match self.0 >> 8 {
            1 => access == 0,
            2 => access & 3 != 2,
            5 | 6 => access == 3,
            _ => false,
        };
        known && allowed
    }
}

impl fmt::Display for PageFlags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 8 {
            1 => return out.write_str("tcs"),
            5 | 6 => return out.write_str("shadow stack"),
            _ => {}
        }
        for (bit, letter) in [(1, "r"), (2, "w"), (4, "x")] {
            out.write_str(if self.0 & bit != 0 { letter } else { "-" })?;
        }
        Ok(())
    }
}

/// One record of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// ECREATE.
    Create {
        /// SSAFRAMESIZE, in pages.
        ssa_frame_pages: u32,
        /// SIZE, in bytes.
        size: u64,
    },
    /// EADD.
    Add {
        /// Offset of the page in the enclave.
        offset: u64,
        /// Its SECINFO.FLAGS.
        flags: PageFlags,
    },
    /// EEXTEND.
    Extend {
        /// Offset of the chunk in the enclave.
        offset: u64,
        /// Its bytes.
        data: [u8; CHUNK],
    },
    /// A chunk that is loaded and not measured (SGXS's own; no instruction).
    Unmeasured {
        /// Offset of the chunk in the enclave.
        offset: u64,
        /// Its bytes.
        data: [u8; CHUNK],
    },
}

impl Record {
    /// The record as it is in a stream; what is measured is the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (tag, first, second, data): (_, &[u8], &[u8], &[u8]) = match self {
            Self::Create { ssa_frame_pages, size } => {
                (ECREATE, &ssa_frame_pages.to_le_bytes(), &size.to_le_bytes(), &[])
            }
            Self::Add { offset, flags } => (EADD, &offset.to_le_bytes(), &flags.0.to_le_bytes(), &[]),
            Self::Extend { offset, data } => (EEXTEND, &offset.to_le_bytes(), &[], data),
            Self::Unmeasured { offset, data } => (UNMEASURED, &offset.to_le_bytes(), &[], data),
        };
        let mut bytes = Vec::with_capacity(RECORD_WITH_DATA);
        for part in [tag.as_slice(), first, second] {
            bytes.extend_from_slice(part);
        }
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(data);
        bytes
    }

    /// Reads a record that has exactly the length its tag asks for.
    pub(super) fn decode(bytes: &[u8], at: u64) -> Result<Self, SgxsError> {
        let cut = || SgxsError::Truncated { at };
        let (header, data) = bytes.split_at_checked(HEADER).ok_or_else(cut)?;
        let (tag, fields) = header.split_first_chunk::<8>().ok_or_else(cut)?;
        let chunk = || <[u8; CHUNK]>::try_from(data).map_err(|_| cut());
        let (record, used) = match tag {
            ECREATE => {
                let (pages, rest) = fields.split_first_chunk().ok_or_else(cut)?;
                let size = rest.first_chunk().ok_or_else(cut)?;
                (Self::Create { ssa_frame_pages: u32::from_le_bytes(*pages), size: u64::from_le_bytes(*size) }, 12)
            }
            EADD => {
                let (offset, rest) = fields.split_first_chunk().ok_or_else(cut)?;
                let flags = rest.first_chunk().ok_or_else(cut)?;
                (Self::Add { offset: u64::from_le_bytes(*offset), flags: PageFlags(u64::from_le_bytes(*flags)) }, 16)
            }
            EEXTEND | UNMEASURED => {
                let offset = u64::from_le_bytes(*fields.first_chunk().ok_or_else(cut)?);
                let data = chunk()?;
                let measured = tag == EEXTEND;
                (if measured { Self::Extend { offset, data } } else { Self::Unmeasured { offset, data } }, 8)
            }
            UNSIZED => return Err(SgxsError::Unsized),
            _ => return Err(unknown(tag, at)),
        };
        if fields.iter().skip(used).any(|byte| *byte != 0) {
            return Err(SgxsError::Reserved { at });
        }
        Ok(record)
    }
}

/// How long the record is of which these bytes are the beginning, as far as its tag is known.
pub(super) fn length(begun: &[u8]) -> usize {
    match begun.first_chunk::<8>() {
        Some(EEXTEND | UNMEASURED) if begun.len() >= HEADER => RECORD_WITH_DATA,
        _ => HEADER,
    }
}

fn unknown(tag: &[u8; 8], at: u64) -> SgxsError {
    SgxsError::Tag { at, tag: hex::encode(tag) }
}
