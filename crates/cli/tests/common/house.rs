//! Where a test builds and boots: a folder with a workspace of its own, the programs, and the parts of a guest.

use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Ends what was started when it goes, and shows the logs of a test that failed.
pub(crate) struct House {
    pub(crate) folder: tempfile::TempDir,
    guest: PathBuf,
    /// For each command, beside the workspace.
    pub(crate) environment: BTreeMap<&'static str, OsString>,
}

impl House {
    /// None, and a line that says why, where something is missing.
    pub(crate) fn open() -> Option<Self> {
        let guest = Path::new(env!("CARGO_BIN_EXE_confide-dev")).with_file_name("confide-guest");
        if !guest.exists() {
            println!("skipped: {} is not there; scripts/build.sh makes it", guest.display());
            return None;
        }
        let set_up = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/setup.sh");
        let parts = Command::new("bash").arg(set_up).arg("--check").output().unwrap();
        if !parts.status.success() {
            println!("skipped: {}", String::from_utf8_lossy(&parts.stderr).trim());
            return None;
        }
        Some(Self { folder: tempfile::tempdir().unwrap(), guest, environment: BTreeMap::new() })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `up` and `build` take the guest from here.
    pub(crate) fn guest(&self) -> &str {
        self.guest.to_str().unwrap()
    }

    /// `confide-dev`, with the workspace of this house.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_confide-dev"));
        command
            .args(arguments)
            .env("CONFIDE_WORKSPACE", self.path("workspace"))
            .env("CONFIDE_BROKER_DIR", self.path("workspace/broker"))
            .envs(&self.environment);
        // Another broker of this machine may have the usual port.
        if let Ok(running) = std::fs::read(self.path("workspace/running.json")) {
            let running: Value = serde_json::from_slice(&running).unwrap();
            command.env("CONFIDE_BROKER_URL", format!("https://{}", running["broker_address"].as_str().unwrap()));
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command that must succeed prints with `--json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}\n{}", words(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let output = self.run(&["down"]);
        if std::thread::panicking() {
            for log in ["workspace/vm.log", "workspace/broker.log"] {
                let said = std::fs::read(self.path(log)).unwrap_or_default();
                println!("== {log}\n{}", String::from_utf8_lossy(&said));
            }
            println!("== down\n{}", words(&output));
        }
    }
}

/// All that a command said.
pub(crate) fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
