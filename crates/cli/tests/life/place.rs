//! Where a test works: a folder, the programs, an image, and a QEMU that lets the test in where a user has no need to.

use crate::house::House;
use claims::Digest256;
use serde_json::json;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for anything; a loaded machine needs a part of it.
const PATIENCE: Duration = Duration::from_secs(300);

/// A house whose QEMU is wrapped.
pub(crate) struct Place(House);

impl Deref for Place {
    type Target = House;

    fn deref(&self) -> &House {
        &self.0
    }
}

impl Place {
    /// None, and a line that says why, where something is missing.
    pub(crate) fn open() -> Option<Self> {
        let mut place = Self(House::open()?);
        place.wrap_qemu();
        Some(place)
    }

    /// Added to QEMU's `-netdev` option, commas included.
    pub(crate) fn set_network(&mut self, options: String) {
        self.0.environment.insert("TEST_NETWORK", options.into());
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts a command in the background, with what it says in `log`.
    pub(crate) fn start(&self, arguments: &[&str], log: &str) -> Started {
        let file = std::fs::File::create(self.path(log)).unwrap();
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Started { child: command.spawn().unwrap(), log: self.path(log) }
    }

    /// A container archive in the layout of `docker save` before Docker 25: busybox, `files`, and `run.sh` to start.
    pub(crate) fn image(&self, name: &str, script: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let busybox = std::fs::read("/usr/bin/busybox").unwrap();
        let mut layer = tar::Builder::new(Vec::new());
        let entry = |layer: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            layer.append_data(&mut header, name, bytes).unwrap();
        };
        entry(&mut layer, "bin/busybox", 0o755, &busybox);
        entry(&mut layer, "run.sh", 0o755, script.as_bytes());
        entry(&mut layer, "etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n");
        for (name, bytes) in files {
            entry(&mut layer, name, 0o644, bytes);
        }
        for name in ["sh", "cat", "ls", "nc", "httpd", "wget", "sleep", "grep", "touch", "mkdir"] {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            layer.append_link(&mut header, format!("bin/{name}"), "busybox").unwrap();
        }
        let layer = layer.into_inner().unwrap();
        let sum = Digest256::of(&layer);
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": { "Entrypoint": ["/run.sh"], "User": "app", "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{sum}")] },
        });
        let inside = format!("{sum}/layer.tar");
        let manifest = json!([{ "Config": "config.json", "RepoTags": ["life:latest"], "Layers": [inside] }]);
        let mut archive = tar::Builder::new(Vec::new());
        entry(&mut archive, "config.json", 0o644, config.to_string().as_bytes());
        entry(&mut archive, "manifest.json", 0o644, manifest.to_string().as_bytes());
        entry(&mut archive, &inside, 0o644, &layer);
        let path = self.path(name);
        std::fs::write(&path, archive.into_inner().unwrap()).unwrap();
        path
    }

    /// A QEMU in front of the real one, which adds to its arguments what the test asks for.
    fn wrap_qemu(&mut self) {
        let script = "#!/bin/bash\nargs=()\nfor arg in \"$@\"; do\n  case \"$arg\" in user,id=net0*) \
                      arg+=\"$TEST_NETWORK\" ;; esac\n  args+=(\"$arg\")\ndone\nPATH=\"${PATH#*:}\"\n\
                      exec qemu-system-x86_64 \"${args[@]}\" -qmp \"unix:$TEST_MONITOR,server=on,wait=off\"\n";
        std::fs::create_dir(self.path("bin")).unwrap();
        let path = self.write("bin/qemu-system-x86_64", script);
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        let search = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let monitor = self.path("monitor");
        self.0.environment.extend([("PATH", search.into()), ("TEST_MONITOR", monitor.into())]);
    }

    /// Processes that this place's commands started and that still run: their command lines name its folder.
    pub(crate) fn processes(&self) -> Vec<String> {
        let folder = self.folder.path().to_str().unwrap();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(folder))
            .collect()
    }

    /// The folder's entries, hidden ones too.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// A command in the background.
pub(crate) struct Started {
    child: std::process::Child,
    log: PathBuf,
}

impl Started {
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits until it has said one of `words`, or has ended.
    pub(crate) fn wait_for(&mut self, any: &[&str]) {
        wait_until(&format!("{any:?} in {}", self.log.display()), || {
            let said = self.said();
            any.iter().any(|words| said.contains(words)) || self.child.try_wait().unwrap().is_some()
        });
    }

    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// The exit status, and all that it said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        wait_until("the end of a command", || self.child.try_wait().unwrap().is_some());
        (self.child.wait().unwrap().code(), self.said())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Nothing is left to end where the test came to its own end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
