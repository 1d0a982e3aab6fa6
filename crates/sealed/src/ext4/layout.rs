//! Plans a volume and gives its blocks.
//!
//! *Takes* a tree and the few settings that are not in it.
//! *Guarantees* that the same input gives the same bytes, that every file lies in one run of blocks, that all that is
//! in use lies in one run from the start, and that `e2fsck` and Linux accept it. Nothing is kept but the plan: blocks
//! are made when they are asked for.
//! *Does not check* that a source gives the same bytes twice.
//!
//! No backup superblocks are written (`sparse_super2` with none): they would cut the run, and a volume here is either
//! read-only under a hash tree or quickly made again.

use super::Sources;
use super::blocks::{Folder, Inode, xattr_block};
use super::format::*;
use super::groups::{Groups, journal_super_block};
use super::plan::Plan;
use crate::tree::Tree;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// How large a volume becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// As small as its contents allow; for volumes that are only read.
    Minimal,
    /// This many bytes, less what is not a whole block; with room to write and a `lost+found`.
    Bytes(u64),
}

/// Everything about a volume that is not in its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How large.
    pub size: Size,
    /// Volume label, at most 16 bytes.
    pub label: String,
    /// File system UUID; the seed of directory hashes is the same.
    pub uuid: [u8; 16],
    /// Whether there is a journal; [`Size::Minimal`] never has one.
    pub journal: bool,
    /// Seconds since 1970 for the superblock and for what is made along.
    pub time: u32,
}

/// Why a tree does not become a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The contents do not fit.
    #[error("needs {wanted} bytes, the volume has {got}")]
    TooSmall {
        /// Bytes that are enough for the same contents (and a journal of the same size).
        wanted: u64,
        /// Bytes there.
        got: u64,
    },
    /// A label over 16 bytes.
    #[error("label `{label}` is over 16 bytes")]
    Label {
        /// The label.
        label: String,
    },
    /// A file over 170 GiB, or all of them beyond what ext4 can count.
    #[error("`{path}` is too large for a volume")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// More names for one file than ext4 counts.
    #[error("`{path}` has more than 65000 hard links")]
    Links {
        /// One of its names.
        path: String,
    },
    /// A symbolic link to nothing, or to more than a path can be.
    #[error("symbolic link `{path}` has a target of {length} bytes")]
    LinkTarget {
        /// The link.
        path: String,
        /// Its length.
        length: usize,
    },
    /// An attribute whose name has no place in ext4, or that does not fit into inode and one block.
    #[error("`{path}`: extended attribute `{name}` does not fit into ext4")]
    Xattr {
        /// The file.
        path: String,
        /// The attribute.
        name: String,
    },
}

/// A planned volume: any block of it can be had at any time, from any thread.
#[derive(Debug)]
pub struct Layout {
    pub(super) groups: Groups,
    pub(super) seed: u32,
    pub(super) uuid: [u8; 16],
    pub(super) super_block: Vec<u8>,
    pub(super) descriptors: Vec<u8>,
    /// Inode `n` at `n - 1`; `None` for reserved ones.
    pub(super) inodes: Vec<Option<Inode>>,
    pub(super) folders: Vec<Folder>,
    /// Runs behind the inode tables, ascending and without gaps.
    pub(super) runs: Vec<Run>,
}

/// Blocks of one purpose that follow each other, up to the next run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) inode: u32,
    pub(super) what: What,
}

/// What a run's blocks hold.
#[derive(Debug, Clone)]
pub(super) enum What {
    Journal,
    Folder,
    Target(Box<[u8]>),
    ExtentTree,
    Xattrs(Box<[u8]>),
    Inline(Arc<[u8]>),
    Source { source: u32, offset: u64 },
    Zeros,
}

impl Layout {
    /// Gives every file its inode and blocks.
    pub fn plan(tree: &Tree, options: &Options) -> Result<Self, LayoutError> {
        if options.label.len() > 16 {
            return Err(LayoutError::Label { label: options.label.clone() });
        }
        let mut plan = Plan::new(tree, options)?;
        plan.add_all()?;
        plan.finish(options)
    }

    /// Blocks in the volume.
    pub fn blocks(&self) -> u64 {
        self.groups.blocks
    }

    /// Bytes in the volume.
    pub fn bytes(&self) -> u64 {
        self.groups.blocks * BLOCK_BYTES
    }

    /// Fills `out`, a whole number of blocks, with the plaintext from `block` on; behind the end are zeros.
    pub fn fill(&self, block: u64, out: &mut [u8], sources: &dyn Sources) -> io::Result<()> {
        let (mut at, mut rest) = (block, out);
        while rest.len() >= BLOCK {
            let filled = self.fill_some(at, rest, sources)?.max(1);
            at += filled;
            rest = &mut rest[filled as usize * BLOCK..];
        }
        Ok(())
    }

