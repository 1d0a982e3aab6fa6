//! Superblock, group descriptors, inodes.

use super::super::format::*;
use super::super::xattr;
use super::{ReadError, Reader};
use crate::ReadAt;
use crate::tree::Meta;
use std::collections::BTreeMap;

/// Number of blocks that a superblock in the first block of a volume gives, if it is one with 4096-byte blocks.
pub fn blocks_of(first_block: &[u8]) -> Option<u64> {
    let fields = Fields(first_block.get(1024..2048)?);
    let sound = fields.u16(0x38) == SUPER_MAGIC && fields.u32(0x18) == 2;
    Some(fields.split(0x04, 0x150)).filter(|blocks| sound && *blocks > 0)
}

/// Little-endian numbers in a buffer; what lies behind its end reads as zero.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    pub(super) fn u8(&self, at: usize) -> u8 {
        u8::from_le_bytes(self.array(at))
    }

    pub(super) fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub(super) fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn split(&self, low: usize, high: usize) -> u64 {
        u64::from(self.u32(high)) << 32 | u64::from(self.u32(low))
    }
}

/// What a superblock says, checked for sense.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) block_size: u64,
    pub(super) blocks: u64,
    pub(super) label: Vec<u8>,
    pub(super) uuid: [u8; 16],
    pub(super) has_journal: bool,
    pub(super) needs_recovery: bool,
    first_block: u64,
    inodes: u32,
    inodes_per_group: u32,
    inode_size: u64,
    descriptor_size: u64,
}

impl Volume {
    pub(super) fn read(device: &dyn ReadAt) -> Result<Self, ReadError> {
        let mut bytes = [0; 1024];
        device.read_exact_at(1024, &mut bytes).map_err(|source| ReadError::Device { offset: 1024, source })?;
        let fields = Fields(&bytes);
        let sound = |is: bool, what: &'static str| if is { Ok(()) } else { Err(ReadError::NotExt4 { what }) };
        sound(fields.u16(0x38) == SUPER_MAGIC, "no superblock")?;
        sound(fields.u32(0x4c) >= 1, "revision")?;
        let incompatible = fields.u32(0x60);
        let features = incompatible & !KNOWN;
        if features != 0 {
            return Err(ReadError::Features { features });
        }
        let log = fields.u32(0x18);
        sound(log <= 6, "block size")?;
        let block_size = 1024u64 << log;
        let is_64bit = incompatible & INCOMPAT_64BIT != 0;
        let blocks = if is_64bit { fields.split(0x04, 0x150) } else { u64::from(fields.u32(0x04)) };
        sound(blocks > 0 && blocks.checked_mul(block_size).is_some_and(|bytes| bytes < 1 << 60), "block count")?;
        let inode_size = u64::from(fields.u16(0x58));
        sound(inode_size.is_power_of_two() && inode_size >= 128 && inode_size <= block_size, "inode size")?;
        let inodes_per_group = fields.u32(0x28);
        sound(inodes_per_group > 0 && u64::from(inodes_per_group) <= block_size.saturating_mul(8), "inodes per group")?;
        let descriptor_size = if is_64bit { u64::from(fields.u16(0xfe)) } else { 32 };
        sound(descriptor_size.is_power_of_two() && (32..=1024).contains(&descriptor_size), "descriptor size")?;
        let label: Vec<u8> = bytes.iter().skip(0x78).take(16).copied().take_while(|byte| *byte != 0).collect();
        Ok(Self {
            block_size,
            blocks,
            label,
            uuid: fields.array(0x68),
            has_journal: fields.u32(0x5c) & COMPAT_JOURNAL != 0,
            needs_recovery: incompatible & INCOMPAT_RECOVER != 0,
            first_block: u64::from(fields.u32(0x14)),
            inodes: fields.u32(0x00),
            inodes_per_group,
            inode_size,
            descriptor_size,
        })
    }
}

/// Incompatible features that change nothing here, or that are handled: multi-mount protection (0x100) and attribute
/// values in inodes (0x400, left out) among them.
const KNOWN: u32 = INCOMPAT_FILETYPE
    | INCOMPAT_RECOVER
    | INCOMPAT_EXTENTS
    | INCOMPAT_64BIT
    | INCOMPAT_FLEX_BG
    | INCOMPAT_CSUM_SEED
    | INCOMPAT_LARGEDIR
    | INCOMPAT_INLINE_DATA
    | 0x100
    | 0x400;

