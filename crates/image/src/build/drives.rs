//! Drives as qcow2 files: plain ext4, and sealed.

use super::BuildError;
use super::staging::Staging;
use crate::qcow2::{Plan, Writer};
use claims::Digest256;
use claims::boot::LogFile;
use claims::volume::{BLOCK_SIZE, DATA_OFFSET, Drive, Geometry};
use claims::workload::WorkloadLog;
use sealed::ext4::{Layout, NoSources, Options, Size, Sources};
use sealed::seal::{Job, SealError, seal};
use sealed::tree::{Content, Kind, Meta, Tree};
use sealed::{FileDevice, WriteAt, verity};
use std::ops::Range;
use std::path::PathBuf;

/// Writes a plain ext4 image as a qcow2 file.
pub(crate) fn write_plain(
    layout: &Layout,
    sources: &dyn Sources,
    file: FileDevice,
    cancelled: &dyn Fn() -> bool,
) -> Result<(), PlainError> {
    let bytes = |range: Range<u64>| range.start * BLOCK_SIZE..range.end * BLOCK_SIZE;
    let written: Vec<Range<u64>> = layout.allocated().map(bytes).collect();
    let plan = Plan::new(layout.bytes(), &written).map_err(|error| PlainError::Write(std::io::Error::other(error)))?;
    let writer = Writer::new(plan, file).map_err(PlainError::Write)?;
    let mut buffer = vec![0; PIECE * BLOCK_SIZE as usize];
    for range in layout.allocated() {
        let mut block = range.start;
        while block < range.end {
            if cancelled() {
                return Err(PlainError::Cancelled);
            }
            let count = (range.end - block).min(PIECE as u64);
            let piece = buffer.get_mut(..(count * BLOCK_SIZE) as usize).unwrap_or_default();
            layout.fill(block, piece, sources).map_err(PlainError::Read)?;
            writer.write_all_at(block * BLOCK_SIZE, piece).map_err(PlainError::Write)?;
            block += count;
        }
    }
    Ok(())
}

/// Why a plain drive was not written.
#[derive(Debug)]
pub(crate) enum PlainError {
    /// A file on it cannot be read.
    Read(std::io::Error),
    /// The drive cannot be written.
    Write(std::io::Error),
    /// The caller gave up.
    Cancelled,
}

impl PlainError {
    pub(crate) fn of(self, path: PathBuf) -> BuildError {
        match self {
            Self::Read(source) => BuildError::Read { what: "a file for", path, source },
            Self::Write(source) => BuildError::Write { path, source },
            Self::Cancelled => BuildError::Cancelled,
        }
    }
}

/// A sealed drive to make.
pub(crate) struct SealedDrive<'a> {
    pub(crate) name: &'static str,
    pub(crate) size: u64,
    pub(crate) tree: &'a Tree,
    pub(crate) sources: &'a dyn Sources,
    pub(crate) drive: Drive,
    /// Bytes that must stay free behind the sealed data.
    pub(crate) spare: u64,
}

/// Seals a drive into the staging folder.
pub(crate) fn write_sealed(
    sealed: &SealedDrive<'_>,
    staging: &Staging,
    request: &super::Request<'_>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Geometry, BuildError> {
    let label = sealed.drive.name().to_owned();
    let uuid = uuid(&format!("{label} volume"));
    let options = Options { size: Size::Minimal, label, uuid, journal: false, time: 0 };
    let layout = Layout::plan(sealed.tree, &options)
        .map_err(|source| BuildError::Layout { drive: sealed.drive.name(), source })?;
    let sealed_end = DATA_OFFSET + (layout.blocks() + verity::tree_blocks(layout.blocks())) * BLOCK_SIZE;
    let wanted = sealed_end.next_multiple_of(1 << 20).saturating_add(sealed.spare);
    if wanted > sealed.size {
        return Err(BuildError::DriveTooSmall { drive: sealed.drive.name(), wanted, got: sealed.size });
    }
    let written = [0..DATA_OFFSET, DATA_OFFSET..sealed_end];
    let write = |source: std::io::Error| BuildError::Write { path: staging.path(sealed.name), source };
    let plan = Plan::new(sealed.size, &written).map_err(|error| write(std::io::Error::other(error)))?;
    let sink = Writer::new(plan, staging.device(sealed.name)?).map_err(write)?;
    let job = Job {
        layout: &layout,
        sources: sealed.sources,
        key: request.volume_key,
        drive: sealed.drive,
        sink: &sink,
        progress,
        cancelled: request.cancelled,
        threads: request.threads.max(1),
    };
    seal(&job).map_err(|error| match error {
        SealError::Cancelled => BuildError::Cancelled,
        SealError::Write { source, .. } => write(source),
        source => BuildError::Seal { drive: sealed.drive.name(), source },
    })
}

