//! SIGSTRUCT, the signed part of an SGX enclave (Intel SDM volume 3D, table 35-19; 1808 bytes).

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use claims::enclave::{EnclaveAttributes, SigstructClaims};
use claims::{Code, Digest256, Finding, Refusal};
use num_bigint::BigUint;
use std::ops::Range;

/// Bytes of a SIGSTRUCT.
pub const LENGTH: usize = 1808;
/// Bytes of its modulus, its signature, Q1 and Q2.
pub const NUMBER: usize = 384;
/// Bytes that are signed.
pub const SIGNED: usize = 256;

// Intel SDM volume 3D, table 35-19; a test asserts that these tile the structure.
pub(super) const HEADER: Range<usize> = 0..16;
pub(super) const VENDOR: Range<usize> = 16..20;
pub(super) const DATE: Range<usize> = 20..24;
pub(super) const HEADER2: Range<usize> = 24..40;
pub(super) const SWDEFINED: Range<usize> = 40..44;
pub(super) const RESERVED_1: Range<usize> = 44..128;
pub(super) const MODULUS: Range<usize> = 128..512;
pub(super) const EXPONENT: Range<usize> = 512..516;
pub(super) const SIGNATURE: Range<usize> = 516..900;
pub(super) const MISCSELECT: Range<usize> = 900..904;
pub(super) const MISCMASK: Range<usize> = 904..908;
pub(super) const CET: Range<usize> = 908..909;
pub(super) const CET_MASK: Range<usize> = 909..910;
pub(super) const RESERVED_2: Range<usize> = 910..912;
pub(super) const ISVFAMILYID: Range<usize> = 912..928;
pub(super) const ATTRIBUTES: Range<usize> = 928..944;
pub(super) const ATTRIBUTEMASK: Range<usize> = 944..960;
pub(super) const ENCLAVEHASH: Range<usize> = 960..992;
pub(super) const RESERVED_3: Range<usize> = 992..1008;
pub(super) const ISVEXTPRODID: Range<usize> = 1008..1024;
pub(super) const ISVPRODID: Range<usize> = 1024..1026;
pub(super) const ISVSVN: Range<usize> = 1026..1028;
pub(super) const RESERVED_4: Range<usize> = 1028..1040;
pub(super) const Q1: Range<usize> = 1040..1424;
pub(super) const Q2: Range<usize> = 1424..1808;
/// What is signed: these two parts, one behind the other.
pub(super) const SIGNED_PARTS: [Range<usize>; 2] = [0..128, 900..1028];

pub(super) const HEADER_BYTES: [u8; 16] = *b"\x06\0\0\0\xe1\0\0\0\0\0\x01\0\0\0\0\0";
pub(super) const HEADER2_BYTES: [u8; 16] = *b"\x01\x01\0\0\x60\0\0\0\x60\0\0\0\x01\0\0\0";
const VENDORS: [u32; 2] = [0, 0x8086];
pub(super) const EXPONENT_VALUE: u32 = 3;

/// MRSIGNER of keys that everybody has: the sample key of Intel's SDK.
const PUBLIC_KEYS: [[u8; 32]; 1] = [*b"\x83\xd7\x19\xe7\x7d\xea\xca\x14\x70\xf6\xba\xf6\x2a\x4d\x77\x43\
    \x03\xc8\x99\xdb\x69\x02\x0f\x9c\x70\xee\x1d\xfc\x08\xc7\xce\x9e"];

/// What is wrong with a SIGSTRUCT.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigstructError {
    /// Not 1808 bytes.
    #[error("a SIGSTRUCT has {LENGTH} bytes, this has {got}")]
    Length {
        /// Its length.
        got: usize,
    },
    /// HEADER or HEADER2 is not the constant it must be.
    #[error("the header at offset {offset} is not that of a SIGSTRUCT")]
    Header {
        /// 0 or 24.
        offset: usize,
    },
    /// A vendor that is not defined.
    #[error("the vendor is {got:#x}; defined are 0 and 0x8086")]
    Vendor {
        /// VENDOR.
        got: u32,
    },
    /// DATE is not a date in decimal digits.
    #[error("the date {got:#010x} is not one in decimal digits (0xYYYYMMDD)")]
    Date {
        /// DATE.
        got: u32,
    },
    /// Bytes that must be zero are not.
    #[error("a reserved byte between offsets {offset} and {} is not zero", offset.saturating_add(*length))]
    Reserved {
        /// Where the field begins.
        offset: usize,
        /// Its length.
        length: usize,
    },
    /// Another exponent than 3.
    #[error("the exponent is {got}; the processor knows 3 only")]
    Exponent {
        /// EXPONENT.
        got: u32,
    },
    /// A modulus that is even or shorter than 3072 bits.
    #[error("the modulus is not an odd number of 3072 bits")]
    Modulus,
    /// The signature does not hold.
    #[error("the signature is not one of this modulus over these fields")]
    Signature,
    /// Q1 or Q2 is not what follows from signature and modulus.
    #[error("{name} is not what follows from signature and modulus; the processor would refuse it")]
    Quotient {
        /// `Q1` or `Q2`.
        name: &'static str,
    },
    /// ENCLAVEHASH is another enclave's.
    #[error("the SIGSTRUCT is for enclave {wanted}, not for {got}")]
    Enclave {
        /// The enclave at hand.
        got: Digest256,
        /// ENCLAVEHASH.
        wanted: Digest256,
    },
}

