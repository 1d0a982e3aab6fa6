//! The firmware: an AMD SEV build of OVMF that puts the hashes of kernel, initrd and command line into the measurement.
//!
//! *Takes* the image's bytes.
//! *Guarantees* that what [`read`] returns measures the kernel it is started with.
//! *Does not check* the firmware's code: it is measured.

use claims::Code;
use measure::snp::{Ovmf, OvmfError};

/// A firmware that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use an AMD SEV build of OVMF (`ovmf-amdsev` of Debian sid, `ovmf` of Ubuntu 25.04 and later): {reason}")]
pub struct FirmwareRefusal {
    /// What is wrong with it.
    pub reason: OvmfError,
}

impl FirmwareRefusal {
    /// `E-FIRMWARE`.
    pub fn code(&self) -> Code {
        Code::Firmware
    }
}

/// Reads a firmware that measures the kernel.
pub fn read(image: &[u8]) -> Result<Ovmf<'_>, FirmwareRefusal> {
    let read = || {
        let firmware = Ovmf::parse(image)?;
        firmware.needs_kernel_hashes()?;
        Ok(firmware)
    };
    read().map_err(|reason| FirmwareRefusal { reason })
}

/// Whether a firmware can be used.
pub fn check(image: &[u8]) -> Result<(), FirmwareRefusal> {
    read(image).map(|_| ())
}
