//! Measurements against reference values: RIM index i is SPDM block i + 1.

use super::error::GpuError;
use super::spdm::Block;
use claims::bytes::Digest384;
use claims::nvgpu::GoldenMeasurements;
use std::collections::BTreeMap;

/// Index of the measurement of NVDEC0, which says nothing while the unit is off.
const NVDEC0: u8 = 35;

/// A measurement that is none of its reference values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Index in the RIM; the SPDM block has the number after it.
    pub index: u8,
    /// `driver` or `vbios`.
    pub source: &'static str,
    /// Measured; none when the evidence has no such block, or raw bytes there.
    pub got: Option<Digest384>,
    /// Reference values.
    pub wanted: Vec<Digest384>,
}

/// Compares the union of all sources. Every mismatch is found, not the first only.
pub(super) fn compare(
    blocks: &[Block],
    sources: &[(&'static str, &GoldenMeasurements)],
    nvdec0: Option<bool>,
) -> Result<(), GpuError> {
    let mut wanted: BTreeMap<u8, (&'static str, &[Digest384])> = BTreeMap::new();
    for (source, golden) in sources {
        for entry in &golden.measurements {
            if wanted.insert(entry.index, (source, &entry.values)).is_some() {
                return Err(GpuError::GoldenConflict { index: entry.index });
            }
        }
    }
    if wanted.contains_key(&NVDEC0) && sources.iter().all(|(_, golden)| golden.edition != "SWITCH") {
        match nvdec0 {
            Some(true) => {}
            Some(false) => {
                wanted.remove(&NVDEC0);
            }
            None => return Err(GpuError::Nvdec0),
        }
    }
    let mismatches: Vec<Mismatch> = wanted
        .into_iter()
        .filter_map(|(index, (source, wanted))| {
            let block = index.checked_add(1).and_then(|number| blocks.iter().find(|block| block.index == number));
            let got = block.filter(|block| !block.raw).map(|block| block.value);
            let matches = got.is_some_and(|got| wanted.contains(&got));
            (!matches).then(|| Mismatch { index, source, got, wanted: wanted.to_vec() })
        })
        .collect();
    if mismatches.is_empty() { Ok(()) } else { Err(GpuError::Measurements { mismatches }) }
}
