//! Reads a qcow2 file that somebody else wrote.

use super::header::Header;
use super::{COPIED, OFFSET_MASK, Qcow2Error};
use sealed::ReadAt;
use std::io;

/// Most clusters of a file whose use is tracked (64 MiB of bits).
const MAX_CLUSTERS: u64 = 1 << 29;
/// Longest header looked at.
const HEADER_READ: u64 = 4096;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

/// A qcow2 file as a drive to read.
#[derive(Debug)]
pub struct Reader<R> {
    file: R,
    header: Header,
    l1: Vec<u64>,
}

impl<R: ReadAt> Reader<R> {
    /// Checks header and all tables; nothing of the file is believed later without being checked again.
    pub fn open(file: R) -> Result<Self, Qcow2Error> {
        let mut start = vec![0; usize::try_from(file.size().min(HEADER_READ)).unwrap_or_default()];
        file.read_exact_at(0, &mut start)?;
        let header = Header::parse(&start)?;
        let mut reader = Self { file, header, l1: Vec::new() };
        reader.l1 = reader.table(header.l1_offset, header.l1_entries, "the first-level table")?;
        reader.check_tables()?;
        Ok(reader)
    }

    /// The checked header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The underlying file.
    pub fn into_inner(self) -> R {
        self.file
    }

    fn table(&self, offset: u64, entries: u64, what: &'static str) -> Result<Vec<u64>, Qcow2Error> {
        let length = entries.saturating_mul(8);
        if offset.checked_add(length).is_none_or(|end| end > self.file.size()) {
            return Err(Qcow2Error::Truncated { what });
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| Qcow2Error::Truncated { what })?];
        self.file.read_exact_at(offset, &mut bytes)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|entry| u64::from_be_bytes(*entry)).collect())
    }

    /// Every table and data cluster must be in the file, and none in two places of the image.
    fn check_tables(&self) -> Result<(), Qcow2Error> {
        let header = &self.header;
        let clusters = self.file.size().div_ceil(header.cluster());
        if clusters > MAX_CLUSTERS {
            return Err(Qcow2Error::Field { field: "number of clusters", got: clusters });
        }
        let mut used = Used { bits: vec![0; clusters.div_ceil(64) as usize], cluster_bits: header.cluster_bits };
        used.mark(0, 1, "the header")?;
        used.mark(header.refcount_offset, header.refcount_clusters, "the refcount table")?;
        used.mark(header.l1_offset, (header.l1_entries * 8).div_ceil(header.cluster()), "the first-level table")?;
        let entries = header.refcount_clusters.saturating_mul(header.l2_entries());
        let blocks = self.table(header.refcount_offset, entries, "the refcount table")?;
        for (index, entry) in blocks.into_iter().enumerate().filter(|(_, entry)| *entry != 0) {
            if entry & 0x1ff != 0 || !entry.is_multiple_of(header.cluster()) {
                return Err(Qcow2Error::Entry { table: "refcount table", index: index as u64, entry });
            }
            used.mark(entry, 1, "a refcount block")?;
        }
        for (index, entry) in self.l1.iter().enumerate() {
            let Some(offset) = self.l1_offset(index as u64, *entry)? else { continue };
            used.mark(offset, 1, "a second-level table")?;
            let table = self.table(offset, header.l2_entries(), "a second-level table")?;
            for (index, entry) in table.into_iter().enumerate() {
                if let Some(data) = self.l2_offset(index as u64, entry)?.place() {
                    used.mark(data, 1, "a data cluster")?;
                }
            }
        }
        Ok(())
    }

    fn l1_offset(&self, index: u64, entry: u64) -> Result<Option<u64>, Qcow2Error> {
        let offset = entry & OFFSET_MASK;
        if entry & !(OFFSET_MASK | COPIED) != 0 || !offset.is_multiple_of(self.header.cluster()) {
            return Err(Qcow2Error::Entry { table: "first-level", index, entry });
        }
        Ok((offset != 0).then_some(offset))
    }

    fn l2_offset(&self, index: u64, entry: u64) -> Result<Mapped, Qcow2Error> {
        if entry & COMPRESSED != 0 {
            return Err(Qcow2Error::Feature { what: "compressed clusters" });
        }
        let offset = entry & OFFSET_MASK;
        let zero = entry & ZERO != 0;
        if entry & !(OFFSET_MASK | COPIED | ZERO) != 0
            || !offset.is_multiple_of(self.header.cluster())
            || (zero && self.header.version < 3)
        {
            return Err(Qcow2Error::Entry { table: "second-level", index, entry });
        }
        if offset >= self.file.size() {
            return Err(Qcow2Error::Truncated { what: "a data cluster" });
        }
        Ok(match (zero, offset) {
            (_, 0) => Mapped::Hole,
            (true, place) => Mapped::Zeros { place },
            (false, place) => Mapped::Data { place },
        })
    }

    /// Where a cluster of the drive is in the file.
    fn find(&self, cluster: u64) -> Result<Mapped, Qcow2Error> {
        let (table, index) = (cluster / self.header.l2_entries(), cluster % self.header.l2_entries());
        let entry = usize::try_from(table).ok().and_then(|table| self.l1.get(table)).copied().unwrap_or_default();
        let Some(offset) = self.l1_offset(table, entry)? else { return Ok(Mapped::Hole) };
        let mut bytes = [0; 8];
        self.file.read_exact_at(offset.saturating_add(index * 8), &mut bytes)?;
        self.l2_offset(index, u64::from_be_bytes(bytes))
    }

    fn read_part(&self, offset: u64, part: &mut [u8]) -> Result<(), Qcow2Error> {
        let within = offset % self.header.cluster();
        match self.find(offset / self.header.cluster())? {
            Mapped::Hole | Mapped::Zeros { .. } => part.fill(0),
            Mapped::Data { place } => {
                // A file may end inside of its last cluster; the rest of it is zeros.
                let start = place.saturating_add(within);
                let there = usize::try_from(self.file.size().saturating_sub(start)).unwrap_or(usize::MAX);
                let (data, beyond) = part.split_at_mut(there.min(part.len()));
                beyond.fill(0);
                self.file.read_exact_at(start, data)?;
            }
        }
        Ok(())
    }
}

