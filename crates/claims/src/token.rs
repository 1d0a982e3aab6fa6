//! What attestation services say in their tokens, as types.
//!
//! These are plain values. They are *true*, as far as the service is trusted, only when they come out of `attest::token`.

use crate::{HostData, LaunchDigest, bytes::ReportData};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// A token of Microsoft Azure Attestation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MaaClaims {
    /// `iss`.
    pub issuer: String,
    /// `exp`, seconds since 1970.
    pub expires: u64,
    /// `x-ms-attestation-type` of the evidence inside: `sevsnpvm`, `sgx` or `tdxvm`.
    pub attestation_type: String,
    /// `x-ms-compliance-status`.
    pub compliance_status: Option<String>,
    /// `x-ms-policy-hash`.
    pub policy_hash: Option<String>,
    /// `nonce`.
    pub nonce: Option<String>,
    /// `x-ms-runtime`: what the report data is the hash of.
    pub runtime: Option<Value>,
    /// What the processor said.
    pub tee: MaaTee,
}

/// What the processor said, as MAA retells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MaaTee {
    /// AMD SEV-SNP.
    Snp(MaaSnp),
    /// Intel SGX.
    Sgx(MaaSgx),
    /// Intel TDX.
    Tdx(MaaTdx),
}

/// `x-ms-sevsnpvm-*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MaaSnp {
    /// `launchmeasurement`.
    pub launch_measurement: LaunchDigest,
    /// `hostdata`.
    pub host_data: HostData,
    /// `reportdata`.
    pub report_data: ReportData,
    /// `is-debuggable`.
    pub is_debuggable: bool,
    /// `migration-allowed`.
    pub migration_allowed: bool,
    /// `vmpl`.
    pub vmpl: u64,
    /// `guestsvn`.
    pub guest_svn: u64,
    /// `bootloader-svn`, `tee-svn`, `snpfw-svn`, `microcode-svn`.
    pub tcb: [u64; 4],
}

/// `x-ms-sgx-*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MaaSgx {
    /// `mrenclave`, hex.
    pub mrenclave: String,
    /// `mrsigner`, hex.
    pub mrsigner: String,
    /// `product-id`.
    pub product_id: u64,
    /// `svn`.
    pub svn: u64,
    /// `is-debuggable`.
    pub is_debuggable: bool,
    /// `ehd`, enclave held data: base64url of what the report data is the hash of.
    pub enclave_held_data: Option<String>,
}

/// `tdx_*` (Azure Attestation EAT profile for TDX).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MaaTdx {
    /// `tdx_mrtd`, hex.
    pub mr_td: String,
    /// `tdx_rtmr0` to `tdx_rtmr3`, hex.
    pub rtmr: [String; 4],
    /// `tdx_mrconfigid`, hex.
    pub mr_config_id: String,
    /// `tdx_report_data`.
    pub report_data: ReportData,
    /// `tdx_td_attributes_debug`.
    pub is_debuggable: bool,
    /// `attester_tcb_status`.
    pub tcb_status: String,
}

/// An attestation result (draft-fv-rats-ear) with its submodules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EarClaims {
    /// `iss`, which EAR does not ask for.
    pub issuer: Option<String>,
    /// `eat_profile`.
    pub profile: String,
    /// `exp`, seconds since 1970.
    pub expires: u64,
    /// `eat_nonce`.
    pub nonce: Option<String>,
    /// Results by submodule.
    pub submods: BTreeMap<String, Appraisal>,
}

/// The result of one submodule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Appraisal {
    /// `ear.status`.
    pub status: Tier,
    /// `ear.trustworthiness-vector`: claims of AR4SI by name.
    pub trust_vector: BTreeMap<String, i8>,
    /// `ear.appraisal-policy-id`.
    pub policy_id: Option<String>,
    /// `ear.veraison.annotated-evidence`.
    pub annotated_evidence: Option<Value>,
}

/// Trust tiers (AR4SI), best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Everything that was looked at is as recommended.
    Affirming,
    /// Nothing was said.
    None,
    /// Something is not as recommended.
    Warning,
    /// Something is wrong.
    Contraindicated,
}

impl Tier {
    /// The tier of a claim's value (AR4SI, draft-ietf-rats-ar4si section 2.3).
    pub fn of(value: i8) -> Self {
        match value {
            -1..=1 => Self::None,
            -32..=31 => Self::Affirming,
            -96..=95 => Self::Warning,
            _ => Self::Contraindicated,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Affirming => "affirming",
            Self::None => "none",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        })
    }
}

/// A result of NVIDIA's remote attestation service for one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NrasClaims {
    /// `iss`.
    pub issuer: String,
    /// `exp`, seconds since 1970.
    pub expires: u64,
    /// `eat_nonce`.
    pub nonce: String,
    /// `x-nvidia-overall-att-result`.
    pub overall_result: bool,
    /// Results by device.
    pub devices: BTreeMap<String, NrasDevice>,
}

/// A result for one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NrasDevice {
    /// `measres`: `success` when every measurement is a golden one.
    pub measurement_result: String,
    /// `secboot`.
    pub secure_boot: bool,
    /// `dbgstat`: `disabled` on a device in production mode.
    pub debug_status: String,
    /// `hwmodel`.
    pub hardware_model: String,
    /// `ueid`: names the device.
    pub ueid: String,
    /// `x-nvidia-gpu-driver-version`.
    pub driver_version: Option<String>,
    /// `x-nvidia-gpu-vbios-version` or `x-nvidia-switch-bios-version`.
    pub vbios_version: Option<String>,
}
