//! The broker's token for Vault: got by AppRole or from a file, renewed in time, got again when it is dead.
//!
//! *Takes* settings.
//! *Guarantees* one login at a time, none while the last failure is fresh, and that token and secret id are in no error.
//! *Does not check* what the token may do: Vault's policies say that.

use super::error::VaultError;
use super::http::{Body, Http, Reply};
use super::settings::{VaultAuth, VaultSettings};
use aws_lc_rs::rand;
use claims::Secret;
use serde::Deserialize;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use ureq::http::Method;
use zeroize::Zeroizing;

/// Longest token or secret id.
const MAX_CREDENTIAL: usize = 16 << 10;
/// How long a failed login is not tried again: whoever waited for it gets the same answer.
const FRESH: Duration = Duration::from_millis(500);
/// Longest life of a token that is counted, seconds: ten years.
const LONGEST: u64 = 10 * 365 * 86_400;
/// Shortest time between two renewals.
const LEAST: Duration = Duration::from_millis(200);

/// A token as it is used for one request.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) secret: Arc<Secret<String>>,
    number: u64,
}

/// Holds the token.
pub(super) struct Login {
    auth: VaultAuth,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    logins: u64,
    failed: Option<(Instant, VaultError)>,
}

struct Held {
    token: Token,
    lease: Option<Lease>,
    /// Of the file that the token is from.
    changed: Option<SystemTime>,
}

/// How long a token is good.
#[derive(Clone, Copy)]
struct Lease {
    /// At the login; renewals that give much less end at the token's longest life.
    first: Duration,
    renew_at: Instant,
    ends: Instant,
    renewable: bool,
}

/// `auth` of a login or a renewal.
#[derive(Deserialize)]
struct Granted {
    auth: Option<Grant>,
}

#[derive(Deserialize)]
struct Grant {
    #[serde(deserialize_with = "wiped")]
    client_token: Zeroizing<String>,
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

/// What a token says of itself.
#[derive(Deserialize)]
struct Looked {
    data: LookedAt,
}

#[derive(Deserialize)]
struct LookedAt {
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

impl Lease {
    /// None for a token that does not end.
    fn new(seconds: u64, renewable: bool, first: Option<Duration>) -> Option<Self> {
        if seconds == 0 {
            return None;
        }
        let whole = Duration::from_secs(seconds.min(LONGEST));
        // Two thirds, less up to a tenth, so that several brokers do not come at once.
        let wait = (whole * 2 / 3).mul_f64(1.0 - jitter() / 10.0).max(LEAST);
        let now = Instant::now();
        // A lease that is longer than the clock reaches does not end.
        let (renew_at, ends) = (now.checked_add(wait)?, now.checked_add(whole)?);
        Some(Self { first: first.unwrap_or(whole), renew_at, ends, renewable })
    }
}

impl Login {
    pub(super) fn new(settings: &VaultSettings) -> Self {
        Self { auth: settings.auth.clone(), state: Mutex::default() }
    }

    /// A token that is good as far as known. Waits for a login that is under way.
    pub(super) fn token(&self, http: &Http) -> Result<Token, VaultError> {
        let mut state = self.state();
        if let Some(held) = &state.held
            && held.lease.is_none_or(|lease| Instant::now() < lease.ends)
            && !self.file_changed(held)
        {
            return Ok(held.token.clone());
        }
        self.enter(&mut state, http)
    }

    /// Vault refused this token: another one, or none where the token is good and may only not do this.
    pub(super) fn refused(&self, http: &Http, token: &Token) -> Result<Option<Token>, VaultError> {
        let mut state = self.state();
        match &state.held {
            // Somebody else got a new one meanwhile.
            Some(held) if held.token.number != token.number => return Ok(Some(held.token.clone())),
            _ => {}
        }
        let alive = http.send(&Method::GET, "auth/token/lookup-self", Some(&token.secret), &Body::None)?;
        if alive.is_success() {
            return Ok(None);
        }
        state.held = None;
        self.enter(&mut state, http).map(Some)
    }

    /// Renews the token when it is time; how long until the next time.
    pub(super) fn tend(&self, http: &Http) -> Result<Option<Duration>, VaultError> {
        self.token(http)?;
        let mut state = self.state();
        let now = Instant::now();
        let due = state.held.as_ref().and_then(|held| held.lease).filter(|lease| lease.renew_at <= now);
        if let Some(lease) = due {
            self.renew(&mut state, http, lease)?;
        }
        let next = state.held.as_ref().and_then(|held| held.lease);
        Ok(next.map(|lease| lease.renew_at.saturating_duration_since(now).max(LEAST)))
    }

    /// Gives an AppRole's token back. Failure does not matter: it ends by itself.
    pub(super) fn leave(&self, http: &Http) {
        let held = self.state().held.take();
        if let (Some(held), VaultAuth::Approle { .. }) = (held, &self.auth) {
            let _ = http.send(&Method::POST, "auth/token/revoke-self", Some(&held.token.secret), &Body::Plain(b"{}"));
        }
    }

