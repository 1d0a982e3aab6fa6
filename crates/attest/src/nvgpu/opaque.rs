//! The opaque data of a measurement response: NVIDIA's list of type, size, value (nvtrust, `OpaqueData`).
//!
//! *Guarantees* that every size is used up and that no type is there twice; texts that become part of an address hold
//! letters, digits, dots, dashes and underscores only. Unknown types are kept. *Does not check* anything's truth.

use super::error::GpuError;
use super::spdm::Reader;

/// Driver version, a text.
pub(super) const DRIVER_VERSION: u16 = 3;
/// VBIOS version: 8 bytes, or a text (switch).
pub(super) const VBIOS_VERSION: u16 = 6;
/// Whether NVDEC0 is on.
pub(super) const NVDEC0_STATUS: u16 = 11;
/// Chip SKU, a text.
pub(super) const CHIP_SKU: u16 = 15;
/// Project, a text.
pub(super) const PROJECT: u16 = 17;
/// Project SKU, a text.
pub(super) const PROJECT_SKU: u16 = 18;
/// Firmware id, SHA-384.
pub(super) const FWID: u16 = 20;
/// Whether protected PCIe is on.
pub(super) const PROTECTED_PCIE: u16 = 21;
/// Chip, a text (opaque version 1 on, Blackwell).
pub(super) const CHIP_INFO: u16 = 35;
/// Mode of confidential computing.
pub(super) const FEATURE_FLAG: u16 = 36;

/// A status byte that says yes.
const ON: u8 = 0xAA;
/// A status byte that says no.
const OFF: u8 = 0x55;

/// Longest text; real ones have less than 16 characters.
const MAX_TEXT: usize = 32;

/// The fields, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opaque {
    fields: Vec<(u16, Vec<u8>)>,
}

impl Opaque {
    /// Takes the list apart.
    pub fn parse(bytes: &[u8]) -> Result<Self, GpuError> {
        let mut reader = Reader { bytes, at: 0 };
        let mut fields: Vec<(u16, Vec<u8>)> = Vec::new();
        while !reader.rest().is_empty() {
            let field = reader.u16("type of an opaque field")?;
            let size = usize::from(reader.u16("size of an opaque field")?);
            let value = reader.take("value of an opaque field", size)?;
            if fields.iter().any(|(other, _)| *other == field) {
                return Err(GpuError::Opaque { field, what: "is there twice" });
            }
            fields.push((field, value.to_vec()));
        }
        Ok(Self { fields })
    }

    /// Every field: type and raw value.
    pub fn fields(&self) -> &[(u16, Vec<u8>)] {
        &self.fields
    }

    /// The raw value of a field.
    pub fn field(&self, field: u16) -> Option<&[u8]> {
        self.fields.iter().find(|(other, _)| *other == field).map(|(_, value)| value.as_slice())
    }

    /// A text, without the NULs at its end.
    pub(super) fn text(&self, field: u16) -> Result<Option<String>, GpuError> {
        let Some(mut value) = self.field(field) else { return Ok(None) };
        while let Some((0, rest)) = value.split_last() {
            value = rest;
        }
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        if value.len() > MAX_TEXT || !value.iter().all(plain) {
            return Err(GpuError::Opaque { field, what: "is not a short plain text" });
        }
        Ok(Some(String::from_utf8_lossy(value).into_owned()))
    }

    /// A status byte.
    pub(super) fn status(&self, field: u16) -> Result<Option<bool>, GpuError> {
        match self.field(field) {
            None => Ok(None),
            Some([ON]) => Ok(Some(true)),
            Some([OFF]) => Ok(Some(false)),
            Some(_) => Err(GpuError::Opaque { field, what: "is neither 0xAA nor 0x55" }),
        }
    }
}
