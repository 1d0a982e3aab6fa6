//! A connection to either database, with the few calls that the store makes, under the names that rusqlite has for them.
//!
//! *Takes* statements that both databases read (see [`super::dialect`]) and values that rusqlite can bind.
//! *Guarantees* the same types on both sides: what is read is as it was written.
//! *Does not check* which transaction a statement runs in: the caller begins and ends it.

use super::postgres::Session;
use rusqlite::types::{FromSql, ToSql, Value, ValueRef};
use std::ops::Deref;

pub(crate) use rusqlite::params;

/// Why a database did not do something.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite says no.
    #[error("SQLite refused")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL says no, or the connection to it is lost.
    #[error("PostgreSQL refused, or the connection to it is lost")]
    Postgres(#[from] tokio_postgres::Error),
    /// PostgreSQL does not answer; the connection is given up.
    #[error("PostgreSQL did not answer in {seconds} s")]
    Silent {
        /// Patience.
        seconds: u64,
    },
    /// There is no such row.
    #[error("there is no such row")]
    NoRows,
    /// A column is of another type than what was written there.
    #[error("column {index} of a row has another type")]
    Column {
        /// Number, from 0.
        index: usize,
    },
}

/// A connection to the store's database.
pub(crate) struct Connection(Backend);

enum Backend {
    Sqlite(rusqlite::Connection),
    Postgres(Session),
}

impl Connection {
    pub(super) fn sqlite(connection: rusqlite::Connection) -> Self {
        Self(Backend::Sqlite(connection))
    }

    #[cfg(test)]
    pub(crate) fn open_in_memory() -> Result<Self, DatabaseError> {
        Ok(Self::sqlite(rusqlite::Connection::open_in_memory()?))
    }

    pub(super) fn postgres(session: Session) -> Self {
        Self(Backend::Postgres(session))
    }

    /// The session, where this is PostgreSQL.
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.0 {
            Backend::Sqlite(_) => None,
            Backend::Postgres(session) => Some(session),
        }
    }

    /// Whether nothing can be asked of this connection any more.
    pub(super) fn is_lost(&self) -> bool {
        self.session().is_some_and(Session::is_lost)
    }

    pub(crate) fn prepare_cached<'c>(&'c self, sql: &str) -> Result<Statement<'c>, DatabaseError> {
        Ok(Statement(match &self.0 {
            Backend::Sqlite(connection) => Prepared::Sqlite(connection.prepare_cached(sql)?),
            Backend::Postgres(session) => Prepared::Postgres(session, session.prepare(sql)?),
        }))
    }

    pub(crate) fn prepare<'c>(&'c self, sql: &str) -> Result<Statement<'c>, DatabaseError> {
        self.prepare_cached(sql)
    }

    /// How many rows were changed.
    pub(crate) fn execute(&self, sql: &str, values: impl Params) -> Result<usize, DatabaseError> {
        self.prepare_cached(sql)?.execute(values)
    }

    pub(crate) fn query_row<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnOnce(&Row) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        self.prepare_cached(sql)?.query_row(values, read)
    }

    /// Several statements without values.
    pub(crate) fn execute_batch(&self, sql: &str) -> Result<(), DatabaseError> {
        match &self.0 {
            Backend::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Backend::Postgres(session) => session.execute_batch(sql),
        }
    }

    /// One state of the database for everything that is read through it.
    pub(crate) fn unchecked_transaction(&self) -> Result<Transaction<'_>, DatabaseError> {
        self.begin_reading()?;
        Ok(Transaction { connection: self, open: true })
    }

    /// A transaction that writes, alone.
    pub(super) fn transaction(&self) -> Result<Transaction<'_>, DatabaseError> {
        self.begin_writing()?;
        Ok(Transaction { connection: self, open: true })
    }

    pub(super) fn begin_reading(&self) -> Result<(), DatabaseError> {
        self.execute_batch(match &self.0 {
            Backend::Sqlite(_) => "BEGIN",
            Backend::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        })
    }

    /// Begins a transaction that no other writer overlaps. Over several brokers the audit log's edge is what they all
    /// change, so its row is taken first: everything behind this statement sees what the writer before has committed.
    pub(super) fn begin_writing(&self) -> Result<(), DatabaseError> {
        self.execute_batch(match &self.0 {
            Backend::Sqlite(_) => "BEGIN IMMEDIATE",
            Backend::Postgres(_) => "BEGIN; SELECT 1 FROM meta WHERE name = 'audit_edge' FOR UPDATE",
        })
    }
}

/// A transaction; undone when it is dropped.
pub(crate) struct Transaction<'c> {
    connection: &'c Connection,
    open: bool,
}

