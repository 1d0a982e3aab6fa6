//! Numbers of the on-disk format (Linux: Documentation/filesystems/ext4) that writer and reader share.

/// Block size of everything written here.
pub(crate) const BLOCK: usize = 4096;
/// The same as a count of bytes on a volume.
pub(crate) const BLOCK_BYTES: u64 = BLOCK as u64;
/// Bytes of an inode.
pub(crate) const INODE: usize = 256;
/// Inodes in a block.
pub(crate) const INODES_PER_BLOCK: u64 = (BLOCK / INODE) as u64;
/// Blocks in a group: as many as a bitmap block has bits.
pub(crate) const BLOCKS_PER_GROUP: u64 = 8 * BLOCK_BYTES;
/// Bytes of a group descriptor with feature `64bit`.
pub(crate) const DESCRIPTOR: usize = 64;

pub(crate) const SUPER_MAGIC: u16 = 0xef53;
pub(crate) const ROOT_INODE: u32 = 2;
pub(crate) const JOURNAL_INODE: u32 = 8;
/// Inodes below this one are the file system's own.
pub(crate) const FIRST_INODE: u32 = 11;

/// Bytes of an inode behind its first 128 that have a meaning.
pub(crate) const EXTRA_SIZE: u16 = 32;
/// Where attributes start in an inode.
pub(crate) const INODE_XATTRS: usize = 128 + EXTRA_SIZE as usize;

pub(crate) const COMPAT_JOURNAL: u32 = 0x4;
pub(crate) const COMPAT_XATTR: u32 = 0x8;
pub(crate) const COMPAT_DIR_INDEX: u32 = 0x20;
pub(crate) const COMPAT_SPARSE_SUPER2: u32 = 0x200;
pub(crate) const INCOMPAT_FILETYPE: u32 = 0x2;
pub(crate) const INCOMPAT_RECOVER: u32 = 0x4;
pub(crate) const INCOMPAT_EXTENTS: u32 = 0x40;
pub(crate) const INCOMPAT_64BIT: u32 = 0x80;
pub(crate) const INCOMPAT_FLEX_BG: u32 = 0x200;
pub(crate) const INCOMPAT_CSUM_SEED: u32 = 0x2000;
pub(crate) const INCOMPAT_LARGEDIR: u32 = 0x4000;
pub(crate) const INCOMPAT_INLINE_DATA: u32 = 0x8000;
pub(crate) const RO_LARGE_FILE: u32 = 0x2;
pub(crate) const RO_HUGE_FILE: u32 = 0x8;
pub(crate) const RO_DIR_NLINK: u32 = 0x20;
pub(crate) const RO_EXTRA_ISIZE: u32 = 0x40;
pub(crate) const RO_METADATA_CSUM: u32 = 0x400;

pub(crate) const FLAG_EXTENTS: u32 = 0x8_0000;
pub(crate) const FLAG_INLINE_DATA: u32 = 0x1000_0000;

pub(crate) const EXTENT_MAGIC: u16 = 0xf30a;
pub(crate) const XATTR_MAGIC: u32 = 0xea02_0000;
/// Longest run of one initialised extent, in blocks.
pub(crate) const EXTENT_BLOCKS: u64 = 32768;
/// Extents in one tree block, its checksum left free.
pub(crate) const EXTENTS_PER_BLOCK: u64 = (BLOCK as u64 - 16) / 12;
/// Extents, or tree blocks, that an inode holds itself.
pub(crate) const EXTENTS_IN_INODE: u64 = 4;
/// Longest target that a symbolic link keeps in its inode.
pub(crate) const FAST_LINK: usize = 59;

pub(crate) const MODE_FIFO: u16 = 0x1000;
pub(crate) const MODE_CHARACTER: u16 = 0x2000;
pub(crate) const MODE_FOLDER: u16 = 0x4000;
pub(crate) const MODE_BLOCK: u16 = 0x6000;
pub(crate) const MODE_FILE: u16 = 0x8000;
pub(crate) const MODE_LINK: u16 = 0xa000;
pub(crate) const MODE_SOCKET: u16 = 0xc000;
pub(crate) const MODE_KIND: u16 = 0xf000;

/// CRC-32C as ext4 uses it: no inversion at either end.
pub(crate) fn crc(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// Start value of every checksum of an inode and of the blocks that belong to it; generations are zero here.
pub(crate) fn inode_seed(seed: u32, inode: u32) -> u32 {
    crc(crc(seed, &inode.to_le_bytes()), &[0; 4])
}

/// Type byte of a directory entry.
pub(crate) fn entry_type(mode: u16) -> u8 {
    match mode & MODE_KIND {
        MODE_FILE => 1,
        MODE_FOLDER => 2,
        MODE_CHARACTER => 3,
        MODE_BLOCK => 4,
        MODE_FIFO => 5,
        MODE_SOCKET => 6,
        MODE_LINK => 7,
        _ => 0,
    }
}

/// Writes little-endian numbers into a buffer of known size.
pub(crate) fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(crate) fn put16(out: &mut [u8], at: usize, value: u16) {
    put(out, at, &value.to_le_bytes());
}

pub(crate) fn put32(out: &mut [u8], at: usize, value: u32) {
    put(out, at, &value.to_le_bytes());
}

/// The low halves of numbers that the format splits.
pub(crate) fn low16(value: u64) -> u16 {
    value as u16
}

pub(crate) fn low32(value: u64) -> u32 {
    value as u32
}
