//! What evidence of NVIDIA GPUs and switches says, as types; printed under the names that NVIDIA's own tools use.
//!
//! These are plain values. They are *true* only when they come out of `attest::nvgpu::AppraisedDevice`.

use crate::bytes::{Digest256, Digest384};
use crate::{Nonce, UnixTime};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// A generation of devices, by the chip named in the certificate chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Architecture {
    /// GH100 GPUs.
    Hopper,
    /// GB10x and GB20x GPUs.
    Blackwell,
    /// NVSwitch of the third generation.
    Ls10,
}

impl Architecture {
    /// Whether it is a switch, not a GPU.
    pub fn is_switch(self) -> bool {
        self == Self::Ls10
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Hopper => "HOPPER",
            Self::Blackwell => "BLACKWELL",
            Self::Ls10 => "LS10",
        })
    }
}

/// Mode of confidential computing (opaque field 36, `FEATURE_FLAG`; or 21, `PROTECTED_PCIE_STATUS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// Single GPU passthrough.
    Spt,
    /// Several GPUs, encrypted links.
    Mpt,
    /// Protected PCIe: eight GPUs and their switches in one guest.
    Ppcie,
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Spt => "SPT",
            Self::Mpt => "MPT",
            Self::Ppcie => "PPCIE",
        })
    }
}

/// What came of comparing measurements (EAT `measres`, RFC 9711 section 4.2.16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measres {
    /// Driver and VBIOS (of a switch: BIOS) are the reference values.
    Success,
    /// Not all of it was compared; the waivers say why.
    NotRun,
}

/// What was known about the revocation of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "x-nvidia-cert-ocsp-status", rename_all = "snake_case")]
pub enum Revocation {
    /// Its issuer says that it is good.
    Good {
        /// `thisUpdate`, seconds since 1970.
        from: u64,
        /// `nextUpdate`, seconds since 1970.
        until: u64,
    },
    /// On hold, and policy accepts that.
    Hold {
        /// Since when, seconds since 1970.
        since: u64,
        /// Why it is accepted.
        reason: String,
    },
    /// Nothing is known, and policy does without.
    Absent {
        /// Why none is needed.
        reason: String,
    },
}

/// Everything that a device's evidence states, and what was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceClaims {
    /// Generation.
    pub architecture: Architecture,
    /// Chip, as RIMs name it: `GH100`, `GB100`, `LS10`.
    pub chip: String,
    /// Common name of the certificate of the chip's boot ROM.
    pub hwmodel: String,
    /// Serial number of the leaf certificate, decimal.
    pub ueid: String,
    /// Serial number of the certificate of the chip's boot ROM, hex: names one device, whatever firmware it runs.
    pub device_id: String,
    /// Nonce of the signed request.
    pub nonce: Nonce,
    /// Driver; a switch has none.
    pub driver_version: Option<String>,
    /// VBIOS, or BIOS of a switch.
    pub vbios_version: String,
    /// Mode, where the driver is new enough to say it.
    pub mode: Option<Mode>,
    /// Firmware id; equal to the certificate's. Drivers before 550 do not send it.
    pub fwid: Option<Digest384>,
    /// Measurements by index of the SPDM block, from 1.
    pub measurements: Vec<(u8, Digest384)>,
    /// SHA-256 of the evidence up to and including its signature.
    pub evidence: Digest256,
    /// Revocation, chain order, without leaf and root.
    pub revocation: Vec<Revocation>,
    /// Result of the comparison; none before it was made.
    pub measres: Option<Measres>,
}

impl Serialize for DeviceClaims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let device = if self.architecture.is_switch() { "switch" } else { "gpu" };
        let name = |rest: &str| format!("x-nvidia-{device}-{rest}");
        let bios = if self.architecture.is_switch() { "bios-version" } else { "vbios-version" };
        let compared = self.measres == Some(Measres::Success);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("eat_nonce", &self.nonce)?;
        map.serialize_entry("hwmodel", &self.hwmodel)?;
        map.serialize_entry("ueid", &self.ueid)?;
        map.serialize_entry("measres", &self.measres)?;
        map.serialize_entry("secboot", &compared.then_some(true))?;
        map.serialize_entry("dbgstat", &compared.then_some("disabled"))?;
        map.serialize_entry(&name("arch"), &self.architecture)?;
        map.serialize_entry(&name("arch-check"), &true)?;
        map.serialize_entry(&name("chip"), &self.chip)?;
        map.serialize_entry(&name("device-id"), &self.device_id)?;
        if let Some(version) = &self.driver_version {
            map.serialize_entry(&name("driver-version"), version)?;
        }
        map.serialize_entry(&name(bios), &self.vbios_version)?;
        map.serialize_entry(&name("mode"), &self.mode)?;
        map.serialize_entry(&name("attestation-report-parsed"), &true)?;
        map.serialize_entry(&name("attestation-report-signature-verified"), &true)?;
        map.serialize_entry(&name("attestation-report-cert-chain"), &self.revocation)?;
        map.serialize_entry(&name("attestation-report-cert-chain-fwid"), &self.fwid)?;
        map.serialize_entry(&name("attestation-report-cert-chain-fwid-match"), &self.fwid.map(|_| true))?;
        map.serialize_entry(&name("attestation-report-sha256"), &self.evidence)?;
        map.serialize_entry(
            &name("measurements"),
            &self
                .measurements
                .iter()
                .map(|(index, value)| (*index, *value))
                .collect::<std::collections::BTreeMap<_, _>>(),
        )?;
        map.end()
    }
}

/// Reference values of one RIM, taken out when its signature was checked. Kept, they outlive the signer's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenMeasurements {
    /// Always 1.
    pub version: u32,
    /// `tagId` of the RIM.
    pub tag_id: String,
    /// Chip: `GH100`, `GB100`, `LS10`.
    pub product: String,
    /// `GPU` or `SWITCH`.
    pub edition: String,
    /// Version of driver, VBIOS or BIOS.
    pub colloquial_version: String,
    /// SHA-256 of the whole RIM.
    pub rim: Digest256,
    /// SHA-384 of the SubjectPublicKeyInfo of the root that it was verified under.
    pub root: Digest384,
    /// When the signature was checked.
    pub verified_at: UnixTime,
    /// End of validity of the chain, as it was then.
    pub signer_until: UnixTime,
    /// Active reference values, sorted by index.
    pub measurements: Vec<Golden>,
}

/// The values that one measurement may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Index in the RIM, from 0; the SPDM block has the number after it.
    pub index: u8,
    /// Alternatives.
    pub values: Vec<Digest384>,
}

/// A file that holds no reference values of a RIM.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// Not the JSON wanted.
    #[error("the file of golden measurements is not valid")]
    Json(#[from] serde_json::Error),
    /// Another version, an index twice or out of order, an index without values.
    #[error("the golden measurements are not in their one form: {what}")]
    Form {
        /// What is wrong.
        what: &'static str,
    },
}

impl GoldenMeasurements {
    /// Parses the JSON form.
    pub fn parse(bytes: &[u8]) -> Result<Self, GoldenError> {
        let golden: Self = serde_json::from_slice(bytes)?;
        let form = |what| Err(GoldenError::Form { what });
        if golden.version != 1 {
            return form("the version is not 1");
        }
        if golden.measurements.is_empty() || golden.measurements.iter().any(|entry| entry.values.is_empty()) {
            return form("there are no values");
        }
        if !golden.measurements.is_sorted_by(|one, next| one.index < next.index) {
            return form("the indices are not rising");
        }
        Ok(golden)
    }
}
