//! What every policy of Azure container instances holds beside what the template says (sections 3.3 to 3.6).

use super::model::{Capabilities, Container, EnvRule, Fragment, IdName, Mount, Strategy, User};

/// The framework that policies are written for.
pub const FRAMEWORK_VERSION: &str = "0.2.3";

/// Lowest version of the infrastructure fragment that `az confcom` 2.0 asks for.
pub(super) const INFRASTRUCTURE_SVN: &str = "4";

/// The fragment with Microsoft's own sidecars.
pub fn infrastructure_fragment(minimum_svn: &str) -> Fragment {
    Fragment {
        feed: "mcr.microsoft.com/aci/aci-cc-infra-fragment".to_owned(),
        includes: vec!["containers".to_owned(), "fragments".to_owned()],
        issuer: "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.3"
            .to_owned(),
        minimum_svn: minimum_svn.to_owned(),
    }
}

/// The container that holds the group's namespaces.
pub fn pause_container() -> Container {
    let set = || PAUSE_CAPABILITIES.iter().map(|name| format!("CAP_{name}")).collect::<Vec<_>>();
    Container {
        allow_elevated: false,
        allow_stdio_access: true,
        capabilities: Capabilities {
            ambient: Vec::new(),
            bounding: set(),
            effective: set(),
            inheritable: Vec::new(),
            permitted: set(),
        },
        command: Some(vec!["/pause".to_owned()]),
        env_rules: vec![
            EnvRule {
                pattern: "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
                required: true,
                strategy: Strategy::String,
            },
            rule("TERM=xterm", Strategy::String),
        ],
        exec_processes: Vec::new(),
        id: None,
        layers: vec!["16b514057a06ad665f92c02863aca074fd5976c755d26bff16365299169e8415".to_owned()],
        mounts: Vec::new(),
        name: Some("pause-container".to_owned()),
        no_new_privileges: false,
        seccomp_profile_sha256: String::new(),
        signals: SIGNALS.to_vec(),
        user: anyone(),
        working_dir: "/".to_owned(),
    }
}

/// Signals that the host may send: SIGKILL and SIGTERM.
pub(super) const SIGNALS: [i64; 2] = [9, 15];

/// Any user and group.
pub(super) fn anyone() -> User {
    User { group_idnames: vec![IdName::any()], umask: "0022".to_owned(), user_idname: IdName::any() }
}

/// Variables that the platform sets, by name and rule, in their order.
pub(super) fn platform_variables(identity_endpoints: bool) -> Vec<(&'static str, EnvRule)> {
    let mut rules = vec![("TERM", rule("TERM=xterm", Strategy::String))];
    rules.extend(PLATFORM_VARIABLES.iter().map(|name| (*name, rule(&format!("{name}=.+"), Strategy::Re2))));
    if identity_endpoints {
        rules.extend(IDENTITY_ENDPOINTS.iter().map(|name| (*name, rule(&format!("{name}=.+"), Strategy::Re2))));
    }
    rules
}

/// Variables that ACI sets since September 2026 and that the rules of `az confcom` do not list.
pub(super) const IDENTITY_ENDPOINTS: [&str; 3] = ["APP_IDENTITY_ENDPOINT", "IDENTITY_ENDPOINT", "IMDS_ENDPOINT"];

/// A value that ACI replaces by an address of its own.
pub(super) const THIM_MARK: &str = "===CONFIDENTIAL.THIM.ENDPOINT===";

/// The mount that every container gets.
pub(super) fn resolver_mount() -> Mount {
    bind("/etc/resolv.conf", "resolvconf", false)
}

/// Where ACI keeps what a volume of this type holds.
pub(super) fn volume_mount(kind: &str, destination: &str, read_only: bool) -> Option<Mount> {
    let (_, folder) = VOLUMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(kind))?;
    Some(bind(destination, folder, read_only))
}

/// The types of volumes that can be mounted.
pub(super) fn volume_types() -> impl Iterator<Item = &'static str> {
    VOLUMES.iter().map(|(name, _)| *name)
}

fn bind(destination: &str, folder: &str, read_only: bool) -> Mount {
    Mount {
        destination: destination.to_owned(),
        options: ["rbind", "rshared", if read_only { "ro" } else { "rw" }].map(str::to_owned).to_vec(),
        source: format!("sandbox:///tmp/atlas/{folder}/.+"),
        kind: "bind".to_owned(),
    }
}

fn rule(pattern: &str, strategy: Strategy) -> EnvRule {
    EnvRule { pattern: pattern.to_owned(), required: false, strategy }
}

/// Type of a volume, and its folder in the guest.
const VOLUMES: [(&str, &str); 4] = [
    ("azureFile", "azureFileVolume"),
    ("secret", "secretsVolume"),
    ("emptyDir", "emptydir"),
    ("gitRepo", "gitRepoVolume"),
];

const PLATFORM_VARIABLES: [&str; 9] = [
    "(?i)(FABRIC)_.+",
    "HOSTNAME",
    "T(E)?MP",
    "FabricPackageFileName",
    "HostedServiceName",
    "IDENTITY_API_VERSION",
    "IDENTITY_HEADER",
    "IDENTITY_SERVER_THUMBPRINT",
    "azurecontainerinstance_restarted_by",
];

/// Capabilities of an unprivileged container, sorted.
pub(super) const UNPRIVILEGED: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The same set in the order in which the pause container has it.
const PAUSE_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// All capabilities: those of a privileged container.
pub(super) const PRIVILEGED: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
