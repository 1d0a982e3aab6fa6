//! Merges container layers into one file tree, as an overlay would show them.
//!
//! *Takes* the layers' tar headers, lowest layer first; contents stay where they are and are only pointed at.
//! *Guarantees* that the same layers give the same tree, that nothing outside of the root is ever named, and that
//! memory and sizes stay within [`Limits`].
//! *Does not check* digests: `archive` does.
//!
//! The rules, where readers differ: a leading `/` or `./` is dropped, `..` is refused. A parent that is a symbolic
//! link is followed inside of the root, as for a process that is confined to it; what it leads to is a folder or is made
//! one, and the last component is never followed. A folder replaces a link or file and the other way round; the last of
//! two entries wins. Whiteouts hide lower layers only, wherever they stand in their layer (OCI image specification), and
//! never reach through a link; the folder that one stands in is made if it is missing. Hard links may name files of lower
//! layers, and owner, mode, time and attributes in their entry become those of the file. Extended attributes that ext4
//! cannot hold are dropped, as container engines do, and so are those by which the kernel's overlay marks its own folders.
//! A character device 0:0, which is a whiteout to that overlay, is refused.

mod path;

pub use path::resolve;

use crate::archive::tar::{Entry, EntryKind, Input, Reader, TarError};
use claims::Code;
use claims::workload::RESERVED_FOLDER;
use path::{Normalised, normalise};
use sealed::tree::{Content, Kind, Meta, Tree, TreeError};

/// What a hostile archive may cost at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries in all layers.
    pub entries: u64,
    /// Bytes of contents in all layers.
    pub bytes: u64,
}

impl Limits {
    /// 4 Mi entries, 1 TiB.
    pub const WIDEST: Self = Self { entries: 4 << 20, bytes: 1 << 40 };
}

/// An entry that is refused, and where it is.
#[derive(Debug, thiserror::Error)]
#[error("layer {layer}, entry `{entry}`: {reason}")]
pub struct LayerError {
    /// The layer's digest or name.
    pub layer: String,
    /// The entry's path, made printable.
    pub entry: String,
    /// What is wrong with it.
    pub reason: Reason,
}

impl LayerError {
    /// `E-LAYER`, or `E-IMAGE` where the layer is no tar file at all.
    pub fn code(&self) -> Option<Code> {
        match &self.reason {
            Reason::Tar(TarError::Io(_)) => None,
            Reason::Tar(TarError::Truncated { .. } | TarError::Checksum { .. }) => Some(Code::Image),
            _ => Some(Code::Layer),
        }
    }
}

/// Why an entry is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The tar file itself.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// `..` in a path or in the target of a hard link.
    #[error("a path that climbs (`..`)")]
    Climbs,
    /// A name over 255 bytes, or a path or link target over 4095.
    #[error("a name over 255 bytes, or a path or link target over 4095")]
    TooLong,
    /// A symbolic link without a target.
    #[error("a link to nothing")]
    EmptyLink,
    /// The root itself can only be a folder.
    #[error("the root can only be a folder")]
    Root,
    /// A parent is a file, device or pipe.
    #[error("a parent of it is not a folder")]
    ParentNotFolder,
    /// Links that lead in a circle.
    #[error("its parents hold more than 40 links, or links in a circle")]
    LinkLoop,
    /// The target of a hard link is not there, or is a folder.
    #[error("a hard link to `{target}`, which is no file of this or a lower layer")]
    HardLink {
        /// Its target.
        target: String,
    },
    /// A whiteout of an impossible name.
    #[error("a malformed whiteout")]
    Whiteout,
    /// Something the kernel's overlay would take as its own.
    #[error("{what} has a meaning of its own to the kernel's overlay")]
    OverlayInternal {
        /// What it is.
        what: &'static str,
    },
    /// Confide's own folder.
    #[error("`/{RESERVED_FOLDER}` is reserved for Confide")]
    Reserved,
    /// Too many entries.
    #[error("more than {limit} entries")]
    Entries {
        /// The limit.
        limit: u64,
    },
    /// Too much content.
    #[error("more than {limit} bytes of contents")]
    Bytes {
        /// The limit.
        limit: u64,
    },
    /// More files than a volume can have.
    #[error("more files than a volume can have")]
    TooMany,
}

