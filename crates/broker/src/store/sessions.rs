//! Challenges that were used, and attested sessions. Nothing is kept for a caller that has not proved itself.

use super::StoreError;
use super::db::{Connection, OptionalExtension, params};
use claims::UnixTime;

/// Takes a challenge: true exactly once per nonce, also across restarts.
pub(crate) fn take(connection: &Connection, nonce: &[u8], expires: UnixTime) -> Result<bool, StoreError> {
    let taken = connection
        .prepare_cached("INSERT INTO challenges (nonce, expires) VALUES (?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![nonce, expires.0.cast_signed()])?;
    Ok(taken == 1)
}

/// Keeps an attested session under the digest of its cookie.
pub(crate) fn keep(connection: &Connection, id: &[u8; 32], session: &str, expires: UnixTime) -> Result<(), StoreError> {
    connection.prepare_cached("INSERT INTO sessions (id, expires, session) VALUES (?, ?, ?)")?.execute(params![
        id,
        expires.0.cast_signed(),
        session
    ])?;
    Ok(())
}

/// The session of a cookie's digest, unless it has expired.
pub(crate) fn find(connection: &Connection, id: &[u8; 32], now: UnixTime) -> Result<Option<String>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT session FROM sessions WHERE id = ? AND expires > ?")?
        .query_row(params![id, now.0.cast_signed()], |row| row.get(0))
        .optional()?)
}

/// Forgets what has expired: the challenge itself is refused by its time from then on.
pub(crate) fn sweep(connection: &Connection, now: UnixTime) -> Result<usize, StoreError> {
    let now = now.0.cast_signed();
    let mut gone = connection.execute("DELETE FROM challenges WHERE expires < ?", [now])?;
    gone = gone.saturating_add(connection.execute("DELETE FROM sessions WHERE expires < ?", [now])?);
    gone = gone.saturating_add(connection.execute("DELETE FROM leases WHERE until < ?", [now])?);
    Ok(gone)
}

/// A number kept under a name, as the latest time seen.
pub(crate) fn number(connection: &Connection, name: &str) -> Result<u64, StoreError> {
    let value: Option<Vec<u8>> = connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    match value {
        None => Ok(0),
        Some(bytes) => {
            bytes.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Damaged { what: "number in meta" })
        }
    }
}

/// Keeps a number under a name.
pub(crate) fn set_number(connection: &Connection, name: &str, value: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2")?
        .execute(params![name, value.to_be_bytes()])?;
    Ok(())
}
