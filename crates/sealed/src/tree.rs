//! A file tree in memory: what an ext4 volume is made from.
//!
//! *Takes* entries in any order, as layers bring them; later ones win as in an overlay.
//! *Guarantees* that names are legal, that parents are folders, and that a walk gives the same order for the same
//! tree: by name bytes, parents first.
//! *Does not check* whether a path may be written (links, escapes): that is the reader of the archive.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest path: Linux's PATH_MAX without its NUL.
pub const MAX_PATH: usize = 4095;
/// Longest name in ext4.
pub const MAX_NAME: usize = 255;

/// What every node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Permissions with set-id and sticky bits (`0o7777`).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds after `mtime`.
    pub mtime_nanos: u32,
    /// Extended attributes, by full name (`security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Meta {
    /// Root's, from 1970, without attributes.
    pub fn plain(mode: u16) -> Self {
        Self { mode, uid: 0, gid: 0, mtime: 0, mtime_nanos: 0, xattrs: BTreeMap::new() }
    }
}

/// The bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Held in memory.
    Inline(Arc<[u8]>),
    /// A piece of something that [`crate::ext4::Sources`] reads.
    Source {
        /// Which source.
        source: u32,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
    },
    /// So many zeros in blocks that are allocated and initialised.
    Zeros(u64),
}

impl Content {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Source { length, .. } | Self::Zeros(length) => *length,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target.
    Link(Vec<u8>),
    /// A device node.
    Device {
        /// Block rather than character.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// A path that cannot be in a tree, or an operation that does not fit what is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// An empty component, `.`, `..`, a NUL byte, or an absolute path.
    #[error("`{path}` is not a plain relative path")]
    Path {
        /// The path.
        path: String,
    },
    /// A name over 255 or a path over 4095 bytes.
    #[error("`{path}` is too long")]
    TooLong {
        /// Its start.
        path: String,
    },
    /// Something on the way is not a folder.
    #[error("`{path}` lies under something that is not a folder")]
    NotAFolder {
        /// The path.
        path: String,
    },
    /// A hard link to nothing, or to a folder.
    #[error("hard link `{path}` has no target file `{target}`")]
    Target {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// The root can only be a folder.
    #[error("the root can only be a folder")]
    Root,
    /// More nodes than ext4 has inode numbers.
    #[error("too many files")]
    TooMany,
}

/// One node of one tree; several names may lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// Index into arrays of [`Tree::node_slots`] elements.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One name met on a walk.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Relative path; empty for the root.
    pub path: Vec<u8>,
    /// The node; the same again for a hard link.
    pub id: NodeId,
    /// The node's attributes.
    pub meta: &'a Meta,
    /// What it is.
    pub kind: &'a Kind,
}

/// A file tree with its root.
#[derive(Debug, Clone)]
pub struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    meta: Meta,
    kind: Kind,
    /// Names that lead here (1 for the root).
    names: u32,
    children: BTreeMap<Box<[u8]>, NodeId>,
}

const ROOT: NodeId = NodeId(0);

impl Tree {
    /// A tree with nothing but its root.
    pub fn new(root: Meta) -> Self {
        Self { nodes: vec![Node { meta: root, kind: Kind::Folder, names: 1, children: BTreeMap::new() }] }
    }

    /// Puts a node at `path`. It replaces what is there; only a folder over a folder keeps the children. Missing
    /// parents are made, 0755 and root's. An empty path is the root.
    pub fn put(&mut self, path: &[u8], meta: Meta, kind: Kind) -> Result<NodeId, TreeError> {
        let components = components(path)?;
        let Some((name, parents)) = components.split_last() else {
            if kind != Kind::Folder {
                return Err(TreeError::Root);
            }
            self.node_mut(ROOT).meta = meta;
            return Ok(ROOT);
        };
        let parent = self.make_parents(parents, path)?;
        let old = self.node(parent).children.get(*name).copied();
        if let Some(old) = old {
            if kind == Kind::Folder && self.node(old).kind == Kind::Folder {
                self.node_mut(old).meta = meta;
                return Ok(old);
            }
            self.release(old);
        }
        let id = self.add(Node { meta, kind, names: 1, children: BTreeMap::new() })?;
        self.node_mut(parent).children.insert((*name).into(), id);
        Ok(id)
    }

    /// Gives the node at `target` (no folder) a second name, which replaces what is there.
    pub fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<NodeId, TreeError> {
        let components = components(path)?;
        let wrong = || TreeError::Target { path: show(path), target: show(target) };
        let id = self.id(target).ok_or_else(wrong)?;
        if self.node(id).kind == Kind::Folder {
            return Err(wrong());
        }
        let (name, parents) = components.split_last().ok_or(TreeError::Root)?;
        let parent = self.make_parents(parents, path)?;
        match self.node(parent).children.get(*name).copied() {
            Some(old) if old == id => return Ok(id),
            // The target may be inside of a folder that this name replaces.
            Some(old) if self.node(old).kind == Kind::Folder && self.holds(old, id) => return Err(wrong()),
            Some(old) => self.release(old),
            None => {}
        }
        let node = self.node_mut(id);
        node.names = node.names.checked_add(1).ok_or(TreeError::TooMany)?;
        self.node_mut(parent).children.insert((*name).into(), id);
        Ok(id)
    }

