//! Looks inside a bundle, its one-file form, a drive or an initrd, without root, mounts or nbd.
//!
//! *Takes* a path, and the site's volume key for sealed drives. Everything it reads may be hostile.
//! *Guarantees* that nothing outside of the named file or folder is opened; that every block of a sealed drive is
//! checked against the root hash that the drive states; and that reading is bounded.
//! *Does not check* that a drive is the one a broker would give keys for: compare its root hash with `reference.json`.

mod stored;
mod volume;

pub use stored::StoredError;
pub use volume::Volume;

use crate::bundle::{Manifest, ManifestError, names};
use crate::cpio::{self, Entries};
use crate::initrd::{self, InitrdError};
use crate::qcow2::Qcow2Error;
use claims::Code;
use claims::volume::VolumeKey;
use sealed::ext4::ReadError;
use sealed::open::OpenError;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use stored::Stored;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// A folder.
    Folder,
    /// A file.
    File,
    /// A symbolic link and its target.
    Link(String),
    /// A device node, pipe or socket.
    Special,
}

/// One name in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The name, made printable.
    pub name: String,
    /// What it is.
    pub kind: ItemKind,
    /// Permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file.
    pub size: u64,
}

impl Item {
    fn file(name: impl Into<String>, mode: u16, size: u64) -> Self {
        Self { name: name.into(), kind: ItemKind::File, mode, uid: 0, gid: 0, size }
    }
}

/// What can be looked into.
pub enum Inspected {
    /// A bundle's folder.
    Bundle(Box<Bundle>),
    /// The one-file form of a bundle.
    Packed(Box<Packed>),
    /// A drive with its ext4.
    Volume(Box<Volume>),
    /// An initrd.
    Initrd(Entries),
}

/// A bundle's folder.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    /// How it is started.
    pub manifest: Manifest,
}

/// The one-file form of a bundle.
pub struct Packed {
    file: Stored,
    entries: Vec<stored::Member>,
}

