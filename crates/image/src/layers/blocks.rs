//! The image's blocks on their way: hashed by several threads while they are made, written where somebody wants them.

use super::{LayerError, MAX_DISK};
use claims::VerityRoot;
use sealed::WriteAt;
use sealed::verity::{FAN_OUT, HASH, hash_blocks_salted};
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Bytes of a block.
pub(super) const BLOCK: u64 = 4096;
const BLOCK_LENGTH: usize = BLOCK as usize;
/// Blocks whose hashes fill one block of the level above.
const GROUP: usize = FAN_OUT as usize;
/// Bytes that are handed to a thread at once.
const CHUNK: usize = GROUP * BLOCK_LENGTH;
/// hcsshim's salt.
const SALT: [u8; 32] = [0; 32];

/// A block that is only known when all others are: its number and bytes.
pub(super) type Late = (u32, Box<[u8; BLOCK_LENGTH]>);

/// Where the builder puts its bytes.
pub(super) trait Blocks {
    /// Bytes so far.
    fn position(&self) -> u64;
    /// Adds bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError>;
    /// Adds zeros.
    fn zeros(&mut self, length: u64) -> Result<(), LayerError>;
    /// Leaves a block out, for [`Late`].
    fn leave(&mut self) -> Result<u32, LayerError>;

    /// The block that the next byte is in.
    fn block(&self) -> u32 {
        // At most 2^25: positions end at 128 GiB.
        (self.position() / BLOCK) as u32
    }
}

/// Only counts.
#[derive(Debug, Default)]
pub(super) struct Counted(u64);

impl Blocks for Counted {
    fn position(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.zeros(bytes.len() as u64)
    }

    fn zeros(&mut self, length: u64) -> Result<(), LayerError> {
        self.0 = within(self.0, length)?;
        Ok(())
    }

    fn leave(&mut self) -> Result<u32, LayerError> {
        let block = self.block();
        self.zeros(BLOCK).map(|()| block)
    }
}

fn within(position: u64, length: u64) -> Result<u64, LayerError> {
    position.checked_add(length).filter(|end| *end <= MAX_DISK).ok_or(LayerError::DiskSize)
}

/// Whole blocks for a thread.
struct Chunk {
    first: u64,
    bytes: Vec<u8>,
    filled: usize,
    late: Vec<u64>,
}

/// Hands chunks to the threads.
pub(super) struct Stream<'a> {
    chunk: Chunk,
    full: Sender<Chunk>,
    empty: Receiver<Vec<u8>>,
    spare: usize,
    hashes: &'a Mutex<Hashes>,
}

/// What the threads have made.
struct Hashes {
    /// Hash of the hashes of each 128 blocks.
    groups: Vec<[u8; HASH]>,
    /// The hashes themselves, where a block of the 128 is late.
    open: BTreeMap<u64, Vec<[u8; HASH]>>,
    failed: Option<io::Error>,
    of_zeros: [u8; HASH],
}

