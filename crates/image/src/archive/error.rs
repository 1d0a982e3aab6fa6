//! Why an archive is refused.

use super::tar::TarError;
use claims::{Code, Digest256};
use std::io;
use std::path::PathBuf;

/// An archive that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The scratch file beside the output cannot be written.
    #[error("cannot write a temporary file in {}", folder.display())]
    Scratch {
        /// Its folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Neither a docker archive nor an OCI layout.
    #[error("{} is neither what `docker save` writes nor an OCI layout: {why}", path.display())]
    NotAnArchive {
        /// The file or folder.
        path: PathBuf,
        /// What it lacks.
        why: &'static str,
    },
    /// Compressed by something else than gzip or zstd.
    #[error("{what} is compressed with {with}; gzip and zstd are read")]
    Compression {
        /// What is compressed.
        what: String,
        /// By what.
        with: &'static str,
    },
    /// Compressed data that is damaged or ends early.
    #[error("{what} is damaged or truncated")]
    Damaged {
        /// What is compressed.
        what: String,
        /// The decoder's error.
        #[source]
        source: io::Error,
    },
    /// The archive's tar file has no single reading, or is truncated.
    #[error("the archive cannot be read: {0}")]
    Tar(#[source] TarError),
    /// The archive's tar file stops without the mark that ends it.
    #[error("the archive is truncated: it has no end mark")]
    NoEnd,
    /// Two members have one name.
    #[error("the archive holds `{name}` twice")]
    Doubled {
        /// The name.
        name: String,
    },
    /// A file that a manifest names is not there.
    #[error("{what} is missing: the archive has no `{name}`")]
    Missing {
        /// What it is.
        what: String,
        /// Its name in the archive.
        name: String,
    },
    /// A JSON document that is malformed.
    #[error("{what} is not the JSON wanted")]
    Document {
        /// Its name.
        what: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A JSON document that is too long.
    #[error("{what} is longer than {limit} bytes")]
    DocumentSize {
        /// Its name.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// Too many of something.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// More data than is allowed once it is decompressed.
    #[error("the archive unpacks to more than {limit} bytes")]
    Bomb {
        /// The limit.
        limit: u64,
    },
    /// A digest that is no SHA-256.
    #[error("`{digest}` is not a SHA-256 digest (sha256: and 64 lower-case hex digits)")]
    Algorithm {
        /// The digest.
        digest: String,
    },
    /// Bytes that do not have the digest that names them.
    #[error("{what} has SHA-256 {got}, wanted {wanted}")]
    Digest {
        /// What it is.
        what: String,
        /// Computed.
        got: Digest256,
        /// Named.
        wanted: Digest256,
    },
    /// A blob of another length than its descriptor says.
    #[error("{what} has {got} bytes, its descriptor says {wanted}")]
    Length {
        /// What it is.
        what: String,
        /// Found.
        got: u64,
        /// Named.
        wanted: u64,
    },
    /// Documents that contradict each other.
    #[error("{what} cannot be believed: {why}")]
    Contradiction {
        /// The document.
        what: String,
        /// The contradiction.
        why: &'static str,
    },
    /// A media type that is not read.
    #[error("{what} has the media type `{media_type}`, which is not supported")]
    MediaType {
        /// What it is.
        what: String,
        /// Its type.
        media_type: String,
    },
    /// A layer's bytes are not what its media type says.
    #[error("{what} is {found}, but its media type is `{media_type}`")]
    Confusion {
        /// The layer.
        what: String,
        /// What its first bytes are.
        found: &'static str,
        /// Its type.
        media_type: String,
    },
    /// An encrypted layer.
    #[error("{what} is encrypted; save the image decrypted")]
    Encrypted {
        /// The layer.
        what: String,
    },
    /// Indexes within indexes.
    #[error("indexes are nested more than {limit} deep")]
    Depth {
        /// The limit.
        limit: u32,
    },
    /// Several images, and nothing that chooses.
    #[error("the archive holds several images: {}; name one of them", names.join(", "))]
    Ambiguous {
        /// Their names.
        names: Vec<String>,
    },
    /// No image of the name asked for.
    #[error("the archive has no image `{wanted}`; it holds {}", names.join(", "))]
    NoSuchImage {
        /// The name asked for.
        wanted: String,
        /// The names that are there.
        names: Vec<String>,
    },
    /// Another platform.
    #[error("the image is for {}, wanted linux/amd64", platforms.join(", "))]
    Platform {
        /// The platforms that are there.
        platforms: Vec<String>,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl ArchiveError {
    /// The code of the refusal, where it is one and not the machine's trouble.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Read { .. } | Self::Scratch { .. } | Self::Cancelled | Self::Tar(TarError::Io(_)) => None,
            Self::Algorithm { .. } | Self::Digest { .. } | Self::Length { .. } => Some(Code::Digest),
            Self::Ambiguous { .. } | Self::NoSuchImage { .. } | Self::Platform { .. } | Self::Depth { .. } => {
                Some(Code::Pin)
            }
            _ => Some(Code::Image),
        }
    }
}