    /// Gives a node other attributes, as a second entry for it does: those that `meta` does not name stay, and the mode of a
    /// symbolic link.
    pub fn update(&mut self, id: NodeId, meta: Meta) {
        let node = self.node_mut(id);
        let mut xattrs = std::mem::take(&mut node.meta.xattrs);
        xattrs.extend(meta.xattrs);
        let mode = if matches!(node.kind, Kind::Link(_)) { node.meta.mode } else { meta.mode };
        node.meta = Meta { mode, xattrs, ..meta };
    }

    /// Removes the node at `path` and everything below it; says whether there was one. The root stays.
    pub fn remove(&mut self, path: &[u8]) -> bool {
        let Ok(components) = components(path) else { return false };
        let Some((name, parents)) = components.split_last() else { return false };
        let Some(parent) = self.find(parents) else { return false };
        match self.node_mut(parent).children.remove(*name) {
            Some(id) => {
                self.release(id);
                true
            }
            None => false,
        }
    }

    /// Removes everything below `path`, not the folder itself (an opaque whiteout); says whether it is a folder.
    pub fn clear(&mut self, path: &[u8]) -> bool {
        let Some(id) = self.id(path) else { return false };
        if self.node(id).kind != Kind::Folder {
            return false;
        }
        for child in std::mem::take(&mut self.node_mut(id).children).into_values() {
            self.release(child);
        }
        true
    }

    /// The node at `path`.
    pub fn get(&self, path: &[u8]) -> Option<(&Meta, &Kind)> {
        self.id(path).map(|id| self.node_parts(id))
    }

    /// The node's identity: equal for hard links.
    pub fn id(&self, path: &[u8]) -> Option<NodeId> {
        self.find(&components(path).ok()?)
    }

    /// The root.
    pub fn root(&self) -> NodeId {
        ROOT
    }

    /// A node's attributes and kind.
    pub fn node_parts(&self, id: NodeId) -> (&Meta, &Kind) {
        let node = self.node(id);
        (&node.meta, &node.kind)
    }

    /// Names in a folder, sorted.
    pub fn children(&self, id: NodeId) -> impl ExactSizeIterator<Item = (&[u8], NodeId)> {
        self.node(id).children.iter().map(|(name, id)| (&**name, *id))
    }

    /// Number of names that lead to a node.
    pub fn names(&self, id: NodeId) -> u32 {
        self.node(id).names
    }

    /// Every name, parents first, sorted in each folder; the root comes first.
    pub fn walk(&self) -> Walk<'_> {
        Walk { tree: self, waiting: vec![(Vec::new(), ROOT)] }
    }

    /// Number of nodes (a hard link counts once).
    pub fn len(&self) -> u64 {
        self.nodes.iter().filter(|node| node.names > 0).count() as u64
    }

    /// Never: the root is always there.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Bytes in all files (a hard link counts once).
    pub fn content_bytes(&self) -> u64 {
        let live = self.nodes.iter().filter(|node| node.names > 0);
        live.fold(0, |sum: u64, node| match &node.kind {
            Kind::File(content) => sum.saturating_add(content.len()),
            _ => sum,
        })
    }

    /// Upper bound of [`NodeId::index`].
    pub(crate) fn node_slots(&self) -> usize {
        self.nodes.len()
    }

    fn make_parents(&mut self, parents: &[&[u8]], path: &[u8]) -> Result<NodeId, TreeError> {
        let mut at = ROOT;
        for name in parents {
            at = match self.node(at).children.get(*name).copied() {
                Some(child) => child,
                None => {
                    let node =
                        Node { meta: Meta::plain(0o755), kind: Kind::Folder, names: 1, children: BTreeMap::new() };
                    let child = self.add(node)?;
                    self.node_mut(at).children.insert((*name).into(), child);
                    child
                }
            };
            if self.node(at).kind != Kind::Folder {
                return Err(TreeError::NotAFolder { path: show(path) });
            }
        }
        Ok(at)
    }

    fn find(&self, components: &[&[u8]]) -> Option<NodeId> {
        components.iter().try_fold(ROOT, |at, name| self.node(at).children.get(*name).copied())
    }

    fn add(&mut self, node: Node) -> Result<NodeId, TreeError> {
        // ext4 counts inodes in 32 bits and reserves some.
        let index = u32::try_from(self.nodes.len()).ok().filter(|index| *index < u32::MAX / 2);
        let id = NodeId(index.ok_or(TreeError::TooMany)?);
        self.nodes.push(node);
        Ok(id)
    }

    /// Takes one name away from a node; with its last name go its children and its memory.
    fn release(&mut self, id: NodeId) {
        let mut waiting = vec![id];
        while let Some(id) = waiting.pop() {
            let node = self.node_mut(id);
            node.names = node.names.saturating_sub(1);
            if node.names == 0 {
                waiting.extend(std::mem::take(&mut node.children).into_values());
                node.kind = Kind::Fifo;
                node.meta.xattrs = BTreeMap::new();
            }
        }
    }

    fn holds(&self, folder: NodeId, wanted: NodeId) -> bool {
        let mut waiting = vec![folder];
        while let Some(id) = waiting.pop() {
            if id == wanted {
                return true;
            }
            waiting.extend(self.node(id).children.values());
        }
        false
    }

    #[expect(clippy::indexing_slicing, reason = "a NodeId is made by `add` only, and nodes are never taken out")]
    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    #[expect(clippy::indexing_slicing, reason = "a NodeId is made by `add` only, and nodes are never taken out")]
    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }
}

