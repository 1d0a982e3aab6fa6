//! Writes a qcow2 file of version 3 with 64 KiB clusters.

use super::header::LENGTH;
use super::{COPIED, MAGIC};
use sealed::WriteAt;
use std::io;
use std::ops::Range;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
const L2_ENTRIES: u64 = CLUSTER / 8;
/// 16-bit refcounts in one block.
const REFCOUNTS: u64 = CLUSTER / 2;
/// 64 TiB: the first-level table stays at 1 MiB.
const MAX_SIZE: u64 = 1 << 46;

/// Where everything will be in a file, decided before anything is written: so the file's bytes do not depend on
/// which thread writes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    size: u64,
    /// Runs of the drive's clusters that have a place, and the index of their first one among all that have.
    runs: Vec<(Range<u64>, u64)>,
    refcount_table: u64,
    refcount_blocks: u64,
    l1_clusters: u64,
    l2_tables: u64,
    data_clusters: u64,
}

/// A drive that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The size is zero, not in whole sectors, or above 64 TiB.
    #[error("a drive of {size} bytes cannot be made: whole sectors of 512 bytes, at least one, 64 TiB at most")]
    Size {
        /// The size.
        size: u64,
    },
    /// A range that is not on the drive.
    #[error("bytes {start} to {end} are not on a drive of {size} bytes")]
    Outside {
        /// Start of the range.
        start: u64,
        /// Its end.
        end: u64,
        /// The drive's size.
        size: u64,
    },
}

impl Plan {
    /// Plans a drive of `size` bytes on which only the bytes in `written` will be written, in any order and overlap.
    pub fn new(size: u64, written: &[Range<u64>]) -> Result<Self, PlanError> {
        if size == 0 || !size.is_multiple_of(512) || size > MAX_SIZE {
            return Err(PlanError::Size { size });
        }
        let mut clusters = Vec::with_capacity(written.len());
        for range in written.iter().filter(|range| !range.is_empty()) {
            if range.end > size {
                return Err(PlanError::Outside { start: range.start, end: range.end, size });
            }
            clusters.push(range.start / CLUSTER..range.end.div_ceil(CLUSTER));
        }
        clusters.sort_by_key(|range| range.start);
        let mut runs: Vec<(Range<u64>, u64)> = Vec::new();
        let mut data_clusters = 0;
        for range in clusters {
            match runs.last_mut() {
                Some((last, _)) if range.start <= last.end => {
                    let end = last.end.max(range.end);
                    data_clusters += end - last.end;
                    last.end = end;
                }
                _ => {
                    let length = range.end - range.start;
                    runs.push((range, data_clusters));
                    data_clusters += length;
                }
            }
        }
        let l1_clusters = size.div_ceil(CLUSTER * L2_ENTRIES).div_ceil(L2_ENTRIES);
        let mut plan = Self {
            size,
            l2_tables: tables_of(&runs).count() as u64,
            runs,
            refcount_table: 1,
            refcount_blocks: 1,
            l1_clusters,
            data_clusters,
        };
        // Refcounts count their own blocks too.
        while plan.refcount_blocks * REFCOUNTS < plan.clusters() {
            plan.refcount_blocks += 1;
            plan.refcount_table = plan.refcount_blocks.div_ceil(L2_ENTRIES);
        }
        Ok(plan)
    }

    /// Length of the file.
    pub fn file_length(&self) -> u64 {
        self.clusters() * CLUSTER
    }

    fn clusters(&self) -> u64 {
        self.data_start() + self.data_clusters
    }

    fn l1_start(&self) -> u64 {
        1 + self.refcount_table + self.refcount_blocks
    }

    fn l2_start(&self) -> u64 {
        self.l1_start() + self.l1_clusters
    }

    /// The first data cluster of the file.
    fn data_start(&self) -> u64 {
        self.l2_start() + self.l2_tables
    }

    /// Where a byte of the drive is in the file, and how many bytes follow there.
    fn place(&self, offset: u64) -> Option<(u64, u64)> {
        let cluster = offset / CLUSTER;
        let index = self.runs.partition_point(|(run, _)| run.start <= cluster).checked_sub(1)?;
        let (run, first) = self.runs.get(index).filter(|(run, _)| run.contains(&cluster))?;
        let place = (self.data_start() + first + (cluster - run.start)) * CLUSTER + offset % CLUSTER;
        Some((place, run.end * CLUSTER - offset))
    }