/// Runs `work` with a stream whose blocks are hashed, and written to `out`, on `threads` threads. `out` must read as
/// zeros, because runs of zeros are not written.
pub(super) fn hashed<T>(
    threads: usize,
    out: Option<&dyn WriteAt>,
    work: impl FnOnce(&mut Stream<'_>) -> Result<(Vec<Late>, T), LayerError>,
) -> Result<(VerityRoot, u64, T), LayerError> {
    let hashes = Mutex::new(Hashes {
        groups: Vec::new(),
        open: BTreeMap::new(),
        failed: None,
        of_zeros: above(&hashes_of(&vec![0; GROUP * BLOCK_LENGTH])),
    });
    let (full, chunks) = channel();
    let (recycled, empty) = channel();
    let chunks = Mutex::new(chunks);
    let threads = threads.max(1);
    let (late, size, result) = thread::scope(|scope| {
        for _ in 0..threads {
            let recycled = recycled.clone();
            let (chunks, hashes) = (&chunks, &hashes);
            scope.spawn(move || work_off(chunks, &recycled, hashes, out));
        }
        drop(recycled);
        let spare = threads.saturating_mul(2);
        let chunk = Chunk { first: 0, bytes: vec![0; CHUNK], filled: 0, late: Vec::new() };
        let mut stream = Stream { chunk, full, empty, spare, hashes: &hashes };
        let (late, result) = work(&mut stream)?;
        let size = stream.position();
        stream.send()?;
        Ok::<_, LayerError>((late, size, result))
    })?;
    let mut hashes = hashes.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = hashes.failed.take() {
        return Err(LayerError::Write(error));
    }
    for (block, bytes) in late {
        if let Some(out) = out {
            out.write_all_at(u64::from(block) * BLOCK, bytes.as_slice()).map_err(LayerError::Write)?;
        }
        hashes.put_late(u64::from(block), &bytes);
    }
    Ok((hashes.root(), size, result))
}

impl Stream<'_> {
    /// Room for the next bytes, at most `wanted` of them; [`Stream::filled`] says how many have come.
    pub(super) fn room(&mut self, wanted: u64) -> Result<&mut [u8], LayerError> {
        within(self.position(), wanted)?;
        if self.chunk.filled == CHUNK {
            self.send()?;
        }
        let start = self.chunk.filled;
        let end = CHUNK.min(start.saturating_add(usize::try_from(wanted).unwrap_or(CHUNK)));
        Ok(self.chunk.bytes.get_mut(start..end).unwrap_or_default())
    }

    pub(super) fn filled(&mut self, length: usize) {
        self.chunk.filled = self.chunk.filled.saturating_add(length).min(CHUNK);
    }

    fn lock(&self) -> MutexGuard<'_, Hashes> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the chunk away and takes an empty one.
    fn send(&mut self) -> Result<(), LayerError> {
        if self.chunk.filled == 0 {
            return Ok(());
        }
        if let Some(error) = self.lock().failed.take() {
            return Err(LayerError::Write(error));
        }
        let bytes = match self.spare.checked_sub(1) {
            Some(left) => {
                self.spare = left;
                vec![0; CHUNK]
            }
            None => self.empty.recv().map_err(|_| stopped())?,
        };
        let first = self.position() / BLOCK;
        let next = Chunk { first, bytes, filled: 0, late: Vec::new() };
        let chunk = std::mem::replace(&mut self.chunk, next);
        self.full.send(chunk).map_err(|_| stopped())
    }

    /// As many whole chunks of zeros as fit; they are neither filled nor hashed.
    fn zero_chunks(&mut self, length: u64) -> Result<u64, LayerError> {
        if length < CHUNK as u64 {
            return Ok(0);
        }
        if self.chunk.filled == CHUNK {
            self.send()?;
        }
        if self.chunk.filled > 0 {
            return Ok(0);
        }
        let count = length / CHUNK as u64;
        let groups = count.saturating_mul((CHUNK / BLOCK_LENGTH / GROUP) as u64);
        let first = self.chunk.first / GROUP as u64;
        let mut hashes = self.lock();
        let of_zeros = hashes.of_zeros;
        for group in first..first.saturating_add(groups) {
            hashes.put(group, of_zeros);
        }
        drop(hashes);
        let blocks = groups.saturating_mul(GROUP as u64);
        self.chunk.first = self.chunk.first.saturating_add(blocks);
        Ok(blocks.saturating_mul(BLOCK))
    }
}

fn stopped() -> LayerError {
    LayerError::Write(io::Error::other("a hashing thread has stopped"))
}

