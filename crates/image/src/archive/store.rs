//! Where an archive keeps its files: a folder, or a tar file that is read in place.

use super::ArchiveError;
use super::documents::DOCUMENT_LIMIT;
use super::files::{Extent, Files, Scratch};
use super::tar::{End, EntryKind, Input, Reader, TarError};
use super::unpack::{Encoding, Spooled, decompress};
use claims::Digest256;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Most members of the archive's own tar file.
const MAX_MEMBERS: usize = 1 << 16;
/// Links from member to member (`docker save` writes them for layers that are used twice).
const MAX_LINKS: u32 = 8;

#[derive(Debug)]
pub(super) enum Store {
    Folder(PathBuf, HashMap<String, Extent>),
    Tar(HashMap<String, Member>),
}

#[derive(Debug)]
pub(super) enum Member {
    File(Extent),
    Link(String),
}

impl Store {
    pub(super) fn open(
        path: &Path,
        files: &mut Files,
        scratch: &mut Scratch<'_>,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Self, ArchiveError> {
        let read_error = |source| ArchiveError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read_error)?;
        let metadata = file.metadata().map_err(read_error)?;
        if metadata.is_dir() {
            return Ok(Self::Folder(path.to_owned(), HashMap::new()));
        }
        if !metadata.is_file() {
            return Err(ArchiveError::NotAnArchive { path: path.to_owned(), why: "it is no file or folder" });
        }
        let mut start = [0; Encoding::MAGIC];
        let sniffed = file.read_at(&mut start, 0).map_err(read_error)?;
        match Encoding::of(start.get(..sniffed).unwrap_or_default()) {
            Encoding::Plain => {
                let length = metadata.len();
                let source = files.add(file);
                let window = files.window(&Extent { source, offset: 0, length, digest: None });
                index(&mut Reader::new(window), source, |_| None).map_err(|error| match error {
                    ArchiveError::Tar(TarError::Checksum { at: 0 } | TarError::Truncated { at: 0 }) => {
                        ArchiveError::NotAnArchive { path: path.to_owned(), why: "it is no tar file" }
                    }
                    other => other,
                })
            }
            Encoding::Other(with) => Err(ArchiveError::Compression { what: path.display().to_string(), with }),
            encoding => spool(path, encoding, file, files, scratch, cancelled),
        }
    }

    /// The member of this name, if it is there.
    pub(super) fn find(&mut self, name: &str, files: &mut Files) -> Result<Option<Extent>, ArchiveError> {
        match self {
            Self::Folder(root, known) => {
                if let Some(extent) = known.get(name) {
                    return Ok(Some(*extent));
                }
                let path = root.join(name);
                let file = match File::open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    opened => opened.map_err(|source| ArchiveError::Read { path: path.clone(), source })?,
                };
                let metadata = file.metadata().map_err(|source| ArchiveError::Read { path: path.clone(), source })?;
                if !metadata.is_file() {
                    return Ok(None);
                }
                let extent = Extent { source: files.add(file), offset: 0, length: metadata.len(), digest: None };
                known.insert(name.to_owned(), extent);
                Ok(Some(extent))
            }
            Self::Tar(members) => {
                let mut name = plain_name(name);
                for _ in 0..MAX_LINKS {
                    match members.get(&name) {
                        None => return Ok(None),
                        Some(Member::File(extent)) => return Ok(Some(*extent)),
                        Some(Member::Link(target)) => name = target.clone(),
                    }
                }
                Ok(None)
            }
        }
    }

    /// A short document's bytes and where they are.
    pub(super) fn document(&mut self, name: &str, files: &mut Files) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some(extent) = self.find(name, files)? else { return Ok(None) };
        if extent.length > DOCUMENT_LIMIT {
            return Err(ArchiveError::DocumentSize { what: name.to_owned(), limit: DOCUMENT_LIMIT });
        }
        let bytes = files.bytes(&extent);
        bytes.map(Some).map_err(|source| ArchiveError::Read { path: name.into(), source })
    }
}

/// Reads the archive's own headers. `digest` gives the digest of the contents that went by last, where it is known.
fn index<I: Input>(
    reader: &mut Reader<I>,
    source: u32,
    digest: impl Fn(&mut I) -> Option<Digest256>,
) -> Result<Store, ArchiveError> {
    let mut members: HashMap<String, Member> = HashMap::new();
    let mut last: Option<String> = None;
    loop {
        let entry = reader.next_entry().map_err(ArchiveError::Tar)?;
        let known = digest(reader.input());
        if let Some(Member::File(extent)) = last.take().and_then(|name| members.get_mut(&name)) {
            extent.digest = known;
        }
        let Some(entry) = entry else { break };
        let name = plain_name(&String::from_utf8_lossy(&entry.path));
        let member = match entry.kind {
            EntryKind::File => Member::File(Extent { source, offset: entry.offset, length: entry.size, digest: None }),
            EntryKind::HardLink => Member::Link(plain_name(&String::from_utf8_lossy(&entry.link))),
            EntryKind::Symlink => Member::Link(linked_name(&name, &String::from_utf8_lossy(&entry.link))),
            _ => continue,
        };
        if members.len() >= MAX_MEMBERS {
            return Err(ArchiveError::TooMany { what: "members", limit: MAX_MEMBERS });
        }
        if members.insert(name.clone(), member).is_some() {
            return Err(ArchiveError::Doubled { name });
        }
        if entry.size > 0 {
            last = Some(name);
        }
    }
    match reader.end() {
        End::Marked => Ok(Store::Tar(members)),
        End::Bare | End::Not => Err(ArchiveError::NoEnd),
    }
}

/// Decompresses the archive into the scratch file, and reads and hashes it while it goes by.
fn spool(
    path: &Path,
    encoding: Encoding,
    file: File,
    files: &mut Files,
    scratch: &mut Scratch<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Store, ArchiveError> {
    let (source, _) = scratch.open(files)?;
    let files = &*files;
    let mut store = Err(ArchiveError::NoEnd);
    decompress(&path.display().to_string(), encoding, file, cancelled, |chunks| {
        let mut reader = Reader::new(Spooled { chunks, files, scratch, contents: None, failed: None });
        store = index(&mut reader, source, Spooled::digest);
        match reader.input().failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    })?;
    store
}

/// `./a//b` as `a/b`; `..` leads nowhere.
fn plain_name(name: &str) -> String {
    name.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}

/// Where a symbolic link in `name`'s folder points, inside of the archive.
fn linked_name(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { name.split('/').collect() };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
