//! Makes a sealed drive: header, encrypted ext4, encrypted dm-verity tree.
//!
//! *Takes* a planned volume, the bytes of its files, and a site's key.
//! *Guarantees* the same drive for the same input, whatever the number of threads; the header is written last, so
//! that a drive that was not finished has none.
//! *Does not check* what the sink does with the bytes.
//!
//! Each thread takes the next 512 KiB, which one tree block covers: fill, hash, write the tree block, encrypt, write.
//! Only the hashes of tree blocks are kept, 64 bytes per MiB.

use crate::WriteAt;
use crate::ext4::{Layout, Sources};
use crate::luks2;
use crate::verity::{self, Builder, FAN_OUT, HASH};
use crate::xts::{Direction, Xts, XtsError};
use claims::volume::{BLOCK_SIZE, DATA_OFFSET, Drive, Geometry, VolumeKey};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// One drive to make.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The planned volume.
    pub layout: &'a Layout,
    /// Where its files' bytes come from.
    pub sources: &'a dyn Sources,
    /// The site's volume key.
    pub key: &'a VolumeKey,
    /// Which drive: chooses the key derived from `key`.
    pub drive: Drive,
    /// Where the drive is written.
    pub sink: &'a dyn WriteAt,
    /// Told after each piece how many bytes of the volume it held; called from any thread.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Asked before each piece.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Number of threads, at least one.
    pub threads: usize,
}

/// Why a drive was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file's bytes could not be read.
    #[error("block {block} cannot be read")]
    Read {
        /// First block of the piece.
        block: u64,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The drive could not be written.
    #[error("the drive cannot be written at byte {offset}")]
    Write {
        /// Where.
        offset: u64,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The cipher could not be set up.
    #[error("cipher")]
    Cipher(#[source] XtsError),
    /// What was kept is of another volume.
    #[error("the kept hash tree is of {got} blocks, this volume has {wanted}")]
    OtherVolume {
        /// Blocks of the kept tree's volume.
        got: u64,
        /// Blocks here.
        wanted: u64,
    },
    /// The caller wanted it to end.
    #[error("cancelled")]
    Cancelled,
}

/// What can be reused for another site: the same files have the same hash tree under every key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// Sizes and root hash.
    pub geometry: Geometry,
    /// The whole hash tree as it lies on the drive, in plain.
    pub tree: Vec<u8>,
}

/// Writes header, ciphertext and tree; memory does not depend on the size of the volume.
pub fn seal(job: &Job<'_>) -> Result<Geometry, SealError> {
    let builder = Pipeline::new(job, None).run(|_, _| {})?;
    finish(job, builder, |_, _| {})
}

/// Like [`seal`], and keeps the hash tree (1/127 of the volume) for [`seal_again`].
pub fn seal_keeping(job: &Job<'_>) -> Result<Plain, SealError> {
    let size = verity::tree_blocks(job.layout.blocks()) * BLOCK_SIZE;
    let tree = Mutex::new(vec![0; usize::try_from(size).unwrap_or(0)]);
    let keep = |index: u64, block: &[u8]| {
        let start = (index * BLOCK_SIZE) as usize;
        let mut tree = tree.lock().unwrap_or_else(PoisonError::into_inner);
        tree[start..start + block.len()].copy_from_slice(block);
    };
    let builder = Pipeline::new(job, None).run(keep)?;
    let geometry = finish(job, builder, keep)?;
    Ok(Plain { geometry, tree: tree.into_inner().unwrap_or_else(PoisonError::into_inner) })
}

/// Seals the same volume under another key: nothing is hashed again. `plain` must come from the same layout and files.
pub fn seal_again(job: &Job<'_>, plain: &Plain) -> Result<Geometry, SealError> {
    let wanted = job.layout.blocks();
    let tree_bytes = verity::tree_blocks(wanted) * BLOCK_SIZE;
    if plain.geometry.data_blocks != wanted || plain.tree.len() as u64 != tree_bytes {
        return Err(SealError::OtherVolume { got: plain.geometry.data_blocks, wanted });
    }
    Pipeline::new(job, Some(&plain.tree)).run(|_, _| {})?;
    write_header(job, plain.geometry)
}

/// Blocks of one piece: those that one tree block covers.
const PIECE: u64 = FAN_OUT;

struct Pipeline<'a> {
    job: &'a Job<'a>,
    /// The tree, if it is known already.
    known: Option<&'a [u8]>,
    next: AtomicU64,
    stopped: AtomicBool,
    error: Mutex<Option<SealError>>,
}

/// What a piece adds to the tree.
enum Hashed {
    Known,
    Leaves { piece: u64, hash: [u8; HASH] },
    Single { hash: [u8; HASH] },
}

impl<'a> Pipeline<'a> {
    fn new(job: &'a Job<'a>, known: Option<&'a [u8]>) -> Self {
        Self { job, known, next: AtomicU64::new(0), stopped: AtomicBool::new(false), error: Mutex::new(None) }
    }

