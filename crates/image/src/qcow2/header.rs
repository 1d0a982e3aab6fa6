//! The header of a qcow2 file.

use super::{MAGIC, Qcow2Error};

/// Bytes of a version 3 header without its extensions.
pub(super) const LENGTH: usize = 104;
const LENGTH_2: usize = 72;
/// QEMU's own limit on the first-level table: 32 MiB.
const MAX_L1: u64 = (32 << 20) / 8;
/// QEMU's own limit on the refcount table: 8 MiB.
const MAX_REFCOUNT_TABLE: u64 = 8 << 20;

const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// What a file says about itself, after every value was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// Cluster size as a power of two.
    pub cluster_bits: u32,
    /// Bytes of the drive.
    pub size: u64,
    pub(super) l1_entries: u64,
    pub(super) l1_offset: u64,
    pub(super) refcount_offset: u64,
    pub(super) refcount_clusters: u64,
}

impl Header {
    /// Parses the start of a file: all of its first cluster, or as much of it as there is.
    pub fn parse(bytes: &[u8]) -> Result<Self, Qcow2Error> {
        if u32_at(bytes, 0)? != MAGIC {
            return Err(Qcow2Error::Magic);
        }
        let version = u32_at(bytes, 4)?;
        if !matches!(version, 2 | 3) {
            return Err(Qcow2Error::Version { got: version });
        }
        if u64_at(bytes, 8)? != 0 || u32_at(bytes, 16)? != 0 {
            return Err(Qcow2Error::Feature { what: "a backing file" });
        }
        if u32_at(bytes, 32)? != 0 {
            return Err(Qcow2Error::Feature { what: "encryption of its own" });
        }
        if u32_at(bytes, 60)? != 0 {
            return Err(Qcow2Error::Feature { what: "snapshots" });
        }
        let header_length = match version {
            2 => LENGTH_2 as u64,
            _ => features(bytes)?,
        };
        let cluster_bits = u32_at(bytes, 20)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(Qcow2Error::Field { field: "cluster_bits", got: cluster_bits.into() });
        }
        let header = Self {
            version,
            cluster_bits,
            size: u64_at(bytes, 24)?,
            l1_entries: u32_at(bytes, 36)?.into(),
            l1_offset: u64_at(bytes, 40)?,
            refcount_offset: u64_at(bytes, 48)?,
            refcount_clusters: u32_at(bytes, 56)?.into(),
        };
        header.check_tables()?;
        extensions(bytes, header_length, header.cluster())?;
        Ok(header)
    }

    /// Bytes of a cluster.
    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Entries of one second-level table.
    pub(super) fn l2_entries(&self) -> u64 {
        self.cluster() / 8
    }

    fn check_tables(&self) -> Result<(), Qcow2Error> {
        let field = |field, got| Err(Qcow2Error::Field { field, got });
        let per_table = self.cluster().saturating_mul(self.l2_entries());
        let needed = self.size.div_ceil(per_table);
        if needed > MAX_L1 {
            return field("size", self.size);
        }
        if self.l1_entries < needed || self.l1_entries > MAX_L1 {
            return field("l1_size", self.l1_entries);
        }
        let aligned = |offset: u64| offset.is_multiple_of(self.cluster()) && offset > 0 && offset < 1 << 56;
        if !aligned(self.l1_offset) && self.l1_entries > 0 {
            return field("l1_table_offset", self.l1_offset);
        }
        if !aligned(self.refcount_offset) {
            return field("refcount_table_offset", self.refcount_offset);
        }
        if self.refcount_clusters == 0
            || self.refcount_clusters.saturating_mul(self.cluster()) > MAX_REFCOUNT_TABLE.max(self.cluster())
        {
            return field("refcount_table_clusters", self.refcount_clusters);
        }
        Ok(())
    }
}

/// Checks what only version 3 has; gives the header's length.
fn features(bytes: &[u8]) -> Result<u64, Qcow2Error> {
    let incompatible = u64_at(bytes, 72)?;
    for (bit, what) in [
        (DATA_FILE, "an external data file"),
        (CORRUPT, "the mark of a damaged image"),
        (COMPRESSION_TYPE, "compressed clusters"),
        (EXTENDED_L2, "subclusters"),
    ] {
        if incompatible & bit != 0 {
            return Err(Qcow2Error::Feature { what });
        }
    }
    // Dirty means that refcounts may be wrong, and they are not used here.
    if incompatible & !DIRTY != 0 {
        return Err(Qcow2Error::UnknownFeatures { bits: incompatible });
    }
    let order = u32_at(bytes, 96)?;
    if order > 6 {
        return Err(Qcow2Error::Field { field: "refcount_order", got: order.into() });
    }
    let length = u64::from(u32_at(bytes, 100)?);
    if length < LENGTH as u64 || !length.is_multiple_of(8) || length > 512 {
        return Err(Qcow2Error::Field { field: "header_length", got: length });
    }
    Ok(length)
}

/// Walks the extensions; two of them name other places for data or keys.
fn extensions(bytes: &[u8], mut at: u64, cluster: u64) -> Result<(), Qcow2Error> {
    loop {
        // QEMU reads extensions up to the first cluster's end, and a file may stop there.
        if at.saturating_add(8) > cluster.min(bytes.len() as u64) {
            return Ok(());
        }
        let index = usize::try_from(at).unwrap_or(usize::MAX);
        let length = u64::from(u32_at(bytes, index.saturating_add(4))?);
        match u32_at(bytes, index)? {
            0 => return Ok(()),
            0x0537_be77 => return Err(Qcow2Error::Feature { what: "encryption of its own" }),
            0x4441_5441 => return Err(Qcow2Error::Feature { what: "an external data file" }),
            _ => {}
        }
        at = at.saturating_add(8).saturating_add(length.next_multiple_of(8));
        if at > cluster {
            return Err(Qcow2Error::Field { field: "length of an extension", got: length });
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Qcow2Error> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    field.map(|field| u32::from_be_bytes(*field)).ok_or(Qcow2Error::Truncated { what: "the header" })
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Result<u64, Qcow2Error> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    field.map(|field| u64::from_be_bytes(*field)).ok_or(Qcow2Error::Truncated { what: "the header" })
}
