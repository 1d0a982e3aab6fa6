//! What the host hands over beside the report: AMD's certificates (THIM), and the files of the security context folder.

use super::error::AciError;
use crate::snp::{CertificateTable, Collateral, Endorsements, Report};
use crate::token::strict::{self, member};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest file that is read.
pub const MAX_FILE: usize = 1024 * 1024;

/// `host-amd-cert-base64`, or THIM's answer: certificates, and the TCB that they are for.
#[derive(Debug, Clone)]
pub struct HostCertificates {
    collateral: Collateral,
    tcbm: Option<u64>,
}

impl HostCertificates {
    /// Parses `{"vcekCert", "certificateChain", "tcbm", …}`.
    pub fn parse(json: &[u8]) -> Result<Self, AciError> {
        let file = "the host's certificate file";
        let value = object(file, json)?;
        let part = |name: &str| {
            let text = member(&value, name).as_str();
            text.ok_or_else(|| AciError::File { file, what: format!("`{name}` is missing or no text") })
        };
        let (vcek, chain) = (part("vcekCert")?, part("certificateChain")?);
        Self::from_pem(file, &[vcek.as_bytes(), chain.as_bytes()], member(&value, "tcbm").as_str())
    }

    /// PEM certificates and the TCB they are for, as 16 hex digits or fewer.
    pub(super) fn from_pem(file: &'static str, pems: &[&[u8]], tcbm: Option<&str>) -> Result<Self, AciError> {
        let mut collateral = Collateral::new();
        for pem in pems {
            collateral.add(pem).map_err(|error| AciError::File { file, what: error.to_string() })?;
        }
        let tcbm = tcbm.map(|text| {
            let digits = !text.is_empty() && text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let number = u64::from_str_radix(text, 16).ok().filter(|_| digits);
            number.ok_or_else(|| AciError::File { file, what: "the TCB is no hex number".to_owned() })
        });
        Ok(Self { collateral, tcbm: tcbm.transpose()? })
    }

    /// Chooses what the report needs. Nothing is verified here.
    pub(super) fn endorsements(&self, report: &Report) -> Endorsements {
        Endorsements::choose(report, &CertificateTable::default(), &self.collateral)
    }

    /// Compares the TCB that came along with the report's. Both byte orders are in use; the certificate itself is bound
    /// to the TCB by AMD's signature, so this only finds a stale file early.
    pub(super) fn check_tcb(&self, report: &Report) -> Result<(), AciError> {
        let reported = u64::from_le_bytes(crate::snp::encode_tcb(&report.claimed().reported_tcb));
        match self.tcbm {
            Some(tcbm) if tcbm != reported && tcbm.swap_bytes() != reported => {
                let text = |value: u64| format!("{value:016x}");
                Err(AciError::Tcb { got: text(tcbm), wanted: text(reported) })
            }
            _ => Ok(()),
        }
    }
}

/// A JSON object of bounded size without doubled members.
pub(super) fn object(file: &'static str, json: &[u8]) -> Result<serde_json::Value, AciError> {
    if json.len() > MAX_FILE {
        return Err(AciError::Length { file, got: json.len(), most: MAX_FILE });
    }
    let value = strict::parse(json).map_err(|error| AciError::File { file, what: error.to_string() })?;
    match value.is_object() {
        true => Ok(value),
        false => Err(AciError::File { file, what: "no object".to_owned() }),
    }
}

/// Base64 of a file of the security context folder; white space around it is none of the content.
pub(super) fn unbase64(file: &'static str, text: &[u8]) -> Result<Vec<u8>, AciError> {
    if text.len() > MAX_FILE {
        return Err(AciError::Length { file, got: text.len(), most: MAX_FILE });
    }
    STANDARD.decode(text.trim_ascii()).map_err(|_| AciError::File { file, what: "not base64".to_owned() })
}
