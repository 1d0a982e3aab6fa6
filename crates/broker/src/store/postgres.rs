//! PostgreSQL: connections to it, and when to try again.
//!
//! *Takes* the `[store]` section of the settings.
//! *Guarantees* that no call waits without end, that a server over the network is the one whose authority is in the
//! settings, and that the password is read anew for each connection and is in no message.
//! *Does not check* what the database holds: [`super::shared`] does.

use super::StoreError;
use super::db::DatabaseError;
use super::dialect::for_postgres;
use super::with_causes;
use crate::settings::{Postgres, PostgresTls};
use claims::Secret;
use rusqlite::types::Value;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;
use zeroize::Zeroize;

/// Until a connection must stand, with its settings.
const CONNECT: Duration = Duration::from_secs(5);
/// Until a call must be answered. The server gives up before: [`SETTINGS`].
const ANSWER: Duration = Duration::from_secs(12);
/// Between two attempts to connect, the first time and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 128;

/// What each session is told. A replica that stops in the middle of a transaction holds up the others for five seconds.
const SETTINGS: &str = "
SET statement_timeout = '10s'; SET lock_timeout = '8s'; SET idle_in_transaction_session_timeout = '5s';
SET client_min_messages = 'warning'; SET default_transaction_isolation = 'read committed';
SELECT set_config('synchronous_commit', 'on', false)
 WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write');";

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reading only.
    Read,
    /// Reading of one state for as long as somebody takes to write it down.
    ReadSlowly,
    Write,
}

/// The way to the server, shared by all of a broker's connections.
pub(super) struct Link {
    net: Arc<Net>,
    config: Config,
    password_file: Option<PathBuf>,
    tls: MakeRustlsConnect,
    retry: Mutex<Retry>,
}

/// When to try again, and why the last attempt failed.
#[derive(Default)]
struct Retry {
    wait: Duration,
    not_before: Option<Instant>,
    reason: String,
}

impl Link {
    /// Reads certificates; connects to nothing yet.
    pub(super) fn new(settings: &Postgres) -> Result<Self, StoreError> {
        let mut config: Config = settings.url.parse().map_err(|_| StoreError::Damaged { what: "PostgreSQL URL" })?;
        let over_network = settings.tls == PostgresTls::Verify && !settings.is_local_socket();
        config
            .ssl_mode(if over_network { SslMode::Require } else { SslMode::Disable })
            .target_session_attrs(tokio_postgres::config::TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(ANSWER);
        if config.get_application_name().is_none() {
            config.application_name("confide-broker");
        }
        let mut roots = RootCertStore::empty();
        if let Some(path) = &settings.ca_file {
            let unusable = || StoreError::Authority { path: path.clone() };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|_| unusable())? {
                roots.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
            }
            if roots.is_empty() {
                return Err(unusable());
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| StoreError::Damaged { what: "TLS provider" })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            net: Arc::new(Net::start()?),
            config,
            password_file: settings.password_file.clone(),
            tls: MakeRustlsConnect::new(tls),
            retry: Mutex::default(),
        })
    }

    /// A new connection. While the server is gone, attempts are made with growing pauses, and whoever comes in a pause is
    /// told at once.
    pub(super) fn connect(&self, purpose: Purpose) -> Result<Session, StoreError> {
        let retry = || self.retry.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let retry = retry();
            if retry.not_before.is_some_and(|time| Instant::now() < time) {
                return Err(StoreError::Gone { reason: retry.reason.clone() });
            }
        }
        match self.attempt(purpose) {
            Ok(session) => {
                *retry() = Retry::default();
                Ok(session)
            }
            Err(error) => {
                let reason = with_causes(&error);
                let mut retry = retry();
                retry.wait = retry.wait.saturating_mul(2).clamp(RETRY.0, RETRY.1);
                retry.not_before = Instant::now().checked_add(retry.wait);
                retry.reason.clone_from(&reason);
                Err(StoreError::Gone { reason })
            }
        }
    }

    fn attempt(&self, purpose: Purpose) -> Result<Session, ConnectError> {
        let mut config = self.config.clone();
        if let Some(path) = &self.password_file {
            password(path)?.expose(|password| config.password(password));
        }
        let tls = self.tls.clone();
        let made = self.net.wait(CONNECT, async move {
            let (client, connection) = config.connect(tls).await?;
            // Ends with the client, or with the connection.
            tokio::spawn(connection);
            client.batch_execute(SETTINGS).await?;
            match purpose {
                Purpose::Read => client.batch_execute("SET default_transaction_read_only = on").await?,
                Purpose::ReadSlowly => {
                    let slowly =
                        "SET default_transaction_read_only = on; SET idle_in_transaction_session_timeout = '1h'";
                    client.batch_execute(slowly).await?;
                }
                Purpose::Write => {}
            }
            let row = client.query_one("SELECT current_setting('server_encoding'), current_setting('fsync')", &[]);
            Ok((row.await?, client))
        });
        let (row, client) = made?;
        let (encoding, fsync): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if encoding != "UTF8" {
            return Err(ConnectError::Encoding { got: encoding });
        }
        if fsync != "on" && purpose == Purpose::Write {
            tracing::warn!("the PostgreSQL server runs with fsync off: decisions are lost when its machine stops");
        }
        Ok(Session {
            client: Arc::new(client),
            net: Arc::clone(&self.net),
            statements: RefCell::default(),
            lost: Cell::new(false),
        })
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("cannot read {}", path.display())]
    Password {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the database's encoding is {got}, wanted UTF8: make it with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    )]
    Encoding { got: String },
}