impl Refusal for SigstructError {
    fn code(&self) -> Code {
        match self {
            Self::Signature => Code::SgxSigstructSignature,
            Self::Quotient { .. } => Code::SgxSigstructQuotient,
            Self::Enclave { .. } => Code::SgxSigstructEnclave,
            _ => Code::SgxSigstruct,
        }
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::Length { got } => Some(Finding::new("length", got, LENGTH)),
            Self::Vendor { got } => Some(Finding::new("vendor", format!("{got:#x}"), "0x0 or 0x8086")),
            Self::Exponent { got } => Some(Finding::new("exponent", got, EXPONENT_VALUE)),
            Self::Enclave { got, wanted } => Some(Finding::new("mrenclave", got, wanted)),
            _ => None,
        }
    }
}

/// A SIGSTRUCT as received. Its form is right; nothing in it is true yet.
#[derive(Clone)]
pub struct Sigstruct {
    bytes: Box<[u8; LENGTH]>,
}

/// A SIGSTRUCT whose signature, Q1 and Q2 hold: its fields are what the owner of its modulus signed.
///
/// Who that is, only a comparison of `mrsigner` can tell.
#[derive(Clone)]
pub struct VerifiedSigstruct {
    sigstruct: Sigstruct,
    claims: SigstructClaims,
}

impl Sigstruct {
    /// Checks the form: constants, reserved fields, exponent, size of the modulus.
    pub fn parse(bytes: &[u8]) -> Result<Self, SigstructError> {
        let exact: &[u8; LENGTH] = bytes.try_into().map_err(|_| SigstructError::Length { got: bytes.len() })?;
        let sigstruct = Self { bytes: Box::new(*exact) };
        for (range, constant) in [(HEADER, HEADER_BYTES), (HEADER2, HEADER2_BYTES)] {
            let offset = range.start;
            if sigstruct.part(range) != constant {
                return Err(SigstructError::Header { offset });
            }
        }
        let vendor = sigstruct.u32(VENDOR);
        if !VENDORS.contains(&vendor) {
            return Err(SigstructError::Vendor { got: vendor });
        }
        let date = sigstruct.u32(DATE);
        if format!("{date:x}").bytes().any(|digit| !digit.is_ascii_digit()) {
            return Err(SigstructError::Date { got: date });
        }
        for range in [RESERVED_1, RESERVED_2, RESERVED_3, RESERVED_4] {
            let (offset, length) = (range.start, range.len());
            if sigstruct.part(range).iter().any(|byte| *byte != 0) {
                return Err(SigstructError::Reserved { offset, length });
            }
        }
        let exponent = sigstruct.u32(EXPONENT);
        if exponent != EXPONENT_VALUE {
            return Err(SigstructError::Exponent { got: exponent });
        }
        let modulus = sigstruct.part(MODULUS);
        let odd = modulus.first().is_some_and(|lowest| lowest & 1 == 1);
        if !odd || modulus.last().is_none_or(|highest| highest & 0x80 == 0) {
            return Err(SigstructError::Modulus);
        }
        Ok(sigstruct)
    }

    /// The 256 bytes that are signed.
    pub fn signed_bytes(&self) -> [u8; SIGNED] {
        signed_part(&self.bytes)
    }

