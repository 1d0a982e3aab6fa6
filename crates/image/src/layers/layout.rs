//! What comes after the data: folders, inode tables, bitmaps, group descriptors and superblock, as hcsshim's
//! compactext4 lays them out (ext4, "Layout"; all groups' tables and bitmaps stand together at the end).

use super::blocks::{BLOCK, Blocks, Late};
use super::error::LayerError;
use super::lint::{Lint, Lints};
use super::tree::{BLOCK_DEVICE, CHARACTER, FIFO, FILE, FIRST_FREE, FOLDER, Inode, ROOT, SYMLINK, TYPE, Tree};

/// Blocks of group descriptors that an image of at most 128 GiB may need.
const DESCRIPTOR_BLOCKS: u32 = 8;
/// The block that the data of files starts at.
pub(super) const FIRST_BLOCK: u32 = 1 + DESCRIPTOR_BLOCKS;

const BLOCK_LENGTH: usize = BLOCK as usize;
const BLOCKS_PER_GROUP: u32 = 8 * BLOCK as u32;
const INODE_LENGTH: u32 = 256;
const INODES_PER_BLOCK: u32 = BLOCK as u32 / INODE_LENGTH;
const MOST_INODES_PER_GROUP: u32 = 8 * BLOCK as u32;
const DESCRIPTOR: u32 = 32;
const DESCRIPTORS_PER_BLOCK: u32 = BLOCK as u32 / DESCRIPTOR;
/// Fields of an inode behind the first 128 bytes.
const EXTRA_FIELDS: u16 = 24;
/// Header of a folder's entry.
const ENTRY: usize = 8;

/// Writes the rest of the image. The result is what is written last: attributes, descriptors, superblock.
pub(super) fn close<B: Blocks>(mut tree: Tree<B>) -> Result<(Vec<Late>, Vec<Lint>), LayerError> {
    tree.finish()?;
    tree.lint_implicit();
    write_folders(&mut tree)?;
    let table = tree.blocks.block();
    let inodes = u32::try_from(tree.inodes().len()).map_err(|_| LayerError::DiskSize)?;
    let shape = Shape::best(table, inodes)?;
    write_inodes(&mut tree, &shape)?;
    let bitmaps = tree.blocks.block();
    let used = bitmaps.saturating_add(2 * shape.groups);
    let size = used.max((shape.groups - 1) * BLOCKS_PER_GROUP + 1);
    if shape.descriptor_blocks() > DESCRIPTOR_BLOCKS {
        return Err(LayerError::DiskSize);
    }
    let ends = Ends { table, bitmaps, used, size };
    let mut descriptors = vec![0; DESCRIPTOR_BLOCKS as usize * BLOCK_LENGTH];
    let (mut free_blocks, mut free_inodes) = (0, 0);
    for (group, descriptor) in (0..shape.groups).zip(descriptors.chunks_exact_mut(DESCRIPTOR as usize)) {
        let counted = write_bitmaps(&mut tree, &shape, &ends, group)?;
        descriptor.copy_from_slice(&counted.descriptor(&shape, &ends, group));
        free_blocks += counted.free_blocks;
        free_inodes += counted.free_inodes;
    }
    tree.blocks.zeros(u64::from(size - used) * BLOCK)?;
    let mut late = tree.take_late();
    late.push((0, superblock(&shape, size, free_blocks, free_inodes)));
    for (block, bytes) in (1..).zip(descriptors.as_chunks::<BLOCK_LENGTH>().0) {
        late.push((block, Box::new(*bytes)));
    }
    Ok((late, std::mem::take::<Lints>(&mut tree.lints).finish()))
}

/// How many groups, and inodes in each.
struct Shape {
    groups: u32,
    inodes: u32,
}

/// Where things are: blocks.
struct Ends {
    table: u32,
    bitmaps: u32,
    used: u32,
    size: u32,
}

