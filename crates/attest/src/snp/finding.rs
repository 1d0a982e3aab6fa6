//! The stable code of a refusal of SNP evidence, and what it compared, for the operator.

use super::error::SnpError;
use claims::{Code, Finding, Refusal};
use std::fmt::Display;

impl SnpError {
    /// The stable code of this refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Length { .. } => Code::SnpFormat,
            Self::Version { .. } | Self::VersionRefused { .. } => Code::SnpVersion,
            Self::SignatureAlgorithm { .. } => Code::SnpAlgorithm,
            Self::Reserved { .. }
            | Self::UnsignedTail { .. }
            | Self::SignaturePadding { .. }
            | Self::KeyInfoReserved { .. } => Code::SnpReserved,
            Self::SignatureRange { .. } | Self::Signature => Code::SnpSignature,
            Self::SigningKeyKind { .. } | Self::MaskedChipKey | Self::VekKind { .. } | Self::Provider { .. } => {
                Code::SnpSigningKey
            }
            Self::PolicyReserved { .. }
            | Self::PolicyBit { .. }
            | Self::PlatformBit { .. }
            | Self::Abi { .. }
            | Self::IdentityKey { .. }
            | Self::GuestSvn { .. }
            | Self::Mitigations { .. } => Code::SnpPolicy,
            Self::UnknownProduct { .. } | Self::ProductName { .. } | Self::ProductMismatch { .. } => Code::SnpProduct,
            Self::Emulated { .. } => Code::Emulated,
            Self::RootNotPinned { .. } => Code::SnpRoot,
            Self::Missing { .. }
            | Self::SignatureParameters { .. }
            | Self::ChainSignature { .. }
            | Self::Name { .. }
            | Self::Constraints { .. }
            | Self::CriticalExtension { .. } => Code::SnpChain,
            Self::Certificate { .. }
            | Self::Key { .. }
            | Self::ExtensionMissing { .. }
            | Self::ExtensionDoubled { .. }
            | Self::ExtensionUnexpected { .. }
            | Self::ExtensionForm { .. }
            | Self::StructVersion { .. } => Code::SnpCertificate,
            Self::NotYetValid { .. } | Self::Expired { .. } => Code::SnpExpired,
            Self::CrlMissing | Self::CrlMalformed { .. } | Self::CrlSignature | Self::CrlStale { .. } => Code::SnpCrl,
            Self::Revoked { .. } => Code::SnpRevoked,
            Self::TcbMismatch { .. } => Code::SnpTcb,
            Self::ChipMismatch { .. } | Self::ChipMasked | Self::Chip { .. } => Code::SnpChip,
            Self::Debug { .. } => Code::SnpDebug,
            Self::Migration { .. } | Self::MigrationAgent => Code::SnpMigration,
            Self::Vmpl { .. } => Code::SnpVmpl,
            Self::Alias => Code::SnpAlias,
            Self::TcbOrder { .. }
            | Self::TcbFloor { .. }
            | Self::TcbFloorUnknown { .. }
            | Self::FirmwareFloor { .. } => Code::SnpTcbFloor,
            Self::Measurement { .. } => Code::Measurement,
            Self::ReportData { .. } => Code::ReportData,
            Self::HostData { .. } => Code::HostData,
        }
    }
}

impl Refusal for SnpError {
    fn code(&self) -> Code {
        Self::code(self)
    }

