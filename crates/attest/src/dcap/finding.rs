//! The stable code of a refusal of a quote, and what it compared, for the operator.

use super::error::DcapError;
use claims::dcap::TcbStatus;
use claims::{Code, Finding, Refusal};

impl DcapError {
    /// The stable code of this refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::TooLong { .. } | Self::Truncated { .. } | Self::Surplus { .. } | Self::Trailing { .. } => {
                Code::DcapFormat
            }
            Self::Version { .. }
            | Self::TeeType { .. }
            | Self::Body { .. }
            | Self::KeyType { .. }
            | Self::Vendor { .. }
            | Self::CertificationType { .. } => Code::DcapVersion,
            Self::NoChain { .. }
            | Self::Pem { .. }
            | Self::ChainShape { .. }
            | Self::Name { .. }
            | Self::SignatureAlgorithm { .. }
            | Self::ChainSignature { .. }
            | Self::Constraints { .. }
            | Self::CriticalExtension { .. } => Code::DcapChain,
            Self::Certificate { .. } | Self::Key { .. } | Self::Extension { .. } => Code::DcapCertificate,
            Self::RootNotPinned { .. } => Code::DcapRoot,
            Self::Revoked { .. } | Self::TcbRevoked => Code::DcapRevoked,
            Self::CrlMissing { .. } | Self::CrlMalformed { .. } | Self::CrlSignature { .. } => Code::DcapCrl,
            Self::Collateral { .. }
            | Self::Json { .. }
            | Self::JsonSignature { .. }
            | Self::CollateralMissing { .. }
            | Self::OtherPlatform { .. } => Code::DcapCollateral,
            Self::QeReportSignature | Self::QeReportData | Self::QeIdentity { .. } => Code::DcapQe,
            Self::Signature => Code::DcapSignature,
            Self::Module { .. } => Code::DcapModule,
            Self::NoTcbLevel { .. } => Code::DcapTcbLevel,
            Self::Expired { .. } | Self::NotYetValid { .. } => Code::DcapExpired,
            Self::TcbStatus { .. } => Code::DcapTcb,
            Self::Advisory { .. } => Code::DcapAdvisory,
            Self::Evaluation { .. } => Code::DcapEvaluation,
            Self::Debug { .. } => Code::DcapDebug,
            Self::Attribute { .. } | Self::ServiceTd { .. } => Code::DcapAttributes,
            Self::OtherTee { .. } | Self::Identity { .. } => Code::DcapIdentity,
            Self::ReportData { .. } => Code::ReportData,
            Self::Platform { .. } => Code::DcapPlatform,
        }
    }
}

impl Refusal for DcapError {
    fn code(&self) -> Code {
        Self::code(self)
    }

    fn finding(&self) -> Option<Finding> {
        Some(match self {
            Self::OtherPlatform { got, wanted } => Finding::new("platform.fmspc", got, wanted.join(", ")),
            Self::QeIdentity { claim, got, wanted } => Finding::new(format!("qe.{claim}"), got, wanted),
            Self::Module { claim, got, wanted } => Finding::new(format!("module.{claim}"), got, wanted),
            Self::Expired { what, until, now } => {
                Finding::new("collateral.until", format!("{what}: {until}"), format!("at least {now}"))
            }
            Self::NotYetValid { what, from, now } => {
                Finding::new("collateral.from", format!("{what}: {from}"), format!("at most {now}"))
            }
            Self::TcbRevoked => Finding::new("tcb.status", TcbStatus::Revoked, "anything else"),
            Self::TcbStatus { got, allowed } => Finding::new("tcb.status", got, names(allowed)),
            Self::Advisory { id } => Finding::new("tcb.advisories", id, "not this one"),
            Self::Evaluation { got, wanted } => {
                Finding::new("tcb.evaluation_number", got, format!("at least {wanted}"))
            }
            Self::OtherTee { got, wanted } => Finding::new("tee", got, wanted),
            Self::Debug { attributes } => Finding::new("attributes", format!("{attributes:#x}"), "no debugging"),
            Self::Attribute { what, attributes } => {
                Finding::new("attributes", format!("{attributes:#x}"), format!("not so: {what}"))
            }
            Self::ServiceTd { got } => Finding::new("mr_service_td", got, "zero, or a listed value"),
            Self::Identity { claim, got, wanted } => Finding::new(*claim, got, wanted),
            Self::ReportData { got } => Finding::new("report_data", got, "what this session binds"),
            Self::Platform { claim, got, wanted } => Finding::new(format!("platform.{claim}"), got, wanted),
            _ => return None,
        })
    }
}

/// The allowed statuses, as a refusal and its finding both name them.
pub(super) fn names(statuses: &[TcbStatus]) -> String {
    statuses.iter().map(|status| status.name()).collect::<Vec<_>>().join(", ")
}