impl Blocks for Stream<'_> {
    fn position(&self) -> u64 {
        self.chunk.first.saturating_mul(BLOCK).saturating_add(self.chunk.filled as u64)
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), LayerError> {
        while !bytes.is_empty() {
            let room = self.room(bytes.len() as u64)?;
            let (part, rest) = bytes.split_at(room.len().min(bytes.len()));
            room.copy_from_slice(part);
            self.filled(part.len());
            bytes = rest;
        }
        Ok(())
    }

    fn zeros(&mut self, length: u64) -> Result<(), LayerError> {
        within(self.position(), length)?;
        let mut left = length;
        while left > 0 {
            let passed = self.zero_chunks(left)?;
            left = left.saturating_sub(passed);
            if left > 0 {
                let room = self.room(left)?;
                room.fill(0);
                let filled = room.len();
                self.filled(filled);
                left = left.saturating_sub(filled as u64);
            }
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<u32, LayerError> {
        let block = self.block();
        // Blocks do not straddle chunks: the chunk that takes the zeros is the current one or the next.
        self.room(BLOCK)?;
        self.chunk.late.push(u64::from(block));
        self.zeros(BLOCK).map(|()| block)
    }
}

/// One thread's work, until there is no more.
fn work_off(
    chunks: &Mutex<Receiver<Chunk>>,
    recycled: &Sender<Vec<u8>>,
    hashes: &Mutex<Hashes>,
    out: Option<&dyn WriteAt>,
) {
    loop {
        let next = chunks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(chunk) = next else { return };
        let bytes = chunk.bytes.get(..chunk.filled).unwrap_or_default();
        let written = out.map_or(Ok(()), |out| out.write_all_at(chunk.first.saturating_mul(BLOCK), bytes));
        let made: Vec<Made> = bytes
            .chunks(GROUP * BLOCK_LENGTH)
            .zip(chunk.first / GROUP as u64..)
            .map(|(bytes, group)| {
                let hashes = hashes_of(bytes);
                let open = chunk.late.iter().any(|block| block / GROUP as u64 == group);
                (group, above(&hashes), open.then_some(hashes))
            })
            .collect();
        let mut hashes = hashes.lock().unwrap_or_else(PoisonError::into_inner);
        for (group, hash, open) in made {
            hashes.put(group, hash);
            hashes.open.extend(open.map(|open| (group, open)));
        }
        hashes.failed = written.err().or(hashes.failed.take());
        drop(hashes);
        // Nobody waits for it at the end.
        let _ = recycled.send(chunk.bytes);
    }
}

/// A group's number, the hash above it, and its own hashes while one of its blocks is late.
type Made = (u64, [u8; HASH], Option<Vec<[u8; HASH]>>);

impl Hashes {
    fn put(&mut self, group: u64, hash: [u8; HASH]) {
        let group = usize::try_from(group).unwrap_or(usize::MAX);
        if self.groups.len() <= group {
            self.groups.resize(group.saturating_add(1), [0; HASH]);
        }
        if let Some(place) = self.groups.get_mut(group) {
            *place = hash;
        }
    }

    fn put_late(&mut self, block: u64, bytes: &[u8; BLOCK_LENGTH]) {
        let (group, at) = (block / GROUP as u64, (block % GROUP as u64) as usize);
        let Some(open) = self.open.get_mut(&group) else { return };
        if let (Some(place), [hash]) = (open.get_mut(at), hashes_of(bytes).as_slice()) {
            *place = *hash;
        }
        let hash = above(open);
        self.put(group, hash);
    }

    fn root(self) -> VerityRoot {
        let mut level = self.groups;
        while level.len() > 1 {
            level = level.chunks(GROUP).map(above).collect();
        }
        VerityRoot(level.first().copied().unwrap_or_default())
    }
}

fn hashes_of(blocks: &[u8]) -> Vec<[u8; HASH]> {
    let mut hashes = vec![[0; HASH]; blocks.len() / BLOCK_LENGTH];
    hash_blocks_salted(&SALT, blocks, &mut hashes);
    hashes
}

/// Hash of the block that holds up to 128 hashes.
fn above(hashes: &[[u8; HASH]]) -> [u8; HASH] {
    let mut block = hashes.concat();
    block.resize(BLOCK_LENGTH, 0);
    hashes_of(&block).first().copied().unwrap_or_default()
}
