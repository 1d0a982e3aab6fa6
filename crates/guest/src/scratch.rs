//! The scratch area: the unused tail of the root drive, under a key that is made at boot and kept nowhere.
//!
//! *Takes* the measured end of the sealed data, and the drive's size, which is the host's word.
//! *Guarantees* that nothing of an earlier boot is read: the file system is written anew, and no other key was ever
//! the one of this boot.
//! *Does not check* the tail's integrity: it is encrypted, not authenticated. A host that changes blocks there while
//! the workload runs can damage what the workload wrote, but reads nothing and cannot choose what comes out.

use crate::console::{Disclose, Public};
use crate::devices::BlockDevice;
use crate::mapper::{Crypt, Mapper, MapperError};
use crate::mounts::{self, MountError};
use crate::public;
use claims::volume::{BLOCK_SIZE, Geometry};
use claims::{Code, Secret};
use sealed::WriteAt;
use sealed::ext4::LayoutError;
use std::fs::OpenOptions;
use zeroize::Zeroizing;

/// Where the scratch area is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the drive's tail, this many bytes.
    Drive(u64),
    /// In memory: the drive has no tail to speak of.
    Memory,
}

impl Disclose for Place {
    fn disclose(&self) -> Public {
        match self {
            Self::Drive(bytes) => public!("on the drive with ", *bytes >> 20, " MiB"),
            Self::Memory => public!("in memory"),
        }
    }
}

/// Why there is no scratch area.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// No random key.
    #[error("no randomness for a key")]
    Random,
    /// The device could not be mapped.
    #[error("the scratch area's encryption failed")]
    Mapper(#[from] MapperError),
    /// No file system fits.
    #[error("no file system fits into the scratch area")]
    Layout(#[from] LayoutError),
    /// Writing the file system failed.
    #[error("the scratch area cannot be written")]
    Write(#[source] std::io::Error),
    /// Mounting it failed.
    #[error("the scratch area cannot be mounted")]
    Mount(#[from] MountError),
}

impl ScratchError {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code::Drive
    }

    /// For the console: constants, sizes and the kernel's reasons.
    pub fn words(&self) -> Public {
        match self {
            Self::Write(source) => public!("the scratch area cannot be written: ", source),
            other => Public::reviewed(other),
        }
    }
}

/// Makes and mounts the scratch area.
pub fn make(mapper: &Mapper, drive: &BlockDevice, root: &Geometry) -> Result<Place, ScratchError> {
    let length = tail(drive.size, root);
    if length < SMALLEST {
        mounts::scratch_in_memory()?;
        return Ok(Place::Memory);
    }
    let key = random_key()?;
    let crypt = Crypt { device: &drive.node, offset: root.tail_offset(), length, read_only: false };
    let mapped = mapper.create("scratch", &key.expose(|key| crypt.table(key)))?;
    drop(key);
    let device = OpenOptions::new().write(true).open(&mapped.node).map_err(ScratchError::Write)?;
    write_empty(&sealed::FileDevice::new(device).map_err(ScratchError::Write)?, length)?;
    mounts::scratch_volume(&mapped.node)?;
    Ok(Place::Drive(length))
}

/// Below this a tail is not worth a file system.
const SMALLEST: u64 = 16 << 20;

/// Whole blocks after the sealed data.
fn tail(size: u64, root: &Geometry) -> u64 {
    let length = size.saturating_sub(root.tail_offset());
    length.saturating_sub(length % BLOCK_SIZE)
}

fn random_key() -> Result<Secret<[u8; 64]>, ScratchError> {
    let mut bytes = Zeroizing::new([0; 64]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| ScratchError::Random)?;
    Ok(Secret::new(*bytes))
}

/// Writes an empty file system, whatever stood there before.
fn write_empty(device: &dyn WriteAt, length: u64) -> Result<(), ScratchError> {
    let mut uuid = [0; 16];
    aws_lc_rs::rand::fill(&mut uuid).map_err(|_| ScratchError::Random)?;
    for (offset, bytes) in sealed::ext4::scratch(length, uuid, 0)? {
        device.write_all_at(offset, &bytes).map_err(ScratchError::Write)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use claims::VerityRoot;

    #[test]
    fn the_tail_starts_at_the_next_mebibyte() {
        let root = Geometry { data_offset: 16 << 20, data_blocks: 10, tree_blocks: 1, root_hash: VerityRoot([0; 32]) };
        assert_eq!(tail((17 << 20) + 4096 + 511, &root), 4096);
        assert_eq!(tail(17 << 20, &root), 0);
        assert_eq!(tail(100, &root), 0);
    }

    #[test]
    fn two_boots_have_two_keys() {
        let [first, second] = [random_key().unwrap(), random_key().unwrap()];
        assert_ne!(first.expose(|key| *key), second.expose(|key| *key));
    }
}
