//! What is wanted of an Azure confidential VM.

use super::error::AzureError;
use crate::snp::Waiver;
use crate::{snp, tpm};
use claims::Allowed;
use claims::azure::{AzureClaims, AzureHardware, TdClaims, VmConfiguration};
use claims::bytes::ReportData;

/// What an Azure confidential VM must state to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What the processor must state.
    pub hardware: ExpectedHardware,
    /// What the vTPM must have signed; the nonce in it is the only thing that is fresh.
    pub quote: tpm::Expected,
    /// Settings of the VM.
    pub vm: VmRules,
    /// What the guest wrote to NV index 0x01400002 before the report was made.
    pub user_data: Allowed<Option<ReportData>>,
}

/// What the processor must state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedHardware {
    /// An SNP report. Its report data is the hash of the runtime claims and compared with it; `report_data` of this
    /// rule is not looked at.
    Snp(Box<snp::Expected>),
    /// A TD: launch measurement and attributes; everything else of the quote was appraised with it.
    Tdx {
        /// Launch measurement (`mr_td`), hex.
        mr_td: Allowed<String>,
    },
}

/// Settings of the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmRules {
    /// Secure Boot must be on.
    pub secure_boot: snp::Rule,
    /// The VM must have a vTPM.
    pub tpm: snp::Rule,
    /// May a console be attached?
    pub console: Console,
    /// Thumbprints of the certificate that the host provisioned the VM with.
    pub root_cert_thumbprint: Allowed<Option<String>>,
}

/// A console attached to the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Console {
    /// A VM with a console is refused.
    Forbidden,
    /// It is accepted, for the reason given: who holds the console can type.
    Allowed {
        /// Why.
        reason: String,
    },
}

impl Expected {
    /// Compares everything but the quote with this.
    pub(super) fn admit(&self, claims: &AzureClaims) -> Result<Vec<Waiver>, AzureError> {
        let mut waivers = match (&self.hardware, &claims.hardware) {
            (ExpectedHardware::Snp(rule), AzureHardware::Snp(stated)) => {
                // What the report binds was compared with the runtime claims.
                let mut rule = (**rule).clone();
                rule.report_data = Allowed::only(stated.report_data);
                rule.admit(stated)?
            }
            (ExpectedHardware::Tdx { mr_td }, AzureHardware::Tdx(td)) => {
                let mut waivers = Vec::new();
                admit_td(mr_td, td, &mut waivers)?;
                waivers
            }
            (ExpectedHardware::Snp(_), _) => return Err(AzureError::Hardware { wanted: "SNP" }),
            (ExpectedHardware::Tdx { .. }, _) => return Err(AzureError::Hardware { wanted: "TDX" }),
        };
        self.vm.admit(&claims.vm_configuration, &mut waivers)?;
        match &self.user_data {
            Allowed::OneOf(values) if values.contains(&claims.user_data) => {}
            Allowed::OneOf(_) => return Err(AzureError::UserData { got: claims.user_data }),
            Allowed::Any { reason } => waivers.push(Waiver { claim: "user-data", reason: reason.clone() }),
        }
        Ok(waivers)
    }
}

impl VmRules {
    /// Secure Boot and vTPM on, no console. Azure's own images say that a console is enabled; to accept them, allow it
    /// and say why.
    pub fn strict() -> Self {
        Self {
            secure_boot: snp::Rule::Required,
            tpm: snp::Rule::Required,
            console: Console::Forbidden,
            root_cert_thumbprint: Allowed::any("the host provisions this certificate, and no decision rests on it"),
        }
    }

    /// Compares settings with this.
    fn admit(&self, vm: &VmConfiguration, waivers: &mut Vec<Waiver>) -> Result<(), AzureError> {
        if self.secure_boot == snp::Rule::Required && !vm.secure_boot {
            return Err(AzureError::Setting { name: "secure-boot", got: "false".to_owned(), wanted: "true" });
        }
        if self.tpm == snp::Rule::Required && !vm.tpm_enabled {
            return Err(AzureError::Setting { name: "tpm-enabled", got: "false".to_owned(), wanted: "true" });
        }
        match (&self.console, vm.console_enabled) {
            (_, false) => {}
            (Console::Forbidden, true) => {
                return Err(AzureError::Setting { name: "console-enabled", got: "true".to_owned(), wanted: "false" });
            }
            (Console::Allowed { reason }, true) => {
                waivers.push(Waiver { claim: "vm-configuration.console-enabled", reason: reason.clone() });
            }
        }
        match &self.root_cert_thumbprint {
            Allowed::OneOf(values) if values.contains(&vm.root_cert_thumbprint) => Ok(()),
            Allowed::OneOf(_) => Err(AzureError::Setting {
                name: "root-cert-thumbprint",
                got: vm.root_cert_thumbprint.clone().unwrap_or_default(),
                wanted: "one of the rule's",
            }),
            Allowed::Any { reason } => {
                let claim = "vm-configuration.root-cert-thumbprint";
                waivers.push(Waiver { claim, reason: reason.clone() });
                Ok(())
            }
        }
    }
}

/// Compares a TD's launch measurement.
fn admit_td(mr_td: &Allowed<String>, claims: &TdClaims, waivers: &mut Vec<Waiver>) -> Result<(), AzureError> {
    match mr_td {
        Allowed::OneOf(values) if values.contains(&claims.mr_td) => Ok(()),
        Allowed::OneOf(values) => Err(AzureError::Measurement { got: claims.mr_td.clone(), allowed: values.clone() }),
        Allowed::Any { reason } => {
            waivers.push(Waiver { claim: "mr_td", reason: reason.clone() });
            Ok(())
        }
    }
}
