//! Puts files on a `user_data` drive and grows it, without root, mounts or nbd.
//!
//! *Takes* a drive that anybody may have written to, and files of this host.
//! *Guarantees* that the drive is replaced by a whole new one or stays as it was; what was on it is kept, of two things
//! with one name the added one wins.
//! *Does not check* the data: the guest treats the drive as hostile.

use crate::build::{
    HostFileError, HostFiles, PlainError, REMOTE_DATA, REMOTE_DATA_FILE, Unfinished, create, data_options, write_plain,
};
use crate::inspect::{InspectError, Volume};
use claims::Code;
use sealed::FileDevice;
use sealed::ext4::{Layout, LayoutError, ReadError, VolumeSources};
use sealed::tree::{Kind, Meta, Tree, TreeError};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What to add to which drive.
pub struct Request<'a> {
    /// The drive's qcow2 file (a raw ext4 image works too, and becomes qcow2).
    pub drive: &'a Path,
    /// Files and folders; each appears at the top of the drive under its own name.
    pub paths: &'a [PathBuf],
    /// Size the drive is to have at least, in bytes; none keeps the size it has, if that is enough.
    pub size: Option<u64>,
    /// Asked now and then whether to give up.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// Bytes of the drive before.
    pub before: u64,
    /// Bytes of the drive now.
    pub after: u64,
    /// Files, folders and links on it now.
    pub names: u64,
}

/// Why the drive stays as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The drive cannot be read.
    #[error("the drive cannot be used")]
    Drive(#[from] InspectError),
    /// The drive was not unmounted cleanly, so part of its contents is in its journal only.
    #[error("the drive was not unmounted cleanly; mount and unmount it once, or run e2fsck on it")]
    NotClean,
    /// The drive is one that a build sealed.
    #[error("this is a sealed drive; files for it are named in the workload file")]
    Sealed,
    /// A path without a name, as `/` or `..`.
    #[error("{} has no name to appear under", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// A file to add cannot be used.
    #[error(transparent)]
    File(#[from] HostFileError),
    /// The folder for remote data does not fit to what is on the drive.
    #[error("the folder for remote data cannot be made")]
    Name(#[source] TreeError),
    /// The files do not make a drive.
    #[error("the drive cannot be made")]
    Layout(#[from] LayoutError),
    /// A file cannot be read while the drive is written.
    #[error("a file cannot be read while the drive is written")]
    Read(#[source] std::io::Error),
    /// The new drive cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The caller asked to stop.
    #[error("cancelled; the drive is as it was")]
    Cancelled,
}

impl DataError {
    /// The code of the refusal, where it is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Drive(error) => error.code(),
            Self::NotClean | Self::Sealed => Some(Code::Drive),
            _ => None,
        }
    }
}

/// Adds the files.
pub fn add(request: &Request<'_>) -> Result<Added, DataError> {
    // Opened without a key: a sealed drive is refused there.
    let volume = match Volume::open(request.drive, None) {
        Err(InspectError::KeyNeeded) => return Err(DataError::Sealed),
        volume => volume?,
    };
    let reader = volume.reader();
    if reader.needs_recovery() {
        return Err(DataError::NotClean);
    }
    let mut tree = reader.tree().map_err(read_error)?;
    tree.remove(b"lost+found");
    let mut files = HostFiles::new(1 << 31);
    for path in request.paths {
        let name = path.file_name().ok_or_else(|| DataError::NoName { path: path.clone() })?;
        let kept = tree.get(name.as_bytes()).is_some_and(|(_, kind)| *kind == Kind::Folder);
        if kept && !path.is_dir() {
            tree.remove(name.as_bytes());
        }
        files.add(&mut tree, path, name.as_bytes())?;
    }
    // A drive that somebody else made lacks the folder to mount on.
    if tree.get(REMOTE_DATA_FILE).is_some() && tree.get(REMOTE_DATA).is_none() {
        tree.put(REMOTE_DATA, Meta::plain(0o755), Kind::Folder).map_err(DataError::Name)?;
    }
    let before = reader.bytes();
    let layout = grown(&tree, before.max(request.size.unwrap_or(0)))?;
    let sources = VolumeSources { reader, others: &files };
    let wrong = |source| DataError::Write { path: request.drive.to_owned(), source };
    let unfinished = Unfinished::new(request.drive.to_owned()).map_err(|error| wrong(std::io::Error::other(error)))?;
    let file = create(unfinished.path()).map_err(|error| wrong(std::io::Error::other(error)))?;
    let device = FileDevice::new(file).map_err(wrong)?;
    write_plain(&layout, &sources, device, request.cancelled).map_err(|error| match error {
        PlainError::Read(source) => DataError::Read(source),
        PlainError::Write(source) => wrong(source),
        PlainError::Cancelled => DataError::Cancelled,
    })?;
    unfinished.keep().map_err(|error| wrong(std::io::Error::other(error)))?;
    Ok(Added { before, after: layout.bytes(), names: tree.len() })
}

fn read_error(error: ReadError) -> DataError {
    DataError::Drive(InspectError::Volume(error))
}

/// A layout of at least `size`, in steps of a GB while the files do not fit.
fn grown(tree: &Tree, size: u64) -> Result<Layout, LayoutError> {
    match Layout::plan(tree, &data_options(size)) {
        Err(LayoutError::TooSmall { wanted, got }) => {
            // A tenth more than the files need, so that there is room to write.
            let size = wanted.max(got).saturating_add(wanted / 10).next_multiple_of(GROWTH);
            Layout::plan(tree, &data_options(size))
        }
        planned => planned,
    }
}

const GROWTH: u64 = 1 << 30;
