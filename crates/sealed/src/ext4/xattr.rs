//! Extended attributes as ext4 stores them: some in the inode, the rest in one block.
//!
//! *Takes* attributes by full name, or the bytes of an inode's tail or of an attribute block.
//! *Guarantees* entries in the order and with the hashes that the kernel and e2fsck check; decoding is bounded by the
//! bytes given.
//! *Does not check* who may set an attribute.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::format::{BLOCK, INODE, INODE_XATTRS, XATTR_MAGIC};
use std::collections::BTreeMap;

/// Names that ext4 stores as a number, longest prefix first.
const PREFIXES: [(u8, &[u8]); 7] = [
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (7, b"system."),
    (1, b"user."),
    (4, b"trusted."),
    (6, b"security."),
    (8, b"system.richacl"),
];
const BLOCK_HEADER: usize = 32;

/// Attributes split over the two places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// The inode's bytes behind its fixed fields; empty if there are none.
    pub(crate) in_inode: Vec<u8>,
    /// An attribute block without its checksum.
    pub(crate) block: Option<Box<[u8]>>,
}

struct Attribute {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Lays attributes out; the error is the name of the one that ext4 cannot hold.
pub(crate) fn encode(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Encoded, Vec<u8>> {
    if xattrs.is_empty() {
        return Ok(Encoded::default());
    }
    let mut all = Vec::new();
    for (full, value) in xattrs {
        all.push(attribute(full, value).ok_or_else(|| full.clone())?);
    }
    all.sort_by(|a, b| (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name)));
    // Greedy: what fits goes into the inode, which costs no block.
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    // The entry list ends with four zero bytes.
    let mut room = INODE.saturating_sub(INODE_XATTRS).saturating_sub(8);
    let mut block_room = BLOCK.saturating_sub(BLOCK_HEADER).saturating_sub(4);
    for one in &all {
        let size = one.size();
        if let Some(left) = room.checked_sub(size) {
            room = left;
            inside.push(one);
        } else if let Some(left) = block_room.checked_sub(size) {
            block_room = left;
            outside.push(one);
        } else {
            return Err(one.full());
        }
    }
    let mut encoded = Encoded::default();
    if !inside.is_empty() {
        let mut out = vec![0; INODE.saturating_sub(INODE_XATTRS)];
        write(&mut out, &XATTR_MAGIC.to_le_bytes());
        if let Some(rest) = out.get_mut(4..) {
            lay_out(rest, 0, 0, &inside);
        }
        encoded.in_inode = out;
    }
    if !outside.is_empty() {
        let mut out = vec![0; BLOCK].into_boxed_slice();
        let hash = lay_out(&mut out, BLOCK_HEADER, 0, &outside);
        let fields = [XATTR_MAGIC, 1, 1, hash];
        for (place, field) in out.chunks_exact_mut(4).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        encoded.block = Some(out);
    }
    Ok(encoded)
}

/// Adds the attributes in `area` to `out`. Entries start at `entries`; values are counted from `values`. Malformed
/// entries end the list: attributes are hints of a host's volume, never a reason to fail.
pub(crate) fn decode(area: &[u8], entries: usize, values: usize, out: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let mut rest = area.get(entries..).unwrap_or_default();
    while let Some((head, tail)) = rest.split_first_chunk::<16>() {
        let [name_length, index, offset0, offset1, inum0, inum1, inum2, inum3, s0, s1, s2, s3, ..] = *head;
        if [name_length, index, offset0, offset1] == [0; 4] {
            return;
        }
        let name_length = usize::from(name_length);
        let Some(name) = tail.get(..name_length) else { return };
        let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
        let start = values.checked_add(usize::from(u16::from_le_bytes([offset0, offset1])));
        let range = start.and_then(|start| Some(start..start.checked_add(size)?));
        let in_another_inode = [inum0, inum1, inum2, inum3] != [0; 4];
        let value = if size == 0 { Some(&[][..]) } else { range.and_then(|range| area.get(range)) };
        let prefix = PREFIXES.iter().find(|(known, _)| *known == index).map(|(_, prefix)| *prefix);
        if let (Some(value), Some(prefix), false) = (value, prefix, in_another_inode) {
            let full = [prefix, name].concat();
            let value = if matches!(index, 2 | 3) { acl_from_disk(value) } else { Some(value.to_vec()) };
            if let Some(value) = value {
                out.insert(full, value);
            }
        }
        let Some(next) = tail.get(name_length.next_multiple_of(4)..) else { return };
        rest = next;
    }
}

impl Attribute {
    fn size(&self) -> usize {
        let entry = self.name.len().next_multiple_of(4).saturating_add(16);
        entry.saturating_add(self.value.len().next_multiple_of(4))
    }

    fn full(&self) -> Vec<u8> {
        let prefix = PREFIXES.iter().find(|(index, _)| *index == self.index).map_or(&b""[..], |(_, prefix)| prefix);
        [prefix, &self.name].concat()
    }