impl Shape {
    /// The fewest groups for so many blocks and inodes; of those, the fewest inodes in each.
    fn best(blocks: u32, inodes: u32) -> Result<Self, LayerError> {
        let mut best = Self { groups: u32::MAX, inodes: 0 };
        for per_group in (INODES_PER_BLOCK..=MOST_INODES_PER_GROUP).step_by(INODES_PER_BLOCK as usize) {
            // Two blocks are for the bitmaps.
            let data = BLOCKS_PER_GROUP - per_group / INODES_PER_BLOCK - 2;
            let least = ((inodes - 1) / per_group).wrapping_mul(data).wrapping_add(1);
            let groups = blocks.max(least).wrapping_add(data - 1) / data;
            if groups < best.groups {
                best = Self { groups, inodes: per_group };
            }
        }
        let fits = best.groups.checked_mul(best.inodes).and_then(|inodes| inodes.checked_mul(INODE_LENGTH));
        match fits {
            Some(table)
                if best.groups <= DESCRIPTOR_BLOCKS * DESCRIPTORS_PER_BLOCK && table / INODE_LENGTH >= inodes =>
            {
                Ok(best)
            }
            _ => Err(LayerError::DiskSize),
        }
    }

    fn descriptor_blocks(&self) -> u32 {
        (self.groups - 1) / DESCRIPTORS_PER_BLOCK + 1
    }

    fn table_blocks(&self) -> u32 {
        self.inodes / INODES_PER_BLOCK
    }
}

/// Folders, depth first; the names in each by inode, then by bytes.
fn write_folders<B: Blocks>(tree: &mut Tree<B>) -> Result<(), LayerError> {
    let mut left = vec![(ROOT, ROOT)];
    while let Some((number, parent)) = left.pop() {
        let (bytes, below) = folder_bytes(tree, number, parent);
        let start = tree.blocks.position();
        tree.blocks.write(&bytes)?;
        tree.finish_folder(number, start)?;
        left.extend(below.into_iter().rev().map(|child| (child, number)));
    }
    Ok(())
}

/// A folder's blocks, and the folders in it.
fn folder_bytes<B: Blocks>(tree: &Tree<B>, number: u32, parent: u32) -> (Vec<u8>, Vec<u32>) {
    let children = tree.inode(number).map(|inode| &inode.children).into_iter().flatten();
    let mut names: Vec<(u32, &[u8])> = children.map(|(name, child)| (*child, name.as_ref())).collect();
    names.sort_unstable();
    let mut folder = FolderBlocks::default();
    folder.add(number, FOLDER, b".");
    folder.add(parent, FOLDER, b"..");
    let mut below = Vec::new();
    for (child, name) in names {
        let mode = tree.inode(child).map_or(0, |inode| inode.mode);
        folder.add(child, mode, name);
        if mode & TYPE == FOLDER {
            below.push(child);
        }
    }
    folder.end_block();
    (folder.bytes, below)
}

#[derive(Default)]
struct FolderBlocks {
    bytes: Vec<u8>,
    /// Bytes in the last block.
    filled: usize,
}

impl FolderBlocks {
    fn add(&mut self, number: u32, mode: u16, name: &[u8]) {
        let length = ENTRY.saturating_add(name.len()).next_multiple_of(4);
        // There is always room for the entry that fills the block.
        if BLOCK_LENGTH - self.filled < length.saturating_add(12) {
            self.end_block();
        }
        self.head(number, length, name.len() as u8, kind(mode));
        self.bytes.extend_from_slice(name);
        self.filled += length;
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Fills the block with an empty entry.
    fn end_block(&mut self) {
        self.head(0, BLOCK_LENGTH - self.filled, 0, 0);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK_LENGTH), 0);
        self.filled = 0;
    }

    fn head(&mut self, number: u32, length: usize, name_length: u8, kind: u8) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.bytes.extend_from_slice(&(length as u16).to_le_bytes());
        self.bytes.extend_from_slice(&[name_length, kind]);
    }
}

