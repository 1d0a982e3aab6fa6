//! Confidential containers on Azure: UVM endorsements (COSE_Sign1), and the policy that HOST_DATA binds.
//!
//! *Takes* an SNP report, AMD's endorsements, Microsoft's endorsement of the utility VM, and the container policy.
//! *Guarantees* what the type at each step says: [`UvmEndorsement`] → [`VerifiedUvm`] (the named issuer signed it);
//! [`AciEvidence`] → [`VerifiedAci`] (report and endorsement are genuine and of one utility VM, the policy is the one in
//! HOST_DATA) → [`AppraisedAci`] (feed, security version, policy and the rest are as wanted).
//! *Does not check* receipts of a transparency ledger, nor revocation of Microsoft's certificates. Leaf certificates are
//! short-lived and judged **at signing time, which the signer itself states**: a stolen old leaf key could be used with
//! an old date. What limits that is the floor for the security version and the report's own measurement.
//!
//! Forms: `reference/aci.md` 1.5 and 6, after microsoft/confidential-sidecar-containers and cosesign1go.

mod did;
mod error;
mod evidence;
mod expected;
mod host;
mod uvm;

pub use error::AciError;
pub use evidence::{AciEvidence, AppraisedAci, UnanchoredAci, VerifiedAci, runtime_report_data};
pub use expected::{Expected, SvnFloor, UVM_FEED, UVM_ISSUER, UVM_SVN_FLOOR, UvmFloor};
pub use host::{HostCertificates, MAX_FILE};
pub use uvm::{MAX_COSE, UvmEndorsement, VerifiedUvm};
