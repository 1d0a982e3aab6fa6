//! A VM under plain emulation: kernel and modules of the guest parts, an initrd made by cpio and zstd, raw drives, and
//! a stand-in for the SNP processor that answers with unsigned reports. The guest doesn't verify its own evidence, so
//! what runs here is all that it does by itself.

use claims::{HostData, ReportData, snp_port};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a boot needs that this machine may not have.
pub(crate) struct Parts {
    pub(crate) guest: PathBuf,
    kernel: PathBuf,
    modules: PathBuf,
}

/// A drive of the VM.
pub(crate) struct Drive {
    pub(crate) serial: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// A VM to be started.
pub(crate) struct Vm<'a> {
    pub(crate) parts: &'a Parts,
    /// The program that becomes PID 1.
    pub(crate) init: &'a Path,
    pub(crate) drives: Vec<Drive>,
    pub(crate) command_line: String,
    /// HOST_DATA of the stand-in processor; none is a machine without one.
    pub(crate) host_data: Option<HostData>,
    pub(crate) network: bool,
    /// Megabytes.
    pub(crate) memory: u32,
}

/// How a VM ended.
pub(crate) struct Outcome {
    pub(crate) console: String,
    /// Contents of the drives afterwards.
    pub(crate) drives: Vec<Vec<u8>>,
}

/// Modules in load order, as the guest's list has them. Those with `optional` may miss in other kernels.
const MODULES: &[(&str, &str)] = &[
    ("required", "virtio_blk"),
    ("required", "failover"),
    ("required", "net_failover"),
    ("required", "virtio_net"),
    ("optional", "configfs"),
    ("optional", "tsm"),
    ("required", "sev-guest"),
    ("required", "xts"),
    ("required", "dm-mod"),
    ("required", "dm-crypt"),
    ("required", "dm-bufio"),
    ("optional", "reed_solomon"),
    ("required", "dm-verity"),
    ("required", "overlay"),
    ("optional", "libcrc32c"),
    ("required", "nfnetlink"),
    ("required", "nf_tables"),
    ("required", "nf_defrag_ipv4"),
    ("required", "nf_defrag_ipv6"),
    ("required", "nf_conntrack"),
    ("required", "nft_ct"),
    ("optional", "nf_reject_ipv4"),
    ("optional", "nf_reject_ipv6"),
    ("optional", "nft_reject"),
    ("optional", "nft_reject_inet"),
    ("optional", "button"),
    ("optional", "evdev"),
];

impl Parts {
    /// Finds everything, or says what is missing.
    pub(crate) fn find() -> Option<Self> {
        let missing = |what: &str| {
            println!("skipped: {what} is not here");
            None
        };
        for tool in ["qemu-system-x86_64", "cpio", "zstd"] {
            if Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
                return missing(tool);
            }
        }
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
        let folder = std::env::var_os("CONFIDE_GUEST_PARTS").map(PathBuf::from);
        let Some(folder) = folder.or(cache.map(|cache| cache.join("confide/guest-parts"))) else {
            return missing("a folder of guest parts");
        };
        let kernel = folder.join("vmlinuz");
        if !kernel.exists() {
            return missing("the guest's kernel (scripts/setup.sh fetches it)");
        }
        let guest = std::env::var_os("CONFIDE_GUEST")
            .map(PathBuf::from)
            .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/confide-guest"));
        if !guest.exists() {
            return missing("the static guest (scripts/build-guest.sh builds it)");
        }
        Some(Self { guest, kernel, modules: folder.join("modules") })
    }
}

