//! Paths in layers: one form for each, and where they lead in a tree.

use super::Reason;
use sealed::tree::{Kind, Tree};
use std::collections::VecDeque;

/// Linux's PATH_MAX without its NUL.
pub(super) const MAX_PATH: usize = sealed::tree::MAX_PATH;
const MAX_NAME: usize = sealed::tree::MAX_NAME;
/// As many links as Linux follows.
const MAX_LINKS: u32 = 40;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a path in a layer means. Paths in it are relative, without `.`, `..` and doubled slashes; empty is the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Normalised {
    /// An ordinary path.
    Plain(Vec<u8>),
    /// Hides this path of lower layers.
    Whiteout(Vec<u8>),
    /// Hides everything that lower layers have in this folder.
    Opaque(Vec<u8>),
    /// Bookkeeping of the AUFS driver, which engines skip.
    Ignored,
}

/// Brings a path into its one form.
pub(super) fn normalise(path: &[u8]) -> Result<Normalised, Reason> {
    if path.len() > MAX_PATH.saturating_add(2) {
        return Err(Reason::TooLong);
    }
    let mut components: Vec<&[u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(Reason::Climbs),
            name if name.len() > MAX_NAME => return Err(Reason::TooLong),
            name => components.push(name),
        }
    }
    let joined = components.join(&b'/');
    if joined.len() > MAX_PATH {
        return Err(Reason::TooLong);
    }
    let Some((name, parents)) = components.split_last() else { return Ok(Normalised::Plain(joined)) };
    if matches!(*name, b".wh..wh.aufs" | b".wh..wh.orph" | b".wh..wh.plnk")
        || components.first() == Some(&b".wh..wh.plnk".as_slice())
    {
        return Ok(Normalised::Ignored);
    }
    if parents.iter().any(|parent| parent.starts_with(WHITEOUT)) {
        return Err(Reason::Whiteout);
    }
    let parent = parents.join(&b'/');
    if *name == OPAQUE {
        return Ok(Normalised::Opaque(parent));
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Normalised::Plain(joined)),
        Some(b"" | b"." | b"..") => Err(Reason::Whiteout),
        Some(hidden) if hidden.starts_with(WHITEOUT) => Err(Reason::Whiteout),
        Some(hidden) => Ok(Normalised::Whiteout(join(&parent, hidden))),
    }
}

/// Parent and last component.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => {
            let (parent, name) = path.split_at(slash);
            (parent, name.get(1..).unwrap_or_default())
        }
        None => (b"", path),
    }
}

pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

/// Where the folder `path` is or would be made, links followed inside of the root.
pub(super) fn resolve_parents(tree: &Tree, path: &[u8]) -> Result<Vec<u8>, Reason> {
    let mut walk = Walk { tree, at: Vec::new(), links: 0 };
    let mut waiting: VecDeque<Vec<u8>> = parts(path).collect();
    while let Some(name) = waiting.pop_front() {
        match walk.step(&name, &mut waiting)? {
            Step::Folder => {}
            Step::Missing => walk.at = join(&walk.at, &name),
            Step::Other => return Err(Reason::ParentNotFolder),
        }
    }
    Ok(walk.at)
}

/// Follows `path` to a node that is there, the last component included, as a process confined to the root would.
pub fn resolve(tree: &Tree, path: &[u8]) -> Option<Vec<u8>> {
    let mut walk = Walk { tree, at: Vec::new(), links: 0 };
    let mut waiting: VecDeque<Vec<u8>> = parts(path).collect();
    while let Some(name) = waiting.pop_front() {
        match walk.step(&name, &mut waiting).ok()? {
            Step::Folder => {}
            Step::Other if waiting.is_empty() => walk.at = join(&walk.at, &name),
            Step::Missing | Step::Other => return None,
        }
    }
    Some(walk.at)
}

struct Walk<'a> {
    tree: &'a Tree,
    at: Vec<u8>,
    links: u32,
}

enum Step {
    /// It is a folder, and the walk is in it now; or a link, whose parts were put before what waits.
    Folder,
    /// There is nothing.
    Missing,
    /// It is something else.
    Other,
}

impl Walk<'_> {
    fn step(&mut self, name: &[u8], waiting: &mut VecDeque<Vec<u8>>) -> Result<Step, Reason> {
        if name == b".." {
            self.at = split(&self.at).0.to_vec();
            return Ok(Step::Folder);
        }
        let next = join(&self.at, name);
        if next.len() > MAX_PATH {
            return Err(Reason::TooLong);
        }
        match self.tree.get(&next) {
            None => Ok(Step::Missing),
            Some((_, Kind::Folder)) => {
                self.at = next;
                Ok(Step::Folder)
            }
            Some((_, Kind::Link(target))) => {
                self.links = self.links.saturating_add(1);
                if self.links > MAX_LINKS || waiting.len() > MAX_PATH {
                    return Err(Reason::LinkLoop);
                }
                if target.first() == Some(&b'/') {
                    self.at.clear();
                }
                for part in parts(target).rev() {
                    waiting.push_front(part);
                }
                Ok(Step::Folder)
            }
            Some(_) => Ok(Step::Other),
        }
    }
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_for_each_path() {
        for same in ["a/b", "./a/b", "/a/b", "a//b/", "././/a/./b"] {
            assert_eq!(normalise(same.as_bytes()).unwrap(), Normalised::Plain(b"a/b".to_vec()), "{same}");
        }
        assert_eq!(normalise(b"./").unwrap(), Normalised::Plain(Vec::new()));
        assert_eq!(normalise(b"a/.wh.b").unwrap(), Normalised::Whiteout(b"a/b".to_vec()));
        assert_eq!(normalise(b".wh..wh..opq").unwrap(), Normalised::Opaque(Vec::new()));
        assert_eq!(normalise(b".wh..wh.plnk/12.34").unwrap(), Normalised::Ignored);
        for wrong in ["a/.wh.", ".wh..", ".wh...", ".wh.a/b", ".wh..wh.x"] {
            assert!(matches!(normalise(wrong.as_bytes()), Err(Reason::Whiteout)), "{wrong}");
        }
        assert!(matches!(normalise(b"a/../b"), Err(Reason::Climbs)));
        assert!(matches!(normalise(&[b'n'; 256]), Err(Reason::TooLong)));
    }
}