    /// Checks signature (RSA-3072 with exponent 3, PKCS#1 v1.5, SHA-256), Q1 and Q2.
    pub fn verify(self) -> Result<VerifiedSigstruct, SigstructError> {
        let (modulus, signature) = (reversed(self.part(MODULUS)), reversed(self.part(SIGNATURE)));
        let key = RsaPublicKeyComponents { n: modulus.as_slice(), e: &[3] };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, &self.signed_bytes(), &signature)
            .map_err(|_| SigstructError::Signature)?;
        let (q1, q2) = quotients(self.part(MODULUS), self.part(SIGNATURE));
        for (name, range, wanted) in [("Q1", Q1, q1), ("Q2", Q2, q2)] {
            if self.part(range) != wanted {
                return Err(SigstructError::Quotient { name });
            }
        }
        Ok(VerifiedSigstruct::attested(self))
    }

    fn part(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    fn array<const N: usize>(&self, range: Range<usize>) -> [u8; N] {
        self.part(range).first_chunk().copied().unwrap_or([0; N])
    }

    fn u32(&self, range: Range<usize>) -> u32 {
        u32::from_le_bytes(self.array(range))
    }

    fn attributes(&self, range: Range<usize>) -> EnclaveAttributes {
        let both = u128::from_le_bytes(self.array(range));
        EnclaveAttributes { flags: both as u64, xfrm: (both >> 64) as u64 }
    }

    fn claims(&self) -> SigstructClaims {
        let mrsigner = Digest256::of(self.part(MODULUS));
        let (attributes, attribute_mask) = (self.attributes(ATTRIBUTES), self.attributes(ATTRIBUTEMASK));
        let debug = attributes.flags & EnclaveAttributes::DEBUG != 0;
        let date = self.u32(DATE);
        SigstructClaims {
            mrenclave: Digest256(self.array(ENCLAVEHASH)),
            mrsigner,
            isvprodid: u16::from_le_bytes(self.array(ISVPRODID)),
            isvsvn: u16::from_le_bytes(self.array(ISVSVN)),
            isvextprodid: hex::encode(self.part(ISVEXTPRODID)),
            isvfamilyid: hex::encode(self.part(ISVFAMILYID)),
            date: format!("{:04x}-{:02x}-{:02x}", date >> 16, date >> 8 & 0xFF, date & 0xFF),
            vendor: self.u32(VENDOR),
            swdefined: self.u32(SWDEFINED),
            attributes,
            attribute_mask,
            miscselect: self.u32(MISCSELECT),
            miscmask: self.u32(MISCMASK),
            cet: (u8::from_le_bytes(self.array(CET)), u8::from_le_bytes(self.array(CET_MASK))),
            debug,
            debug_allowed: debug || attribute_mask.flags & EnclaveAttributes::DEBUG == 0,
            public_sample_key: is_public_key(&mrsigner),
        }
    }
}

impl VerifiedSigstruct {
    fn attested(sigstruct: Sigstruct) -> Self {
        Self { claims: sigstruct.claims(), sigstruct }
    }

    /// What its signer says.
    pub fn claims(&self) -> &SigstructClaims {
        &self.claims
    }

    /// The 1808 bytes.
    pub fn bytes(&self) -> &[u8; LENGTH] {
        &self.sigstruct.bytes
    }

    /// Refuses a SIGSTRUCT of another enclave.
    pub fn for_enclave(self, mrenclave: Digest256) -> Result<Self, SigstructError> {
        if self.claims.mrenclave != mrenclave {
            return Err(SigstructError::Enclave { got: mrenclave, wanted: self.claims.mrenclave });
        }
        Ok(self)
    }
}

/// Parses and verifies in one step. Never panics: this is the function for fuzzing.
pub fn verify(bytes: &[u8]) -> Result<VerifiedSigstruct, SigstructError> {
    Sigstruct::parse(bytes)?.verify()
}

/// Whether a MRSIGNER is that of a key which everybody has.
pub fn is_public_key(mrsigner: &Digest256) -> bool {
    PUBLIC_KEYS.contains(&mrsigner.0)
}

/// Q1 = ⌊s² / n⌋ and Q2 = ⌊(s² mod n) · s / n⌋ (SDM volume 3D, 38.13), all little-endian; `modulus` is not zero.
///
/// All of these numbers are public, so nothing here needs constant time.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "these numbers have no bounds to overflow, and the modulus is not zero"
)]
pub(super) fn quotients(modulus: &[u8], signature: &[u8]) -> ([u8; NUMBER], [u8; NUMBER]) {
    let (n, s) = (BigUint::from_bytes_le(modulus), BigUint::from_bytes_le(signature));
    let square = &s * &s;
    let q1 = &square / &n;
    let q2 = (square - &q1 * &n) * s / n;
    (padded(&q1), padded(&q2))
}

/// The two parts that are signed, one behind the other.
pub(super) fn signed_part(bytes: &[u8; LENGTH]) -> [u8; SIGNED] {
    let mut signed = [0; SIGNED];
    let parts = SIGNED_PARTS.into_iter().flat_map(|part| bytes.get(part).unwrap_or_default());
    for (place, byte) in signed.iter_mut().zip(parts) {
        *place = *byte;
    }
    signed
}

fn padded(number: &BigUint) -> [u8; NUMBER] {
    let mut bytes = [0; NUMBER];
    for (place, byte) in bytes.iter_mut().zip(number.to_bytes_le()) {
        *place = byte;
    }
    bytes
}

pub(super) fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_tile_the_structure() {
        let fields = [
            HEADER,
            VENDOR,
            DATE,
            HEADER2,
            SWDEFINED,
            RESERVED_1,
            MODULUS,
            EXPONENT,
            SIGNATURE,
            MISCSELECT,
            MISCMASK,
            CET,
            CET_MASK,
            RESERVED_2,
            ISVFAMILYID,
            ATTRIBUTES,
            ATTRIBUTEMASK,
            ENCLAVEHASH,
            RESERVED_3,
            ISVEXTPRODID,
            ISVPRODID,
            ISVSVN,
            RESERVED_4,
            Q1,
            Q2,
        ];
        let end = fields.into_iter().fold(0, |end, field| {
            assert_eq!(field.start, end);
            field.end
        });
        assert_eq!(end, LENGTH);
    }
}
