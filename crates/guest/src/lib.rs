//! What runs in the TEE: PID 1 of a confidential VM.

pub mod evidence;
