//! What the guest itself adds to every policy: mounts that the container runtime makes, and usual capabilities.

use crate::cce::defaults::{PRIVILEGED, UNPRIVILEGED};
use serde_json::{Value, json};

/// Facts of the guest, beside the policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Platform {
    pub(super) default_mounts: Vec<Value>,
    pub(super) privileged_mounts: Vec<Value>,
    pub(super) privileged_capabilities: Vec<String>,
    pub(super) unprivileged_capabilities: Vec<String>,
    pub(super) sandbox_prefix: String,
    pub(super) huge_pages_prefix: String,
    pub(super) plan9_prefix: String,
}

impl Platform {
    /// The guest of Azure container instances.
    pub fn azure() -> Self {
        let mount = |destination: &str, kind: &str, source: &str, options: &str| {
            let options: Vec<&str> = options.split(',').collect();
            json!({ "destination": destination, "type": kind, "source": source, "options": options })
        };
        let names = |names: &[&str]| names.iter().map(|name| format!("CAP_{name}")).collect();
        Self {
            default_mounts: vec![
                mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
                mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
                mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
                mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
                mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
                mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
                mount("/run", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
                mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
            ],
            privileged_mounts: vec![
                mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,rw"),
                mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,rw"),
            ],
            privileged_capabilities: names(&PRIVILEGED),
            unprivileged_capabilities: names(&UNPRIVILEGED),
            sandbox_prefix: "sandbox://".to_owned(),
            huge_pages_prefix: "hugepages://".to_owned(),
            plan9_prefix: "plan9://".to_owned(),
        }
    }

    /// The guest that a simulator's data file describes (`data.json` of hcsshim's policyenginesimulator).
    pub fn of_data(data: &Value) -> Self {
        let list = |name: &str| data.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let names = |name: &str| list(name).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            default_mounts: list("defaultMounts"),
            privileged_mounts: list("privilegedMounts"),
            privileged_capabilities: names("defaultPrivilegedCapabilities"),
            unprivileged_capabilities: names("defaultUnprivilegedCapabilities"),
            sandbox_prefix: text("sandboxPrefix"),
            huge_pages_prefix: text("hugePagesPrefix"),
            plan9_prefix: text("plan9Prefix"),
        }
    }
}

impl Platform {
    /// The usual capabilities of a container.
    pub(in crate::cce) fn capabilities(&self, privileged: bool) -> &[String] {
        if privileged { &self.privileged_capabilities } else { &self.unprivileged_capabilities }
    }
}
