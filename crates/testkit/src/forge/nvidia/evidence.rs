//! The SPDM transcript: request, response with measurements, opaque fields (DMTF DSP0274 1.1, table 30).

use crate::forge::Result;
use std::collections::BTreeMap;

pub(super) const DRIVER: &str = "550.90.07";
pub(super) const VBIOS: &str = "96.00.9F.00.01";

/// Request and response before they are signed.
#[derive(Debug, Clone)]
pub(in crate::forge) struct Transcript {
    pub(super) nonce: [u8; 32],
    pub(super) blocks: BTreeMap<u8, Vec<u8>>,
    /// Number of blocks that the response says.
    pub(super) count: Option<u8>,
    pub(super) opaque: Vec<(u16, Vec<u8>)>,
}

impl Transcript {
    /// A Hopper GPU with NVDEC0 off, and measurements that are their own index.
    pub(super) fn new(nonce: [u8; 32], fwid: [u8; 48]) -> Self {
        Self {
            nonce,
            blocks: (1..=64).map(|index| (index, vec![index; 48])).collect(),
            count: None,
            opaque: vec![
                (6, vec![0x00, 0x9F, 0x00, 0x96, 0x01, 0, 0, 0]),
                (15, b"882\0".to_vec()),
                (17, b"1010\0".to_vec()),
                (18, b"0200\0".to_vec()),
                (3, b"550.90.07\0".to_vec()),
                (NVDEC0, vec![0x55]),
                (20, fwid.to_vec()),
            ],
        }
    }

    /// Replaces an opaque field; leaves it out with none.
    pub(super) fn set(&mut self, field: u16, value: Option<&[u8]>) {
        self.opaque.retain(|(other, _)| *other != field);
        self.opaque.extend(value.map(|value| (field, value.to_vec())));
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut record = Vec::new();
        for (index, value) in &self.blocks {
            let length = u16::try_from(value.len())?;
            record.extend([*index, 1]);
            record.extend((length + 3).to_le_bytes());
            record.push(1);
            record.extend(length.to_le_bytes());
            record.extend(value);
        }
        let mut out = vec![0x11, 0xE0, 1, 0xFF];
        out.extend(self.nonce);
        out.extend([0, 0x11, 0x60, 0, 0]);
        out.push(self.count.map_or_else(|| u8::try_from(self.blocks.len()), Ok)?);
        out.extend(u32::try_from(record.len())?.to_le_bytes().iter().take(3));
        out.extend(record);
        out.extend([0xAB; 32]);
        let mut opaque = Vec::new();
        for (field, value) in &self.opaque {
            opaque.extend(field.to_le_bytes());
            opaque.extend(u16::try_from(value.len())?.to_le_bytes());
            opaque.extend(value);
        }
        out.extend(u16::try_from(opaque.len())?.to_le_bytes());
        out.extend(opaque);
        Ok(out)
    }
}

/// Opaque field: is NVDEC0 on?
pub(super) const NVDEC0: u16 = 11;