/// An inode as it stands in the table.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) number: u32,
    pub(super) mode: u16,
    pub(super) links: u16,
    pub(super) size: u64,
    pub(super) flags: u32,
    /// `i_block`: extents, a short link's target, a device number, or inline data.
    pub(super) block: [u8; 60],
    bytes: Vec<u8>,
}

impl Inode {
    pub(super) fn is(&self, kind: u16) -> bool {
        self.mode & MODE_KIND == kind
    }

    pub(super) fn meta(&self) -> Meta {
        let fields = Fields(&self.bytes);
        let wide = |low: usize, high: usize| u32::from(fields.u16(high)) << 16 | u32::from(fields.u16(low));
        let extra = if self.extra_size() >= 12 { fields.u32(0x88) } else { 0 };
        let seconds = i64::from(fields.u32(0x10).cast_signed());
        Meta {
            mode: self.mode & 0o7777,
            uid: wide(0x02, 0x78),
            gid: wide(0x18, 0x7a),
            mtime: seconds.saturating_add(i64::from(extra & 3) << 32),
            mtime_nanos: (extra >> 2).min(999_999_999),
            xattrs: BTreeMap::new(),
        }
    }

    pub(super) fn device(&self) -> (u32, u32) {
        let fields = Fields(&self.block);
        match fields.u32(0) {
            0 => {
                let number = fields.u32(4);
                (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00)
            }
            number => (number >> 8 & 0xff, number & 0xff),
        }
    }

    /// Bytes behind the first 128 that are fields.
    fn extra_size(&self) -> usize {
        usize::from(Fields(&self.bytes).u16(0x80))
    }
}

impl<D: ReadAt> Reader<D> {
    pub(super) fn read_device(&self, offset: u64, out: &mut [u8]) -> Result<(), ReadError> {
        self.device.read_exact_at(offset, out).map_err(|source| ReadError::Device { offset, source })
    }

    pub(super) fn inode(&self, number: u32) -> Result<Inode, ReadError> {
        let damaged = |what| ReadError::Damaged { inode: number, what };
        let volume = &self.volume;
        let index = number.checked_sub(1).filter(|_| number <= volume.inodes).ok_or(damaged("no such number"))?;
        let group = index.checked_div(volume.inodes_per_group).unwrap_or(0);
        let within = index.checked_rem(volume.inodes_per_group).unwrap_or(0);
        let table = volume.first_block.saturating_add(1).saturating_mul(volume.block_size);
        let mut descriptor = [0; 64];
        let size = usize::try_from(volume.descriptor_size).unwrap_or(64).min(64);
        let place = table.saturating_add(u64::from(group).saturating_mul(volume.descriptor_size));
        self.read_device(place, descriptor.get_mut(..size).unwrap_or_default())?;
        let block = Fields(&descriptor).split(0x08, 0x28);
        let offset = u64::from(within)
            .saturating_mul(volume.inode_size)
            .checked_add(block.checked_mul(volume.block_size).ok_or(damaged("inode table"))?)
            .ok_or(damaged("inode table"))?;
        let mut bytes = vec![0; usize::try_from(volume.inode_size).unwrap_or(128)];
        self.read_device(offset, &mut bytes)?;
        let fields = Fields(&bytes);
        let (mode, links, flags) = (fields.u16(0x00), fields.u16(0x1a), fields.u32(0x20));
        if mode == 0 {
            return Err(damaged("not in use"));
        }
        let (size, block) = (fields.split(0x04, 0x6c), fields.array(0x28));
        if size > 1 << 50 {
            return Err(damaged("size"));
        }
        Ok(Inode { number, mode, links, size, flags, block, bytes })
    }

    /// All attributes of an inode.
    pub(super) fn xattrs(&self, inode: &Inode) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ReadError> {
        let mut all = BTreeMap::new();
        let start = inode.extra_size().saturating_add(128);
        let area = inode.bytes.get(start..).unwrap_or_default();
        if inode.extra_size() > 0 && Fields(area).u32(0) == XATTR_MAGIC {
            xattr::decode(area.get(4..).unwrap_or_default(), 0, 0, &mut all);
        }
        let fields = Fields(&inode.bytes);
        let block = u64::from(fields.u16(0x76)) << 32 | u64::from(fields.u32(0x68));
        if block != 0 {
            let mut bytes = vec![0; usize::try_from(self.volume.block_size).unwrap_or(0)];
            self.read_device(block.saturating_mul(self.volume.block_size), &mut bytes)?;
            if Fields(&bytes).u32(0) != XATTR_MAGIC {
                return Err(ReadError::Damaged { inode: inode.number, what: "attribute block" });
            }
            xattr::decode(&bytes, 32, 0, &mut all);
        }
        Ok(all)
    }
}
