//! The JSON around evidence: a list as `nvattest` and NRAS exchange it, and the device evidence of Trustee.
//!
//! `[{"arch", "nonce", "evidence", "certificate"}]`, with `version`, `driver_version`, `vbios_version` in newer files;
//! `{"device_evidence_list": [{"arch", "uuid", "evidence", "certificate"}]}`. Evidence is base64 (Trustee also takes
//! hex), the certificate base64 of PEM. *Guarantees* bounded lists of parsed evidence and unparsed chains.
//! *Does not check* anything of it: `arch` and `nonce` are the sender's words, compared after verification.

use super::chain::DeviceChain;
use super::error::GpuError;
use super::evidence::Evidence;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use claims::Nonce;
use claims::nvgpu::Architecture;
use serde::Deserialize;

/// Longest file that is read: 16 devices of the largest kind.
pub const MAX_JSON: usize = 2 * 1024 * 1024;
/// Most devices in one file; the largest machine has 8 GPUs and 4 switches.
pub const MAX_DEVICES: usize = 16;

/// One device, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentDevice {
    /// What the sender says it is.
    pub architecture: Architecture,
    /// The nonce that the sender says it used, where the format has one.
    pub nonce: Option<Nonce>,
    /// What the sender calls it, where the format has a name.
    pub uuid: Option<String>,
    /// The evidence.
    pub evidence: Evidence,
    /// Its certificates.
    pub chain: DeviceChain,
}

#[derive(Deserialize)]
struct Entry {
    arch: Architecture,
    #[serde(default)]
    nonce: Option<Nonce>,
    #[serde(default)]
    uuid: Option<String>,
    evidence: String,
    certificate: String,
}

/// Trustee's form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trustee {
    device_evidence_list: Vec<Entry>,
}

impl Trustee {
    pub(crate) fn read(self) -> Result<Vec<SentDevice>, GpuError> {
        read(self.device_evidence_list)
    }
}

/// Parses either form. For fuzzing, this is a plain function of bytes.
pub fn parse(bytes: &[u8]) -> Result<Vec<SentDevice>, GpuError> {
    let malformed = |what: String| GpuError::Json { what };
    if bytes.len() > MAX_JSON {
        return Err(malformed(format!("{} bytes, at most {MAX_JSON} are read", bytes.len())));
    }
    let list = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let entries = if list {
        serde_json::from_slice::<Vec<Entry>>(bytes)
    } else {
        serde_json::from_slice::<Trustee>(bytes).map(|trustee| trustee.device_evidence_list)
    };
    read(entries.map_err(|error| malformed(error.to_string()))?)
}

fn read(entries: Vec<Entry>) -> Result<Vec<SentDevice>, GpuError> {
    if entries.len() > MAX_DEVICES {
        return Err(GpuError::Json { what: format!("{} devices, at most {MAX_DEVICES} are read", entries.len()) });
    }
    entries.into_iter().map(Entry::read).collect()
}

impl Entry {
    fn read(self) -> Result<SentDevice, GpuError> {
        let malformed = |what: String| GpuError::Json { what };
        // Base64 of SPDM 1.1 starts with `E`, hex of it with `11e0`.
        let evidence = if self.evidence.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("11e0")) {
            hex::decode(&self.evidence).map_err(|error| malformed(format!("evidence: {error}")))?
        } else {
            BASE64_STANDARD.decode(&self.evidence).map_err(|error| malformed(format!("evidence: {error}")))?
        };
        let pem =
            BASE64_STANDARD.decode(&self.certificate).map_err(|error| malformed(format!("certificate: {error}")))?;
        Ok(SentDevice {
            architecture: self.arch,
            nonce: self.nonce,
            uuid: self.uuid,
            evidence: Evidence::parse(&evidence)?,
            chain: DeviceChain::from_pem(&pem)?,
        })
    }
}
