//! What an SNP report says, as types (AMD SNP ABI 1.58, section 7.3, table 23).
//!
//! These are plain values. They are *true* only when they come out of `attest::snp::VerifiedReport`.

use crate::{ChipId, HostData, LaunchDigest, ReportData, bytes::Digest384};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The processor family that a report's certificate chain belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 (Genoa, Bergamo, Siena).
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl fmt::Display for Product {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        })
    }
}

/// Security patch levels of a platform. Compared component by component, never as one number:
/// the order is partial, and microcode levels compare only within one CPU model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcbVersion {
    /// Firmware management controller (Turin and later only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// Boot loader.
    pub bootloader: u8,
    /// TEE (PSP operating system).
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

impl TcbVersion {
    /// Whether every component is at least that of `floor`. A floor without `fmc` asks nothing of it.
    pub fn at_least(&self, floor: &Self) -> bool {
        self.first_below(floor).is_none()
    }

    /// The first component that is below `floor`: its name, what it is, what it should be at least.
    pub fn first_below(&self, floor: &Self) -> Option<(&'static str, u8, u8)> {
        [
            ("fmc", self.fmc.unwrap_or(0), floor.fmc.unwrap_or(0)),
            ("bootloader", self.bootloader, floor.bootloader),
            ("tee", self.tee, floor.tee),
            ("snp", self.snp, floor.snp),
            ("microcode", self.microcode, floor.microcode),
        ]
        .into_iter()
        .find(|(_, got, wanted)| got < wanted)
    }
}

impl fmt::Display for TcbVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(out, "fmc {fmc}, ")?;
        }
        write!(out, "bootloader {}, tee {}, snp {}, microcode {}", self.bootloader, self.tee, self.snp, self.microcode)
    }
}

/// Guest policy bits (SNP ABI table 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuestPolicy(pub u64);

impl GuestPolicy {
    /// What QEMU's callers use: SMT allowed, reserved bit 17 set, nothing else.
    pub const PLAIN: Self = Self(0x3_0000);

    /// Bit 19: the host may read the guest's memory.
    pub fn debug(self) -> bool {
        self.0 >> 19 & 1 == 1
    }

    /// Bit 18: a migration agent may be associated.
    pub fn migration(self) -> bool {
        self.0 >> 18 & 1 == 1
    }

    /// Bit 16: SMT is allowed.
    pub fn smt(self) -> bool {
        self.0 >> 16 & 1 == 1
    }

    /// Bit 20: the guest runs on one socket only.
    pub fn single_socket(self) -> bool {
        self.0 >> 20 & 1 == 1
    }

    /// Least ABI version the guest asks for: major, minor.
    pub fn abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }
}

/// Platform information bits (SNP ABI table 24).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlatformInfo(pub u64);

impl PlatformInfo {
    /// Bit 0: simultaneous multithreading is on.
    pub fn smt(self) -> bool {
        self.0 & 1 == 1
    }

    /// Bit 1: transparent memory encryption is on.
    pub fn tsme(self) -> bool {
        self.0 >> 1 & 1 == 1
    }

    /// Bit 5: memory aliasing was checked and not found (BadRAM, AMD-SB-3015).
    pub fn alias_check_complete(self) -> bool {
        self.0 >> 5 & 1 == 1
    }
}

/// The key that signed a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SigningKey {
    /// Versioned chip endorsement key: names a chip.
    #[serde(rename = "VCEK")]
    Vcek,
    /// Versioned loaded endorsement key: names a cloud provider.
    #[serde(rename = "VLEK")]
    Vlek,
}

/// Which kind of processor answered. Emulated evidence keeps its `snp` claim names and says so here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tee {
    /// AMD SEV-SNP silicon, by a chain to AMD's pinned roots.
    Snp,
    /// The emulated SNP processor of `confide-dev`: proves nothing about confidentiality.
    Emulated,
}

/// Everything that a report states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnpClaims {
    /// Silicon or emulator.
    pub tee: Tee,
    /// Report format version.
    pub version: u32,
    /// Processor family, by certificate chain and CPUID.
    pub product: Product,
    /// CPUID family, model, stepping (report version 3 and later).
    pub cpuid: Option<(u8, u8, u8)>,
    /// Guest security version number (only of meaning with an ID block).
    pub guest_svn: u32,
    /// Guest policy.
    pub policy: GuestPolicy,
    /// Family id of the ID block, hex.
    pub family_id: String,
    /// Image id of the ID block, hex.
    pub image_id: String,
    /// Privilege level that asked for the report.
    pub vmpl: u32,
    /// TCB running now.
    pub current_tcb: TcbVersion,
    /// Platform bits.
    pub platform_info: PlatformInfo,
    /// Which key signed.
    pub signing_key: SigningKey,
    /// Whether an author key was given.
    pub author_key_enabled: bool,
    /// What the guest asked to be signed.
    pub report_data: ReportData,
    /// Launch measurement.
    pub measurement: LaunchDigest,
    /// Set by the host at launch.
    pub host_data: HostData,
    /// Digest of the ID key, zero without an ID block.
    pub id_key_digest: Digest384,
    /// Digest of the author key, zero without one.
    pub author_key_digest: Digest384,
    /// Random per guest instance, hex.
    pub report_id: String,
    /// Migration agent's report id, all ones without one, hex.
    pub report_id_ma: String,
    /// TCB the signing key was derived from: what the signature proves.
    pub reported_tcb: TcbVersion,
    /// Chip.
    pub chip_id: ChipId,
    /// TCB below which the platform cannot go back.
    pub committed_tcb: TcbVersion,
    /// Firmware running: major, minor, build.
    pub firmware_current: (u8, u8, u8),
    /// Firmware committed: major, minor, build.
    pub firmware_committed: (u8, u8, u8),
    /// TCB when the guest was launched.
    pub launch_tcb: TcbVersion,
    /// Mitigation vectors at launch and now (version 5).
    pub mitigations: Option<(u64, u64)>,
    /// Cloud provider named by a VLEK.
    pub csp_id: Option<String>,
}