    fn renew(&self, state: &mut State, http: &Http, lease: Lease) -> Result<(), VaultError> {
        if lease.renewable
            && let Some(held) = &mut state.held
        {
            let answer =
                http.send(&Method::POST, "auth/token/renew-self", Some(&held.token.secret), &Body::Plain(b"{}"))?;
            if answer.is_success() {
                let granted: Granted = answer.json()?;
                let grant = granted.auth.ok_or_else(|| answer.malformed("without `auth`"))?;
                let renewed = Lease::new(grant.lease_duration, grant.renewable, Some(lease.first));
                let near_its_end =
                    renewed.is_some() && Duration::from_secs(grant.lease_duration.min(LONGEST)) * 2 < lease.first;
                held.lease = renewed;
                if !near_its_end {
                    tracing::debug!(seconds = grant.lease_duration, "the token for Vault is renewed");
                    return Ok(());
                }
            }
        }
        // Not renewable, refused, or near its longest life.
        match &self.auth {
            VaultAuth::Approle { .. } => {
                self.enter(state, http)?;
            }
            VaultAuth::Token { .. } => {
                tracing::warn!("the token for Vault cannot be renewed; put another one into its file before it ends");
                if let Some(held) = &mut state.held
                    && let Some(lease) = &mut held.lease
                {
                    lease.renew_at = lease.ends;
                }
            }
        }
        Ok(())
    }

    /// Logs in, unless that failed a moment ago.
    fn enter(&self, state: &mut State, http: &Http) -> Result<Token, VaultError> {
        if let Some((when, error)) = &state.failed
            && when.elapsed() < FRESH
        {
            return Err(error.clone());
        }
        let outcome = self.log_in(state, http);
        state.failed = outcome.as_ref().err().map(|error| (Instant::now(), error.clone()));
        outcome
    }

    fn log_in(&self, state: &mut State, http: &Http) -> Result<Token, VaultError> {
        let (secret, lease, changed) = match &self.auth {
            VaultAuth::Approle { role_id, secret_id_file, mount } => {
                let secret_id = credential(secret_id_file, "a secret id")?;
                let mut body =
                    Zeroizing::new(Vec::with_capacity(secret_id.len().saturating_add(512).saturating_mul(2)));
                let words = [("role_id", role_id.as_str()), ("secret_id", secret_id.as_str())];
                let words: std::collections::BTreeMap<_, _> = words.into();
                serde_json::to_writer(&mut *body, &words)
                    .map_err(|_| VaultError::Content { path: secret_id_file.clone(), wanted: "a secret id" })?;
                let answer = http.send(&Method::POST, &format!("auth/{mount}/login"), None, &Body::Secret(&body))?;
                let mut grant = granted(&answer)?;
                let lease = Lease::new(grant.lease_duration, grant.renewable, None);
                (Secret::new(std::mem::take(&mut *grant.client_token)), lease, None)
            }
            VaultAuth::Token { token_file } => {
                let changed = modified(token_file);
                let mut token = credential(token_file, "a token")?;
                let token = Secret::new(std::mem::take(&mut *token));
                let answer = http.send(&Method::GET, "auth/token/lookup-self", Some(&token), &Body::None)?;
                if !answer.is_success() {
                    return Err(VaultError::Login { status: answer.status });
                }
                let looked: Looked = answer.json()?;
                (token, Lease::new(looked.data.ttl, looked.data.renewable, None), changed)
            }
        };
        state.logins = state.logins.saturating_add(1);
        let token = Token { secret: Arc::new(secret), number: state.logins };
        state.held = Some(Held { token: token.clone(), lease, changed });
        tracing::info!("logged in to Vault");
        Ok(token)
    }

    fn file_changed(&self, held: &Held) -> bool {
        match &self.auth {
            VaultAuth::Token { token_file } => modified(token_file) != held.changed,
            VaultAuth::Approle { .. } => false,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn granted(answer: &Reply) -> Result<Grant, VaultError> {
    if !answer.is_success() {
        return Err(VaultError::Login { status: answer.status });
    }
    let granted: Granted = answer.json()?;
    let grant = granted.auth.ok_or_else(|| answer.malformed("without `auth`"))?;
    match is_credential(&grant.client_token) {
        true => Ok(grant),
        false => Err(answer.malformed("a login without a token")),
    }
}

/// The text in a file, without white space around it.
fn credential(path: &Path, wanted: &'static str) -> Result<Zeroizing<String>, VaultError> {
    let failed = |source| VaultError::File { path: path.to_owned(), source: Arc::new(source) };
    let text = Zeroizing::new(std::fs::read(path).map_err(failed)?);
    let text = std::str::from_utf8(&text).map(str::trim).unwrap_or_default();
    match is_credential(text) {
        true => Ok(Zeroizing::new(text.to_owned())),
        false => Err(VaultError::Content { path: path.to_owned(), wanted }),
    }
}

fn is_credential(text: &str) -> bool {
    (1..=MAX_CREDENTIAL).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|facts| facts.modified()).ok()
}

fn wiped<'de, D: serde::Deserializer<'de>>(text: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(text).map(Zeroizing::new)
}

/// Between 0 and 1.
pub(super) fn jitter() -> f64 {
    let mut random = [0_u8; 2];
    let _ = rand::fill(&mut random);
    f64::from(u16::from_le_bytes(random)) / 65_536.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_any_length_is_counted() {
        assert!(Lease::new(0, true, None).is_none(), "a token that does not end");
        let most = Lease::new(u64::MAX, true, None).unwrap();
        assert_eq!(most.first, Duration::from_secs(LONGEST));
        let hour = Lease::new(3600, true, None).unwrap();
        let wait = hour.renew_at.saturating_duration_since(Instant::now()).as_secs();
        assert!((2100..=2400).contains(&wait), "two thirds, less up to a tenth: {wait}");
    }
}