impl Vm<'_> {
    /// Boots, and waits until the VM has ended. Panics when it runs longer than two minutes.
    pub(crate) fn run(self) -> Outcome {
        let outcome = self.attempt();
        // Seen once in some 20 boots of a loaded machine: the emulated processor resets before the kernel's first word.
        if outcome.console.trim().is_empty() { self.attempt() } else { outcome }
    }

    fn attempt(&self) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let initrd = make_initrd(folder.path(), self.init, &self.parts.modules);
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-machine",
            "q35,accel=tcg",
            "-cpu",
            "Haswell-v4,-cx16",
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
        ])
        .args(["-serial", "stdio", "-m", &self.memory.to_string()])
        .arg("-kernel")
        .arg(&self.parts.kernel)
        .arg("-initrd")
        .arg(&initrd)
        .args(["-append", &self.command_line]);
        let mut files = Vec::new();
        for (index, drive) in self.drives.iter().enumerate() {
            let file = folder.path().join(format!("drive{index}"));
            std::fs::write(&file, &drive.bytes).unwrap();
            qemu.args(["-drive", &format!("if=none,id=d{index},format=raw,file={}", file.display())]);
            qemu.args(["-device", &format!("virtio-blk-pci,drive=d{index},serial={}", drive.serial)]);
            files.push(file);
        }
        if self.network {
            qemu.args(["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile="]);
        }
        if let Some(host_data) = self.host_data {
            let socket = folder.path().join("snp");
            let listener = UnixListener::bind(&socket).unwrap();
            std::thread::spawn(move || answer_requests(&listener, host_data));
            qemu.args(["-chardev", &format!("socket,id=snp,path={}", socket.display())])
                .args(["-device", "virtio-serial-pci", "-device"])
                .arg(format!("virtserialport,chardev=snp,name={}", snp_port::PORT_NAME));
        }
        let log = folder.path().join("console");
        let child = qemu
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(std::fs::File::create(folder.path().join("errors")).unwrap())
            .spawn()
            .unwrap();
        let ended = wait(child, Duration::from_secs(120));
        let console = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).replace('\r', "");
        let errors = std::fs::read_to_string(folder.path().join("errors")).unwrap();
        println!("{console}");
        assert!(ended, "the VM did not end:\n{console}\n{errors}");
        Outcome { console, drives: files.iter().map(|file| std::fs::read(file).unwrap()).collect() }
    }
}

impl Outcome {
    /// The halt line's code and words.
    pub(crate) fn halt(&self) -> Option<(&str, &str)> {
        let line = self.console.lines().find_map(|line| line.strip_prefix("confide: halt code="))?;
        line.split_once(' ')
    }

    /// Whether a step was reached.
    pub(crate) fn reached(&self, step: &str) -> bool {
        self.console.contains(&format!("confide: step={step} "))
    }
}

/// A drive's bytes, zeros up to `length`.
pub(crate) fn padded(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(length.max(bytes.len()), 0);
    padded
}

fn wait(mut child: Child, limit: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    false
}

fn make_initrd(folder: &Path, init: &Path, modules: &Path) -> PathBuf {
    let root = folder.join("initrd");
    std::fs::create_dir_all(root.join("modules")).unwrap();
    std::fs::copy(init, root.join("init")).unwrap();
    let mut list = String::new();
    for (need, name) in MODULES {
        if let Some(file) = find_module(modules, name) {
            let file_name = file.file_name().unwrap().to_string_lossy().into_owned();
            std::fs::copy(&file, root.join("modules").join(&file_name)).unwrap();
            list.push_str(&format!("{need} {file_name}\n"));
        }
    }
    std::fs::write(root.join("modules/list"), list).unwrap();
    let image = folder.join("initrd.img");
    let pipe = format!("find . | LC_ALL=C sort | cpio -o -H newc --quiet | zstd -q -3 -o '{}'", image.display());
    assert!(Command::new("sh").args(["-c", &pipe]).current_dir(&root).status().unwrap().success());
    image
}

/// A module's file by its name, with dashes and underscores alike, compressed or not.
fn find_module(folder: &Path, name: &str) -> Option<PathBuf> {
    let wanted = name.replace('-', "_");
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find_module(&path, name) {
                return Some(found);
            }
        } else if entry.file_name().to_string_lossy().replace('-', "_").split(".ko").next() == Some(&wanted) {
            return Some(path);
        }
    }
    None
}

fn answer_requests(listener: &UnixListener, host_data: HostData) {
    for stream in listener.incoming().flatten() {
        let _ = serve(stream, host_data);
    }
}

fn serve(mut stream: UnixStream, host_data: HostData) -> std::io::Result<()> {
    loop {
        let mut request = [0; snp_port::REQUEST_LENGTH];
        stream.read_exact(&mut request)?;
        let answer = match snp_port::decode_request(&request) {
            Ok((data, _)) => snp_port::encode_response(0, &unsigned_report(&data, host_data)),
            Err(_) => snp_port::encode_response(1, &[]),
        };
        stream.write_all(&answer)?;
    }
}

/// A report of the right form, signed by nobody.
fn unsigned_report(data: &ReportData, host_data: HostData) -> Vec<u8> {
    let mut report = vec![0; 1184];
    let mut put = |at: usize, bytes: &[u8]| report[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x000, &2u32.to_le_bytes()); // version
    put(0x008, &0x30000u64.to_le_bytes()); // policy
    put(0x034, &1u32.to_le_bytes()); // ECDSA P-384
    put(0x050, data.as_bytes());
    put(0x0c0, host_data.as_bytes());
    put(0x2a0, &[1]); // R
    put(0x2e8, &[1]); // S
    report
}