/// Iterator of [`Tree::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    waiting: Vec<(Vec<u8>, NodeId)>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (path, id) = self.waiting.pop()?;
        let node = self.tree.node(id);
        for (name, child) in node.children.iter().rev() {
            let mut child_path = path.clone();
            if !child_path.is_empty() {
                child_path.push(b'/');
            }
            child_path.extend_from_slice(name);
            self.waiting.push((child_path, *child));
        }
        Some(Entry { path, id, meta: &node.meta, kind: &node.kind })
    }
}

fn components(path: &[u8]) -> Result<Vec<&[u8]>, TreeError> {
    if path.len() > MAX_PATH {
        return Err(TreeError::TooLong { path: show(path) });
    }
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let components: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    for component in &components {
        if matches!(*component, b"" | b"." | b"..") || component.contains(&0) {
            return Err(TreeError::Path { path: show(path) });
        }
        if component.len() > MAX_NAME {
            return Err(TreeError::TooLong { path: show(path) });
        }
    }
    Ok(components)
}

fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Kind {
        Kind::File(Content::Inline(text.as_bytes().into()))
    }

    fn names(tree: &Tree) -> Vec<String> {
        tree.walk().map(|entry| String::from_utf8(entry.path).unwrap()).collect()
    }

    #[test]
    fn later_entries_win_and_folders_keep_their_children() {
        let mut tree = Tree::new(Meta::plain(0o755));
        tree.put(b"b/c", Meta::plain(0o644), file("1")).unwrap();
        tree.put(b"b", Meta::plain(0o700), Kind::Folder).unwrap();
        tree.put(b"a", Meta::plain(0o644), file("2")).unwrap();
        assert_eq!(names(&tree), ["", "a", "b", "b/c"]);
        assert_eq!(tree.get(b"b").unwrap().0.mode, 0o700);
        tree.put(b"b", Meta::plain(0o644), file("3")).unwrap();
        assert_eq!(names(&tree), ["", "a", "b"]);
        assert_eq!(tree.len(), 3);
    }

    #[test]
    fn hard_links_share_a_node_until_replaced() {
        let mut tree = Tree::new(Meta::plain(0o755));
        tree.put(b"a", Meta::plain(0o644), file("1")).unwrap();
        tree.hard_link(b"d/b", b"a").unwrap();
        assert_eq!(tree.id(b"a"), tree.id(b"d/b"));
        assert_eq!((tree.len(), tree.content_bytes()), (3, 1));
        tree.put(b"a", Meta::plain(0o644), file("22")).unwrap();
        assert_eq!(tree.get(b"d/b").unwrap().1, &file("1"));
        let missing = TreeError::Target { path: "x".into(), target: "d".into() };
        assert_eq!(tree.hard_link(b"x", b"d"), Err(missing));
        let inside = TreeError::Target { path: "d".into(), target: "d/b".into() };
        assert_eq!(tree.hard_link(b"d", b"d/b"), Err(inside));
    }

    #[test]
    fn removal_and_clearing() {
        let mut tree = Tree::new(Meta::plain(0o755));
        tree.put(b"a/b/c", Meta::plain(0o644), file("1")).unwrap();
        assert!(tree.clear(b"a"));
        assert_eq!(names(&tree), ["", "a"]);
        assert!(tree.remove(b"a"));
        assert!(!tree.remove(b"a"));
        assert!(!tree.remove(b""));
        assert_eq!(tree.len(), 1);
    }

    #[test]
    fn odd_paths_are_refused() {
        let mut tree = Tree::new(Meta::plain(0o755));
        for path in ["/a", "a//b", "a/", "./a", "a/../b", "..", "a\0b"] {
            let wrong = TreeError::Path { path: path.into() };
            assert_eq!(tree.put(path.as_bytes(), Meta::plain(0), Kind::Fifo), Err(wrong));
        }
        let long = "n".repeat(256);
        let too_long = TreeError::TooLong { path: long.clone() };
        assert_eq!(tree.put(long.as_bytes(), Meta::plain(0), Kind::Fifo), Err(too_long));
        tree.put(b"f", Meta::plain(0), Kind::Fifo).unwrap();
        let under = TreeError::NotAFolder { path: "f/g".into() };
        assert_eq!(tree.put(b"f/g", Meta::plain(0), Kind::Fifo), Err(under));
        assert_eq!(tree.put(b"", Meta::plain(0), Kind::Fifo), Err(TreeError::Root));
    }
}
