//! Policies: every version is kept; one of each name is in force, or none.

use super::db::{Connection, DatabaseError, OptionalExtension, Row, params};
use super::{StoreError, sessions};
use crate::rego::Use;
use crate::rego::snapshot::EPOCH;
use claims::UnixTime;

/// One version of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) used_for: Use,
    /// Paths it is for: `REPOSITORY[/TYPE[/TAG]]`, or empty for all.
    pub(crate) prefix: String,
    pub(crate) added: u64,
    pub(crate) body: String,
}

const COLUMNS: &str = "policies.name, policies.version, used_for, prefix, added, body";

/// Adds a version and puts it into force; its number.
pub(crate) fn set(
    connection: &Connection,
    name: &str,
    used_for: Use,
    prefix: &str,
    body: &str,
    now: UnixTime,
) -> Result<u64, StoreError> {
    let last: i64 = connection
        .prepare_cached("SELECT coalesce(max(version), 0) FROM policies WHERE name = ?")?
        .query_row([name], |row| row.get(0))?;
    let version = last.saturating_add(1);
    connection
        .prepare_cached(
            "INSERT INTO policies (name, version, used_for, prefix, added, body) VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![name, version, used_for.name(), prefix, now.0.cast_signed(), body])?;
    connection
        .prepare_cached(
            "INSERT INTO policy_current (name, version) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET version = ?2",
        )?
        .execute(params![name, version])?;
    changed(connection)?;
    Ok(version.cast_unsigned())
}

/// Takes a policy out of force; its versions stay. Whether it was in force.
pub(crate) fn remove(connection: &Connection, name: &str) -> Result<bool, StoreError> {
    let removed = connection.prepare_cached("DELETE FROM policy_current WHERE name = ?")?.execute([name])? == 1;
    changed(connection)?;
    Ok(removed)
}

/// The policies in force, in order of their names.
pub(crate) fn current(connection: &Connection) -> Result<Vec<Stored>, StoreError> {
    let query = format!(
        "SELECT {COLUMNS} FROM policies JOIN policy_current
         ON policies.name = policy_current.name AND policies.version = policy_current.version ORDER BY policies.name"
    );
    let mut statement = connection.prepare_cached(&query)?;
    let rows = statement.query_map([], read)?;
    rows.map(|row| row.map_err(StoreError::from)?).collect()
}

/// The version in force of a name.
pub(crate) fn in_force(connection: &Connection, name: &str) -> Result<Option<Stored>, StoreError> {
    let number: Option<i64> = connection
        .prepare_cached("SELECT version FROM policy_current WHERE name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    match number {
        None => Ok(None),
        Some(number) => version(connection, name, number.cast_unsigned()),
    }
}

/// One version of a name.
pub(crate) fn version(connection: &Connection, name: &str, version: u64) -> Result<Option<Stored>, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM policies WHERE name = ? AND version = ?");
    let mut statement = connection.prepare_cached(&query)?;
    statement.query_row(params![name, version.cast_signed()], read).optional()?.transpose()
}

/// Every version of a name, newest first.
pub(crate) fn versions(connection: &Connection, name: &str) -> Result<Vec<Stored>, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM policies WHERE name = ? ORDER BY version DESC LIMIT 200");
    let mut statement = connection.prepare_cached(&query)?;
    let rows = statement.query_map([name], read)?;
    rows.map(|row| row.map_err(StoreError::from)?).collect()
}

/// Says that decisions made before this are not good any more.
pub(super) fn changed(connection: &Connection) -> Result<(), StoreError> {
    let epoch = sessions::number(connection, EPOCH)?;
    sessions::set_number(connection, EPOCH, epoch.saturating_add(1))
}

fn read(row: &Row) -> Result<Result<Stored, StoreError>, DatabaseError> {
    let used_for: String = row.get(2)?;
    let Some(used_for) = Use::parse(&used_for) else { return Ok(Err(StoreError::Damaged { what: "policy" })) };
    Ok(Ok(Stored {
        name: row.get(0)?,
        version: row.get::<_, i64>(1)?.cast_unsigned(),
        used_for,
        prefix: row.get(3)?,
        added: row.get::<_, i64>(4)?.cast_unsigned(),
        body: row.get(5)?,
    }))
}
