//! The audit log: append-only, each entry chained to the one before, the head sealed with a key of the broker.
//!
//! *Takes* entries from the transaction whose change they describe.
//! *Guarantees* that an edited, removed, reordered or cut-off entry is found by [`verify`].
//! *Does not check* a rollback of the whole database: who keeps heads elsewhere compares them.

use super::StoreError;
use crate::keys::Master;
use aws_lc_rs::{digest, hmac};
use claims::{Digest256, UnixTime};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde_json::{Map, Value};

const DOMAIN: &[u8] = b"confide/audit/v1\0";
const HEAD: &str = "audit_head";
const FIRST: [u8; 32] = [0; 32];

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
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Attest => "attest",
            Self::Release => "release",
            Self::Admin => "admin",
        }
    }
}

/// Writes entries; holds the key that seals the head.
pub(crate) struct Log {
    key: hmac::Key,
}

impl Log {
    pub(super) fn new(master: &Master) -> Self {
        Self { key: master.derive("audit-head").expose(|key| hmac::Key::new(hmac::HMAC_SHA256, key)) }
    }

    /// Starts the log of a new store, so that a log without a head is damaged, never new.
    pub(super) fn begin(&self, connection: &Connection) -> Result<(), StoreError> {
        self.seal_head(connection, 0, &FIRST)
    }

    /// Appends an entry inside the caller's transaction.
    pub(crate) fn append(
        &self,
        connection: &Connection,
        time: UnixTime,
        kind: Kind,
        decision: &str,
        facts: &impl Serialize,
    ) -> Result<u64, StoreError> {
        let (last, previous) = self.head(connection)?;
        let sequence = last.saturating_add(1);
        let damaged = || StoreError::Damaged { what: "audit entry" };
        let Ok(Value::Object(mut body)) = serde_json::to_value(facts) else { return Err(damaged()) };
        body.insert("sequence".into(), sequence.into());
        body.insert("time".into(), time.0.into());
        body.insert("kind".into(), kind.name().into());
        body.insert("decision".into(), decision.into());
        let body = claims::json::canonical(&body).map_err(|_| damaged())?;
        let body = String::from_utf8(body).map_err(|_| damaged())?;
        let hash = chain(&previous, &body);
        connection
            .prepare_cached(
                "INSERT INTO audit (sequence, kind, decision, body, previous, hash) VALUES (?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![sequence.cast_signed(), kind.name(), decision, body, previous, hash])?;
        self.seal_head(connection, sequence, &hash)?;
        Ok(sequence)
    }

    /// Sequence number and hash of the last entry, as sealed.
    pub(crate) fn head(&self, connection: &Connection) -> Result<(u64, [u8; 32]), StoreError> {
        let damaged = || StoreError::Damaged { what: "audit head" };
        let sealed: Vec<u8> = connection
            .prepare_cached("SELECT value FROM meta WHERE name = ?")?
            .query_row([HEAD], |row| row.get(0))
            .optional()?
            .ok_or_else(damaged)?;
        let (message, tag) = sealed.split_at_checked(40).ok_or_else(damaged)?;
        hmac::verify(&self.key, message, tag).map_err(|_| damaged())?;
        let (sequence, hash) = message.split_first_chunk::<8>().ok_or_else(damaged)?;
        Ok((u64::from_be_bytes(*sequence), hash.try_into().map_err(|_| damaged())?))
    }

    fn seal_head(&self, connection: &Connection, sequence: u64, hash: &[u8; 32]) -> Result<(), StoreError> {
        let message = [sequence.to_be_bytes().as_slice(), hash].concat();
        let tag = hmac::sign(&self.key, &message);
        let sealed = [&message, tag.as_ref()].concat();
        connection
            .prepare_cached(
                "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            )?
            .execute(params![HEAD, sealed])?;
        Ok(())
    }

    /// Walks the whole log.
    pub(crate) fn verify(&self, connection: &Connection) -> Result<Verdict, StoreError> {
        let head = self.head(connection).ok();
        let mut statement =
            connection.prepare("SELECT sequence, kind, decision, body, previous, hash FROM audit ORDER BY sequence")?;
        let mut rows = statement.query([])?;
        let mut chain_so_far = Chain::default();
        while let Some(row) = rows.next()? {
            let entry = Row::read(row)?;
            if let Err(problem) = chain_so_far.follow(&entry) {
                return Ok(Verdict { entries: chain_so_far.sequence, head: chain_so_far.head(), bad: Some(problem) });
            }
        }
        let next = chain_so_far.sequence.saturating_add(1);
        let bad = match head {
            None => Some(Bad { sequence: next, problem: "the head is missing or its seal is broken" }),
            Some((sequence, _)) if sequence > chain_so_far.sequence => {
                Some(Bad { sequence: next, problem: "entries from here to the sealed head are missing" })
            }
            Some((sequence, hash)) if sequence < chain_so_far.sequence || hash != chain_so_far.hash => {
                Some(Bad { sequence, problem: "the log differs from its sealed head" })
            }
            Some(_) => None,
        };
        Ok(Verdict { entries: chain_so_far.sequence, head: chain_so_far.head(), bad })
    }
}

/// An entry as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) sequence: u64,
    pub(crate) kind: String,
    pub(crate) decision: String,
    pub(crate) body: String,
    pub(crate) previous: Vec<u8>,
    pub(crate) hash: Vec<u8>,
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            sequence: row.get::<_, i64>(0)?.cast_unsigned(),
            kind: row.get(1)?,
            decision: row.get(2)?,
            body: row.get(3)?,
            previous: row.get(4)?,
            hash: row.get(5)?,
        })
    }
}

