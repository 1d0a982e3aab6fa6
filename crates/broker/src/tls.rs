//! The TLS configuration, renewed when the certificate's files change: a new leaf needs no restart.
//!
//! *Takes* the folder's key and certificate.
//! *Guarantees* that connections get either the old or the new pair, never half of each: files that do not go together
//! leave the old one in use.
//! *Does not check* validity times; guests know the identity, not the leaf.

use crate::keys::{self, KeysError};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;

/// Key and certificate of new connections.
pub(crate) struct Tls {
    folder: PathBuf,
    current: RwLock<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    /// The certificate in use; its key is checked against it when it is loaded.
    leaf: CertificateDer<'static>,
}

/// Why files were not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("the TLS key or certificate cannot be read")]
    Files(#[from] KeysError),
    #[error("the TLS key and certificate do not go together")]
    Pair(#[from] rustls::Error),
}

impl Tls {
    pub(crate) fn new(
        folder: &Path,
        chain: &[CertificateDer<'static>],
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self { folder: folder.to_owned(), current: RwLock::new(Current::new(chain, key)?) })
    }

    /// What the next connection is accepted with.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).acceptor.clone()
    }

    /// Looks at the files; whether they were new, and are in use now. Reads files: not for an async thread.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let (chain, key) = keys::tls(&self.folder)?;
        let leaf = self.current.read().unwrap_or_else(PoisonError::into_inner).leaf.clone();
        if chain.first() == Some(&leaf) {
            return Ok(false);
        }
        let next = Current::new(&chain, &key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(true)
    }
}

impl Current {
    fn new(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain.to_vec(), key.clone_key())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let leaf = chain.first().cloned().ok_or(rustls::Error::NoCertificatesPresented)?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), leaf })
    }
}
