//! NVIDIA GPUs and switches: SPDM measurements, the device chain, and RIMs (signed XML).
//!
//! *Takes* raw evidence, its certificates, RIMs or values imported from them, OCSP responses, and the time.
//! *Guarantees* what the type at each step says: [`Evidence`] (well-formed) → [`VerifiedEvidence`] (a device with a
//! certificate of NVIDIA's signed it) → [`AppraisedDevice`] (nonce, versions and measurements are the ones wanted);
//! [`Rim`] → [`VerifiedRim`] (NVIDIA signed these reference values).
//! *Does not check* which CPU the device is attached to: `composite` does. A device in developer tools mode is found by
//! its measurements only, so an appraisal without reference values does not find it.

mod certificate;
mod chain;
mod compare;
mod error;
mod evidence;
mod expected;
mod fwid;
pub mod json;
mod ocsp;
mod opaque;
mod revocation;
mod rim;
mod roots;
mod spdm;
mod verify;

pub use certificate::{ChainError, MAX_CERTIFICATE};
pub use chain::{DeviceChain, MAX_CHAIN, VerifiedChain};
pub use compare::Mismatch;
pub use error::GpuError;
pub use evidence::{Evidence, RimIds};
pub use expected::{Expected, References, VersionRule};
pub use ocsp::OcspQuestion;
pub use opaque::Opaque;
pub use revocation::{HoldPolicy, MAX_OCSP, RevocationError, RevocationInput, RevocationPolicy};
pub use rim::{Document, MAX_RIM, Resource, Rim, RimError, VerifiedRim};
pub use roots::{NvidiaRoots, Roots, UnanchoredRoots};
pub use spdm::{Block, MAX_EVIDENCE};
pub use verify::{AppraisedDevice, VerifiedEvidence};