    /// Block ranges that have to be written, ascending; all others are free, or zeros that a sparse file has anyway.
    pub fn allocated(&self) -> impl Iterator<Item = Range<u64>> {
        let groups = &self.groups;
        let bitmaps = (0..groups.count)
            .filter(|group| !groups.block_bitmap_is_implied(*group))
            .map(|group| groups.block_bitmaps() + group);
        let inode_bitmaps = (0..groups.count)
            .filter(|group| groups.used_inodes(*group) > 0)
            .map(|group| groups.inode_bitmaps() + group);
        // Inodes are used in order, so their blocks are the first of the tables, which follow each other.
        let tables =
            groups.inode_tables()..groups.inode_tables() + u64::from(groups.last_inode).div_ceil(INODES_PER_BLOCK);
        let runs = self.runs.iter().enumerate().filter_map(|(index, run)| match run.what {
            What::Zeros => None,
            What::Journal => Some(run.start..run.start + 1),
            _ => Some(run.start..self.run_end(index)),
        });
        std::iter::once(0..groups.block_bitmaps())
            .chain(bitmaps.chain(inode_bitmaps).map(|block| block..block + 1))
            .chain(std::iter::once(tables))
            .chain(runs)
    }

    /// The byte ranges on the volume where a file's data lie, in order; none if there is no such file.
    pub fn extents_of(&self, path: &[u8]) -> Vec<Range<u64>> {
        let mut inode = ROOT_INODE;
        for component in path.split(|byte| *byte == b'/') {
            let Ok(folder) = self.folders.binary_search_by_key(&inode, |folder| folder.inode) else {
                return Vec::new();
            };
            let names = &self.folders[folder].names;
            let Ok(found) = names.binary_search_by(|name| (*name.name).cmp(component)) else { return Vec::new() };
            inode = names[found].inode;
        }
        match &self.inodes[inode as usize - 1] {
            Some(inode) if inode.mode & MODE_KIND == MODE_FILE && inode.size > 0 => {
                let start = inode.start * BLOCK_BYTES;
                std::iter::once(start..start + inode.size).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Fills as many blocks as lie together; gives their number, or less than one for free space at once.
    fn fill_some(&self, block: u64, out: &mut [u8], sources: &dyn Sources) -> io::Result<u64> {
        let groups = &self.groups;
        let one = &mut out[..BLOCK];
        if block == 0 {
            one.copy_from_slice(&self.super_block);
        } else if block < groups.block_bitmaps() {
            let at = (block - 1) as usize * BLOCK;
            one.copy_from_slice(&self.descriptors[at..at + BLOCK]);
        } else if block < groups.inode_bitmaps() {
            match block - groups.block_bitmaps() {
                group if groups.block_bitmap_is_implied(group) => one.fill(0),
                group => groups.block_bitmap(group, one),
            }
        } else if block < groups.inode_tables() {
            match block - groups.inode_bitmaps() {
                group if groups.used_inodes(group) == 0 => one.fill(0),
                group => groups.inode_bitmap(group, one),
            }
        } else if block < groups.end() {
            self.inode_block(block - groups.inode_tables(), one);
        } else if block < groups.used {
            return self.fill_run(block, out, sources);
        } else {
            out.fill(0);
            return Ok((out.len() / BLOCK) as u64);
        }
        Ok(1)
    }

    fn inode_block(&self, index: u64, out: &mut [u8]) {
        out.fill(0);
        let first = (index * INODES_PER_BLOCK) as usize;
        for (index, place) in out.chunks_exact_mut(INODE).enumerate() {
            if let Some(Some(inode)) = self.inodes.get(first + index) {
                inode.encode((first + index + 1) as u32, self.seed, place);
            }
        }
    }

    fn fill_run(&self, block: u64, out: &mut [u8], sources: &dyn Sources) -> io::Result<u64> {
        let index = self.runs.partition_point(|run| run.start <= block) - 1;
        let run = &self.runs[index];
        let within = block - run.start;
        let count = (self.run_end(index) - block).min((out.len() / BLOCK) as u64);
        let out = &mut out[..count as usize * BLOCK];
        let Some(inode) = &self.inodes[run.inode as usize - 1] else { return Err(io::ErrorKind::InvalidData.into()) };
        match &run.what {
            What::Inline(bytes) => {
                let rest = &bytes[((within as usize) * BLOCK).min(bytes.len())..];
                let length = rest.len().min(out.len());
                out[..length].copy_from_slice(&rest[..length]);
                out[length..].fill(0);
            }
            What::Source { source, offset } => {
                let start = within * BLOCK_BYTES;
                let length = (inode.size - start).min(out.len() as u64) as usize;
                sources.read(*source, offset + start, &mut out[..length])?;
                out[length..].fill(0);
            }
            What::Zeros => out.fill(0),
            What::Journal => {
                out.fill(0);
                if within == 0 {
                    journal_super_block(inode.blocks, self.uuid, &mut out[..BLOCK]);
                }
            }
            What::Folder => {
                let Ok(folder) = self.folders.binary_search_by_key(&run.inode, |folder| folder.inode) else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                for (index, block) in (within as usize..).zip(out.chunks_exact_mut(BLOCK)) {
                    self.folders[folder].block(index, self.seed, block);
                }
            }
            What::ExtentTree => {
                for (leaf, block) in (within..).zip(out.chunks_exact_mut(BLOCK)) {
                    inode.tree_block(leaf, run.inode, self.seed, block);
                }
            }
            What::Target(target) => {
                out.fill(0);
                put(out, 0, target);
            }
            What::Xattrs(bytes) => xattr_block(bytes, run.start, self.seed, out),
        }
        Ok(count)
    }

    fn run_end(&self, index: usize) -> u64 {
        self.runs.get(index + 1).map_or(self.groups.used, |next| next.start)
    }
}
