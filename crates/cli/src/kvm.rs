//! Whether KVM works here. That `/dev/kvm` opens is not enough: on some nested hosts a guest stops at its first
//! unusual instruction, so a kernel is started for a moment and watched.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(8);

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kvm {
    /// A kernel ran.
    Works,
    /// It does not, and why.
    Broken(String),
    /// There is no `/dev/kvm`, or it may not be opened.
    Absent(String),
}

/// Tries KVM with `kernel`; the answer is kept until the machine restarts.
pub(crate) fn probe(kernel: &Path) -> Kvm {
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return Kvm::Absent(format!("/dev/kvm cannot be opened: {error}"));
    }
    let note = note_path();
    if let Some(answer) = note.as_deref().and_then(read_note) {
        return answer;
    }
    let answer = start_a_kernel(kernel);
    if let Some(path) = note {
        write_note(&path, &answer);
    }
    answer
}

fn start_a_kernel(kernel: &Path) -> Kvm {
    let child = Command::new("qemu-system-x86_64")
        .args([
            "-machine",
            "q35,accel=kvm",
            "-cpu",
            "host",
            "-m",
            "256",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ])
        .arg("-kernel")
        .arg(kernel)
        .args(["-append", "panic=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Kvm::Broken(format!("qemu-system-x86_64 does not start: {error}")),
    };
    let (tell, told) = std::sync::mpsc::channel();
    if let Some(mut errors) = child.stderr.take() {
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = errors.read(&mut chunk) {
                let text = String::from_utf8_lossy(chunk.get(..count).unwrap_or_default()).into_owned();
                if tell.send(text).is_err() {
                    return;
                }
            }
        });
    }
    let end = Instant::now() + PATIENCE;
    let mut words = String::new();
    let answer = loop {
        while let Ok(text) = told.try_recv() {
            words.push_str(&text);
        }
        if words.contains("KVM internal error") || words.contains("emulation failure") {
            break Kvm::Broken("a guest stops with an emulation failure under KVM".into());
        }
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Kvm::Works,
            Ok(Some(_)) => {
                let first = words.lines().next().unwrap_or("it gave no reason").to_owned();
                return Kvm::Broken(format!("QEMU ended: {first}"));
            }
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            Ok(None) => break Kvm::Broken("a kernel does not get through its start under KVM".into()),
            Err(error) => break Kvm::Broken(format!("QEMU cannot be watched: {error}")),
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    answer
}

fn note_path() -> Option<PathBuf> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(crate::guest_parts::cache_folder()?.join(format!("kvm-{}", boot.trim())))
}

fn read_note(path: &Path) -> Option<Kvm> {
    let text = std::fs::read_to_string(path).ok()?;
    match text.split_once('\n') {
        Some(("works", _)) => Some(Kvm::Works),
        Some(("broken", why)) => Some(Kvm::Broken(why.trim().to_owned())),
        _ => None,
    }
}

/// A note that cannot be kept only costs the next probe some seconds.
fn write_note(path: &Path, answer: &Kvm) {
    let text = match answer {
        Kvm::Works => "works\n".to_owned(),
        Kvm::Broken(why) => format!("broken\n{why}\n"),
        Kvm::Absent(_) => return,
    };
    if let Some(folder) = path.parent() {
        let _ = std::fs::create_dir_all(folder);
    }
    let _ = std::fs::write(path, text);
}
