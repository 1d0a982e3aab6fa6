//! The volume's own blocks: superblock, group descriptors, bitmaps, journal superblock.
//!
//! Everything in use lies in one run from block 0 on, and inodes are handed out in order, so a bitmap is a number.

use super::format::*;

/// Sizes that decide where everything lies.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    pub(crate) blocks: u64,
    pub(crate) count: u64,
    pub(crate) inodes_per_group: u64,
    /// Inodes in use are `1..=last_inode`.
    pub(crate) last_inode: u32,
    /// Blocks in use are `0..used`.
    pub(crate) used: u64,
}

impl Groups {
    pub(crate) fn descriptor_blocks(&self) -> u64 {
        (self.count * DESCRIPTOR as u64).div_ceil(BLOCK_BYTES)
    }

    pub(crate) fn block_bitmaps(&self) -> u64 {
        1 + self.descriptor_blocks()
    }

    pub(crate) fn inode_bitmaps(&self) -> u64 {
        self.block_bitmaps() + self.count
    }

    pub(crate) fn inode_tables(&self) -> u64 {
        self.inode_bitmaps() + self.count
    }

    pub(crate) fn table_blocks(&self) -> u64 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    /// First block behind all of these.
    pub(crate) fn end(&self) -> u64 {
        self.inode_tables() + self.count * self.table_blocks()
    }

    fn group_blocks(&self, group: u64) -> u64 {
        (self.blocks - group * BLOCKS_PER_GROUP).min(BLOCKS_PER_GROUP)
    }

    pub(crate) fn used_blocks(&self, group: u64) -> u64 {
        self.used.saturating_sub(group * BLOCKS_PER_GROUP).min(self.group_blocks(group))
    }

    pub(crate) fn used_inodes(&self, group: u64) -> u64 {
        u64::from(self.last_inode).saturating_sub(group * self.inodes_per_group).min(self.inodes_per_group)
    }

    /// Whether the kernel works the block bitmap out for itself. As mke2fs, never for the first and last group.
    pub(crate) fn block_bitmap_is_implied(&self, group: u64) -> bool {
        group != 0 && group + 1 != self.count && self.used_blocks(group) == 0
    }

    pub(crate) fn block_bitmap(&self, group: u64, out: &mut [u8]) {
        fill_bits(out, self.used_blocks(group), self.group_blocks(group));
    }

    pub(crate) fn inode_bitmap(&self, group: u64, out: &mut [u8]) {
        fill_bits(out, self.used_inodes(group), self.inodes_per_group);
    }

    /// The whole descriptor table. `folders` counts the folders of each group.
    pub(crate) fn descriptors(&self, folders: &[u32], seed: u32) -> Vec<u8> {
        let mut table = vec![0; self.descriptor_blocks() as usize * BLOCK];
        let mut bitmap = vec![0; BLOCK];
        for group in 0..self.count {
            let at = group as usize * DESCRIPTOR;
            let out = &mut table[at..at + DESCRIPTOR];
            let mut split = |at: usize, block: u64| {
                put32(out, at, low32(block));
                put32(out, at + 0x20, low32(block >> 32));
            };
            split(0, self.block_bitmaps() + group);
            split(4, self.inode_bitmaps() + group);
            split(8, self.inode_tables() + group * self.table_blocks());
            let used_inodes = self.used_inodes(group);
            let free_inodes = self.inodes_per_group - used_inodes;
            put16(out, 0x0c, low16(self.group_blocks(group) - self.used_blocks(group)));
            put16(out, 0x0e, low16(free_inodes));
            put16(out, 0x10, low16(u64::from(folders[group as usize])));
            put16(out, 0x1c, low16(free_inodes));
            // INODE_ZEROED: nobody has to clear the table, its unused part is never read.
            let mut flags = 4;
            if used_inodes == 0 {
                flags |= 1;
            } else {
                self.inode_bitmap(group, &mut bitmap);
                let checksum = crc(seed, &bitmap[..self.inodes_per_group as usize / 8]);
                put16(out, 0x1a, low16(u64::from(checksum)));
                put16(out, 0x3a, low16(u64::from(checksum >> 16)));
            }
            if self.block_bitmap_is_implied(group) {
                flags |= 2;
            } else {
                self.block_bitmap(group, &mut bitmap);
                let checksum = crc(seed, &bitmap);
                put16(out, 0x18, low16(u64::from(checksum)));
                put16(out, 0x38, low16(u64::from(checksum >> 16)));
            }
            put16(out, 0x12, flags);
            let checksum = crc(crc(seed, &low32(group).to_le_bytes()), out);
            put16(out, 0x1e, low16(u64::from(checksum)));
        }
        table
    }