fn kind(mode: u16) -> u8 {
    match mode & TYPE {
        FILE => 1,
        FOLDER => 2,
        CHARACTER => 3,
        BLOCK_DEVICE => 4,
        FIFO => 5,
        SYMLINK => 7,
        _ => 0,
    }
}

fn write_inodes<B: Blocks>(tree: &mut Tree<B>, shape: &Shape) -> Result<(), LayerError> {
    let all = u64::from(shape.groups) * u64::from(shape.inodes) * u64::from(INODE_LENGTH);
    let mut bytes = Vec::with_capacity(BLOCK_LENGTH);
    let mut written = 0_u64;
    for index in 0..tree.inodes().len() {
        match tree.inodes().get(index).and_then(Option::as_ref) {
            Some(inode) => inode_bytes(inode, &mut bytes),
            None => bytes.resize(bytes.len().saturating_add(INODE_LENGTH as usize), 0),
        }
        if bytes.len() >= BLOCK_LENGTH {
            tree.blocks.write(&bytes)?;
            written += bytes.len() as u64;
            bytes.clear();
        }
    }
    tree.blocks.write(&bytes)?;
    written += bytes.len() as u64;
    tree.blocks.zeros(all.saturating_sub(written))
}

/// One inode (ext4, "Inode Table"): 152 bytes of fields, 104 for attributes.
fn inode_bytes(inode: &Inode, out: &mut Vec<u8>) {
    let low = |value: u64| value as u32;
    let high = |value: u64| (value >> 32) as u32;
    let [atime, ctime, mtime, crtime] = inode.times;
    let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
    put(&inode.mode.to_le_bytes());
    put(&(inode.uid as u16).to_le_bytes());
    for value in [low(inode.size), low(atime), low(ctime), low(mtime), 0] {
        put(&value.to_le_bytes());
    }
    put(&(inode.gid as u16).to_le_bytes());
    put(&(inode.links as u16).to_le_bytes());
    for value in [inode.blocks, inode.flags, 0] {
        put(&value.to_le_bytes());
    }
    put(&block_field(inode));
    for value in [0, inode.xattr_block(), high(inode.size), 0] {
        put(&value.to_le_bytes());
    }
    for value in [0, 0, (inode.uid >> 16) as u16, (inode.gid >> 16) as u16, 0, 0, EXTRA_FIELDS, 0] {
        put(&value.to_le_bytes());
    }
    for value in [high(ctime), high(mtime), high(atime), low(crtime), high(crtime)] {
        put(&value.to_le_bytes());
    }
    match &inode.xattrs {
        Some(xattrs) => put(xattrs.as_slice()),
        None => put(&[0; super::xattrs::IN_INODE]),
    }
}

fn block_field(inode: &Inode) -> [u8; 60] {
    let mut field = [0; 60];
    match inode.mode & TYPE {
        FOLDER | FILE | SYMLINK => {
            field.iter_mut().zip(&inode.data).for_each(|(to, from)| *to = *from);
        }
        CHARACTER | BLOCK_DEVICE => {
            let device = inode.minor & 0xff | inode.major << 8 | (inode.minor & 0xffff_ff00) << 12;
            if let Some((_, rest)) = field.split_first_chunk_mut::<4>()
                && let Some(place) = rest.first_chunk_mut::<4>()
            {
                *place = device.to_le_bytes();
            }
        }
        _ => {}
    }
    field
}

/// What one group has.
struct Counted {
    free_blocks: u32,
    free_inodes: u32,
    folders: u16,
}

