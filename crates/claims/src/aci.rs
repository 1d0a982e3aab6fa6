//! What a confidential container group on Azure says, as types.
//!
//! These are plain values. They are *true* only when they come out of `attest::aci::VerifiedAci`.

use crate::snp::SnpClaims;
use crate::{HostData, LaunchDigest, UnixTime};
use serde::Serialize;

/// Everything that a container group states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AciClaims {
    /// What the processor says.
    pub snp: SnpClaims,
    /// What Microsoft says about the utility VM.
    pub uvm: UvmClaims,
    /// SHA-256 of the container policy that came along; none when only HOST_DATA is known.
    pub policy_sha256: Option<HostData>,
}

/// What an endorsement of a utility VM says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UvmClaims {
    /// Who signed: a `did:x509`.
    pub issuer: String,
    /// Which line of software.
    pub feed: String,
    /// Security version number.
    pub svn: u64,
    /// The endorsed launch measurement.
    pub launch_measurement: LaunchDigest,
    /// When it was signed, as the signer says.
    pub signed_at: UnixTime,
    /// Form of the endorsement.
    pub form: UvmForm,
    /// Receipts of a transparency ledger that came along. They are **not** verified.
    pub receipts: usize,
}

/// The two forms of endorsements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UvmForm {
    /// A JSON payload; issuer and feed as text headers.
    Legacy,
    /// A hash envelope whose payload is the measurement; issuer and feed in CWT claims.
    Transparent,
}
