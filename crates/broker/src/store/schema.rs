//! Tables, and the version they have.

use super::db::Connection;
use super::{StoreError, sessions};

/// Version of the tables below.
const VERSION: i64 = 2;

const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE rules (
    id BLOB PRIMARY KEY, name TEXT NOT NULL, site TEXT NOT NULL, added INTEGER NOT NULL,
    host_data BLOB NOT NULL, reference TEXT NOT NULL, chip BLOB) STRICT, WITHOUT ROWID;
CREATE INDEX rules_host_data ON rules (host_data);
CREATE TABLE rule_resources (
    resource TEXT NOT NULL, rule BLOB NOT NULL REFERENCES rules (id) ON DELETE CASCADE,
    PRIMARY KEY (resource, rule)) STRICT, WITHOUT ROWID;
CREATE TABLE sites (host_data BLOB PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE challenges (nonce BLOB PRIMARY KEY, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX challenges_expires ON challenges (expires);
CREATE TABLE sessions (id BLOB PRIMARY KEY, expires INTEGER NOT NULL, session TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_expires ON sessions (expires);
CREATE TABLE leases (
    resource TEXT NOT NULL, report_id TEXT NOT NULL, until INTEGER NOT NULL,
    PRIMARY KEY (resource, report_id)) STRICT, WITHOUT ROWID;
";

/// Where PostgreSQL keeps the version; SQLite has a place of its own for it.
const NAME: &str = "schema";

/// In the caller's transaction.
pub(super) fn create(connection: &Connection) -> Result<(), StoreError> {
    for tables in [TABLES, super::secrets::TABLES, super::audit::TABLES] {
        connection.execute_batch(tables)?;
    }
    match connection.session() {
        None => Ok(connection.execute_batch(&format!("PRAGMA user_version = {VERSION}"))?),
        Some(_) => sessions::set_number(connection, NAME, VERSION.cast_unsigned()),
    }
}

pub(super) fn check(connection: &Connection) -> Result<(), StoreError> {
    let got: i64 = match connection.session() {
        None => connection.query_row("PRAGMA user_version", [], |row| row.get(0))?,
        Some(_) => sessions::number(connection, NAME)?.cast_signed(),
    };
    if got == VERSION { Ok(()) } else { Err(StoreError::Schema { got, wanted: VERSION }) }
}
