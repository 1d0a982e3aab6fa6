//! Reads ext4, ours and what mke2fs makes, from devices that may be hostile.
//!
//! *Takes* any device: extents, 32 and 64 bits, flexible groups, hashed and inline folders, inline data.
//! *Guarantees* that no content makes it panic, loop or use memory without bound; links are followed inside of the
//! volume only.
//! *Does not check* checksums, nor replay a journal ([`Reader::needs_recovery`] tells): what must be authentic is
//! read through [`crate::open::SealedReader`].
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod content;
mod folders;
mod volume;

pub use folders::Found;
pub use volume::blocks_of;

use super::Sources;
use super::format::*;
use crate::ReadAt;
use crate::tree::{Content, Kind, Meta, Tree, TreeError};
use content::File;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use volume::{Inode, Volume};

/// Names in one volume, at most, when all of it is read.
pub const MAX_NAMES: u64 = 4_000_000;
/// Symbolic links followed for one path, as Linux.
const MAX_LINKS: u32 = 40;
/// Files whose extents are kept.
const KEPT: usize = 64;

/// Why a volume, or something in it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The device cannot be read there, or ends before.
    #[error("the volume cannot be read at byte {offset}")]
    Device {
        /// Where.
        offset: u64,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// No superblock, or one that contradicts itself.
    #[error("not an ext4 volume: {what}")]
    NotExt4 {
        /// Which field.
        what: &'static str,
    },
    /// Incompatible features that are not known here.
    #[error("the volume uses unknown features ({features:#x})")]
    Features {
        /// Their bits.
        features: u32,
    },
    /// An inode, or what belongs to it, is damaged.
    #[error("inode {inode} is damaged: {what}")]
    Damaged {
        /// Which.
        inode: u32,
        /// How.
        what: &'static str,
    },
    /// No such file or folder.
    #[error("there is no `{path}`")]
    NotFound {
        /// The path.
        path: String,
    },
    /// Too many symbolic links, or a circle of them.
    #[error("too many symbolic links in `{path}`")]
    Links {
        /// The path.
        path: String,
    },
    /// More than is read from one volume.
    #[error("the volume has more than {MAX_NAMES} names")]
    TooMany,
    /// A name that no tree can hold.
    #[error("name")]
    Name(#[source] TreeError),
}

/// What an inode says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Attributes.
    pub meta: Meta,
    /// Kind; a file's content is [`Content::Source`] with the inode as source.
    pub kind: Kind,
    /// Names that lead to it, as it says.
    pub links: u32,
}

/// An ext4 volume on a device.
pub struct Reader<D> {
    device: D,
    volume: Volume,
    files: Mutex<HashMap<u32, Arc<File>>>,
}

impl<D: ReadAt> Reader<D> {
    /// Reads the superblock.
    pub fn open(device: D) -> Result<Self, ReadError> {
        let volume = Volume::read(&device)?;
        Ok(Self { device, volume, files: Mutex::default() })
    }

    /// Bytes in the volume.
    pub fn bytes(&self) -> u64 {
        self.volume.blocks.saturating_mul(self.volume.block_size)
    }

    /// Label and UUID.
    pub fn identity(&self) -> (&[u8], [u8; 16]) {
        (&self.volume.label, self.volume.uuid)
    }

    /// Whether the volume has a journal.
    pub fn has_journal(&self) -> bool {
        self.volume.has_journal
    }

    /// Whether it was not unmounted cleanly: the journal then holds newer content than the volume.
    pub fn needs_recovery(&self) -> bool {
        self.volume.needs_recovery
    }

