//! Why evidence of a confidential container group is refused: one variant per check.

use crate::snp::SnpError;
use claims::{Code, Finding, HostData, LaunchDigest, Refusal};

/// Why evidence was refused. The remote caller gets the code only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AciError {
    /// A file is too large.
    #[error("{file} has {got} bytes, at most {most} are read")]
    Length {
        /// Which.
        file: &'static str,
        /// Bytes found.
        got: usize,
        /// Bytes read at most.
        most: usize,
    },
    /// A file is not in its form.
    #[error("{file} is malformed: {what}")]
    File {
        /// Which.
        file: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The endorsement is not a COSE_Sign1 of a known form.
    #[error("the UVM endorsement is malformed: {what}")]
    Cose {
        /// What is wrong.
        what: String,
    },
    /// A header that nobody here understands is marked critical.
    #[error("the UVM endorsement has a critical header that is not understood")]
    Critical,
    /// Neither PS384 nor ES384 nor ES256.
    #[error("the UVM endorsement names signature algorithm {got}")]
    Algorithm {
        /// What the header says.
        got: String,
    },
    /// A name that is no `did:x509` with a root by SHA-256 and one extended key usage.
    #[error("`{got}` is no did:x509 with a SHA-256 and one extended key usage")]
    Did {
        /// The name.
        got: String,
    },
    /// The endorsement is by another issuer.
    #[error("the UVM endorsement is by `{got}`, wanted is `{wanted}`")]
    Issuer {
        /// Found.
        got: String,
        /// Wanted.
        wanted: String,
    },
    /// The chain ends at another root than the issuer's name says.
    #[error("the endorsement's chain ends at a root with SHA-256 {got}, its issuer names {wanted}")]
    Root {
        /// Found.
        got: String,
        /// Wanted.
        wanted: String,
    },
    /// The chain does not hold.
    #[error("the endorsement's certificate chain is refused: {what}")]
    Chain {
        /// Why.
        what: String,
    },
    /// The leaf's thumbprint in the header is of another certificate.
    #[error("the endorsement's thumbprint is not that of its leaf certificate")]
    Thumbprint,
    /// Signed after the verification time.
    #[error("the endorsement says that it was signed at {signed_at} (seconds since 1970), the time given is {now}")]
    Future {
        /// Signing time.
        signed_at: u64,
        /// Verification time.
        now: u64,
    },
    /// The leaf's key did not sign it.
    #[error("the signature of the UVM endorsement is wrong")]
    Signature,
    /// The report is refused.
    #[error("the SNP report is refused: {0}")]
    Snp(#[from] SnpError),
    /// The TCB that came with the host's certificates is not the report's.
    #[error("the host's certificates are for TCB {got}, the report says {wanted}")]
    Tcb {
        /// What came with the certificates.
        got: String,
        /// Reported TCB, in the same form.
        wanted: String,
    },
    /// The endorsed measurement is not the report's.
    #[error("the endorsement is for launch measurement {endorsed}, the report says {report}")]
    Measurement {
        /// Endorsed.
        endorsed: Box<LaunchDigest>,
        /// In the report.
        report: Box<LaunchDigest>,
    },
    /// The policy that came along is not the one in HOST_DATA.
    #[error("the policy's SHA-256 is {policy}, HOST_DATA is {host_data}")]
    PolicyDigest {
        /// SHA-256 of the policy's bytes.
        policy: HostData,
        /// In the report.
        host_data: HostData,
    },
    /// The policy is not on the list.
    #[error("container policy {got} is not among {} allowed ones", allowed.len())]
    Policy {
        /// HOST_DATA.
        got: HostData,
        /// Wanted.
        allowed: Vec<HostData>,
    },
    /// Another line of software.
    #[error("the UVM endorsement is of feed `{got}`, which is not allowed")]
    Feed {
        /// Found.
        got: String,
        /// Wanted.
        allowed: Vec<String>,
    },
    /// Below the floor.
    #[error("the utility VM has security version {got}, the floor is {wanted}")]
    Svn {
        /// Found.
        got: u64,
        /// Least.
        wanted: u64,
    },
}

impl AciError {
    /// The stable code of this refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Length { .. }
            | Self::File { .. }
            | Self::Cose { .. }
            | Self::Critical
            | Self::Algorithm { .. }
            | Self::Did { .. } => Code::AciFormat,
            Self::Issuer { .. } | Self::Feed { .. } => Code::AciIssuer,
            Self::Root { .. } | Self::Chain { .. } | Self::Thumbprint | Self::Future { .. } => Code::AciChain,
            Self::Signature => Code::AciSignature,
            Self::Snp(error) => error.code(),
            Self::Tcb { .. } => Code::AciTcb,
            Self::Measurement { .. } => Code::AciMeasurement,
            Self::PolicyDigest { .. } | Self::Policy { .. } => Code::AciPolicy,
            Self::Svn { .. } => Code::AciSvn,
        }
    }
}

impl Refusal for AciError {
    fn code(&self) -> Code {
        Self::code(self)
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::Issuer { got, wanted } => Some(Finding::new("uvm.issuer", got, wanted)),
            Self::Root { got, wanted } => Some(Finding::new("uvm.issuer", got, wanted)),
            Self::Snp(error) => error.finding(),
            Self::Tcb { got, wanted } => Some(Finding::new("tcbm", got, wanted)),
            Self::Measurement { endorsed, report } => Some(Finding::new("measurement", report, endorsed)),
            Self::PolicyDigest { policy, host_data } => Some(Finding::new("policy_sha256", policy, host_data)),
            Self::Policy { got, allowed } => {
                let wanted: Vec<String> = allowed.iter().map(ToString::to_string).collect();
                Some(Finding::new("host_data", got, wanted.join(" or ")))
            }
            Self::Feed { got, allowed } => Some(Finding::new("uvm.feed", got, allowed.join(" or "))),
            Self::Svn { got, wanted } => Some(Finding::new("uvm.svn", got, format!("at least {wanted}"))),
            _ => None,
        }
    }
}
