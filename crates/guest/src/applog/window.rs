//! One preallocated file on the drive, seen as a range of bytes.

use std::fs::File;
use std::io;
use std::sync::Arc;

/// What happens when a log is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Later lines are dropped: the beginning is what matters.
    Stop,
    /// Writing goes on at the beginning, with a line that says where the newest output ends.
    Wrap,
}

/// A range of the drive that is written and never read.
#[derive(Debug)]
pub struct Window {
    device: Arc<File>,
    offset: u64,
    length: u64,
    at: u64,
    full: Full,
    wrapped: bool,
}

/// Stands after the newest output of a log that has wrapped.
const MARK: &[u8] = b"\n==== the newest output ends here; what follows is older ====\n";

impl Window {
    pub(super) fn new(device: Arc<File>, offset: u64, length: u64, full: Full) -> Self {
        Self { device, offset, length, at: 0, full, wrapped: false }
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Writes at the end of what was written before.
    pub fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let reserve = MARK.len() as u64;
        let limit = match self.full {
            Full::Stop => self.length,
            Full::Wrap => self.length.saturating_sub(reserve),
        };
        while !bytes.is_empty() {
            let room = usize::try_from(limit.saturating_sub(self.at)).unwrap_or(usize::MAX);
            if room == 0 {
                if self.full == Full::Stop || limit == 0 {
                    return Ok(());
                }
                self.at = 0;
                self.wrapped = true;
                continue;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(room));
            self.put(self.at, now)?;
            self.at = self.at.saturating_add(now.len() as u64);
            bytes = rest;
        }
        if self.wrapped { self.put(self.at, MARK) } else { Ok(()) }
    }

    /// Replaces the file's beginning; what is longer than the file is cut off.
    pub fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = usize::try_from(self.length).unwrap_or(usize::MAX);
        self.put(0, bytes.get(..bytes.len().min(room)).unwrap_or_default())
    }

    /// Waits until the drive has taken everything.
    pub fn flush(&mut self) -> io::Result<()> {
        self.device.sync_data()
    }

    fn put(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let inside = at.checked_add(bytes.len() as u64).is_some_and(|end| end <= self.length);
        match self.offset.checked_add(at) {
            Some(place) if inside => super::write_at(&self.device, place, bytes),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive() -> (tempfile::NamedTempFile, Arc<File>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(400).unwrap();
        let device = Arc::new(std::fs::OpenOptions::new().write(true).open(file.path()).unwrap());
        (file, device)
    }

    #[test]
    fn nothing_is_written_outside_of_the_window() {
        let (file, device) = drive();
        let mut stopping = Window::new(Arc::clone(&device), 100, 50, Full::Stop);
        for _ in 0..10 {
            stopping.append(b"0123456789abc").unwrap();
        }
        let mut wrapping = Window::new(device, 200, 100, Full::Wrap);
        for _ in 0..30 {
            wrapping.append(b"0123456789abc").unwrap();
        }
        wrapping.replace(&[b'r'; 500]).unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(bytes.len(), 400);
        for (index, byte) in bytes.iter().enumerate() {
            let inside = (100..150).contains(&index) || (200..300).contains(&index);
            assert_eq!(*byte != 0, inside, "byte {index}");
        }
    }

    #[test]
    fn a_wrapped_log_says_where_the_newest_output_ends() {
        let (file, device) = drive();
        let mut window = Window::new(device, 0, 100, Full::Wrap);
        let room = 100 - MARK.len();
        window.append(&vec![b'a'; room + 1]).unwrap();
        window.append(b"new").unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with(&format!("anew{}", String::from_utf8_lossy(MARK))), "{text:?}");
    }
}
