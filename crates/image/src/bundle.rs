//! The folder a build makes, and `manifest.json`, which says how to start it.
//!
//! *Takes* a bundle's folder.
//! *Guarantees* that a manifest it returns has only known members and names only files inside the folder.
//! *Does not check* anything for the guest: a manifest is the host's own note, and the guest never sees it.

mod text;

pub use text::{launch_script, readme};

use claims::{Digest256, HostData};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Files of a bundle, by name.
pub mod names {
    /// The application log: an ext4 image that people can mount.
    pub const APPLOG: &str = "applog.qcow2";
    /// The root volume: image and settings, sealed.
    pub const ROOT: &str = "crypt_root.qcow2";
    /// The initial RAM file system: the guest program and its modules.
    pub const INITRD: &str = "initrd.img";
    /// Starts the virtual machine without Confide.
    pub const LAUNCH: &str = "launch_vm.sh";
    /// The firmware.
    pub const FIRMWARE: &str = "OVMF.amdsev.fd";
    /// For the person who starts it.
    pub const README: &str = "README.txt";
    /// The site's own configuration, sealed.
    pub const USER_CONFIG: &str = "user_config.qcow2";
    /// The site's data, not encrypted.
    pub const USER_DATA: &str = "user_data.qcow2";
    /// The kernel.
    pub const KERNEL: &str = "vmlinuz";
    /// Where it runs and for whom; its digest is HOST_DATA.
    pub const SITE: &str = "site.json";
    /// How to start it.
    pub const MANIFEST: &str = "manifest.json";
    /// What a broker is to expect.
    pub const REFERENCE: &str = "reference.json";
}

/// Largest `manifest.json` that is read.
pub const MAX_MANIFEST: u64 = 1 << 20;

/// How to start a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always 1.
    pub version: u32,
    /// Name of the workload.
    pub name: String,
    /// Name of the site.
    pub site: String,
    /// Twelve hex digits that name this bundle, made of its measurement and HOST_DATA.
    pub cvm_id: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// QEMU's name of the virtual CPU.
    pub vcpu_type: String,
    /// Memory of the virtual machine.
    pub memory_bytes: u64,
    /// The whole kernel command line, as it is measured.
    pub command_line: String,
    /// SNP launch policy.
    pub policy: u64,
    /// HOST_DATA to start it with.
    pub host_data: HostData,
    /// TCP ports that reach the workload.
    pub ports: Vec<u16>,
    /// Whether the workload expects a GPU.
    pub gpu: bool,
    /// Drives, in the order they are attached.
    pub drives: Vec<BundleDrive>,
    /// Files that never change after the build, by digest.
    pub files: Vec<StaticFile>,
}

/// A drive of the virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleDrive {
    /// The virtio-blk serial that the guest finds it by.
    pub serial: String,
    /// File in the bundle's folder.
    pub file: String,
    /// Its format.
    pub format: DriveFormat,
    /// Whether the virtual machine may write to it.
    pub writable: bool,
}

/// Format of a drive's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriveFormat {
    /// QEMU's.
    Qcow2,
    /// The drive's own bytes.
    Raw,
}

impl DriveFormat {
    /// QEMU's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// A file that stays as it was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticFile {
    /// File in the bundle's folder.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest256,
}

/// A folder that is not a bundle this program can use.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The manifest cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The manifest is larger than any build writes.
    #[error("{} has {got} bytes, at most {MAX_MANIFEST} are read", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its size.
        got: u64,
    },
    /// Not the JSON wanted.
    #[error("{} is not a bundle's manifest", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A version that this program does not know.
    #[error("the manifest is version {got}, this program reads version 1")]
    Version {
        /// Version found.
        got: u32,
    },
    /// A file name that leads out of the folder.
    #[error("the manifest names the file `{name}`, which is not a plain name in the bundle's folder")]
    Name {
        /// The name.
        name: String,
    },
}

impl Manifest {
    /// Reads `manifest.json` of the bundle in `folder`.
    pub fn load(folder: &Path) -> Result<Self, ManifestError> {
        let path = folder.join(names::MANIFEST);
        let read = |source| ManifestError::Read { path: path.clone(), source };
        let length = std::fs::metadata(&path).map_err(read)?.len();
        if length > MAX_MANIFEST {
            return Err(ManifestError::Length { path, got: length });
        }
        let bytes = std::fs::read(&path).map_err(read)?;
        Self::parse(&bytes).map_err(|error| match error {
            ManifestError::Json { source, .. } => ManifestError::Json { path, source },
            other => other,
        })
    }

    /// Parses the bytes of a `manifest.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|source| ManifestError::Json { path: names::MANIFEST.into(), source })?;
        if manifest.version != 1 {
            return Err(ManifestError::Version { got: manifest.version });
        }
        let named = manifest.drives.iter().map(|drive| &drive.file).chain(manifest.files.iter().map(|file| &file.name));
        match named.into_iter().find(|name| !is_plain(name)) {
            Some(name) => Err(ManifestError::Name { name: name.clone() }),
            None => Ok(manifest),
        }
    }

    /// Writes the file: readable, one line end at its end.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

fn is_plain(name: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(sound)
}
