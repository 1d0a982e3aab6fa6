//! The thread that writes: takes what waits and commits it at once, so that under load one flush to disk serves many callers.
//!
//! *Takes* pieces of work, each of which is undone alone when it fails.
//! *Guarantees* that a caller hears of success only after the commit; that a commit whose outcome is unknown is a failure;
//! and that a connection which was lost is made again, by itself, before the next piece of work.
//! *Does not check* what the work does.

use super::db::Connection;
use super::secrets::Vault;
use super::{Source, StoreError, audit, shared, with_causes};
use crate::ledger::Head;
use std::sync::{Arc, mpsc};

/// Pieces of work that one commit may carry.
const GROUP: usize = 64;

/// Why a whole group failed: told to each of its callers.
#[derive(Clone)]
pub(super) enum Failure {
    Commit(String),
    Gone(String),
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Commit(reason) => Self::Commit(reason),
            Failure::Gone(reason) => Self::Gone { reason },
        }
    }
}

/// Answers a caller, after the group's end.
pub(super) type Reply = Box<dyn FnOnce(Option<Failure>) + Send>;
/// A piece of work; without a connection it only passes on why not.
pub(super) type Job = Box<dyn FnOnce(Option<&Connection>) -> Reply + Send>;

pub(super) struct Writer {
    pub(super) source: Source,
    pub(super) connection: Option<Connection>,
    pub(super) log: Arc<audit::Log>,
    pub(super) vault: Arc<Vault>,
    /// The newest head that was committed here.
    pub(super) known: Option<Head>,
}

impl Writer {
    /// Until every handle to the store is gone.
    pub(super) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            self.group(first, jobs);
        }
    }

    fn group(&mut self, first: Job, jobs: &mpsc::Receiver<Job>) {
        let begun = self.begin();
        let connection = if begun.is_ok() { self.connection.as_ref() } else { None };
        let mut replies = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            // Without a transaction the work must not run at all: its savepoint alone would commit.
            replies.push(job(connection));
            next = if replies.len() < GROUP { jobs.try_recv().ok() } else { None };
        }
        let failure = match begun.and_then(|()| self.commit()) {
            Ok(()) => None,
            Err(error) => Some(self.give_up(&error)),
        };
        for reply in replies {
            reply(failure.clone());
        }
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        if self.connection.as_ref().is_none_or(Connection::is_lost) {
            self.connection = None;
            if let Source::Postgres(link) = &self.source {
                self.connection = Some(shared::open_again(link, &self.log, &self.vault, self.known.as_ref())?);
                tracing::info!("connected to PostgreSQL again");
            }
        }
        Ok(self.connection.as_ref().ok_or(StoreError::Closed)?.begin_writing()?)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let connection = self.connection.as_ref().ok_or(StoreError::Closed)?;
        // Also shows that the transaction is sound: PostgreSQL takes the COMMIT of a broken one for a ROLLBACK.
        let head = self.log.settle(connection)?;
        connection.execute_batch("COMMIT")?;
        self.known = Some(head);
        Ok(())
    }

    fn give_up(&mut self, error: &StoreError) -> Failure {
        let reason = with_causes(error);
        match error {
            // Each request that is refused for it says so.
            StoreError::Gone { .. } => tracing::debug!(error = reason, "there is no database"),
            _ => tracing::error!(error = reason, "the store could not commit"),
        }
        let sound = self.connection.as_ref().is_some_and(|connection| connection.execute_batch("ROLLBACK").is_ok());
        if !sound && matches!(self.source, Source::Postgres(_)) {
            self.connection = None;
        }
        match error {
            StoreError::Gone { reason } => Failure::Gone(reason.clone()),
            StoreError::WentBack { .. } | StoreError::MasterKey | StoreError::Alone => Failure::Gone(reason),
            _ => Failure::Commit(reason),
        }
    }
}
