//! The files that an archive's bytes are in: the archive itself, blobs of a folder, and the scratch file.

use super::ArchiveError;
use super::tar::Input;
use aws_lc_rs::digest;
use claims::Digest256;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A piece of one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Extent {
    pub(super) source: u32,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Known already, when the bytes went by in a stream.
    pub(super) digest: Option<Digest256>,
}

/// Open files, by source number.
#[derive(Debug, Default)]
pub(super) struct Files(Vec<File>);

impl Files {
    pub(super) fn add(&mut self, file: File) -> u32 {
        self.0.push(file);
        u32::try_from(self.0.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn read(&self, source: u32, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file(source)?.read_exact_at(out, offset)
    }

    pub(super) fn file(&self, source: u32) -> io::Result<&File> {
        self.0.get(source as usize).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn window(&self, extent: &Extent) -> Window<'_> {
        Window { files: self, extent: *extent, position: 0, held: Vec::new(), held_at: 0 }
    }

    /// SHA-256 of a piece; `step` is told of each part and says whether to go on.
    pub(super) fn sha256(&self, extent: &Extent, step: &dyn Fn(u64) -> bool) -> io::Result<Option<Digest256>> {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut buffer = vec![0; 256 << 10];
        let mut done = 0;
        while done < extent.length {
            let length = usize::try_from(extent.length - done).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..length).unwrap_or_default();
            self.read(extent.source, extent.offset.saturating_add(done), part)?;
            context.update(part);
            done = done.saturating_add(length as u64);
            if !step(length as u64) {
                return Ok(None);
            }
        }
        Ok(Digest256::from_slice(context.finish().as_ref()))
    }

    /// All bytes of a short piece.
    pub(super) fn bytes(&self, extent: &Extent) -> io::Result<Vec<u8>> {
        let length = usize::try_from(extent.length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = vec![0; length];
        self.read(extent.source, extent.offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// A piece of a file as a tar reader's input, or as a stream.
#[derive(Debug)]
pub struct Window<'a> {
    files: &'a Files,
    extent: Extent,
    position: u64,
    held: Vec<u8>,
    held_at: u64,
}

const WINDOW: usize = 32 << 10;

impl Window<'_> {
    fn held(&self) -> &[u8] {
        let skipped = self.position.checked_sub(self.held_at).and_then(|skipped| usize::try_from(skipped).ok());
        skipped.and_then(|skipped| self.held.get(skipped..)).unwrap_or_default()
    }

    fn fetch(&mut self, length: usize) -> io::Result<()> {
        let left = self.extent.length.saturating_sub(self.position);
        self.held.resize(usize::try_from(left).unwrap_or(usize::MAX).min(length), 0);
        self.held_at = self.position;
        let at = self.extent.offset.saturating_add(self.position);
        self.files.read(self.extent.source, at, &mut self.held)
    }
}

impl Input for Window<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let got = io::Read::read(self, rest)?;
            if got == 0 {
                break;
            }
            filled = filled.saturating_add(got);
        }
        Ok(filled)
    }

    fn skip(&mut self, length: u64, _contents: bool) -> io::Result<bool> {
        let end = self.position.checked_add(length).filter(|end| *end <= self.extent.length);
        self.position = end.unwrap_or(self.extent.length);
        Ok(end.is_some())
    }
}

impl io::Read for Window<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.held().is_empty() {
            self.fetch(WINDOW.max(out.len().min(1 << 20)))?;
        }
        let held = self.held();
        let length = held.len().min(out.len());
        if let (Some(out), Some(held)) = (out.get_mut(..length), held.get(..length)) {
            out.copy_from_slice(held);
        }
        self.position = self.position.saturating_add(length as u64);
        Ok(length)
    }
}

/// The scratch file: nameless, so that nothing is left behind however the build ends.
#[derive(Debug)]
pub(super) struct Scratch<'a> {
    pub(super) folder: &'a std::path::Path,
    pub(super) limit: u64,
    file: Option<(u32, u64)>,
}

impl<'a> Scratch<'a> {
    pub(super) fn new(folder: &'a std::path::Path, limit: u64) -> Self {
        Self { folder, limit, file: None }
    }

    /// The source number and the length so far.
    pub(super) fn open(&mut self, files: &mut Files) -> Result<(u32, u64), ArchiveError> {
        if let Some(open) = self.file {
            return Ok(open);
        }
        let file = tempfile::tempfile_in(self.folder).map_err(|source| self.error(source))?;
        let open = (files.add(file), 0);
        self.file = Some(open);
        Ok(open)
    }

    /// The source number, if the file was needed.
    pub(super) fn source(&self) -> Option<u32> {
        self.file.map(|(source, _)| source)
    }

    /// Appends to the file. `open` must have been called.
    pub(super) fn append(&mut self, files: &Files, bytes: &[u8]) -> Result<(), ArchiveError> {
        let Some((source, length)) = self.file else { return Err(self.error(io::ErrorKind::NotFound.into())) };
        let end = length.saturating_add(bytes.len() as u64);
        if end > self.limit {
            return Err(ArchiveError::Bomb { limit: self.limit });
        }
        let written = files.file(source).and_then(|file| file.write_all_at(bytes, length));
        written.map_err(|source| self.error(source))?;
        self.file = Some((source, end));
        Ok(())
    }

    pub(super) fn error(&self, source: io::Error) -> ArchiveError {
        ArchiveError::Scratch { folder: self.folder.to_owned(), source }
    }
}
