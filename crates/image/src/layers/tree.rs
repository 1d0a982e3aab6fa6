//! The files of a layer as hcsshim's compactext4 gathers them: inodes in the order of creation, data as it comes.

use super::blocks::{BLOCK, Blocks, Late};
use super::error::LayerError;
use super::lint::{LintKind, Lints, shown};
use super::time::Time;
use super::xattrs::{self, IN_INODE, Placed, Xattrs};
use super::{MAX_DISK, order};
use std::collections::BTreeMap;

pub(super) const FOLDER: u16 = 0o040_000;
pub(super) const FILE: u16 = 0o100_000;
pub(super) const SYMLINK: u16 = 0o120_000;
pub(super) const CHARACTER: u16 = 0o020_000;
pub(super) const BLOCK_DEVICE: u16 = 0o060_000;
pub(super) const FIFO: u16 = 0o010_000;
pub(super) const TYPE: u16 = 0o170_000;

pub(super) const ROOT: u32 = 2;
pub(super) const FIRST_FREE: u32 = 11;
/// Flag of inodes whose block count is in file system blocks.
const HUGE_FILE: u32 = 0x4_0000;
/// Flag of inodes with extents.
pub(super) const EXTENTS: u32 = 0x8_0000;
const MAX_LINKS: u32 = 65_000;
/// Longest symbolic link that stands in the inode.
const SHORT_LINK: usize = 59;
/// Most inodes; upstream has no limit but time and memory.
const MAX_INODES: usize = 1 << 23;
const MAX_NAME: usize = 255;

/// What an entry says about a file.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    /// Type and permissions.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Access, change, modification, creation.
    pub(super) times: [Time; 4],
    pub(super) size: u64,
    pub(super) link: Vec<u8>,
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) xattrs: Xattrs,
}

impl Meta {
    pub(super) fn new(mode: u16) -> Self {
        let (link, xattrs) = (Vec::new(), Xattrs::new());
        Self { mode, uid: 0, gid: 0, times: [Time::NONE; 4], size: 0, link, major: 0, minor: 0, xattrs }
    }
}

/// An inode being made.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) number: u32,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// Access, change, modification, creation, as ext4 keeps them.
    pub(super) times: [u64; 4],
    pub(super) links: u32,
    pub(super) flags: u32,
    /// Blocks, with those of extents and attributes.
    pub(super) blocks: u32,
    pub(super) major: u32,
    pub(super) minor: u32,
    /// What stands in the inode's block field: extents, or a short symbolic link.
    pub(super) data: Vec<u8>,
    pub(super) xattrs: Option<Box<[u8; IN_INODE]>>,
    xattr_block: Option<Late>,
    pub(super) children: BTreeMap<Box<[u8]>, u32>,
    /// Made for the sake of what is below it, and not named since.
    pub(super) implicit: bool,
}

impl Inode {
    pub(super) fn is_folder(&self) -> bool {
        self.mode & TYPE == FOLDER
    }

    pub(super) fn xattr_block(&self) -> u32 {
        self.xattr_block.as_ref().map_or(0, |(block, _)| *block)
    }
}

/// The file whose contents come now.
struct Open {
    name: Vec<u8>,
    number: u32,
    /// Where they start.
    start: u64,
    /// How many bytes they must be.
    size: u64,
}

/// The tree, and the place where its data goes.
pub(super) struct Tree<B> {
    inodes: Vec<Option<Inode>>,
    pub(super) blocks: B,
    open: Option<Open>,
    pub(super) lints: Lints,
    implicit: u64,
}

impl<B: Blocks> Tree<B> {
    /// A tree with its root and `lost+found`, ready at the first data block.
    pub(super) fn new(mut blocks: B, first_block: u32) -> Result<Self, LayerError> {
        for _ in 0..first_block {
            blocks.leave()?;
        }
        let mut tree = Self { inodes: vec![None], blocks, open: None, lints: Lints::default(), implicit: 0 };
        let root = tree.make_inode(b"/", Meta::new(FOLDER | 0o755), None)?;
        tree.inode_mut(root, |inode| inode.links = 2);
        tree.inodes.resize_with(FIRST_FREE as usize - 1, || None);
        tree.create(b"lost+found", Meta::new(FOLDER | 0o700))?;
        Ok(tree)
    }

