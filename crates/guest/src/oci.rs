//! The container's configuration, in the form of the OCI runtime specification 1.x.
//!
//! *Takes* a [`Plan`]: settings of the measured root volume, and the folders that the guest has mounted.
//! *Guarantees* no capability, no new privileges, own pid, ipc, uts, mount and cgroup namespaces, limits, a small
//! `/dev`, masked kernel files, and the environment of the settings and nothing else.
//! *Does not check* what the image holds. The network namespace is the guest's own: its firewall is the container's.

use crate::container::{Access, Plan};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The container's folder in the cgroup file system.
const CGROUP: &str = "/workload";
/// Memory that stays with the guest when the settings name no limit.
const GUEST_MEMORY: u64 = 96 << 20;

/// Kernel files that a container has no business with; each appears empty.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Writes the container's `config.json`.
pub fn configuration(plan: &Plan, total_memory: Option<u64>, gpus: &[Value]) -> Value {
    let settings = &plan.settings;
    let memory = settings.limits.memory_bytes.or_else(|| total_memory?.checked_sub(GUEST_MEMORY));
    let none: [&str; 0] = [];
    json!({
        "ociVersion": "1.2.0",
        "root": { "path": plan.rootfs, "readonly": false },
        "hostname": hostname(&settings.name),
        "process": {
            "terminal": false,
            "user": {
                "uid": settings.user.uid,
                "gid": settings.user.gid,
                "umask": 0o022,
                "additionalGids": settings.user.groups,
            },
            "args": settings.command,
            "env": settings.environment,
            "cwd": settings.folder,
            "capabilities": {
                "bounding": none, "effective": none, "inheritable": none, "permitted": none, "ambient": none,
            },
            "rlimits": [
                { "type": "RLIMIT_NOFILE", "soft": 65536, "hard": 524_288 },
                // A core file would hold secrets.
                { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
            ],
            "noNewPrivileges": true,
        },
        "mounts": mounts(plan),
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" },
            ],
            "cgroupsPath": CGROUP,
            "resources": {
                "memory": memory.map(|limit| json!({ "limit": limit })),
                "pids": { "limit": settings.limits.processes },
            },
            "devices": gpus,
            "rootfsPropagation": "private",
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    })
}

/// The GPU's device files below `dev`, as OCI devices.
pub fn gpus(dev: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    for folder in [dev.to_path_buf(), dev.join("nvidia-caps")] {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(meta) = entry.metadata() else { continue };
            if !name.starts_with("nvidia") || !meta.file_type().is_char_device() {
                continue;
            }
            let inside = Path::new("/dev").join(folder.strip_prefix(dev).unwrap_or(Path::new(""))).join(name);
            let number = meta.rdev();
            found.push(json!({
                "type": "c",
                "path": inside,
                "major": rustix::fs::major(number),
                "minor": rustix::fs::minor(number),
                "fileMode": 0o666,
            }));
        }
    }
    found.sort_by_key(|device| device.get("path").map(Value::to_string));
    found
}

/// Total memory out of the text of `/proc/meminfo`.
pub fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn mounts(plan: &Plan) -> Vec<Value> {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let mut all = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
    ];
    all.extend(plan.binds.iter().map(|bind| {
        let options: &[&str] = match bind.access {
            Access::Trusted => &["rbind", "ro", "nosuid", "nodev"],
            Access::Foreign => {
                &["rbind", "rro", "nosuid", "nodev", "noexec", "rnosuid", "rnodev", "rnoexec", "rnosymfollow"]
            }
            Access::ForeignWritable => {
                &["rbind", "nosuid", "nodev", "noexec", "rnosuid", "rnodev", "rnoexec", "rnosymfollow"]
            }
            Access::Writable => &["bind", "nosuid", "nodev", "noexec"],
            Access::File => &["bind", "ro", "nosuid", "nodev", "noexec"],
        };
        json!({ "destination": bind.target, "type": "bind", "source": bind.source, "options": options })
    }));
    all
}

/// A host name made of the workload's name.
fn hostname(name: &str) -> String {
    let letters = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' });
    let text: String = letters.take(63).collect();
    let text = text.trim_matches('-');
    if text.is_empty() { "workload".into() } else { text.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::tests::settings;
    use libcontainer::oci_spec::runtime::Spec;

    fn plan() -> Plan {
        Plan::new("/volumes/container", settings(&["/bin/true"]))
            .bind("/user_data", "/user_data", Access::Foreign)
            .bind("/run/hosts", "/etc/hosts", Access::File)
    }

    #[test]
    fn the_configuration_is_one_the_runtime_reads() {
        let spec: Spec = serde_json::from_value(configuration(&plan(), Some(1 << 30), &[])).unwrap();
        let process = spec.process().as_ref().unwrap();
        let capabilities = process.capabilities().as_ref().unwrap();
        assert!(capabilities.bounding().as_ref().unwrap().is_empty());
        assert!(capabilities.ambient().as_ref().unwrap().is_empty());
        assert_eq!(process.no_new_privileges(), Some(true));
        assert_eq!(process.env().as_deref(), Some(["PATH=/bin".to_owned(), "GREETING=hello".to_owned()].as_slice()));
        let linux = spec.linux().as_ref().unwrap();
        let namespaces: Vec<_> = linux.namespaces().as_ref().unwrap().iter().map(|one| one.typ().to_string()).collect();
        assert_eq!(namespaces, ["pid", "ipc", "uts", "mnt", "cgroup"]);
        let memory = linux.resources().as_ref().unwrap().memory().as_ref().unwrap().limit();
        assert_eq!(memory, Some((1 << 30) - (96 << 20)));
        let destinations: Vec<_> =
            spec.mounts().as_ref().unwrap().iter().map(|mount| mount.destination().display().to_string()).collect();
        assert_eq!(destinations.last().map(String::as_str), Some("/etc/hosts"));
        libcontainer::utils::validate_mount_options(spec.mounts().as_ref().unwrap()).unwrap();
    }

    #[test]
    fn foreign_data_is_neither_followed_nor_run() {
        let config = configuration(&plan(), None, &[]);
        let mounts = config["mounts"].as_array().unwrap();
        let data = mounts.iter().find(|mount| mount["destination"] == "/user_data").unwrap();
        for option in ["rro", "rnosuid", "rnodev", "rnoexec", "rnosymfollow"] {
            assert!(data["options"].as_array().unwrap().contains(&option.into()), "{option}");
        }
    }

    #[test]
    fn memory_and_names_are_read_as_they_stand() {
        assert_eq!(total_memory("MemTotal:        2030152 kB\nMemFree: 1 kB\n"), Some(2_030_152 * 1024));
        assert_eq!(total_memory("MemFree: 1 kB\n"), None);
        assert_eq!(hostname("NVFlare site_1"), "nvflare-site-1");
        assert_eq!(hostname("…"), "workload");
        assert!(gpus(Path::new("/nonexistent")).is_empty());
    }
}
