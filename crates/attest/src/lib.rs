//! Evidence formats and their verifiers; collateral and time are inputs.

pub mod channel;
