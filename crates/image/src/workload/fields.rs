//! A map whose keys are taken one by one, after all of them were found to be known.

use super::WorkloadError;
use super::reference::known_below;
use super::yaml::{Entry, Found, Node, Value};

/// The entries of one map, and the key it stands below.
pub(super) struct Fields {
    within: &'static str,
    entries: Vec<Entry>,
}

impl Fields {
    /// Opens the map `node`, which stands below `within` in the reference table.
    pub(super) fn open(node: Node, within: &'static str, what: &str) -> Result<Self, WorkloadError> {
        let found = node.found();
        let Value::Map(entries) = node.value else { return Err(kind(node.line, what, found, "a map")) };
        match entries.iter().find(|entry| !known_below(within).any(|key| key == entry.key)) {
            None => Ok(Self { within, entries }),
            Some(entry) => Err(WorkloadError::UnknownKey {
                line: entry.line,
                nearest: nearest(&entry.key, known_below(within)),
                key: entry.key.clone(),
                within: within.trim_end_matches("[]").to_owned(),
            }),
        }
    }

    /// Takes a value out. A key without a value counts as not given.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Node> {
        debug_assert!(known_below(self.within).any(|known| known == key), "{key} is not in the reference table");
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.swap_remove(index).value).filter(|node| node.found() != Found::Nothing)
    }

    /// Takes a value out that must be there.
    pub(super) fn require(&mut self, key: &'static str) -> Result<Node, WorkloadError> {
        let name = if self.within.is_empty() { key.to_owned() } else { format!("{}.{key}", self.within) };
        self.take(key).ok_or(WorkloadError::Missing { key: name })
    }
}

/// The known word that looks most like `word`, if any looks like it at all.
pub(super) fn nearest(word: &str, known: impl Iterator<Item = &'static str>) -> Option<String> {
    let plain = |word: &str| word.to_lowercase().replace('-', "_");
    let wanted = plain(word);
    known
        .map(|candidate| (strsim::osa_distance(&wanted, &plain(candidate)), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .map(|(_, candidate)| candidate.to_owned())
}

/// The error for a value of the wrong kind.
pub(super) fn kind(line: usize, key: &str, found: Found, wanted: &'static str) -> WorkloadError {
    WorkloadError::Kind { line, key: key.to_owned(), found: found.words(), wanted }
}