/// The log drive: an ext4 with preallocated files, whose places go onto the command line.
pub(crate) fn log_drive(size: u64, log: WorkloadLog) -> Result<(Layout, Vec<LogFile>), BuildError> {
    let mut files = vec![("boot.log", 1 << 20)];
    if log == WorkloadLog::Applog {
        files.push(("workload.log", 16 << 20));
        files.push(("applog.tar", (size / 2).min(256 << 20)));
    }
    let mut tree = Tree::new(Meta::plain(0o755));
    let wrong = |source| BuildError::Layout { drive: "applog", source };
    for (name, length) in &files {
        // These names are plain; a tree that refuses them is a fault of this program.
        tree.put(name.as_bytes(), Meta::plain(0o644), Kind::File(Content::Zeros(*length)))
            .map_err(|error| BuildError::Internal { what: error.to_string() })?;
    }
    let options =
        Options { size: Size::Bytes(size), label: "applog".into(), uuid: uuid("applog"), journal: false, time: 0 };
    let layout = Layout::plan(&tree, &options).map_err(wrong)?;
    let place = |(name, length): &(&str, u64)| match layout.extents_of(name.as_bytes()).as_slice() {
        [range] if range.end - range.start == *length => {
            Ok(LogFile { name: (*name).to_owned(), offset: range.start, length: *length })
        }
        _ => Err(BuildError::Internal { what: format!("{name} does not lie in one piece") }),
    };
    let places = files.iter().map(place).collect::<Result<_, _>>()?;
    Ok((layout, places))
}

/// The data drive: with a journal, for people to fill; on it is only the folder that remote data is mounted on.
pub(crate) fn data_drive(size: u64) -> Result<Layout, BuildError> {
    let mut tree = Tree::new(Meta::plain(0o755));
    tree.put(REMOTE_DATA, Meta::plain(0o755), Kind::Folder)
        .map_err(|error| BuildError::Internal { what: error.to_string() })?;
    let layout = Layout::plan(&tree, &data_options(size));
    layout.map_err(|source| BuildError::Layout { drive: "user_data", source })
}

/// Folder of a data drive on which the guest mounts what `ext_mount.conf` names. The guest cannot make it itself: the
/// drive is mounted read-only.
pub(crate) const REMOTE_DATA: &[u8] = b"mnt";
/// The file beside it that names an export.
pub(crate) const REMOTE_DATA_FILE: &[u8] = b"ext_mount.conf";

/// How every data drive is made.
pub(crate) fn data_options(size: u64) -> Options {
    Options { size: Size::Bytes(size), label: "user_data".into(), uuid: uuid("user_data"), journal: true, time: 0 }
}

/// Writes a drive that holds only what the layout itself says.
pub(crate) fn write_empty(
    layout: &Layout,
    name: &'static str,
    staging: &Staging,
    cancelled: &dyn Fn() -> bool,
) -> Result<(), BuildError> {
    write_plain(layout, &NoSources, staging.device(name)?, cancelled).map_err(|error| error.of(staging.path(name)))
}

/// A UUID (version 8, RFC 9562) made of a name: builds have no randomness.
fn uuid(name: &str) -> [u8; 16] {
    let digest = Digest256::of(format!("confide/v1/uuid/{name}").as_bytes());
    let mut uuid = [0; 16];
    uuid.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut uuid;
    *version = *version & 0x0F | 0x80;
    *variant = *variant & 0x3F | 0x80;
    uuid
}

/// Blocks written at once.
const PIECE: usize = 256;
