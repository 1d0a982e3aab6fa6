//! Bytes of a tar file, in order.

use super::LayerError;
use std::io::{self, BufRead, BufReader, Read};

const BUFFER: usize = 64 << 10;

/// A stream with its position, and with a record of what went by where somebody wants it verbatim.
pub(super) struct Input<R> {
    reader: BufReader<R>,
    position: u64,
    record: Option<Vec<u8>>,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R, keep: bool) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER, reader), position: 0, record: keep.then(Vec::new) }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// What went by since the last call.
    pub(super) fn recorded(&mut self) -> Vec<u8> {
        self.record.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Fills `out` as far as there are bytes; fewer means the end.
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<usize, LayerError> {
        let mut filled: usize = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(got) => filled = filled.saturating_add(got),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LayerError::Read(error)),
            }
        }
        self.passed(filled);
        if let (Some(record), Some(bytes)) = (&mut self.record, out.get(..filled)) {
            record.extend_from_slice(bytes);
        }
        Ok(filled)
    }

    /// Passes over `length` bytes; `false` if the input ends before.
    pub(super) fn skip(&mut self, length: u64) -> Result<bool, LayerError> {
        let mut left = length;
        while left > 0 {
            let bytes = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                bytes => bytes.map_err(LayerError::Read)?,
            };
            let part = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if let (Some(record), Some(bytes)) = (&mut self.record, bytes.get(..part)) {
                record.extend_from_slice(bytes);
            }
            if part == 0 {
                return Ok(false);
            }
            self.reader.consume(part);
            self.passed(part);
            left = left.saturating_sub(part as u64);
        }
        Ok(true)
    }

    fn passed(&mut self, bytes: usize) {
        self.position = self.position.saturating_add(bytes as u64);
    }
}
