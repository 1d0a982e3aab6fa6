//! GPU evidence, RIMs, revocation and composites on forged devices and manifests, each refusal with its reason.
//!
//! No complete pair of a driver RIM and evidence is public; what needs one runs under test roots, whose results have
//! another type than NVIDIA's.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a test says what went wrong by failing"
)]

mod composites;
mod devices;
mod forge;
mod genuine;
mod manifests;
mod ocsp_forge;
mod revocations;
mod rim_forge;
mod transcripts;
