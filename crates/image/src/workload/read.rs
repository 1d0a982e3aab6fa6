//! From the tree of a workload file to [`Workload`].

use super::fields::{Fields, kind, nearest};
use super::values::value_error;
use super::yaml::{Entry, Found, Node, Value};
use super::{DriveSizes, GIGABYTE, IssuerEntry, Place, Proof, Workload, WorkloadError, is_name};
use claims::reference::{Chips, Lease};
use claims::site::{Broker, Network, Ports, host_and_port, is_host_name};
use claims::snp::TcbVersion;
use claims::workload::{Limits, UserData, WorkloadLog};
use measure::snp::VcpuType;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Reads the whole file.
pub(super) fn workload(root: Node, place: Place<'_>) -> Result<Workload, WorkloadError> {
    let mut top = Fields::open(root, "", "the workload file")?;
    substrate(&mut top)?;
    let name = match top.take("name") {
        Some(node) => node.name("name")?,
        None => name_of(place),
    };
    let site = optional(top.take("site"), |node| node.name("site"))?.unwrap_or_else(|| name.clone());
    let image_name = optional(top.take("cvm_image_name"), |node| node.name("cvm_image_name"))?;
    let gpu_mechanism = gpu_mechanism(top.take("cc_gpu_mechanism"))?;
    let check_frequency = check_frequency(top.take("cc_attestation"))?;
    let (vcpus, vcpu_type) = vcpus(&mut top)?;
    Ok(Workload {
        project: optional(top.take("project"), |node| node.name("project"))?.unwrap_or_else(|| "default".to_owned()),
        role: optional(top.take("role"), |node| node.name("role"))?,
        drives: DriveSizes {
            root: drive(&mut top, "root_drive_size", 10)?,
            applog: drive(&mut top, "applog_drive_size", 1)?,
            user_config: drive(&mut top, "user_config_drive_size", 1)?,
            user_data: drive(&mut top, "user_data_drive_size", 1)?,
        },
        docker_archive: top.require("docker_archive")?.path("docker_archive", place)?,
        user_config: user_config(top.take("user_config"), place)?,
        ports: Ports { inbound: ports(&mut top, "allowed_ports")?, outbound: ports(&mut top, "allowed_out_ports")? },
        hosts: hosts(&mut top)?,
        issuers: issuers(top.take("cc_issuers"), check_frequency)?,
        check_frequency,
        grace: optional(top.take("grace"), |node| node.number("grace", 0, 604_800))?.unwrap_or(300),
        image_name: image_name.unwrap_or_else(|| name.clone()),
        command: optional(top.take("command"), command)?,
        environment: environment(top.take("environment"))?,
        user: optional(top.take("user"), |node| node.word("user"))?,
        vcpus,
        vcpu_type,
        memory_bytes: optional(top.take("memory"), memory)?.unwrap_or(2 * GIGABYTE),
        kernel: optional_path(&mut top, "kernel", place)?,
        modules: optional_path(&mut top, "modules", place)?,
        firmware: optional_path(&mut top, "firmware", place)?,
        broker: optional(top.take("broker"), broker)?,
        network: optional(top.take("network"), network)?.unwrap_or(Network::Dhcp),
        workload_log: choice(
            &mut top,
            "workload_log",
            &[("none", WorkloadLog::None), ("applog", WorkloadLog::Applog)],
        )?,
        user_data: choice(
            &mut top,
            "user_data",
            &[("read-only", UserData::ReadOnly), ("read-write", UserData::ReadWrite)],
        )?,
        chips: optional(top.take("chips"), chips)?.unwrap_or(Chips::Any),
        lease: choice(&mut top, "lease", &[("shared", Lease::Shared), ("exclusive", Lease::Exclusive)])?,
        tcb_floor: optional(top.take("tcb_floor"), tcb_floor)?,
        gpu: optional(top.take("gpu"), |node| node.truth("gpu"))?.unwrap_or(false) || gpu_mechanism,
        resources: each(top.take("resources"), "resources", "a list of resource paths", Node::resource)?,
        limits: limits(top.take("limits"))?,
        proof: optional(top.take("proof"), proof)?,
        name,
        site,
    })
}

fn optional<T>(
    node: Option<Node>,
    read: impl FnOnce(Node) -> Result<T, WorkloadError>,
) -> Result<Option<T>, WorkloadError> {
    node.map(read).transpose()
}

