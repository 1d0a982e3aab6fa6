//! The blocks that belong to one inode: the inode itself, directory blocks, extent tree blocks, attribute blocks.

use super::format::*;

/// What an inode holds.
#[derive(Debug, Clone)]
pub(crate) struct Inode {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) mtime_nanos: u32,
    pub(crate) links: u32,
    pub(crate) size: u64,
    /// First data block, if `blocks` is not zero. Data are always in one run.
    pub(crate) start: u64,
    pub(crate) blocks: u64,
    /// Extent tree blocks, where one run needs more extents than fit into the inode.
    pub(crate) tree_start: u64,
    pub(crate) tree_blocks: u64,
    pub(crate) xattr_block: u64,
    /// What stands in `i_block` instead of extents: a short link's target, a device number.
    pub(crate) in_place: Option<Box<[u8]>>,
    pub(crate) xattrs: Box<[u8]>,
}

impl Inode {
    /// The inode as it stands in the table, its checksum included.
    pub(crate) fn encode(&self, number: u32, seed: u32, out: &mut [u8]) {
        let seed = inode_seed(seed, number);
        out[..INODE].fill(0);
        put16(out, 0x00, self.mode);
        put16(out, 0x02, low16(u64::from(self.uid)));
        put32(out, 0x04, low32(self.size));
        let (seconds, extra) = timestamp(self.mtime, self.mtime_nanos);
        for at in [0x08, 0x0c, 0x10, 0x90] {
            put32(out, at, seconds);
        }
        for at in [0x84, 0x88, 0x8c, 0x94] {
            put32(out, at, extra);
        }
        put16(out, 0x18, low16(u64::from(self.gid)));
        put16(out, 0x1a, low16(u64::from(self.links)));
        let own_blocks = self.blocks + self.tree_blocks + u64::from(self.xattr_block != 0);
        let sectors = own_blocks * (BLOCK_BYTES / 512);
        put32(out, 0x1c, low32(sectors));
        put16(out, 0x74, low16(sectors >> 32));
        match &self.in_place {
            Some(bytes) => put(out, 0x28, bytes),
            None => {
                put32(out, 0x20, FLAG_EXTENTS);
                self.extent_root(&mut out[0x28..0x64]);
            }
        }
        put32(out, 0x68, low32(self.xattr_block));
        put16(out, 0x76, low16(self.xattr_block >> 32));
        put32(out, 0x6c, low32(self.size >> 32));
        put16(out, 0x78, low16(u64::from(self.uid >> 16)));
        put16(out, 0x7a, low16(u64::from(self.gid >> 16)));
        put16(out, 0x80, EXTRA_SIZE);
        put(out, INODE_XATTRS, &self.xattrs);
        let checksum = crc(seed, &out[..INODE]);
        put16(out, 0x7c, low16(u64::from(checksum)));
        put16(out, 0x82, low16(u64::from(checksum >> 16)));
    }

    /// Extents that `blocks` blocks in one run take.
    pub(crate) fn extents(blocks: u64) -> u64 {
        blocks.div_ceil(EXTENT_BLOCKS)
    }

    /// Extent tree blocks for a run; `None` if the tree would need a third level.
    pub(crate) fn tree_blocks_for(blocks: u64) -> Option<u64> {
        let extents = Self::extents(blocks);
        let leaves = if extents <= EXTENTS_IN_INODE { 0 } else { extents.div_ceil(EXTENTS_PER_BLOCK) };
        (leaves <= EXTENTS_IN_INODE).then_some(leaves)
    }

    /// One leaf of the extent tree.
    pub(crate) fn tree_block(&self, leaf: u64, number: u32, seed: u32, out: &mut [u8]) {
        out.fill(0);
        let first = leaf * EXTENTS_PER_BLOCK;
        let count = (Self::extents(self.blocks) - first).min(EXTENTS_PER_BLOCK);
        extent_header(out, count, EXTENTS_PER_BLOCK, 0);
        self.extents_into(out, first, count);
        let checksum = crc(inode_seed(seed, number), &out[..BLOCK - 4]);
        put32(out, BLOCK - 4, checksum);
    }

