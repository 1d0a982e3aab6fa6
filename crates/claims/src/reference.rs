//! Reference values: what a build says about itself, and the release rule that a broker makes of it.

use crate::bytes::Digest256;
use crate::snp::TcbVersion;
use crate::{ChipId, HostData, LaunchDigest, VerityRoot};
use serde::{Deserialize, Serialize};

/// `reference.json`, written by a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Always 1.
    pub version: u32,
    /// Name of the workload.
    pub name: String,
    /// Site that the bundle is for.
    pub site: String,
    /// `cvm`, `aci` or `sgx`.
    pub substrate: String,
    /// One entry per virtual CPU type and count the bundle may be started with.
    pub launch_measurements: Vec<LaunchMeasurement>,
    /// HOST_DATA: SHA-256 of `site.json`.
    pub host_data: HostData,
    /// Root hash of the root volume, which is on the measured command line.
    pub root_hash: VerityRoot,
    /// Resources that the rule is to release.
    pub resources: Vec<String>,
    /// Least TCB, component by component; checked against reported, committed, current and launch TCB.
    pub tcb_floor: Option<TcbVersion>,
    /// Which chips may ask.
    pub chips: Chips,
    /// How many guests may hold the keys at once.
    pub lease: Lease,
    /// Files the measurement was computed from, by digest.
    pub inputs: Vec<Input>,
    /// Kernel command line that was measured.
    pub command_line: String,
}

/// A launch measurement and the circumstances it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchMeasurement {
    /// QEMU's name of the virtual CPU.
    pub vcpu_type: String,
    /// Number of virtual CPUs.
    pub vcpus: u32,
    /// SEV features in the VMSA.
    pub guest_features: u64,
    /// The digest.
    pub launch_measurement: LaunchDigest,
}

/// A file that went into a measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// `firmware`, `kernel`, `initrd`, `guest`, `archive`, …
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest256,
}

/// Which chips may ask for a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chips {
    /// Any chip of a product that the verifier accepts.
    Any,
    /// The chip that asked first, from then on only that one.
    FirstUse,
    /// These.
    List(Vec<ChipId>),
}

/// How many guests may hold the keys at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lease {
    /// Several; a second one beside the first is flagged in the audit log.
    Shared,
    /// One; a second one is refused until the first has been silent for longer than its lease.
    Exclusive,
}

/// A file that is not a `reference.json` this program reads.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// Not the JSON wanted.
    #[error("the reference file is not valid")]
    Json(#[from] serde_json::Error),
    /// A version that this program does not know.
    #[error("the reference file is version {got}, this program reads version 1")]
    Version {
        /// Version found.
        got: u32,
    },
}

impl Reference {
    /// Parses a `reference.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReferenceError> {
        let reference: Self = serde_json::from_slice(bytes)?;
        if reference.version != 1 {
            return Err(ReferenceError::Version { got: reference.version });
        }
        Ok(reference)
    }
}
