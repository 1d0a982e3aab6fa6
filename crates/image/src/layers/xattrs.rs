//! Extended attributes as hcsshim's compactext4 places them: in the inode as far as there is room, then in one block.

use super::order;
use std::collections::BTreeMap;

/// Bytes of an inode behind its fields.
pub(super) const IN_INODE: usize = 104;
const MAGIC: [u8; 4] = 0xea02_0000_u32.to_le_bytes();
const BLOCK: usize = 4096;
/// Magic, and the empty entry that ends the list.
const INODE_OVERHEAD: usize = 4 + 4;
/// Header, and the empty entry that ends the list.
const BLOCK_HEADER: usize = 32;
const BLOCK_OVERHEAD: usize = BLOCK_HEADER + 4;
const ENTRY: usize = 16;

/// Indexes of name prefixes, in the order in which they are tried (Linux, fs/ext4/xattr.h).
const PREFIXES: [(u8, &[u8]); 7] = [
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (8, b"system.richacl"),
    (7, b"system."),
    (1, b"user."),
    (4, b"trusted."),
    (6, b"security."),
];

/// Attributes by full name.
pub(super) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// One attribute, its name's prefix replaced by an index.
#[derive(Debug, Clone)]
struct Xattr {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Where the attributes of one inode go.
#[derive(Debug, Default)]
pub(super) struct Placed {
    inode: Vec<Xattr>,
    block: Vec<Xattr>,
}

impl Placed {
    /// Places attributes in the order of their names; the error is the name of one for which there is no room.
    pub(super) fn new(xattrs: &Xattrs) -> Result<Self, Vec<u8>> {
        let mut placed = Self::default();
        let (mut inode_left, mut block_left) = (IN_INODE - INODE_OVERHEAD, BLOCK - BLOCK_OVERHEAD);
        for (name, value) in xattrs {
            let xattr = Xattr::new(name, value);
            let length = xattr.entry_length().saturating_add(rounded(value.len()));
            if let Some(left) = inode_left.checked_sub(length) {
                inode_left = left;
                placed.inode.push(xattr);
            } else if let Some(left) = block_left.checked_sub(length) {
                block_left = left;
                placed.block.push(xattr);
            } else {
                return Err(name.clone());
            }
        }
        Ok(placed)
    }

    /// How many are in the block.
    pub(super) fn in_block(&self) -> usize {
        self.block.len()
    }

    /// The bytes behind the inode's fields, if any are there.
    pub(super) fn inode_bytes(&self) -> Option<Box<[u8; IN_INODE]>> {
        if self.inode.is_empty() {
            return None;
        }
        let mut bytes = Box::new([0; IN_INODE]);
        if let Some((magic, list)) = bytes.split_first_chunk_mut::<4>() {
            *magic = MAGIC;
            put(&self.inode, list, 0);
        }
        Some(bytes)
    }

    /// The block.
    pub(super) fn block_bytes(&mut self) -> Box<[u8; BLOCK]> {
        order::sort(&mut self.block, |a, b| a.index < b.index || a.name.len() < b.name.len() || a.name < b.name);
        let mut bytes = Box::new([0; BLOCK]);
        if let Some((header, list)) = bytes.split_first_chunk_mut::<BLOCK_HEADER>() {
            // Reference count and number of blocks are 1.
            for (part, value) in header.chunks_exact_mut(4).zip([MAGIC, 1_u32.to_le_bytes(), 1_u32.to_le_bytes()]) {
                part.copy_from_slice(&value);
            }
            put(&self.block, list, BLOCK_HEADER);
        }
        bytes
    }
}

/// Reads back what stands in an inode; an attribute whose name is all prefix ends the list for upstream.
pub(super) fn of_inode(bytes: &[u8; IN_INODE]) -> Option<Xattrs> {
    let (_, list) = bytes.split_first_chunk::<4>()?;
    list_of(list, 0)
}

/// Reads back what stands in a block.
pub(super) fn of_block(bytes: &[u8; BLOCK]) -> Option<Xattrs> {
    let (_, list) = bytes.split_first_chunk::<BLOCK_HEADER>()?;
    list_of(list, BLOCK_HEADER)
}

impl Xattr {
    fn new(full: &[u8], value: &[u8]) -> Self {
        let known = PREFIXES.iter().find_map(|(index, prefix)| Some((*index, full.strip_prefix(*prefix)?)));
        let (index, name) = known.unwrap_or((0, full));
        Self { index, name: name.to_vec(), value: value.to_vec() }
    }

    fn entry_length(&self) -> usize {
        rounded(self.name.len()).saturating_add(ENTRY)
    }

    /// Linux, `ext4_xattr_hash_entry`.
    fn hash(&self) -> u32 {
        let name = self.name.iter().fold(0_u32, |hash, byte| (hash << 5) ^ (hash >> 27) ^ u32::from(*byte));
        let words = self.value.chunks(4).map(|word| {
            let mut padded = [0; 4];
            padded.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
            u32::from_le_bytes(padded)
        });
        words.fold(name, |hash, word| (hash << 16) ^ (hash >> 16) ^ word)
    }

    fn entry(&self, value_offset: usize) -> Vec<u8> {
        // Lengths and offsets are cut as upstream cuts them; all that fits is below 2^16.
        let mut entry = vec![self.name.len() as u8, self.index];
        entry.extend_from_slice(&(value_offset as u16).to_le_bytes());
        entry.extend_from_slice(&[0; 4]);
        entry.extend_from_slice(&(self.value.len() as u32).to_le_bytes());
        entry.extend_from_slice(&self.hash().to_le_bytes());
        entry.extend_from_slice(&self.name);
        entry
    }
}

/// Entries grow from the start of `list`, values from its end. `delta` is added to the values' offsets.
fn put(xattrs: &[Xattr], list: &mut [u8], delta: usize) {
    let (mut entry_at, mut value_at) = (0_usize, list.len());
    for xattr in xattrs {
        value_at = value_at.saturating_sub(rounded(xattr.value.len()));
        let entry = xattr.entry(value_at.saturating_add(delta));
        for (at, bytes) in [(entry_at, &entry), (value_at, &xattr.value)] {
            if let Some(place) = at.checked_add(bytes.len()).and_then(|end| list.get_mut(at..end)) {
                place.copy_from_slice(bytes);
            }
        }
        entry_at = entry_at.saturating_add(xattr.entry_length());
    }
}

fn list_of(list: &[u8], delta: usize) -> Option<Xattrs> {
    let mut xattrs = Xattrs::new();
    let mut rest = list;
    while let Some(name_length) = rest.first().map(|length| usize::from(*length)).filter(|length| *length > 0) {
        let word = |at: usize| rest.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes) as usize);
        let (head, length) = (word(0)?, word(8)?);
        let (index, offset) = ((head >> 8 & 0xff) as u8, (head >> 16).checked_sub(delta)?);
        let name = rest.get(ENTRY..)?.get(..name_length)?;
        let value = list.get(offset..)?.get(..length)?;
        let prefix = PREFIXES.iter().find(|(known, _)| *known == index).map_or(&b""[..], |(_, prefix)| *prefix);
        xattrs.insert([prefix, name].concat(), value.to_vec());
        rest = rest.get(rounded(name_length).saturating_add(ENTRY)..)?;
    }
    Some(xattrs)
}

fn rounded(length: usize) -> usize {
    length.saturating_add(3) & !3
}
