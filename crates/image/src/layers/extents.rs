//! Extent trees (ext4, "Extent Tree") as hcsshim's compactext4 makes them: data is one run of blocks.

/// Blocks of the longest extent.
pub(super) const LONGEST: u32 = 0x8000;
/// Extents in a block.
pub(super) const PER_BLOCK: u32 = 340;
const IN_INODE: u32 = 4;
const MAGIC: u16 = 0xf30a;
const NODE: usize = 12;

/// The inode's 60 bytes for data of `blocks` blocks from `first` on, and the index blocks that follow at `next`.
///
/// From 340 extents on, upstream's sums are wrong; they are kept, so that the hash is the same.
pub(super) fn tree(first: u32, blocks: u32, next: u32) -> (Vec<u8>, Vec<Vec<u8>>) {
    let count = blocks.div_ceil(LONGEST);
    if count == 0 {
        return (Vec::new(), Vec::new());
    }
    if count <= IN_INODE {
        let mut root = leaves(count, IN_INODE, first, 0, blocks);
        root.resize(NODE * (1 + IN_INODE as usize), 0);
        return (root, Vec::new());
    }
    let indexes = count / PER_BLOCK + 1;
    let mut root = header(indexes, IN_INODE, 1);
    let mut index_blocks = Vec::new();
    for index in 0..indexes {
        let offset = index.wrapping_mul(PER_BLOCK).wrapping_mul(LONGEST);
        root.extend_from_slice(&offset.to_le_bytes());
        root.extend_from_slice(&next.wrapping_add(index).to_le_bytes());
        root.extend_from_slice(&[0; 4]);
        let in_block = count.wrapping_sub(index.wrapping_mul(indexes)).min(PER_BLOCK);
        let mut block = leaves(in_block, PER_BLOCK, first.wrapping_add(offset), offset, blocks);
        block.resize(super::blocks::BLOCK as usize, 0);
        index_blocks.push(block);
    }
    root.resize(NODE * (1 + IN_INODE as usize), 0);
    (root, index_blocks)
}

fn header(entries: u32, most: u32, depth: u16) -> Vec<u8> {
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    for value in [entries as u16, most as u16, depth] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes
}

fn leaves(count: u32, most: u32, first: u32, offset: u32, blocks: u32) -> Vec<u8> {
    let mut bytes = header(count, most, 0);
    for index in 0..count {
        let block = offset.wrapping_add(index.wrapping_mul(LONGEST));
        let length = blocks.wrapping_sub(block).min(LONGEST);
        bytes.extend_from_slice(&block.to_le_bytes());
        bytes.extend_from_slice(&(length as u16).to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&first.wrapping_add(block).to_le_bytes());
    }
    bytes
}
