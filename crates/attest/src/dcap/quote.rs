//! Quotes as they come: bytes whose structure holds, and nothing more (Intel "ECDSA Quote Library API", appendix A.3
//! and A.4; version 5 by the header `sgx_quote_5.h` of Intel's DCAP).
//!
//! *Takes* bytes. *Guarantees* of a [`Quote`] that it is of a known version and kind, that every length in it fits
//! exactly, and that the bytes behind it are zero. *Does not check* any signature.
//!
//! Trailing bytes: the quote's own lengths say where it ends. Kernels and quote services hand over fixed-size buffers,
//! so zero bytes may follow up to [`MAX_QUOTE`] in all; they are dropped and are no part of anything. Any other byte
//! there is refused, because nothing signs it and a later reader could believe it.

use super::body::{self, Measured};
use super::error::DcapError;
use claims::dcap::{DcapBody, DcapTee};

/// Longest input that is read, padding included.
pub const MAX_QUOTE: usize = 64 * 1024;

/// Header, `qe_vendor_id`: Intel's quoting enclaves.
const INTEL: [u8; 16] =
    [0x93, 0x9A, 0x72, 0x33, 0xF7, 0x9C, 0x4C, 0xA9, 0x94, 0x0A, 0x0D, 0xB3, 0x95, 0x7F, 0x06, 0x07];
/// Header, `att_key_type`: ECDSA with P-256.
const ECDSA_P256: u16 = 2;
/// Header, `tee_type`.
const SGX: u32 = 0;
const TDX: u32 = 0x81;
/// Certification data: quoting enclave's report and what certifies it.
const QE_REPORT_CERTIFICATION: u16 = 6;
/// Certification data: PCK chain in PEM.
const PCK_CHAIN: u16 = 5;

/// A quote that is well-formed. Nothing in it is true yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    version: u16,
    tee: DcapTee,
    body: DcapBody,
    pub(crate) measured: Measured,
    /// What the attestation key signs: header, descriptor, body.
    pub(crate) signed: Vec<u8>,
    pub(crate) signature: [u8; 64],
    pub(crate) attestation_key: [u8; 64],
    pub(crate) qe_report: [u8; 384],
    pub(crate) qe_signature: [u8; 64],
    pub(crate) qe_authentication: Vec<u8>,
    certification: u16,
    pub(crate) certification_data: Vec<u8>,
    padding: usize,
}

impl Quote {
    /// Parses a quote of version 3, 4 or 5.
    pub fn parse(bytes: &[u8]) -> Result<Self, DcapError> {
        if bytes.len() > MAX_QUOTE {
            return Err(DcapError::TooLong { got: bytes.len(), max: MAX_QUOTE });
        }
        let mut reader = Reader { rest: bytes, at: 0 };
        let version = reader.u16("the version")?;
        if !(3..=5).contains(&version) {
            return Err(DcapError::Version { got: version });
        }
        let key_type = reader.u16("the attestation key type")?;
        if key_type != ECDSA_P256 {
            return Err(DcapError::KeyType { got: key_type });
        }
        let tee_type = reader.u32("the TEE type")?;
        let tee = match tee_type {
            SGX => DcapTee::Sgx,
            TDX if version > 3 => DcapTee::Tdx,
            got => return Err(DcapError::TeeType { version, got }),
        };
        reader.take(4, "the quoting and provisioning enclaves' versions")?;
        let vendor: [u8; 16] = reader.array("the vendor id")?;
        if vendor != INTEL {
            return Err(DcapError::Vendor { got: hex::encode(vendor) });
        }
        reader.take(20, "the user data")?;
        let kind = match (version, tee) {
            (5, _) => body::Kind::of_descriptor(tee, reader.u16("the body type")?, reader.u32("the body size")?)?,
            (_, DcapTee::Sgx) => body::Kind::Sgx,
            (_, DcapTee::Tdx) => body::Kind::Td10,
        };
        let (body, measured) = body::parse(kind, reader.take(kind.length(), "the report body")?)?;
        let signed = bytes.get(..reader.at).unwrap_or_default().to_vec();

        let length = reader.length("the signature data")?;
        let inner = reader.take(length, "the signature data")?;
        let padding = reader.rest.len();
        if let Some(index) = reader.rest.iter().position(|byte| *byte != 0) {
            return Err(DcapError::Trailing { offset: reader.at.saturating_add(index) });
        }
        let mut data = Reader { rest: inner, at: reader.at.saturating_sub(length) };
        let signature = data.array("the signature")?;
        let attestation_key = data.array("the attestation key")?;
        if version > 3 {
            let outer = data.u16("the outer certification type")?;
            if outer != QE_REPORT_CERTIFICATION {
                return Err(DcapError::CertificationType { place: "outer", got: outer });
            }
            let length = data.length("the outer certification data")?;
            if let Some(extra) = data.rest.len().checked_sub(length).filter(|extra| *extra > 0) {
                return Err(DcapError::Surplus { what: "the signature data", extra });
            }
            if length > data.rest.len() {
                return Err(data.truncated("the outer certification data", length));
            }
        }
        let qe_report = data.array("the quoting enclave's report")?;
        let qe_signature = data.array("the quoting enclave's report signature")?;
        let length = usize::from(data.u16("the length of the authentication data")?);
        let qe_authentication = data.take(length, "the authentication data")?.to_vec();
        let certification = data.u16("the inner certification type")?;
        if !matches!(certification, 1..=3 | PCK_CHAIN) {
            return Err(DcapError::CertificationType { place: "inner", got: certification });
        }
        let length = data.length("the certification data")?;
        let certification_data = data.take(length, "the certification data")?.to_vec();
        if !data.rest.is_empty() {
            return Err(DcapError::Surplus { what: "the signature data", extra: data.rest.len() });
        }
        Ok(Self {
            version,
            tee,
            body,
            measured,
            signed,
            signature,
            attestation_key,
            qe_report,
            qe_signature,
            qe_authentication,
            certification,
            certification_data,
            padding,
        })
    }

    /// Format version.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// SGX or TDX, as the quote says.
    pub fn tee(&self) -> DcapTee {
        self.tee
    }

    /// What the quote says. Not true before verification: look, show, choose collateral by it, and trust nothing.
    pub fn claimed(&self) -> &DcapBody {
        &self.body
    }

    /// Type of the certification data: 5 is a PCK chain, 1 to 3 name the platform by its (encrypted) PPID.
    pub fn certification_type(&self) -> u16 {
        self.certification
    }

    /// The PCK chain in PEM, when the quote carries it.
    pub fn pck_chain(&self) -> Option<&[u8]> {
        (self.certification == PCK_CHAIN).then_some(self.certification_data.as_slice())
    }

    /// Zero bytes that followed the quote.
    pub fn padding(&self) -> usize {
        self.padding
    }
}

/// Takes fields off the front.
struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], DcapError> {
        let (field, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.truncated(what, length))?;
        self.rest = rest;
        self.at = self.at.saturating_add(length);
        Ok(field)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DcapError> {
        let field = self.take(N, what)?;
        field.try_into().map_err(|_| self.truncated(what, N))
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, DcapError> {
        self.array(what).map(u16::from_le_bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, DcapError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn length(&mut self, what: &'static str) -> Result<usize, DcapError> {
        self.u32(what).map(|length| usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn truncated(&self, what: &'static str, wanted: usize) -> DcapError {
        DcapError::Truncated { what, offset: self.at, wanted }
    }
}
