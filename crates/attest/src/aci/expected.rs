//! What is wanted of a confidential container group.

use super::error::AciError;
use crate::snp::{self, Waiver};
use claims::aci::AciClaims;
use claims::{Allowed, HostData};

/// Who endorses Microsoft's utility VMs: its supply chain root of 2022, for the usage "UVM".
pub const UVM_ISSUER: &str =
    "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.2";
/// The feed of utility VMs of confidential container groups on AMD.
pub const UVM_FEED: &str = "ContainerPlat-AMD-UVM";
/// The least security version, as published.
pub const UVM_SVN_FLOOR: UvmFloor = UvmFloor {
    svn: 104,
    date: "2026-08-20",
    source: "docs/Confidential_ACI_SCHEME.md in microsoft/confidential-aci-examples, commit 43e1412",
};

/// A floor with the day and the place that it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UvmFloor {
    /// Least security version number.
    pub svn: u64,
    /// When it was read (RFC 3339 date).
    pub date: &'static str,
    /// Where.
    pub source: &'static str,
}

/// What a container group must state to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What the processor must state. Its launch measurement is the endorsed one and its HOST_DATA the policy below, so
    /// `measurement` and `host_data` of this rule are not looked at.
    pub snp: snp::Expected,
    /// Which line of software.
    pub feed: Allowed<String>,
    /// Least security version of the utility VM.
    pub svn: SvnFloor,
    /// SHA-256 of the container policies that are accepted.
    pub policy: Allowed<HostData>,
}

/// Least security version of the utility VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SvnFloor {
    /// At least this one.
    AtLeast(u64),
    /// Any, for the reason given.
    None {
        /// Why.
        reason: String,
    },
}

impl Expected {
    /// The strict rule: Microsoft's feed, the published floor, this policy.
    pub fn strict(snp: snp::Expected, policy: Allowed<HostData>) -> Self {
        Self { snp, feed: Allowed::only(UVM_FEED.to_owned()), svn: SvnFloor::AtLeast(UVM_SVN_FLOOR.svn), policy }
    }

    /// Compares claims with this. Says what is *wanted*, not what is *true*: give it the claims of verified evidence.
    pub fn admit(&self, claims: &AciClaims) -> Result<Vec<Waiver>, AciError> {
        let mut waivers = Vec::new();
        let mut waive = |claim, reason: &str| waivers.push(Waiver { claim, reason: reason.to_owned() });
        match &self.feed {
            Allowed::OneOf(feeds) if feeds.contains(&claims.uvm.feed) => {}
            Allowed::OneOf(feeds) => {
                return Err(AciError::Feed { got: claims.uvm.feed.clone(), allowed: feeds.clone() });
            }
            Allowed::Any { reason } => waive("uvm.feed", reason),
        }
        match &self.svn {
            SvnFloor::AtLeast(wanted) if claims.uvm.svn < *wanted => {
                return Err(AciError::Svn { got: claims.uvm.svn, wanted: *wanted });
            }
            SvnFloor::AtLeast(_) => {}
            SvnFloor::None { reason } => waive("uvm.svn", reason),
        }
        let got = claims.snp.host_data;
        match &self.policy {
            Allowed::OneOf(policies) if policies.contains(&got) => {}
            Allowed::OneOf(policies) => return Err(AciError::Policy { got, allowed: policies.clone() }),
            Allowed::Any { reason } => waive("host_data", reason),
        }
        let mut rule = self.snp.clone();
        rule.measurement = Allowed::only(claims.uvm.launch_measurement);
        rule.host_data = Allowed::only(got);
        waivers.extend(rule.admit(&claims.snp)?);
        Ok(waivers)
    }
}