fn each<T>(
    node: Option<Node>,
    key: &str,
    wanted: &'static str,
    read: impl Fn(Node) -> Result<T, WorkloadError>,
) -> Result<Vec<T>, WorkloadError> {
    match node {
        Some(node) => node.list(key, wanted)?.into_iter().map(read).collect(),
        None => Ok(Vec::new()),
    }
}

fn choice<T: Copy>(top: &mut Fields, key: &'static str, choices: &[(&str, T); 2]) -> Result<T, WorkloadError> {
    let [(_, default), _] = choices;
    Ok(optional(top.take(key), |node| node.choice(key, choices))?.unwrap_or(*default))
}

/// The file's name without `cc_` and its ending, as the guide names its files.
fn name_of(place: Place<'_>) -> String {
    let stem = place.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
    let name = stem.strip_prefix("cc_").unwrap_or(stem);
    if is_name(name) { name.to_owned() } else { "workload".to_owned() }
}

/// The keys that say where it runs: values that exist elsewhere have an error of their own.
fn substrate(top: &mut Fields) -> Result<(), WorkloadError> {
    let wanted: [(&str, &str, &[&str]); 2] = [
        ("compute_env", "onprem_cvm", &["azure_cvm", "azure_confidential_container", "mock"]),
        ("cc_cpu_mechanism", "amd_sev_snp", &["intel_tdx"]),
    ];
    wanted.into_iter().try_for_each(|(key, supported, elsewhere)| {
        let node = top.require(key)?;
        one_substrate(node, key, supported, elsewhere)
    })
}

