//! A drive's file system: raw or in qcow2, plain or sealed.

use super::{InspectError, Item, ItemKind, MAX_AT_ONCE, plain};
use crate::qcow2;
use claims::volume::{Drive, Geometry, VolumeKey};
use sealed::ext4::{Reader, Stat};
use sealed::open::SealedReader;
use sealed::tree::Kind;
use sealed::{FileDevice, ReadAt};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// An open file system on a drive.
pub struct Volume {
    reader: Reader<Box<dyn ReadAt>>,
    sealed: Option<(Drive, Geometry)>,
}

impl Volume {
    /// Opens a drive's file.
    pub fn open(path: &Path, key: Option<&VolumeKey>) -> Result<Self, InspectError> {
        let device = File::open(path).and_then(FileDevice::new);
        let device = device.map_err(|source| InspectError::Read { path: path.to_owned(), source })?;
        Self::of(Box::new(device), key)
    }

    /// Opens a drive that lies anywhere.
    pub fn of(file: Box<dyn ReadAt>, key: Option<&VolumeKey>) -> Result<Self, InspectError> {
        let device: Box<dyn ReadAt> =
            if starts_with(&file, b"QFI\xfb") { Box::new(qcow2::Reader::open(file)?) } else { file };
        if !starts_with(&device, b"LUKS\xba\xbe") {
            return Ok(Self { reader: Reader::open(device)?, sealed: None });
        }
        let key = key.ok_or(InspectError::KeyNeeded)?;
        let (sealed, drive) = SealedReader::from_header(device, key)?;
        let geometry = *sealed.geometry();
        let plain: Box<dyn ReadAt> = Box::new(sealed);
        Ok(Self { reader: Reader::open(plain)?, sealed: Some((drive, geometry)) })
    }

    /// Which drive it is and where its parts lie, by its own word, if it is sealed.
    pub fn sealed(&self) -> Option<(Drive, Geometry)> {
        self.sealed
    }

    /// The file system itself.
    pub fn reader(&self) -> &Reader<Box<dyn ReadAt>> {
        &self.reader
    }

    /// The names in a folder, or the one item. Links are followed.
    pub fn list(&self, path: &str) -> Result<Vec<Item>, InspectError> {
        let number = self.reader.lookup(path.as_bytes())?;
        let stat = self.reader.stat(number)?;
        if stat.kind != Kind::Folder {
            let name = plain(path).rsplit('/').next().unwrap_or(path);
            return Ok(vec![item(name.as_bytes(), &stat)]);
        }
        let found = self.reader.list(number)?;
        found.into_iter().map(|one| Ok(item(&one.name, &self.reader.stat(one.inode)?))).collect()
    }

    /// Whether a path leads to a file.
    pub fn is_file(&self, path: &str) -> Result<bool, InspectError> {
        let number = self.reader.lookup(path.as_bytes())?;
        Ok(matches!(self.reader.stat(number)?.kind, Kind::File(_)))
    }

    /// The bytes of a file, up to [`MAX_AT_ONCE`].
    pub fn read(&self, path: &str) -> Result<Vec<u8>, InspectError> {
        let (_, length) = self.file(path)?;
        if length > MAX_AT_ONCE {
            return Err(InspectError::TooLarge { inner: path.to_owned(), got: length });
        }
        let mut bytes = Vec::new();
        self.copy(path, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes the bytes of a file to `out`; gives their number.
    pub fn copy(&self, path: &str, out: &mut dyn Write) -> Result<u64, InspectError> {
        let (number, length) = self.file(path)?;
        let mut buffer = vec![0; PIECE];
        let mut offset = 0;
        while offset < length {
            let count = usize::try_from(length - offset).unwrap_or(PIECE).min(PIECE);
            let piece = buffer.get_mut(..count).unwrap_or_default();
            self.reader.read(number, offset, piece)?;
            out.write_all(piece).map_err(InspectError::Write)?;
            offset += count as u64;
        }
        Ok(length)
    }

    fn file(&self, path: &str) -> Result<(u32, u64), InspectError> {
        let number = self.reader.lookup(path.as_bytes())?;
        match self.reader.stat(number)?.kind {
            Kind::File(content) => Ok((number, content.len())),
            _ => Err(InspectError::NotAFile { inner: path.to_owned() }),
        }
    }
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Volume").field("bytes", &self.reader.bytes()).field("sealed", &self.sealed).finish()
    }
}

fn starts_with(device: &dyn ReadAt, magic: &[u8]) -> bool {
    let mut head = vec![0; magic.len()];
    device.read_exact_at(0, &mut head).is_ok() && head == magic
}

fn item(name: &[u8], stat: &Stat) -> Item {
    let (kind, size) = match &stat.kind {
        Kind::Folder => (ItemKind::Folder, 0),
        Kind::File(content) => (ItemKind::File, content.len()),
        Kind::Link(target) => (ItemKind::Link(printable(target)), target.len() as u64),
        Kind::Device { .. } | Kind::Fifo | Kind::Socket => (ItemKind::Special, 0),
    };
    Item { name: printable(name), kind, mode: stat.meta.mode, uid: stat.meta.uid, gid: stat.meta.gid, size }
}

/// Names on a drive are anybody's bytes: control characters do not reach a terminal.
fn printable(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars().map(|one| if one.is_control() { '\u{FFFD}' } else { one }).collect()
}

const PIECE: usize = 1 << 20;
