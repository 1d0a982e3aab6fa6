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

use super::blocks::{Folder, Inode, Name, xattr_block};
use super::format::*;
use super::groups::{Groups, Identity, Journal, journal_blocks, journal_super_block};
use super::{Sources, xattr};
use crate::tree::{Content, Kind, Meta, NodeId, Tree};
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
        /// Bytes needed.
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
    groups: Groups,
    seed: u32,
    uuid: [u8; 16],
    super_block: Vec<u8>,
    descriptors: Vec<u8>,
    /// Inode `n` at `n - 1`; `None` for reserved ones.
    inodes: Vec<Option<Inode>>,
    folders: Vec<Folder>,
    /// Runs behind the inode tables, ascending and without gaps.
    runs: Vec<Run>,
}

#[derive(Debug, Clone)]
struct Run {
    start: u64,
    inode: u32,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
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

/// A volume being planned. Blocks are counted from the end of the inode tables, whose size is known last.
struct Plan<'a> {
    tree: &'a Tree,
    inodes: Vec<Option<Inode>>,
    /// Inode of each node, 0 while it has none.
    numbers: Vec<u32>,
    folders: Vec<Folder>,
    /// Block counts of the volume's metadata (folders, trees, attributes) and of files' data.
    metadata: Vec<(u64, u32, What)>,
    data: Vec<(u64, u32, What)>,
    lost_and_found: bool,
    time: u32,
}

impl<'a> Plan<'a> {
    fn new(tree: &'a Tree, options: &Options) -> Result<Self, LayoutError> {
        let mut plan = Self {
            tree,
            inodes: vec![None; FIRST_INODE as usize - 1],
            numbers: vec![0; tree.node_slots()],
            folders: Vec::new(),
            metadata: Vec::new(),
            data: Vec::new(),
            lost_and_found: matches!(options.size, Size::Bytes(_)) && tree.get(b"lost+found").is_none(),
            time: options.time,
        };
        if let (true, Size::Bytes(bytes)) = (options.journal, options.size) {
            let wanted = 2048 * BLOCK_BYTES;
            let blocks = journal_blocks(bytes / BLOCK_BYTES).ok_or(LayoutError::TooSmall { wanted, got: bytes })?;
            let mut inode = empty_inode(&Meta { mtime: options.time.into(), ..Meta::plain(0o600) }, MODE_FILE);
            (inode.size, inode.blocks) = (blocks * BLOCK_BYTES, blocks);
            plan.inodes[JOURNAL_INODE as usize - 1] = Some(inode);
            plan.metadata.push((blocks, JOURNAL_INODE, What::Journal));
        }
        Ok(plan)
    }

    fn add_all(&mut self) -> Result<(), LayoutError> {
        // Numbers first: a folder's block holds those of its children.
        for entry in self.tree.walk() {
            let slot = &mut self.numbers[entry.id.index()];
            if *slot == 0 {
                *slot = if entry.path.is_empty() { ROOT_INODE } else { self.inodes.len() as u32 + 1 };
                if !entry.path.is_empty() {
                    self.inodes.push(None);
                }
            }
        }
        if self.lost_and_found {
            self.inodes.push(None);
        }
        self.add_folder(self.tree.root(), ROOT_INODE, b"")?;
        for entry in self.tree.walk() {
            let number = self.numbers[entry.id.index()];
            if self.inodes[number as usize - 1].is_none() {
                self.add_node(number, entry.id, &entry.path)?;
            }
            if *entry.kind == Kind::Folder {
                // The root is its own parent.
                for (name, child) in self.tree.children(entry.id) {
                    if matches!(self.tree.node_parts(child).1, Kind::Folder) {
                        let path = join(&entry.path, name);
                        self.add_folder(child, number, &path)?;
                    }
                }
            }
        }
        if self.lost_and_found {
            let number = self.inodes.len() as u32;
            let meta = Meta { mtime: self.time.into(), ..Meta::plain(0o700) };
            self.push_folder(number, ROOT_INODE, Vec::new(), 2, &meta, b"lost+found")?;
        }
        self.folders.sort_by_key(|folder| folder.inode);
        Ok(())
    }

    fn add_folder(&mut self, id: NodeId, parent: u32, path: &[u8]) -> Result<(), LayoutError> {
        let number = self.numbers[id.index()];
        let mut names: Vec<Name> = Vec::with_capacity(self.tree.children(id).len());
        let mut links: u32 = 2;
        for (name, child) in self.tree.children(id) {
            let mode = mode_of(self.tree.node_parts(child).1);
            links += u32::from(mode == MODE_FOLDER);
            names.push(Name { name: name.into(), inode: self.numbers[child.index()], kind: entry_type(mode) });
        }
        if path.is_empty() && self.lost_and_found {
            let name = Name { name: (*b"lost+found").into(), inode: self.inodes.len() as u32, kind: 2 };
            let place = names.partition_point(|other| other.name < name.name);
            names.insert(place, name);
            links += 1;
        }
        // Feature dir_nlink: a folder with more than ext4 can count has one link.
        let links = if links > 65000 { 1 } else { links };
        self.push_folder(number, parent, names, links, self.tree.node_parts(id).0, path)
    }

