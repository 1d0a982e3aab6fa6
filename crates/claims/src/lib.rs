//! The words of Confide as types.
//!
//! *Takes* nothing from the outside: no sockets, clock, randomness or file system.
//! *Guarantees* that values which look alike cannot be swapped, that a parsed value has its exact size, and that a
//! secret never prints itself.
//! *Does not check* whether anything is true: that is the work of `attest` and of the broker.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod aci;
pub mod azure;
pub mod boot;
pub mod bytes;
pub mod codes;
pub mod dcap;
pub mod enclave;
pub mod json;
pub mod kbs;
pub mod nvgpu;
pub mod reference;
pub mod refusal;
pub mod secret;
pub mod site;
pub mod snp;
pub mod snp_port;
pub mod token;
pub mod volume;
pub mod wanted;
pub mod workload;

pub use bytes::{ChipId, Digest256, HostData, LaunchDigest, Nonce, ParseBytesError, ReportData, VerityRoot};
pub use codes::Code;
pub use refusal::{Finding, Refusal};
pub use secret::Secret;

/// Seconds since 1970-01-01T00:00:00Z, always an input and never read from a clock in this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub u64);

/// A set of allowed values. There is no "unset": to accept anything, say why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed<T> {
    /// One of these.
    OneOf(Vec<T>),
    /// Anything, for the reason given; the reason is copied into the result.
    Any {
        /// Why nothing is compared.
        reason: String,
    },
}

impl<T: PartialEq> Allowed<T> {
    /// Accepts anything; the reason is recorded in the result.
    pub fn any(reason: impl Into<String>) -> Self {
        Self::Any { reason: reason.into() }
    }

    /// Accepts exactly one value.
    pub fn only(value: T) -> Self {
        Self::OneOf(vec![value])
    }

    /// Whether `value` is allowed.
    pub fn admits(&self, value: &T) -> bool {
        match self {
            Self::OneOf(values) => values.contains(value),
            Self::Any { .. } => true,
        }
    }
}
