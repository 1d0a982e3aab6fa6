//! A look at the superblock of the host's file system, before the kernel is let near it.
//!
//! *Takes* a drive that the host wrote.
//! *Guarantees* bounded reading, and that what passes is an ext4 of plain form: sizes that fit the drive and each
//! other, known features, no journal on another device.
//! *Does not check* anything behind the superblock: that stays the kernel's, and is a row in THREATS.md.

use crate::console::{Disclose, Public};
use crate::public;
use sealed::ReadAt;

/// Why a drive is not mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Implausible {
    /// Too short, or not readable.
    #[error("there is no superblock")]
    Unreadable,
    /// Another file system, or none.
    #[error("it is not ext4")]
    Magic,
    /// Sizes that cannot be.
    #[error("its superblock's sizes do not fit the drive or each other")]
    Sizes,
    /// A feature that is not accepted from a host.
    #[error("it has features {0:#x} that are not accepted here")]
    Features(u32),
}

impl Disclose for Implausible {
    fn disclose(&self) -> Public {
        match self {
            Self::Features(bits) => public!("it has ext4 features ", *bits, " that are not accepted here"),
            Self::Unreadable => public!("there is no superblock"),
            Self::Magic => public!("it is not ext4"),
            Self::Sizes => public!("its superblock's sizes do not fit the drive or each other"),
        }
    }
}

/// Whether a drive looks like an ext4 of plain form.
pub fn plausible_ext4(drive: &dyn ReadAt) -> Result<(), Implausible> {
    let mut superblock = [0; LENGTH];
    drive.read_exact_at(OFFSET, &mut superblock).map_err(|_| Implausible::Unreadable)?;
    check(&superblock, drive.size())
}

/// Checks a superblock for a drive of `size` bytes.
fn check(superblock: &[u8; LENGTH], size: u64) -> Result<(), Implausible> {
    let half =
        |at: usize| superblock.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u16::from_le_bytes(*b));
    let word =
        |at: usize| superblock.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b));
    if half(MAGIC) != 0xef53 {
        return Err(Implausible::Magic);
    }
    let incompatible = word(INCOMPATIBLE);
    if incompatible & !ACCEPTED != 0 {
        return Err(Implausible::Features(incompatible & !ACCEPTED));
    }
    let logarithm = word(LOG_BLOCK_SIZE);
    if logarithm > 2 || word(JOURNAL_DEVICE) != 0 {
        return Err(Implausible::Sizes);
    }
    let block = 1024u64 << logarithm;
    let high = if incompatible & INCOMPATIBLE_64BIT != 0 { u64::from(word(BLOCKS_HIGH)) } else { 0 };
    let blocks = (high << 32) | u64::from(word(BLOCKS));
    let inode = u64::from(half(INODE_SIZE));
    let per_group = u64::from(word(BLOCKS_PER_GROUP));
    let sound = blocks.checked_mul(block).is_some_and(|bytes| bytes <= size)
        && blocks > 0
        && word(REVISION) == 1
        && inode.is_power_of_two()
        && (128..=block).contains(&inode)
        && (8..=8 * block).contains(&per_group)
        && (1..=8 * block).contains(&u64::from(word(INODES_PER_GROUP)))
        && u64::from(word(FIRST_BLOCK)) == u64::from(block == 1024);
    if sound { Ok(()) } else { Err(Implausible::Sizes) }
}

/// Bytes of a superblock.
const LENGTH: usize = 1024;
const OFFSET: u64 = 1024;

// Offsets in the superblock (Linux: Documentation/filesystems/ext4/super.rst).
const BLOCKS: usize = 0x04;
const FIRST_BLOCK: usize = 0x14;
const LOG_BLOCK_SIZE: usize = 0x18;
const BLOCKS_PER_GROUP: usize = 0x20;
const INODES_PER_GROUP: usize = 0x28;
const MAGIC: usize = 0x38;
const REVISION: usize = 0x4c;
const INODE_SIZE: usize = 0x58;
const INCOMPATIBLE: usize = 0x60;
const JOURNAL_DEVICE: usize = 0xe4;
const BLOCKS_HIGH: usize = 0x150;

