//! The machine: processor, kernel, tools, and the parts a guest is made of.

use super::Finding;
use crate::guest_parts;
use crate::kvm::{self, Kvm};
use std::path::{Path, PathBuf};
use std::process::Command;

const HOST: &str = "host";
const TOOLS: &str = "tools";
const PARTS: &str = "guest parts";
const GUEST: &str = "inside a TEE";

/// First QEMU with SEV-SNP.
const SNP_QEMU: (u32, u32) = (9, 1);
/// First kernel with SEV-SNP hosts.
const SNP_KERNEL: (u32, u32) = (6, 11);

/// Can this machine run SNP guests? With the emulator nothing of it is needed, so findings are notes there.
pub(super) fn hardware(emulated: bool) -> Vec<Finding> {
    let lacking = |name, found: String, fix: &str| {
        if emulated {
            Finding::note(HOST, name, found, format!("not needed by confide-dev; for confide: {fix}"))
        } else {
            Finding::missing(HOST, name, found, fix)
        }
    };
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, name)| name);
    let mut findings = vec![if processor
        .lines()
        .any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == "sev_snp"))
    {
        Finding::ok(HOST, "processor", format!("{model}, with SEV-SNP"))
    } else {
        lacking(
            "processor",
            format!("{model}, without SEV-SNP"),
            "use an AMD EPYC 7003 or later, with SEV-SNP on in the firmware's settings",
        )
    }];
    findings.push(match super::super::launch::snp_host() {
        Ok(()) => Finding::ok(HOST, "snp", "kvm_amd has SEV-SNP on"),
        Err(why) => lacking(
            "snp",
            why.to_owned(),
            "start the kernel with kvm_amd.sev=1 kvm_amd.sev_snp=1, and turn SNP on in the firmware's settings",
        ),
    });
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    findings.push(match version(&release) {
        Some(found) if found >= SNP_KERNEL => Finding::ok(HOST, "kernel", release.trim()),
        _ => lacking("kernel", format!("{} is older than 6.11", release.trim()), "use a host kernel 6.11 or later"),
    });
    findings.push(
        match guest_parts::set_up_folder().map(|folder| folder.join("vmlinuz")).filter(|kernel| kernel.exists()) {
            None => Finding::note(
                HOST,
                "kvm",
                "not tried: there is no guest kernel to try it with",
                "run `make setup` in Confide's folder",
            ),
            Some(kernel) => match kvm::probe(&kernel) {
                Kvm::Works => Finding::ok(HOST, "kvm", "a kernel runs under KVM"),
                Kvm::Broken(why) | Kvm::Absent(why) => {
                    lacking("kvm", why, "use a machine with working KVM, and join its group `kvm`")
                }
            },
        },
    );
    findings.push(gpu());
    findings.push(Finding::note(
        HOST,
        "acpi",
        "a stock guest kernel interprets the host's ACPI tables, which no measurement covers (BadAML)",
        "use a guest kernel without AML methods where the host is not trusted even with that",
    ));
    findings
}

