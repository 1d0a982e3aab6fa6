//! The device chain: leaf (firmware), boot ROM (device), intermediate, chip, NVIDIA Device Identity CA.
//!
//! *Guarantees* of a [`VerifiedChain`]: five P-384 certificates in this order, up to the root given, all in date and in
//! the revocation state that policy asks for, at the time given.
//! *Does not check* the firmware id: verification of evidence does.

use super::certificate::{Certificate, ChainError, verify_chain};
use super::error::GpuError;
use super::fwid;
use super::ocsp::{self, OcspQuestion};
use super::revocation::RevocationInput;
use super::roots::{NvidiaRoots, Roots};
use claims::UnixTime;
use claims::bytes::Digest384;
use claims::nvgpu::{Architecture, Revocation};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Longest PEM text that is read.
pub const MAX_CHAIN: usize = 64 * 1024;
/// Certificates of a device chain.
const LENGTH: usize = 5;
/// Certificates that the device makes itself, so that no responder knows them: the leaf.
const OWN: usize = 1;
/// Most certificates that are taken out of a text.
const MAX_CERTIFICATES: usize = 8;

/// Certificates of a device as they came, leaf first. Untrusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceChain {
    certificates: Vec<Vec<u8>>,
}

/// A device whose chain ends at the roots `R`. Kept, it makes the next evidence of the device cost one signature check.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedChain<R: Roots = NvidiaRoots> {
    pub(super) roots: R,
    pub(super) device: Device,
    pub(super) revocation: Vec<Revocation>,
    pub(super) checked_at: UnixTime,
}

/// What a chain says about its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    /// The key that signs evidence.
    pub(super) key: Vec<u8>,
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

    /// What to ask a responder: about every certificate that verification wants a state of.
    pub fn ocsp_questions(&self) -> Vec<OcspQuestion> {
        ocsp::questions(&self.certificates, OWN)
    }

    /// Verifies the chain and its revocation state. Production gives [`NvidiaRoots`].
    pub fn verify<R: Roots>(
        &self,
        roots: &R,
        revocation: &RevocationInput,
        now: UnixTime,
    ) -> Result<VerifiedChain<R>, GpuError> {
        attested(self, roots, revocation, now)
    }
}

impl<R: Roots> VerifiedChain<R> {
    /// Generation of the device.
    pub fn architecture(&self) -> Architecture {
        self.device.architecture
    }

    /// The time that was given as now: dates and revocation were judged then.
    pub fn checked_at(&self) -> UnixTime {
        self.checked_at
    }
}

/// The whole verification. `grep attested` finds every place where trust begins.
fn attested<R: Roots>(
    chain: &DeviceChain,
    roots: &R,
    revocation: &RevocationInput,
    now: UnixTime,
) -> Result<VerifiedChain<R>, GpuError> {
    let certificates = verify_chain(&chain.certificates, LENGTH..=LENGTH, &roots.device(), now)?;
    let revocation = revocation.check(&certificates, OWN, now)?;
    let device = Device::read(&certificates)?;
    Ok(VerifiedChain { roots: roots.clone(), device, revocation, checked_at: now })
}

impl Device {
    fn read(chain: &[Certificate<'_>]) -> Result<Self, GpuError> {
        let [leaf, rom, ..] = chain else {
            return Err(ChainError::Length { got: chain.len(), wanted: LENGTH.to_string() }.into());
        };
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
        Ok(Self {
            key: leaf.key.clone(),
            architecture,
            chip: chip.replace('_', ""),
            ueid: decimal(leaf.parsed.serial_number.as_bytes()),
            device_id: hex::encode(rom.parsed.serial_number.as_bytes()),
            fwids: fwid::read(leaf)?,
            hwmodel,
        })
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
