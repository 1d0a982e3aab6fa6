//! A PostgreSQL database that several brokers share: who may use it, its tables, and that it stays the one it was.
//!
//! *Takes* new connections.
//! *Guarantees* that tables are made once, however many brokers start; that a command which must be alone is; and that a
//! broker goes on only with a database that is under its keys and still holds what the broker wrote last.
//! *Does not check* rows that somebody with the right to write has changed: see `THREATS.md`.

use super::db::{Connection, params};
use super::postgres::{Link, Purpose};
use super::secrets::{self, Vault};
use super::{StoreError, audit, later_tables, schema};
use crate::keys::Keys;
use crate::ledger::Head;

/// First number of the advisory locks: "conf".
const LOCKS: i64 = 0x636f_6e66;
/// Held, shared, by each broker that runs; alone by a command that must be.
const USE: i64 = 1;
/// Held while tables are looked for, and made.
const TABLES: i64 = 2;

/// Opens the database for a broker; makes its tables where there are none.
pub(super) fn open(link: &Link, keys: &Keys) -> Result<Connection, StoreError> {
    let connection = Connection::postgres(link.connect(Purpose::Write)?);
    join(&connection)?;
    connection.execute_batch(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCKS}, {TABLES})"))?;
    let made = tables(&connection, keys);
    connection.execute_batch(if made.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    made?;
    Ok(connection)
}

/// Opens the database for a command that no broker may run beside.
pub(super) fn open_alone(link: &Link) -> Result<Connection, StoreError> {
    let connection = Connection::postgres(link.connect(Purpose::Write)?);
    let alone: bool = connection.query_row(
        "SELECT pg_try_advisory_lock(CAST(? AS INT), CAST(? AS INT))",
        params![LOCKS, USE],
        |row| row.get(0),
    )?;
    if !alone {
        return Err(StoreError::Replicas);
    }
    schema::check(&connection)?;
    Ok(connection)
}

/// Connects a running broker again.
pub(super) fn open_again(
    link: &Link,
    log: &audit::Log,
    vault: &Vault,
    known: Option<&Head>,
) -> Result<Connection, StoreError> {
    let connection = Connection::postgres(link.connect(Purpose::Write)?);
    join(&connection)?;
    schema::check(&connection)?;
    vault.fits(&connection)?;
    log.resume(&connection)?;
    match known {
        Some(head) if !audit::holds(&connection, head)? => Err(StoreError::WentBack { entries: head.size }),
        _ => Ok(connection),
    }
}

fn join(connection: &Connection) -> Result<(), StoreError> {
    let sql = "SELECT pg_try_advisory_lock_shared(CAST(? AS INT), CAST(? AS INT))";
    let joined: bool = connection.query_row(sql, params![LOCKS, USE], |row| row.get(0))?;
    if joined { Ok(()) } else { Err(StoreError::Alone) }
}

fn tables(connection: &Connection, keys: &Keys) -> Result<(), StoreError> {
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let ours = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'meta'";
    let any = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()";
    if count(any)? == 0 {
        schema::create(connection)?;
        later_tables(connection)?;
        secrets::begin(connection, &keys.master)?;
        audit::Log::new(keys)?.begin(connection)?;
        tracing::info!("the tables were made");
    } else if count(ours)? == 0 {
        return Err(StoreError::Foreign);
    }
    schema::check(connection)?;
    later_tables(connection)
}
