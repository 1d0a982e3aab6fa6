//! A signed DER structure (certificate, revocation list, OCSP response) taken apart, its bytes kept as they came.
//!
//! *Takes* DER. *Guarantees* the frame. *Does not check* the signature: each kind of evidence has its own algorithm.

use x509_cert::der::asn1::BitStringRef;
use x509_cert::der::{Decode, Error, ErrorKind, Length, Reader, SliceReader};

/// The three parts, and what an OCSP response has behind them.
#[derive(Debug)]
pub(crate) struct Signed<'a> {
    /// What is signed.
    pub(crate) body: &'a [u8],
    /// The `AlgorithmIdentifier` behind it.
    pub(crate) algorithm: &'a [u8],
    /// The signature.
    pub(crate) signature: &'a [u8],
    /// What follows the signature, inside of the structure.
    pub(crate) rest: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes `SEQUENCE { body, algorithm, BIT STRING }` apart; nothing may follow.
    pub(crate) fn take(der: &'a [u8]) -> Result<Self, Error> {
        let signed = Self::take_with_rest(der)?;
        match signed.rest.len() {
            0 => Ok(signed),
            left => Err(ErrorKind::TrailingData { decoded: Length::ZERO, remaining: Length::try_from(left)? }.into()),
        }
    }

    /// Takes `SEQUENCE { body, algorithm, BIT STRING, … }` apart; nothing may follow it.
    pub(crate) fn take_with_rest(der: &'a [u8]) -> Result<Self, Error> {
        let mut reader = SliceReader::new(der)?;
        let signed = reader.sequence(|reader| {
            let body = reader.tlv_bytes()?;
            let algorithm = reader.tlv_bytes()?;
            let signature = BitStringRef::decode(reader)?;
            let rest = reader.read_slice(reader.remaining_len())?;
            Ok(Self { body, algorithm, signature: signature.as_bytes().unwrap_or(&[]), rest })
        })?;
        reader.finish(signed)
    }
}