    /// Makes the folders above `name` that are missing, each with what its own folder has.
    pub(super) fn make_parents(&mut self, name: &[u8]) -> Result<(), LayerError> {
        self.finish()?;
        let parts = clean(name);
        let Some((_, parents)) = parts.split_last() else { return Ok(()) };
        let mut folder = ROOT;
        for part in parents {
            folder = match self.child(folder, part) {
                Some(child) => child,
                None => {
                    let meta = self.inherited(folder);
                    let made = self.create_in(name, folder, None, part, meta)?;
                    self.inode_mut(made, |inode| inode.implicit = true);
                    self.implicit = self.implicit.saturating_add(1);
                    made
                }
            };
        }
        Ok(())
    }

    /// The folders that [`Tree::make_parents`] would make: path, and what they would get.
    pub(super) fn missing_parents(&self, name: &[u8]) -> Vec<(Vec<u8>, Meta)> {
        let parts = clean(name);
        let Some((_, parents)) = parts.split_last() else { return Vec::new() };
        let (mut folder, mut missing, mut path) = (Some(ROOT), Vec::new(), Vec::new());
        let mut meta = self.inherited(ROOT);
        for part in parents {
            path.extend_from_slice(part);
            folder = folder.and_then(|folder| self.child(folder, part));
            match folder {
                Some(folder) => meta = self.inherited(folder),
                None => {
                    missing.push((path.clone(), meta.clone()));
                    meta.times = meta.times.map(|time| Time::from_ext4(time.to_ext4()));
                }
            }
            path.push(b'/');
        }
        missing
    }

    /// Adds a file, or what an entry makes of one that is there.
    pub(super) fn create(&mut self, name: &[u8], meta: Meta) -> Result<(), LayerError> {
        self.finish()?;
        let (folder, existing, part) = self.look_up(name)?;
        self.create_in(name, folder, existing, &part, meta).map(drop)
    }

    /// Adds a name for a file of this layer.
    pub(super) fn link(&mut self, target: &[u8], name: &[u8]) -> Result<(), LayerError> {
        self.finish()?;
        let (folder, existing, part) = self.look_up(name)?;
        let existing = existing.and_then(|number| self.inode(number));
        if existing.is_some_and(|inode| inode.is_folder() || inode.links < 2) {
            return Err(LayerError::Orphan { name: shown(name) });
        }
        let existing = existing.map(|inode| inode.number);
        let (_, Some(file), _) = self.look_up(target)? else {
            return Err(LayerError::NoTarget { name: shown(target) });
        };
        let inode = self.inode(file);
        if inode.is_some_and(Inode::is_folder) {
            return Err(LayerError::LinkToFolder { name: shown(name), target: shown(target) });
        }
        if existing != Some(file) && inode.is_some_and(|inode| inode.links >= MAX_LINKS) {
            return Err(LayerError::Links { name: shown(name), target: shown(target) });
        }
        if let Some(existing) = existing {
            self.inode_mut(existing, |inode| inode.links = inode.links.saturating_sub(1));
        }
        self.inode_mut(file, |inode| inode.links = inode.links.saturating_add(1));
        self.inode_mut(folder, |inode| inode.children.extend([(part.into(), file)]));
        Ok(())
    }

    /// Marks a folder as hiding what lower layers have in it.
    pub(super) fn opaque(&mut self, name: &[u8]) -> Result<(), LayerError> {
        self.finish()?;
        let (_, Some(number), _) = self.look_up(name)? else {
            return Err(LayerError::NoTarget { name: shown(name) });
        };
        let mut meta = self.read_back(name, number)?;
        meta.xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
        let implicit = self.inode(number).is_some_and(|inode| inode.implicit);
        self.create(name, meta)?;
        self.inode_mut(number, |inode| inode.implicit = implicit);
        Ok(())
    }

