//! Every key of a workload file, in one table: the parser refuses what is not in it, and the manual is made of it.

/// A key of the workload file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyDoc {
    /// The key; `a.b` is `b` below `a`, `a[].b` is `b` in every item of `a`.
    pub key: &'static str,
    /// What its value looks like.
    pub form: &'static str,
    /// What holds where it is not given; `required` where it must be.
    pub default: &'static str,
    /// Where the key comes from.
    pub origin: Origin,
    /// What it does.
    pub meaning: &'static str,
}

/// Where a key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The `cc_*.yml` of NVFlare's on-premises guide.
    Guide,
    /// Confide's own.
    Confide,
}

macro_rules! keys {
    ($($origin:ident $key:literal, $form:literal, $default:literal, $meaning:literal;)*) => {
        /// The table, in the order of the manual.
        pub const REFERENCE: &[KeyDoc] = &[$(KeyDoc {
            key: $key, form: $form, default: $default, origin: Origin::$origin, meaning: $meaning,
        },)*];
    };
}

keys! {
    Guide "compute_env", "`onprem_cvm`", "required", "Where it runs. `azure_cvm`, `azure_confidential_container` and `mock` are known and refused: this build makes bundles for your own machines.";
    Guide "cc_cpu_mechanism", "`amd_sev_snp`", "required", "The processor's confidential computing. `intel_tdx` is known and refused.";
    Guide "cc_gpu_mechanism", "`nvidia_cc`", "none", "Asks for a confidential GPU; the same as `gpu: true`.";
    Guide "role", "`server`, `client` or another word", "none", "Role in a federation; the workload reads it in its settings.";
    Guide "root_drive_size", "GB, 1 to 65536", "10", "Size of the root drive. What the image leaves of it is scratch space for the workload, encrypted under a key that dies with the VM. The file is sparse.";
    Guide "applog_drive_size", "GB, 1 to 65536", "1", "Size of the log drive, which is not encrypted.";
    Guide "user_config_drive_size", "GB, 1 to 65536", "1", "Size of the sealed configuration drive.";
    Guide "user_data_drive_size", "GB, 1 to 65536", "1", "Size of the data drive, which is not encrypted; `confide data add` grows it.";
    Guide "docker_archive", "path", "required", "What `docker save` wrote, as it is or compressed with gzip or zstd; or an OCI layout (folder or tar). `~` is your home folder; other paths start at the workload file.";
    Guide "user_config", "map of name to path", "empty", "Each file or folder appears read-only in the container at `/user_config/NAME`. The drive is sealed.";
    Guide "allowed_ports", "list of ports", "empty", "TCP ports that reach the workload from outside. Everything else is dropped.";
    Guide "allowed_out_ports", "list of ports", "empty", "TCP and UDP ports that the VM may talk to. DHCP, the leased name servers and the broker are always open.";
    Guide "hosts_entries", "map of name to IP address", "empty", "Lines for `/etc/hosts`.";
    Guide "host_entries", "map of name to IP address", "empty", "Another spelling of `hosts_entries`; give one of the two.";
    Guide "cc_issuers", "list of maps", "empty", "Token issuers, handed on to the workload. Confide's guest does not act on them.";
    Guide "cc_issuers[].id", "text", "required", "Name of the issuer.";
    Guide "cc_issuers[].path", "text", "required", "Class path of the issuer.";
    Guide "cc_issuers[].token_expiration", "seconds, at least 1", "none", "How long a token is valid. Must be below `check_frequency`.";
    Guide "cc_issuers[].args", "map", "empty", "Arguments of the issuer's class, for provisioning; they do not enter the bundle.";
    Guide "cc_attestation", "map", "empty", "When to attest again.";
    Guide "cc_attestation.check_frequency", "seconds, 5 to 86400", "600", "Seconds between two attestations.";
    Guide "cvm_image_name", "text", "the workload's name", "Name of the one-file form of the bundle.";
    Confide "name", "letters, digits, `.`, `_`, `-`", "the file's name", "Name of the workload.";
    Confide "site", "letters, digits, `.`, `_`, `-`", "the workload's name", "Name of the site.";
    Confide "project", "letters, digits, `.`, `_`, `-`", "`default`", "Name of the project: first part of the path of the site's volume key.";
    Confide "command", "text or list of texts", "the image's", "The process and its arguments. Replaces entrypoint and arguments of the image.";
    Confide "environment", "map of name to value", "empty", "Added to the image's environment. It is measured, so it is no place for a secret.";
    Confide "user", "name, id, or `user:group`", "the image's", "User to run as.";
    Confide "vcpus", "1 to 512", "2", "Virtual processors. The count is measured.";
    Confide "vcpu_type", "QEMU's name of an EPYC model", "`EPYC-v4`", "Virtual processor model. It is measured.";
    Confide "memory", "as `2 GB` or `512 MB`", "`2 GB`", "Memory of the VM.";
    Confide "kernel", "path", "from the set-up", "Kernel image.";
    Confide "modules", "path", "from the set-up", "Folder of the kernel's modules.";
    Confide "firmware", "path", "from the set-up", "OVMF with the kernel-hashes section.";
    Confide "broker", "map", "none", "The broker that holds the keys. `confide up` fills it in itself.";
    Confide "broker.url", "`https://HOST:PORT`", "required", "Its address.";
    Confide "broker.identity", "64 hex digits", "required", "SHA-256 of the public key of its offline identity, as `confide broker status` prints it.";
    Confide "network", "`dhcp` or a map", "`dhcp`", "How the VM gets its address.";
    Confide "network.address", "as `10.0.0.5/24`", "required", "Fixed IPv4 address with the length of its network prefix.";
    Confide "network.gateway", "IPv4 address", "required", "Default gateway.";
    Confide "network.dns", "list of IPv4 addresses", "empty", "Name servers.";
    Confide "workload_log", "`none` or `applog`", "`none`", "Where the workload's output goes. The log drive can be read by the host.";
    Confide "user_data", "`read-only` or `read-write`", "`read-only`", "How the data drive is mounted. What the workload writes there can be read by the host.";
    Confide "grace", "seconds, 0 to 604800", "300", "How long the broker may be out of reach before the workload is stopped.";
    Confide "chips", "`any`, `first-use` or a list of chip ids", "`any`", "Which processors may ask for the keys.";
    Confide "lease", "`shared` or `exclusive`", "`shared`", "Whether several VMs may hold the keys at once.";
    Confide "tcb_floor", "map", "none", "Least patch level of the platform.";
    Confide "tcb_floor.bootloader", "0 to 255", "0", "Boot loader.";
    Confide "tcb_floor.tee", "0 to 255", "0", "PSP operating system.";
    Confide "tcb_floor.snp", "0 to 255", "0", "SNP firmware.";
    Confide "tcb_floor.microcode", "0 to 255", "0", "Microcode.";
    Confide "tcb_floor.fmc", "0 to 255", "not asked", "Firmware management controller (Turin and later).";
    Confide "gpu", "`true` or `false`", "`false`", "Whether GPU devices are handed to the container.";
    Confide "resources", "list of `repository/type/tag`", "empty", "Secrets of the broker that the workload may read through the agent API.";
    Confide "proof", "map", "none", "How the service shows that it holds a secret; `confide up` asks it once it runs. It does not enter the bundle.";
    Confide "proof.path", "path with `{challenge}`", "required", "Where to ask. The service answers `{\"hmac\": HEX}`: the HMAC-SHA-256 of the challenge under the secret.";
    Confide "proof.secret", "`repository/type/tag`", "required", "The secret.";
    Confide "limits", "map", "empty", "Limits of the container.";
    Confide "limits.memory", "as `1 GB`", "what the VM has", "Memory.";
    Confide "limits.processes", "1 to 4194304", "4096", "Processes and threads.";
}

/// The keys directly below `within` (empty: at the top).
pub(super) fn known_below(within: &str) -> impl Iterator<Item = &'static str> {
    REFERENCE.iter().filter_map(move |doc| {
        let (parent, key) = doc.key.rsplit_once('.').unwrap_or(("", doc.key));
        (parent == within).then_some(key)
    })
}

/// The table as a page of the manual.
pub(super) fn page() -> String {
    let mut page = String::from(
        "# The workload file\n\nA workload file says what to run, where and for whom. It is YAML: the `cc_*.yml` of \
         NVFlare's on-premises guide as it stands, and Confide's own keys, which are all optional. Unknown keys, \
         duplicate keys and values of the wrong kind are refused with their line. This page is generated from the \
         table that the parser itself uses.\n",
    );
    for (origin, title) in [(Origin::Guide, "Keys of the guide"), (Origin::Confide, "Confide's own keys")] {
        page.push_str(&format!("\n## {title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"));
        for doc in REFERENCE.iter().filter(|doc| doc.origin == origin) {
            page.push_str(&format!("| `{}` | {} | {} | {} |\n", doc.key, doc.form, doc.default, doc.meaning));
        }
    }
    page
}
