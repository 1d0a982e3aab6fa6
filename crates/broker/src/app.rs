//! A running broker's state: what every handler may use.

use crate::challenge::Challenges;
use crate::clock::Clock;
use crate::http::gate::Gate;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::policy::Mode;
use crate::rego::Policies;
use crate::serve::ServeError;
use crate::settings::Settings;
use crate::store::audit::Kind;
use crate::store::{Store, sessions, token_keys};
use crate::token::{Previous, Tokens};
use crate::vault::Keeper;
use crate::verify::{Appraiser, Verifiers};
use aws_lc_rs::rand;
use claims::{Code, Digest256, UnixTime};
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How far the clock may be behind the latest time the store has seen, before challenges of that time are dropped.
const CLOCK_SLACK: u64 = 300;
const LATEST_TIME: &str = "latest_time";
pub(crate) const CHALLENGE_EPOCH: &str = "challenge_epoch";

pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) mode: Mode,
    pub(crate) identity: Digest256,
    /// Certificates of the audit key, for whoever checks heads.
    pub(crate) audit_chain: Vec<CertificateDer<'static>>,
    pub(crate) started: UnixTime,
    pub(crate) clock: Clock,
    pub(crate) gate: Gate,
    pub(crate) challenges: Challenges,
    pub(crate) tokens: Tokens,
    pub(crate) appraiser: Arc<Appraiser>,
    pub(crate) policies: Policies,
    pub(crate) store: Store,
    /// What is kept in Vault, where anything is.
    pub(crate) keeper: Option<Arc<Keeper>>,
    pub(crate) metrics: Metrics,
    /// The one place for a walk over the whole log.
    pub(crate) walks: Semaphore,
}

#[derive(Serialize)]
struct Started<'a> {
    version: &'static str,
    development: bool,
    identity: Digest256,
    listen: &'a str,
}

impl App {
    pub(crate) async fn start(settings: Settings, keys: &Keys, verifiers: Verifiers) -> Result<Arc<Self>, ServeError> {
        let mode = if settings.dev { Mode::Development } else { Mode::Production };
        let store = Store::open(&settings, keys)?;
        let clock = Clock::start();
        let started = clock.now();
        let tokens = Tokens::new(keys, mode)?;
        let (jwk, seconds) = (tokens.jwk().clone(), settings.session_seconds);
        let (log, listen) = (Arc::clone(&store.audit), settings.listen.to_string());
        let (development, identity) = (settings.dev, keys.identity);
        let (epoch, previous) = store
            .write(move |connection| {
                let latest = sessions::number(connection, LATEST_TIME)?;
                let mut epoch = sessions::number(connection, CHALLENGE_EPOCH)?;
                if started.0.saturating_add(CLOCK_SLACK) < latest {
                    // The clock went back: challenges that had expired, and were forgotten, would be good again.
                    epoch = epoch.saturating_add(1);
                    sessions::set_number(connection, CHALLENGE_EPOCH, epoch)?;
                    connection.execute("DELETE FROM sessions", [])?;
                }
                sessions::set_number(connection, LATEST_TIME, started.0)?;
                let version = env!("CARGO_PKG_VERSION");
                let facts = Started { version, development, identity, listen: &listen };
                log.append(connection, started, Kind::Start, "", &facts)?;
                let previous = token_keys::settle(connection, &jwk, started.0, seconds)?;
                Ok((epoch, previous))
            })
            .await?;
        let challenge_key = keys.master.derive("challenge");
        tokens.believe(previous.into_iter().filter_map(|(jwk, until)| Previous::new(jwk, until)).collect());
        let policies = Policies::load(&store, started).await?;
        Ok(Arc::new(Self {
            mode,
            policies,
            identity: keys.identity,
            audit_chain: keys.audit_chain.clone(),
            started,
            clock,
            gate: Gate::new(&keys.admin).ok_or(ServeError::AdminKey)?,
            challenges: Challenges::new(&challenge_key, epoch, settings.challenge_seconds),
            tokens,
            appraiser: Arc::new(Appraiser::new(mode, &settings.revocation, settings.collateral.clone(), verifiers)),
            keeper: Keeper::new(settings.vault.as_ref(), &settings.secrets)?,
            store,
            metrics: Metrics::default(),
            walks: Semaphore::new(1),
            settings,
        }))
    }

    /// Learns what other brokers on the same store have changed beside policies, which every decision looks at.
    pub(crate) async fn follow(&self) {
        let current = self.tokens.jwk().clone();
        let read = self.store.read(move |connection| {
            Ok((sessions::number(connection, CHALLENGE_EPOCH)?, token_keys::others(connection, &current)?))
        });
        match read.await {
            Ok((epoch, others)) => {
                self.challenges.follow(epoch);
                self.tokens.believe(others.into_iter().filter_map(|(jwk, until)| Previous::new(jwk, until)).collect());
            }
            // Requests say it aloud.
            Err(error) => tracing::debug!(%error, "the store does not answer"),
        }
    }

    /// Forgets what has expired, and remembers the time.
    pub(crate) async fn sweep(&self) {
        let now = self.clock.now();
        let swept = self.store.write(move |connection| {
            sessions::set_number(connection, LATEST_TIME, now.0)?;
            sessions::sweep(connection, now)
        });
        match swept.await {
            Ok(gone) => tracing::debug!(gone, "swept"),
            Err(error) => tracing::error!(%error, "the store could not be swept"),
        }
    }
}

/// A name for a decision: random, so that it tells nothing of how many there were.
pub(crate) fn decision_id() -> Result<String, Code> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| Code::Busy)?;
    Ok(hex::encode(bytes))
}
