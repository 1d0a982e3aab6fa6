//! Reads a sealed drive in user space, every block checked against the root hash.
//!
//! *Takes* a drive, its key, and its geometry from a source that is believed (the measured command line, a manifest).
//! *Guarantees* that no byte is returned that the root hash does not vouch for.
//! *Does not check* that the root hash is the wanted one. [`SealedReader::from_header`] takes even that from the drive
//! itself: good for looking, not for trusting.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::ReadAt;
use crate::luks2::{HEADER_BYTES, Header, ProfileError};
use crate::verity::{self, FAN_OUT, HASH};
use crate::xts::{Direction, Xts, XtsError};
use claims::volume::{BLOCK_SIZE, DATA_OFFSET, Drive, Geometry, VolumeKey};
use claims::{Code, Secret, VerityRoot};
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

const BLOCK: usize = BLOCK_SIZE as usize;
type Block = [u8; BLOCK];
/// Checked tree blocks that are kept: 4 MiB, which cover 512 MiB of data.
const KEPT: usize = 1024;

/// Why a sealed drive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The drive itself cannot be read.
    #[error("the drive cannot be read at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The header is not accepted, or not this key's.
    #[error("header")]
    Header(#[source] ProfileError),
    /// The drive is smaller than the geometry says, or the geometry contradicts itself.
    #[error("the drive has {got} bytes, its geometry needs {wanted}")]
    Size {
        /// Bytes there.
        got: u64,
        /// Bytes needed.
        wanted: u64,
    },
    /// Block 0 holds no ext4 that fits the size in the header.
    #[error("the volume holds no ext4 of the size that the header gives")]
    NoVolume,
    /// A data block is not the one that was sealed.
    #[error("data block {block} does not match the hash tree")]
    Data {
        /// Which.
        block: u64,
    },
    /// A tree block is not the one that was sealed, or the key or root hash is another's.
    #[error("hash tree block {block} does not match the root hash")]
    Tree {
        /// Which, counted from the start of the tree.
        block: u64,
    },
    /// The cipher could not be set up.
    #[error("cipher")]
    Cipher(#[source] XtsError),
}

impl OpenError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Header(error) => error.code(),
            Self::Read { .. } | Self::Size { .. } => Code::Drive,
            Self::NoVolume | Self::Data { .. } | Self::Tree { .. } | Self::Cipher(_) => Code::Root,
        }
    }
}

/// The ext4 inside a sealed drive, decrypted and checked block by block.
pub struct SealedReader<D> {
    device: D,
    key: Secret<[u8; 64]>,
    geometry: Geometry,
    /// Tree blocks of each level, the leaves' first.
    levels: Vec<Range<u64>>,
    /// Contexts that no thread uses now.
    idle: Mutex<Vec<Xts>>,
    checked: Mutex<HashMap<u64, Arc<Block>>>,
}

impl<D: ReadAt> SealedReader<D> {
    /// Opens `drive` with a geometry that is believed. The top of the tree is checked at once, so a wrong key or root
    /// hash shows here.
    pub fn new(device: D, geometry: Geometry, key: &VolumeKey, drive: Drive) -> Result<Self, OpenError> {
        let levels = verity::levels(geometry.data_blocks);
        let wanted = geometry.data_offset.saturating_add(geometry.sealed_bytes());
        let got = device.size();
        if verity::tree_blocks(geometry.data_blocks) != geometry.tree_blocks || wanted > got {
            return Err(OpenError::Size { got, wanted });
        }
        let reader = Self {
            device,
            key: key.drive_key(drive),
            geometry,
            levels,
            idle: Mutex::default(),
            checked: Mutex::default(),
        };
        match reader.levels.len().checked_sub(1) {
            Some(top) => reader.tree_block(top, 0).map(|_| ())?,
            None => reader.read_block(0, &mut [0; BLOCK])?,
        }
        Ok(reader)
    }

