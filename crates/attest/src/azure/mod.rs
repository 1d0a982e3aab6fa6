//! Azure confidential VMs: the HCL report, and the vTPM quote that its attestation key signs.
//!
//! *Takes* an HCL report, a TPM quote with PCR values, and for SNP AMD's endorsements, for TDX the body of a quote that
//! was verified elsewhere. *Guarantees* what the type at each step says: [`HclReport`] (well-formed) → [`VerifiedHcl`]
//! (the processor vouches for the runtime claims and so for the attestation key) → [`VerifiedAzure`] (that key signed
//! the quote) → [`AppraisedAzure`] (everything is as wanted).
//! *Does not check* freshness by the hardware's report: it was made when the VM started. Only the quote's nonce is fresh.
//!
//! Layout: `reference/snp.md` 5.4, after Microsoft's OpenHCL `IgvmAttest` protocol.

mod error;
mod evidence;
mod expected;
mod hcl;
pub mod kbs;
mod runtime;
mod td;
mod verify;

pub use error::AzureError;
pub use evidence::{AppraisedAzure, AzureEvidence, UnanchoredAzure, VerifiedAzure};
pub use expected::{Console, Expected, ExpectedHardware, VmRules};
pub use hcl::{Hardware, HclReport, MAX_HCL};
pub use td::{TD_BODY_LENGTH, TD_REPORT_LENGTH, TdReport, VerifiedTdBody};
pub use verify::VerifiedHcl;
