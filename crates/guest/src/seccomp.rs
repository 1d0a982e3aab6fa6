//! System calls that a workload may make: an allow-list in the spirit of Docker's default profile, for x86-64.
//!
//! *Takes* nothing.
//! *Guarantees* that everything not listed is refused: calls that are known and privileged or dangerous with EPERM, calls
//! that are not known here with ENOSYS, so that libraries fall back to older ones.
//! *Does not check* arguments, but for three calls: `clone` makes no namespaces, `personality` sets only harmless
//! ones, `socket` opens only local, IP and netlink sockets (vsock would pass the firewall by).
//!
//! io_uring is refused: what it does is not seen by a filter.

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};
use std::collections::BTreeMap;

mod calls;

/// Both filters, compiled.
#[derive(Clone)]
pub struct Filters {
    allowed: BpfProgram,
    denied: BpfProgram,
}

/// Compiles the filters.
pub fn filters() -> Result<Filters, Error> {
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let enosys = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let allowed = SeccompFilter::new(allow_rules()?, enosys, SeccompAction::Allow, TargetArch::x86_64)?;
    let denied = calls::DENIED.iter().map(|call| (*call, vec![])).collect();
    let denied = SeccompFilter::new(denied, SeccompAction::Allow, eperm, TargetArch::x86_64)?;
    Ok(Filters { allowed: allowed.try_into()?, denied: denied.try_into()? })
}

impl Filters {
    /// Puts the filters on this thread, for good.
    ///
    /// Of two refusals the one of the later filter counts, so EPERM comes last.
    pub fn apply(&self) -> Result<(), Error> {
        apply_filter(&self.allowed)?;
        apply_filter(&self.denied)
    }
}

fn allow_rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = calls::ALLOWED.iter().map(|call| (*call, vec![])).collect();
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    let mask = namespaces.into_iter().fold(0, |mask, flag| mask | u64::from(flag.unsigned_abs()));
    rules.insert(libc::SYS_clone, vec![first(SeccompCmpOp::MaskedEq(mask), 0)?]);
    let one_of = |values: &[u64]| values.iter().map(|value| first(SeccompCmpOp::Eq, *value)).collect::<Result<_, _>>();
    // PER_LINUX, with UNAME26 and PER_LINUX32, and the question for the current one: as Docker has it.
    rules.insert(libc::SYS_personality, one_of(&[0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff])?);
    let families =
        [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(|f| u64::from(f.unsigned_abs()));
    rules.insert(libc::SYS_socket, one_of(&families)?);
    Ok(rules)
}

/// A condition on a call's first argument, of which the kernel reads 32 bits (all flags of `clone` are in them).
fn first(operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, Error> {
    Ok(SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value)?])?)
}

#[cfg(test)]
fn is_allowed(call: libc::c_long) -> bool {
    calls::ALLOWED.contains(&call) || [libc::SYS_clone, libc::SYS_personality, libc::SYS_socket].contains(&call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::collections::BTreeSet;

    #[test]
    fn no_call_is_on_both_lists() {
        let allowed: BTreeSet<_> = calls::ALLOWED.iter().collect();
        assert_eq!(allowed.len(), calls::ALLOWED.len(), "a call is there twice");
        let denied: BTreeSet<_> = calls::DENIED.iter().collect();
        assert_eq!(denied.len(), calls::DENIED.len(), "a call is there twice");
        assert!(calls::DENIED.iter().all(|call| !is_allowed(*call)));
        for dangerous in [libc::SYS_io_uring_setup, libc::SYS_bpf, libc::SYS_mount, libc::SYS_ptrace, libc::SYS_setns] {
            assert!(!is_allowed(dangerous), "{dangerous}");
        }
    }

    #[test]
    fn filters_hold_in_a_thread() {
        // A filter belongs to a thread, so a thread of its own is enough to try it.
        let outcome = std::thread::spawn(|| {
            filters().unwrap().apply().unwrap();
            let socket = |family| rustix::net::socket(family, rustix::net::SocketType::STREAM, None);
            assert_eq!(socket(rustix::net::AddressFamily::VSOCK).unwrap_err(), Errno::NOSYS);
            assert!(socket(rustix::net::AddressFamily::UNIX).is_ok());
            assert!(socket(rustix::net::AddressFamily::INET).is_ok());
            assert_eq!(rustix::process::chroot("/").unwrap_err(), Errno::PERM);
            assert_eq!(rustix::thread::set_thread_uid(rustix::thread::Uid::from_raw(0)).err(), None);
            assert!(std::fs::read("/proc/thread-self/status").unwrap().windows(10).any(|line| line == b"Seccomp:\t2"));
            std::thread::spawn(|| 7).join().unwrap()
        });
        assert_eq!(outcome.join().unwrap(), 7);
    }
}
