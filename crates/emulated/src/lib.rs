//! The emulated SNP processor: issuer, verifier, development roots. **It protects nothing.**
//!
//! *Takes* a workspace folder for its keys, and for each guest the launch measurement and HOST_DATA that whoever starts
//! the guest computed from the files and options it gives to QEMU.
//! *Guarantees* reports in the hardware's format, bound to one guest: nothing that comes out of the guest chooses its
//! measurement, HOST_DATA or policy.
//! *Does not check* anything about the host, and there is no way from its evidence to a verified report of silicon.
//!
//! Only the main of `confide-dev` names this crate.
#![forbid(unsafe_code)]

mod issue;
mod processor;
pub mod sample;
mod serve;
mod state;
mod verifier;

pub use processor::{Evidence, Fault, Guest, Model, Processor};
pub use serve::{ServeError, serve, serve_stream};
pub use state::{EmulatorError, Hardware};
pub use verifier::{EmulatedEvidence, EmulatedVerifier};
