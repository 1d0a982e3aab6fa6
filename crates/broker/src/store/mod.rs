//! The store: SQLite in the broker's folder, or a PostgreSQL database that several brokers share; one writing thread that
//! groups transactions, a few reading connections.
//!
//! *Takes* work as closures; what one closure writes becomes durable together, or not at all.
//! *Guarantees* that a caller learns of success only after the transaction is on disk.
//! *Does not check* who asks.

pub(crate) mod audit;
pub(crate) mod db;
mod dialect;
pub(crate) mod leases;
mod offline;
pub(crate) mod policies;
mod postgres;
pub(crate) mod references;
pub(crate) mod revocations;
pub(crate) mod rules;
mod schema;
mod schema_admin;
mod schema_policy;
pub(crate) mod secrets;
pub(crate) mod sessions;
mod shared;
pub(crate) mod signers;
pub(crate) mod token_keys;
pub(crate) mod upkeep;
mod writer;

pub use db::DatabaseError;
pub use offline::{LogError, StoredLog};

use crate::keys::Keys;
use crate::ledger::LedgerError;
use crate::settings::{Settings, StoreSource};
use db::Connection;
use postgres::{Link, Purpose};
use rusqlite::OpenFlags;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};
use writer::{Failure, Job, Writer};

pub(crate) const FILE_NAME: &str = "broker.sqlite";
/// Work that may wait for the writer before callers are refused.
const QUEUE: usize = 1024;
/// Reading connections that are kept.
const READERS: usize = 4;
/// How long a reader waits for one of the connections to PostgreSQL.
const TURN: Duration = Duration::from_secs(5);

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database says no.
    #[error("the database refused")]
    Database(#[from] DatabaseError),
    /// The database cannot be reached; it is tried again by itself.
    #[error("the database cannot be used now, and will be tried again: {reason}")]
    Gone {
        /// Why.
        reason: String,
    },
    /// The database holds something else.
    #[error("the database holds other tables: give the broker a database or a schema of its own")]
    Foreign,
    /// Brokers run on the database.
    #[error("brokers run on the database: end all of them first")]
    Replicas,
    /// A command has the database for itself.
    #[error("a command has the database for itself: start the broker when that has ended")]
    Alone,
    /// The certificates of the database's authority cannot be used.
    #[error("{} does not hold certificates (PEM) of an authority", path.display())]
    Authority {
        /// File.
        path: PathBuf,
    },
    /// The database is not the one that was written to.
    #[error(
        "the database went back, or is another one: it does not hold the audit log's first {entries} entries as this broker committed them"
    )]
    WentBack {
        /// Entries known.
        entries: u64,
    },
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

/// Where the database is.
#[derive(Clone)]
enum Source {
    Sqlite(PathBuf),
    Postgres(Arc<Link>),
}

impl Source {
    fn of(settings: &Settings) -> Result<Self, StoreError> {
        match &settings.store {
            StoreSource::Sqlite => Ok(Self::Sqlite(settings.folder.join(FILE_NAME))),
            StoreSource::Postgres(postgres) => Ok(Self::Postgres(Arc::new(Link::new(postgres)?))),
        }
    }

    /// A connection that cannot write.
    fn open(&self, purpose: Purpose) -> Result<Connection, StoreError> {
        match self {
            Self::Sqlite(path) => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = rusqlite::Connection::open_with_flags(path, flags).map_err(DatabaseError::from)?;
                connection.busy_timeout(Duration::from_secs(5)).map_err(DatabaseError::from)?;
                steady(&connection).map_err(DatabaseError::from)?;
                Ok(Connection::sqlite(connection))
            }
            Self::Postgres(link) => Ok(Connection::postgres(link.connect(purpose)?)),
        }
    }

    /// A connection that no broker may run beside; over a folder its lock sees to that.
    fn open_alone(&self) -> Result<Connection, StoreError> {
        match self {
            Self::Sqlite(path) => open_for_writing(path),
            Self::Postgres(link) => shared::open_alone(link),
        }
    }
}

/// Reading connections that wait for work. Fields are dropped in their order: the connections first.
struct Readers {
    kept: Mutex<Vec<Connection>>,
    _open: watch::Receiver<()>,
}

impl Readers {
    fn take(&self) -> Option<Connection> {
        self.kept.lock().ok()?.pop()
    }
}

/// Handle to the store; cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    source: Source,
    writer: mpsc::SyncSender<Job>,
    readers: Arc<Readers>,
    /// Places for reading connections, where they are few.
    places: Option<Arc<Semaphore>>,
    /// Whoever has a connection holds a receiver.
    open: Arc<watch::Sender<()>>,
    pub(crate) audit: Arc<audit::Log>,
    pub(crate) vault: Arc<secrets::Vault>,
}

