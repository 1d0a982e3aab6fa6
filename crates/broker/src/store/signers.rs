//! Keys that are pinned to sign reference values, and the serial of the last document of each.

use super::StoreError;
use super::db::{Connection, OptionalExtension, params};
use claims::{Digest256, UnixTime};

/// A pinned key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pinned {
    pub(crate) name: String,
    /// DER of a SubjectPublicKeyInfo.
    pub(crate) public_key: Vec<u8>,
    pub(crate) added: u64,
    /// Of the last document; 0 before the first.
    pub(crate) serial: u64,
}

/// What became of a serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advance {
    /// It is the newest now.
    Newer,
    /// This very document was imported last.
    Same,
    /// It is not above the last one.
    Older { last: u64 },
    /// The key is not pinned any more.
    Gone,
}

/// Pins a key under a name. A name that has another key keeps it: false.
pub(crate) fn add(connection: &Connection, name: &str, public_key: &[u8], now: UnixTime) -> Result<bool, StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO reference_signers (name, public_key, added, serial) VALUES (?, ?, ?, 0)
             ON CONFLICT (name) DO NOTHING",
        )?
        .execute(params![name, public_key, now.0.cast_signed()])?;
    let kept: Vec<u8> = connection
        .prepare_cached("SELECT public_key FROM reference_signers WHERE name = ?")?
        .query_row([name], |row| row.get(0))?;
    Ok(kept == public_key)
}

/// Takes a key off; whether it was there.
pub(crate) fn remove(connection: &Connection, name: &str) -> Result<bool, StoreError> {
    Ok(connection.prepare_cached("DELETE FROM reference_signers WHERE name = ?")?.execute([name])? == 1)
}

/// Every pinned key, in order of the names.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Pinned>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT name, public_key, added, serial FROM reference_signers ORDER BY name")?;
    let rows = statement.query_map([], |row| {
        Ok(Pinned {
            name: row.get(0)?,
            public_key: row.get(1)?,
            added: row.get::<_, i64>(2)?.cast_unsigned(),
            serial: row.get::<_, i64>(3)?.cast_unsigned(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Takes a document's serial, if it is above the last one.
pub(crate) fn advance(
    connection: &Connection,
    name: &str,
    serial: u64,
    digest: &Digest256,
) -> Result<Advance, StoreError> {
    let last: Option<(i64, Option<Vec<u8>>)> = connection
        .prepare_cached("SELECT serial, digest FROM reference_signers WHERE name = ?")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((last, before)) = last else { return Ok(Advance::Gone) };
    let last = last.cast_unsigned();
    if before.is_some() && serial <= last {
        let same = serial == last && before.as_deref() == Some(&digest.0);
        return Ok(if same { Advance::Same } else { Advance::Older { last } });
    }
    connection
        .prepare_cached("UPDATE reference_signers SET serial = ?, digest = ? WHERE name = ?")?
        .execute(params![serial.cast_signed(), digest.0, name])?;
    Ok(Advance::Newer)
}
