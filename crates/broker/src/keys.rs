//! The keys of a broker's folder, read once at start. The identity's private key is not among them: it stays offline.

use crate::hsm::HsmError;
use crate::master::Keeping;
use crate::renewal;
use crate::settings::Settings;
use crate::vault::VaultError;
use aws_lc_rs::hkdf;
use claims::{Digest256, Secret};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::{Path, PathBuf};
use x509_cert::der::{Decode, DecodePem, Encode};
use zeroize::Zeroize;

pub(crate) const IDENTITY_KEY: &str = "identity-key.pem";
pub(crate) const IDENTITY: &str = "identity.pem";
pub(crate) const TLS_KEY: &str = "tls-key.pem";
pub(crate) const TLS: &str = "tls.pem";
pub(crate) const TOKEN_KEY: &str = "token-key.pem";
pub(crate) const TOKEN: &str = "token.pem";
/// Name of the administrator's private key in a broker's folder.
pub const ADMIN_KEY: &str = "admin-key.pem";
pub(crate) const ADMIN: &str = "admin.pem";
pub(crate) const MASTER: &str = "master.key";
/// The master key, wrapped by Vault or a hardware security module.
pub(crate) const WRAPPED: &str = "master.wrapped";
pub(crate) const AUDIT_KEY: &str = "audit-key.pem";
pub(crate) const AUDIT: &str = "audit.pem";
pub(crate) const FILES: [&str; 12] =
    [IDENTITY_KEY, IDENTITY, TLS_KEY, TLS, TOKEN_KEY, TOKEN, AUDIT_KEY, AUDIT, ADMIN_KEY, ADMIN, MASTER, WRAPPED];

