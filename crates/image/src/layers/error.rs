//! Why a layer has no root hash.

use crate::archive::ArchiveError;
use claims::{Code, Finding, Refusal};
use std::io;

/// A layer that hcsshim's tar2ext4 refuses, too.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The tar file cannot be read.
    #[error("cannot read the layer")]
    Read(#[source] io::Error),
    /// The image or the repacked layer cannot be written.
    #[error("cannot write the result")]
    Write(#[source] io::Error),
    /// The tar file ends inside of an entry.
    #[error("unexpected EOF: the layer ends inside of the entry at byte {at}")]
    Truncated {
        /// Offset of the entry's first header.
        at: u64,
    },
    /// A header that Go's archive/tar does not accept.
    #[error("invalid tar header at byte {at}: {what}")]
    Header {
        /// Offset of the entry's first header.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Extended headers that are too long.
    #[error("header field too long: an extended header at byte {at} has more than 1 MiB")]
    Extension {
        /// Offset of the entry's first header.
        at: u64,
    },
    /// A sparse map that is too long.
    #[error("sparse map too long: the one at byte {at} has more than 1 MiB")]
    SparseMap {
        /// Offset of the entry's first header.
        at: u64,
    },
    /// A sparse file with less data than its map says.
    #[error("sparse file references non-existent data: the entry at byte {at} has less than its map says")]
    SparseMissing {
        /// Offset of the entry's first header.
        at: u64,
    },
    /// A sparse file with more data than its map says.
    #[error("sparse file contains unreferenced data: the entry at byte {at} has more than its map says")]
    SparseUnreferenced {
        /// Offset of the entry's first header.
        at: u64,
    },
    /// A name that ext4 cannot hold.
    #[error("{name}: invalid name: a part has more than 255 bytes")]
    Name {
        /// The path.
        name: String,
    },
    /// A path that is too long to be repacked.
    #[error("{name}: the path has more than 4096 bytes")]
    PathLength {
        /// The path.
        name: String,
    },
    /// A path through something that is no folder.
    #[error("{name}: path not found: a part of it is no folder")]
    NoFolder {
        /// The path.
        name: String,
    },
    /// A hard link to what is not in this layer.
    #[error("{name}: file not found in this layer")]
    NoTarget {
        /// The target.
        name: String,
    },
    /// A file in the place of a folder.
    #[error("{name}: cannot replace a directory with a file")]
    FileOverFolder {
        /// The path.
        name: String,
    },
    /// A folder in the place of a file.
    #[error("{name}: cannot replace a file with a directory")]
    FolderOverFile {
        /// The path.
        name: String,
    },
    /// A second entry for a path whose first one had contents.
    #[error("{name}: cannot overwrite file with non-inline data")]
    Overwrite {
        /// The path.
        name: String,
    },
    /// A hard link in the place of a file with no other name, or of a folder.
    #[error("{name}: cannot orphan existing file or directory")]
    Orphan {
        /// The path.
        name: String,
    },
    /// A hard link to a folder.
    #[error("{name}: link target cannot be a directory: {target}")]
    LinkToFolder {
        /// The path.
        name: String,
        /// The target.
        target: String,
    },
    /// More names for one file than ext4 counts.
    #[error("{name}: link target would exceed maximum link count: {target} has 65000 names")]
    Links {
        /// The path.
        name: String,
        /// The target.
        target: String,
    },
    /// More folders in a folder than ext4 counts.
    #[error("{name}: exceeded parent directory maximum link count: the folder holds 65000 folders")]
    Folders {
        /// The path.
        name: String,
    },
    /// An extended attribute for which inode and block have no room.
    #[error("{name}: could not fit xattr {xattr}")]
    Xattr {
        /// The path.
        name: String,
        /// Its name.
        xattr: String,
    },
    /// An extended attribute that cannot be read back, because its name has more than 255 bytes.
    #[error("{name}: an extended attribute's name has more than 255 bytes")]
    XattrName {
        /// The path.
        name: String,
    },
    /// A file of more than 128 GiB.
    #[error("{name}: file too big: {size} bytes, at most 128 GiB")]
    FileSize {
        /// The path.
        name: String,
        /// Its size.
        size: u64,
    },
    /// An image of more than 128 GiB.
    #[error("disk exceeded maximum size of {} bytes", super::MAX_DISK)]
    DiskSize,
    /// More entries than are worth a layer.
    #[error("the layer has more than {limit} files and folders")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// An opaque whiteout in the place of a file that has contents under another name.
    #[error("{name}: did not write the right amount: an opaque whiteout names a file, not a folder")]
    OpaqueFile {
        /// The path.
        name: String,
    },
    /// An opaque whiteout in the place of a long symbolic link.
    #[error("{name}: cannot retrieve link information: an opaque whiteout names a link, not a folder")]
    OpaqueLink {
        /// The path.
        name: String,
    },
    /// The archive around the layers.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// One layer of several.
    #[error("layer {number} (sha256:{digest})")]
    At {
        /// Counted from 1, base first.
        number: usize,
        /// SHA-256 of its tar file.
        digest: claims::Digest256,
        /// Why.
        #[source]
        source: Box<LayerError>,
    },
}

impl LayerError {
    /// The code of the refusal, where it is one and not the machine's trouble.
    pub fn refusal(&self) -> Option<Code> {
        match self {
            Self::Read(_) | Self::Write(_) => None,
            Self::Archive(error) => error.code(),
            Self::At { source, .. } => source.refusal(),
            error => Some(error.code()),
        }
    }

    /// The words that hcsshim (or Go's archive/tar) uses for this refusal, where it knows it.
    pub fn class(&self) -> Option<&'static str> {
        Some(match self {
            Self::Truncated { .. } => "unexpected EOF",
            Self::Header { .. } => "invalid tar header",
            Self::Extension { .. } => "header field too long",
            Self::SparseMap { .. } => "sparse map too long",
            Self::SparseMissing { .. } => "sparse file references non-existent data",
            Self::SparseUnreferenced { .. } => "sparse file contains unreferenced data",
            Self::Name { .. } => "invalid name",
            Self::NoFolder { .. } => "path not found",
            Self::NoTarget { .. } => "file not found",
            Self::FileOverFolder { .. } => "cannot replace a directory with a file",
            Self::FolderOverFile { .. } => "cannot replace a file with a directory",
            Self::Overwrite { .. } => "cannot overwrite file with non-inline data",
            Self::Orphan { .. } => "cannot orphan existing file or directory",
            Self::LinkToFolder { .. } => "link target cannot be a directory",
            Self::Links { .. } => "link target would exceed maximum link count",
            Self::Folders { .. } => "exceeded parent directory maximum link count",
            Self::Xattr { .. } => "could not fit xattr",
            Self::FileSize { .. } => "file too big",
            Self::DiskSize => "disk exceeded maximum size",
            Self::OpaqueFile { .. } => "did not write the right amount",
            Self::OpaqueLink { .. } => "cannot retrieve link information",
            Self::At { source, .. } => return source.class(),
            Self::Read(_)
            | Self::Write(_)
            | Self::XattrName { .. }
            | Self::PathLength { .. }
            | Self::TooMany { .. }
            | Self::Archive(_) => return None,
        })
    }
}

impl Refusal for LayerError {
    fn code(&self) -> Code {
        match self {
            Self::Truncated { .. }
            | Self::Header { .. }
            | Self::Extension { .. }
            | Self::SparseMap { .. }
            | Self::SparseMissing { .. }
            | Self::SparseUnreferenced { .. } => Code::LayerTar,
            Self::Name { .. } | Self::PathLength { .. } => Code::Layer,
            Self::NoFolder { .. }
            | Self::FileOverFolder { .. }
            | Self::FolderOverFile { .. }
            | Self::Overwrite { .. }
            | Self::Orphan { .. }
            | Self::OpaqueFile { .. }
            | Self::OpaqueLink { .. } => Code::LayerConflict,
            Self::NoTarget { .. } | Self::LinkToFolder { .. } => Code::LayerLink,
            Self::Xattr { .. } | Self::XattrName { .. } => Code::LayerXattr,
            Self::Links { .. }
            | Self::Folders { .. }
            | Self::FileSize { .. }
            | Self::DiskSize
            | Self::TooMany { .. } => Code::LayerSize,
            Self::At { source, .. } => source.code(),
            Self::Archive(error) => error.code().unwrap_or(Code::Image),
            Self::Read(_) | Self::Write(_) => Code::Image,
        }
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::FileSize { name, size } => Some(Finding::new(name.as_str(), size, format!("<= {}", super::MAX_DISK))),
            Self::At { source, .. } => source.finding(),
            _ => None,
        }
    }
}
