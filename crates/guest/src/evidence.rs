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

use claims::{Code, HostData, LaunchDigest, ReportData};
use std::io;
use std::ops::Range;

/// Length of a report (SNP ABI table 23).
pub const REPORT_LENGTH: usize = 0x4A0;
/// Largest certificate table taken over.
pub const MAX_CERTIFICATES: usize = 64 * 1024;

const REPORT_DATA: Range<usize> = 0x050..0x090; // SNP ABI table 23
const MEASUREMENT: Range<usize> = 0x090..0x0C0; // SNP ABI table 23
const HOST_DATA: Range<usize> = 0x0C0..0x0E0; // SNP ABI table 23

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
    report: Box<[u8; REPORT_LENGTH]>,
    certificates: Vec<u8>,
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
    /// The report has another length.
    #[error("the report has {got} bytes, wanted {REPORT_LENGTH}")]
    Length {
        /// Bytes found.
        got: usize,
    },
    /// The certificate table is too long.
    #[error("the certificate table has {got} bytes, at most {MAX_CERTIFICATES} are read")]
    Certificates {
        /// Bytes found.
        got: usize,
    },
    /// The report is about other data than was asked for.
    #[error("the report does not carry the bytes that were asked for")]
    OtherData,
}

impl EvidenceError {
    /// The stable code of the refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Port(_) | Self::Length { .. } | Self::Certificates { .. } | Self::OtherData => Code::SnpFormat,
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
        certificates: Vec<u8>,
        provider: Provider,
    ) -> Result<Self, EvidenceError> {
        let report: &[u8; REPORT_LENGTH] =
            report.try_into().map_err(|_| EvidenceError::Length { got: report.len() })?;
        if report.get(REPORT_DATA) != Some(data.as_bytes().as_slice()) {
            return Err(EvidenceError::OtherData);
        }
        if certificates.len() > MAX_CERTIFICATES {
            return Err(EvidenceError::Certificates { got: certificates.len() });
        }
        Ok(Self { report: Box::new(*report), certificates, provider })
    }

    /// The report, as the processor gave it.
    pub fn report(&self) -> &[u8; REPORT_LENGTH] {
        &self.report
    }

    /// The certificate table that the host gave with it (GHCB 2.x, section 4.1.8.1); empty when it gave none.
    pub fn certificates(&self) -> &[u8] {
        &self.certificates
    }

    /// Which device answered.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// HOST_DATA of the report, unverified.
    pub fn host_data(&self) -> HostData {
        HostData(self.field(HOST_DATA))
    }

    /// Launch measurement of the report, unverified.
    pub fn measurement(&self) -> LaunchDigest {
        LaunchDigest(self.field(MEASUREMENT))
    }

    fn field<const N: usize>(&self, range: Range<usize>) -> [u8; N] {
        let mut bytes = [0; N];
        if let Some(field) = self.report.get(range)
            && field.len() == N
        {
            bytes.copy_from_slice(field);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_where_the_specification_has_them() {
        let mut report = vec![0; REPORT_LENGTH];
        report[REPORT_DATA].fill(1);
        report[MEASUREMENT].fill(2);
        report[HOST_DATA].fill(3);
        let evidence = Evidence::of(&ReportData([1; 64]), &report, vec![], Provider::SevGuest).unwrap();
        assert_eq!(evidence.measurement(), LaunchDigest([2; 48]));
        assert_eq!(evidence.host_data(), HostData([3; 32]));
    }

    #[test]
    fn answers_to_other_questions_and_of_other_lengths_are_refused() {
        let data = ReportData([1; 64]);
        let of = |report: &[u8], table| Evidence::of(&data, report, table, Provider::Emulated);
        assert!(matches!(of(&[0; REPORT_LENGTH], vec![]), Err(EvidenceError::OtherData)));
        assert!(matches!(of(&[0; 4], vec![]), Err(EvidenceError::Length { got: 4 })));
        let mut report = [0; REPORT_LENGTH];
        report[REPORT_DATA].fill(1);
        assert!(matches!(of(&report, vec![0; 65537]), Err(EvidenceError::Certificates { got: 65537 })));
    }
}
