//! What the identity issues anew: the TLS leaf, and the key of tokens.
//!
//! *Takes* the identity's private key, from the broker's folder or from where it is kept.
//! *Guarantees* that nothing is issued by another key than the identity that guests pin, and that each file is replaced
//! whole; key and certificate stay a pair, also over a crash, once the broker starts again.
//! *Does not check* when a running broker takes it into use: the leaf after seconds, the token key at its next start.

use crate::init::{InitError, file_error, identity_parameters, issue_leaf, issue_token, make_error, write_new};
use crate::keys;
use claims::Digest256;
use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// A file, key or certificate cannot be used.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The identity cannot be read.
    #[error("the broker's identity cannot be used")]
    Keys(#[from] keys::KeysError),
    /// The key is another one.
    #[error("{} is not the key of this broker's identity", path.display())]
    Identity {
        /// File.
        path: PathBuf,
    },
}

/// Issues a new TLS leaf. Without names it is for those of the certificate that is there; loopback is always in it.
/// `identity_key` is the folder's where it is none. Returns the names.
pub fn renew_leaf(folder: &Path, names: &[String], identity_key: Option<&Path>) -> Result<Vec<String>, RenewalError> {
    let identity = identity(folder, identity_key)?;
    let names = if names.is_empty() { present_names(&folder.join(keys::TLS)) } else { names.to_vec() };
    let now = OffsetDateTime::now_utc();
    let leaf = issue_leaf(&Issuer::new(identity_parameters(now), &identity), &names, now)?;
    replace(folder, [(keys::TLS_KEY, &leaf.key_pem), (keys::TLS, &leaf.certificate_pem)])?;
    Ok(names)
}

/// Makes a new key for tokens. A broker that starts with it keeps believing tokens of the key before till they end.
pub fn rotate_token_key(folder: &Path, identity_key: Option<&Path>) -> Result<(), RenewalError> {
    let identity = identity(folder, identity_key)?;
    let now = OffsetDateTime::now_utc();
    let token = issue_token(&Issuer::new(identity_parameters(now), &identity), now)?;
    replace(folder, [(keys::TOKEN_KEY, &token.key_pem), (keys::TOKEN, &token.certificate_pem)])
}

/// The identity's key, which must be the one that guests pin.
fn identity(folder: &Path, given: Option<&Path>) -> Result<KeyPair, RenewalError> {
    let path = given.map_or_else(|| folder.join(keys::IDENTITY_KEY), Path::to_owned);
    let pem = std::fs::read_to_string(&path).map_err(|source| InitError::File { path: path.clone(), source })?;
    let pem = zeroize::Zeroizing::new(pem);
    let key = KeyPair::from_pem(&pem).map_err(|error| make_error("the identity key", error))?;
    if Digest256::of(&key.subject_public_key_info()) == keys::identity(folder)? {
        Ok(key)
    } else {
        Err(RenewalError::Identity { path })
    }
}

/// The names of a certificate; none where it cannot be read.
fn present_names(path: &Path) -> Vec<String> {
    let read = || -> Option<Vec<String>> {
        let der = CertificateDer::from_pem_slice(&std::fs::read(path).ok()?).ok()?;
        let certificate = x509_cert::Certificate::from_der(&der).ok()?;
        let (_, names): (bool, SubjectAltName) = certificate.tbs_certificate.get().ok()??;
        Some(names.0.iter().filter_map(name).collect())
    };
    read().unwrap_or_default()
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// Each key with its certificate, in the order in which they are replaced.
const PAIRS: [[&str; 2]; 2] = [[keys::TLS_KEY, keys::TLS], [keys::TOKEN_KEY, keys::TOKEN]];

/// Ends a replacement that a crash cut off between its two steps: of a pair whose new key is in its place, the new
/// certificate waits alone.
pub(crate) fn finish(folder: &Path) -> Result<(), keys::KeysError> {
    for [key, certificate] in PAIRS {
        if beside(folder, certificate).exists() && !beside(folder, key).exists() {
            put(folder, certificate).map_err(|(path, source)| keys::KeysError::Finish { path, source })?;
        }
    }
    Ok(())
}

/// Writes key and certificate beside the old ones, then puts them in their place.
fn replace(folder: &Path, [key, certificate]: [(&str, &str); 2]) -> Result<(), RenewalError> {
    // What is left of an attempt that failed; a certificate must never be there alone before its key is in place.
    for (name, _) in [certificate, key] {
        let _ = std::fs::remove_file(beside(folder, name));
    }
    for (name, text) in [key, certificate] {
        write_new(&beside(folder, name), text.as_bytes())?;
    }
    for (name, _) in [key, certificate] {
        put(folder, name).map_err(|(path, source)| file_error(&path, source))?;
    }
    Ok(())
}

fn put(folder: &Path, name: &str) -> Result<(), (PathBuf, std::io::Error)> {
    let path = folder.join(name);
    std::fs::rename(beside(folder, name), &path).map_err(|source| (path, source))
}

fn beside(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.new"))
}
