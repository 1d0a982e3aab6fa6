//! Why nothing was built.

use super::{CommandLineError, HostFileError};
use crate::firmware::FirmwareRefusal;
use crate::initrd::InitrdError;
use crate::modules::ModulesError;
use crate::root_volume::{RootVolumeError, UserError};
use crate::workload::SettingsProblem;
use claims::Code;
use measure::snp::MeasureError;
use sealed::ext4::LayoutError;
use sealed::seal::SealError;
use std::io;
use std::path::PathBuf;

/// Why nothing was built. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The output is there already.
    #[error("{} exists already; remove it or name another", path.display())]
    Exists {
        /// The folder or file.
        path: PathBuf,
    },
    /// An input cannot be read.
    #[error("cannot read {what} {}", path.display())]
    Read {
        /// What it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The result cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel lacks something, or its modules are another kernel's.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// The firmware would not measure the kernel.
    #[error(transparent)]
    Firmware(#[from] FirmwareRefusal),
    /// The initrd cannot be packed.
    #[error(transparent)]
    Initrd(#[from] InitrdError),
    /// The container archive cannot be used, or the root volume cannot be made of it.
    #[error(transparent)]
    Root(RootVolumeError),
    /// Image and workload file together cannot be started.
    #[error(transparent)]
    Settings(#[from] SettingsProblem),
    /// The user to run as is not in the image.
    #[error("{0}; name a numeric id with `user:` in the workload file")]
    User(#[from] UserError),
    /// A file for a drive cannot be used.
    #[error(transparent)]
    HostFile(#[from] HostFileError),
    /// A drive cannot hold what is to be on it.
    #[error("the {drive} drive cannot be made")]
    Layout {
        /// The drive.
        drive: &'static str,
        /// Why.
        #[source]
        source: LayoutError,
    },
    /// A drive is too small.
    #[error(
        "the {drive} drive needs {} MB and has {} MB; give it {} GB more with {drive}_drive_size",
        wanted.div_ceil(1 << 20), got >> 20, (wanted - got).div_ceil(1 << 30)
    )]
    DriveTooSmall {
        /// The drive.
        drive: &'static str,
        /// Bytes it needs.
        wanted: u64,
        /// Bytes it has.
        got: u64,
    },
    /// A drive cannot be sealed.
    #[error("the {drive} drive cannot be sealed")]
    Seal {
        /// The drive.
        drive: &'static str,
        /// Why.
        #[source]
        source: SealError,
    },
    /// The command line is not allowed.
    #[error(transparent)]
    CommandLine(#[from] CommandLineError),
    /// There is no launch measurement for this.
    #[error("the launch measurement cannot be computed")]
    Measure(#[from] MeasureError),
    /// The site file would be larger than a guest reads.
    #[error("site.json would have {got} bytes, the guest reads {}", claims::site::MAX_LENGTH)]
    SiteTooLarge {
        /// Its length.
        got: usize,
    },
    /// The caller asked to stop.
    #[error("the build was cancelled; nothing was left behind")]
    Cancelled,
    /// A fault of this program.
    #[error("this should not happen, please report it: {what}")]
    Internal {
        /// What.
        what: String,
    },
}

impl From<RootVolumeError> for BuildError {
    fn from(error: RootVolumeError) -> Self {
        match error {
            RootVolumeError::Cancelled => Self::Cancelled,
            other => Self::Root(other),
        }
    }
}

impl BuildError {
    /// The code of the refusal, where it is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Modules(error) => error.code(),
            Self::Firmware(error) => Some(error.code()),
            Self::Root(error) => error.code(),
            Self::Settings(_) | Self::User(_) => Some(Code::Workload),
            Self::CommandLine(error) => Some(error.code()),
            Self::Measure(error) => Some(error.code()),
            Self::DriveTooSmall { .. } | Self::Layout { .. } => Some(Code::Drive),
            Self::Exists { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Initrd(_)
            | Self::HostFile(_)
            | Self::Seal { .. }
            | Self::SiteTooLarge { .. }
            | Self::Cancelled
            | Self::Internal { .. } => None,
        }
    }
}