/// Layers being merged.
#[derive(Debug)]
pub struct Merger {
    tree: Tree,
    limits: Limits,
    entries: u64,
    bytes: u64,
    layers: u32,
}

impl Merger {
    /// An empty root, 0755 and root's.
    pub fn new(limits: Limits) -> Self {
        Self { tree: Tree::new(Meta::plain(0o755)), limits, entries: 0, bytes: 0, layers: 0 }
    }

    /// Puts one layer on top. `open` gives a reader at the layer's start (it is called twice); contents are pointed
    /// at in `source`, `base` bytes after the offsets that the reader gives.
    pub fn layer<I: Input>(
        &mut self,
        name: &str,
        source: u32,
        base: u64,
        open: impl Fn() -> Reader<I>,
    ) -> Result<(), LayerError> {
        if self.layers > 0 {
            self.each(name, open(), &mut |merger, entry| merger.whiteout(entry))?;
        }
        self.layers = self.layers.saturating_add(1);
        self.each(name, open(), &mut |merger, entry| {
            merger.count(entry)?;
            merger.entry(entry, source, base)
        })
    }

    /// The merged tree.
    pub fn finish(self) -> Tree {
        self.tree
    }

    fn each<I: Input>(
        &mut self,
        layer: &str,
        mut reader: Reader<I>,
        apply: &mut dyn FnMut(&mut Self, &Entry) -> Result<(), Reason>,
    ) -> Result<(), LayerError> {
        let wrong = |entry: &[u8], reason| LayerError { layer: layer.to_owned(), entry: show(entry), reason };
        let mut last = Vec::new();
        loop {
            let entry = reader.next_entry().map_err(|error| wrong(&last, error.into()))?;
            let Some(entry) = entry else { return Ok(()) };
            apply(self, &entry).map_err(|reason| wrong(&entry.path, reason))?;
            last = entry.path;
        }
    }

    fn count(&mut self, entry: &Entry) -> Result<(), Reason> {
        self.entries = self.entries.saturating_add(1);
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.entries > self.limits.entries {
            return Err(Reason::Entries { limit: self.limits.entries });
        }
        if self.bytes > self.limits.bytes {
            return Err(Reason::Bytes { limit: self.limits.bytes });
        }
        Ok(())
    }

