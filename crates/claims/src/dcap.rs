//! What an SGX or TDX quote says, and what Intel says of the platform that made it (Intel DCAP: "ECDSA Quote Library
//! API", appendix A; PCS API v3 and v4 for the collateral).
//!
//! These are plain values. They are *true* only when they come out of `attest::dcap::VerifiedQuote`.

use crate::ReportData;
use crate::bytes::{Digest256, Digest384};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Which kind of trusted execution environment the quote is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DcapTee {
    /// An SGX enclave.
    Sgx,
    /// A TDX trust domain.
    Tdx,
}

impl fmt::Display for DcapTee {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Sgx => "SGX",
            Self::Tdx => "TDX",
        })
    }
}

/// Where the certificate chains end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DcapRoot {
    /// Intel's pinned SGX root.
    Intel,
    /// A root that the caller brought: proves nothing about hardware.
    Unanchored,
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// Intel's verdict about a platform's patch level, in Intel's spelling.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum TcbStatus { $($(#[$doc])* $name,)* }

        impl TcbStatus {
            /// Every status.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Intel's word for it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

statuses! {
    /// Nothing is known against it.
    UpToDate;
    /// The software must bring mitigations of its own.
    SWHardeningNeeded;
    /// The platform's settings (hyper-threading, overclocking) leave a weakness open.
    ConfigurationNeeded;
    /// Both of the above.
    ConfigurationAndSWHardeningNeeded;
    /// Known weaknesses are not patched.
    OutOfDate;
    /// Not patched, and the settings leave a weakness open.
    OutOfDateConfigurationNeeded;
    /// The platform's keys are known to be bad.
    Revoked;
    /// The trust domain was launched on an outdated TDX module that has since been updated: launch it again.
    TDRelaunchAdvised;
    /// The same, and the settings leave a weakness open.
    TDRelaunchAdvisedConfigurationNeeded;
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for TcbStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|status| status.name() == text)
            .ok_or_else(|| UnknownStatus { text: text.chars().take(60).collect() })
    }
}

/// A text that is no TCB status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no TCB status `{text}`")]
pub struct UnknownStatus {
    /// The text given.
    pub text: String,
}

/// Everything that a verified quote states, on its axes: what it is, which patch level, how old the collateral is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DcapClaims {
    /// SGX or TDX.
    pub tee: DcapTee,
    /// Where the chains end.
    pub root: DcapRoot,
    /// Quote format version.
    pub quote_version: u16,
    /// What the enclave or trust domain is.
    pub body: DcapBody,
    /// The platform, by its PCK certificate.
    pub platform: DcapPlatform,
    /// Patch level, by Intel's collateral.
    pub tcb: DcapTcb,
    /// How long the collateral holds.
    pub collateral: DcapCollateral,
}

/// The report body: of an enclave or of a trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DcapBody {
    /// An enclave.
    Sgx(Box<SgxClaims>),
    /// A trust domain.
    Tdx(Box<TdxClaims>),
}

impl DcapBody {
    /// What was asked to be signed.
    pub fn report_data(&self) -> ReportData {
        match self {
            Self::Sgx(claims) => claims.report_data,
            Self::Tdx(claims) => claims.report_data,
        }
    }
}

/// `ATTRIBUTES.FLAGS` of an enclave (Intel SDM, "SECS.ATTRIBUTES").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SgxFlags(pub u64);

impl SgxFlags {
    /// Bit 1: the host may read and write the enclave.
    pub fn debug(self) -> bool {
        self.0 >> 1 & 1 == 1
    }

    /// Bit 0: `EINIT` was done; the hardware sets it in every report.
    pub fn init(self) -> bool {
        self.0 & 1 == 1
    }

    /// Bit 4: the provisioning key is available, which identifies the platform to the enclave.
    pub fn provision_key(self) -> bool {
        self.0 >> 4 & 1 == 1
    }
}

/// An enclave's report (`sgx_report_body_t`, 384 bytes).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SgxClaims {
    /// SHA-256 of what was loaded into the enclave, and how.
    pub mrenclave: Digest256,
    /// SHA-256 of the signer's modulus.
    pub mrsigner: Digest256,
    /// Product number, given by the signer.
    pub isv_prod_id: u16,
    /// Security version, given by the signer.
    pub isv_svn: u16,
    /// Attribute flags.
    pub flags: SgxFlags,
    /// Extended features that the enclave may use (XFRM).
    pub xfrm: u64,
    /// `MISCSELECT`.
    pub misc_select: u32,
    /// Microcode versions of the processor, hex.
    pub cpu_svn: String,
    /// Extended product id (KSS), hex.
    pub isv_ext_prod_id: String,
    /// Family id (KSS), hex.
    pub isv_family_id: String,
    /// Configuration id, given at load (KSS), hex.
    pub config_id: String,
    /// Configuration version, given at load (KSS).
    pub config_svn: u16,
    /// What the enclave asked to be signed.
    pub report_data: ReportData,
}

/// `TDATTRIBUTES` (Intel TDX module ABI specification, table "ATTRIBUTES").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TdAttributes(pub u64);

impl TdAttributes {
    /// Bits 7:0, the "TD under debug" group: bit 0 debug, bits 4 to 6 profiling by the host; the rest is reserved.
    pub fn under_debug(self) -> bool {
        self.0 & 0xFF != 0
    }

    /// Bit 28: a page that the host took away does not become a #VE that the guest handles.
    pub fn sept_ve_disable(self) -> bool {
        self.0 >> 28 & 1 == 1
    }

    /// Bit 29: a migration TD can move it.
    pub fn migratable(self) -> bool {
        self.0 >> 29 & 1 == 1
    }

    /// Bit 17: the report's service TD fields are filled by `SERVTD_EXT`.
    pub fn service_td_extended(self) -> bool {
        self.0 >> 17 & 1 == 1
    }

