//! Why evidence of an Azure confidential VM is refused: one variant per check.

use crate::snp::SnpError;
use crate::tpm::TpmError;
use claims::bytes::{Digest256, ReportData};
use claims::{Code, Finding, Refusal};

/// Why evidence was refused. The remote caller gets the code only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AzureError {
    /// Longer than any HCL report.
    #[error("the HCL report has {got} bytes, at most 16384 are read")]
    Length {
        /// Bytes found.
        got: usize,
    },
    /// A field ends behind the report.
    #[error("the HCL report ends in the field at byte {offset:#x}")]
    Truncated {
        /// Where.
        offset: usize,
    },
    /// Not an HCL report.
    #[error("the HCL report does not start with `HCLA`")]
    Magic,
    /// A header field with another value than the one that fits.
    #[error("{name} of the HCL report is {got}")]
    Field {
        /// Which.
        name: &'static str,
        /// Found.
        got: u32,
    },
    /// The hash over the claims is not SHA-256.
    #[error("the report data is said to be hash type {got}, only 1 (SHA-256) is read")]
    HashType {
        /// Found.
        got: u32,
    },
    /// The claims end behind the report.
    #[error("the runtime claims are said to have {got} bytes, the report ends before")]
    ClaimSize {
        /// Found.
        got: u32,
    },
    /// A byte that must be zero is not.
    #[error("byte {offset:#x} of the HCL report is not zero")]
    Padding {
        /// Where.
        offset: usize,
    },
    /// The runtime claims are not in their form.
    #[error("the runtime claims are malformed: {what}")]
    Json {
        /// What is wrong.
        what: String,
    },
    /// No key `HCLAkPub`.
    #[error("the runtime claims hold no key `HCLAkPub`")]
    KeyMissing,
    /// The key is not the one kind that is taken.
    #[error("the attestation key in the runtime claims is refused: {what}")]
    Key {
        /// What is wrong.
        what: String,
    },
    /// Another processor than wanted.
    #[error("the HCL report is not of a machine with {wanted}")]
    Hardware {
        /// Wanted.
        wanted: &'static str,
    },
    /// The SNP report inside is refused.
    #[error("the SNP report is refused: {0}")]
    Snp(#[from] SnpError),
    /// The TD report inside is malformed.
    #[error("the TD report is malformed: {what}")]
    TdForm {
        /// What is wrong.
        what: &'static str,
    },
    /// The TD report inside is not the quoted one.
    #[error("{name} of the TD report is {report}, the quote has {quote}")]
    TdMismatch {
        /// Field.
        name: &'static str,
        /// Value in the HCL report.
        report: String,
        /// Value in the quote.
        quote: String,
    },
    /// The hardware's report data is not the hash of the claims and zeros.
    #[error("report data {got} does not bind the runtime claims")]
    Binding {
        /// Found.
        got: ReportData,
        /// The hash of the claims, which zeros must follow.
        wanted: Digest256,
    },
    /// The quote is refused.
    #[error("the vTPM's quote is refused: {0}")]
    Quote(#[from] TpmError),
    /// A setting of the VM is not as the rule asks.
    #[error("setting {name} of the VM is `{got}`, wanted is {wanted}")]
    Setting {
        /// Which.
        name: &'static str,
        /// Found.
        got: String,
        /// Wanted.
        wanted: &'static str,
    },
    /// The guest's user data is not the wanted one.
    #[error("the VM's user data is not allowed")]
    UserData {
        /// Found.
        got: Option<ReportData>,
    },
    /// A TD's launch measurement is not a reference value.
    #[error("launch measurement {got} is not among {} allowed values", allowed.len())]
    Measurement {
        /// Found.
        got: String,
        /// Wanted.
        allowed: Vec<String>,
    },
    /// The JSON form (Trustee's `az-snp-vtpm` and `az-tdx-vtpm`) is not readable.
    #[error("the evidence is not in Trustee's form: {what}")]
    Envelope {
        /// What is wrong.
        what: String,
    },
}

impl AzureError {
    /// The stable code of this refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Length { .. }
            | Self::Truncated { .. }
            | Self::Magic
            | Self::Field { .. }
            | Self::HashType { .. }
            | Self::ClaimSize { .. }
            | Self::Padding { .. }
            | Self::Json { .. }
            | Self::TdForm { .. }
            | Self::Envelope { .. } => Code::AzureFormat,
            Self::KeyMissing | Self::Key { .. } => Code::AzureKey,
            Self::Hardware { .. } | Self::TdMismatch { .. } => Code::AzureTd,
            Self::Snp(error) => error.code(),
            Self::Binding { .. } => Code::AzureBinding,
            Self::Quote(error) => error.code(),
            Self::Setting { .. } => Code::AzureVm,
            Self::UserData { .. } => Code::ReportData,
            Self::Measurement { .. } => Code::Measurement,
        }
    }
}

impl Refusal for AzureError {
    fn code(&self) -> Code {
        Self::code(self)
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::TdMismatch { name, report, quote } => Some(Finding::new(*name, report, quote)),
            Self::Binding { got, wanted } => {
                Some(Finding::new("report_data", got, format!("{wanted} and 32 zero bytes")))
            }
            Self::Snp(error) => error.finding(),
            Self::Quote(error) => error.finding(),
            Self::Setting { name, got, wanted } => Some(Finding::new(format!("vm-configuration.{name}"), got, wanted)),
            Self::UserData { got } => {
                let got = got.map_or_else(|| "none".to_owned(), |data| data.to_string());
                Some(Finding::new("user-data", got, "what the rule lists"))
            }
            Self::Measurement { got, allowed } => Some(Finding::new("mr_td", got, allowed.join(" or "))),
            _ => None,
        }
    }
}
