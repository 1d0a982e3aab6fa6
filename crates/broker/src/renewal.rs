//! What the identity issues anew: the TLS leaf, and the key of tokens.
//!
//! *Takes* the identity's private key, from the broker's folder or from where it is kept.
//! *Guarantees* that nothing is issued by another key than the identity that guests pin, and that each file is replaced
//! whole.
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
    replace(folder, &[(keys::TLS_KEY, &leaf.key_pem), (keys::TLS, &leaf.certificate_pem)])?;
    Ok(names)
}

/// Makes a new key for tokens. A broker that starts with it keeps believing tokens of the key before till they end.
pub fn rotate_token_key(folder: &Path, identity_key: Option<&Path>) -> Result<(), RenewalError> {
    let identity = identity(folder, identity_key)?;
    let now = OffsetDateTime::now_utc();
    let token = issue_token(&Issuer::new(identity_parameters(now), &identity), now)?;
    replace(folder, &[(keys::TOKEN_KEY, &token.key_pem), (keys::TOKEN, &token.certificate_pem)])
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

/// Writes both files beside the old ones, then puts them in their place.
fn replace(folder: &Path, files: &[(&str, &str)]) -> Result<(), RenewalError> {
    let place = |name: &str| (folder.join(name), folder.join(format!("{name}.new")));
    for (name, text) in files {
        let (_, beside) = place(name);
        let _ = std::fs::remove_file(&beside);
        write_new(&beside, text.as_bytes())?;
    }
    for (name, _) in files {
        let (path, beside) = place(name);
        std::fs::rename(&beside, &path).map_err(|source| file_error(&path, source))?;
    }
    Ok(())
}