    /// Block 0.
    pub(crate) fn super_block(&self, identity: &Identity<'_>, journal: Option<&Journal>) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let out = &mut block[1024..2048];
        let inodes = self.count * self.inodes_per_group;
        let free = self.blocks - self.used;
        put32(out, 0x00, low32(inodes));
        put32(out, 0x04, low32(self.blocks));
        put32(out, 0x0c, low32(free));
        put32(out, 0x10, low32(inodes - u64::from(self.last_inode)));
        put32(out, 0x18, 2); // 1024 << 2
        put32(out, 0x1c, 2);
        put32(out, 0x20, low32(BLOCKS_PER_GROUP));
        put32(out, 0x24, low32(BLOCKS_PER_GROUP));
        put32(out, 0x28, low32(self.inodes_per_group));
        put32(out, 0x30, identity.time);
        put16(out, 0x36, u16::MAX); // no check after so many mounts
        put16(out, 0x38, SUPER_MAGIC);
        put16(out, 0x3a, 1); // clean
        put16(out, 0x3c, 1); // go on after errors
        put32(out, 0x40, identity.time);
        put32(out, 0x4c, 1);
        put32(out, 0x54, FIRST_INODE);
        put16(out, 0x58, INODE as u16);
        let journal_flag = if journal.is_some() { COMPAT_JOURNAL } else { 0 };
        put32(out, 0x5c, COMPAT_XATTR | COMPAT_DIR_INDEX | COMPAT_SPARSE_SUPER2 | journal_flag);
        put32(out, 0x60, INCOMPAT_FILETYPE | INCOMPAT_EXTENTS | INCOMPAT_64BIT | INCOMPAT_FLEX_BG);
        put32(out, 0x64, RO_LARGE_FILE | RO_HUGE_FILE | RO_DIR_NLINK | RO_EXTRA_ISIZE | RO_METADATA_CSUM);
        put(out, 0x68, &identity.uuid);
        put(out, 0x78, identity.label);
        if let Some(journal) = journal {
            put32(out, 0xe0, JOURNAL_INODE);
            out[0xfd] = 1; // what follows is a copy of the journal's inode
            put(out, 0x10c, &journal.root);
            put32(out, 0x10c + 60, low32(journal.size >> 32));
            put32(out, 0x10c + 64, low32(journal.size));
        }
        put(out, 0xec, &identity.uuid);
        out[0xfc] = 1; // half MD4
        put16(out, 0xfe, DESCRIPTOR as u16);
        put32(out, 0x100, 0xc); // user attributes and ACLs
        put32(out, 0x108, identity.time);
        put32(out, 0x150, low32(self.blocks >> 32));
        put32(out, 0x158, low32(free >> 32));
        put16(out, 0x15c, EXTRA_SIZE);
        put16(out, 0x15e, EXTRA_SIZE);
        put32(out, 0x160, 1); // hashes of names are of signed characters
        out[0x174] = 4; // 16 groups to a flexible group
        out[0x175] = 1; // CRC-32C
        let checksum = crc(u32::MAX, &out[..0x3fc]);
        put32(out, 0x3fc, checksum);
        block
    }
}

/// What tells this volume from another.
#[derive(Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) uuid: [u8; 16],
    /// At most 16 bytes.
    pub(crate) label: &'a [u8],
    pub(crate) time: u32,
}

/// What the superblock repeats of the journal's inode.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) root: [u8; 60],
    pub(crate) size: u64,
}

/// As mke2fs sizes a journal, in blocks; `None` where it makes none.
pub(crate) fn journal_blocks(blocks: u64) -> Option<u64> {
    Some(match blocks {
        0..2048 => return None,
        2048..32768 => 1024,
        32768..0x4_0000 => 4096,
        0x4_0000..0x8_0000 => 8192,
        0x8_0000..0x40_0000 => 16384,
        0x40_0000..0x80_0000 => 32768,
        _ => 65536,
    })
}

/// First block of an empty journal (big-endian; Linux: Documentation/filesystems/ext4/journal.rst).
pub(crate) fn journal_super_block(blocks: u64, uuid: [u8; 16], out: &mut [u8]) {
    out.fill(0);
    let mut put_be = |at: usize, value: u32| put(out, at, &value.to_be_bytes());
    put_be(0x00, 0xc03b_3998);
    put_be(0x04, 4); // superblock, version 2
    put_be(0x0c, BLOCK as u32);
    put_be(0x10, low32(blocks));
    put_be(0x14, 1); // first block of the log
    put_be(0x18, 1); // first transaction
    put_be(0x40, 1); // users
    put(out, 0x30, &uuid);
}

/// Sets the first `used` bits, and those from `valid` on, which stand for nothing.
fn fill_bits(out: &mut [u8], used: u64, valid: u64) {
    for (index, byte) in out.iter_mut().enumerate() {
        let first = index as u64 * 8;
        let below = |limit: u64| match limit.saturating_sub(first) {
            8.. => 0xffu8,
            bits => (1u8 << bits) - 1,
        };
        *byte = below(used) | !below(valid);
    }
}
