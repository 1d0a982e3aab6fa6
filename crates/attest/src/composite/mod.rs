//! CPU and device evidence that belong together: one nonce, one key, one set of devices.
//!
//! *Takes* a CPU report and devices that are each verified and appraised, the session, and what was promised.
//! *Guarantees* of a [`Composite`]: every device answered a nonce that holds this session, this key and its place; the
//! devices are all different, and exactly as many and which as promised; and the CPU's report data holds the digest of
//! every device's evidence. A good CPU and somebody else's good GPU do not pass.
//! *Does not check* how the devices are connected: in protected PCIe mode that the switches' links lead to these GPUs.

mod binding;
mod error;
pub mod kbs;
mod promised;

pub use binding::{Binding, BoundReport, Session};
pub use error::CompositeError;
pub use promised::{Identities, Promised, Switches};

use crate::nvgpu::{AppraisedDevice, NvidiaRoots, Roots};
use crate::snp::Waiver;

/// A machine: a CPU's report and the devices that it speaks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Composite<C, R: Roots = NvidiaRoots> {
    cpu: C,
    devices: Vec<AppraisedDevice<R>>,
    waivers: Vec<Waiver>,
}

impl<C: BoundReport, R: Roots> Composite<C, R> {
    /// Binds a CPU's report and devices in the order in which they were asked. Checked in this order: the set of
    /// devices, their nonces, the CPU's report data.
    pub fn bind(
        cpu: C,
        devices: Vec<AppraisedDevice<R>>,
        session: &Session,
        binding: &Binding<'_>,
        promised: &Promised,
    ) -> Result<Self, CompositeError> {
        attested(cpu, devices, session, binding, promised)
    }

    /// The CPU's report.
    pub fn cpu(&self) -> &C {
        &self.cpu
    }

    /// The devices, in the order in which they were asked.
    pub fn devices(&self) -> &[AppraisedDevice<R>] {
        &self.devices
    }

    /// What was not compared, and why; beside what each device's own waivers say.
    pub fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }
}

/// The whole check. `grep attested` finds every place where trust begins.
fn attested<C: BoundReport, R: Roots>(
    cpu: C,
    devices: Vec<AppraisedDevice<R>>,
    session: &Session,
    binding: &Binding<'_>,
    promised: &Promised,
) -> Result<Composite<C, R>, CompositeError> {
    let claims: Vec<_> = devices.iter().map(AppraisedDevice::claims).collect();
    let mut waivers = promised.check(&claims)?;
    waivers.extend(binding.check_nonces(session, &claims)?);
    binding.check_report_data(session, &claims, &cpu.bound())?;
    Ok(Composite { cpu, devices, waivers })
}