    /// First pass: only whiteouts act, and the tree holds lower layers only.
    fn whiteout(&mut self, entry: &Entry) -> Result<(), Reason> {
        match normalise(&entry.path)? {
            Normalised::Opaque(folder) => {
                if folder.is_empty() || is_folder(&self.tree, &folder) {
                    self.tree.clear(&folder);
                }
            }
            Normalised::Whiteout(path) => {
                self.tree.remove(&path);
            }
            Normalised::Plain(_) | Normalised::Ignored => {}
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, source: u32, base: u64) -> Result<(), Reason> {
        let path = match normalise(&entry.path)? {
            Normalised::Plain(path) => path,
            Normalised::Whiteout(path) => return self.folder(path::split(&path).0),
            Normalised::Opaque(folder) => return self.folder(&folder),
            Normalised::Ignored => return Ok(()),
        };
        let meta = meta_of(entry);
        if path.is_empty() {
            return match entry.kind {
                EntryKind::Folder => self.put(b"", meta, Kind::Folder),
                _ => Err(Reason::Root),
            };
        }
        let path = self.place(&path)?;
        let device = |block| Kind::Device { block, major: entry.major, minor: entry.minor };
        let kind = match entry.kind {
            EntryKind::File if entry.size == 0 => Kind::File(Content::Inline(Vec::new().into())),
            EntryKind::File => {
                let offset = base.checked_add(entry.offset).ok_or(Reason::Bytes { limit: self.limits.bytes })?;
                Kind::File(Content::Source { source, offset, length: entry.size })
            }
            EntryKind::HardLink => return self.hard_link(&path, &entry.link, meta),
            EntryKind::Symlink if entry.link.is_empty() => return Err(Reason::EmptyLink),
            EntryKind::Symlink if entry.link.len() > path::MAX_PATH => return Err(Reason::TooLong),
            EntryKind::Symlink => Kind::Link(entry.link.clone()),
            EntryKind::CharDevice if entry.major == 0 && entry.minor == 0 => {
                return Err(Reason::OverlayInternal { what: "character device 0:0" });
            }
            EntryKind::CharDevice => device(false),
            EntryKind::BlockDevice => device(true),
            EntryKind::Folder => Kind::Folder,
            EntryKind::Fifo => Kind::Fifo,
        };
        self.put(&path, meta, kind)
    }

    /// Makes a folder that a marker stands in, where there is none. What else is in its way stays: nothing is hidden there.
    fn folder(&mut self, path: &[u8]) -> Result<(), Reason> {
        match path::resolve_parents(&self.tree, path) {
            Ok(path) if path.split(|byte| *byte == b'/').next() == Some(RESERVED_FOLDER.as_bytes()) => {
                Err(Reason::Reserved)
            }
            Ok(path) if self.tree.get(&path).is_none() => self.put(&path, Meta::plain(0o755), Kind::Folder),
            Ok(_) | Err(Reason::ParentNotFolder) => Ok(()),
            Err(reason) => Err(reason),
        }
    }

    fn hard_link(&mut self, path: &[u8], target: &[u8], meta: Meta) -> Result<(), Reason> {
        let wrong = || Reason::HardLink { target: show(target) };
        let Normalised::Plain(target) = normalise(target)? else { return Err(wrong()) };
        let target = self.place(&target)?;
        if target == path {
            return Err(wrong());
        }
        let id = self.tree.hard_link(path, &target).map_err(|error| match error {
            TreeError::Target { .. } => wrong(),
            other => reason_of(&other),
        })?;
        self.tree.update(id, meta);
        Ok(())
    }

    /// Where a path really is: parents that are links are followed inside of the root.
    fn place(&self, path: &[u8]) -> Result<Vec<u8>, Reason> {
        let (parent, name) = path::split(path);
        let placed = if parent.is_empty() || is_folder(&self.tree, parent) {
            path.to_vec()
        } else {
            path::join(&path::resolve_parents(&self.tree, parent)?, name)
        };
        if placed.split(|byte| *byte == b'/').next() == Some(RESERVED_FOLDER.as_bytes()) {
            return Err(Reason::Reserved);
        }
        Ok(placed)
    }

    fn put(&mut self, path: &[u8], meta: Meta, kind: Kind) -> Result<(), Reason> {
        self.tree.put(path, meta, kind).map(|_| ()).map_err(|error| reason_of(&error))
    }
}

fn is_folder(tree: &Tree, path: &[u8]) -> bool {
    tree.get(path).is_some_and(|(_, kind)| *kind == Kind::Folder)
}

fn reason_of(error: &TreeError) -> Reason {
    match error {
        TreeError::TooLong { .. } => Reason::TooLong,
        TreeError::NotAFolder { .. } => Reason::ParentNotFolder,
        TreeError::Target { target, .. } => Reason::HardLink { target: target.clone() },
        TreeError::Root => Reason::Root,
        TreeError::TooMany => Reason::TooMany,
        TreeError::Path { .. } => Reason::Climbs,
    }
}

fn meta_of(entry: &Entry) -> Meta {
    let mut xattrs = entry.xattrs.clone();
    xattrs.retain(|name, _| {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            return false;
        }
        let known = [b"user.".as_slice(), b"trusted.", b"security."];
        known.iter().any(|space| name.len() > space.len() && name.starts_with(space))
            || matches!(name.as_slice(), b"system.posix_acl_access" | b"system.posix_acl_default")
    });
    Meta {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        mtime_nanos: entry.mtime_nanos,
        xattrs,
    }
}

fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(300).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Merges one layer that is in memory. For tests and fuzzing.
pub fn merge_bytes(layers: &[&[u8]]) -> Result<Tree, LayerError> {
    let mut merger = Merger::new(Limits { entries: 10_000, bytes: 1 << 30 });
    for (index, layer) in layers.iter().enumerate() {
        let source = u32::try_from(index).unwrap_or(u32::MAX);
        merger.layer(&index.to_string(), source, 0, || Reader::new(crate::archive::tar::Slice(layer)))?;
    }
    Ok(merger.finish())
}
