//! The bytes of files: extent trees and inline data.

use super::super::format::*;
use super::volume::{Fields, Inode};
use super::{ReadError, Reader};
use crate::ReadAt;

/// Extents of one file, at most.
const MAX_EXTENTS: usize = 1 << 20;
/// Blocks of one extent tree, at most.
const MAX_NODES: usize = 1 << 16;
/// Deepest tree that Linux accepts.
const MAX_DEPTH: u16 = 5;
/// Bytes of one folder, at most.
const MAX_FOLDER: u64 = 1 << 30;

/// A file made ready to read.
#[derive(Debug)]
pub(super) struct File {
    number: u32,
    size: u64,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Inline(Vec<u8>),
    /// Ascending; what lies between is zeros.
    Extents(Vec<Extent>),
}

#[derive(Debug, Clone, Copy)]
struct Extent {
    logical: u64,
    blocks: u64,
    physical: u64,
    /// Allocated, never written: zeros.
    unwritten: bool,
}

impl<D: ReadAt> Reader<D> {
    pub(super) fn open_file(&self, inode: &Inode) -> Result<File, ReadError> {
        let bytes = if inode.flags & FLAG_INLINE_DATA != 0 {
            let mut bytes = inode.block.to_vec();
            bytes.extend(self.xattrs(inode)?.remove(&b"system.data"[..]).unwrap_or_default());
            Bytes::Inline(bytes)
        } else if inode.flags & FLAG_EXTENTS != 0 {
            Bytes::Extents(self.extents(inode)?)
        } else if inode.size == 0 {
            Bytes::Extents(Vec::new())
        } else {
            return Err(ReadError::Damaged { inode: inode.number, what: "block lists of ext3 are not read" });
        };
        Ok(File { number: inode.number, size: inode.size, bytes })
    }

    /// Fills `out` from `offset`; an error if the file ends before.
    pub(super) fn read_file(&self, file: &File, offset: u64, out: &mut [u8]) -> Result<(), ReadError> {
        let ends = || ReadError::Damaged { inode: file.number, what: "read behind its end" };
        offset.checked_add(out.len() as u64).filter(|end| *end <= file.size).ok_or_else(ends)?;
        let extents = match &file.bytes {
            Bytes::Inline(bytes) => {
                let start = usize::try_from(offset).map_err(|_| ends())?;
                let end = start.checked_add(out.len()).ok_or_else(ends)?;
                out.copy_from_slice(bytes.get(start..end).ok_or_else(ends)?);
                return Ok(());
            }
            Bytes::Extents(extents) => extents,
        };
        let block_size = self.volume.block_size;
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            let block = at.checked_div(block_size).unwrap_or(0);
            let next = extents.partition_point(|extent| extent.logical.saturating_add(extent.blocks) <= block);
            // Either the extent that holds this block, or the one behind the hole that it lies in.
            let (until, place) = match extents.get(next) {
                Some(extent) if extent.logical <= block => {
                    let within = at.saturating_sub(extent.logical.saturating_mul(block_size));
                    let place = extent.physical.saturating_mul(block_size).saturating_add(within);
                    (extent.logical.saturating_add(extent.blocks), (!extent.unwritten).then_some(place))
                }
                Some(extent) => (extent.logical, None),
                None => (u64::MAX, None),
            };
            let here = until.saturating_mul(block_size).saturating_sub(at);
            let count = usize::try_from(here).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut_checked(count).unwrap_or_default();
            match place {
                Some(place) => self.read_device(place, now)?,
                None => now.fill(0),
            }
            rest = later;
            at = at.saturating_add(count as u64);
        }
        Ok(())
    }

    /// A folder's blocks, or its inline parts, until `each` says false.
    pub(super) fn folder_blocks(
        &self,
        inode: &Inode,
        each: &mut dyn FnMut(&[u8]) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let file = self.open_file(inode)?;
        if file.size > MAX_FOLDER {
            return Err(ReadError::Damaged { inode: inode.number, what: "size of a folder" });
        }
        if let Bytes::Inline(bytes) = &file.bytes {
            // Four bytes of parent, then names; the attribute is a second run of names.
            let (own, more) = bytes.split_at_checked(60).unwrap_or_default();
            if each(own.get(4..).unwrap_or_default())? {
                each(more)?;
            }
            return Ok(());
        }
        let mut block = vec![0; usize::try_from(self.volume.block_size).unwrap_or(0)];
        let mut at = 0u64;
        while at < file.size {
            let count = usize::try_from(file.size.saturating_sub(at)).unwrap_or(usize::MAX).min(block.len());
            let piece = block.get_mut(..count).unwrap_or_default();
            self.read_file(&file, at, piece)?;
            if !each(piece)? {
                return Ok(());
            }
            at = at.saturating_add(count as u64);
        }
        Ok(())
    }

    /// All extents, in order. Depth goes down with each level, so there is no circle.
    fn extents(&self, inode: &Inode) -> Result<Vec<Extent>, ReadError> {
        let damaged = |what| ReadError::Damaged { inode: inode.number, what };
        let mut extents: Vec<Extent> = Vec::new();
        let mut nodes = 0usize;
        // Nodes still to be read, the next one last: block and depth.
        let mut waiting: Vec<(u64, u16)> = Vec::new();
        let mut node: Vec<u8> = inode.block.to_vec();
        let mut depth = Fields(&node).u16(6);
        if depth > MAX_DEPTH {
            return Err(damaged("depth of its extent tree"));
        }
        loop {
            let fields = Fields(&node);
            let entries = usize::from(fields.u16(2));
            let room = node.len().saturating_sub(12).checked_div(12).unwrap_or(0);
            if fields.u16(0) != EXTENT_MAGIC || fields.u16(6) != depth || entries > room {
                return Err(damaged("extent tree"));
            }
            let (table, _) = node.get(12..).unwrap_or_default().as_chunks::<12>();
            let table = table.iter().take(entries);
            if depth == 0 {
                for entry in table {
                    let extent = extent(entry);
                    let end = extents.last().map_or(0, |last| last.logical.saturating_add(last.blocks));
                    if extent.logical < end || extent.blocks == 0 || extents.len() >= MAX_EXTENTS {
                        return Err(damaged("extents"));
                    }
                    extents.push(extent);
                }
            } else {
                for entry in table.rev() {
                    let fields = Fields(entry);
                    let block = u64::from(fields.u16(8)) << 32 | u64::from(fields.u32(4));
                    waiting.push((block, depth.saturating_sub(1)));
                }
            }
            nodes = nodes.saturating_add(1);
            let Some((block, next_depth)) = waiting.pop() else { return Ok(extents) };
            if nodes > MAX_NODES || waiting.len() > MAX_NODES {
                return Err(damaged("size of its extent tree"));
            }
            depth = next_depth;
            node.resize(usize::try_from(self.volume.block_size).unwrap_or(0), 0);
            self.read_device(block.saturating_mul(self.volume.block_size), &mut node)?;
        }
    }
}

fn extent(entry: &[u8; 12]) -> Extent {
    let fields = Fields(entry);
    let length = u64::from(fields.u16(4));
    let unwritten = length > EXTENT_BLOCKS;
    Extent {
        logical: u64::from(fields.u32(0)),
        blocks: if unwritten { length.saturating_sub(EXTENT_BLOCKS) } else { length },
        physical: u64::from(fields.u16(6)) << 32 | u64::from(fields.u32(8)),
        unwritten,
    }
}
