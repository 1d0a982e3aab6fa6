//! `/dev/sev-guest` (Linux 5.19 and later): `SNP_GET_EXT_REPORT`, Documentation/virt/coco/sev-guest.rst.
#![expect(unsafe_code, reason = "the device's only interface is an ioctl that carries addresses")]

use super::kernel::failed;
use super::{Attester, Evidence, EvidenceError, MAX_TABLE, Provider, REPORT_LENGTH};
use attest::snp::{SnpError, TableError};
use claims::ReportData;
use rustix::ioctl::{Opcode, Updater, ioctl};
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

const PATH: &str = "/dev/sev-guest";
/// `_IOWR('S', 2, struct snp_guest_request_ioctl)`.
const GET_EXT_REPORT: Opcode = 0xC020_5302;
/// Where the report begins in a response: after status, size and 24 reserved bytes.
const REPORT_OFFSET: usize = 0x20;
/// `SNP_GUEST_VMM_ERR_INVALID_LEN`: the certificate buffer is too small.
const TOO_SMALL: u32 = 1;
/// `SNP_GUEST_VMM_ERR_BUSY`: asked too often.
const BUSY: u32 = 2;
/// Waits while busy: 50 ms, doubled each time, about 6 s in all.
const BUSY_TRIES: u32 = 7;

pub(super) struct SevGuest(Mutex<File>);

/// `struct snp_report_req`.
#[repr(C)]
struct ReportRequest {
    user_data: [u8; 64],
    vmpl: u32,
    reserved: [u8; 28],
}

/// `struct snp_ext_report_req`.
#[repr(C)]
struct ExtendedRequest {
    request: ReportRequest,
    certs_address: u64,
    certs_length: u32,
    padding: u32,
}

/// `struct snp_report_resp`.
#[repr(C)]
struct Response([u8; 4000]);

/// `struct snp_guest_request_ioctl`.
#[repr(C)]
struct GuestRequest {
    message_version: u8,
    padding: [u8; 7],
    request: u64,
    response: u64,
    exit_info: u64,
}

const _: () = assert!(size_of::<GuestRequest>() == 32 && size_of::<ExtendedRequest>() == 112);

impl SevGuest {
    pub(super) fn find() -> Option<Self> {
        let file = File::options().read(true).write(true).open(Path::new(PATH)).ok()?;
        Some(Self(Mutex::new(file)))
    }
}

impl Attester for SevGuest {
    fn report(&self, data: &ReportData) -> Result<Evidence, EvidenceError> {
        let device = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = vec![0; 4096];
        let mut tries = 0;
        loop {
            match once(&device, data, &mut table) {
                Ok(report) => {
                    return Evidence::of(data, &report, &table, Provider::SevGuest);
                }
                Err(Failure::TooSmall(wanted)) if wanted > table.len() && wanted <= MAX_TABLE => {
                    table = vec![0; wanted];
                }
                Err(Failure::TooSmall(got)) => return Err(TableError::TooLarge { got }.into()),
                Err(Failure::Busy) if tries < BUSY_TRIES => {
                    thread::sleep(Duration::from_millis(50 << tries));
                    tries = tries.saturating_add(1);
                }
                Err(Failure::Busy) => return Err(EvidenceError::Refused { firmware: 0, hypervisor: BUSY }),
                Err(Failure::Other(error)) => return Err(error),
            }
        }
    }

    fn provider(&self) -> Provider {
        Provider::SevGuest
    }
}

enum Failure {
    TooSmall(usize),
    Busy,
    Other(EvidenceError),
}

/// One request. The same request is what a retry sends: another payload under the same sequence number would make the
/// kernel disable the key.
fn once(device: &File, data: &ReportData, table: &mut [u8]) -> Result<Vec<u8>, Failure> {
    let request = ReportRequest { user_data: data.0, vmpl: 0, reserved: [0; 28] };
    let certs_length = u32::try_from(table.len()).unwrap_or(0);
    let mut extended = ExtendedRequest { request, certs_address: table.as_mut_ptr() as u64, certs_length, padding: 0 };
    let mut response = Box::new(Response([0; 4000]));
    let mut message = GuestRequest {
        message_version: 1,
        padding: [0; 7],
        request: (&raw mut extended) as u64,
        response: (&raw mut *response) as u64,
        exit_info: 0,
    };
    // WHY: there is no safe interface to this request.
    // SAFETY: the opcode is `_IOWR('S', 2, 32 bytes)` and `GuestRequest` has that size and layout (asserted above). The
    // three addresses point to live, exclusively borrowed memory of the lengths that the kernel is told or that the
    // interface fixes (112 and 4000 bytes, `certs_length` bytes), and all outlive the call.
    let outcome = unsafe { ioctl(device, Updater::<{ GET_EXT_REPORT }, _>::new(&mut message)) };
    let [f0, f1, f2, f3, h0, h1, h2, h3] = message.exit_info.to_le_bytes();
    let (firmware, hypervisor) = (u32::from_le_bytes([f0, f1, f2, f3]), u32::from_le_bytes([h0, h1, h2, h3]));
    match (outcome, hypervisor) {
        (Ok(()), 0) if firmware == 0 => {}
        (_, TOO_SMALL) => return Err(Failure::TooSmall(extended.certs_length as usize)),
        (_, BUSY) => return Err(Failure::Busy),
        (Err(error), 0) if firmware == 0 => {
            return Err(Failure::Other(failed("the ioctl of /dev/sev-guest")(error.into())));
        }
        _ => return Err(Failure::Other(EvidenceError::Refused { firmware, hypervisor })),
    }
    report_of(&response.0).map_err(Failure::Other)
}

/// Takes the report out of `struct snp_report_resp`'s data: status, size, 24 reserved bytes, report.
fn report_of(response: &[u8]) -> Result<Vec<u8>, EvidenceError> {
    let word = |at: usize| response.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b));
    match (word(0), word(4) as usize) {
        (0, REPORT_LENGTH) => {}
        (0, got) => return Err(SnpError::Length { got }.into()),
        (firmware, _) => return Err(EvidenceError::Refused { firmware, hypervisor: 0 }),
    }
    let report = response.get(REPORT_OFFSET..).and_then(|rest| rest.get(..REPORT_LENGTH));
    report.map(<[u8]>::to_vec).ok_or(EvidenceError::Report(SnpError::Length { got: 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_yields_its_report_or_the_firmwares_status() {
        let mut response = vec![0; 4000];
        response[4..8].copy_from_slice(&0x4A0u32.to_le_bytes());
        response[0x20] = 5;
        let report = report_of(&response).unwrap();
        assert_eq!((report.len(), report[0]), (REPORT_LENGTH, 5));
        response[0] = 0x16;
        assert!(matches!(report_of(&response), Err(EvidenceError::Refused { firmware: 0x16, hypervisor: 0 })));
        assert!(matches!(report_of(&[0; 4000]), Err(EvidenceError::Report(SnpError::Length { got: 0 }))));
    }
}
