//! What the kernel must not do in here: dump memory, take commands over the serial line, load further code, swap.

use crate::console::Public;
use crate::public;
use claims::Code;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use std::fs;
use std::io::{self, ErrorKind};

/// A setting of the kernel that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LockdownError {
    /// The kernel refused a setting.
    #[error("the kernel refused the setting {name}")]
    Setting {
        /// The setting's path below `/proc/sys`.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Swap is in use.
    #[error("the kernel uses swap")]
    Swap,
}

impl LockdownError {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code::Kernel
    }

    /// For the console: constants, and the kernel's reason.
    pub fn words(&self) -> Public {
        match self {
            Self::Setting { name, source } => public!("the kernel refused the setting ", name, ": ", source),
            Self::Swap => public!("the kernel uses swap"),
        }
    }
}

/// First thing of all, before a drive is looked at.
pub(super) fn first() -> Result<(), LockdownError> {
    for (name, value) in FIRST {
        set(name, value)?;
    }
    // WHY: both fail only for an invalid argument; the dump pattern above is what counts.
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    no_swap(&fs::read_to_string("/proc/swaps").unwrap_or_default())
}

/// Before the workload starts: no more modules, and no more words of the kernel on the console but its last.
pub(super) fn last() -> Result<(), LockdownError> {
    for (name, value) in LAST {
        set(name, value)?;
    }
    Ok(())
}

const FIRST: [(&str, &str); 20] = [
    ("kernel/core_pattern", ""),
    ("kernel/core_uses_pid", "0"),
    ("fs/suid_dumpable", "0"),
    ("kernel/sysrq", "0"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/io_uring_disabled", "2"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/panic", "-1"),
    ("kernel/modprobe", ""),
    ("kernel/hotplug", ""),
    ("vm/unprivileged_userfaultfd", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
    ("net/ipv4/ip_forward", "0"),
];

const LAST: [(&str, &str); 3] =
    [("user/max_user_namespaces", "0"), ("kernel/modules_disabled", "1"), ("kernel/printk", "1 4 1 1")];

/// A setting that this kernel does not have needs no value.
fn set(name: &'static str, value: &str) -> Result<(), LockdownError> {
    match fs::write(format!("/proc/sys/{name}"), format!("{value}\n")) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(|source| LockdownError::Setting { name, source }),
    }
}

fn no_swap(swaps: &str) -> Result<(), LockdownError> {
    if swaps.lines().count() <= 1 { Ok(()) } else { Err(LockdownError::Swap) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_seen() {
        assert!(no_swap("Filename Type Size Used Priority\n").is_ok());
        assert!(matches!(no_swap("Filename Type\n/dev/vdb partition\n"), Err(LockdownError::Swap)));
    }
}
