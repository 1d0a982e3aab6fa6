//! `confide-dev broker serve` as a process of its own.

use super::support::processor::{Launch, WORKSPACE};
use super::support::{Folder, now};
use broker::{Ready, admin_token};
use claims::UnixTime;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

/// One workspace for all tests of this program: its development roots are what every broker here believes.
static ROOTS: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let place = tempfile::tempdir().unwrap();
    WORKSPACE.set(place.path().to_owned()).unwrap();
    // Opening the processor writes the roots down.
    Launch::default().evidence([0; 64]);
    place
});

/// A broker that runs; killed when dropped.
pub(super) struct Process {
    child: Child,
    pub(super) ready: Ready,
    pub(super) admin: String,
}

/// How a broker is started.
#[derive(Default, Clone, Copy)]
pub(super) struct How<'a> {
    /// A program that starts it, and what it is told before.
    pub(super) under: &'a [String],
    pub(super) environment: &'a [(&'a str, String)],
    /// How far the broker's clock is ahead of ours, seconds: its administrators' clocks are, too.
    pub(super) ahead: i64,
    /// Another folder than the one of `Folder`.
    pub(super) folder: Option<&'a Path>,
}

impl Process {
    pub(super) fn start(folder: &Folder) -> Self {
        Self::start_as(folder, &How::default())
    }

    pub(super) fn start_as(folder: &Folder, how: &How<'_>) -> Self {
        Self::try_start(folder, how).unwrap_or_else(|| panic!("the broker does not start; its words are above"))
    }

    /// None when it ends before it says where it listens.
    pub(super) fn try_start(folder: &Folder, how: &How<'_>) -> Option<Self> {
        let settings = how.folder.unwrap_or(folder.path()).join("broker.toml");
        let program = env!("CARGO_BIN_EXE_confide-dev").to_owned();
        let line: Vec<String> = how.under.iter().cloned().chain([program]).collect();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).args(["--quiet", "broker", "serve", "--dev", "--listen", "127.0.0.1:0"]);
        command
            .arg("--workspace")
            .arg(ROOTS.path())
            .arg("--config")
            .arg(settings)
            .envs(how.environment.iter().cloned());
        // Errors are wanted, the log is not.
        command.env("CONFIDE_LOG", "error").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", line[0]));
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        if address.is_empty() {
            let _ = child.wait();
            return None;
        }
        let address = address.trim().parse().unwrap_or_else(|error| panic!("{address}: {error}"));
        let ready = Ready { address, url: format!("https://{address}"), identity: folder.facts.identity };
        let time = UnixTime(now().0.saturating_add_signed(how.ahead));
        let admin = admin_token(&std::fs::read(&folder.facts.admin_key).unwrap(), "admin", time, 7200).unwrap();
        Some(Self { child, ready, admin })
    }

    /// SIGKILL: no chance to write anything down.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Bytes in memory.
    pub(super) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(self.place("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// A file of the process, as `root`.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
