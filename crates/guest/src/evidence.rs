//! Evidence of this machine: where it comes from, and the two fields that the guest reads in its own report.
//!
//! *Takes* 64 bytes to be signed.
//! *Guarantees* a report of the right length that carries exactly those bytes, and a bounded certificate table.
//! *Does not check* signatures or chains: evidence is untrusted until the broker's verifier has appraised it. The guest
//! reads its own HOST_DATA only to stop early; a false answer here gains the host nothing, because no genuine broker
//! releases a key to it.

mod kernel;
mod port;
mod sev_guest;
mod tsm;

use attest::snp::{CertificateTable, Report, SnpError, TableError};
use claims::{Code, HostData, LaunchDigest, ReportData};
use std::io;

pub use attest::snp::{MAX_TABLE, REPORT_LENGTH};

/// Which device answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// `/sys/kernel/config/tsm/report`, provider `sev_guest`.
    ConfigfsTsm,
    /// `/dev/sev-guest`.
    SevGuest,
    /// The virtio-serial port of the emulated SNP processor.
    Emulated,
}

/// What a device answered: unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    report: Report,
    certificates: CertificateTable,
    provider: Provider,
}

/// A device that makes evidence.
pub trait Attester: Send + Sync {
    /// Asks for a report over `data`, from VMPL 0.
    fn report(&self, data: &ReportData) -> Result<Evidence, EvidenceError>;

    /// Which device this is.
    fn provider(&self) -> Provider;
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// No device was found.
    #[error("no SNP device: neither configfs-tsm nor /dev/sev-guest nor the emulated processor's port is there")]
    NoDevice,
    /// The kernel's report interface belongs to another TEE.
    #[error("configfs-tsm is provided by `{0}`, this program reads `sev_guest`")]
    OtherTee(String),
    /// A device file does not work.
    #[error("{what} failed")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Somebody else wrote to the report's folder.
    #[error("the report changed while it was read: generation {got}, wanted {wanted}")]
    Raced {
        /// Generation found.
        got: u64,
        /// Generation wanted.
        wanted: u64,
    },
    /// The processor's firmware refused.
    #[error("the processor refused: firmware error {firmware:#x}, hypervisor error {hypervisor:#x}")]
    Refused {
        /// Low half of `exitinfo2`.
        firmware: u32,
        /// High half of `exitinfo2`.
        hypervisor: u32,
    },
    /// The emulated processor's port answers with something else.
    #[error("the emulated processor's answer is malformed")]
    Port(#[from] claims::snp_port::PortError),
    /// Nothing came in time.
    #[error("no answer within {seconds} s")]
    Timeout {
        /// Seconds waited.
        seconds: u64,
    },
    /// The report's form is wrong.
    #[error("the device's answer is not a report")]
    Report(#[from] SnpError),
    /// The certificate table's form is wrong.
    #[error("the device's certificates are malformed")]
    Table(#[from] TableError),
    /// The report is about other data than was asked for.
    #[error("the report does not carry the bytes that were asked for")]
    OtherData,
}

impl EvidenceError {
    /// The stable code of the refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Report(error) => error.code(),
            Self::Port(_) | Self::Table(_) | Self::OtherData => Code::SnpFormat,
            _ => Code::Hardware,
        }
    }
}

/// Finds this machine's device: configfs-tsm, else `/dev/sev-guest`, else the emulated processor.
pub fn detect() -> Result<Box<dyn Attester>, EvidenceError> {
    if let Some(tsm) = tsm::Tsm::find()? {
        return Ok(Box::new(tsm));
    }
    if let Some(device) = sev_guest::SevGuest::find() {
        return Ok(Box::new(device));
    }
    match port::Port::find() {
        Some(port) => Ok(Box::new(port)),
        None => Err(EvidenceError::NoDevice),
    }
}

impl Evidence {
    /// Takes over a device's answer to a request for `data`.
    pub fn of(
        data: &ReportData,
        report: &[u8],
        certificates: &[u8],
        provider: Provider,
    ) -> Result<Self, EvidenceError> {
        let report = Report::parse(report)?;
        if report.claimed().report_data != *data {
            return Err(EvidenceError::OtherData);
        }
        Ok(Self { report, certificates: CertificateTable::parse(certificates)?, provider })
    }

    /// The report: its form is right, nothing in it is verified.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The certificates that the host gave with it; empty when it gave none.
    pub fn certificates(&self) -> &CertificateTable {
        &self.certificates
    }

    /// Which device answered.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// HOST_DATA of the report, unverified.
    pub fn host_data(&self) -> HostData {
        self.report.claimed().host_data
    }

    /// Launch measurement of the report, unverified.
    pub fn measurement(&self) -> LaunchDigest {
        self.report.claimed().measurement
    }
}

/// A well-formed report over `data`, for tests: version 2, policy 0x30000, a signature of one and one.
#[cfg(test)]
fn raw_report(data: &ReportData) -> Vec<u8> {
    let mut report = vec![0; REPORT_LENGTH];
    (report[0], report[0x0A], report[0x34], report[0x2A0], report[0x2E8]) = (2, 3, 1, 1, 1);
    report[0x50..0x90].copy_from_slice(data.as_bytes());
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_fields_are_read() {
        let mut report = raw_report(&ReportData([1; 64]));
        report[0x90..0xC0].fill(2);
        report[0xC0..0xE0].fill(3);
        let evidence = Evidence::of(&ReportData([1; 64]), &report, &[], Provider::SevGuest).unwrap();
        assert_eq!(evidence.measurement(), LaunchDigest([2; 48]));
        assert_eq!(evidence.host_data(), HostData([3; 32]));
    }

    #[test]
    fn answers_to_other_questions_and_of_other_forms_are_refused() {
        let data = ReportData([1; 64]);
        let of = |report: &[u8], table: &[u8]| Evidence::of(&data, report, table, Provider::Emulated);
        assert!(matches!(of(&raw_report(&ReportData([2; 64])), &[]), Err(EvidenceError::OtherData)));
        assert!(matches!(of(&[0; 4], &[]), Err(EvidenceError::Report(SnpError::Length { got: 4 }))));
        let endless = of(&raw_report(&data), &[1; 48]);
        assert!(matches!(endless, Err(EvidenceError::Table(TableError::Unterminated))), "{endless:?}");
    }
}
