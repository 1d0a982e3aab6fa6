//! The audit log: entries, the nodes of the Merkle tree over them, and a signed head for each commit.
//!
//! *Takes* entries from the transaction whose change they describe.
//! *Guarantees* that an edited, removed, reordered or cut-off entry is found by [`Log::verify`], and that an append
//! costs O(log n) rows.
//! *Does not check* a rollback of the whole database: who keeps heads elsewhere compares them.

use super::StoreError;
use super::db::{Connection, OptionalExtension, Params, Row, params};
use crate::keys::Keys;
use crate::ledger::merkle::{Edge, consistency_proof, inclusion_proof, leaf_hash};
use crate::ledger::{Auditor, Authority, Bad, Head, Kept, Receipt, Signer, Stored, Verdict};
use claims::{Digest256, UnixTime};
use serde::Serialize;
use serde_json::Value;

/// Entries, nodes above the leaves, heads.
pub(super) const TABLES: &str = "
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, decision TEXT NOT NULL,
    body TEXT NOT NULL, leaf BLOB NOT NULL) STRICT;
CREATE INDEX audit_decision ON audit (decision);
CREATE TABLE audit_nodes (
    level INTEGER NOT NULL, place INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, place)) STRICT, WITHOUT ROWID;
CREATE TABLE audit_heads (size INTEGER PRIMARY KEY, root BLOB NOT NULL, signature BLOB NOT NULL) STRICT;";

/// The tree's right edge, in `meta`: changed with each entry, so that a piece of work that is undone takes it back.
const EDGE: &str = "audit_edge";

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The log was started, or the broker was.
    Start,
    /// Evidence was appraised.
    Attest,
    /// A resource was asked for.
    Release,
    /// An administrator changed something.
    Admin,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Attest => "attest",
            Self::Release => "release",
            Self::Admin => "admin",
        }
    }
}

/// Writes entries; holds the key that signs heads.
pub(crate) struct Log {
    signer: Signer,
    reader: Reader,
}

impl Log {
    pub(super) fn new(keys: &Keys) -> Result<Self, StoreError> {
        let signer = Signer::new(&keys.audit_key, &keys.identity)?;
        let authority = Authority::attested(keys.identity, &keys.audit_chain)?;
        if signer.authority(keys.identity) != authority {
            // Heads would be signed that nobody believes.
            return Err(StoreError::Damaged { what: "audit key: it is not the one of its certificate" });
        }
        Ok(Self { signer, reader: Reader { authority } })
    }

    /// Starts the log of a new store, so that a log without a head is damaged, never new.
    pub(super) fn begin(&self, connection: &Connection) -> Result<(), StoreError> {
        keep_edge(connection, &Edge::default())?;
        self.sign(connection, &Edge::default())
    }

    /// Refuses a log whose edge is not under its newest head: its entries would be signed anew, whatever they are now.
    /// The head.
    pub(super) fn resume(&self, connection: &Connection) -> Result<Head, StoreError> {
        // Another broker on the same database must not append between the two.
        connection.begin_writing()?;
        let found = self.reader.head(connection).and_then(|head| Ok((head, edge(connection)?)));
        connection.execute_batch("ROLLBACK")?;
        let (head, edge) = found?;
        if head == (Head { size: edge.size(), root: edge.root() }) {
            return Ok(head);
        }
        Err(StoreError::Damaged { what: "audit log: it differs from its signed head" })
    }

    /// Appends an entry inside the caller's transaction; its number.
    pub(crate) fn append(
        &self,
        connection: &Connection,
        time: UnixTime,
        kind: Kind,
        decision: &str,
        facts: &impl Serialize,
    ) -> Result<u64, StoreError> {
        let mut edge = edge(connection)?;
        let sequence = edge.size().saturating_add(1);
        let damaged = || StoreError::Damaged { what: "audit entry" };
        let Ok(Value::Object(mut body)) = serde_json::to_value(facts) else { return Err(damaged()) };
        body.insert("sequence".into(), sequence.into());
        body.insert("time".into(), time.0.into());
        body.insert("kind".into(), kind.name().into());
        body.insert("decision".into(), decision.into());
        let body = claims::json::canonical_value(&Value::Object(body)).map_err(|_| damaged())?;
        let body = String::from_utf8(body).map_err(|_| damaged())?;
        let leaf = leaf_hash(body.as_bytes());
        connection
            .prepare_cached("INSERT INTO audit (sequence, kind, decision, body, leaf) VALUES (?, ?, ?, ?, ?)")?
            .execute(params![sequence.cast_signed(), kind.name(), decision, body, leaf.0])?;
        // The leaf itself stands beside its entry.
        for (level, place, hash) in edge.push(leaf).into_iter().skip(1) {
            connection
                .prepare_cached("INSERT INTO audit_nodes (level, place, hash) VALUES (?, ?, ?)")?
                .execute(params![level, place.cast_signed(), hash.0])?;
        }
        keep_edge(connection, &edge)?;
        Ok(sequence)
    }

