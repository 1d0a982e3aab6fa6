//! Vault as a running broker uses it: off the runtime's threads, a bounded number of requests at once, its state known.

use super::Client;
use super::error::VaultError;
use super::login::jitter;
use super::settings::{KeptInVault, VaultSettings};
use crate::path::ResourcePath;
use crate::rego::release::covers;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Requests to Vault at once.
const AT_ONCE: usize = 32;
/// Time between two looks at a Vault that is well.
const LOOK: Duration = Duration::from_secs(10);
/// First and longest wait after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// Knows what is kept in Vault, and how Vault is.
pub(crate) struct Keeper {
    client: Arc<Client>,
    kept: Vec<KeptInVault>,
    places: Arc<Semaphore>,
    patience: Duration,
    problem: Mutex<Option<&'static str>>,
}

impl Keeper {
    /// None where nothing is kept in Vault.
    pub(crate) fn new(vault: Option<&VaultSettings>, kept: &[KeptInVault]) -> Result<Option<Arc<Self>>, VaultError> {
        let (Some(settings), false) = (vault, kept.is_empty()) else { return Ok(None) };
        Ok(Some(Arc::new(Self {
            client: Arc::new(Client::new(settings)?),
            kept: kept.to_vec(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            patience: Duration::from_secs(settings.seconds),
            problem: Mutex::new(Some("Vault was not asked yet")),
        })))
    }

    /// Where a path is kept; none where it is the broker's own store.
    pub(crate) fn keeps(&self, path: &ResourcePath) -> Option<&KeptInVault> {
        let covering = self.kept.iter().filter(|kept| covers(&kept.prefix, path.as_str()));
        covering.max_by_key(|kept| kept.prefix.len())
    }

    /// Everything that is kept there.
    pub(crate) fn kept(&self) -> &[KeptInVault] {
        &self.kept
    }

    /// What is wrong with Vault, as of the last request.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks Vault about a path that it keeps.
    pub(crate) async fn ask<T, F>(&self, work: F) -> Result<T, VaultError>
    where
        T: Send + 'static,
        F: FnOnce(&Client) -> Result<T, VaultError> + Send + 'static,
    {
        let place = timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(VaultError::Busy) };
        let client = Arc::clone(&self.client);
        let task = tokio::task::spawn_blocking(move || {
            // Kept until the request is over, also where the caller has gone.
            let _place = place;
            work(&client)
        });
        let outcome = task.await.unwrap_or(Err(VaultError::Busy));
        if let Err(error) = &outcome {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%error, cause, "Vault");
        }
        self.note(outcome.as_ref().err());
        outcome
    }

    /// Renews the login in time and looks at Vault now and then, until dropped.
    pub(crate) async fn tend(self: Arc<Self>) {
        let mut failures = 0_u32;
        loop {
            let wait = match self.ask(|client| client.tend()).await {
                Ok(next) => {
                    failures = 0;
                    next.unwrap_or(LOOK).min(LOOK)
                }
                Err(_) => {
                    failures = failures.saturating_add(1);
                    let wait = RETRY.0.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(RETRY.1);
                    wait.mul_f64(1.0 - jitter() / 4.0)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// What one path's entry is like says nothing of Vault itself.
    fn note(&self, error: Option<&VaultError>) {
        use VaultError::{Conflict, Forbidden, Malformed, NoVersions, OtherMembers, Status};
        let problem = match error {
            Some(Conflict | Forbidden { .. } | Malformed { .. } | NoVersions | OtherMembers { .. } | Status { .. }) => {
                return;
            }
            other => other.map(VaultError::name),
        };
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

impl Client {
    /// Keeps the login alive; how long until that is due again. Fails where Vault cannot serve.
    fn tend(&self) -> Result<Option<Duration>, VaultError> {
        use super::http::Body;
        // 200 active, 429 and 473 standby (they answer, too); sealed and uninitialised are errors already.
        self.http.send(&ureq::http::Method::GET, "sys/health?standbyok=true", None, &Body::None)?;
        self.login.tend(&self.http)
    }
}
