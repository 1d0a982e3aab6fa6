//! QEMU's processor models and their CPUID signatures (`CPUID(1).EAX`), which the save area carries in RDX.

use std::fmt;
use std::str::FromStr;

/// A model of a virtual CPU. Versions of one model have one signature, so a version is not protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VcpuType {
    name: &'static str,
    signature: u32,
}

/// A name that is not among [`VcpuType::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a virtual CPU whose measurement is known; known are {}", VcpuType::names())]
pub struct UnknownVcpu {
    /// The name given.
    pub name: String,
}

macro_rules! models {
    ($($name:literal => $signature:expr,)*) => {
        &[$(VcpuType { name: $name, signature: $signature },)*]
    };
}

const NAPLES: u32 = 0x80_0F12;
const ROME: u32 = 0x83_0F10;
const MILAN: u32 = 0xA0_0F11;
const GENOA: u32 = 0xA1_0F10;
const TURIN: u32 = 0xB0_0F00;

impl VcpuType {
    /// Every model.
    pub const ALL: &'static [Self] = models! {
        "EPYC-v4" => NAPLES,
        "EPYC" => NAPLES,
        "EPYC-v1" => NAPLES,
        "EPYC-v2" => NAPLES,
        "EPYC-v3" => NAPLES,
        "EPYC-IBPB" => NAPLES,
        "EPYC-Rome" => ROME,
        "EPYC-Rome-v1" => ROME,
        "EPYC-Rome-v2" => ROME,
        "EPYC-Rome-v3" => ROME,
        "EPYC-Rome-v4" => ROME,
        "EPYC-Milan" => MILAN,
        "EPYC-Milan-v1" => MILAN,
        "EPYC-Milan-v2" => MILAN,
        "EPYC-Genoa" => GENOA,
        "EPYC-Genoa-v1" => GENOA,
        "EPYC-Genoa-v2" => GENOA,
        "EPYC-Turin" => TURIN,
        "EPYC-Turin-v1" => TURIN,
    };

    /// One name per signature: the digests that differ.
    pub const DISTINCT: &'static [&'static str] = &["EPYC-v4", "EPYC-Rome", "EPYC-Milan", "EPYC-Genoa", "EPYC-Turin"];

    /// QEMU's name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// `CPUID(1).EAX`.
    pub fn signature(self) -> u32 {
        self.signature
    }

    fn names() -> String {
        Self::ALL.iter().map(|model| model.name).collect::<Vec<_>>().join(", ")
    }
}

impl FromStr for VcpuType {
    type Err = UnknownVcpu;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.iter().find(|model| model.name == name);
        known.copied().ok_or_else(|| UnknownVcpu { name: name.chars().take(80).collect() })
    }
}

impl fmt::Display for VcpuType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}
