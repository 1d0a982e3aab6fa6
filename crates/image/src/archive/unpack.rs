//! Decompression: on a thread of its own, so that hashing and writing go beside it.

use super::ArchiveError;
use super::files::{Files, Scratch};
use super::tar::Input;
use aws_lc_rs::digest;
use claims::Digest256;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// How bytes are compressed, told by how they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Zstd,
    /// Recognised, not read.
    Other(&'static str),
}

impl Encoding {
    /// Bytes that [`Encoding::of`] looks at.
    pub(super) const MAGIC: usize = 6;

    pub(super) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A frame that a zstd reader skips; some writers start with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Other("xz"),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Other("bzip2"),
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Other("lz4"),
            _ => Self::Plain,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "not compressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Other(name) => name,
        }
    }
}

const CHUNK: usize = 256 << 10;
/// Chunks in flight: bounds memory.
const QUEUE: usize = 8;
/// Largest zstd window, as a power of two (what `zstd -d` accepts without being asked).
const ZSTD_WINDOW: u32 = 27;

/// Decompresses `input` on its own thread and gives what comes out, in order, to `take`.
pub(super) fn decompress<R: Read + Send>(
    what: &str,
    encoding: Encoding,
    input: R,
    cancelled: &(dyn Fn() -> bool + Sync),
    take: impl FnOnce(&mut Chunks<'_>) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let (sender, receiver) = sync_channel(QUEUE);
    thread::scope(|scope| {
        scope.spawn(move || produce(encoding, input, &sender));
        let mut chunks = Chunks { what, receiver, cancelled, current: Vec::new(), used: 0 };
        take(&mut chunks)?;
        // The rest belongs to the stream's own checks (length, CRC), which come last.
        while chunks.next_chunk()? {}
        Ok(())
    })
}

fn produce<R: Read>(encoding: Encoding, input: R, sender: &SyncSender<io::Result<Vec<u8>>>) {
    if let Err(error) = produce_all(encoding, input, sender) {
        let _ = sender.send(Err(error));
    }
}

fn produce_all<R: Read>(encoding: Encoding, input: R, sender: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let input = io::BufReader::with_capacity(CHUNK, input);
    let mut decoder: Box<dyn Read> = match encoding {
        Encoding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        Encoding::Plain | Encoding::Other(_) => Box::new(input),
    };
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        decoder.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        // A closed channel: the other side has given up and says why.
        if chunk.is_empty() || sender.send(Ok(chunk)).is_err() {
            return Ok(());
        }
    }
}

/// The decompressed stream, chunk by chunk.
pub(super) struct Chunks<'a> {
    what: &'a str,
    receiver: Receiver<io::Result<Vec<u8>>>,
    cancelled: &'a (dyn Fn() -> bool + Sync),
    current: Vec<u8>,
    used: usize,
}

impl Chunks<'_> {
    /// Moves on to the next chunk; `false` at the end.
    pub(super) fn next_chunk(&mut self) -> Result<bool, ArchiveError> {
        if (self.cancelled)() {
            return Err(ArchiveError::Cancelled);
        }
        self.used = 0;
        match self.receiver.recv() {
            Err(_) => {
                self.current.clear();
                Ok(false)
            }
            Ok(Ok(chunk)) => {
                self.current = chunk;
                Ok(true)
            }
            Ok(Err(source)) => Err(ArchiveError::Damaged { what: self.what.to_owned(), source }),
        }
    }

    /// The chunk just come.
    pub(super) fn chunk(&self) -> &[u8] {
        &self.current
    }
}

/// A stream that is written to the scratch file, and read as a tar file while it goes by.
pub(super) struct Spooled<'a, 'b, 'c> {
    pub(super) chunks: &'a mut Chunks<'b>,
    pub(super) files: &'a Files,
    pub(super) scratch: &'a mut Scratch<'c>,
    pub(super) contents: Option<digest::Context>,
    /// The first error that is not an I/O error of the tar reader.
    pub(super) failed: Option<ArchiveError>,
}

impl Spooled<'_, '_, '_> {
    /// Digest of the contents that were passed over last.
    pub(super) fn digest(&mut self) -> Option<Digest256> {
        Digest256::from_slice(self.contents.take()?.finish().as_ref())
    }

    fn part(&mut self, wanted: usize) -> io::Result<(usize, usize)> {
        if self.chunks.used >= self.chunks.current.len() {
            let more = self.chunks.next_chunk().and_then(|more| match more {
                true => self.scratch.append(self.files, &self.chunks.current).map(|()| true),
                false => Ok(false),
            });
            if !more.or_else(|error| self.fail(error))? {
                return Ok((0, 0));
            }
        }
        let start = self.chunks.used;
        let end = start.saturating_add(wanted).min(self.chunks.current.len());
        self.chunks.used = end;
        Ok((start, end))
    }

    fn fail(&mut self, error: ArchiveError) -> io::Result<bool> {
        self.failed = Some(error);
        Err(io::ErrorKind::Other.into())
    }
}

impl Input for Spooled<'_, '_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled: usize = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let (start, end) = self.part(rest.len())?;
            let Some(part) = self.chunks.current.get(start..end).filter(|part| !part.is_empty()) else { break };
            if let Some(rest) = rest.get_mut(..part.len()) {
                rest.copy_from_slice(part);
            }
            filled = filled.saturating_add(part.len());
        }
        Ok(filled)
    }

    fn skip(&mut self, length: u64, contents: bool) -> io::Result<bool> {
        if contents {
            self.contents = Some(digest::Context::new(&digest::SHA256));
        }
        let mut left = length;
        while left > 0 {
            let (start, end) = self.part(usize::try_from(left).unwrap_or(usize::MAX))?;
            let Some(part) = self.chunks.current.get(start..end).filter(|part| !part.is_empty()) else {
                return Ok(false);
            };
            if let (true, Some(context)) = (contents, self.contents.as_mut()) {
                context.update(part);
            }
            left = left.saturating_sub(part.len() as u64);
        }
        Ok(true)
    }
}