    /// Opens a drive by its header. Geometry and root hash are then what the drive says of itself.
    pub fn from_header(device: D, key: &VolumeKey) -> Result<(Self, Drive), OpenError> {
        let read = |offset: u64, out: &mut [u8]| {
            device.read_exact_at(offset, out).map_err(|source| OpenError::Read { offset, source })
        };
        // One read: what is judged is what is used.
        let mut bytes = vec![0; HEADER_BYTES];
        read(0, &mut bytes)?;
        let header = Header::parse(&bytes).map_err(OpenError::Header)?;
        let drive = header.authenticate(key).map_err(OpenError::Header)?;
        let decrypt = |block: u64, out: &mut [u8]| {
            read(DATA_OFFSET.saturating_add(block.saturating_mul(BLOCK_SIZE)), out)?;
            let tweak = block.wrapping_mul(BLOCK_SIZE / 512);
            let xts = key.drive_key(drive).expose(|key| Xts::new(key, Direction::Open));
            xts.and_then(|mut xts| xts.apply(tweak, BLOCK, out)).map_err(OpenError::Cipher)
        };
        let mut first = [0; BLOCK];
        decrypt(0, &mut first)?;
        let data_blocks = crate::ext4::blocks_of(&first).ok_or(OpenError::NoVolume)?;
        let tree_blocks = verity::tree_blocks(data_blocks);
        let mut geometry =
            Geometry { data_offset: DATA_OFFSET, data_blocks, tree_blocks, root_hash: VerityRoot([0; HASH]) };
        if geometry.sealed_bytes() != header.sealed_bytes() {
            return Err(OpenError::NoVolume);
        }
        // The top tree block is the first one; with no tree, the only data block.
        let mut top = [0; BLOCK];
        decrypt(if tree_blocks == 0 { 0 } else { data_blocks }, &mut top)?;
        geometry.root_hash = VerityRoot(verity::hash_block(&top));
        Self::new(device, geometry, key, drive).map(|reader| (reader, drive))
    }

    /// Sizes and root hash in use.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Reads data block `block`.
    pub fn read_block(&self, block: u64, out: &mut Block) -> Result<(), OpenError> {
        self.decrypt(block, out)?;
        if self.wanted_hash(None, block)? == Some(verity::hash_block(out)) {
            Ok(())
        } else {
            out.fill(0);
            Err(OpenError::Data { block })
        }
    }

    /// Reads and checks everything; gives `progress` the blocks done.
    pub fn verify(&self, progress: &dyn Fn(u64)) -> Result<(), OpenError> {
        let mut block = [0; BLOCK];
        for index in 0..self.geometry.data_blocks {
            self.read_block(index, &mut block)?;
            progress(index.saturating_add(1));
        }
        Ok(())
    }

    /// The hash that something must have: a data block (`level` is `None`), or a tree block of `level`.
    fn wanted_hash(&self, level: Option<usize>, index: u64) -> Result<Option<[u8; HASH]>, OpenError> {
        let above = level.map_or(0, |level| level.saturating_add(1));
        if above >= self.levels.len() {
            return Ok((index == 0).then_some(self.geometry.root_hash.0));
        }
        let parent = self.tree_block(above, index / FAN_OUT)?;
        let slot = usize::try_from(index % FAN_OUT).unwrap_or(usize::MAX);
        let (hashes, _) = parent.as_chunks::<HASH>();
        Ok(hashes.get(slot).copied())
    }

    /// A checked tree block.
    fn tree_block(&self, level: usize, index: u64) -> Result<Arc<Block>, OpenError> {
        let range = self.levels.get(level).cloned().unwrap_or(0..0);
        let block = range.start.saturating_add(index);
        if block >= range.end {
            return Err(OpenError::Tree { block });
        }
        if let Some(kept) = self.checked.lock().unwrap_or_else(PoisonError::into_inner).get(&block) {
            return Ok(Arc::clone(kept));
        }
        let mut bytes = [0; BLOCK];
        self.decrypt(self.geometry.data_blocks.saturating_add(block), &mut bytes)?;
        // Depth is the number of levels: at most ten for any number of blocks.
        if self.wanted_hash(Some(level), index)? != Some(verity::hash_block(&bytes)) {
            return Err(OpenError::Tree { block });
        }
        let bytes = Arc::new(bytes);
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.len() >= KEPT {
            checked.clear();
        }
        checked.insert(block, Arc::clone(&bytes));
        Ok(bytes)
    }

    fn decrypt(&self, block: u64, out: &mut Block) -> Result<(), OpenError> {
        let offset = self.geometry.data_offset.saturating_add(block.saturating_mul(BLOCK_SIZE));
        self.device.read_exact_at(offset, out).map_err(|source| OpenError::Read { offset, source })?;
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut context = match kept {
            Some(context) => context,
            None => self.key.expose(|key| Xts::new(key, Direction::Open)).map_err(OpenError::Cipher)?,
        };
        context.apply(block.wrapping_mul(BLOCK_SIZE / 512), BLOCK, out).map_err(OpenError::Cipher)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(context);
        Ok(())
    }
}

impl<D: ReadAt> ReadAt for SealedReader<D> {
    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > self.size()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut block = [0; BLOCK];
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            self.read_block(at / BLOCK_SIZE, &mut block).map_err(io::Error::other)?;
            let start = usize::try_from(at % BLOCK_SIZE).unwrap_or(0);
            let piece = block.get(start..).unwrap_or_default();
            let count = piece.len().min(rest.len());
            let (now, later) = rest.split_at_mut_checked(count).unwrap_or_default();
            now.copy_from_slice(piece.get(..count).unwrap_or_default());
            rest = later;
            at = at.saturating_add(count as u64);
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.geometry.data_blocks.saturating_mul(BLOCK_SIZE)
    }
}
