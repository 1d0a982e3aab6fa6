//! The folder in which `up` keeps keys, broker, bundle, and the list of what it started.

use crate::outcome::{self, Failure, Result};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A workspace that exists.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

/// What `up` started, so that `down` ends exactly that.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Running {
    /// The broker.
    pub(crate) broker: Option<Process>,
    /// The launcher, which ends its VM.
    pub(crate) launcher: Option<Process>,
    /// Where the broker listens.
    pub(crate) broker_address: String,
}

/// A process, told apart from a later one with the same number by its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Process {
    pid: u32,
    start_ticks: u64,
}

impl Workspace {
    /// Opens `root`, making it readable for its owner only.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(|error| outcome::cannot("make", root, error))?;
        let root = root.canonicalize().map_err(|error| outcome::cannot("open", root, error))?;
        Ok(Self { root })
    }

    /// A path inside.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// 32 random bytes kept under `name`, made at the first call.
    pub(crate) fn key(&self, name: &str) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        key_file(&self.path(name), true)
    }

    /// What `up` left running, if anything.
    pub(crate) fn running(&self) -> Result<Option<Running>> {
        let path = self.path("running.json");
        if !path.exists() {
            return Ok(None);
        }
        let bytes = outcome::read(&path)?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Failure::environment(format!("{} is damaged", path.display()))
                .because(error)
                .hint("end what is still running by hand, then delete the file")
        })
    }

    /// Records what is running.
    pub(crate) fn record(&self, running: &Running) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(running)
            .map_err(|error| Failure::environment("cannot note what runs").because(error))?;
        outcome::write(&self.path("running.json"), &bytes)
    }

    /// Forgets what was running.
    pub(crate) fn forget(&self) {
        let _ = std::fs::remove_file(self.path("running.json"));
    }
}

/// Reads a 32-byte key from `path`, or makes it there if it may.
pub(crate) fn key_file(path: &Path, make: bool) -> Result<zeroize::Zeroizing<Vec<u8>>> {
    if make && !path.exists() {
        let mut key = zeroize::Zeroizing::new(vec![0; claims::volume::VOLUME_KEY_LENGTH]);
        aws_lc_rs::rand::fill(&mut key).map_err(|_| Failure::environment("the system gives no random numbers"))?;
        private_file(path, &key)?;
        return Ok(key);
    }
    let key = zeroize::Zeroizing::new(outcome::read(path)?);
    if key.len() != claims::volume::VOLUME_KEY_LENGTH {
        return Err(Failure::usage(format!("{} holds {} bytes, a volume key has 32", path.display(), key.len()))
            .hint(format!("make one with: head -c 32 /dev/urandom > {}", path.display())));
    }
    Ok(key)
}

/// Writes a new file that only its owner can read.
pub(crate) fn private_file(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| outcome::cannot("make", folder, error))?;
    }
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.map_err(|error| outcome::cannot("write", path, error))?;
    file.write_all(bytes).map_err(|error| {
        // Half a key would be refused by every later command.
        let _ = std::fs::remove_file(path);
        outcome::cannot("write", path, error)
    })
}

impl Process {
    /// The process with this number, if it runs.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, start_ticks: start_ticks(pid)? })
    }

    /// Whether this very process still runs.
    pub(crate) fn alive(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }

    /// Asks it to end, waits, then ends it. Returns whether it is gone.
    pub(crate) fn end(&self, patience: Duration) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) else { return true };
        for signal in [rustix::process::Signal::TERM, rustix::process::Signal::KILL] {
            if !self.alive() {
                return true;
            }
            let _ = rustix::process::kill_process(pid, signal);
            let end = Instant::now() + patience;
            while self.alive() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        !self.alive()
    }
}

/// Field 22 of `/proc/PID/stat` (proc(5)); a zombie counts as gone.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_a_later_one_is_not_it() {
        let me = Process::of(std::process::id()).unwrap();
        assert!(me.alive());
        assert!(!Process { start_ticks: me.start_ticks + 1, ..me }.alive());
    }

    #[test]
    fn a_key_is_made_once_and_a_short_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        let first = key_file(&path, true).unwrap();
        assert_eq!(*first, *key_file(&path, true).unwrap());
        std::fs::write(&path, b"short").unwrap();
        assert!(key_file(&path, true).unwrap_err().to_string().contains("holds 5 bytes"));
    }
}
