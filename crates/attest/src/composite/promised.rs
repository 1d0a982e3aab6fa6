//! Which devices a machine was promised to have. Every attached device counts: one that nobody checks could be used.

use super::error::CompositeError;
use crate::snp::Waiver;
use claims::nvgpu::{DeviceClaims, Mode};

/// The devices of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promised {
    /// Number of GPUs.
    pub gpus: usize,
    /// Switches.
    pub switches: Switches,
    /// Which devices they are.
    pub identities: Identities,
}

/// Switches of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switches {
    /// So many; zero is refused in protected PCIe mode, whose links go through switches.
    Count(usize),
    /// There may be some that show no evidence, for the reason given.
    NotAttested {
        /// Why.
        reason: String,
    },
}

/// Which devices may be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identities {
    /// Exactly these, by serial number of the boot ROM's certificate in hex.
    Exactly(Vec<String>),
    /// Any, for the reason given.
    Any {
        /// Why.
        reason: String,
    },
}

impl Promised {
    pub(super) fn check(&self, devices: &[&DeviceClaims]) -> Result<Vec<Waiver>, CompositeError> {
        for (index, device) in devices.iter().enumerate() {
            let same = |other: &&&DeviceClaims| {
                other.device_id == device.device_id || other.evidence == device.evidence || other.ueid == device.ueid
            };
            if let Some(first) = devices.iter().take(index).position(|other| same(&other)) {
                return Err(CompositeError::Repeated { first, second: index, id: device.device_id.clone() });
            }
        }
        let mut waivers = Vec::new();
        let switches = devices.iter().filter(|device| device.architecture.is_switch()).count();
        count("GPUs", devices.len().saturating_sub(switches), self.gpus)?;
        match &self.switches {
            Switches::Count(promised) => {
                count("switches", switches, *promised)?;
                if switches == 0 && devices.iter().any(|device| device.mode == Some(Mode::Ppcie)) {
                    return Err(CompositeError::WithoutSwitches);
                }
            }
            Switches::NotAttested { reason } => {
                count("switches", switches, 0)?;
                waivers.push(Waiver { claim: "switches", reason: reason.clone() });
            }
        }
        match &self.identities {
            Identities::Any { reason } => waivers.push(Waiver { claim: "device-ids", reason: reason.clone() }),
            Identities::Exactly(ids) => {
                if let Some(id) = ids.iter().find(|id| !devices.iter().any(|device| device.device_id == **id)) {
                    return Err(CompositeError::Missing { id: id.clone() });
                }
                if let Some(extra) = devices.iter().find(|device| !ids.contains(&device.device_id)) {
                    return Err(CompositeError::Extra { id: extra.device_id.clone() });
                }
            }
        }
        Ok(waivers)
    }
}

fn count(what: &'static str, got: usize, wanted: usize) -> Result<(), CompositeError> {
    if got == wanted { Ok(()) } else { Err(CompositeError::Count { what, got, wanted }) }
}