const INCOMPATIBLE_64BIT: u32 = 0x80;
/// filetype, recover, meta_bg, extents, 64bit, flex_bg, csum_seed, largedir. Not: compression, journal_dev, mmp,
/// ea_inode, dirdata, inline_data, encrypt, casefold, and what comes later.
const ACCEPTED: u32 = 0x2 | 0x4 | 0x10 | 0x40 | INCOMPATIBLE_64BIT | 0x200 | 0x2000 | 0x4000;

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 8 << 20;

    fn good() -> [u8; LENGTH] {
        let mut superblock = [0; LENGTH];
        let mut put = |at: usize, bytes: &[u8]| superblock[at..at + bytes.len()].copy_from_slice(bytes);
        put(BLOCKS, &2048u32.to_le_bytes());
        put(LOG_BLOCK_SIZE, &2u32.to_le_bytes());
        put(BLOCKS_PER_GROUP, &32768u32.to_le_bytes());
        put(INODES_PER_GROUP, &2048u32.to_le_bytes());
        put(MAGIC, &0xef53u16.to_le_bytes());
        put(REVISION, &1u32.to_le_bytes());
        put(INODE_SIZE, &256u16.to_le_bytes());
        put(INCOMPATIBLE, &0x2c2u32.to_le_bytes());
        superblock
    }

    fn changed(at: usize, bytes: &[u8]) -> Result<(), Implausible> {
        let mut superblock = good();
        superblock[at..at + bytes.len()].copy_from_slice(bytes);
        check(&superblock, SIZE)
    }

    #[test]
    fn plain_ext4_passes_and_everything_else_is_named() {
        assert_eq!(check(&good(), SIZE), Ok(()));
        assert_eq!(changed(MAGIC, &[0, 0]), Err(Implausible::Magic));
        assert_eq!(changed(INCOMPATIBLE, &[0xca, 2]), Err(Implausible::Features(8)));
        for (at, bytes) in [
            (BLOCKS, [0, 0, 0, 0]),
            (BLOCKS, [1, 8, 0, 0]),
            (BLOCKS_HIGH, [1, 0, 0, 0]),
            (LOG_BLOCK_SIZE, [3, 0, 0, 0]),
            (LOG_BLOCK_SIZE, [255; 4]),
            (BLOCKS_PER_GROUP, [0; 4]),
            (INODES_PER_GROUP, [255; 4]),
            (INODE_SIZE, [0, 0, 0, 0]),
            (INODE_SIZE, [1, 1, 0, 0]),
            (JOURNAL_DEVICE, [1, 0, 0, 0]),
            (FIRST_BLOCK, [9, 0, 0, 0]),
            (REVISION, [0; 4]),
        ] {
            assert_eq!(changed(at, &bytes), Err(Implausible::Sizes), "{at:#x} {bytes:?}");
        }
        assert_eq!(plausible_ext4(&vec![0; 1500]), Err(Implausible::Unreadable));
    }

    #[test]
    fn what_mke2fs_makes_passes() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(SIZE).unwrap();
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let mut mke2fs = std::process::Command::new("mke2fs");
        let made = mke2fs.env("PATH", path).args(["-q", "-F", "-t", "ext4"]).arg(&image).status();
        if !made.is_ok_and(|status| status.success()) {
            println!("skipped: mke2fs is not here");
            return;
        }
        assert_eq!(plausible_ext4(&std::fs::read(&image).unwrap()), Ok(()));
    }

    proptest::proptest! {
        #[test]
        fn no_superblock_panics(bytes in proptest::collection::vec(0u8.., LENGTH), size in 0u64..) {
            let mut superblock: [u8; LENGTH] = bytes.try_into().unwrap();
            superblock[MAGIC..MAGIC + 2].copy_from_slice(&[0x53, 0xef]);
            let _ = check(&superblock, size);
        }
    }
}