    fn push_folder(
        &mut self,
        number: u32,
        parent: u32,
        names: Vec<Name>,
        links: u32,
        meta: &Meta,
        path: &[u8],
    ) -> Result<(), LayoutError> {
        let folder = Folder::new(number, parent, names);
        let mut inode = empty_inode(meta, MODE_FOLDER);
        inode.links = links;
        inode.blocks = folder.blocks();
        inode.size = inode.blocks * BLOCK_BYTES;
        self.metadata.push((inode.blocks, number, What::Folder));
        self.folders.push(folder);
        self.add_xattrs(&mut inode, number, meta, path)?;
        self.inodes[number as usize - 1] = Some(inode);
        Ok(())
    }

    fn add_node(&mut self, number: u32, id: NodeId, path: &[u8]) -> Result<(), LayoutError> {
        let (meta, kind) = self.tree.node_parts(id);
        let mut inode = empty_inode(meta, mode_of(kind));
        inode.links = self.tree.names(id);
        if inode.links > 65000 {
            return Err(LayoutError::Links { path: show(path) });
        }
        match kind {
            Kind::Folder => {}
            Kind::File(content) => self.add_content(&mut inode, number, content, path)?,
            Kind::Link(target) => {
                if target.is_empty() || target.len() >= BLOCK || target.contains(&0) {
                    return Err(LayoutError::LinkTarget { path: show(path), length: target.len() });
                }
                inode.size = target.len() as u64;
                if target.len() <= FAST_LINK {
                    inode.in_place = Some(target.as_slice().into());
                } else {
                    inode.blocks = 1;
                    self.metadata.push((1, number, What::Target(target.as_slice().into())));
                }
            }
            Kind::Device { major, minor, .. } => inode.in_place = Some(device_number(*major, *minor)),
            Kind::Fifo | Kind::Socket => inode.in_place = Some(Box::default()),
        }
        self.add_xattrs(&mut inode, number, meta, path)?;
        self.inodes[number as usize - 1] = Some(inode);
        Ok(())
    }

    fn add_content(
        &mut self,
        inode: &mut Inode,
        number: u32,
        content: &Content,
        path: &[u8],
    ) -> Result<(), LayoutError> {
        inode.size = content.len();
        inode.blocks = inode.size.div_ceil(BLOCK_BYTES);
        let too_large = || LayoutError::TooLarge { path: show(path) };
        inode.tree_blocks = Inode::tree_blocks_for(inode.blocks).ok_or_else(too_large)?;
        if inode.tree_blocks > 0 {
            self.metadata.push((inode.tree_blocks, number, What::ExtentTree));
        }
        let what = match content {
            Content::Inline(bytes) => What::Inline(Arc::clone(bytes)),
            Content::Source { source, offset, length } => {
                offset.checked_add(*length).ok_or_else(too_large)?;
                What::Source { source: *source, offset: *offset }
            }
            Content::Zeros(_) => What::Zeros,
        };
        if inode.blocks > 0 {
            self.data.push((inode.blocks, number, what));
        }
        Ok(())
    }

    fn add_xattrs(&mut self, inode: &mut Inode, number: u32, meta: &Meta, path: &[u8]) -> Result<(), LayoutError> {
        let wrong =
            |name: Vec<u8>| LayoutError::Xattr { path: show(path), name: String::from_utf8_lossy(&name).into_owned() };
        let encoded = xattr::encode(&meta.xattrs).map_err(wrong)?;
        inode.xattrs = encoded.in_inode.into();
        if let Some(block) = encoded.block {
            inode.xattr_block = u64::MAX;
            self.metadata.push((1, number, What::Xattrs(block)));
        }
        Ok(())
    }