/// Block bitmap and inode bitmap of a group.
fn write_bitmaps<B: Blocks>(tree: &mut Tree<B>, shape: &Shape, ends: &Ends, group: u32) -> Result<Counted, LayerError> {
    let first = group * BLOCKS_PER_GROUP;
    let mut blocks = Bitmap::new();
    blocks.set(0..ends.used.saturating_sub(first).min(BLOCKS_PER_GROUP));
    if group == 0 {
        // Room for descriptors that the image does not need.
        blocks.clear(1 + shape.descriptor_blocks()..FIRST_BLOCK);
    }
    if group == shape.groups - 1 && !ends.size.is_multiple_of(BLOCKS_PER_GROUP) {
        // Blocks behind the end count as used.
        blocks.set(ends.size % BLOCKS_PER_GROUP..BLOCKS_PER_GROUP);
    }
    let mut inodes = Bitmap::new();
    let (mut used, mut folders) = (0, 0);
    for index in 0..shape.inodes {
        let number = 1 + group * shape.inodes + index;
        let inode = tree.inode(number);
        if number < FIRST_FREE || inode.is_some() {
            inodes.set(index..index + 1);
            used += 1;
        }
        folders += u16::from(inode.is_some_and(Inode::is_folder));
    }
    tree.blocks.write(&blocks.0)?;
    tree.blocks.write(&inodes.0)?;
    Ok(Counted { free_blocks: blocks.free(), free_inodes: shape.inodes - used, folders })
}

impl Counted {
    /// A group descriptor of 32 bytes (ext4, "Block Group Descriptors"), without flags and checksums.
    fn descriptor(&self, shape: &Shape, ends: &Ends, group: u32) -> [u8; DESCRIPTOR as usize] {
        let bitmap = ends.bitmaps + 2 * group;
        let numbers = [bitmap, bitmap + 1, ends.table + group * shape.table_blocks()].map(u32::to_le_bytes);
        let counts = [self.free_blocks as u16, self.free_inodes as u16, self.folders].map(u16::to_le_bytes);
        let mut bytes = [0; DESCRIPTOR as usize];
        let values = numbers.as_flattened().iter().chain(counts.as_flattened());
        bytes.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
        bytes
    }
}

/// One bit for each block or inode of a group.
struct Bitmap([u8; BLOCK_LENGTH]);

impl Bitmap {
    fn new() -> Self {
        Self([0; BLOCK_LENGTH])
    }

    fn set(&mut self, range: std::ops::Range<u32>) {
        self.each(range, |byte, bit| *byte |= bit);
    }

    fn clear(&mut self, range: std::ops::Range<u32>) {
        self.each(range, |byte, bit| *byte &= !bit);
    }

    fn each(&mut self, range: std::ops::Range<u32>, change: impl Fn(&mut u8, u8)) {
        for at in range {
            if let Some(byte) = self.0.get_mut(at as usize / 8) {
                change(byte, 1 << (at % 8));
            }
        }
    }

    fn free(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_zeros()).sum()
    }
}

/// The superblock's block (ext4, "Super Block"): what is not named here is zero.
fn superblock(shape: &Shape, size: u32, free_blocks: u32, free_inodes: u32) -> Box<[u8; BLOCK_LENGTH]> {
    const START: usize = 1024;
    let mut block = Box::new([0; BLOCK_LENGTH]);
    let mut put = |at: usize, bytes: &[u8]| {
        let at = START + at;
        if let Some(place) = block.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    for (at, value) in [
        (0, shape.inodes * shape.groups),
        (4, size),
        (12, free_blocks),
        (16, free_inodes),
        (24, 2), // blocks of 4 KiB
        (28, 2), // clusters, too
        (32, BLOCKS_PER_GROUP),
        (36, BLOCKS_PER_GROUP),
        (40, shape.inodes),
        (76, 1), // inodes have a size of their own
        (84, FIRST_FREE),
        (92, 0x208),       // sparse_super2, ext_attr
        (96, 0x242),       // filetype, extents, flex_bg
        (100, 0x104a),     // large_file, huge_file, extra_isize, read-only
        (616, FIRST_FREE), // lost+found
    ] {
        put(at, &value.to_le_bytes());
    }
    for (at, value) in [
        (56, 0xef53_u16),
        (58, 1), // clean
        (60, 1), // go on after errors
        (88, INODE_LENGTH as u16),
        (348, EXTRA_FIELDS),
        (350, EXTRA_FIELDS),
    ] {
        put(at, &value.to_le_bytes());
    }
    put(372, &[31]); // one flexible group for all
    block
}