    /// Bit 63: performance monitoring, which is a side channel.
    pub fn perfmon(self) -> bool {
        self.0 >> 63 == 1
    }

    /// Bits that must be zero: 3:1, 7, 15:8, 26:23, 61:32.
    pub fn reserved(self) -> u64 {
        self.0 & 0x3FFF_FFFF_0780_FF8E
    }
}

/// A trust domain's report (TDX module ABI, `TDREPORT_STRUCT`; 584 bytes for TDX 1.0, 648 for 1.5, 885 for 1.5 extended).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TdxClaims {
    /// `1.0`, `1.5` or `1.5-ex`.
    pub report: &'static str,
    /// Measurement of what was there at launch.
    pub mrtd: Digest384,
    /// Run-time measurement registers.
    pub rtmr: [Digest384; 4],
    /// Set by the host at launch: a digest of non-owner-defined configuration.
    pub mr_config_id: Digest384,
    /// Set by the host at launch.
    pub mr_owner: Digest384,
    /// Set by the host at launch.
    pub mr_owner_config: Digest384,
    /// Measurement of the service TDs bound to it (from 1.5 on).
    pub mr_service_td: Option<Digest384>,
    /// TD attributes.
    pub attributes: TdAttributes,
    /// Extended features that it may use.
    pub xfam: u64,
    /// Measurement of the TDX module.
    pub mr_seam: Digest384,
    /// Signer of the TDX module; zero for Intel's.
    pub mr_signer_seam: Digest384,
    /// Attributes of the TDX module.
    pub seam_attributes: u64,
    /// Patch levels at launch, hex.
    pub tee_tcb_svn: String,
    /// Patch levels now, hex (from 1.5 on).
    pub tee_tcb_svn2: Option<String>,
    /// What 1.5 extended adds, hex, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended: Option<TdxExtended>,
    /// What the trust domain asked to be signed.
    pub report_data: ReportData,
}

/// Fields that a TDX 1.5 extended report adds, hex. None of them is appraised by Intel's collateral.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TdxExtended {
    /// 0 for the first level, 1 to 3 for a partition.
    pub vm_id: u8,
    /// Unique per launched trust domain.
    pub td_id: String,
    /// Digest of the devices' information.
    pub device_info: String,
    /// Service TDs bound at creation.
    pub init_service_td: String,
    /// Their attributes.
    pub init_service_td_attributes: String,
    /// Microcode versions at creation.
    pub init_cpu_svn: String,
    /// Patch levels at creation.
    pub init_tee_tcb_svn: String,
    /// Platform model at creation.
    pub init_tee_fmspc: String,
    /// Service TDs bound now.
    pub current_service_td: String,
    /// Their attributes.
    pub current_service_td_attributes: String,
}

/// What a PCK certificate says about its platform (Intel "SGX PCK Certificate and CRL Profile Specification").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DcapPlatform {
    /// `processor` or `platform`: which of Intel's authorities issued the certificate.
    pub ca: &'static str,
    /// Model family with its configuration, hex.
    pub fmspc: String,
    /// Provisioning enclave's id, hex.
    pub pce_id: String,
    /// Names the processor package, hex.
    pub ppid: String,
    /// Names the (multi-package) platform instance, hex.
    pub platform_instance_id: Option<String>,
    /// `standard`, `scalable` or `scalable with integrity`: how memory is protected.
    pub sgx_type: &'static str,
    /// Microcode versions that the certificate was issued for, hex.
    pub cpu_svn: String,
    /// Provisioning enclave's version that the certificate was issued for.
    pub pce_svn: u16,
    /// Packages can be added to the platform.
    pub dynamic_platform: Option<bool>,
    /// Its keys are kept by Intel's registration service.
    pub cached_keys: Option<bool>,
    /// Hyper-threading is on.
    pub smt_enabled: Option<bool>,
    /// Serial number of the PCK certificate, hex.
    pub pck_serial: String,
}

/// Patch level, by Intel's collateral.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DcapTcb {
    /// Of the whole: platform, quoting enclave and TDX module, converged as Intel's library does.
    pub status: TcbStatus,
    /// Advisories of all parts, without doubles.
    pub advisories: Vec<String>,
    /// The platform's level.
    pub platform: DcapLevel,
    /// The quoting enclave's level.
    pub qe: DcapLevel,
    /// The TDX module's level at launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<DcapLevel>,
    /// Status of the patch levels now (from TDX 1.5 on).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<TcbStatus>,
    /// `tcbEvaluationDataNumber`: the lower of TCB info and quoting enclave's identity.
    pub evaluation_number: u32,
}

/// A level of the collateral that was matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DcapLevel {
    /// Its status.
    pub status: TcbStatus,
    /// The date that stands for it, seconds since 1970.
    pub date: u64,
    /// Its advisories.
    pub advisories: Vec<String>,
}

/// How long the collateral holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DcapCollateral {
    /// Where the time of verification lies.
    pub state: CollateralState,
    /// The time that was given as now, seconds since 1970.
    pub checked_at: u64,
    /// From when on all of it is valid, seconds since 1970.
    pub from: u64,
    /// Until when all of it is valid, seconds since 1970.
    pub until: u64,
    /// What it consists of.
    pub items: Vec<CollateralItem>,
}

/// Where the time of verification lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CollateralState {
    /// All of it is valid.
    Current,
    /// Something has expired.
    Expired,
    /// Something is not valid yet.
    NotYetValid,
}

/// A dated piece of collateral.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CollateralItem {
    /// What it is.
    pub what: &'static str,
    /// Start of validity, seconds since 1970.
    pub from: u64,
    /// End of validity, seconds since 1970.
    pub until: u64,
}
