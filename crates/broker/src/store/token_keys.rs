//! Public halves of token keys: the one in use, and those of before whose tokens still run.

use super::StoreError;
use super::db::{Connection, OptionalExtension, params};
use jsonwebtoken::jwk::Jwk;
use serde::{Deserialize, Serialize};

const NAME: &str = "token_keys";

#[derive(Serialize, Deserialize)]
struct Kept {
    jwk: Jwk,
    /// When its last token ends; none for the key in use.
    until: Option<u64>,
}

/// The keys beside `current` whose tokens may still run, each with its end. One without an end is in use by another broker on
/// the same store.
pub(crate) fn others(connection: &Connection, current: &Jwk) -> Result<Vec<(Jwk, u64)>, StoreError> {
    let others = kept(connection)?.into_iter().filter(|key| key.jwk != *current);
    Ok(others.map(|key| (key.jwk, key.until.unwrap_or(u64::MAX))).collect())
}

/// Notes which key is in use. A key that is not any more is good for `seconds`, which no token outlives; what is
/// returned are those, each with its end.
pub(crate) fn settle(
    connection: &Connection,
    current: &Jwk,
    now: u64,
    seconds: u64,
) -> Result<Vec<(Jwk, u64)>, StoreError> {
    let before: Vec<(Jwk, u64)> = kept(connection)?
        .into_iter()
        .filter(|key| key.jwk != *current)
        .map(|key| (key.jwk, key.until.unwrap_or_else(|| now.saturating_add(seconds))))
        .filter(|(_, until)| now < *until)
        .collect();
    let keep = before.iter().map(|(jwk, until)| Kept { jwk: jwk.clone(), until: Some(*until) });
    let keep: Vec<Kept> = keep.chain([Kept { jwk: current.clone(), until: None }]).collect();
    let bytes = serde_json::to_vec(&keep).map_err(damaged)?;
    connection
        .prepare_cached("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2")?
        .execute(params![NAME, bytes])?;
    Ok(before)
}

fn kept(connection: &Connection) -> Result<Vec<Kept>, StoreError> {
    let kept: Option<Vec<u8>> = connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?")?
        .query_row([NAME], |row| row.get(0))
        .optional()?;
    kept.map_or(Ok(Vec::new()), |bytes| serde_json::from_slice(&bytes)).map_err(damaged)
}

fn damaged(_: serde_json::Error) -> StoreError {
    StoreError::Damaged { what: "token key" }
}