    /// Signs a head over what was appended since the last one. Called before each commit, so that a group of decisions
    /// costs one signature, and none is on disk without one. The head that stands then.
    pub(super) fn settle(&self, connection: &Connection) -> Result<Head, StoreError> {
        let edge = edge(connection)?;
        let signed: Option<i64> =
            connection.prepare_cached("SELECT max(size) FROM audit_heads")?.query_row([], |row| row.get(0))?;
        if signed != Some(edge.size().cast_signed()) {
            self.sign(connection, &edge)?;
        }
        Ok(Head { size: edge.size(), root: edge.root() })
    }

    /// What reads the log.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    fn sign(&self, connection: &Connection, edge: &Edge) -> Result<(), StoreError> {
        let (size, root) = (edge.size(), edge.root());
        let signature = self.signer.sign(&Head { size, root });
        connection
            .prepare_cached("INSERT INTO audit_heads (size, root, signature) VALUES (?, ?, ?)")?
            .execute(params![size.cast_signed(), root.0, signature])?;
        Ok(())
    }
}

/// Reads and checks a log; knows the public key only.
pub(crate) struct Reader {
    pub(crate) authority: Authority,
}

impl Reader {
    /// The newest head.
    pub(crate) fn head(&self, connection: &Connection) -> Result<Head, StoreError> {
        self.newest(connection).map(|(head, _)| head)
    }

    /// The newest head as text.
    pub(crate) fn head_text(&self, connection: &Connection) -> Result<String, StoreError> {
        self.newest(connection).map(|(head, signature)| self.authority.text(&head, &signature))
    }

    /// Proof that the log of the newest head extends the one of `old` entries.
    pub(crate) fn consistency(&self, connection: &Connection, old: u64) -> Result<Vec<Digest256>, StoreError> {
        let head = self.head(connection)?;
        consistency_proof(old, head.size, &mut |level, place| node(connection, level, place))
    }

    /// The receipt of a decision, under the newest head; without the entry itself, which [`Receipt::with_entry`] adds.
    pub(crate) fn receipt(&self, connection: &Connection, entry: &Stored) -> Result<Receipt, StoreError> {
        let index = entry.sequence.saturating_sub(1);
        let (head, signature) = self.newest(connection)?;
        let proof = inclusion_proof(index, head.size, &mut |level, place| node(connection, level, place))?;
        let leaf = leaf_hash(entry.body.as_bytes());
        Ok(Receipt::new(&entry.decision, index, leaf, proof, self.authority.text(&head, &signature)))
    }

    /// Walks the whole log, in pages: the caller sees to it that they are of one state. Gives up once nobody `waits`.
    pub(crate) fn verify(
        &self,
        connection: &Connection,
        kept: &Kept,
        waits: &dyn Fn() -> bool,
    ) -> Result<Verdict, StoreError> {
        let mut heads = Pages::new(connection, HEADS, read_head);
        let mut entries = Pages::new(connection, ENTRIES, read);
        let mut next_head = heads.next(|(head, _)| head.size)?;
        let mut newest = None;
        let mut auditor = Auditor::new(kept);
        let mut so_far = Ok(());
        while so_far.is_ok() {
            if !waits() {
                return Err(StoreError::Closed);
            }
            while let Some((head, signature)) = next_head.take_if(|(head, _)| head.size <= auditor.entries()) {
                so_far = so_far.and_then(|()| self.check(&mut auditor, &head, &signature));
                newest = Some(head);
                next_head = heads.next(|(head, _)| head.size)?;
            }
            if so_far.is_ok() {
                let Some(entry) = entries.next(|entry| entry.sequence)? else { break };
                so_far = auditor.stored(&entry);
            }
        }
        while let Some((head, signature)) = next_head {
            // Heads of entries that are not there say how much is missing, where the signature is good.
            if self.authority.verify_bare(&head, &signature).is_ok() {
                newest = Some(head);
            }
            next_head = heads.next(|(head, _)| head.size)?;
        }
        Ok(auditor.finish(newest.as_ref(), so_far))
    }

    fn check(&self, auditor: &mut Auditor, head: &Head, signature: &[u8]) -> Result<(), Bad> {
        auditor.head(head)?;
        self.authority.verify_bare(head, signature).map_err(|_| Bad {
            sequence: head.size.max(1),
            through: head.size.max(1),
            problem: "the head of the log up to here is not signed by the audit key",
        })
    }

    fn newest(&self, connection: &Connection) -> Result<(Head, Vec<u8>), StoreError> {
        let damaged = || StoreError::Damaged { what: "audit head" };
        let mut statement =
            connection.prepare_cached("SELECT size, root, signature FROM audit_heads ORDER BY size DESC LIMIT 1")?;
        let mut rows = statement.query([])?;
        let (head, signature) = read_head(rows.next()?.ok_or_else(damaged)?)?;
        self.authority.verify_bare(&head, &signature).map_err(|_| damaged())?;
        Ok((head, signature))
    }
}

/// The heads in order of their sizes, and the entries in that of their numbers: a page behind one of them.
const HEADS: &str = "SELECT size, root, signature FROM audit_heads WHERE size > ? ORDER BY size LIMIT ?";
const ENTRIES: &str =
    "SELECT sequence, kind, decision, body, leaf FROM audit WHERE sequence > ? ORDER BY sequence LIMIT ?";
