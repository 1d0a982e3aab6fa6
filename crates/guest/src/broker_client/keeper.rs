//! One attested session for the whole guest, renewed when it ends.

use super::{ClientError, KbsClient, Session};
use crate::evidence::Attester;
use claims::Secret;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long to try while the broker cannot be reached.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// In all.
    pub total: Duration,
    /// Wait after the first failure; doubled after each, up to `longest`.
    pub first: Duration,
    /// Longest wait between two tries.
    pub longest: Duration,
}

impl Patience {
    /// What a boot takes: from one second to 15, for `total`.
    pub fn of(total: Duration) -> Self {
        Self { total, first: Duration::from_secs(1), longest: Duration::from_secs(15) }
    }
}

/// Holds the guest's session and renews it.
pub struct Keeper {
    client: KbsClient,
    site_json: Arc<[u8]>,
    session: Mutex<Option<(Session, Instant)>>,
}

impl Keeper {
    /// Nothing is sent yet.
    pub fn new(client: KbsClient, site_json: Arc<[u8]>) -> Self {
        Self { client, site_json, session: Mutex::new(None) }
    }

    /// Attests anew and keeps the session.
    pub fn attest(&self) -> Result<Session, ClientError> {
        let session = self.client.attest(&self.site_json)?;
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some((session.clone(), Instant::now()));
        Ok(session)
    }

    /// Asks the broker; tries again while it cannot be reached or cannot answer. `progress` is told before each wait
    /// what went wrong, and how long the wait is.
    pub fn patiently<T>(
        &self,
        patience: Patience,
        progress: &mut dyn FnMut(&ClientError, Duration),
        ask: impl Fn(&Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let start = Instant::now();
        let mut wait = patience.first;
        loop {
            let error = match ask(self) {
                Err(error) if error.may_pass() => error,
                outcome => return outcome,
            };
            let spent = start.elapsed();
            if spent.saturating_add(wait) > patience.total {
                return Err(ClientError::GaveUp { seconds: spent.as_secs(), last: Box::new(error) });
            }
            progress(&error, wait);
            thread::sleep(wait);
            wait = wait.saturating_mul(2).min(patience.longest);
        }
    }

    /// Fetches a resource, over the session that there is; attests once more when the broker no longer knows it.
    pub fn resource(&self, path: &str) -> Result<Secret<Vec<u8>>, ClientError> {
        if let Some((session, _)) = self.known() {
            match session.resource(path) {
                Err(ClientError::Refused { status: 401, .. }) => {}
                outcome => return outcome,
            }
        }
        self.attest()?.resource(path)
    }

    /// A session that is at most this old.
    pub fn session(&self, at_most: Duration) -> Result<Session, ClientError> {
        match self.known() {
            Some((session, made)) if made.elapsed() <= at_most => Ok(session),
            _ => self.attest(),
        }
    }

    /// The device that evidence comes from.
    pub fn attester(&self) -> &Arc<dyn Attester> {
        self.client.attester()
    }

    fn known(&self) -> Option<(Session, Instant)> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