impl<R: ReadAt> ReadAt for Reader<R> {
    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.header.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut rest, mut at) = (out, offset);
        while !rest.is_empty() {
            let left = self.header.cluster() - at % self.header.cluster();
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            let (part, behind) = rest.split_at_mut(length);
            self.read_part(at, part).map_err(|error| match error {
                Qcow2Error::Io(error) => error,
                other => io::Error::new(io::ErrorKind::InvalidData, other),
            })?;
            at = at.saturating_add(length as u64);
            rest = behind;
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.header.size
    }
}

enum Mapped {
    Hole,
    /// Reads as zeros, but keeps its cluster.
    Zeros {
        place: u64,
    },
    Data {
        place: u64,
    },
}

impl Mapped {
    fn place(&self) -> Option<u64> {
        match self {
            Self::Hole => None,
            Self::Zeros { place } | Self::Data { place } => Some(*place),
        }
    }
}

/// Clusters of the file that are in use.
struct Used {
    bits: Vec<u64>,
    cluster_bits: u32,
}

impl Used {
    fn mark(&mut self, offset: u64, clusters: u64, what: &'static str) -> Result<(), Qcow2Error> {
        let first = offset >> self.cluster_bits;
        for cluster in first..first.saturating_add(clusters) {
            let word = usize::try_from(cluster / 64).ok().and_then(|word| self.bits.get_mut(word));
            let word = word.ok_or(Qcow2Error::Truncated { what })?;
            let bit = 1 << (cluster % 64);
            if *word & bit != 0 {
                return Err(Qcow2Error::Overlap { what, offset: cluster << self.cluster_bits });
            }
            *word |= bit;
        }
        Ok(())
    }
}
