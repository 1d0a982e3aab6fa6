//! dm-verity trees: format version 1, SHA-256, blocks of 4096 bytes, salted with [`VERITY_SALT`], no superblock.
//!
//! *Takes* data blocks and what stands of a tree.
//! *Guarantees* the tree and root that `veritysetup format --no-superblock` gives and that Linux checks.
//! *Does not check* where the data came from.

use crate::ReadAt;
use aws_lc_rs::digest;
use claims::VerityRoot;
use claims::volume::{BLOCK_SIZE, VERITY_SALT};
use std::io;
use std::ops::Range;

/// Hashes in one tree block.
pub const FAN_OUT: u64 = 128;
/// Bytes of a hash.
pub const HASH: usize = 32;
const BLOCK: usize = BLOCK_SIZE as usize;

/// Which tree blocks each level takes, the leaves' level first. On the drive the top level comes first.
pub fn levels(data_blocks: u64) -> Vec<Range<u64>> {
    let mut counts = Vec::new();
    let mut below = data_blocks;
    while below > 1 {
        below = below.div_ceil(FAN_OUT);
        counts.push(below);
    }
    let mut start = 0u64;
    let mut levels: Vec<Range<u64>> = Vec::with_capacity(counts.len());
    for count in counts.into_iter().rev() {
        levels.push(start..start.saturating_add(count));
        start = start.saturating_add(count);
    }
    levels.reverse();
    levels
}

/// Blocks of the whole tree.
pub fn tree_blocks(data_blocks: u64) -> u64 {
    levels(data_blocks).first().map_or(0, |leaves| leaves.end)
}

/// Tree and root hash of the first `data_blocks` blocks of `data`, on one thread.
pub fn tree_of(data: &dyn ReadAt, data_blocks: u64) -> io::Result<(VerityRoot, Vec<u8>)> {
    let mut builder = Builder::new(data_blocks);
    let mut buffer = vec![0; BLOCK * FAN_OUT as usize];
    let mut tree = vec![0; usize::try_from(tree_blocks(data_blocks)).unwrap_or(0).saturating_mul(BLOCK)];
    let mut keep = |index: u64, block: &[u8]| {
        let at = usize::try_from(index).unwrap_or(usize::MAX).saturating_mul(BLOCK);
        if let Some(place) = tree.get_mut(at..at.saturating_add(BLOCK)) {
            place.copy_from_slice(block);
        }
    };
    let leaves = builder.leaf_level();
    let mut first = 0;
    while first < data_blocks {
        let count = FAN_OUT.min(data_blocks.saturating_sub(first));
        let piece = &mut buffer[..count as usize * BLOCK];
        data.read_exact_at(first * BLOCK_SIZE, piece)?;
        let (block, hash) = parent(piece);
        if leaves.is_empty() {
            builder.only = Some(hash_block(piece));
        } else {
            keep(leaves.start + first / FAN_OUT, &block);
            builder.push(hash);
        }
        first += count;
    }
    let root = builder.finish(keep);
    Ok((root, tree))
}

/// Collects the hashes of the leaf level's blocks, in order, and makes the levels above.
pub(crate) struct Builder {
    levels: Vec<Range<u64>>,
    hashes: Vec<[u8; HASH]>,
    /// The hash of a volume's single block, which has no tree.
    pub(crate) only: Option<[u8; HASH]>,
}

impl Builder {
    pub(crate) fn new(data_blocks: u64) -> Self {
        Self { levels: levels(data_blocks), hashes: Vec::new(), only: None }
    }

    /// Tree blocks of the leaf level.
    pub(crate) fn leaf_level(&self) -> Range<u64> {
        self.levels.first().cloned().unwrap_or(0..0)
    }

    pub(crate) fn push(&mut self, leaf_block_hash: [u8; HASH]) {
        self.hashes.push(leaf_block_hash);
    }

    /// Gives every block above the leaf level to `write`, with its index in the tree.
    pub(crate) fn finish(mut self, mut write: impl FnMut(u64, &[u8])) -> VerityRoot {
        for level in self.levels.iter().skip(1) {
            let mut above = Vec::with_capacity(self.hashes.len().div_ceil(FAN_OUT as usize));
            for (index, children) in level.clone().zip(self.hashes.chunks(FAN_OUT as usize)) {
                let block = padded(children);
                write(index, &block);
                above.push(hash_block(&block));
            }
            self.hashes = above;
        }
        VerityRoot(self.only.or_else(|| self.hashes.first().copied()).unwrap_or_default())
    }
}

/// The leaf-level block over up to 128 data blocks, and its hash.
pub(crate) fn parent(data: &[u8]) -> (Vec<u8>, [u8; HASH]) {
    let mut hashes = [[0; HASH]; FAN_OUT as usize];
    let count = hash_blocks(data, &mut hashes);
    let block = padded(&hashes[..count]);
    let hash = hash_block(&block);
    (block, hash)
}

/// Hashes whole blocks several at a time; gives their number.
pub fn hash_blocks(data: &[u8], out: &mut [[u8; HASH]]) -> usize {
    hash_blocks_salted(&VERITY_SALT, data, out)
}

/// The same with another salt, for trees that are not ours.
pub fn hash_blocks_salted(salt: &[u8; 32], data: &[u8], out: &mut [[u8; HASH]]) -> usize {
    let blocks: Vec<&[u8]> = data.chunks_exact(BLOCK).take(out.len()).collect();
    tape_sha256::hash_many_prefixed(salt, &blocks, &mut out[..blocks.len()]);
    blocks.len()
}

/// Hashes one block.
pub(crate) fn hash_block(block: &[u8]) -> [u8; HASH] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&VERITY_SALT);
    context.update(block);
    let mut out = [0; HASH];
    out.copy_from_slice(context.finish().as_ref());
    out
}

fn padded(hashes: &[[u8; HASH]]) -> Vec<u8> {
    let mut block = hashes.concat();
    block.resize(BLOCK, 0);
    block
}
