//! The device chain: leaf (firmware), boot ROM (device), intermediate, chip, NVIDIA Device Identity CA.
//!
//! *Guarantees* of a [`Device`]: five P-384 certificates in this order, up to the root given, all in date.
//! *Does not check* revocation and the firmware id: verification does.

use super::certificate::{Certificate, ChainError, verify_chain};
use super::error::GpuError;
use super::fwid;
use claims::UnixTime;
use claims::bytes::Digest384;
use claims::nvgpu::Architecture;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Longest PEM text that is read.
pub const MAX_CHAIN: usize = 64 * 1024;
/// Certificates of a device chain.
const LENGTH: usize = 5;
/// Most certificates that are taken out of a text.
const MAX_CERTIFICATES: usize = 8;

/// Certificates of a device as they came, leaf first. Untrusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceChain {
    certificates: Vec<Vec<u8>>,
}

/// A chain that ends at the root given.
pub(super) struct Device<'a> {
    pub(super) chain: Vec<Certificate<'a>>,
    pub(super) architecture: Architecture,
    /// As RIMs name it.
    pub(super) chip: String,
    pub(super) hwmodel: String,
    pub(super) ueid: String,
    pub(super) device_id: String,
    /// Firmware ids of the leaf.
    pub(super) fwids: Vec<Digest384>,
}

impl DeviceChain {
    /// Takes the certificates out of PEM.
    pub fn from_pem(text: &[u8]) -> Result<Self, GpuError> {
        let malformed = |what: String| GpuError::Chain(ChainError::Malformed { place: 0, what });
        if text.len() > MAX_CHAIN {
            return Err(malformed(format!("{} bytes of PEM, at most {MAX_CHAIN} are read", text.len())));
        }
        let mut certificates = Vec::new();
        for found in CertificateDer::pem_slice_iter(text) {
            let der = found.map_err(|error| malformed(format!("not PEM: {error:?}")))?;
            if certificates.len() >= MAX_CERTIFICATES {
                return Err(malformed(format!("more than {MAX_CERTIFICATES} certificates")));
            }
            certificates.push(der.as_ref().to_vec());
        }
        Ok(Self { certificates })
    }

    /// Takes certificates in DER, leaf first.
    pub fn from_der(certificates: Vec<Vec<u8>>) -> Self {
        Self { certificates }
    }

    /// The certificates in DER, leaf first.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    pub(super) fn verify(&self, pin: &Digest384, now: UnixTime) -> Result<Device<'_>, GpuError> {
        let chain = verify_chain(&self.certificates, LENGTH..=LENGTH, pin, now)?;
        let place =
            |place: usize| chain.get(place).ok_or(ChainError::Length { got: chain.len(), wanted: LENGTH.to_string() });
        let (leaf, rom) = (place(0)?, place(1)?);
        let hwmodel = rom.common_name().unwrap_or_default();
        let chip = first_word(&hwmodel);
        let architecture = match chip {
            "GH100" => Architecture::Hopper,
            "LS_10" => Architecture::Ls10,
            _ if is_blackwell(chip) => Architecture::Blackwell,
            _ => return Err(GpuError::UnknownChip { got: hwmodel }),
        };
        // The boot ROM signs its firmware's certificate, so both are of one chip.
        let firmware = leaf.common_name().unwrap_or_default();
        if first_word(&firmware) != chip {
            return Err(GpuError::UnknownChip { got: firmware });
        }
        Ok(Device {
            architecture,
            chip: chip.replace('_', ""),
            ueid: decimal(leaf.parsed.serial_number.as_bytes()),
            device_id: hex::encode(rom.parsed.serial_number.as_bytes()),
            fwids: fwid::read(leaf)?,
            hwmodel,
            chain,
        })
    }
}

impl Device<'_> {
    /// The key that signs evidence.
    pub(super) fn key(&self) -> &[u8] {
        self.chain.first().map_or(&[], |leaf| leaf.key.as_slice())
    }
}

fn first_word(name: &str) -> &str {
    name.split(' ').next().unwrap_or("")
}

/// `GB100`, `GB102`, `GB202`, …
fn is_blackwell(chip: &str) -> bool {
    chip.strip_prefix("GB").is_some_and(|number| number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A big-endian number in decimal, as NVIDIA prints serial numbers. RFC 5280 allows 20 bytes; longer ones stay hex.
fn decimal(bytes: &[u8]) -> String {
    if bytes.len() > 21 {
        return hex::encode(bytes);
    }
    // Decimal digits, lowest first.
    let mut digits = vec![0_u32];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            let value = digit.saturating_mul(256).saturating_add(carry);
            *digit = value % 10;
            carry = value / 10;
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    digits.iter().rev().filter_map(|digit| char::from_digit(*digit, 10)).collect()
}