    /// Ends the file whose contents came last.
    pub(super) fn finish(&mut self) -> Result<(), LayerError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if self.blocks.position().saturating_sub(open.start) != open.size {
            return Err(LayerError::OpaqueFile { name: shown(&open.name) });
        }
        if open.size > 0 {
            self.write_extents(&open.name, open.number, open.start)?;
        }
        Ok(())
    }

    /// Ends a folder whose contents came last.
    pub(super) fn finish_folder(&mut self, number: u32, start: u64) -> Result<(), LayerError> {
        let size = self.blocks.position().saturating_sub(start);
        self.inode_mut(number, |inode| inode.size = size);
        self.write_extents(b"", number, start)
    }

    pub(super) fn inode(&self, number: u32) -> Option<&Inode> {
        self.inodes.get(usize::try_from(number.checked_sub(1)?).ok()?)?.as_ref()
    }

    /// All inodes by number, from 1.
    pub(super) fn inodes(&self) -> &[Option<Inode>] {
        &self.inodes
    }

    /// Takes the blocks of attributes, which may change until the end.
    pub(super) fn take_late(&mut self) -> Vec<Late> {
        self.inodes.iter_mut().flatten().filter_map(|inode| inode.xattr_block.take()).collect()
    }

    /// Adds a finding for each folder that has no entry of its own.
    pub(super) fn lint_implicit(&mut self) {
        if self.implicit == 0 {
            return;
        }
        let mut left = vec![(ROOT, Vec::new())];
        let mut found = Vec::new();
        while let Some((number, path)) = left.pop() {
            let Some(inode) = self.inode(number) else { continue };
            if inode.implicit {
                found.push(path.clone());
            }
            for (name, child) in inode.children.iter().rev() {
                if self.inode(*child).is_some_and(Inode::is_folder) {
                    let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    left.push((*child, [path.as_slice(), separator, name].concat()));
                }
            }
        }
        for path in found {
            self.lints.add(LintKind::ImplicitParents, &path);
        }
    }

    fn inode_mut(&mut self, number: u32, change: impl FnOnce(&mut Inode)) {
        let slot = number.checked_sub(1).and_then(|index| self.inodes.get_mut(index as usize));
        if let Some(inode) = slot.and_then(Option::as_mut) {
            change(inode);
        }
    }

    fn child(&self, folder: u32, name: &[u8]) -> Option<u32> {
        self.inode(folder)?.children.get(name).copied()
    }

    /// The folder that `name` is in, what is there now, and the last part of the name.
    fn look_up(&self, name: &[u8]) -> Result<(u32, Option<u32>, Vec<u8>), LayerError> {
        let parts = clean(name);
        let Some((last, parents)) = parts.split_last() else { return Ok((ROOT, Some(ROOT), Vec::new())) };
        if last.len() > MAX_NAME {
            return Err(LayerError::Name { name: shown(name) });
        }
        let folder = parents.iter().try_fold(ROOT, |folder, part| self.child(folder, part));
        let folder = folder.filter(|folder| self.inode(*folder).is_some_and(Inode::is_folder));
        let folder = folder.ok_or_else(|| LayerError::NoFolder { name: shown(name) })?;
        Ok((folder, self.child(folder, last), last.to_vec()))
    }

    fn inherited(&self, folder: u32) -> Meta {
        let mut meta = Meta::new(FOLDER);
        if let Some(inode) = self.inode(folder) {
            meta.mode = inode.mode;
            (meta.uid, meta.gid) = (inode.uid, inode.gid);
            meta.times = inode.times.map(Time::from_ext4);
        }
        meta
    }

    fn read_back(&self, name: &[u8], number: u32) -> Result<Meta, LayerError> {
        let mut meta = self.inherited(number);
        let Some(inode) = self.inode(number) else { return Ok(meta) };
        (meta.size, meta.major, meta.minor) = (inode.size, inode.major, inode.minor);
        if inode.mode & TYPE == SYMLINK {
            if inode.size > SHORT_LINK as u64 {
                return Err(LayerError::OpaqueLink { name: shown(name) });
            }
            meta.link = inode.data.clone();
        }
        let unreadable = || LayerError::XattrName { name: shown(name) };
        if let Some((_, bytes)) = &inode.xattr_block {
            meta.xattrs.extend(xattrs::of_block(bytes).ok_or_else(unreadable)?);
        }
        if let Some(bytes) = &inode.xattrs {
            meta.xattrs.extend(xattrs::of_inode(bytes).ok_or_else(unreadable)?);
        }
        Ok(meta)
    }

    fn create_in(
        &mut self,
        name: &[u8],
        folder: u32,
        existing: Option<u32>,
        part: &[u8],
        meta: Meta,
    ) -> Result<u32, LayerError> {
        if part.len() > MAX_NAME {
            return Err(LayerError::Name { name: shown(name) });
        }
        if !self.inode(folder).is_some_and(Inode::is_folder) {
            return Err(LayerError::NoFolder { name: shown(name) });
        }
        let is_folder = meta.mode & TYPE == FOLDER;
        let reuse = match existing.and_then(|number| self.inode(number)) {
            Some(inode) => match (inode.is_folder(), is_folder) {
                (true, false) => return Err(LayerError::FileOverFolder { name: shown(name) }),
                (false, true) => return Err(LayerError::FolderOverFile { name: shown(name) }),
                (true, true) => Some(inode.number),
                (false, false) => (inode.links < 2).then_some(inode.number),
            },
            None if is_folder && self.inode(folder).is_some_and(|inode| inode.links >= MAX_LINKS) => {
                return Err(LayerError::Folders { name: shown(name) });
            }
            None => None,
        };
        let had_data = existing.and_then(|number| self.inode(number)).is_some_and(|inode| inode.size > 0);
        if existing.is_some() && !is_folder && (had_data || meta.size > 0) {
            self.lints.add(LintKind::DoubledPaths, name);
        }
        let size = meta.size;
        let made = self.make_inode(name, meta, reuse)?;
        if existing != Some(made) {
            if let Some(existing) = existing {
                self.inode_mut(existing, |inode| inode.links = inode.links.saturating_sub(1));
            }
            self.inode_mut(made, |inode| inode.links = inode.links.saturating_add(1));
            self.inode_mut(folder, |inode| {
                inode.children.insert(part.into(), made);
                inode.links = inode.links.saturating_add(u32::from(is_folder));
            });
        }
        if self.inode(made).is_some_and(|inode| inode.mode & TYPE == FILE) {
            let name = name.to_vec();
            self.open = Some(Open { name, number: made, start: self.blocks.position(), size });
        }
        Ok(made)
    }

    fn make_inode(&mut self, name: &[u8], meta: Meta, reuse: Option<u32>) -> Result<u32, LayerError> {
        if reuse.and_then(|number| self.inode(number)).is_some_and(|inode| inode.flags & EXTENTS != 0) {
            return Err(LayerError::Overwrite { name: shown(name) });
        }
        let mode = if meta.mode & TYPE == 0 { meta.mode | FILE } else { meta.mode };
        let kind = mode & TYPE;
        let size = match kind {
            FILE if meta.size > MAX_DISK => {
                return Err(LayerError::FileSize { name: shown(name), size: meta.size });
            }
            FILE => meta.size,
            SYMLINK => meta.link.len() as u64,
            _ => 0,
        };
        let number = match reuse {
            Some(number) => number,
            None => self.add_inode(kind)?,
        };
        let short_link = kind == SYMLINK && meta.link.len() <= SHORT_LINK;
        let old = self.inode(number).and_then(|inode| inode.xattrs.as_deref());
        let old = old.map_or(Some(Xattrs::new()), xattrs::of_inode);
        let mut all = old.ok_or_else(|| LayerError::XattrName { name: shown(name) })?;
        all.extend(meta.xattrs);
        self.inode_mut(number, |inode| {
            inode.mode = if kind == SYMLINK { mode | 0o777 } else { mode };
            (inode.uid, inode.gid, inode.size) = (meta.uid, meta.gid, size);
            inode.flags = HUGE_FILE;
            inode.times = meta.times.map(Time::to_ext4);
            (inode.major, inode.minor) = (meta.major, meta.minor);
            inode.data = if short_link { meta.link.clone() } else { Vec::new() };
            inode.implicit = false;
        });
        self.put_xattrs(name, number, &all)?;
        if kind == SYMLINK && !short_link {
            self.open = Some(Open { name: name.to_vec(), number, start: self.blocks.position(), size });
            self.blocks.write(&meta.link)?;
            self.finish()?;
        }
        Ok(number)
    }

    fn add_inode(&mut self, kind: u16) -> Result<u32, LayerError> {
        if self.inodes.len() >= MAX_INODES {
            return Err(LayerError::TooMany { limit: MAX_INODES });
        }
        let number = self.inodes.len() as u32 + 1;
        self.inodes.push(Some(Inode {
            number,
            mode: kind,
            uid: 0,
            gid: 0,
            size: 0,
            times: [0; 4],
            links: u32::from(kind == FOLDER),
            flags: 0,
            blocks: 0,
            major: 0,
            minor: 0,
            data: Vec::new(),
            xattrs: None,
            xattr_block: None,
            children: BTreeMap::new(),
            implicit: false,
        }));
        Ok(number)
    }

    fn put_xattrs(&mut self, name: &[u8], number: u32, all: &Xattrs) -> Result<(), LayerError> {
        let mut placed =
            Placed::new(all).map_err(|xattr| LayerError::Xattr { name: shown(name), xattr: shown(&xattr) })?;
        if placed.in_block() > order::SIMPLE {
            self.lints.add(LintKind::ManyXattrs, name);
        }
        let known = self.inode(number).and_then(|inode| inode.xattr_block.as_ref().map(|(block, _)| *block));
        let block = match known {
            None if placed.in_block() == 0 => None,
            // A block that is there is written again, even if nothing is left for it.
            Some(block) => Some((block, placed.block_bytes())),
            None => Some((self.blocks.leave()?, placed.block_bytes())),
        };
        self.inode_mut(number, |inode| {
            inode.xattrs = placed.inode_bytes();
            inode.blocks = inode.blocks.saturating_add(u32::from(known.is_none() && block.is_some()));
            inode.xattr_block = block;
        });
        Ok(())
    }

    fn write_extents(&mut self, name: &[u8], number: u32, start: u64) -> Result<(), LayerError> {
        self.blocks.zeros(self.blocks.position().wrapping_neg() % BLOCK)?;
        let first = (start / BLOCK) as u32;
        let blocks = self.blocks.block().saturating_sub(first);
        let (data, indexes) = super::extents::tree(first, blocks, self.blocks.block());
        if blocks.div_ceil(super::extents::LONGEST) >= super::extents::PER_BLOCK {
            self.lints.add(LintKind::ManyExtents, name);
        }
        for index in &indexes {
            self.blocks.write(index)?;
        }
        let used = blocks.saturating_add(indexes.len() as u32);
        self.inode_mut(number, |inode| {
            inode.data = data;
            inode.flags |= EXTENTS;
            inode.blocks = inode.blocks.saturating_add(used);
        });
        Ok(())
    }
}

/// The parts of Go's `path.Clean("/" + name)`: `..` does not climb out.
pub(super) fn clean(name: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        assert_eq!(clean(b"//a/./b/../c/"), [b"a", b"c"]);
        assert_eq!(clean(b"../../escape"), [b"escape"]);
        assert!(clean(b"./").is_empty());
    }
}
