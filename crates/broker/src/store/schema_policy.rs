//! Tables of policies and reference values, and indexes that came later. Made when they are not there, so older stores get them on opening.

use super::StoreError;
use super::db::Connection;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS policies (
    name TEXT NOT NULL, version INTEGER NOT NULL, used_for TEXT NOT NULL, prefix TEXT NOT NULL,
    added INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (name, version)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS policy_current (
    name TEXT PRIMARY KEY, version INTEGER NOT NULL,
    FOREIGN KEY (name, version) REFERENCES policies (name, version)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reference_values (
    id BLOB PRIMARY KEY, name TEXT NOT NULL, value TEXT NOT NULL, single INTEGER NOT NULL, added INTEGER NOT NULL,
    expires INTEGER, revoked INTEGER, reason TEXT) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reference_values_name ON reference_values (name);
CREATE INDEX IF NOT EXISTS leases_report_id ON leases (report_id);";

pub(super) fn ensure(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch(TABLES)?;
    Ok(())
}
