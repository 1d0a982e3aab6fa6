//! The launch digest of an SEV-SNP guest (SNP ABI 1.58, section 8.17; QEMU's and OVMF's conventions).
//!
//! *Takes* firmware, kernel, initrd, command line, number and type of virtual CPUs, SEV features.
//! *Guarantees* the value of `MEASUREMENT` in the report of a guest that is started with exactly these.
//! *Does not check* HOST_DATA, policy or ID block: they are in the report beside the measurement, not in it.

mod context;
mod hashes;
pub mod igvm;
mod ovmf;
mod vcpu;
mod vmsa;

pub use hashes::{HashedFiles, KernelHashes};
pub use ovmf::{Ovmf, OvmfError, Section, SectionKind};
pub use vcpu::{UnknownVcpu, VcpuType};
pub use vmsa::{GuestFeatures, Vmm, vmsa_page};

use claims::{Code, LaunchDigest};
pub(crate) use context::Context;
pub(crate) use ovmf::footer_entries;

/// Most virtual CPUs that a launch is measured for.
pub const MAX_VCPUS: u32 = 1024;

/// Everything that a launch measurement depends on.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// The firmware.
    pub ovmf: &'a Ovmf<'a>,
    /// Digests of kernel, initrd and command line, where QEMU starts a kernel directly.
    pub kernel: Option<KernelHashes>,
    /// Number of virtual CPUs.
    pub vcpus: u32,
    /// Their type.
    pub vcpu_type: VcpuType,
    /// SEV features in the save area.
    pub guest_features: GuestFeatures,
    /// Who loads the guest.
    pub vmm: Vmm,
}

/// Why a launch cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    /// The firmware is malformed, or lacks what a launch needs.
    #[error(transparent)]
    Firmware(#[from] OvmfError),
    /// A number of CPUs that no machine has.
    #[error("a launch has 1 to {MAX_VCPUS} virtual CPUs, not {got}")]
    Vcpus {
        /// Number given.
        got: u32,
    },
}

impl MeasureError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Firmware(_) => Code::Firmware,
            Self::Vcpus { .. } => Code::Format,
        }
    }
}

/// Computes the launch digest.
pub fn measure(launch: &Launch<'_>) -> Result<LaunchDigest, MeasureError> {
    if !(1..=MAX_VCPUS).contains(&launch.vcpus) {
        return Err(MeasureError::Vcpus { got: launch.vcpus });
    }
    let mut context = loaded(launch, Context::after_firmware(launch.ovmf))?;
    let (boot, other) = save_areas(launch)?;
    context.save_area(&boot);
    for _ in 1..launch.vcpus {
        context.save_area(&other);
    }
    Ok(context.digest())
}

/// Adds sections and kernel hashes to the context after the firmware; virtual CPUs come next.
pub(crate) fn loaded(launch: &Launch<'_>, mut context: Context) -> Result<Context, MeasureError> {
    if launch.kernel.is_some() {
        launch.ovmf.needs_kernel_hashes()?;
    }
    // EC2 adds the CPUID page after all others.
    let (early, late): (Vec<&Section>, Vec<&Section>) =
        launch.ovmf.sections().iter().partition(|section| launch.vmm != Vmm::Ec2 || section.kind != SectionKind::Cpuid);
    for section in early.into_iter().chain(late) {
        context.section(section, launch)?;
    }
    Ok(context)
}

/// The save areas of the first and of the other virtual CPUs. The reset address counts only where there are others.
pub(crate) fn save_areas(launch: &Launch<'_>) -> Result<([u8; 4096], [u8; 4096]), MeasureError> {
    let page = |eip, role| vmsa_page(launch.vmm, launch.vcpu_type, launch.guest_features, eip, role);
    let reset = if launch.vcpus > 1 { launch.ovmf.reset_address()? } else { vmsa::BOOT_EIP };
    Ok((page(vmsa::BOOT_EIP, vmsa::Role::Boot), page(reset, vmsa::Role::Application)))
}