    fn finding(&self) -> Option<Finding> {
        let seconds = |time: &u64| format!("{time} (seconds since 1970)");
        Some(match self {
            Self::Length { got } => Finding::new("length", got, 1184),
            Self::Version { got } => Finding::new("version", got, "2, 3 or 5"),
            Self::VersionRefused { got } => Finding::new("version", got, "3 or later"),
            Self::SignatureAlgorithm { got } => Finding::new("signature_algo", got, 1),
            Self::SigningKeyKind { got } => Finding::new("signing_key", got, "0 (VCEK) or 1 (VLEK)"),
            Self::PolicyReserved { policy } => Finding::new("policy", hex(policy), "bit 17 set, bits 63:26 clear"),
            Self::RootNotPinned { spki } => Finding::new("root key (SHA-384)", spki, "one of AMD's three"),
            Self::Name { role, part, got, wanted } => Finding::new(format!("{role} {part}"), got, wanted),
            Self::Key { role, wanted } => Finding::new(format!("{role} key"), "another kind", wanted),
            Self::NotYetValid { role, from, now } => {
                Finding::new(format!("{role} validity"), format!("from {}", seconds(from)), seconds(now))
            }
            Self::Expired { role, until, now } => {
                Finding::new(format!("{role} validity"), format!("until {}", seconds(until)), seconds(now))
            }
            Self::CrlStale { from, until, now } => {
                Finding::new("revocation list", format!("{} to {}", seconds(from), seconds(until)), seconds(now))
            }
            Self::VekKind { report, certificate } => {
                Finding::new("signing_key", format!("{report:?}"), format!("{certificate:?}, as the certificate"))
            }
            Self::StructVersion { got } => Finding::new("structVersion", got, "0 or 1"),
            Self::ProductName { got, wanted } => Finding::new("productName", got, wanted),
            Self::ProductMismatch { report, chain } => Finding::new("product", report, chain),
            Self::TcbMismatch { component, certificate, report } => {
                Finding::new(format!("reported_tcb.{component}"), report, format!("{certificate}, as the certificate"))
            }
            Self::ChipMismatch { certificate, report } => Finding::new("chip_id", report, certificate),
            Self::ChipMasked => Finding::new("chip_id", "masked (all zero)", "the certificate's hardware id"),
            Self::Chip { got, allowed } => Finding::new("chip_id", got, one_of(allowed)),
            Self::Debug { policy } => Finding::new("policy.debug", hex(policy), "bit 19 clear"),
            Self::Migration { policy } => Finding::new("policy.migration", hex(policy), "bit 18 clear"),
            Self::MigrationAgent => Finding::new("report_id_ma", "an agent's", "all ones"),
            Self::Vmpl { got } => Finding::new("vmpl", got, 0),
            Self::PolicyBit { what, policy } => {
                Finding::new("policy", hex(policy), format!("one that does not: {what}"))
            }
            Self::PlatformBit { what, platform } => {
                Finding::new("platform_info", hex(platform), format!("one that does not: {what}"))
            }
            Self::Alias => Finding::new("platform_info.alias_check_complete", false, true),
            Self::Abi { wanted, got } => {
                Finding::new("firmware", format!("{}.{}", got.0, got.1), format!("ABI {}.{}", wanted.0, wanted.1))
            }
            Self::TcbOrder { lower, lower_value, upper, upper_value } => {
                Finding::new(format!("{lower}_tcb"), lower_value, format!("at most the {upper} TCB ({upper_value})"))
            }
            Self::TcbFloor { which, component, got, wanted } => {
                Finding::new(format!("{which}_tcb.{component}"), got, format!("at least {wanted}"))
            }
            Self::TcbFloorUnknown { product, cpuid } => {
                Finding::new("cpuid", format!("{product} {cpuid:?}"), "a processor with a row in the table of floors")
            }
            Self::FirmwareFloor { which, got, wanted } => {
                Finding::new(format!("firmware_{which}"), format!("{got:?}"), format!("at least {wanted:?}"))
            }
            Self::Measurement { got, allowed } => Finding::new("measurement", got, one_of(allowed)),
            Self::ReportData { got } => Finding::new("report_data", got, "what this session binds"),
            Self::HostData { got, allowed } => Finding::new("host_data", got, one_of(allowed)),
            Self::IdentityKey { which, got } => {
                Finding::new(format!("{which} key digest"), got, "one that the rule names")
            }
            Self::GuestSvn { got, wanted } => Finding::new("guest_svn", got, format!("at least {wanted}")),
            Self::Provider { got } => Finding::new("csp_id", got, "one that the rule names"),
            Self::Mitigations { got, wanted } => Finding::new("mitigations", hex(got), hex(wanted)),
            // Malformed bytes, wrong signatures, what is missing: the message says all there is.
            _ => return None,
        })
    }
}

fn hex(value: &u64) -> String {
    format!("{value:#x}")
}

fn one_of<T: Display>(allowed: &[T]) -> String {
    let shown: Vec<String> = allowed.iter().take(8).map(T::to_string).collect();
    match (allowed.len(), shown.len()) {
        (0, _) => "(nothing is allowed)".to_owned(),
        (all, few) if all > few => format!("{} or {} more", shown.join(" or "), all.saturating_sub(few)),
        _ => shown.join(" or "),
    }
}