    /// Inode of `path`, links followed (also the last one), `..` never above the root.
    pub fn lookup(&self, path: &[u8]) -> Result<u32, ReadError> {
        let missing = || ReadError::NotFound { path: show(path) };
        let mut waiting: Vec<Vec<u8>> = split(path);
        let (mut trail, mut links) = (vec![ROOT_INODE], 0u32);
        while let Some(component) = waiting.pop() {
            if component == b".." {
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            let here = trail.last().copied().unwrap_or(ROOT_INODE);
            let inode = self.inode(here)?;
            if !inode.is(MODE_FOLDER) {
                return Err(missing());
            }
            let child = self.find(&inode, &component)?.ok_or_else(missing)?;
            let inode = self.inode(child)?;
            if !inode.is(MODE_LINK) {
                trail.push(child);
                continue;
            }
            links = links.saturating_add(1);
            if links > MAX_LINKS {
                return Err(ReadError::Links { path: show(path) });
            }
            let target = self.target(&inode)?;
            if target.first() == Some(&b'/') {
                trail.truncate(1);
            }
            waiting.extend(split(&target));
        }
        Ok(trail.last().copied().unwrap_or(ROOT_INODE))
    }

    /// What an inode is.
    pub fn stat(&self, number: u32) -> Result<Stat, ReadError> {
        let inode = self.inode(number)?;
        let kind = match inode.mode & MODE_KIND {
            MODE_FILE => Kind::File(Content::Source { source: number, offset: 0, length: inode.size }),
            MODE_FOLDER => Kind::Folder,
            MODE_LINK => Kind::Link(self.target(&inode)?),
            MODE_CHARACTER | MODE_BLOCK => {
                let (major, minor) = inode.device();
                Kind::Device { block: inode.is(MODE_BLOCK), major, minor }
            }
            MODE_FIFO => Kind::Fifo,
            MODE_SOCKET => Kind::Socket,
            _ => return Err(ReadError::Damaged { inode: number, what: "unknown kind" }),
        };
        let mut meta = inode.meta();
        meta.xattrs = self.xattrs(&inode)?;
        // Where inline data lie, not an attribute of anybody's.
        meta.xattrs.remove(&b"system.data"[..]);
        Ok(Stat { meta, kind, links: u32::from(inode.links) })
    }

    /// Names in the folder `number`, without `.` and `..`, sorted.
    pub fn list(&self, number: u32) -> Result<Vec<Found>, ReadError> {
        let mut found = Vec::new();
        self.each_name(&self.inode(number)?, &mut |one| {
            found.push(one);
            if found.len() as u64 > MAX_NAMES { Err(ReadError::TooMany) } else { Ok(true) }
        })?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Fills `out` from `offset` of the file `number`; an error if the file ends before.
    pub fn read(&self, number: u32, offset: u64, out: &mut [u8]) -> Result<(), ReadError> {
        let kept = self.files.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
        let file = match kept {
            Some(file) => file,
            None => {
                let inode = self.inode(number)?;
                if !inode.is(MODE_FILE) {
                    return Err(ReadError::Damaged { inode: number, what: "not a file" });
                }
                let file = Arc::new(self.open_file(&inode)?);
                let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
                if files.len() >= KEPT {
                    files.clear();
                }
                files.insert(number, Arc::clone(&file));
                file
            }
        };
        self.read_file(&file, offset, out)
    }

    /// The whole volume as a tree; files are [`Content::Source`] with their inode number as source, to be read through
    /// [`VolumeSources`]. A sparse file becomes a dense one.
    pub fn tree(&self) -> Result<Tree, ReadError> {
        let mut tree = Tree::new(self.stat(ROOT_INODE)?.meta);
        let mut first_names: HashMap<u32, Vec<u8>> = HashMap::from([(ROOT_INODE, Vec::new())]);
        let mut waiting = vec![(Vec::new(), ROOT_INODE)];
        let mut names = 0u64;
        while let Some((folder, number)) = waiting.pop() {
            for one in self.list(number)? {
                names = names.saturating_add(1);
                if names > MAX_NAMES {
                    return Err(ReadError::TooMany);
                }
                let mut path: Vec<u8> = folder.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(&one.name);
                if tree.id(&path).is_some() {
                    return Err(ReadError::Damaged { inode: number, what: "a folder holds one name twice" });
                }
                if let Some(first) = first_names.get(&one.inode) {
                    // A second name for a folder would be a circle; the tree refuses it.
                    tree.hard_link(&path, first).map_err(ReadError::Name)?;
                    continue;
                }
                let stat = self.stat(one.inode)?;
                if stat.kind == Kind::Folder {
                    waiting.push((path.clone(), one.inode));
                }
                // Only what has several names is asked for again; folders always are, to find circles.
                if stat.links > 1 || stat.kind == Kind::Folder {
                    first_names.insert(one.inode, path.clone());
                }
                tree.put(&path, stat.meta, stat.kind).map_err(ReadError::Name)?;
            }
        }
        Ok(tree)
    }

    fn target(&self, inode: &Inode) -> Result<Vec<u8>, ReadError> {
        let length = usize::try_from(inode.size).ok().filter(|length| (1..4096).contains(length));
        let length = length.ok_or(ReadError::Damaged { inode: inode.number, what: "length of a link" })?;
        // As Linux tells them apart: a fast link has neither extents nor inline data.
        if inode.flags & (FLAG_EXTENTS | FLAG_INLINE_DATA) == 0 {
            let target = inode.block.get(..length).filter(|_| length <= FAST_LINK);
            return target.map(<[u8]>::to_vec).ok_or(ReadError::Damaged { inode: inode.number, what: "short link" });
        }
        let mut target = vec![0; length];
        self.read_file(&self.open_file(inode)?, 0, &mut target)?;
        Ok(target)
    }
}

/// Files of a volume as sources of a new one; numbers from `1 << 31` on are left to `others`.
pub struct VolumeSources<'a, D> {
    /// The volume whose inode numbers are the sources below `1 << 31`.
    pub reader: &'a Reader<D>,
    /// The rest.
    pub others: &'a dyn Sources,
}

impl<D: ReadAt> Sources for VolumeSources<'_, D> {
    fn read(&self, source: u32, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if source >= 1 << 31 {
            return self.others.read(source, offset, out);
        }
        self.reader.read(source, offset, out).map_err(io::Error::other)
    }
}

/// Components, the first one last; `.` and empty ones are nothing.
fn split(path: &[u8]) -> Vec<Vec<u8>> {
    let components = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    components.rev().map(<[u8]>::to_vec).collect()
}

fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(300).collect()
}