impl Store {
    /// Makes an empty store in the folder.
    pub(crate) fn create(folder: &Path, keys: &Keys) -> Result<(), StoreError> {
        let path = folder.join(FILE_NAME);
        // SQLite gives its side files the mode of the main file, so the main file is made first, closed to others.
        let made = {
            use std::os::unix::fs::OpenOptionsExt;
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)
        };
        made.map_err(StoreError::Make)?;
        let connection = open_for_writing(&path)?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        schema::create(&connection)?;
        connection.execute_batch("COMMIT")?;
        later_tables(&connection)?;
        secrets::begin(&connection, &keys.master)?;
        audit::Log::new(keys)?.begin(&connection)
    }

    /// Opens the store and starts its writer. An empty PostgreSQL database gets its tables.
    pub(crate) fn open(settings: &Settings, keys: &Keys) -> Result<Self, StoreError> {
        let source = Source::of(settings)?;
        let (connection, places) = match &source {
            Source::Sqlite(path) => {
                let connection = open_for_writing(path)?;
                schema::check(&connection)?;
                later_tables(&connection)?;
                (connection, None)
            }
            Source::Postgres(link) => (shared::open(link, keys)?, Some(Arc::new(Semaphore::new(READERS)))),
        };
        let vault = Arc::new(secrets::Vault::open_store(&connection, &keys.master)?);
        let audit = Arc::new(audit::Log::new(keys)?);
        let known = Some(audit.resume(&connection)?);
        let (log, vault_too) = (Arc::clone(&audit), Arc::clone(&vault));
        let thread = Writer { source: source.clone(), connection: Some(connection), log, vault: vault_too, known };
        let (writer, jobs) = mpsc::sync_channel(QUEUE);
        let (open, held) = watch::channel(());
        let readers = Arc::new(Readers { kept: Mutex::default(), _open: held.clone() });
        let writing = move || {
            let _open = held;
            thread.run(&jobs);
        };
        std::thread::Builder::new().name("store-writer".into()).spawn(writing).map_err(StoreError::Make)?;
        Ok(Self { source, writer, readers, places, open: Arc::new(open), audit, vault })
    }

    /// Is done once every handle is gone, and every connection is closed.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + use<> {
        let open = Arc::clone(&self.open);
        async move { open.closed().await }
    }

    /// Whether other brokers use the store as well.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.source, Source::Postgres(_))
    }

    /// Runs `work` in a transaction and returns once that is durable.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = connection.map(|connection| in_savepoint(connection, work));
            Box::new(move |failure: Option<Failure>| {
                let outcome = match (outcome, failure) {
                    // The work's own error says more than that of its group.
                    (Some(Err(error)), _) => Err(error),
                    (_, Some(failure)) => Err(failure.into()),
                    (Some(Ok(value)), None) => Ok(value),
                    (None, None) => Err(StoreError::Closed),
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
        let place = match &self.places {
            None => None,
            Some(places) => {
                let turn = tokio::time::timeout(TURN, Arc::clone(places).acquire_owned());
                Some(turn.await.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Closed)?)
            }
        };
        let (source, readers) = (self.source.clone(), Arc::clone(&self.readers));
        let task = tokio::task::spawn_blocking(move || {
            let _place = place;
            let mut kept = readers.take();
            while kept.as_ref().is_some_and(Connection::is_lost) {
                kept = readers.take();
            }
            let connection = match kept {
                Some(connection) => connection,
                None => source.open(Purpose::Read)?,
            };
            let outcome = work(&connection);
            if !connection.is_lost()
                && let Ok(mut kept) = readers.kept.lock()
                && kept.len() < READERS
            {
                kept.push(connection);
            }
            outcome
        });
        task.await.map_err(|_| StoreError::Closed)?
    }
}

/// Tables that came after the first ones: made when they are not there, so older stores get them on opening.
fn later_tables(connection: &Connection) -> Result<(), StoreError> {
    schema_policy::ensure(connection)?;
    schema_admin::ensure(connection)
}

fn open_for_writing(path: &Path) -> Result<Connection, StoreError> {
    let open = || -> Result<_, rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // FULL: a decision whose answer was sent must survive a power cut.
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "secure_delete", true)?;
        steady(&connection)?;
        Ok(connection)
    };
    Ok(Connection::sqlite(open().map_err(DatabaseError::from)?))
}

/// Statements are compiled once: without the planner's guarantee SQLite compiles many of them again for each value that is
/// bound ("SQLITE_DBCONFIG_ENABLE_QPSG").
fn steady(connection: &rusqlite::Connection) -> Result<(), rusqlite::Error> {
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
    let outcome = work(connection).and_then(|value| {
        run("RELEASE work")?;
        Ok(value)
    });
    if outcome.is_err() {
        run("ROLLBACK TO work")?;
        run("RELEASE work")?;
    }
    outcome
}

/// An error with its causes, for logs and for callers in this crate.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some say their cause themselves.
        if !words.ends_with(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}