/// Why there is nothing to be seen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder without a manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The qcow2 file is refused.
    #[error("the drive is refused")]
    Qcow2(#[from] Qcow2Error),
    /// A sealed drive, and no key.
    #[error("the drive is sealed; give the site's volume key with --key-file")]
    KeyNeeded,
    /// The sealed drive does not open.
    #[error("the sealed drive does not open")]
    Sealed(#[from] OpenError),
    /// The file system is refused, or has no such file.
    #[error(transparent)]
    Volume(#[from] ReadError),
    /// The initrd is refused.
    #[error("the initrd is refused")]
    Initrd(#[from] InitrdError),
    /// The one-file form is refused.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// No such name.
    #[error("there is no `{inner}` in it")]
    NotFound {
        /// The name.
        inner: String,
    },
    /// A folder, device or pipe where a file is wanted.
    #[error("`{inner}` is not a file")]
    NotAFile {
        /// The name.
        inner: String,
    },
    /// A file that is too large to be returned at once.
    #[error("`{inner}` has {got} bytes; at most {MAX_AT_ONCE} are returned at once")]
    TooLarge {
        /// The name.
        inner: String,
        /// Its size.
        got: u64,
    },
    /// The bytes cannot be handed on.
    #[error("cannot write the file's bytes")]
    Write(#[source] io::Error),
}

impl InspectError {
    /// The code of the refusal, where it is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Qcow2(error) => error.code(),
            Self::KeyNeeded => Some(Code::Key),
            Self::Sealed(error) => Some(error.code()),
            Self::Stored(_) | Self::Volume(ReadError::NotExt4 { .. } | ReadError::Features { .. }) => Some(Code::Disk),
            _ => None,
        }
    }
}

/// Opens whatever `path` is: it is told by its bytes, never by its name.
pub fn open(path: &Path, key: Option<&VolumeKey>) -> Result<Inspected, InspectError> {
    if path.is_dir() {
        let manifest = Manifest::load(path)?;
        return Ok(Inspected::Bundle(Box::new(Bundle { folder: path.to_owned(), manifest })));
    }
    let read = |source| InspectError::Read { path: path.to_owned(), source };
    let mut head = Vec::new();
    let file = File::open(path).map_err(read)?;
    (&file).take(8).read_to_end(&mut head).map_err(read)?;
    match head.as_slice() {
        [0x28, 0xB5, 0x2F, 0xFD, ..] | [0xFD, b'7', b'z', b'X', b'Z', 0, ..] | [b'0', b'7', b'0', b'7', ..] => {
            let mut bytes = head;
            file.take(initrd::MAX_UNPACKED).read_to_end(&mut bytes).map_err(read)?;
            Ok(Inspected::Initrd(initrd::read(&bytes)?))
        }
        [0x1F, 0x8B, ..] => {
            let file = Stored::open(file)?;
            let entries = file.members()?;
            Ok(Inspected::Packed(Box::new(Packed { file, entries })))
        }
        _ => Volume::open(path, key).map(|volume| Inspected::Volume(Box::new(volume))),
    }
}

impl Inspected {
    /// What `inner` is: a folder's names in order, or the one item. `""` and `"/"` are the whole.
    pub fn list(&self, inner: &str) -> Result<Vec<Item>, InspectError> {
        match self {
            Self::Volume(volume) => volume.list(inner),
            Self::Bundle(bundle) => bundle.list(inner),
            Self::Packed(packed) => packed.list(inner),
            Self::Initrd(entries) => list_initrd(entries, inner),
        }
    }

    /// Whether `inner` is a file, whose bytes can be had.
    pub fn is_file(&self, inner: &str) -> Result<bool, InspectError> {
        match self {
            Self::Volume(volume) => volume.is_file(inner),
            _ if plain(inner).is_empty() => Ok(false),
            Self::Initrd(entries) => Ok(entries.get(plain(inner)).is_some_and(cpio::Entry::is_file)),
            Self::Bundle(_) | Self::Packed(_) => Ok(self.list(inner)?.iter().all(|item| item.kind == ItemKind::File)),
        }
    }

    /// Writes the bytes of the file `inner` to `out`; gives their number.
    pub fn copy(&self, inner: &str, out: &mut dyn Write) -> Result<u64, InspectError> {
        match self {
            Self::Volume(volume) => volume.copy(inner, out),
            Self::Bundle(bundle) => {
                let path = bundle.file(inner)?;
                let mut file = File::open(&path).map_err(|source| InspectError::Read { path, source })?;
                io::copy(&mut file, out).map_err(InspectError::Write)
            }
            Self::Packed(packed) => packed.file.copy(packed.member(inner)?, out),
            Self::Initrd(entries) => {
                let entry = entries.get(plain(inner)).ok_or_else(|| not_found(inner))?;
                if !entry.is_file() {
                    return Err(InspectError::NotAFile { inner: inner.to_owned() });
                }
                out.write_all(&entry.bytes).map_err(InspectError::Write)?;
                Ok(entry.bytes.len() as u64)
            }
        }
    }
}

impl Bundle {
    fn names(&self) -> Vec<&str> {
        let mut all = vec![names::LAUNCH, names::README, names::MANIFEST, names::REFERENCE];
        all.extend(self.manifest.files.iter().map(|file| file.name.as_str()));
        all.extend(self.manifest.drives.iter().map(|drive| drive.file.as_str()));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Path of a file that the manifest names.
    fn file(&self, inner: &str) -> Result<PathBuf, InspectError> {
        let name = self.names().into_iter().find(|name| *name == plain(inner));
        name.map(|name| self.folder.join(name)).ok_or_else(|| not_found(inner))
    }

    fn list(&self, inner: &str) -> Result<Vec<Item>, InspectError> {
        let wanted = plain(inner);
        let names = self.names().into_iter().filter(|name| wanted.is_empty() || wanted == *name);
        let items: Vec<Item> = names
            .map(|name| {
                let path = self.folder.join(name);
                let size = std::fs::metadata(&path).map_err(|source| InspectError::Read { path, source })?.len();
                Ok(Item::file(name, if name == names::LAUNCH { 0o755 } else { 0o644 }, size))
            })
            .collect::<Result<_, InspectError>>()?;
        if items.is_empty() { Err(not_found(inner)) } else { Ok(items) }
    }
}

impl Packed {
    fn member(&self, inner: &str) -> Result<&stored::Member, InspectError> {
        self.entries.iter().find(|member| member.name == plain(inner)).ok_or_else(|| not_found(inner))
    }

    fn list(&self, inner: &str) -> Result<Vec<Item>, InspectError> {
        let item = |member: &stored::Member| Item::file(&member.name, member.mode, member.length);
        if plain(inner).is_empty() {
            return Ok(self.entries.iter().map(item).collect());
        }
        Ok(vec![item(self.member(inner)?)])
    }

    /// Opens a drive inside of it, without unpacking.
    pub fn drive(self, inner: &str, key: Option<&VolumeKey>) -> Result<Volume, InspectError> {
        let member = self.member(inner)?.clone();
        Volume::of(Box::new(self.file.window(&member)), key)
    }
}

fn list_initrd(entries: &Entries, inner: &str) -> Result<Vec<Item>, InspectError> {
    let wanted = plain(inner);
    let item = |(name, entry): (&String, &cpio::Entry)| Item {
        name: name.clone(),
        kind: match (entry.is_folder(), entry.is_file()) {
            (true, _) => ItemKind::Folder,
            (_, true) => ItemKind::File,
            _ => ItemKind::Special,
        },
        mode: (entry.mode & 0o7777) as u16,
        uid: 0,
        gid: 0,
        size: entry.bytes.len() as u64,
    };
    let below = |name: &str| {
        wanted.is_empty() || name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let items: Vec<Item> = entries.iter().filter(|(name, _)| below(name)).map(item).collect();
    if items.is_empty() { Err(not_found(inner)) } else { Ok(items) }
}

/// A name without slashes at its ends.
fn plain(inner: &str) -> &str {
    inner.trim_matches('/')
}

fn not_found(inner: &str) -> InspectError {
    InspectError::NotFound { inner: inner.to_owned() }
}

/// Most bytes that [`Volume::read`] returns.
pub const MAX_AT_ONCE: u64 = 256 << 20;