    /// Runs all pieces; gives each tree block of the leaf level to `keep` too.
    fn run(&self, keep: impl Fn(u64, &[u8]) + Sync) -> Result<Builder, SealError> {
        let mut hashed: Vec<Hashed> = Vec::new();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (1..self.job.threads.max(1)).map(|_| scope.spawn(|| self.work(&keep))).collect();
            hashed.extend(self.work(&keep));
            for worker in workers {
                match worker.join() {
                    Ok(more) => hashed.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        if let Some(error) = self.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        hashed.sort_by_key(|one| match one {
            Hashed::Leaves { piece, .. } => *piece,
            Hashed::Known | Hashed::Single { .. } => 0,
        });
        let mut builder = Builder::new(self.job.layout.blocks());
        for one in hashed {
            match one {
                Hashed::Known => {}
                Hashed::Leaves { hash, .. } => builder.push(hash),
                Hashed::Single { hash } => builder.only = Some(hash),
            }
        }
        Ok(builder)
    }

    fn work(&self, keep: &(impl Fn(u64, &[u8]) + Sync)) -> Vec<Hashed> {
        let mut hashed = Vec::new();
        if let Err(error) = self.pieces(keep, &mut hashed) {
            self.stopped.store(true, Ordering::Relaxed);
            self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        hashed
    }

    fn pieces(&self, keep: &(impl Fn(u64, &[u8]) + Sync), hashed: &mut Vec<Hashed>) -> Result<(), SealError> {
        let mut sealer = Sealer::new(self.job)?;
        let data_blocks = self.job.layout.blocks();
        let known_blocks = self.known.map_or(0, |tree| tree.len() as u64 / BLOCK_SIZE);
        let mut buffer = vec![0; (PIECE * BLOCK_SIZE) as usize];
        while !self.stopped.load(Ordering::Relaxed) {
            let piece = self.next.fetch_add(1, Ordering::Relaxed);
            let first = piece.saturating_mul(PIECE);
            if first >= data_blocks + known_blocks.next_multiple_of(PIECE) + PIECE {
                break;
            }
            if (self.job.cancelled)() {
                return Err(SealError::Cancelled);
            }
            if first >= data_blocks {
                // The pieces behind the volume are those of a tree that is known.
                let tree_first = (piece - data_blocks.div_ceil(PIECE)) * PIECE;
                let Some(tree) = self.known.filter(|_| tree_first < known_blocks) else { break };
                let bytes = (tree_first * BLOCK_SIZE) as usize..;
                let rest = &tree[bytes];
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                sealer.write(data_blocks + tree_first, &mut buffer[..count])?;
                continue;
            }
            let count = PIECE.min(data_blocks - first);
            let bytes = &mut buffer[..(count * BLOCK_SIZE) as usize];
            self.job
                .layout
                .fill(first, bytes, self.job.sources)
                .map_err(|source| SealError::Read { block: first, source })?;
            hashed.push(match self.known {
                Some(_) => Hashed::Known,
                None if data_blocks == 1 => Hashed::Single { hash: verity::hash_block(bytes) },
                None => {
                    let (mut block, hash) = verity::parent(bytes);
                    let index = sealer.leaf_level + piece;
                    keep(index, &block);
                    sealer.write(data_blocks + index, &mut block)?;
                    Hashed::Leaves { piece, hash }
                }
            });
            sealer.write(first, bytes)?;
            (self.job.progress)(count * BLOCK_SIZE);
        }
        Ok(())
    }
}

/// Encrypts and writes, for one thread.
struct Sealer<'a> {
    xts: Xts,
    sink: &'a dyn WriteAt,
    leaf_level: u64,
}

impl<'a> Sealer<'a> {
    fn new(job: &Job<'a>) -> Result<Self, SealError> {
        let xts = job.key.drive_key(job.drive).expose(|key| Xts::new(key, Direction::Seal));
        let leaf_level = Builder::new(job.layout.blocks()).leaf_level().start;
        Ok(Self { xts: xts.map_err(SealError::Cipher)?, sink: job.sink, leaf_level })
    }

    /// Encrypts whole blocks in place and writes them where they belong.
    fn write(&mut self, block: u64, bytes: &mut [u8]) -> Result<(), SealError> {
        self.xts.apply(block * (BLOCK_SIZE / 512), BLOCK_SIZE as usize, bytes).map_err(SealError::Cipher)?;
        let offset = DATA_OFFSET + block * BLOCK_SIZE;
        self.sink.write_all_at(offset, bytes).map_err(|source| SealError::Write { offset, source })
    }
}

/// Writes the upper levels and the header.
fn finish(job: &Job<'_>, builder: Builder, keep: impl Fn(u64, &[u8])) -> Result<Geometry, SealError> {
    let data_blocks = job.layout.blocks();
    let mut sealer = Sealer::new(job)?;
    let mut result = Ok(());
    let root_hash = builder.finish(|index, block| {
        keep(index, block);
        if result.is_ok() {
            result = sealer.write(data_blocks + index, &mut block.to_vec());
        }
    });
    result?;
    let tree_blocks = verity::tree_blocks(data_blocks);
    write_header(job, Geometry { data_offset: DATA_OFFSET, data_blocks, tree_blocks, root_hash })
}

fn write_header(job: &Job<'_>, geometry: Geometry) -> Result<Geometry, SealError> {
    for (offset, bytes) in luks2::pieces(job.key, job.drive, geometry.sealed_bytes()).map_err(SealError::Cipher)? {
        job.sink.write_all_at(offset, &bytes).map_err(|source| SealError::Write { offset, source })?;
    }
    Ok(geometry)
}