/// Why keys cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A renewal that was cut off cannot be ended.
    #[error("cannot put the renewed {} in its place", path.display())]
    Finish {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} does not hold {wanted}", path.display())]
    Content {
        /// File.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The master key is to come from Vault, and no Vault is named.
    #[error("`[master]` needs `[vault]`, which is not in the settings")]
    NoVault,
    /// Vault does not give the master key.
    #[error("the master key is not to be had from Vault")]
    Vault(#[from] VaultError),
    /// The hardware security module does not give it.
    #[error("the master key is not to be had from the hardware security module")]
    Hsm(#[from] HsmError),
}

/// What a running broker needs.
pub(crate) struct Keys {
    /// Leaf and identity.
    pub(crate) tls_chain: Vec<CertificateDer<'static>>,
    pub(crate) tls_key: PrivateKeyDer<'static>,
    /// PKCS#8 of the token key, and its certificates (leaf and identity).
    pub(crate) token_key: Secret<Vec<u8>>,
    pub(crate) token_chain: Vec<CertificateDer<'static>>,
    /// PKCS#8 of the key that signs the audit log's heads (Ed25519), and its certificates (leaf and identity).
    pub(crate) audit_key: Secret<Vec<u8>>,
    pub(crate) audit_chain: Vec<CertificateDer<'static>>,
    /// Raw Ed25519 public key.
    pub(crate) admin: Vec<u8>,
    pub(crate) master: Master,
    /// SHA-256 of the identity's SubjectPublicKeyInfo.
    pub(crate) identity: Digest256,
}

/// The digest that guests and administrators pin: of the identity in a broker's folder.
pub fn identity(folder: &Path) -> Result<Digest256, KeysError> {
    let path = folder.join(IDENTITY);
    spki_digest(&certificate(&path)?).ok_or(KeysError::Content { path, wanted: "a certificate" })
}

impl Keys {
    /// Reads the folder, and asks whoever wraps the master key: not for the runtime's threads.
    pub(crate) fn load(folder: &Path, settings: &Settings) -> Result<Self, KeysError> {
        Self::with(folder, Keeping::from(settings).load(folder)?)
    }

    /// Reads the folder, all but the master key.
    pub(crate) fn with(folder: &Path, master: Master) -> Result<Self, KeysError> {
        renewal::finish(folder)?;
        let identity = certificate(&folder.join(IDENTITY))?;
        let (tls_chain, tls_key) = tls(folder)?;
        Ok(Self {
            tls_chain,
            tls_key,
            token_key: private_key(&folder.join(TOKEN_KEY))?,
            token_chain: vec![certificate(&folder.join(TOKEN))?, identity.clone()],
            audit_key: private_key(&folder.join(AUDIT_KEY))?,
            audit_chain: audit_chain(folder)?,
            admin: admin_key(&folder.join(ADMIN))?,
            master,
            identity: spki_digest(&identity)
                .ok_or_else(|| KeysError::Content { path: folder.join(IDENTITY), wanted: "a certificate" })?,
        })
    }
}

/// The key that everything kept at rest hangs on; used through derived keys only.
pub(crate) struct Master(Secret<[u8; 32]>);

impl Master {
    pub(crate) fn of(key: Secret<[u8; 32]>) -> Self {
        Self(key)
    }

    pub(crate) fn read(path: &Path) -> Result<Self, KeysError> {
        let mut bytes = read(path)?;
        let key: Result<[u8; 32], _> = bytes.as_slice().try_into();
        bytes.zeroize();
        let key = key.map_err(|_| KeysError::Content { path: path.to_owned(), wanted: "32 bytes" })?;
        Ok(Self(Secret::new(key)))
    }

    /// A new key.
    pub(crate) fn make() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key)?;
        Ok(Self(Secret::new(std::mem::take(&mut key))))
    }

    /// Lends the key itself, to be written where it is kept.
    pub(crate) fn expose<R>(&self, user: impl FnOnce(&[u8]) -> R) -> R {
        self.0.expose(|key| user(key))
    }

    /// A key of its own for `purpose` (HKDF-SHA-256).
    pub(crate) fn derive(&self, purpose: &str) -> Secret<[u8; 32]> {
        let mut out = [0; 32];
        self.0.expose(|key| {
            let pseudo_random = hkdf::Salt::new(hkdf::HKDF_SHA256, b"confide/broker/v1").extract(key);
            // Only a length above 255 hashes can fail, and the length is fixed.
            if let Ok(okm) = pseudo_random.expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256) {
                let _ = okm.fill(&mut out);
            }
        });
        let secret = Secret::new(out);
        out.zeroize();
        secret
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeysError> {
    std::fs::read(path).map_err(|source| KeysError::Read { path: path.to_owned(), source })
}

/// The TLS leaf with the identity's certificate, and its key.
pub(crate) fn tls(folder: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), KeysError> {
    let path = folder.join(TLS_KEY);
    let key = PrivateKeyDer::from_pem_slice(&read(&path)?)
        .map_err(|_| KeysError::Content { path, wanted: "a private key" })?;
    Ok((vec![certificate(&folder.join(TLS))?, certificate(&folder.join(IDENTITY))?], key))
}

/// The public part of the audit log's key: its certificate and the identity's.
pub(crate) fn audit_chain(folder: &Path) -> Result<Vec<CertificateDer<'static>>, KeysError> {
    Ok(vec![certificate(&folder.join(AUDIT))?, certificate(&folder.join(IDENTITY))?])
}

fn private_key(path: &Path) -> Result<Secret<Vec<u8>>, KeysError> {
    let mut pem = read(path)?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&pem);
    pem.zeroize();
    let key = key.map_err(|_| KeysError::Content { path: path.to_owned(), wanted: "a private key" })?;
    Ok(Secret::new(key.secret_pkcs8_der().to_vec()))
}

fn certificate(path: &Path) -> Result<CertificateDer<'static>, KeysError> {
    CertificateDer::from_pem_slice(&read(path)?)
        .map_err(|_| KeysError::Content { path: path.to_owned(), wanted: "a certificate" })
}

fn spki_digest(certificate: &CertificateDer<'_>) -> Option<Digest256> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    parsed.tbs_certificate.subject_public_key_info.to_der().ok().map(|der| Digest256::of(&der))
}

fn admin_key(path: &Path) -> Result<Vec<u8>, KeysError> {
    x509_cert::spki::SubjectPublicKeyInfoOwned::from_pem(read(path)?)
        .ok()
        .and_then(|info| info.subject_public_key.as_bytes().map(<[u8]>::to_vec))
        .filter(|key| key.len() == 32)
        .ok_or_else(|| KeysError::Content { path: path.to_owned(), wanted: "an Ed25519 public key" })
}