/// Passing a GPU through fails while the host's own driver holds it.
fn gpu() -> Finding {
    let devices = std::fs::read_dir("/sys/bus/pci/devices").into_iter().flatten().flatten().map(|entry| entry.path());
    let nvidia: Vec<PathBuf> = devices
        .filter(|path| read(&path.join("vendor")) == "0x10de" && read(&path.join("class")).starts_with("0x03"))
        .collect();
    let driver = |path: &Path| {
        std::fs::read_link(path.join("driver")).ok()?.file_name().map(|name| name.to_string_lossy().into_owned())
    };
    match nvidia.iter().find(|path| driver(path).as_deref() != Some("vfio-pci")) {
        _ if nvidia.is_empty() => Finding::ok(HOST, "gpu", "no NVIDIA GPU (only needed by workloads with `gpu: true`)"),
        None => Finding::ok(HOST, "gpu", format!("{} bound to vfio-pci", nvidia.len())),
        Some(path) => Finding::note(
            HOST,
            "gpu",
            format!(
                "{} is held by {}",
                path.file_name().unwrap_or_default().to_string_lossy(),
                driver(path).unwrap_or_else(|| "no driver".to_owned())
            ),
            "remove the host's GPU driver and bind the device to vfio-pci, else passing it through fails",
        ),
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Programs that are started.
pub(super) fn tools(emulated: bool) -> Vec<Finding> {
    let words = Command::new("qemu-system-x86_64")
        .arg("--version")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    vec![match words {
        Err(_) => {
            Finding::missing(TOOLS, "qemu", "qemu-system-x86_64 is not installed", "apt-get install qemu-system-x86")
        }
        Ok(words) => {
            let line = words.lines().next().unwrap_or_default();
            match version(line.trim_start_matches("QEMU emulator version ")) {
                Some(found) if found >= SNP_QEMU || emulated => Finding::ok(TOOLS, "qemu", line),
                _ => Finding::missing(
                    TOOLS,
                    "qemu",
                    format!("{line} is older than 9.1"),
                    "install QEMU 9.1 or later (Debian 13, Ubuntu 25.04, bookworm-backports)",
                ),
            }
        }
    }]
}

/// Kernel, modules, firmware and guest that a build would take.
pub(super) fn parts() -> Vec<Finding> {
    let none = crate::args::GuestParts { kernel: None, modules: None, firmware: None, guest: None };
    let parts = match guest_parts::resolve(&none, &none) {
        Ok(parts) => parts,
        Err(failure) => {
            return vec![Finding::missing(
                PARTS,
                "set-up",
                failure.to_string(),
                "run `make build` in Confide's folder",
            )];
        }
    };
    let mut findings = vec![Finding::ok(PARTS, "guest", parts.guest.display().to_string())];
    findings.push(firmware(PARTS, &parts.firmware));
    findings.push(match image::modules::check(&parts.kernel, &parts.modules) {
        Ok(version) => Finding::ok(PARTS, "kernel", format!("{version}, with every driver the guest needs")),
        Err(error) => Finding::missing(
            PARTS,
            "kernel",
            error.to_string(),
            "use linux-image-cloud-amd64 of Debian 13 (`make setup` fetches it)",
        ),
    });
    findings
}

/// Whether the firmware measures kernel, initrd and command line.
pub(super) fn firmware(area: &'static str, path: &Path) -> Finding {
    match std::fs::read(path)
        .map_err(|error| error.to_string())
        .and_then(|bytes| image::firmware::check(&bytes).map_err(|error| error.to_string()))
    {
        Ok(()) => Finding::ok(area, "firmware", format!("{} has the kernel-hash section", path.display())),
        Err(why) => Finding::missing(
            area,
            "firmware",
            format!("{}: {why}", path.display()),
            "use an AMD SEV build of OVMF: ovmf-amdsev of Debian sid, ovmf of Ubuntu 25.04 and later (`make setup` fetches it)",
        ),
    }
}

/// Whether this machine is itself a confidential guest.
pub(super) fn guest() -> Vec<Finding> {
    let tsm = Path::new("/sys/kernel/config/tsm/report").exists();
    let device = Path::new("/dev/sev-guest").exists();
    vec![match (tsm, device) {
        (true, _) => Finding::ok(GUEST, "evidence", "configfs-tsm answers report requests"),
        (false, true) => Finding::ok(GUEST, "evidence", "/dev/sev-guest answers report requests"),
        (false, false) => {
            Finding::ok(GUEST, "evidence", "this machine is not a confidential guest (only `evidence get` needs that)")
        }
    }]
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    match (numbers.next()?, numbers.next()?) {
        (Ok(major), Ok(minor)) => Some((major, minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("10.0.2 (Debian)"), Some((10, 0)));
        assert!(version("6.12.107+deb13-cloud-amd64") >= Some(SNP_KERNEL));
        assert!(version("6.9.1") < Some(SNP_KERNEL));
        assert_eq!(version("none"), None);
    }
}
