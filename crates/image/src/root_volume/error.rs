//! Why a root volume is not made.

use crate::archive::ArchiveError;
use crate::overlay::LayerError;
use crate::qcow2::PlanError;
use claims::Code;
use sealed::ext4::LayoutError;
use sealed::seal::SealError;
use sealed::tree::TreeError;
use std::path::PathBuf;

/// A root volume that was not made; nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootVolumeError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// An entry of a layer.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A file that is added does not fit to what is in the image.
    #[error("a file of Confide does not fit into the image")]
    Added(#[from] TreeError),
    /// The files do not make a volume.
    #[error("the image does not fit into a volume")]
    Layout(#[from] LayoutError),
    /// The drive is too small.
    #[error(
        "the root drive is too small: the image needs {needed} bytes ({:.2} GB), root_drive_size gives {given} \
         ({:.2} GB)", gigabytes(*needed), gigabytes(*given)
    )]
    TooSmall {
        /// Bytes needed, with a little room to write.
        needed: u64,
        /// Bytes of the drive.
        given: u64,
    },
    /// The drive's size is not possible.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The drive's file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Sealing failed.
    #[error("the root volume cannot be sealed")]
    Seal(#[from] SealError),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl RootVolumeError {
    /// The code of the refusal, where it is one and not the machine's trouble.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Archive(error) => error.code(),
            Self::Layer(error) => error.code(),
            Self::Added(_) | Self::Layout(_) => Some(Code::Image),
            Self::TooSmall { .. } | Self::Plan(_) => Some(Code::Drive),
            Self::Write { .. } | Self::Seal(_) | Self::Cancelled => None,
        }
    }
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// A user that the image does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No such user.
    #[error("user `{name}` is not in the image's /etc/passwd")]
    User {
        /// The name.
        name: String,
    },
    /// No such group.
    #[error("group `{name}` is not in the image's /etc/group")]
    Group {
        /// The name.
        name: String,
    },
}

impl UserError {
    /// Always `E-WORKLOAD`.
    pub fn code(&self) -> Code {
        Code::Workload
    }
}