/// Rows of a page.
const PAGE: u32 = 500;

/// A walk over a table, a page at a time.
struct Pages<'c, T> {
    connection: &'c Connection,
    query: &'static str,
    read: fn(&Row) -> Result<T, StoreError>,
    page: std::collections::VecDeque<T>,
    /// Where the next page begins; none behind the last one.
    behind: Option<i64>,
}

impl<'c, T> Pages<'c, T> {
    fn new(connection: &'c Connection, query: &'static str, read: fn(&Row) -> Result<T, StoreError>) -> Self {
        Self { connection, query, read, page: std::collections::VecDeque::new(), behind: Some(i64::MIN) }
    }

    fn next(&mut self, number: impl Fn(&T) -> u64) -> Result<Option<T>, StoreError> {
        if let (true, Some(behind)) = (self.page.is_empty(), self.behind) {
            let mut statement = self.connection.prepare_cached(self.query)?;
            let mut rows = statement.query(params![behind, PAGE])?;
            while let Some(row) = rows.next()? {
                self.page.push_back((self.read)(row)?);
            }
            self.behind = self.page.back().map(|last| number(last).cast_signed());
        }
        Ok(self.page.pop_front())
    }
}

/// Whether this head was signed in the log that is there now.
pub(super) fn holds(connection: &Connection, head: &Head) -> Result<bool, StoreError> {
    let root: Option<[u8; 32]> = connection
        .prepare_cached("SELECT root FROM audit_heads WHERE size = ?")?
        .query_row([head.size.cast_signed()], |row| row.get(0))
        .optional()?;
    Ok(root == Some(head.root.0))
}

/// Entries from `first` on, in order.
pub(crate) fn range(connection: &Connection, first: u64, limit: u32) -> Result<Vec<Stored>, StoreError> {
    collect(
        connection,
        "SELECT sequence, kind, decision, body, leaf FROM audit WHERE sequence >= ? ORDER BY sequence LIMIT ?",
        params![first.cast_signed(), limit],
    )
}

/// The latest decisions (attestations and releases) before `before`, newest first.
pub(crate) fn decisions(connection: &Connection, before: u64, limit: u32) -> Result<Vec<Stored>, StoreError> {
    collect(
        connection,
        "SELECT sequence, kind, decision, body, leaf FROM audit
         WHERE sequence < ? AND kind IN ('attest', 'release') ORDER BY sequence DESC LIMIT ?",
        params![before.cast_signed(), limit],
    )
}

/// The entry of one decision.
pub(crate) fn decision(connection: &Connection, id: &str) -> Result<Option<Stored>, StoreError> {
    if id.is_empty() {
        // What is no decision, as a change by an administrator, has an empty name.
        return Ok(None);
    }
    let rows = collect(
        connection,
        "SELECT sequence, kind, decision, body, leaf FROM audit WHERE decision = ? ORDER BY sequence LIMIT 1",
        params![id],
    )?;
    Ok(rows.into_iter().next())
}

fn edge(connection: &Connection) -> Result<Edge, StoreError> {
    let bytes: Option<Vec<u8>> = connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?")?
        .query_row([EDGE], |row| row.get(0))
        .optional()?;
    bytes.and_then(|bytes| Edge::from_bytes(&bytes)).ok_or(StoreError::Damaged { what: "edge of the audit log" })
}

fn keep_edge(connection: &Connection, edge: &Edge) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2")?
        .execute(params![EDGE, edge.to_bytes()])?;
    Ok(())
}

/// The node of a complete subtree.
fn node(connection: &Connection, level: u32, place: u64) -> Result<Digest256, StoreError> {
    let hash = match level {
        0 => connection
            .prepare_cached("SELECT leaf FROM audit WHERE sequence = ?")?
            .query_row([place.saturating_add(1).cast_signed()], |row| row.get(0)),
        _ => connection
            .prepare_cached("SELECT hash FROM audit_nodes WHERE level = ? AND place = ?")?
            .query_row(params![level, place.cast_signed()], |row| row.get(0)),
    };
    let hash = hash.optional()?;
    hash.map(Digest256).ok_or(StoreError::Damaged { what: "node of the audit log" })
}

fn read_head(row: &Row) -> Result<(Head, Vec<u8>), StoreError> {
    Ok((Head { size: row.get::<_, i64>(0)?.cast_unsigned(), root: Digest256(row.get(1)?) }, row.get(2)?))
}

fn read(row: &Row) -> Result<Stored, StoreError> {
    Ok(Stored {
        sequence: row.get::<_, i64>(0)?.cast_unsigned(),
        kind: row.get(1)?,
        decision: row.get(2)?,
        body: row.get(3)?,
        leaf: row.get(4)?,
    })
}

fn collect(connection: &Connection, query: &str, values: impl Params) -> Result<Vec<Stored>, StoreError> {
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(values)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(read(row)?);
    }
    Ok(out)
}