    fn header(&self) -> Vec<u8> {
        let l1_entries = self.size.div_ceil(CLUSTER * L2_ENTRIES);
        let mut header = Vec::with_capacity(LENGTH + 8);
        let mut u32 = |value: u32| header.extend_from_slice(&value.to_be_bytes());
        let low = |value: u64| (value & u64::from(u32::MAX)) as u32;
        let mut u64 = |value: u64| {
            u32(low(value >> 32));
            u32(low(value));
        };
        u64(u64::from(MAGIC) << 32 | 3);
        u64(0); // backing file
        u64(u64::from(CLUSTER_BITS)); // length of its name, and ours
        u64(self.size);
        u64(l1_entries); // encryption, and entries of the first-level table
        u64(self.l1_start() * CLUSTER);
        u64(CLUSTER); // refcount table
        u64(self.refcount_table << 32); // its clusters, and snapshots
        u64(0); // snapshots
        u64(0); // incompatible,
        u64(0); // compatible,
        u64(0); // and autoclear features
        u64(4 << 32 | LENGTH as u64); // refcounts of 16 bits
        u64(0); // end of extensions
        header
    }
}

/// Indices of the second-level tables that are needed, each once, ascending.
fn tables_of(runs: &[(Range<u64>, u64)]) -> impl Iterator<Item = u64> {
    let mut next = 0;
    runs.iter().flat_map(move |(run, _)| {
        let tables = (run.start / L2_ENTRIES).max(next)..run.end.div_ceil(L2_ENTRIES);
        next = next.max(tables.end);
        tables
    })
}

/// A planned drive being written, from any number of threads.
#[derive(Debug)]
pub struct Writer<W> {
    plan: Plan,
    file: W,
}

impl<W: WriteAt> Writer<W> {
    /// Writes header and tables to an empty file. Data may follow in any order; what is not written reads as zeros.
    pub fn new(plan: Plan, file: W) -> io::Result<Self> {
        let header = plan.header();
        file.write_all_at(0, &header)?;
        let blocks = (0..plan.refcount_blocks).map(|block| (1 + plan.refcount_table + block) * CLUSTER);
        write_table(&file, CLUSTER, blocks)?;
        for block in 0..plan.refcount_blocks {
            let left = plan.clusters().saturating_sub(block * REFCOUNTS).min(REFCOUNTS);
            let refcounts = [0, 1].repeat(usize::try_from(left).unwrap_or_default());
            file.write_all_at((1 + plan.refcount_table + block) * CLUSTER, &refcounts)?;
        }
        for (index, table) in tables_of(&plan.runs).enumerate() {
            let place = (plan.l2_start() + index as u64) * CLUSTER;
            file.write_all_at(plan.l1_start() * CLUSTER + table * 8, &(place | COPIED).to_be_bytes())?;
            let clusters = table * L2_ENTRIES..(table + 1) * L2_ENTRIES;
            let entries = clusters.map(|cluster| plan.place(cluster * CLUSTER).map_or(0, |(place, _)| place | COPIED));
            write_table(&file, place, entries)?;
        }
        // Gives the file its length, which whole clusters need.
        file.write_all_at(plan.file_length() - 1, &[0])?;
        Ok(Self { plan, file })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The file.
    pub fn into_inner(self) -> W {
        self.file
    }
}

impl<W: WriteAt> WriteAt for Writer<W> {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let unplanned = || io::Error::new(io::ErrorKind::InvalidInput, "a write outside of the drive's plan");
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.plan.size) {
            return Err(unplanned());
        }
        let (mut rest, mut at) = (bytes, offset);
        while !rest.is_empty() {
            let (place, room) = self.plan.place(at).ok_or_else(unplanned)?;
            let (part, behind) = rest.split_at(usize::try_from(room).unwrap_or(usize::MAX).min(rest.len()));
            self.file.write_all_at(place, part)?;
            at = at.saturating_add(part.len() as u64);
            rest = behind;
        }
        Ok(())
    }
}

fn write_table<W: WriteAt>(file: &W, place: u64, entries: impl Iterator<Item = u64>) -> io::Result<()> {
    let bytes: Vec<u8> = entries.flat_map(u64::to_be_bytes).collect();
    file.write_all_at(place, &bytes)
}