    fn finish(mut self, options: &Options) -> Result<Layout, LayoutError> {
        let count = |runs: &[(u64, u32, What)]| runs.iter().fold(0u64, |sum, run| sum.saturating_add(run.0));
        let payload = count(&self.metadata).saturating_add(count(&self.data));
        let groups = size_groups(payload, self.inodes.len() as u32, options.size)?;
        let mut at = groups.end();
        let mut runs = Vec::with_capacity(self.metadata.len() + self.data.len());
        for (blocks, number, what) in self.metadata.into_iter().chain(self.data) {
            if let Some(inode) = &mut self.inodes[number as usize - 1] {
                match what {
                    What::ExtentTree => inode.tree_start = at,
                    What::Xattrs(_) => inode.xattr_block = at,
                    _ => inode.start = at,
                }
            }
            runs.push(Run { start: at, inode: number, what });
            at += blocks;
        }
        let mut folders_in = vec![0; groups.count as usize];
        for folder in &self.folders {
            folders_in[((u64::from(folder.inode) - 1) / groups.inodes_per_group) as usize] += 1;
        }
        let seed = crc(u32::MAX, &options.uuid);
        let journal = self.inodes[JOURNAL_INODE as usize - 1].as_ref().map(|inode| {
            let mut bytes = [0; INODE];
            inode.encode(JOURNAL_INODE, seed, &mut bytes);
            let mut root = [0; 60];
            root.copy_from_slice(&bytes[0x28..0x64]);
            Journal { root, size: inode.size }
        });
        let identity = Identity { uuid: options.uuid, label: options.label.as_bytes(), time: options.time };
        Ok(Layout {
            super_block: groups.super_block(&identity, journal.as_ref()),
            descriptors: groups.descriptors(&folders_in, seed),
            groups,
            seed,
            uuid: options.uuid,
            inodes: self.inodes,
            folders: self.folders,
            runs,
        })
    }
}

/// Finds the number of groups that holds `payload` blocks and all inodes with the volume's own blocks.
fn size_groups(payload: u64, last_inode: u32, size: Size) -> Result<Groups, LayoutError> {
    const MOST_INODES: u64 = BLOCKS_PER_GROUP;
    let inodes_for = |wanted: u64, count: u64| wanted.div_ceil(count).next_multiple_of(INODES_PER_BLOCK);
    let group_count = |blocks: u64| blocks.div_ceil(BLOCKS_PER_GROUP).max(1);
    let minimal = || {
        let mut count = group_count(payload.saturating_add(1).min(1 << 40));
        loop {
            let inodes_per_group = inodes_for(u64::from(last_inode), count);
            let mut groups = Groups { blocks: 0, count, inodes_per_group, last_inode, used: 0 };
            groups.used = groups.end().saturating_add(payload);
            // The last group must have a block.
            groups.blocks = groups.used.max((count - 1) * BLOCKS_PER_GROUP + 1);
            if groups.inodes_per_group <= MOST_INODES && group_count(groups.blocks) <= count {
                return groups;
            }
            count = (count + 1).max(group_count(groups.blocks));
        }
    };
    // 2^40 blocks of 4 KiB: far above what one drive has, far below any overflow.
    if payload >= 1 << 40 {
        return Err(LayoutError::TooLarge { path: "all files together".into() });
    }
    let Size::Bytes(bytes) = size else { return Ok(minimal()) };
    let blocks = bytes / BLOCK_BYTES;
    let count = group_count(blocks);
    // One inode for 16 KiB, as mke2fs, but always some to spare.
    let wanted = (blocks / 4).max(u64::from(last_inode) + 16);
    let inodes_per_group = inodes_for(wanted, count).min(MOST_INODES);
    let mut groups = Groups { blocks, count, inodes_per_group, last_inode, used: 0 };
    groups.used = groups.end().saturating_add(payload);
    let fits = groups.used <= blocks && u64::from(last_inode) <= count * inodes_per_group;
    if !fits || bytes > 1 << 52 {
        let wanted = groups.used.max(minimal().blocks) * BLOCK_BYTES;
        return Err(LayoutError::TooSmall { wanted, got: bytes });
    }
    Ok(groups)
}

fn empty_inode(meta: &Meta, kind: u16) -> Inode {
    Inode {
        mode: kind | meta.mode & 0o7777,
        uid: meta.uid,
        gid: meta.gid,
        mtime: meta.mtime,
        mtime_nanos: meta.mtime_nanos,
        links: 1,
        size: 0,
        start: 0,
        blocks: 0,
        tree_start: 0,
        tree_blocks: 0,
        xattr_block: 0,
        in_place: None,
        xattrs: Box::default(),
    }
}

fn mode_of(kind: &Kind) -> u16 {
    match kind {
        Kind::Folder => MODE_FOLDER,
        Kind::File(_) => MODE_FILE,
        Kind::Link(_) => MODE_LINK,
        Kind::Device { block: true, .. } => MODE_BLOCK,
        Kind::Device { block: false, .. } => MODE_CHARACTER,
        Kind::Fifo => MODE_FIFO,
        Kind::Socket => MODE_SOCKET,
    }
}

/// As Linux encodes it: 16 bits where that is enough, else 32 in the second word.
fn device_number(major: u32, minor: u32) -> Box<[u8]> {
    if major < 256 && minor < 256 {
        return (major << 8 | minor).to_le_bytes().into();
    }
    let number = (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12;
    [[0; 4], number.to_le_bytes()].concat().into()
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(300).collect()
}