    fn extent_root(&self, out: &mut [u8]) {
        if self.tree_blocks == 0 {
            let count = Self::extents(self.blocks);
            extent_header(out, count, EXTENTS_IN_INODE, 0);
            self.extents_into(out, 0, count);
            return;
        }
        extent_header(out, self.tree_blocks, EXTENTS_IN_INODE, 1);
        for leaf in 0..self.tree_blocks {
            let at = 12 + 12 * leaf as usize;
            let block = self.tree_start + leaf;
            put32(out, at, low32(leaf * EXTENTS_PER_BLOCK * EXTENT_BLOCKS));
            put32(out, at + 4, low32(block));
            put16(out, at + 8, low16(block >> 32));
        }
    }

    fn extents_into(&self, out: &mut [u8], first: u64, count: u64) {
        for index in 0..count {
            let at = 12 + 12 * index as usize;
            let logical = (first + index) * EXTENT_BLOCKS;
            let physical = self.start + logical;
            put32(out, at, low32(logical));
            put16(out, at + 4, low16((self.blocks - logical).min(EXTENT_BLOCKS)));
            put16(out, at + 6, low16(physical >> 32));
            put32(out, at + 8, low32(physical));
        }
    }
}

/// One name in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    pub(crate) name: Box<[u8]>,
    pub(crate) inode: u32,
    pub(crate) kind: u8,
}

/// A folder's names and how they fall into blocks.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) inode: u32,
    pub(crate) parent: u32,
    /// Sorted by name.
    pub(crate) names: Vec<Name>,
    /// Index of the first name of each block.
    first: Vec<usize>,
}

/// Bytes of a directory block before its checksum entry.
const FOLDER_ROOM: usize = BLOCK - 12;
/// Bytes of `.` and `..`.
const DOTS: usize = 24;

impl Folder {
    pub(crate) fn new(inode: u32, parent: u32, names: Vec<Name>) -> Self {
        let (mut first, mut used) = (vec![0], DOTS);
        for (index, name) in names.iter().enumerate() {
            let size = entry_size(&name.name);
            if used + size > FOLDER_ROOM {
                first.push(index);
                used = 0;
            }
            used += size;
        }
        Self { inode, parent, names, first }
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.first.len() as u64
    }

    pub(crate) fn block(&self, index: usize, seed: u32, out: &mut [u8]) {
        out.fill(0);
        let end = self.first.get(index + 1).copied().unwrap_or(self.names.len());
        let names = &self.names[self.first[index]..end];
        let mut at = 0;
        let mut last = 0;
        let mut add = |inode: u32, kind: u8, name: &[u8]| {
            put32(out, at, inode);
            put16(out, at + 4, entry_size(name) as u16);
            out[at + 6] = name.len() as u8;
            out[at + 7] = kind;
            put(out, at + 8, name);
            last = at;
            at += entry_size(name);
        };
        if index == 0 {
            add(self.inode, entry_type(MODE_FOLDER), b".");
            add(self.parent, entry_type(MODE_FOLDER), b"..");
        }
        for name in names {
            add(name.inode, name.kind, &name.name);
        }
        // The last entry reaches up to the checksum.
        put16(out, last + 4, (FOLDER_ROOM - last) as u16);
        put16(out, FOLDER_ROOM + 4, 12);
        out[FOLDER_ROOM + 7] = 0xde;
        let checksum = crc(inode_seed(seed, self.inode), &out[..FOLDER_ROOM]);
        put32(out, FOLDER_ROOM + 8, checksum);
    }
}

/// Completes an attribute block with its checksum, which depends on where it lies.
pub(crate) fn xattr_block(bytes: &[u8], number: u64, seed: u32, out: &mut [u8]) {
    out.copy_from_slice(bytes);
    let checksum = crc(crc(seed, &number.to_le_bytes()), out);
    put32(out, 16, checksum);
}

fn entry_size(name: &[u8]) -> usize {
    8 + name.len().next_multiple_of(4)
}

fn extent_header(out: &mut [u8], entries: u64, most: u64, depth: u16) {
    put16(out, 0, EXTENT_MAGIC);
    put16(out, 2, low16(entries));
    put16(out, 4, low16(most));
    put16(out, 6, depth);
}

/// Seconds and the field that holds two more bits of them and the nanoseconds: 1901 to 2446.
fn timestamp(seconds: i64, nanos: u32) -> (u32, u32) {
    const FIRST: i64 = i32::MIN as i64;
    const LAST: i64 = FIRST + (1 << 34) - 1;
    let seconds = seconds.clamp(FIRST, LAST);
    let epoch = (seconds - FIRST) >> 32;
    (seconds as u32, epoch as u32 | nanos.min(999_999_999) << 2)
}
