//! Evidence formats and their verifiers.
//!
//! *Takes* evidence, collateral and the time as inputs: no sockets, clock, randomness or file system.
//! *Guarantees* that what is verified has another type than what merely parsed.
//! *Does not check* whether the attested guest is the one you want, unless you say what you expect.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod aci;
pub mod azure;
pub mod channel;
pub mod composite;
pub mod dcap;
pub mod expiry;
pub mod floors;
pub mod nvgpu;
mod path;
pub mod ratls;
mod signed;
pub mod snp;
pub mod token;
pub mod tpm;
