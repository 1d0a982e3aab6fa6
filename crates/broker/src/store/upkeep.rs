//! What is done to a store while no broker uses it: a new master key, a copy, and what comes back from one.

use super::audit::{Kind, Log};
use super::db::{Connection, params};
use super::postgres::Purpose;
use super::{FILE_NAME, Source, StoreError, audit, open_for_writing, schema, secrets, sessions};
use crate::app::CHALLENGE_EPOCH;
use crate::keys::{Keys, Master};
use crate::settings::Settings;
use claims::UnixTime;
use serde::Serialize;
use std::path::Path;

/// Table of a backup beside the store's own: files of the broker's folder.
const FILES: &str = "CREATE TABLE backup_files (name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID";

/// Whether the store is under this master key.
pub(crate) fn is_of(settings: &Settings, master: &Master) -> Result<bool, StoreError> {
    let connection = Source::of(settings)?.open(Purpose::Read)?;
    schema::check(&connection)?;
    secrets::is_of(&connection, master)
}

/// Wraps every data key under `new`; epoch and number of data keys.
pub(crate) fn rotate(settings: &Settings, keys: &Keys, new: &Master, now: UnixTime) -> Result<(u64, u64), StoreError> {
    let connection = Source::of(settings)?.open_alone()?;
    schema::check(&connection)?;
    let log = Log::new(keys)?;
    log.resume(&connection)?;
    let transaction = connection.transaction()?;
    let (epoch, count) = secrets::rotate(&transaction, &keys.master, new)?;
    note(&log, &transaction, now, "rotate master key", Some(epoch))?;
    transaction.commit()?;
    Ok((epoch, count))
}

/// Copies the store as it is now into `target`, an empty file, with `files` beside it. The broker may run.
pub(crate) fn copy_out(folder: &Path, target: &Path, files: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
    let connection = open_for_reading(&folder.join(FILE_NAME))?;
    connection.execute("VACUUM INTO ?", [path_text(target)?])?;
    let copy = open_for_writing_as_it_is(target)?;
    copy.execute_batch(FILES)?;
    for (name, body) in files {
        copy.execute("INSERT INTO backup_files (name, body) VALUES (?, ?)", params![name, body])?;
    }
    Ok(())
}

/// The files in a backup.
pub(crate) fn files_of(backup: &Path) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let connection = open_for_reading(backup)?;
    let mut statement = connection
        .prepare("SELECT name, body FROM backup_files ORDER BY name")
        .map_err(|_| StoreError::Damaged { what: "backup: it has no files" })?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes the store of `folder` (an empty file there) from a backup.
pub(crate) fn copy_in(backup: &Path, folder: &Path) -> Result<(), StoreError> {
    let target = folder.join(FILE_NAME);
    open_for_reading(backup)?.execute("VACUUM INTO ?", [path_text(&target)?])?;
    let connection = open_for_writing(&target)?;
    connection.execute_batch("DROP TABLE backup_files; VACUUM")?;
    Ok(())
}

/// Ends what must not live on in a restored store: challenges that were taken since the copy would be good again.
pub(crate) fn begin_again(folder: &Path, keys: &Keys, now: UnixTime) -> Result<u64, StoreError> {
    let connection = open_for_writing(&folder.join(FILE_NAME))?;
    let log = Log::new(keys)?;
    log.resume(&connection)?;
    secrets::Vault::open_store(&connection, &keys.master)?;
    let transaction = connection.transaction()?;
    let epoch = sessions::number(&transaction, CHALLENGE_EPOCH)?.saturating_add(1);
    sessions::set_number(&transaction, CHALLENGE_EPOCH, epoch)?;
    transaction.execute("DELETE FROM sessions", [])?;
    let sequence = note(&log, &transaction, now, "restore", None)?;
    transaction.commit()?;
    Ok(sequence)
}

/// The audit entry, in the form of an administrator's change.
#[derive(Serialize)]
struct Change {
    admin: &'static str,
    peer: &'static str,
    action: &'static str,
    object: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    changed: bool,
}

fn note(
    log: &audit::Log,
    connection: &Connection,
    now: UnixTime,
    action: &'static str,
    version: Option<u64>,
) -> Result<u64, StoreError> {
    let facts = Change { admin: "operator", peer: "local", action, object: "store", version, changed: true };
    let sequence = log.append(connection, now, Kind::Admin, "", &facts)?;
    log.settle(connection)?;
    Ok(sequence)
}

fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    let connection = Source::Sqlite(path.to_owned()).open(Purpose::Read)?;
    schema::check(&connection)?;
    Ok(connection)
}

/// A backup is one file: without the settings of a store that is written to by a broker.
fn open_for_writing_as_it_is(path: &Path) -> Result<Connection, StoreError> {
    let opened = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE);
    Ok(Connection::sqlite(opened.map_err(super::DatabaseError::from)?))
}

fn path_text(path: &Path) -> Result<&str, StoreError> {
    path.to_str().ok_or(StoreError::Damaged { what: "path: it is not UTF-8" })
}
