//! Tables of revocations and of the keys that sign reference values. Made when they are not there, so older stores get
//! them on opening.

use super::StoreError;
use super::db::Connection;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS revocations (
    id BLOB PRIMARY KEY, what TEXT NOT NULL, subject TEXT NOT NULL, reason TEXT NOT NULL, added INTEGER NOT NULL,
    admin TEXT NOT NULL, lifted INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reference_signers (
    name TEXT PRIMARY KEY, public_key BLOB NOT NULL, added INTEGER NOT NULL, serial INTEGER NOT NULL,
    digest BLOB) STRICT, WITHOUT ROWID;";

pub(super) fn ensure(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch(TABLES)?;
    Ok(())
}
