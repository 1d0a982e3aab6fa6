//! What a TPM quote and an Azure confidential VM say, as types.
//!
//! These are plain values. They are *true* only when they come out of `attest::tpm::VerifiedQuote` and
//! `attest::azure::VerifiedAzure`. Names: TPM 2.0 Library part 2, and the JSON of Azure's runtime claims.

use crate::bytes::{Digest256, ReportData};
use crate::snp::SnpClaims;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a TPM signed (TPM 2.0 Library part 2, `TPMS_ATTEST` of a quote).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TpmClaims {
    /// Name of the signing key and its parents, hex.
    pub qualified_signer: String,
    /// `extraData`: the verifier's nonce, hex.
    pub nonce: String,
    /// Milliseconds that the TPM was powered.
    pub clock: u64,
    /// Resets since the TPM was cleared.
    pub reset_count: u32,
    /// Resumes since the last reset.
    pub restart_count: u32,
    /// Whether the clock cannot have gone back.
    pub safe: bool,
    /// Vendor's firmware version, hex.
    pub firmware_version: String,
    /// Which PCRs of the SHA-256 bank the digest is over.
    pub pcr_selection: Vec<u8>,
    /// SHA-256 over the selected PCRs in index order.
    pub pcr_digest: Digest256,
    /// The PCR values that hash to the digest; empty before appraisal.
    pub pcrs: BTreeMap<u8, Digest256>,
}

/// What an Azure confidential VM says, all of it hashed into the hardware's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AzureClaims {
    /// Version of the HCL report's header.
    pub hcl_version: u32,
    /// What the processor says.
    pub hardware: AzureHardware,
    /// SHA-256 of the runtime claims, as the processor signed it.
    pub runtime_data_hash: Digest256,
    /// Settings of the VM.
    #[serde(rename = "vm-configuration")]
    pub vm_configuration: VmConfiguration,
    /// What the guest wrote before it asked for the report; none in old images.
    #[serde(rename = "user-data")]
    pub user_data: Option<ReportData>,
    /// SHA-256 of the attestation key's SubjectPublicKeyInfo.
    pub attestation_key: Digest256,
}

/// Which processor vouches for the runtime claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AzureHardware {
    /// An SNP report.
    Snp(Box<SnpClaims>),
    /// A TD report that equals a verified quote.
    Tdx(Box<TdClaims>),
}

/// What a TD report states (Intel TDX module 1.5 ABI, `TDREPORT_STRUCT`), hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TdClaims {
    /// Security version numbers of the TDX module.
    pub tee_tcb_svn: String,
    /// Measurement of the TDX module.
    pub mr_seam: String,
    /// Attributes of the guest.
    pub td_attributes: String,
    /// Extended features of the guest.
    pub xfam: String,
    /// Launch measurement.
    pub mr_td: String,
    /// Set by the host at launch.
    pub mr_config_id: String,
    /// Set by the host at launch.
    pub mr_owner: String,
    /// Set by the host at launch.
    pub mr_owner_config: String,
    /// Run-time measurement registers.
    pub rtmr: [String; 4],
    /// What the guest asked to be signed.
    pub report_data: ReportData,
}

/// Settings of a VM (`vm-configuration` of the runtime claims).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VmConfiguration {
    /// A console is attached: who holds it can type.
    #[serde(rename = "console-enabled")]
    pub console_enabled: bool,
    /// UEFI Secure Boot is on.
    #[serde(rename = "secure-boot")]
    pub secure_boot: bool,
    /// The VM has a vTPM.
    #[serde(rename = "tpm-enabled")]
    pub tpm_enabled: bool,
    /// The vTPM's state survives a stop.
    #[serde(rename = "tpm-persisted")]
    pub tpm_persisted: Option<bool>,
    /// Thumbprint of the certificate that the host provisioned the VM with.
    #[serde(rename = "root-cert-thumbprint")]
    pub root_cert_thumbprint: Option<String>,
    /// The host's clock, seconds since 1970.
    #[serde(rename = "current-time")]
    pub current_time: Option<u64>,
    /// Azure's id of the VM.
    #[serde(rename = "vmUniqueId")]
    pub vm_unique_id: Option<String>,
    /// Other members, as text; nothing is decided on them.
    pub other: BTreeMap<String, String>,
}
