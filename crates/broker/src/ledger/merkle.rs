//! The Merkle tree of RFC 6962 and RFC 9162 over SHA-256: roots, inclusion proofs, consistency proofs.
//!
//! *Takes* leaves as digests, and stored nodes through a function; a node of level `l` and place `i` stands for the
//! leaves `i << l` to `(i + 1) << l`.
//! *Guarantees* that a proof verifies only for the leaf, place, sizes and roots it was made for (as far as SHA-256 holds).
//! *Does not check* what a leaf says, nor who signed a root.

use aws_lc_rs::digest;
use claims::Digest256;

/// Longest proof: a tree has fewer than 2^64 leaves, and a consistency proof one hash more than its height.
pub const MAX_PROOF: usize = 65;

/// Hash of an entry (RFC 9162 section 2.1.1).
pub fn leaf_hash(entry: &[u8]) -> Digest256 {
    hash(&[&[0], entry])
}

/// Hash of two nodes side by side (RFC 9162 section 2.1.1).
pub fn node_hash(left: &Digest256, right: &Digest256) -> Digest256 {
    hash(&[&[1], &left.0, &right.0])
}

/// Root of a tree without leaves.
pub fn empty_root() -> Digest256 {
    hash(&[])
}

/// Root of the first `size` leaves.
pub fn root<E>(size: u64, nodes: &mut impl FnMut(u32, u64) -> Result<Digest256, E>) -> Result<Digest256, E> {
    if size == 0 { Ok(empty_root()) } else { range(0, size, nodes) }
}

/// Proof that leaf `index` is in the tree of `size` leaves (RFC 9162 section 2.1.3.1); nearest sibling first. Empty where
/// `index` is not below `size`.
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    nodes: &mut impl FnMut(u32, u64) -> Result<Digest256, E>,
) -> Result<Vec<Digest256>, E> {
    let mut proof = Vec::new();
    if index >= size {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(range(middle, end, nodes)?);
            end = middle;
        } else {
            proof.push(range(start, middle, nodes)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proof that the tree of `old` leaves is the beginning of the tree of `new` leaves (RFC 9162 section 2.1.4.1). Empty
/// where there is nothing to prove: `old` is 0, or not below `new`.
pub fn consistency_proof<E>(
    old: u64,
    new: u64,
    nodes: &mut impl FnMut(u32, u64) -> Result<Digest256, E>,
) -> Result<Vec<Digest256>, E> {
    let mut proof = Vec::new();
    if old == 0 || old >= new {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, new);
    while old < end {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(range(middle, end, nodes)?);
            end = middle;
        } else {
            proof.push(range(start, middle, nodes)?);
            start = middle;
        }
    }
    if start > 0 {
        // The verifier does not know this subtree: it is not the old root.
        proof.push(range(start, end, nodes)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that `leaf` is at `index` in the tree of `size` leaves with this root (RFC 9162 section 2.1.3.2).
pub fn includes(leaf: &Digest256, index: u64, size: u64, proof: &[Digest256], root: &Digest256) -> bool {
    if index >= size {
        return false;
    }
    let mut walk = Walk { node: index, last: size - 1 };
    let mut hash = *leaf;
    for sibling in proof {
        if walk.last == 0 {
            return false;
        }
        if walk.joins_left() {
            hash = node_hash(sibling, &hash);
        } else {
            hash = node_hash(&hash, sibling);
        }
        walk.up();
    }
    walk.last == 0 && hash == *root
}

/// Whether `proof` shows that the tree `old` (leaves and root) is the beginning of the tree `new` (RFC 9162 section
/// 2.1.4.2).
pub fn extends(old: (u64, &Digest256), new: (u64, &Digest256), proof: &[Digest256]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    if old_size == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let (first, rest) = if old_size.is_power_of_two() {
        (old_root, proof)
    } else {
        let Some((first, rest)) = proof.split_first() else { return false };
        (first, rest)
    };
    let mut walk = Walk { node: old_size - 1, last: new_size - 1 };
    while walk.node & 1 == 1 {
        walk.shift();
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        if walk.last == 0 {
            return false;
        }
        if walk.joins_left() {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        walk.up();
    }
    walk.last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// The right edge of a growing tree: enough to append and to know the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// Roots of complete subtrees, largest first, as the binary digits of `size`.
    subtrees: Vec<Digest256>,
}

impl Edge {
    /// Appends a leaf; the nodes that it completes (level, place, hash), the leaf itself first.
    pub fn push(&mut self, leaf: Digest256) -> Vec<(u32, u64, Digest256)> {
        let mut hash = leaf;
        let mut made = vec![(0, self.size, leaf)];
        // Each digit 1 at the end of the size is a subtree that this leaf completes.
        for level in 1..=self.size.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                hash = node_hash(&left, &hash);
                made.push((level, self.size >> level, hash));
            }
        }
        self.subtrees.push(hash);
        self.size += 1;
        made
    }

    /// The edge as bytes: the size (8 bytes, big endian), then the hashes, largest subtree first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        self.subtrees.iter().for_each(|hash| bytes.extend_from_slice(&hash.0));
        bytes
    }

    /// Reads [`Self::to_bytes`] back; nothing else is taken.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (size, hashes) = bytes.split_first_chunk::<8>()?;
        let size = u64::from_be_bytes(*size);
        let (chunks, rest) = hashes.as_chunks::<32>();
        let sound = rest.is_empty() && chunks.len() == size.count_ones() as usize;
        sound.then(|| Self { size, subtrees: chunks.iter().copied().map(Digest256).collect() })
    }

    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of the leaves so far.
    pub fn root(&self) -> Digest256 {
        let joined = self.subtrees.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        joined.unwrap_or_else(empty_root)
    }
}

/// Place of a node and of the last node of its level, on the way to the root.
struct Walk {
    node: u64,
    last: u64,
}

impl Walk {
    /// Whether the sibling stands on the left; skips levels on which the node is alone at the edge.
    fn joins_left(&mut self) -> bool {
        let joins = self.node & 1 == 1 || self.node == self.last;
        if joins {
            while self.node & 1 == 0 && self.node != 0 {
                self.shift();
            }
        }
        joins
    }

    fn up(&mut self) {
        self.shift();
    }

    fn shift(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }
}

/// Root of the leaves `start` to `end`; every subtree that is not complete is made of complete ones.
fn range<E>(start: u64, end: u64, nodes: &mut impl FnMut(u32, u64) -> Result<Digest256, E>) -> Result<Digest256, E> {
    let width = end - start;
    if width.is_power_of_two() {
        return nodes(width.trailing_zeros(), start >> width.trailing_zeros());
    }
    let middle = start + split(width);
    Ok(node_hash(&range(start, middle, nodes)?, &range(middle, end, nodes)?))
}

/// Largest power of two below `width`, which is at least 2.
fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

fn hash(parts: &[&[u8]]) -> Digest256 {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    Digest256(out)
}

#[cfg(test)]
mod tests;