impl From<tokio_postgres::Error> for ConnectError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

/// The first line of the file.
fn password(path: &PathBuf) -> Result<Secret<Vec<u8>>, ConnectError> {
    let mut bytes = std::fs::read(path).map_err(|source| ConnectError::Password { path: path.clone(), source })?;
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(bytes.len());
    let password = Secret::new(bytes.get(..end).unwrap_or_default().to_vec());
    bytes.zeroize();
    Ok(password)
}

/// A runtime of its own for the connections: threads that wait for the database are never those which serve, and every call
/// may be made from anywhere.
struct Net(Option<Runtime>);

impl Net {
    fn start() -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store-net")
            .enable_all()
            .build()
            .map_err(StoreError::Make)?;
        Ok(Self(Some(runtime)))
    }

    /// Does the work on the runtime and blocks this thread until then.
    fn wait<T, F>(&self, patience: Duration, work: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    {
        let (told, outcome) = mpsc::sync_channel(1);
        if let Some(runtime) = &self.0 {
            runtime.spawn(async move {
                let _ = told.send(tokio::time::timeout(patience, work).await);
            });
        }
        match outcome.recv() {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) | Err(_) => Err(DatabaseError::Silent { seconds: patience.as_secs() }),
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waits for nothing, so that it can be dropped on a thread of another runtime.
            runtime.shutdown_background();
        }
    }
}

/// One connection.
pub(super) struct Session {
    client: Arc<Client>,
    net: Arc<Net>,
    statements: RefCell<HashMap<String, Statement>>,
    lost: Cell<bool>,
}

impl Session {
    /// Whether the connection has ended, or an answer never came.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get() || self.client.is_closed()
    }

    pub(super) fn prepare(&self, sql: &str) -> Result<Statement, DatabaseError> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let (client, text) = (Arc::clone(&self.client), for_postgres(sql));
        let statement = self.wait(async move { client.prepare(&text).await })?;
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= STATEMENTS {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    pub(super) fn execute(&self, statement: &Statement, values: Vec<Value>) -> Result<usize, DatabaseError> {
        let (client, statement) = (Arc::clone(&self.client), statement.clone());
        let values: Vec<Bound> = values.into_iter().map(Bound).collect();
        let rows = self.wait(async move { client.execute_raw(&statement, values).await })?;
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }

    pub(super) fn query(&self, statement: &Statement, values: Vec<Value>) -> Result<Vec<Vec<Value>>, DatabaseError> {
        let (client, statement) = (Arc::clone(&self.client), statement.clone());
        let values: Vec<Bound> = values.into_iter().map(Bound).collect();
        let rows = self.wait(async move {
            let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
            client.query(&statement, &values).await
        })?;
        let read = |row: &tokio_postgres::Row| {
            (0..row.len()).map(|index| Ok(row.try_get::<_, Bound>(index)?.0)).collect::<Result<_, DatabaseError>>()
        };
        rows.iter().map(read).collect()
    }

    pub(super) fn execute_batch(&self, sql: &str) -> Result<(), DatabaseError> {
        let (client, text) = (Arc::clone(&self.client), for_postgres(sql));
        self.wait(async move { client.batch_execute(&text).await })
    }

    fn wait<T, F>(&self, work: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    {
        let outcome = self.net.wait(ANSWER, work);
        if let Err(DatabaseError::Silent { .. }) = &outcome {
            // What the server still does with it is unknown, so nothing else is asked on this connection.
            self.lost.set(true);
        }
        outcome
    }
}

/// A value on its way to or from the server: whole numbers, texts, bytes.
#[derive(Debug)]
struct Bound(Value);

type Fault = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Bound {
    fn to_sql(&self, kind: &Type, out: &mut bytes::BytesMut) -> Result<IsNull, Fault> {
        match &self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(number) if *kind == Type::INT8 => number.to_sql(kind, out),
            Value::Integer(number) if *kind == Type::INT4 => i32::try_from(*number)?.to_sql(kind, out),
            Value::Text(text) if <&str as ToSql>::accepts(kind) => text.to_sql(kind, out),
            Value::Blob(bytes) if *kind == Type::BYTEA => bytes.to_sql(kind, out),
            other => Err(format!("a value of type {} for a parameter of type {kind}", other.data_type()).into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Bound {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        Ok(Self(match *kind {
            Type::INT8 => Value::Integer(i64::from_sql(kind, raw)?),
            Type::INT4 => Value::Integer(i32::from_sql(kind, raw)?.into()),
            Type::BOOL => Value::Integer(bool::from_sql(kind, raw)?.into()),
            Type::BYTEA => Value::Blob(Vec::from_sql(kind, raw)?),
            _ => Value::Text(String::from_sql(kind, raw)?),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Fault> {
        Ok(Self(Value::Null))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::INT4 | Type::BOOL | Type::BYTEA) || <String as FromSql>::accepts(kind)
    }
}
