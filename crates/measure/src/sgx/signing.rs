//! Signing enclaves: with a key at hand, or in two steps with a key in an HSM.
//!
//! RSA is that of `aws-lc-rs`, which takes exponent 3 and blinds private operations: the `rsa` crate and its timing
//! advisory (RUSTSEC-2023-0071) are not needed.

use super::sigstruct::{
    ATTRIBUTEMASK, ATTRIBUTES, CET, CET_MASK, DATE, ENCLAVEHASH, EXPONENT, EXPONENT_VALUE, HEADER, HEADER_BYTES,
    HEADER2, HEADER2_BYTES, ISVEXTPRODID, ISVFAMILYID, ISVPRODID, ISVSVN, LENGTH, MISCMASK, MISCSELECT, MODULUS,
    NUMBER, Q1, Q2, SIGNATURE, SIGNED, SIGNED_PARTS, SWDEFINED, Sigstruct, SigstructError, VENDOR, VerifiedSigstruct,
    is_public_key, quotients, reversed, signed_part,
};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use claims::enclave::EnclaveAttributes;
use claims::{Code, Digest256, Finding, Refusal};
use std::ops::Range;

/// PKCS#1 `RSAPublicKey` of a modulus of 3072 bits: what comes before it, and behind it the exponent 3.
const PUBLIC_KEY_START: [u8; 9] = *b"\x30\x82\x01\x88\x02\x82\x01\x81\x00";
const PUBLIC_KEY_END: [u8; 3] = *b"\x02\x01\x03";

/// Why an enclave is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// Not a key that can sign enclaves.
    #[error("the signing key is not an RSA key of 3072 bits with exponent 3 (PKCS#8 or PKCS#1, DER)")]
    Key,
    /// The key is known to everybody.
    #[error("the signing key is public: everybody can sign as {mrsigner}")]
    SampleKey {
        /// Its MRSIGNER.
        mrsigner: Digest256,
    },
    /// A date that is not in the calendar.
    #[error("{year:04}-{month:02}-{day:02} is not a date")]
    Date {
        /// Year.
        year: u16,
        /// Month.
        month: u8,
        /// Day.
        day: u8,
    },
    /// A number of another length than 384 bytes.
    #[error("the {what} has {got} bytes, not {wanted}")]
    Length {
        /// `modulus`, `signature` or `data to be signed`.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length it must have.
        wanted: usize,
    },
    /// What was put together does not hold.
    #[error("the assembled SIGSTRUCT does not hold")]
    Assembled(#[source] SigstructError),
}

impl Refusal for SigningError {
    fn code(&self) -> Code {
        match self {
            Self::Key => Code::SgxSigningKey,
            Self::SampleKey { .. } => Code::SgxSampleKey,
            Self::Date { .. } | Self::Length { .. } => Code::SgxSigstruct,
            Self::Assembled(error) => error.code(),
        }
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::SampleKey { mrsigner } => Some(Finding::new("mrsigner", mrsigner, "a key that only you have")),
            Self::Length { what, got, wanted } => Some(Finding::new(*what, got, wanted)),
            Self::Assembled(error) => error.finding(),
            _ => None,
        }
    }
}

/// Whether a key that everybody has may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKeys {
    /// No: its MRSIGNER says nothing.
    Refused,
    /// Yes, for this reason.
    Allowed {
        /// Why.
        reason: String,
    },
}

/// A day, as it stands in a SIGSTRUCT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildDate(u32);

impl BuildDate {
    /// A day of the Gregorian calendar.
    pub fn new(year: u16, month: u8, day: u8) -> Result<Self, SigningError> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            _ => 0,
        };
        if year > 9999 || !(1..=days).contains(&day) {
            return Err(SigningError::Date { year, month, day });
        }
        // Four bits for each decimal digit.
        let digits = format!("{year:04}{month:02}{day:02}");
        u32::from_str_radix(&digits, 16).map(Self).map_err(|_| SigningError::Date { year, month, day })
    }
}

/// What is signed about an enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// ENCLAVEHASH.
    pub mrenclave: Digest256,
    /// Product.
    pub isvprodid: u16,
    /// Security version.
    pub isvsvn: u16,
    /// Extended product id.
    pub isvextprodid: [u8; 16],
    /// Family id.
    pub isvfamilyid: [u8; 16],
    /// Day of the build.
    pub date: BuildDate,
    /// SWDEFINED.
    pub swdefined: u32,
    /// ATTRIBUTES.
    pub attributes: EnclaveAttributes,
    /// Which attributes must be as given.
    pub attribute_mask: EnclaveAttributes,
    /// MISCSELECT.
    pub miscselect: u32,
    /// Which bits of MISCSELECT must be as given.
    pub miscmask: u32,
    /// CET attributes and their mask.
    pub cet: (u8, u8),
}

impl Content {
    /// An enclave of 64 bits that cannot be started for debugging, with x87 and SSE only.
    pub fn production(mrenclave: Digest256, isvprodid: u16, isvsvn: u16, date: BuildDate) -> Self {
        Self {
            mrenclave,
            isvprodid,
            isvsvn,
            isvextprodid: [0; 16],
            isvfamilyid: [0; 16],
            date,
            swdefined: 0,
            attributes: EnclaveAttributes { flags: 0x4, xfrm: 0x3 },
            attribute_mask: EnclaveAttributes { flags: !0, xfrm: !0 },
            miscselect: 0,
            miscmask: !0,
            cet: (0, 0),
        }
    }