    /// As fs/ext4/xattr.c `ext4_xattr_hash_entry`.
    fn hash(&self) -> u32 {
        let hash = self.name.iter().fold(0u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        self.value.chunks(4).fold(hash, |hash, chunk| {
            let mut word = [0; 4];
            write(&mut word, chunk);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

fn attribute(full: &[u8], value: &[u8]) -> Option<Attribute> {
    let (index, prefix) = PREFIXES.iter().find(|(_, prefix)| full.starts_with(prefix))?;
    let name = full.strip_prefix(*prefix)?.to_vec();
    let is_acl = matches!(index, 2 | 3);
    // Only the two lists have a name that is nothing but its prefix.
    if name.is_empty() != is_acl || name.len() > 255 || name.contains(&0) || value.len() > BLOCK {
        return None;
    }
    let value = if is_acl { acl_to_disk(value)? } else { value.to_vec() };
    Some(Attribute { index: *index, name, value })
}

/// Writes entries forward and values backward from the end; offsets count from `base`. Gives the block's hash.
fn lay_out(area: &mut [u8], start: usize, base: usize, attributes: &[&Attribute]) -> u32 {
    let (mut entry_at, mut value_at, mut total) = (start, area.len(), 0u32);
    for one in attributes {
        value_at = value_at.saturating_sub(one.value.len().next_multiple_of(4));
        let offset = if one.value.is_empty() { 0 } else { value_at.saturating_sub(base) };
        let hash = one.hash();
        let mut entry = vec![u8::try_from(one.name.len()).unwrap_or(u8::MAX), one.index];
        entry.extend_from_slice(&u16::try_from(offset).unwrap_or(u16::MAX).to_le_bytes());
        entry.extend_from_slice(&[0; 4]);
        entry.extend_from_slice(&u32::try_from(one.value.len()).unwrap_or(u32::MAX).to_le_bytes());
        entry.extend_from_slice(&hash.to_le_bytes());
        entry.extend_from_slice(&one.name);
        write(area.get_mut(entry_at..).unwrap_or_default(), &entry);
        write(area.get_mut(value_at..).unwrap_or_default(), &one.value);
        entry_at = entry_at.saturating_add(entry.len().next_multiple_of(4));
        total = total.rotate_left(16) ^ hash;
    }
    total
}

/// From the kernel's interface (version 2, ids everywhere) to ext4's form (version 1, ids only where they mean
/// something).
fn acl_to_disk(value: &[u8]) -> Option<Vec<u8>> {
    let entries = value.strip_prefix(&2u32.to_le_bytes())?;
    let mut out = 1u32.to_le_bytes().to_vec();
    let chunks = entries.chunks_exact(8);
    if !chunks.remainder().is_empty() {
        return None;
    }
    for entry in chunks {
        let (tag_and_permissions, id) = entry.split_at_checked(4)?;
        out.extend_from_slice(tag_and_permissions);
        if names_somebody(tag_and_permissions) {
            out.extend_from_slice(id);
        }
    }
    Some(out)
}

fn acl_from_disk(value: &[u8]) -> Option<Vec<u8>> {
    let mut rest = value.strip_prefix(&1u32.to_le_bytes())?;
    let mut out = 2u32.to_le_bytes().to_vec();
    while !rest.is_empty() {
        let (head, tail) = rest.split_at_checked(4)?;
        out.extend_from_slice(head);
        rest = tail;
        if names_somebody(head) {
            let (id, tail) = rest.split_at_checked(4)?;
            out.extend_from_slice(id);
            rest = tail;
        } else {
            out.extend_from_slice(&[0xff; 4]);
        }
    }
    Some(out)
}

/// ACL_USER and ACL_GROUP carry an id.
fn names_somebody(entry: &[u8]) -> bool {
    matches!(entry, [2 | 8, 0, ..])
}

fn write(out: &mut [u8], bytes: &[u8]) {
    for (place, byte) in out.iter_mut().zip(bytes) {
        *place = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, Vec<u8>)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.clone())).collect()
    }

    fn decode_both(encoded: &Encoded) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut out = BTreeMap::new();
        decode(encoded.in_inode.get(4..).unwrap_or_default(), 0, 0, &mut out);
        if let Some(block) = &encoded.block {
            decode(block, BLOCK_HEADER, 0, &mut out);
        }
        out
    }

    #[test]
    fn what_is_encoded_decodes() {
        let mut acl = 2u32.to_le_bytes().to_vec();
        acl.extend_from_slice(&[1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 7, 0, 0, 0]);
        let all = map(&[
            ("security.capability", vec![7; 20]),
            ("user.empty", vec![]),
            ("user.large", vec![9; 2001]),
            ("trusted.overlay.opaque", b"y".to_vec()),
            ("system.posix_acl_access", acl),
        ]);
        let encoded = encode(&all).unwrap();
        assert!(encoded.block.is_some() && !encoded.in_inode.is_empty());
        assert_eq!(decode_both(&encoded), all);
    }

    #[test]
    fn what_ext4_cannot_hold_is_named() {
        for (name, size) in [("user.huge", 4097), ("user.nearly", 4060), ("other.x", 1), ("user.", 1)] {
            assert_eq!(encode(&map(&[(name, vec![1; size])])), Err(name.as_bytes().to_vec()));
        }
    }
}
