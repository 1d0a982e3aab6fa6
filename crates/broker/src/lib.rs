//! The key broker: verifies evidence, decides by release rules, and hands out secrets encrypted to the attested key.
//!
//! *Takes* settings, the keys that [`init`] made, and verifiers; speaks the KBS protocol 0.4.0 and 0.2.0 to guests and
//! JSON to administrators.
//! *Guarantees* that a secret leaves only with a permit of the policy module, encrypted to the attested key, after the
//! decision is in the audit log; and that a challenge is good for one successful attestation.
//! *Does not check* what a guest does after it has a secret.
#![forbid(unsafe_code)]

mod init;
mod serve;
mod settings;
mod verify;

pub use init::{Facts, InitError, InitOptions, init};
pub use serve::{Ready, ServeError, serve};
pub use settings::{Limits, Revocation, Settings, SettingsError};
pub use verify::{ExtraVerifier, PresentedCertificates, Verifiers};
