//! Gives every node its inode, and every inode its blocks.

use super::blocks::{Folder, Inode, Name};
use super::format::*;
use super::groups::{Groups, Identity, Journal, journal_blocks};
use super::layout::{Layout, LayoutError, Options, Run, Size, What};
use super::xattr;
use crate::tree::{Content, Kind, Meta, NodeId, Tree};
use std::sync::Arc;

/// A volume being planned. Blocks are counted from the end of the inode tables, whose size is known last.
pub(super) struct Plan<'a> {
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
    pub(super) fn new(tree: &'a Tree, options: &Options) -> Result<Self, LayoutError> {
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

    pub(super) fn add_all(&mut self) -> Result<(), LayoutError> {
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

    pub(super) fn finish(mut self, options: &Options) -> Result<Layout, LayoutError> {
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
    // 2^40 blocks of 4 KiB: far above what one drive has, far below any overflow.
    if payload >= 1 << 40 {
        return Err(LayoutError::TooLarge { path: "all files together".into() });
    }
    let minimal = minimal_groups(payload, last_inode);
    let Size::Bytes(bytes) = size else { return Ok(minimal) };
    if let Some(groups) = writable_groups(payload, last_inode, bytes / BLOCK_BYTES) {
        return Ok(groups);
    }
    // A larger volume has more tables, so what is missing now is not all that will be missing then.
    let mut blocks = minimal.blocks.max(bytes.min(1 << 52) / BLOCK_BYTES);
    while writable_groups(payload, last_inode, blocks).is_none() && blocks < 1 << 40 {
        blocks += blocks / 64 + 16;
    }
    Err(LayoutError::TooSmall { wanted: blocks * BLOCK_BYTES, got: bytes })
}

fn group_count(blocks: u64) -> u64 {
    blocks.div_ceil(BLOCKS_PER_GROUP).max(1)
}

fn inodes_in_each(wanted: u64, groups: u64) -> u64 {
    wanted.div_ceil(groups).next_multiple_of(INODES_PER_BLOCK)
}

/// No inode and no block to spare.
fn minimal_groups(payload: u64, last_inode: u32) -> Groups {
    let mut count = group_count(payload);
    loop {
        let inodes_per_group = inodes_in_each(u64::from(last_inode), count);
        let mut groups = Groups { blocks: 0, count, inodes_per_group, last_inode, used: 0 };
        groups.used = groups.end() + payload;
        // The last group must have a block.
        groups.blocks = groups.used.max((count - 1) * BLOCKS_PER_GROUP + 1);
        if groups.inodes_per_group <= MOST_INODES && group_count(groups.blocks) <= count {
            return groups;
        }
        count = (count + 1).max(group_count(groups.blocks));
    }
}

/// One inode for 16 KiB, as mke2fs, but always some to spare; `None` if the contents do not fit.
fn writable_groups(payload: u64, last_inode: u32, blocks: u64) -> Option<Groups> {
    let count = group_count(blocks);
    let wanted = (blocks / 4).max(u64::from(last_inode) + 16);
    let inodes_per_group = inodes_in_each(wanted, count).min(MOST_INODES);
    let mut groups = Groups { blocks, count, inodes_per_group, last_inode, used: 0 };
    groups.used = groups.end() + payload;
    let fits = groups.used <= blocks && u64::from(last_inode) <= count * inodes_per_group;
    (fits && blocks <= 1 << 40).then_some(groups)
}

/// As many as an inode bitmap has bits.
const MOST_INODES: u64 = BLOCKS_PER_GROUP;

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
