//! The emulated SNP processor, behind a virtio serial port (`claims::snp_port`).
//!
//! The port is the host's, as everything emulated is: what comes over it is bounded, timed, and believed by nobody.

use super::kernel::{self, failed};
use super::{Attester, Evidence, EvidenceError, Provider, REPORT_LENGTH};
use attest::snp::SnpError;
use claims::ReportData;
use claims::snp_port::{PORT_NAME, RESPONSE_HEAD_LENGTH, decode_response_head, encode_request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const PORTS: &str = "/sys/class/virtio-ports";
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Port {
    device: PathBuf,
    turn: Mutex<()>,
}

impl Port {
    /// Looks for the port by its name.
    pub(super) fn find() -> Option<Self> {
        let device = find_in(Path::new(PORTS))?;
        Some(Self { device: Path::new("/dev").join(device), turn: Mutex::new(()) })
    }
}

impl Attester for Port {
    fn report(&self, data: &ReportData) -> Result<Evidence, EvidenceError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Opened anew each time: closing drops what an earlier request left behind.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut options = File::options();
        options.read(true).write(true).custom_flags(nonblocking);
        let port = options.open(&self.device).map_err(failed("opening the emulated processor's port"))?;
        exchange(port, data, PATIENCE)
    }

    fn provider(&self) -> Provider {
        Provider::Emulated
    }
}

fn find_in(ports: &Path) -> Option<String> {
    for entry in fs::read_dir(ports).ok()?.flatten() {
        let name = kernel::read(&entry.path().join("name"), 4096).unwrap_or_default();
        if name.trim_ascii() == PORT_NAME.as_bytes() {
            return entry.file_name().into_string().ok();
        }
    }
    None
}

/// Asks over a stream that does not block.
fn exchange(stream: File, data: &ReportData, patience: Duration) -> Result<Evidence, EvidenceError> {
    let mut wire = Timed { stream, until: Instant::now().checked_add(patience), patience };
    wire.send(&encode_request(data, 0))?;
    let mut head = [0; RESPONSE_HEAD_LENGTH];
    wire.receive(&mut head)?;
    let mut payload = vec![0; decode_response_head(&head)?];
    wire.receive(&mut payload)?;
    let Some((report, table)) = payload.split_at_checked(REPORT_LENGTH) else {
        return Err(SnpError::Length { got: payload.len() }.into());
    };
    Evidence::of(data, report, table, Provider::Emulated)
}

struct Timed {
    stream: File,
    until: Option<Instant>,
    patience: Duration,
}

impl Timed {
    fn send(&mut self, mut bytes: &[u8]) -> Result<(), EvidenceError> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if again(&error) => self.wait(PollFlags::OUT)?,
                Err(source) => return Err(EvidenceError::Io { what: "writing to the emulated processor", source }),
            }
        }
        Ok(())
    }

    fn receive(&mut self, mut into: &mut [u8]) -> Result<(), EvidenceError> {
        while !into.is_empty() {
            match self.stream.read(into) {
                // A port whose host side is closed reads as ended; the host may still come.
                Ok(0) => self.pause()?,
                Ok(count) => into = into.get_mut(count..).unwrap_or_default(),
                Err(error) if again(&error) => self.wait(PollFlags::IN)?,
                Err(source) => return Err(EvidenceError::Io { what: "reading from the emulated processor", source }),
            }
        }
        Ok(())
    }

    fn wait(&self, for_what: PollFlags) -> Result<(), EvidenceError> {
        let left = self.left()?;
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut polled = [PollFd::new(&self.stream, for_what)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(failed("waiting for the emulated processor")(error.into())),
        }
        let [polled] = polled;
        if polled.revents().contains(for_what) { Ok(()) } else { self.pause() }
    }

    fn pause(&self) -> Result<(), EvidenceError> {
        thread::sleep(self.left()?.min(Duration::from_millis(20)));
        Ok(())
    }

    fn left(&self) -> Result<Duration, EvidenceError> {
        self.until
            .and_then(|until| until.checked_duration_since(Instant::now()))
            .filter(|left| !left.is_zero())
            .ok_or(EvidenceError::Timeout { seconds: self.patience.as_secs() })
    }
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::raw_report;
    use attest::snp::{CertificateTable, Entry};
    use claims::snp_port::{PortError, REQUEST_LENGTH, decode_request, encode_response};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    fn processor(answer: impl FnOnce(ReportData, u32) -> Vec<Vec<u8>> + Send + 'static) -> File {
        let (guest, mut host) = UnixStream::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let mut request = [0; REQUEST_LENGTH];
            host.read_exact(&mut request).unwrap();
            let (data, vmpl) = decode_request(&request).unwrap();
            for piece in answer(data, vmpl) {
                thread::sleep(Duration::from_millis(5));
                host.write_all(&piece).unwrap();
            }
            // Stays open until the guest leaves.
            let _ = host.read(&mut request);
        });
        File::from(OwnedFd::from(guest))
    }

    #[test]
    fn a_report_comes_in_pieces() {
        let port = processor(|data, vmpl| {
            assert_eq!(vmpl, 0);
            let table = CertificateTable::of(vec![(Entry::Vcek, vec![7; 30])]).encode();
            let message = encode_response(0, &[raw_report(&data), table].concat());
            message.chunks(500).map(<[u8]>::to_vec).collect()
        });
        let evidence = exchange(port, &ReportData([8; 64]), PATIENCE).unwrap();
        assert_eq!(evidence.certificates().entry(Entry::Vcek), Some([7; 30].as_slice()));
    }

    #[test]
    fn refusals_silence_and_short_reports_are_errors() {
        let ask = |port| exchange(port, &ReportData([8; 64]), Duration::from_millis(200));
        let refused = ask(processor(|_, _| vec![encode_response(3, &[])]));
        assert!(matches!(refused, Err(EvidenceError::Port(PortError::Status(3)))), "{refused:?}");
        let silent = ask(processor(|_, _| vec![]));
        assert!(matches!(silent, Err(EvidenceError::Timeout { seconds: 0 })), "{silent:?}");
        let short = ask(processor(|_, _| vec![encode_response(0, &[1; 9])]));
        assert!(matches!(short, Err(EvidenceError::Report(SnpError::Length { got: 9 }))), "{short:?}");
    }

    #[test]
    fn the_port_is_found_by_its_name() {
        let folder = std::env::temp_dir().join(format!("confide-ports-{}", std::process::id()));
        for (port, name) in [("vport1p1", "org.qemu.guest_agent.0"), ("vport1p2", PORT_NAME)] {
            fs::create_dir_all(folder.join(port)).unwrap();
            fs::write(folder.join(port).join("name"), format!("{name}\n")).unwrap();
        }
        assert_eq!(find_in(&folder), Some("vport1p2".into()));
        fs::remove_dir_all(folder).unwrap();
    }
}