fn one_substrate(
    node: Node,
    key: &'static str,
    supported: &'static str,
    elsewhere: &[&'static str],
) -> Result<(), WorkloadError> {
    let line = node.line;
    let value = node.text(key)?;
    if value == supported {
        return Ok(());
    }
    if elsewhere.contains(&value.as_str()) {
        return Err(WorkloadError::Unsupported { line, key: key.to_owned(), value, supported });
    }
    Err(value_error(line, key, value, &format!("`{supported}`")))
}

fn gpu_mechanism(node: Option<Node>) -> Result<bool, WorkloadError> {
    optional(node, |node| one_substrate(node, "cc_gpu_mechanism", "nvidia_cc", &[])).map(|given| given.is_some())
}

fn drive(top: &mut Fields, key: &'static str, default: u64) -> Result<u64, WorkloadError> {
    let gigabytes = optional(top.take(key), |node| node.number(key, 1, 65_536))?.unwrap_or(default);
    Ok(gigabytes.saturating_mul(GIGABYTE))
}

fn optional_path(top: &mut Fields, key: &'static str, place: Place<'_>) -> Result<Option<PathBuf>, WorkloadError> {
    optional(top.take(key), |node| node.path(key, place))
}

fn user_config(node: Option<Node>, place: Place<'_>) -> Result<BTreeMap<String, PathBuf>, WorkloadError> {
    let Some(node) = node else { return Ok(BTreeMap::new()) };
    let wanted = "names of files and folders below /user_config (letters, digits, `.`, `_`, `-`)";
    let entries = node.map("user_config", "a map of name to path")?;
    entries
        .into_iter()
        .map(|Entry { line, key, value }| {
            if !is_name(&key) {
                return Err(value_error(line, "user_config", key, wanted));
            }
            let path = value.path(&format!("user_config.{key}"), place)?;
            Ok((key, path))
        })
        .collect()
}

fn ports(top: &mut Fields, key: &'static str) -> Result<Vec<u16>, WorkloadError> {
    let mut ports = each(top.take(key), key, "a list of ports", |node| node.port(key))?;
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

fn hosts(top: &mut Fields) -> Result<BTreeMap<String, IpAddr>, WorkloadError> {
    let (one, other) = (top.take("hosts_entries"), top.take("host_entries"));
    let node = match (one, other) {
        (Some(one), Some(other)) => {
            let (first, line) = (one.line.min(other.line), one.line.max(other.line));
            return Err(WorkloadError::Duplicate { line, key: "hosts_entries".to_owned(), first });
        }
        (Some(node), None) | (None, Some(node)) => node,
        (None, None) => return Ok(BTreeMap::new()),
    };
    node.map("hosts_entries", "a map of host name to IP address")?
        .into_iter()
        .map(|Entry { line, key, value }| {
            if !is_host_name(&key) {
                return Err(value_error(line, "hosts_entries", key, "a host name"));
            }
            value.address(&key).map(|address| (key, address))
        })
        .collect()
}

fn check_frequency(node: Option<Node>) -> Result<u64, WorkloadError> {
    let Some(node) = node else { return Ok(DEFAULT_CHECK_FREQUENCY) };
    let mut fields = Fields::open(node, "cc_attestation", "cc_attestation")?;
    let seconds = optional(fields.take("check_frequency"), |node| node.number("check_frequency", 5, 86_400))?;
    Ok(seconds.unwrap_or(DEFAULT_CHECK_FREQUENCY))
}

fn issuers(node: Option<Node>, check_frequency: u64) -> Result<Vec<IssuerEntry>, WorkloadError> {
    each(node, "cc_issuers", "a list of maps", |node| issuer(node, check_frequency))
}

fn issuer(node: Node, check_frequency: u64) -> Result<IssuerEntry, WorkloadError> {
    let mut fields = Fields::open(node, "cc_issuers[]", "cc_issuers")?;
    let id = fields.require("id")?.text("id")?;
    let path = fields.require("path")?.text("path")?;
    let expiration = fields.take("token_expiration");
    let line = expiration.as_ref().map_or(0, |node| node.line);
    let token_expiration = optional(expiration, |node| node.number("token_expiration", 1, u32::MAX.into()))?;
    if let Some(token_expiration) = token_expiration.filter(|seconds| *seconds >= check_frequency) {
        return Err(WorkloadError::TokenOutlivesCheck { line, issuer: id, token_expiration, check_frequency });
    }
    let args = match fields.take("args") {
        Some(node) => {
            let entries = node.map("args", "a map")?;
            entries.into_iter().map(|entry| (entry.key, entry.value.json())).collect()
        }
        None => serde_json::Map::new(),
    };
    Ok(IssuerEntry { id, path, token_expiration, args })
}

fn command(node: Node) -> Result<Vec<String>, WorkloadError> {
    let line = node.line;
    let words: Vec<String> = match node.found() {
        Found::List => each(Some(node), "command", "a list", |node| node.word("command"))?,
        _ => node.text("command")?.split_ascii_whitespace().map(str::to_owned).collect(),
    };
    let sound = words.first().is_some_and(|first| !first.is_empty()) && words.iter().all(|word| !word.contains('\0'));
    if sound { Ok(words) } else { Err(value_error(line, "command", words.join(" "), "a program and its arguments")) }
}

fn environment(node: Option<Node>) -> Result<BTreeMap<String, String>, WorkloadError> {
    let Some(node) = node else { return Ok(BTreeMap::new()) };
    node.map("environment", "a map of name to value")?
        .into_iter()
        .map(|Entry { line, key, value }| {
            if key.is_empty() || key.contains(['=', '\0']) {
                return Err(value_error(line, "environment", key, "the name of a variable"));
            }
            let line = value.line;
            let text = match (value.found(), &value.value) {
                (Found::Nothing, Value::Scalar { .. }) => String::new(),
                _ => value.word(&format!("environment.{key}"))?,
            };
            if text.contains('\0') {
                return Err(value_error(line, "environment", key, "a value without NUL"));
            }
            Ok((key, text))
        })
        .collect()
}

fn vcpus(top: &mut Fields) -> Result<(u32, String), WorkloadError> {
    let count = optional(top.take("vcpus"), |node| node.number("vcpus", 1, 512))?.unwrap_or(2);
    let Some(node) = top.take("vcpu_type") else { return Ok((count as u32, "EPYC-v4".to_owned())) };
    let line = node.line;
    let kind = node.text("vcpu_type")?;
    if kind.parse::<VcpuType>().is_ok() {
        return Ok((count as u32, kind));
    }
    let wanted = match nearest(&kind, VcpuType::ALL.iter().map(|kind| kind.name())) {
        Some(nearest) => format!("an EPYC model (did you mean `{nearest}`?)"),
        None => "an EPYC model as `EPYC-v4` or `EPYC-Milan`".to_owned(),
    };
    Err(value_error(line, "vcpu_type", kind, &wanted))
}

fn memory(node: Node) -> Result<u64, WorkloadError> {
    let (line, least) = (node.line, 256 << 20);
    let bytes = node.bytes("memory")?;
    if bytes >= least {
        return Ok(bytes);
    }
    Err(value_error(line, "memory", format!("{} MB", bytes >> 20), "256 MB or more: the guest itself needs that"))
}

fn broker(node: Node) -> Result<Broker, WorkloadError> {
    let mut fields = Fields::open(node, "broker", "broker")?;
    let wanted = "`https://HOST:PORT` and nothing behind it; HOST is a name or an IPv4 address";
    let url = fields.require("url")?.checked("broker.url", |url| host_and_port(url).is_some(), wanted)?;
    let identity = fields.require("identity")?.parsed("broker.identity", "64 hex digits")?;
    Ok(Broker { url, identity })
}

fn network(node: Node) -> Result<Network, WorkloadError> {
    if node.found() == Found::Text {
        return node.choice("network", &[("dhcp", ())]).map(|()| Network::Dhcp);
    }
    if node.found() != Found::Map {
        return Err(kind(node.line, "network", node.found(), "`dhcp` or a map"));
    }
    let mut fields = Fields::open(node, "network", "network")?;
    let address = fields.require("address")?;
    let address = address.checked("network.address", is_prefixed_address, "an IPv4 address as `10.0.0.5/24`")?;
    // The guest's firewall lets no IPv6 through.
    let v4 = |node: Node, key: &str| node.parsed(key, "an IPv4 address").map(|address: Ipv4Addr| address.into());
    let gateway = v4(fields.require("gateway")?, "network.gateway")?;
    let dns = each(fields.take("dns"), "network.dns", "a list of IPv4 addresses", |node| v4(node, "network.dns"))?;
    Ok(Network::Static { address, gateway, dns })
}

fn is_prefixed_address(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    address.parse::<Ipv4Addr>().is_ok() && length.parse::<u8>().is_ok_and(|length| (1..=32).contains(&length))
}

fn chips(node: Node) -> Result<Chips, WorkloadError> {
    match node.found() {
        Found::Text => {
            let line = node.line;
            match node.text("chips")?.as_str() {
                "any" => Ok(Chips::Any),
                "first-use" => Ok(Chips::FirstUse),
                other => Err(value_error(line, "chips", other.to_owned(), "`any`, `first-use` or a list of chip ids")),
            }
        }
        Found::List => {
            let line = node.line;
            let list = each(Some(node), "chips", "a list", |node| node.parsed("chips", "a chip id (128 hex digits)"))?;
            if list.is_empty() {
                return Err(value_error(line, "chips", "[]".to_owned(), "at least one chip id"));
            }
            Ok(Chips::List(list))
        }
        found => Err(kind(node.line, "chips", found, "`any`, `first-use` or a list of chip ids")),
    }
}

fn tcb_floor(node: Node) -> Result<TcbVersion, WorkloadError> {
    let mut fields = Fields::open(node, "tcb_floor", "tcb_floor")?;
    let mut level = |key: &'static str| {
        optional(fields.take(key), |node| node.number(key, 0, 255)).map(|level| level.map(|level| level as u8))
    };
    Ok(TcbVersion {
        fmc: level("fmc")?,
        bootloader: level("bootloader")?.unwrap_or(0),
        tee: level("tee")?.unwrap_or(0),
        snp: level("snp")?.unwrap_or(0),
        microcode: level("microcode")?.unwrap_or(0),
    })
}

fn limits(node: Option<Node>) -> Result<Limits, WorkloadError> {
    let Some(node) = node else { return Ok(Limits { memory_bytes: None, processes: DEFAULT_PROCESSES }) };
    let mut fields = Fields::open(node, "limits", "limits")?;
    let processes = optional(fields.take("processes"), |node| node.number("limits.processes", 1, 4_194_304))?;
    Ok(Limits {
        memory_bytes: optional(fields.take("memory"), |node| node.bytes("limits.memory"))?,
        processes: processes.map_or(DEFAULT_PROCESSES, |processes| processes as u32),
    })
}

fn proof(node: Node) -> Result<Proof, WorkloadError> {
    let mut fields = Fields::open(node, "proof", "proof")?;
    let sound = |path: &str| path.starts_with('/') && path.contains("{challenge}");
    let path = fields.require("path")?.checked("proof.path", sound, "a path as `/prove/{challenge}`")?;
    Ok(Proof { path, secret: fields.require("secret")?.resource()? })
}

/// What NVFlare's manager does where nothing is said.
const DEFAULT_CHECK_FREQUENCY: u64 = 600;
const DEFAULT_PROCESSES: u32 = 4096;
