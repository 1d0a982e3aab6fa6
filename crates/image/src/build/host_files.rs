//! Files and folders of the host as part of a tree: for `user_config`, and for `confide data add`.
//!
//! Owner, times and attributes are dropped, and permissions become 0755 or 0644, so that the same files give the same
//! drive on every machine. Links stay links; devices, pipes and sockets are refused.

use sealed::ext4::Sources;
use sealed::tree::{Content, Kind, Meta, Tree, TreeError};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A host file that cannot go onto a drive.
#[derive(Debug, thiserror::Error)]
pub enum HostFileError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A device, pipe or socket.
    #[error("{} is neither file, folder nor link", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// A name that a drive cannot have.
    #[error("{} cannot be put onto a drive", path.display())]
    Tree {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TreeError,
    },
    /// More files than a drive is made for.
    #[error("there are more than {MAX_FILES} files below {}", path.display())]
    TooMany {
        /// Where counting stopped.
        path: PathBuf,
    },
}

/// The files whose bytes a tree points at: source `first + n` is the n-th.
pub(crate) struct HostFiles {
    first: u32,
    paths: Vec<PathBuf>,
    /// The file read last: a volume is read file by file.
    open: Mutex<Option<(u32, Arc<File>)>>,
}

impl HostFiles {
    /// No files yet; their source numbers count from `first`.
    pub(crate) fn new(first: u32) -> Self {
        Self { first, paths: Vec::new(), open: Mutex::new(None) }
    }

    /// Puts the host's `from` into `tree` as `to`, with everything below it. A link at `from` itself is followed.
    pub(crate) fn add(&mut self, tree: &mut Tree, from: &Path, to: &[u8]) -> Result<(), HostFileError> {
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| HostFileError::Read { path, source }
        };
        let metadata = std::fs::metadata(from).map_err(read(from))?;
        let mut waiting = vec![(from.to_owned(), to.to_owned(), metadata)];
        while let Some((path, name, metadata)) = waiting.pop() {
            let kind = metadata.file_type();
            let (mode, kind) = if kind.is_dir() {
                for entry in std::fs::read_dir(&path).map_err(read(&path))? {
                    let entry = entry.map_err(read(&path))?;
                    let metadata = entry.metadata().map_err(read(&entry.path()))?;
                    let below = [name.as_slice(), b"/", entry.file_name().as_bytes()].concat();
                    waiting.push((entry.path(), below, metadata));
                }
                (0o755, Kind::Folder)
            } else if kind.is_symlink() {
                let target = std::fs::read_link(&path).map_err(read(&path))?;
                (0o777, Kind::Link(target.into_os_string().as_bytes().to_vec()))
            } else if kind.is_file() {
                let mode = if metadata.mode() & 0o100 != 0 { 0o755 } else { 0o644 };
                (mode, Kind::File(self.content(&path, metadata.len())?))
            } else {
                return Err(HostFileError::Kind { path });
            };
            let put = tree.put(&name, Meta::plain(mode), kind);
            put.map_err(|source| HostFileError::Tree { path, source })?;
        }
        Ok(())
    }

    fn content(&mut self, path: &Path, length: u64) -> Result<Content, HostFileError> {
        let next = u32::try_from(self.paths.len()).ok().filter(|count| *count < MAX_FILES);
        let source = next.and_then(|next| self.first.checked_add(next));
        let source = source.ok_or_else(|| HostFileError::TooMany { path: path.to_owned() })?;
        self.paths.push(path.to_owned());
        Ok(Content::Source { source, offset: 0, length })
    }

    fn file(&self, source: u32) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, file)) = open.as_ref().filter(|(number, _)| *number == source) {
            debug_assert_eq!(*number, source);
            return Ok(Arc::clone(file));
        }
        let index = source.checked_sub(self.first).ok_or(io::ErrorKind::NotFound)? as usize;
        let file = Arc::new(File::open(self.paths.get(index).ok_or(io::ErrorKind::NotFound)?)?);
        *open = Some((source, Arc::clone(&file)));
        Ok(file)
    }
}

impl Sources for HostFiles {
    fn read(&self, source: u32, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file(source)?.read_exact_at(out, offset)
    }
}

const MAX_FILES: u32 = 4 << 20;
