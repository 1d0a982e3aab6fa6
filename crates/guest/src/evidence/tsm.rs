//! configfs-tsm (Linux 6.7 and later): one folder per request, `Documentation/ABI/testing/configfs-tsm`.
//!
//! Every request makes its own folder, so nobody else's writes can get in between; the folder's generation counter,
//! which every write raises, is compared all the same.

use super::kernel::{self, failed};
use super::{Attester, Evidence, EvidenceError, MAX_TABLE, Provider, REPORT_LENGTH};
use claims::ReportData;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const ROOT: &str = "/sys/kernel/config/tsm/report";
const PROVIDER: &str = "sev_guest";
/// Writes that a request makes, and so the generation that it must find afterwards.
const WRITES: u64 = 2;

pub(super) struct Tsm {
    root: PathBuf,
    counter: AtomicU64,
}

impl Tsm {
    /// The kernel's interface, if a driver has registered with it.
    pub(super) fn find() -> Result<Option<Self>, EvidenceError> {
        let tsm = Self { root: ROOT.into(), counter: AtomicU64::new(0) };
        if !tsm.root.is_dir() {
            return Ok(None);
        }
        // Without a driver the kernel refuses to make the folder.
        let Ok(request) = tsm.folder() else { return Ok(None) };
        let provider = text(&request, "provider")?;
        if provider == PROVIDER { Ok(Some(tsm)) } else { Err(EvidenceError::OtherTee(provider)) }
    }

    fn folder(&self) -> io::Result<Request> {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(format!("confide-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Request(path))
    }
}

impl Attester for Tsm {
    fn report(&self, data: &ReportData) -> Result<Evidence, EvidenceError> {
        let request = self.folder().map_err(failed("making a folder in configfs-tsm"))?;
        ask(&request, data)
    }

    fn provider(&self) -> Provider {
        Provider::ConfigfsTsm
    }
}

/// The attributes of one request.
trait Attributes {
    fn read(&self, name: &str, limit: usize) -> io::Result<Vec<u8>>;
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

/// A request's folder, removed when dropped.
struct Request(PathBuf);

impl Attributes for Request {
    fn read(&self, name: &str, limit: usize) -> io::Result<Vec<u8>> {
        kernel::read(&Path::new(&self.0).join(name), limit)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        kernel::write(&Path::new(&self.0).join(name), bytes)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // A folder that stays costs a few bytes; its name is never used again.
        let _ = fs::remove_dir(&self.0);
    }
}

fn ask(request: &impl Attributes, data: &ReportData) -> Result<Evidence, EvidenceError> {
    let start = generation(request)?;
    request.write("inblob", data.as_bytes()).map_err(failed("writing inblob"))?;
    request.write("privlevel", b"0").map_err(failed("writing privlevel"))?;
    let report = request.read("outblob", REPORT_LENGTH).map_err(failed("reading outblob"))?;
    let certificates = match request.read("auxblob", MAX_TABLE) {
        Ok(table) => table,
        // The host gave no table.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(EvidenceError::Io { what: "reading auxblob", source }),
    };
    let got = generation(request)?;
    let wanted = start.saturating_add(WRITES);
    if got != wanted {
        return Err(EvidenceError::Raced { got, wanted });
    }
    Evidence::of(data, &report, &certificates, Provider::ConfigfsTsm)
}

fn generation(request: &impl Attributes) -> Result<u64, EvidenceError> {
    let text = text(request, "generation")?;
    text.parse()
        .map_err(|_| EvidenceError::Io { what: "reading generation", source: io::ErrorKind::InvalidData.into() })
}

fn text(request: &impl Attributes, name: &'static str) -> Result<String, EvidenceError> {
    let bytes = request.read(name, 64).map_err(failed("reading an attribute of configfs-tsm"))?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::raw_report;
    use attest::snp::{CertificateTable, Entry};
    use std::cell::{Cell, RefCell};

    /// A kernel of one request; `intruder` writes once while the report is read.
    struct Kernel {
        generation: Cell<u64>,
        inblob: RefCell<Vec<u8>>,
        intruder: bool,
        table: Option<Vec<u8>>,
    }

    impl Kernel {
        fn new(intruder: bool, table: Option<Vec<u8>>) -> Self {
            Self { generation: Cell::new(0), inblob: RefCell::default(), intruder, table }
        }
    }

    impl Attributes for Kernel {
        fn read(&self, name: &str, _limit: usize) -> io::Result<Vec<u8>> {
            match name {
                "generation" => Ok(format!("{}\n", self.generation.get()).into_bytes()),
                "outblob" => {
                    if self.intruder {
                        self.generation.set(self.generation.get() + 1);
                    }
                    Ok(raw_report(&ReportData::from_slice(&self.inblob.borrow()).unwrap()))
                }
                "auxblob" => self.table.clone().ok_or(io::ErrorKind::NotFound.into()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }

        fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
            self.generation.set(self.generation.get() + 1);
            match name {
                "inblob" => *self.inblob.borrow_mut() = bytes.to_vec(),
                "privlevel" => assert_eq!(bytes, b"0"),
                _ => return Err(io::ErrorKind::NotFound.into()),
            }
            Ok(())
        }
    }

    #[test]
    fn a_report_and_its_table_are_read() {
        let table = CertificateTable::of(vec![(Entry::Vcek, vec![9; 48])]);
        let evidence = ask(&Kernel::new(false, Some(table.encode())), &ReportData([4; 64])).unwrap();
        assert_eq!(evidence.certificates(), &table);
        assert_eq!(evidence.provider(), Provider::ConfigfsTsm);
        assert!(
            ask(&Kernel::new(false, None), &ReportData([4; 64])).unwrap().certificates().entries().next().is_none()
        );
    }

    #[test]
    fn a_write_in_between_is_noticed() {
        let result = ask(&Kernel::new(true, None), &ReportData([4; 64]));
        assert!(matches!(result, Err(EvidenceError::Raced { got: 3, wanted: 2 })), "{result:?}");
    }
}