    /// The 256 bytes that are signed: what an HSM is given (`gendata`).
    pub fn signed_bytes(&self) -> [u8; SIGNED] {
        signed_part(&self.unsigned())
    }

    fn unsigned(&self) -> [u8; LENGTH] {
        let attributes = |value: &EnclaveAttributes| [value.flags.to_le_bytes(), value.xfrm.to_le_bytes()].concat();
        let parts: [(Range<usize>, &[u8]); 15] = [
            (HEADER, &HEADER_BYTES),
            (VENDOR, &[0; 4]),
            (DATE, &self.date.0.to_le_bytes()),
            (HEADER2, &HEADER2_BYTES),
            (SWDEFINED, &self.swdefined.to_le_bytes()),
            (MISCSELECT, &self.miscselect.to_le_bytes()),
            (MISCMASK, &self.miscmask.to_le_bytes()),
            (CET, &[self.cet.0]),
            (CET_MASK, &[self.cet.1]),
            (ISVFAMILYID, &self.isvfamilyid),
            (ATTRIBUTES, &attributes(&self.attributes)),
            (ATTRIBUTEMASK, &attributes(&self.attribute_mask)),
            (ENCLAVEHASH, &self.mrenclave.0),
            (ISVEXTPRODID, &self.isvextprodid),
            (ISVPRODID, &self.isvprodid.to_le_bytes()),
        ];
        let mut bytes = [0; LENGTH];
        for (range, part) in parts {
            put(&mut bytes, range, part);
        }
        put(&mut bytes, ISVSVN, &self.isvsvn.to_le_bytes());
        bytes
    }
}

/// A key that signs enclaves.
pub struct SigningKey {
    pair: RsaKeyPair,
    modulus: [u8; NUMBER],
}

impl SigningKey {
    /// Reads PKCS#8 or PKCS#1 in DER.
    pub fn from_der(der: &[u8]) -> Result<Self, SigningError> {
        let pair = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).map_err(|_| SigningError::Key)?;
        let public = pair.public_key().as_ref();
        // There is one encoding of such a key, so nothing needs to be parsed.
        let modulus = public.strip_prefix(&PUBLIC_KEY_START).and_then(|rest| rest.strip_suffix(&PUBLIC_KEY_END));
        let modulus = modulus.and_then(|modulus| modulus.try_into().ok()).ok_or(SigningError::Key)?;
        Ok(Self { pair, modulus })
    }

    /// MRSIGNER of everything it signs.
    pub fn mrsigner(&self) -> Digest256 {
        mrsigner(&self.modulus)
    }

    /// Signs.
    pub fn sign(&self, content: &Content, public_keys: &PublicKeys) -> Result<VerifiedSigstruct, SigningError> {
        admit(self.mrsigner(), public_keys)?;
        let signed = content.signed_bytes();
        let mut signature = vec![0; NUMBER];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &signed, &mut signature)
            .map_err(|_| SigningError::Key)?;
        assemble(&signed, &self.modulus, &signature, public_keys)
    }
}

/// Puts together what an HSM signed (`catsig`): the bytes it was given, its modulus and its signature, both
/// big-endian; Q1 and Q2 are computed, and everything is verified.
pub fn assemble(
    signed: &[u8],
    modulus: &[u8],
    signature: &[u8],
    public_keys: &PublicKeys,
) -> Result<VerifiedSigstruct, SigningError> {
    let lengths =
        [("data to be signed", signed, SIGNED), ("modulus", modulus, NUMBER), ("signature", signature, NUMBER)];
    for (what, bytes, wanted) in lengths {
        if bytes.len() != wanted {
            return Err(SigningError::Length { what, got: bytes.len(), wanted });
        }
    }
    admit(mrsigner(modulus), public_keys)?;
    let (modulus, signature) = (reversed(modulus), reversed(signature));
    if modulus.last().is_none_or(|highest| highest & 0x80 == 0) {
        return Err(SigningError::Assembled(SigstructError::Modulus));
    }
    let (q1, q2) = quotients(&modulus, &signature);
    let mut bytes = [0; LENGTH];
    let mut rest = signed;
    for range in SIGNED_PARTS {
        let (part, behind) = rest.split_at_checked(range.len()).unwrap_or((rest, &[]));
        put(&mut bytes, range, part);
        rest = behind;
    }
    put(&mut bytes, MODULUS, &modulus);
    put(&mut bytes, EXPONENT, &EXPONENT_VALUE.to_le_bytes());
    put(&mut bytes, SIGNATURE, &signature);
    put(&mut bytes, Q1, &q1);
    put(&mut bytes, Q2, &q2);
    Sigstruct::parse(&bytes).and_then(Sigstruct::verify).map_err(SigningError::Assembled)
}

fn admit(mrsigner: Digest256, public_keys: &PublicKeys) -> Result<(), SigningError> {
    match public_keys {
        PublicKeys::Refused if is_public_key(&mrsigner) => Err(SigningError::SampleKey { mrsigner }),
        _ => Ok(()),
    }
}

/// The digest of a modulus (big-endian) as it is stored.
fn mrsigner(modulus: &[u8]) -> Digest256 {
    Digest256::of(&reversed(modulus))
}

fn put(bytes: &mut [u8; LENGTH], range: Range<usize>, part: &[u8]) {
    for (place, byte) in bytes.get_mut(range).into_iter().flatten().zip(part) {
        *place = *byte;
    }
}
