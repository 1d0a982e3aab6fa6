//! A gzip file of stored blocks (RFC 1951, 3.2.4) around a tar file: any byte of it can be had without unpacking.

use super::{InspectError, plain};
use crate::archive::tar::{EntryKind, Input, Reader, TarError};
use sealed::{FileDevice, ReadAt};
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

/// A gzip file that is not the one-file form of a bundle.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// It cannot be read.
    #[error("cannot read the file")]
    Read(#[from] io::Error),
    /// It was compressed, or has members that a build does not write.
    #[error("the gzip file is not stored as a build writes it; unpack it with `tar -xzf` and look into the folder")]
    NotStored,
    /// The tar file inside is refused.
    #[error("the tar file in it is refused")]
    Tar(#[from] TarError),
}

/// The file, with the place of every stored block.
pub(super) struct Stored {
    file: Arc<FileDevice>,
    /// Offset in the contents, offset in the file, ascending.
    blocks: Arc<[(u64, u64)]>,
    length: u64,
}

/// A file in the tar file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) mode: u16,
    pub(super) length: u64,
    offset: u64,
}

impl Stored {
    /// Finds the blocks: one small read each.
    pub(super) fn open(file: File) -> Result<Self, StoredError> {
        let file = FileDevice::new(file)?;
        let mut head = [0; 10];
        file.read_exact_at(0, &mut head)?;
        // Deflate, and none of the optional fields.
        if !matches!(head, [0x1F, 0x8B, 8, 0, ..]) {
            return Err(StoredError::NotStored);
        }
        let (mut at, mut length, mut blocks) = (10, 0, Vec::new());
        loop {
            let mut block = [0; 5];
            file.read_exact_at(at, &mut block)?;
            let [kind, low, high, low_check, high_check] = block;
            if kind > 1 || [low ^ low_check, high ^ high_check] != [0xFF; 2] {
                return Err(StoredError::NotStored);
            }
            let count = u64::from(u16::from_le_bytes([low, high]));
            if count > 0 {
                blocks.push((length, at + 5));
            }
            (at, length) = (at + 5 + count, length + count);
            if kind == 1 {
                break;
            }
        }
        // Checksum and length follow, and nothing else.
        if at + 8 != file.size() {
            return Err(StoredError::NotStored);
        }
        Ok(Self { file: Arc::new(file), blocks: blocks.into(), length })
    }

    /// The files of the tar file, by the last part of their path.
    pub(super) fn members(&self) -> Result<Vec<Member>, StoredError> {
        let mut reader = Reader::new(Cursor { stored: self, at: 0 });
        let mut members = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            if entry.kind == EntryKind::File {
                let name = plain(&path).rsplit('/').next().unwrap_or_default().to_owned();
                members.push(Member { name, mode: entry.mode, length: entry.size, offset: entry.offset });
            }
        }
        Ok(members)
    }

    /// A member as a file of its own.
    pub(super) fn window(&self, member: &Member) -> Window {
        let stored = Self { file: Arc::clone(&self.file), blocks: Arc::clone(&self.blocks), length: self.length };
        Window { stored, offset: member.offset, length: member.length }
    }

    /// Writes a member's bytes to `out`.
    pub(super) fn copy(&self, member: &Member, out: &mut dyn Write) -> Result<u64, InspectError> {
        let (window, mut at) = (self.window(member), 0);
        let mut buffer = vec![0; 1 << 20];
        while at < member.length {
            let count = usize::try_from(member.length - at).unwrap_or(usize::MAX).min(buffer.len());
            let piece = buffer.get_mut(..count).unwrap_or_default();
            window.read_exact_at(at, piece).map_err(StoredError::Read)?;
            out.write_all(piece).map_err(InspectError::Write)?;
            at += count as u64;
        }
        Ok(member.length)
    }
}

impl ReadAt for Stored {
    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= self.length);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut index = self.blocks.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            let (start, place) = *self.blocks.get(index).ok_or(io::ErrorKind::UnexpectedEof)?;
            let next = self.blocks.get(index + 1).map_or(self.length, |(start, _)| *start);
            let count = usize::try_from(next.saturating_sub(at)).unwrap_or(usize::MAX).min(rest.len());
            let (piece, behind) = rest.split_at_mut(count);
            self.file.read_exact_at(place + (at - start), piece)?;
            (at, rest, index) = (at + count as u64, behind, index + 1);
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.length
    }
}

/// A piece of the contents.
pub(super) struct Window {
    stored: Stored,
    offset: u64,
    length: u64,
}

impl ReadAt for Window {
    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= self.length);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.stored.read_exact_at(self.offset + offset, out)
    }

    fn size(&self) -> u64 {
        self.length
    }
}

struct Cursor<'a> {
    stored: &'a Stored,
    at: u64,
}

impl Input for Cursor<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.stored.length.saturating_sub(self.at);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        self.stored.read_exact_at(self.at, out.get_mut(..count).unwrap_or_default())?;
        self.at += count as u64;
        Ok(count)
    }

    fn skip(&mut self, length: u64, _contents: bool) -> io::Result<bool> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.stored.length);
        self.at = end.unwrap_or(self.stored.length);
        Ok(end.is_some())
    }
}
