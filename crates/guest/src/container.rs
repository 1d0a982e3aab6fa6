//! Starting the workload's container.
//!
//! *Takes* a [`Plan`].
//! *Guarantees* that the workload runs as `oci` and `seccomp` say, that its output goes to a pipe that the first process
//! holds or nowhere, never to the console, and that it gets no file descriptor and no environment of the guest.
//! *Does not check* the image; it is in the launch measurement.
//!
//! The runtime library forks, so it runs in a process of its own that has one thread: this very program, started again
//! under the name [`HELPER`] from a sealed copy in memory (so that nothing in a container can reach the file of the
//! running guest through `/proc/PID/exe`). The plan goes in by its standard input, one line of outcome comes back by
//! its standard output, and it ends as soon as the workload runs: the workload is then a child of the first process,
//! which takes in its exit status. `main` calls [`helper`] when its name is [`HELPER`].
//!
//! pivot_root does not work on the initramfs: the first process has moved its root to a tmpfs before it comes here.

mod runtime;

pub use runtime::helper;

use claims::Code;
use claims::workload::{Settings, WorkloadLog};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The name under which the program starts a container.
pub const HELPER: &str = "confide-start";
/// Longest line of outcome.
const MAX_OUTCOME: u64 = 64 * 1024;

/// Everything that the container is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Folder that becomes the container's root; a mount point.
    pub rootfs: PathBuf,
    /// Folder for the runtime's own state.
    pub state: PathBuf,
    /// Settings of the workload.
    pub settings: Settings,
    /// What is seen where in the container, beside the root.
    pub binds: Vec<Bind>,
}

/// A folder or file of the guest, seen in the container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bind {
    /// Where it is.
    pub source: PathBuf,
    /// Where the container sees it.
    pub target: PathBuf,
    /// What the container may do with it.
    pub access: Access,
}

/// What the container may do with a bind mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Read and run: it is sealed (`user_config`).
    Trusted,
    /// Read only; nothing there is run, followed or a device (`user_data`).
    Foreign,
    /// The same, and write.
    ForeignWritable,
    /// Write; nothing there is run (`/applog`).
    Writable,
    /// One file, read only (`/etc/hosts`). A link of the image in its place is replaced.
    File,
}

/// A container that runs.
#[derive(Debug)]
pub struct Started {
    /// Its first process, a child of this one.
    pub pid: Pid,
    /// What it writes to standard output and standard error, if the settings let it be kept.
    pub output: Option<File>,
}

/// Why the container does not run.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The settings name no command.
    #[error("the workload has no command")]
    NoCommand,
    /// The helper cannot be started.
    #[error("{what} failed")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The runtime refuses.
    #[error("the container does not start: {reason}")]
    Runtime {
        /// What the runtime says; it knows no secret.
        reason: String,
    },
    /// The helper ended without a word.
    #[error("the container's start ended without an answer")]
    Silent,
}

impl ContainerError {
    /// The stable code of the refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Io { .. } | Self::Silent => Code::Guest,
            Self::NoCommand | Self::Runtime { .. } => Code::Workload,
        }
    }
}

/// What the helper says, on one line.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Started { pid: i32 },
    Failed { reason: String },
}

impl Plan {
    /// A plan without bind mounts.
    pub fn new(rootfs: impl Into<PathBuf>, settings: Settings) -> Self {
        Self { rootfs: rootfs.into(), state: "/run/confide".into(), settings, binds: Vec::new() }
    }

    /// Adds a bind mount.
    pub fn bind(mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>, access: Access) -> Self {
        self.binds.push(Bind { source: source.into(), target: target.into(), access });
        self
    }
}

/// Starts the container and returns once its first process has been let go.
///
/// The caller is the first process of the VM (or a subreaper), takes in its children, and sees there how the container
/// ended; the helper is one of those children too.
pub fn start(plan: &Plan) -> Result<Started, ContainerError> {
    if plan.settings.command.is_empty() {
        return Err(ContainerError::NoCommand);
    }
    let failed = |what| move |source| ContainerError::Io { what, source };
    let message = serde_json::to_vec(plan).map_err(|error| failed("writing the plan")(error.into()))?;
    let program = sealed_copy().map_err(failed("copying the program"))?;
    let kept = match plan.settings.log {
        WorkloadLog::None => None,
        WorkloadLog::Applog => Some(io::pipe().map_err(failed("making the output's pipe"))?),
    };
    let (output, sink) = match kept {
        Some((reader, writer)) => (Some(File::from(std::os::fd::OwnedFd::from(reader))), Stdio::from(writer)),
        None => (None, Stdio::null()),
    };
    let mut helper = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    helper.arg0(HELPER).env_clear().current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(sink);
    let mut child = helper.spawn().map_err(failed("starting the container's helper"))?;
    // The helper's own copies are closed with `helper`, so that the pipe ends with the workload.
    drop(helper);
    // A helper that ended early says why by its outcome, or by none.
    let handed_over = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(&message));
    let mut line = Vec::new();
    if let Some(answer) = child.stdout.take() {
        answer.take(MAX_OUTCOME).read_to_end(&mut line).map_err(failed("reading the outcome"))?;
    }
    match serde_json::from_slice(&line) {
        Ok(Outcome::Started { pid }) => {
            let pid = Pid::from_raw(pid).ok_or(ContainerError::Silent)?;
            Ok(Started { pid, output })
        }
        Ok(Outcome::Failed { reason }) => Err(ContainerError::Runtime { reason }),
        Err(_) => handed_over.map_err(failed("handing over the plan")).and(Err(ContainerError::Silent)),
    }
}

/// This program, in memory that nobody can write to.
fn sealed_copy() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create(HELPER, flags)?);
    io::copy(&mut File::open("/proc/self/exe")?, &mut copy)?;
    copy.rewind()?;
    rustix::fs::fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(copy)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use claims::workload::{Limits, User, UserData};

    pub(crate) fn settings(command: &[&str]) -> Settings {
        Settings {
            version: 1,
            name: "hello".into(),
            role: None,
            command: command.iter().map(|&word| word.into()).collect(),
            environment: vec!["PATH=/bin".into(), "GREETING=hello".into()],
            folder: "/".into(),
            user: User { uid: 1000, gid: 1000, groups: vec![] },
            stop_signal: 15,
            limits: Limits { memory_bytes: None, processes: 64 },
            log: WorkloadLog::Applog,
            user_data: UserData::ReadOnly,
            gpu: false,
        }
    }

    #[test]
    fn a_workload_without_a_command_is_refused() {
        let outcome = start(&Plan::new("/", settings(&[])));
        assert!(matches!(outcome, Err(ContainerError::NoCommand)), "{outcome:?}");
    }

    #[test]
    fn the_copy_of_the_program_cannot_be_written() {
        let mut copy = sealed_copy().unwrap();
        assert_eq!(copy.metadata().unwrap().len(), std::fs::metadata("/proc/self/exe").unwrap().len());
        assert_eq!(copy.write(b"x").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
