//! The workload file: the `cc_*.yml` of NVFlare's on-premises guide as it stands, and Confide's optional keys.
//!
//! *Takes* the file's text, the folder it lies in, and the home folder that `~` means.
//! *Guarantees* that every key is known, is given once, and has a value of the right kind and range; each refusal names
//! the line and what to write instead.
//! *Does not check* whether the paths it names exist: the build reads them.

mod error;
mod fields;
mod read;
mod reference;
mod settings;
mod values;
mod yaml;

pub use error::WorkloadError;
pub use reference::{KeyDoc, Origin, REFERENCE};
pub use settings::SettingsProblem;

use claims::reference::{Chips, Lease};
use claims::site::{Broker, Network, Ports};
use claims::snp::TcbVersion;
use claims::workload::{Limits, UserData, WorkloadLog};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Largest workload file.
pub const MAX_LENGTH: usize = 1 << 20;
/// One GB of a drive size: 2^30 bytes, as QEMU's tools count.
pub const GIGABYTE: u64 = 1 << 30;
/// What a workload file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Name of the workload.
    pub name: String,
    /// Name of the site.
    pub site: String,
    /// Name of the project.
    pub project: String,
    /// Role in a federation.
    pub role: Option<String>,
    /// Sizes of the drives.
    pub drives: DriveSizes,
    /// The container archive.
    pub docker_archive: PathBuf,
    /// What the container sees below `/user_config`.
    pub user_config: BTreeMap<String, PathBuf>,
    /// What the firewall lets through.
    pub ports: Ports,
    /// Lines for `/etc/hosts`.
    pub hosts: BTreeMap<String, IpAddr>,
    /// Token issuers.
    pub issuers: Vec<IssuerEntry>,
    /// Seconds between two attestations.
    pub check_frequency: u64,
    /// Seconds without the broker after which the workload is stopped.
    pub grace: u64,
    /// Name of the one-file form of the bundle.
    pub image_name: String,
    /// Replaces the image's entrypoint and arguments.
    pub command: Option<Vec<String>>,
    /// Added to the image's environment.
    pub environment: BTreeMap<String, String>,
    /// Replaces the image's user.
    pub user: Option<String>,
    /// Virtual processors.
    pub vcpus: u32,
    /// QEMU's name of the virtual processor.
    pub vcpu_type: String,
    /// Memory of the VM.
    pub memory_bytes: u64,
    /// Kernel image, where the file names one.
    pub kernel: Option<PathBuf>,
    /// Folder of modules, where the file names one.
    pub modules: Option<PathBuf>,
    /// Firmware, where the file names one.
    pub firmware: Option<PathBuf>,
    /// The broker, where the file names one.
    pub broker: Option<Broker>,
    /// How the VM gets its address.
    pub network: Network,
    /// Where the workload's output goes.
    pub workload_log: WorkloadLog,
    /// How the data drive is mounted.
    pub user_data: UserData,
    /// Which processors may ask for the keys.
    pub chips: Chips,
    /// Whether several VMs may hold the keys at once.
    pub lease: Lease,
    /// Least patch level.
    pub tcb_floor: Option<TcbVersion>,
    /// Whether GPU devices are handed to the container.
    pub gpu: bool,
    /// Secrets the workload may read.
    pub resources: Vec<String>,
    /// Limits of the container.
    pub limits: Limits,
    /// How the service shows that it holds a secret, for `confide up`.
    pub proof: Option<Proof>,
}

/// A question that only somebody who holds a secret can answer: the service returns `{"hmac": HEX}`, the HMAC-SHA-256
/// of the challenge under that secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Path at the service; `{challenge}` in it stands for the challenge.
    pub path: String,
    /// Resource path of the secret.
    pub secret: String,
}

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriveSizes {
    /// The root drive.
    pub root: u64,
    /// The log drive.
    pub applog: u64,
    /// The sealed configuration drive.
    pub user_config: u64,
    /// The data drive.
    pub user_data: u64,
}

/// A token issuer, for the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerEntry {
    /// Its id.
    pub id: String,
    /// Class path.
    pub path: String,
    /// Seconds a token is valid.
    pub token_expiration: Option<u64>,
    /// Arguments of the class, for provisioning.
    pub args: serde_json::Map<String, serde_json::Value>,
}

/// What relative paths and `~` mean.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The workload file; its name gives the workload's default name, its folder the start of relative paths.
    pub file: &'a Path,
    /// The user's home folder.
    pub home: Option<&'a Path>,
}

impl Workload {
    /// Parses a workload file.
    pub fn parse(text: &str, place: Place<'_>) -> Result<Self, WorkloadError> {
        if text.len() > MAX_LENGTH {
            return Err(WorkloadError::TooLarge { line: 1 });
        }
        read::workload(yaml::read(text)?, place)
    }

    /// The whole reference of keys as a Markdown page, for the manual.
    pub fn manual() -> String {
        reference::page()
    }
}

/// Whether `text` is `repository/type/tag`.
pub fn is_resource_path(text: &str) -> bool {
    let segments: Vec<&str> = text.split('/').collect();
    segments.len() == 3 && segments.into_iter().all(is_name)
}

/// Whether `text` can name a workload, a site or a project: letters, digits, `.`, `_`, `-`, at most 64, no dot first.
pub fn is_name(text: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.len() <= 64 && !text.starts_with(['.', '-']) && text.bytes().all(sound)
}
