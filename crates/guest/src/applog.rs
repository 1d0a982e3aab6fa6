//! The `applog` drive: the only place where the guest writes in the clear, and a drive that it never reads.
//!
//! *Takes* the measured offsets of preallocated files ([`claims::boot::LogFile`]) and the drive's device.
//! *Guarantees* that writes stay inside those files, that nothing is read from or mounted on the drive, and that
//! the workload's output gets there only when its measured settings say so.
//! *Does not check* whether the host keeps what was written.

mod snapshot;
mod window;

pub use snapshot::{EVERY, Snapshot, pack};
pub use window::{Full, Window};

use claims::boot::LogFile;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// File of the guest's public lines.
pub const BOOT_LOG: &str = "boot.log";
/// File of the workload's output.
pub const WORKLOAD_LOG: &str = "workload.log";
/// File of the workload's `/applog` folder.
pub const FOLDER_ARCHIVE: &str = "applog.tar";

/// Lines spoken before the drive was found; at most this much is kept.
const MAX_EARLY: usize = 16 * 1024;

/// The drive, with the places that may be written.
#[derive(Debug)]
pub struct Applog {
    device: Arc<File>,
    size: u64,
    files: Vec<LogFile>,
}

impl Applog {
    /// Opens the drive for writing only.
    pub fn open(device: &Path, size: u64, files: Vec<LogFile>) -> io::Result<Self> {
        let device = Arc::new(std::fs::OpenOptions::new().write(true).open(device)?);
        Ok(Self { device, size, files })
    }

    /// The place of the file `name`, if the measured list has it and it lies on the drive.
    pub fn window(&self, name: &str, full: Full) -> Option<Window> {
        let file = self.files.iter().find(|file| file.name == name)?;
        let end = file.offset.checked_add(file.length)?;
        (end <= self.size).then(|| Window::new(Arc::clone(&self.device), file.offset, file.length, full))
    }
}

/// From now on public lines go to `boot.log` too, starting with those that were spoken before.
pub fn keep_boot_lines(mut window: Window) -> io::Result<()> {
    let mut state = BOOT.lock().unwrap_or_else(PoisonError::into_inner);
    if let BootLog::Early(lines) = &*state {
        window.append(lines)?;
        window.flush()?;
    }
    *state = BootLog::Drive(window);
    Ok(())
}

/// Keeps one public line; called by the console for each.
pub(crate) fn boot_line(line: &str) {
    let mut state = BOOT.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *state {
        BootLog::Early(lines) => {
            if lines.len().saturating_add(line.len()) <= MAX_EARLY {
                lines.extend_from_slice(line.as_bytes());
            }
        }
        BootLog::Drive(window) => {
            // WHY: a log that the host does not take must not stop the guest.
            let _ = window.append(line.as_bytes()).and_then(|()| window.flush());
        }
    }
}

enum BootLog {
    Early(Vec<u8>),
    Drive(Window),
}

static BOOT: Mutex<BootLog> = Mutex::new(BootLog::Early(Vec::new()));

fn write_at(device: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    device.write_all_at(bytes, offset)
}
