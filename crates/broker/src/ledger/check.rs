//! Walks a whole log and names the first entry that is not as it was.

use super::merkle::{Edge, leaf_hash};
use super::{Authority, Head, LedgerError};
use claims::Digest256;
use serde::Serialize;
use serde_json::{Map, Value};

/// An entry as a store holds it: the entry's bytes, and what was written beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) kind: String,
    pub(crate) decision: String,
    pub(crate) body: String,
    pub(crate) leaf: Vec<u8>,
}

/// Heads that were kept outside the broker, as far as they verify: the log must still extend them.
#[derive(Debug, Clone, Default)]
pub struct Kept(Vec<Head>);

impl Kept {
    /// Adds a head, after checking its signature.
    pub fn add(&mut self, text: &str, authority: &Authority) -> Result<(), LedgerError> {
        self.0.push(authority.verify(text)?);
        self.0.sort_by_key(|head| head.size);
        Ok(())
    }
}

/// What was found out about a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether every entry is as it was when it was signed.
    pub ok: bool,
    /// Good entries from the start.
    pub entries: u64,
    /// Root of their tree.
    pub root: Digest256,
    /// The first bad place.
    pub bad: Option<Bad>,
}

/// The first entry that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bad {
    /// Its number, from 1.
    pub sequence: u64,
    /// The last number it may have, where the digests do not tell it closer.
    pub through: u64,
    /// What is wrong.
    pub problem: &'static str,
}

/// The state of a walk.
pub(crate) struct Auditor {
    edge: Edge,
    /// Entries under the last head that fitted.
    signed: u64,
    kept: Vec<Head>,
}

impl Auditor {
    pub(crate) fn new(kept: &Kept) -> Self {
        Self { edge: Edge::default(), signed: 0, kept: kept.0.clone() }
    }

    /// Entries so far.
    pub(crate) fn entries(&self) -> u64 {
        self.edge.size()
    }

    /// The next entry of a store.
    pub(crate) fn stored(&mut self, entry: &Stored) -> Result<(), Bad> {
        let next = self.entries().saturating_add(1);
        if entry.sequence != next {
            return Err(at(next, "the entry is missing"));
        }
        let leaf = leaf_hash(entry.body.as_bytes());
        if entry.leaf != leaf.0 {
            return Err(at(next, "the entry was changed"));
        }
        let body: Map<String, Value> = serde_json::from_str(&entry.body).unwrap_or_default();
        let says = |name: &str, value: &Value| body.get(name) == Some(value);
        if !says("kind", &entry.kind.as_str().into()) || !says("decision", &entry.decision.as_str().into()) {
            return Err(at(next, "the entry's columns differ from its body"));
        }
        self.numbered(&body, leaf)
    }

    /// The next entry of a file.
    pub(crate) fn line(&mut self, entry: &[u8]) -> Result<(), Bad> {
        let body: Map<String, Value> = serde_json::from_slice(entry).unwrap_or_default();
        self.numbered(&body, leaf_hash(entry))
    }

    fn numbered(&mut self, body: &Map<String, Value>, leaf: Digest256) -> Result<(), Bad> {
        let next = self.entries().saturating_add(1);
        if body.get("sequence") != Some(&next.into()) {
            return Err(at(next, "another entry stands in its place"));
        }
        self.edge.push(leaf);
        let here = self.kept.iter().find(|head| head.size == next);
        if here.is_some_and(|head| head.root != self.edge.root()) {
            return Err(Bad { sequence: 1, through: next, problem: "the log is not the one that a kept head is of" });
        }
        Ok(())
    }

    /// Whether the entries so far are those of a signed head. Call it for each head at its size.
    pub(crate) fn head(&mut self, head: &Head) -> Result<(), Bad> {
        let size = self.entries();
        if head.size == size && head.root == self.edge.root() {
            self.signed = size;
            return Ok(());
        }
        let first = self.signed.saturating_add(1);
        Err(Bad { sequence: first, through: size.max(first), problem: "the log differs from its signed head" })
    }

    /// The end of the walk, at the newest head.
    pub(crate) fn finish(self, newest: Option<&Head>, so_far: Result<(), Bad>) -> Verdict {
        let (entries, next) = (self.entries(), self.entries().saturating_add(1));
        let bad = so_far.err().or_else(|| match newest {
            None => Some(at(next, "the signed head is missing or its signature is wrong")),
            Some(head) if head.size > entries => {
                let problem = "entries from here to the signed head are missing";
                Some(Bad { sequence: next, through: head.size, problem })
            }
            Some(head) if head.size < entries => {
                let first = head.size.saturating_add(1);
                Some(Bad { sequence: first, through: entries, problem: "the entry is under no signed head" })
            }
            Some(_) => self.kept.iter().find(|head| head.size > entries).map(|head| {
                let problem = "the log is shorter than a head that was kept: it was rolled back";
                Bad { sequence: next, through: head.size, problem }
            }),
        });
        Verdict { ok: bad.is_none(), entries, root: self.edge.root(), bad }
    }
}

fn at(sequence: u64, problem: &'static str) -> Bad {
    Bad { sequence, through: sequence, problem }
}