/// What [`Log::verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// Good entries from the start.
    pub(crate) entries: u64,
    /// Hash of the last good entry.
    pub(crate) head: Digest256,
    /// The first bad one.
    pub(crate) bad: Option<Bad>,
}

/// The first entry that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Bad {
    /// Its number.
    pub(crate) sequence: u64,
    /// What is wrong.
    pub(crate) problem: &'static str,
}

#[derive(Default)]
struct Chain {
    sequence: u64,
    hash: [u8; 32],
}

impl Chain {
    fn head(&self) -> Digest256 {
        Digest256(self.hash)
    }

    fn follow(&mut self, entry: &Row) -> Result<(), Bad> {
        let expected = self.sequence.saturating_add(1);
        let bad = |problem| Err(Bad { sequence: expected, problem });
        if entry.sequence != expected {
            return bad("the entry is missing");
        }
        if entry.previous != self.hash {
            return bad("the entry does not follow the one before");
        }
        let hash = chain(&self.hash, &entry.body);
        if entry.hash != hash {
            return bad("the entry was changed");
        }
        let body: Map<String, Value> = serde_json::from_str(&entry.body).unwrap_or_default();
        let says = |name: &str, value: &Value| body.get(name) == Some(value);
        if !says("sequence", &entry.sequence.into())
            || !says("kind", &entry.kind.as_str().into())
            || !says("decision", &entry.decision.as_str().into())
        {
            return bad("the entry's columns differ from its body");
        }
        *self = Self { sequence: expected, hash };
        Ok(())
    }
}

fn chain(previous: &[u8; 32], body: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(DOMAIN);
    context.update(previous);
    context.update(body.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Entries from `first` on, in order.
pub(crate) fn range(connection: &Connection, first: u64, limit: u32) -> Result<Vec<Row>, StoreError> {
    collect(
        connection,
        "SELECT sequence, kind, decision, body, previous, hash FROM audit WHERE sequence >= ? ORDER BY sequence LIMIT ?",
        params![first.cast_signed(), limit],
    )
}

/// The latest decisions (attestations and releases) before `before`, newest first.
pub(crate) fn decisions(connection: &Connection, before: u64, limit: u32) -> Result<Vec<Row>, StoreError> {
    collect(
        connection,
        "SELECT sequence, kind, decision, body, previous, hash FROM audit
         WHERE sequence < ? AND kind IN ('attest', 'release') ORDER BY sequence DESC LIMIT ?",
        params![before.cast_signed(), limit],
    )
}

/// The entry of one decision.
pub(crate) fn decision(connection: &Connection, id: &str) -> Result<Option<Row>, StoreError> {
    let rows = collect(
        connection,
        "SELECT sequence, kind, decision, body, previous, hash FROM audit WHERE decision = ? ORDER BY sequence LIMIT 1",
        params![id],
    )?;
    Ok(rows.into_iter().next())
}

fn collect(connection: &Connection, query: &str, values: impl rusqlite::Params) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(values)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(Row::read(row)?);
    }
    Ok(out)
}
