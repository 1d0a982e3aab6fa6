//! Predictors: which number will the hardware report?
//!
//! (Written by the lead, not by the helper of `attest`; please do not write it again, extend it.)
//!
//! *Takes* the bytes a TEE will be started with.
//! *Guarantees* the digest that the hardware computes over them, or an error that names what is wrong with an input.
//! *Does not check* whether anything was really started that way: that is what evidence is for.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod diff;
pub mod snp;