impl Transaction<'_> {
    pub(super) fn commit(mut self) -> Result<(), DatabaseError> {
        self.open = false;
        let committed = self.connection.execute_batch("COMMIT");
        if committed.is_err() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        committed
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open {
            // Where this fails the connection is lost, and the transaction with it.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}

/// A prepared statement.
pub(crate) struct Statement<'c>(Prepared<'c>);

enum Prepared<'c> {
    Sqlite(rusqlite::CachedStatement<'c>),
    Postgres(&'c Session, tokio_postgres::Statement),
}

impl Statement<'_> {
    /// How many rows were changed.
    pub(crate) fn execute(&mut self, values: impl Params) -> Result<usize, DatabaseError> {
        match &mut self.0 {
            Prepared::Sqlite(statement) => Ok(statement.execute(values.list().as_slice())?),
            Prepared::Postgres(session, statement) => session.execute(statement, bound(&values)?),
        }
    }

    pub(crate) fn query(&mut self, values: impl Params) -> Result<Rows, DatabaseError> {
        let rows = match &mut self.0 {
            Prepared::Sqlite(statement) => {
                let columns = statement.column_count();
                let mut found = statement.query(values.list().as_slice())?;
                let mut rows = Vec::new();
                while let Some(row) = found.next()? {
                    rows.push(Row((0..columns).map(|index| row.get(index)).collect::<Result<_, _>>()?));
                }
                rows
            }
            Prepared::Postgres(session, statement) => {
                session.query(statement, bound(&values)?)?.into_iter().map(Row).collect()
            }
        };
        Ok(Rows { rest: rows.into_iter(), current: None })
    }

    /// The first row.
    pub(crate) fn query_row<T>(
        &mut self,
        values: impl Params,
        read: impl FnOnce(&Row) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        read(self.query(values)?.next()?.ok_or(DatabaseError::NoRows)?)
    }

    pub(crate) fn query_map<T>(
        &mut self,
        values: impl Params,
        read: impl FnMut(&Row) -> Result<T, DatabaseError>,
    ) -> Result<std::vec::IntoIter<Result<T, DatabaseError>>, DatabaseError> {
        let mut read = read;
        let rows: Vec<_> = self.query(values)?.rest.map(|row| read(&row)).collect();
        Ok(rows.into_iter())
    }
}

fn bound(values: &impl Params) -> Result<Vec<Value>, DatabaseError> {
    use rusqlite::types::ToSqlOutput;
    let read = |(index, value): (usize, &dyn ToSql)| match value.to_sql() {
        Ok(ToSqlOutput::Owned(value)) => Ok(value),
        Ok(ToSqlOutput::Borrowed(value)) => Value::column_result(value).map_err(|_| DatabaseError::Column { index }),
        _ => Err(DatabaseError::Column { index }),
    };
    values.list().into_iter().enumerate().map(read).collect()
}

/// What a query found. All of it is in memory: whoever reads much asks for pages.
pub(crate) struct Rows {
    rest: std::vec::IntoIter<Row>,
    current: Option<Row>,
}

impl Rows {
    pub(crate) fn next(&mut self) -> Result<Option<&Row>, DatabaseError> {
        self.current = self.rest.next();
        Ok(self.current.as_ref())
    }
}

/// One row.
pub(crate) struct Row(Vec<Value>);

impl Row {
    pub(crate) fn get<I: RowIndex, T: FromSql>(&self, index: I) -> Result<T, DatabaseError> {
        let index = index.number();
        let value = self.0.get(index).ok_or(DatabaseError::Column { index })?;
        T::column_result(ValueRef::from(value)).map_err(|_| DatabaseError::Column { index })
    }
}

/// Number of a column.
pub(crate) trait RowIndex {
    fn number(self) -> usize;
}

impl RowIndex for usize {
    fn number(self) -> usize {
        self
    }
}

/// Values of a statement: `params![…]`, or an array of one type.
pub(crate) trait Params {
    fn list(&self) -> Vec<&dyn ToSql>;
}

impl Params for &[&dyn ToSql] {
    fn list(&self) -> Vec<&dyn ToSql> {
        self.to_vec()
    }
}

impl Params for [&dyn ToSql; 0] {
    fn list(&self) -> Vec<&dyn ToSql> {
        Vec::new()
    }
}

impl<T: ToSql> Params for [T; 1] {
    fn list(&self) -> Vec<&dyn ToSql> {
        self.iter().map(|value| value as &dyn ToSql).collect()
    }
}

/// No row is an answer, too.
pub(crate) trait OptionalExtension<T> {
    fn optional(self) -> Result<Option<T>, DatabaseError>;
}

impl<T> OptionalExtension<T> for Result<T, DatabaseError> {
    fn optional(self) -> Result<Option<T>, DatabaseError> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(DatabaseError::NoRows) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
