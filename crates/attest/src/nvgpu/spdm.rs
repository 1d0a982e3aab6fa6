//! The tail of an SPDM 1.1 transcript: GET_MEASUREMENTS and its signed answer (DMTF DSP0274 1.1, sections 10.11).
//!
//! *Takes* bytes. *Guarantees* one form: every length used up, indices rising, reserved bytes zero. After the signature
//! a single NUL is accepted, because drivers of the 580 series send one; nothing signs it and nobody reads it.
//! *Does not check* the signature.

use super::error::GpuError;
use claims::Nonce;
use claims::bytes::Digest384;

/// Longest evidence that is read; real evidence has less than 5 KiB.
pub const MAX_EVIDENCE: usize = 64 * 1024;

const VERSION: u8 = 0x11;
const GET_MEASUREMENTS: u8 = 0xE0;
const MEASUREMENTS: u8 = 0x60;
/// Request `Param1` bit 0: a signature is asked for.
const WITH_SIGNATURE: u8 = 1;
/// Request `Param2`: all measurements.
const ALL: u8 = 0xFF;
/// `MeasurementSpecification`: DMTF.
const DMTF: u8 = 1;
/// `DMTFSpecMeasurementValueType` bit 7: raw bytes, not a digest.
const RAW: u8 = 0x80;

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Index, from 1.
    pub index: u8,
    /// What was measured (`DMTFSpecMeasurementValueType` without bit 7).
    pub kind: u8,
    /// Whether the value is raw bytes, not a digest.
    pub raw: bool,
    /// The value.
    pub value: Digest384,
}

/// Request and response, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transcript {
    pub(super) nonce: Nonce,
    pub(super) slot: u8,
    pub(super) response_nonce: Nonce,
    pub(super) blocks: Vec<Block>,
    pub(super) opaque: Vec<u8>,
    /// Number of bytes that are signed: everything before the signature.
    pub(super) signed: usize,
    /// R then S, big-endian.
    pub(super) signature: [u8; 96],
}

impl Transcript {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, GpuError> {
        if bytes.len() > MAX_EVIDENCE {
            return Err(GpuError::TooLong { got: bytes.len() });
        }
        let mut reader = Reader { bytes, at: 0 };
        reader.expect("request version", VERSION)?;
        reader.expect("request code", GET_MEASUREMENTS)?;
        reader.expect("request attributes", WITH_SIGNATURE)?;
        reader.expect("request operation", ALL)?;
        let nonce = Nonce(reader.array("request nonce")?);
        let slot = reader.byte("slot")?;
        if slot > 7 {
            return Err(GpuError::Field { what: "slot", offset: 36, got: slot });
        }
        reader.expect("response version", VERSION)?;
        reader.expect("response code", MEASUREMENTS)?;
        reader.expect("response parameter 1", 0)?;
        reader.expect("response slot", slot)?;
        let count = reader.byte("number of blocks")?;
        let length = reader.u24("length of the record")?;
        let blocks = read_blocks(reader.take("measurement record", length)?, reader.at, count)?;
        let response_nonce = Nonce(reader.array("response nonce")?);
        let length = usize::from(reader.u16("length of the opaque data")?);
        let opaque = reader.take("opaque data", length)?.to_vec();
        let signed = reader.at;
        let signature = reader.array("signature")?;
        match reader.rest() {
            [] | [0] => Ok(Self { nonce, slot, response_nonce, blocks, opaque, signed, signature }),
            _ => Err(GpuError::Trailing { offset: reader.at }),
        }
    }
}

/// `end` is where the record ends in the evidence, for offsets in errors.
fn read_blocks(record: &[u8], end: usize, count: u8) -> Result<Vec<Block>, GpuError> {
    let start = end.saturating_sub(record.len());
    let mut reader = Reader { bytes: record, at: 0 };
    let mut blocks: Vec<Block> = Vec::new();
    while !reader.rest().is_empty() {
        let offset = start.saturating_add(reader.at);
        let misfit = |what, got| GpuError::Field { what, offset, got };
        let index = reader.byte("measurement index")?;
        if index == 0 || blocks.last().is_some_and(|last| last.index >= index) {
            return Err(misfit("measurement index", index));
        }
        let specification = reader.byte("measurement specification")?;
        if specification != DMTF {
            return Err(misfit("measurement specification", specification));
        }
        let size = usize::from(reader.u16("measurement size")?);
        let mut value = Reader { bytes: reader.take("measurement", size)?, at: 0 };
        let kind = value.byte("measurement type")?;
        if usize::from(value.u16("measurement value size")?) != value.rest().len() {
            return Err(misfit("measurement value size", index));
        }
        let digest = Digest384::from_slice(value.rest())
            .ok_or(GpuError::MeasurementLength { index, got: value.rest().len() })?;
        blocks.push(Block { index, kind: kind & !RAW, raw: kind & RAW != 0, value: digest });
    }
    if blocks.len() != usize::from(count) || blocks.is_empty() {
        return Err(GpuError::BlockCount { stated: count, got: blocks.len() });
    }
    Ok(blocks)
}

/// Reads little-endian fields in order; running out names the field.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or(&[])
    }

    pub(super) fn take(&mut self, what: &'static str, length: usize) -> Result<&'a [u8], GpuError> {
        let offset = self.at;
        let (taken, _) = self.rest().split_at_checked(length).ok_or(GpuError::Short { what, offset })?;
        self.at = self.at.saturating_add(length);
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GpuError> {
        let offset = self.at;
        let taken = self.take(what, N)?;
        taken.try_into().map_err(|_| GpuError::Short { what, offset })
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, GpuError> {
        self.array(what).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, GpuError> {
        self.array(what).map(u16::from_le_bytes)
    }

    fn u24(&mut self, what: &'static str) -> Result<usize, GpuError> {
        let [low, middle, high] = self.array(what)?;
        Ok(usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16)
    }

    fn expect(&mut self, what: &'static str, wanted: u8) -> Result<(), GpuError> {
        let offset = self.at;
        let got = self.byte(what)?;
        if got == wanted { Ok(()) } else { Err(GpuError::Field { what, offset, got }) }
    }
}
