//! Starts a bundle under QEMU with the emulated secure processor beside it.
//!
//! On real hardware nothing of this is used: there the bundle's own `launch_vm.sh` runs. The SEV build of OVMF does
//! not start without SEV, so here QEMU starts the kernel with its default firmware, and only the measurement is of
//! the real one.

use crate::LaunchFacts;
use crate::outcome::{self, Failure, Result};
use image::bundle::{DriveFormat, Manifest, names};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Plain emulation without CMPXCHG16B: QEMU 7.2 can leave wrong flags behind that instruction, which shows as a double
/// fault in one boot of ten.
const EMULATED_CPU: &str = "Haswell-v4,-cx16,-pcid,-x2apic,-tsc-deadline,-invpcid,-spec-ctrl";
/// Plain emulation with all virtual CPUs in one thread: with a thread each, QEMU 7.2 can run a breakpoint that another
/// CPU has already patched away (the kernel patches itself while it starts), which shows as an `int3` oops in one boot
/// of twenty.
const EMULATION: &str = "tcg,thread=single";
/// How many logs of earlier boots are kept.
const KEPT_LOGS: u32 = 5;

/// A bundle, ready to be started.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) folder: PathBuf,
    pub(crate) manifest: Manifest,
}

/// A guest port and the host address it is published on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) guest: u16,
    pub(crate) host: u16,
}

/// How to run a VM.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    /// `kvm` or `tcg`.
    pub(crate) accelerator: &'a str,
    /// Address that ports are published on.
    pub(crate) bind: &'a str,
    pub(crate) published: &'a [Published],
    /// Socket of the emulated secure processor.
    pub(crate) processor: &'a Path,
    /// Socket of QEMU's monitor, for a clean end.
    pub(crate) monitor: &'a Path,
}

impl Bundle {
    /// Opens the folder that a build made.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let folder = folder.canonicalize().map_err(|error| {
            outcome::cannot("open", folder, error).hint("build one with: confide build WORKLOAD.yml -o DIR")
        })?;
        let manifest = Manifest::load(&folder).map_err(|error| {
            Failure::environment(format!("{} is not a bundle", folder.display()))
                .because(error)
                .hint("build one with: confide build WORKLOAD.yml -o DIR")
        })?;
        Ok(Self { folder, manifest })
    }

    /// A file of the bundle.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a secure processor would measure when this bundle is started as its manifest says: the very files that
    /// QEMU gets, and the launch option. `site.json` is not read: HOST_DATA is what the host *says* at launch.
    pub(crate) fn facts(&self) -> Result<LaunchFacts> {
        Ok(LaunchFacts {
            firmware: outcome::read(&self.file(names::FIRMWARE))?,
            kernel: outcome::read(&self.file(names::KERNEL))?,
            initrd: outcome::read(&self.file(names::INITRD))?,
            command_line: self.manifest.command_line.clone(),
            vcpus: self.manifest.vcpus,
            vcpu_type: self.manifest.vcpu_type.clone(),
            host_data: self.manifest.host_data,
        })
    }

    /// Arguments for QEMU.
    pub(crate) fn arguments(&self, machine: &Machine<'_>) -> Vec<OsString> {
        let manifest = &self.manifest;
        let mut arguments = Arguments::default();
        let kvm = machine.accelerator == "kvm";
        arguments.add("-machine", "q35");
        arguments.add("-accel", if kvm { "kvm" } else { EMULATION });
        arguments.add("-cpu", if kvm { "host" } else { EMULATED_CPU });
        arguments.add("-smp", manifest.vcpus.to_string());
        arguments.add("-m", format!("{}M", manifest.memory_bytes >> 20));
        arguments.flag("-nodefaults");
        arguments.flag("-no-reboot");
        arguments.add("-display", "none");
        arguments.add("-serial", "stdio");
        arguments.add("-kernel", self.file(names::KERNEL));
        arguments.add("-initrd", self.file(names::INITRD));
        arguments.add("-append", &manifest.command_line);
        arguments.add("-device", "virtio-rng-pci");
        arguments.add("-device", "virtio-serial-pci");
        arguments.add("-chardev", with_path("socket,id=processor,path=", machine.processor));
        arguments.add("-device", format!("virtserialport,chardev=processor,name={}", claims::snp_port::PORT_NAME));
        let mut monitor = with_path("unix:", machine.monitor);
        monitor.push(",server=on,wait=off");
        arguments.add("-qmp", monitor);
        for (index, drive) in manifest.drives.iter().enumerate() {
            let mut option = with_path("file.filename=", &self.file(&drive.file));
            option.push(format!(
                ",file.driver=file,driver={},if=none,id=drive{index},read-only={}",
                drive.format.name(),
                if drive.writable { "off" } else { "on" }
            ));
            if drive.writable && drive.format == DriveFormat::Qcow2 {
                option.push(",discard=unmap");
            }
            arguments.add("-drive", option);
            arguments.add("-device", format!("virtio-blk-pci,drive=drive{index},serial={}", drive.serial));
        }
        let forwards: String = machine
            .published
            .iter()
            .map(|port| format!(",hostfwd=tcp:{}:{}-:{}", machine.bind, port.host, port.guest))
            .collect();
        arguments.add("-netdev", format!("user,id=net0{forwards}"));
        arguments.add("-device", "virtio-net-pci,netdev=net0,romfile=");
        arguments.0
    }

    /// Keeps the log drive of the last boot as `applog.1.qcow2`, older ones behind it, and puts an empty one in place:
    /// what `launch_vm.sh` does.
    pub(crate) fn keep_log(&self) -> Result<()> {
        let (current, fresh) = (self.file(names::APPLOG), self.file(".applog.fresh.qcow2"));
        let rename =
            |from: &Path, to: &Path| std::fs::rename(from, to).map_err(|error| outcome::cannot("rename", from, error));
        let staged = self.file(".applog.fresh.tmp");
        let copy = |from: &Path, to: &Path| {
            std::fs::copy(from, &staged).map_err(|error| outcome::cannot("copy", from, error))?;
            rename(&staged, to)
        };
        if !fresh.exists() {
            return copy(&current, &fresh);
        }
        let numbered = |number: u32| self.file(&format!("applog.{number}.qcow2"));
        for number in (1..KEPT_LOGS).rev().filter(|number| numbered(*number).exists()) {
            rename(&numbered(number), &numbered(number + 1))?;
        }
        if current.exists() {
            rename(&current, &numbered(1))?;
        }
        copy(&fresh, &current)
    }
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }

    fn flag(&mut self, option: &str) {
        self.0.push(option.into());
    }
}

/// QEMU reads a doubled comma as one (qemu(1), "-drive").
fn with_path(lead: &str, path: &Path) -> OsString {
    let mut option = OsString::from(lead);
    option.push(path.to_string_lossy().replace(',', ",,"));
    option
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_stays_in_the_path() {
        assert_eq!(with_path("unix:", Path::new("/a,b")), OsString::from("unix:/a,,b"));
    }
}
