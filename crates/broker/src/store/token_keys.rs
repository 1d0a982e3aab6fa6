//! Public halves of token keys: the one in use, and those of before whose tokens still run.

use super::StoreError;
use jsonwebtoken::jwk::Jwk;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

const NAME: &str = "token_keys";

#[derive(Serialize, Deserialize)]
struct Kept {
    jwk: Jwk,
    /// When its last token ends; none for the key in use.
    until: Option<u64>,
}

/// Notes which key is in use. A key that is not any more is good for `seconds`, which no token outlives; what is
/// returned are those, each with its end.
pub(crate) fn settle(
    connection: &Connection,
    current: &Jwk,
    now: u64,
    seconds: u64,
) -> Result<Vec<(Jwk, u64)>, StoreError> {
    let damaged = |_| StoreError::Damaged { what: "token key" };
    let kept: Option<Vec<u8>> = connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?")?
        .query_row([NAME], |row| row.get(0))
        .optional()?;
    let kept: Vec<Kept> = kept.map_or(Ok(Vec::new()), |bytes| serde_json::from_slice(&bytes)).map_err(damaged)?;
    let before: Vec<(Jwk, u64)> = kept
        .into_iter()
        .filter(|key| key.jwk != *current)
        .map(|key| (key.jwk, key.until.unwrap_or_else(|| now.saturating_add(seconds))))
        .filter(|(_, until)| now < *until)
        .collect();
    let keep = before.iter().map(|(jwk, until)| Kept { jwk: jwk.clone(), until: Some(*until) });
    let keep: Vec<Kept> = keep.chain([Kept { jwk: current.clone(), until: None }]).collect();
    let bytes = serde_json::to_vec(&keep).map_err(damaged)?;
    connection
        .prepare_cached("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2")?
        .execute(params![NAME, bytes])?;
    Ok(before)
}
