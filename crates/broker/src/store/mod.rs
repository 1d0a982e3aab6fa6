//! The embedded store: SQLite, one writing thread that groups transactions, a few reading connections.
//!
//! *Takes* work as closures; what one closure writes becomes durable together, or not at all.
//! *Guarantees* that a caller learns of success only after the transaction is on disk.
//! *Does not check* who asks.

pub(crate) mod audit;
pub(crate) mod leases;
mod offline;
pub(crate) mod policies;
pub(crate) mod references;
pub(crate) mod revocations;
pub(crate) mod rules;
mod schema;
mod schema_admin;
mod schema_policy;
pub(crate) mod secrets;
pub(crate) mod sessions;
pub(crate) mod signers;
pub(crate) mod token_keys;
pub(crate) mod upkeep;

pub use offline::{LogError, StoredLog};

use crate::keys::Keys;
use crate::ledger::LedgerError;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;

pub(crate) const FILE_NAME: &str = "broker.sqlite";
/// Pieces of work that one commit may carry.
const GROUP: usize = 64;
/// Work that may wait for the writer before callers are refused.
const QUEUE: usize = 1024;
/// Reading connections that are kept.
const READERS: usize = 4;

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says no.
    #[error("the database refused")]
    Sqlite(#[from] rusqlite::Error),
    /// The file has another schema.
    #[error("the database has schema {got}, this program reads schema {wanted}: use the program that made it")]
    Schema {
        /// Version found.
        got: i64,
        /// Version wanted.
        wanted: i64,
    },
    /// A stored value is not what was written.
    #[error("a stored {what} is damaged")]
    Damaged {
        /// What.
        what: &'static str,
    },
    /// The audit key cannot be used.
    #[error("the audit log's key cannot be used")]
    Ledger(#[from] LedgerError),
    /// The master key is another one.
    #[error("the master key is not the one that this store's secrets are under")]
    MasterKey,
    /// The commit of a group failed.
    #[error("the database could not commit: {0}")]
    Commit(String),
    /// Too much work waits.
    #[error("the store is busy")]
    Busy,
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
    /// The file or the writer's thread cannot be made.
    #[error("the store's file or thread cannot be made")]
    Make(#[source] std::io::Error),
}

type Reply = Box<dyn FnOnce(Option<String>) + Send>;
type Job = Box<dyn FnOnce(&Connection) -> Reply + Send>;

/// Handle to the store; cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    path: PathBuf,
    writer: mpsc::SyncSender<Job>,
    readers: Arc<Mutex<Vec<Connection>>>,
    pub(crate) audit: Arc<audit::Log>,
    pub(crate) vault: Arc<secrets::Vault>,
}

impl Store {
    /// Makes an empty store.
    pub(crate) fn create(folder: &Path, keys: &Keys) -> Result<(), StoreError> {
        let path = folder.join(FILE_NAME);
        // SQLite gives its side files the mode of the main file, so the main file is made first, closed to others.
        let made = {
            use std::os::unix::fs::OpenOptionsExt;
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)
        };
        made.map_err(StoreError::Make)?;
        let connection = open_for_writing(&path)?;
        schema::create(&connection)?;
        schema_policy::ensure(&connection)?;
        schema_admin::ensure(&connection)?;
        secrets::begin(&connection, &keys.master)?;
        audit::Log::new(keys)?.begin(&connection)
    }

    /// Opens the store and starts its writer.
    pub(crate) fn open(folder: &Path, keys: &Keys) -> Result<Self, StoreError> {
        let path = folder.join(FILE_NAME);
        let connection = open_for_writing(&path)?;
        schema::check(&connection)?;
        schema_policy::ensure(&connection)?;
        schema_admin::ensure(&connection)?;
        let audit = Arc::new(audit::Log::new(keys)?);
        audit.resume(&connection)?;
        let vault = Arc::new(secrets::Vault::open_store(&connection, &keys.master)?);
        let log = Arc::clone(&audit);
        let (writer, jobs) = mpsc::sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || write_groups(&connection, &log, &jobs))
            .map_err(StoreError::Make)?;
        Ok(Self { path, writer, readers: Arc::default(), audit, vault })
    }

    /// Runs `work` in a transaction and returns once that is durable.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = in_savepoint(connection, work);
            Box::new(move |failure: Option<String>| {
                let outcome = match failure {
                    None => outcome,
                    Some(reason) => outcome.and(Err(StoreError::Commit(reason))),
                };
                // The caller may have gone away; what was committed stays.
                let _ = answer.send(outcome);
            })
        });
        self.writer.try_send(job).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => StoreError::Busy,
            mpsc::TrySendError::Disconnected(_) => StoreError::Closed,
        })?;
        result.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs `work` on a connection that cannot write, off the runtime's threads.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (path, readers) = (self.path.clone(), Arc::clone(&self.readers));
        let task = tokio::task::spawn_blocking(move || {
            let kept = readers.lock().ok().and_then(|mut kept| kept.pop());
            let connection = match kept {
                Some(connection) => connection,
                None => {
                    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                    let connection = Connection::open_with_flags(&path, flags)?;
                    connection.busy_timeout(Duration::from_secs(5))?;
                    steady(&connection)?;
                    connection
                }
            };
            let outcome = work(&connection);
            if let Ok(mut kept) = readers.lock()
                && kept.len() < READERS
            {
                kept.push(connection);
            }
            outcome
        });
        task.await.map_err(|_| StoreError::Closed)?
    }
}

fn open_for_writing(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // FULL: a decision whose answer was sent must survive a power cut.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    steady(&connection)?;
    Ok(connection)
}

/// Statements are compiled once: without the planner's guarantee SQLite compiles many of them again for each value that is
/// bound ("SQLITE_DBCONFIG_ENABLE_QPSG").
fn steady(connection: &Connection) -> Result<(), StoreError> {
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let run = |sql| connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
    run("SAVEPOINT work")?;
    let outcome = work(connection);
    if outcome.is_err() {
        run("ROLLBACK TO work")?;
    }
    run("RELEASE work")?;
    outcome
}

/// Takes what waits, up to [`GROUP`] pieces, and commits it at once: under load one flush to disk serves many callers.
fn write_groups(connection: &Connection, log: &audit::Log, jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut replies = Vec::new();
        let mut failure = connection.execute_batch("BEGIN IMMEDIATE").err().map(StoreError::from);
        let mut next = Some(first);
        while let Some(job) = next {
            // Without a transaction the work must not run at all: its savepoint alone would commit.
            if failure.is_some() {
                drop(job);
            } else {
                replies.push(job(connection));
            }
            next = if replies.len() < GROUP { jobs.try_recv().ok() } else { None };
        }
        if failure.is_none() {
            let settled = log.settle(connection);
            failure = settled.and_then(|()| Ok(connection.execute_batch("COMMIT")?)).err();
        }
        if let Some(error) = &failure {
            tracing::error!(%error, "the store could not commit");
            let _ = connection.execute_batch("ROLLBACK");
        }
        let failure = failure.map(|error| match error {
            StoreError::Sqlite(error) => error.to_string(),
            other => other.to_string(),
        });
        for reply in replies {
            reply(failure.clone());
        }
    }
}
