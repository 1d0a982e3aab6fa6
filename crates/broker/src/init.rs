//! Makes a broker's folder: identity, TLS leaf, token key, audit key, admin key, master key, settings, store.
//!
//! *Takes* an empty or new folder.
//! *Guarantees* that files are readable by their owner only, that nothing is overwritten, and that no key is printed.
//! *Does not check* whether the folder lies on a disk that others can read: the operator chooses it.

use crate::keys::{self, Keys, Master};
use crate::master::Keeping;
use crate::settings::{self, MasterSource, PostgresTls, StoreSource};
use crate::store::Store;
use crate::vault::VaultSettings;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::Digest256;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData,
};
use serde::Serialize;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// What [`init`] is to put into keys and settings.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Where the broker listens.
    pub listen: SocketAddr,
    /// Further names and addresses of the TLS certificate; loopback is always in it.
    pub names: Vec<String>,
    /// Why evidence without a revocation list is accepted; none requires lists.
    pub crl_absent_reason: Option<String>,
    /// Where the master key is kept; a descriptor cannot be asked for here.
    pub master: MasterSource,
    /// The Vault of the settings; names of files are absolute, or relative to the new folder.
    pub vault: Option<VaultSettings>,
    /// Where the store is. Tables in PostgreSQL are made by the first broker that serves.
    pub store: StoreSource,
}

impl Default for InitOptions {
    /// Port 8999 on every address, revocation lists required, the master key in the folder.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8999)),
            names: Vec::new(),
            crl_absent_reason: None,
            master: MasterSource::File,
            vault: None,
            store: StoreSource::Sqlite,
        }
    }
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
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key, certificate or store cannot be made.
    #[error("cannot make {what}")]
    Make {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Makes a broker's folder (0700, files 0600) with everything that [`crate::serve`] needs. Never overwrites.
pub fn init(folder: &Path, options: &InitOptions) -> Result<Facts, InitError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|source| file_error(folder, source))?;
    let place = |name: &str| folder.join(name);
    for name in keys::FILES.iter().chain([&settings::FILE_NAME, &crate::store::FILE_NAME]) {
        if place(name).exists() {
            return Err(InitError::Exists { path: place(name) });
        }
    }
    // Before anything is written: settings that cannot be used, a Vault or a token that does not answer.
    let text = settings_text(options)?;
    let settings = settings::Settings::parse(&text, folder).map_err(|error| make_error("the settings", error))?;
    let master = Master::make().map_err(|error| make_error("the master key", error))?;
    let keeping = Keeping::from(&settings);
    let sealed = keeping.seal(&master, true).map_err(|error| make_error("the wrapped master key", error))?;
    let master_file = keeping.file(folder).ok_or_else(|| make_error("the master key", "a descriptor keeps nothing"))?;
    let now = OffsetDateTime::now_utc();

    let identity = make_key("the identity key", &PKCS_ECDSA_P256_SHA256)?;
    let identity_params = identity_parameters(now);
    let identity_certificate =
        identity_params.self_signed(&identity).map_err(|error| make_error("the identity certificate", error))?;
    write_new(&place(keys::IDENTITY_KEY), identity.serialize_pem().as_bytes())?;
    write_new(&place(keys::IDENTITY), identity_certificate.pem().as_bytes())?;
    let issuer = Issuer::new(identity_params, &identity);

    let leaf = issue_leaf(&issuer, &options.names, now)?;
    write_new(&place(keys::TLS_KEY), leaf.key_pem.as_bytes())?;
    write_new(&place(keys::TLS), leaf.certificate_pem.as_bytes())?;

    let token = issue_token(&issuer, now)?;
    write_new(&place(keys::TOKEN_KEY), token.key_pem.as_bytes())?;
    write_new(&place(keys::TOKEN), token.certificate_pem.as_bytes())?;

    let audit = make_key("the audit key", &PKCS_ED25519)?;
    let mut params = parameters("Confide broker audit log", now, Duration::days(20 * 365));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Documents only, RFC 9336: neither a server nor a token can be made with it, and no other leaf signs heads.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 36])];
    let audit_certificate =
        params.signed_by(&audit, &issuer).map_err(|error| make_error("the audit certificate", error))?;
    write_new(&place(keys::AUDIT_KEY), ed25519_pem("the audit key", &audit)?.as_bytes())?;
    write_new(&place(keys::AUDIT), audit_certificate.pem().as_bytes())?;

    let admin = make_key("the admin key", &PKCS_ED25519)?;
    write_new(&place(keys::ADMIN_KEY), ed25519_pem("the admin key", &admin)?.as_bytes())?;
    write_new(&place(keys::ADMIN), admin.public_key_pem().as_bytes())?;

    write_new(&master_file, &sealed)?;

    // The store is made now, so that a folder that cannot hold one is found before anything relies on it.
    let loaded = Keys::with(folder, master).map_err(|error| make_error("the keys", error))?;
    if options.store == StoreSource::Sqlite {
        Store::create(folder, &loaded).map_err(|error| make_error("the store", error))?;
    }
    write_new(&place(settings::FILE_NAME), text.as_bytes())?;
    Ok(Facts {
        identity: Digest256::of(&identity.subject_public_key_info()),
        settings: place(settings::FILE_NAME),
        identity_certificate: place(keys::IDENTITY),
        identity_key: place(keys::IDENTITY_KEY),
        admin_key: place(keys::ADMIN_KEY),
    })
}

/// A key and its certificate, both as PEM.
pub(crate) struct Leaf {
    pub(crate) key_pem: String,
    pub(crate) certificate_pem: String,
}

pub(crate) fn issue_leaf(
    issuer: &Issuer<'_, &KeyPair>,
    names: &[String],
    now: OffsetDateTime,
) -> Result<Leaf, InitError> {
    let key = make_key("the TLS key", &PKCS_ECDSA_P256_SHA256)?;
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1", "10.0.2.2"].map(str::to_owned).to_vec();
    all.extend(names.iter().filter(|name| !all.contains(name)).cloned().collect::<Vec<_>>());
    let named = CertificateParams::new(all).map_err(|error| make_error("the TLS certificate's names", error))?;
    let mut params = parameters("Confide broker", now, Duration::days(730));
    params.subject_alt_names = named.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer).map_err(|error| make_error("the TLS certificate", error))?;
    Ok(Leaf { key_pem: key.serialize_pem(), certificate_pem: certificate.pem() })
}

/// A key for tokens, and the certificate that relying parties want.
pub(crate) fn issue_token(issuer: &Issuer<'_, &KeyPair>, now: OffsetDateTime) -> Result<Leaf, InitError> {
    let key = make_key("the token key", &PKCS_ECDSA_P256_SHA256)?;
    let mut params = parameters("Confide broker tokens", now, Duration::days(20 * 365));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let certificate = params.signed_by(&key, issuer).map_err(|error| make_error("the token certificate", error))?;
    Ok(Leaf { key_pem: key.serialize_pem(), certificate_pem: certificate.pem() })
}

pub(crate) fn identity_parameters(now: OffsetDateTime) -> CertificateParams {
    let mut params = parameters("Confide broker identity", now, Duration::days(20 * 365));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn parameters(name: &str, now: OffsetDateTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    // A day of slack for clients whose clocks are late.
    params.not_before = now - Duration::days(1);
    params.not_after = now + life;
    params
}

/// An Ed25519 key as `openssl genpkey` writes it: PKCS #8 of version 1, which upstream's client, OpenSSL and others read;
/// version 2, with the public key in it, they do not.
fn ed25519_pem(what: &'static str, key: &KeyPair) -> Result<Zeroizing<String>, InitError> {
    let der = Ed25519KeyPair::from_pkcs8(&key.serialize_der()).ok().and_then(|key| key.to_pkcs8v1().ok());
    let der = der.ok_or_else(|| make_error(what, rcgen::Error::CouldNotParseKeyPair))?;
    // 48 bytes are one line of 64.
    let text = Zeroizing::new(STANDARD.encode(der.as_ref()));
    Ok(Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", text.as_str())))
}

fn make_key(what: &'static str, algorithm: &'static rcgen::SignatureAlgorithm) -> Result<KeyPair, InitError> {
    KeyPair::generate_for(algorithm).map_err(|error| make_error(what, error))
}

pub(crate) fn make_error(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> InitError {
    InitError::Make { what, source: source.into() }
}

pub(crate) fn file_error(path: &Path, source: std::io::Error) -> InitError {
    InitError::File { path: path.to_owned(), source }
}

pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), InitError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| file_error(path, source))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|source| file_error(path, source))
}

/// `[master]` and `[vault]`, where they are not the plain ones.
#[derive(Serialize)]
struct Kept<'a> {
    master: &'a MasterSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    vault: Option<&'a VaultSettings>,
}

fn settings_text(options: &InitOptions) -> Result<String, InitError> {
    let revocation = match &options.crl_absent_reason {
        None => "crl = \"required\"".to_owned(),
        Some(reason) => format!("crl = \"absent-ok\"\nreason = {}", toml::Value::String(reason.clone())),
    };
    let kept = match (&options.master, &options.vault) {
        (MasterSource::File, None) => String::new(),
        (master, vault) => {
            let kept = toml::to_string(&Kept { master, vault: vault.as_ref() });
            format!(
                "\n# Where the master key is wrapped, and by whom.\n{}",
                kept.map_err(|error| make_error("the settings", error))?
            )
        }
    };
    Ok(format!(
        "# Settings of this key broker; unknown keys are errors. Keys and store lie in this folder.\n\
         listen = \"{}\"\n\
         # Seconds a challenge may be answered, a session is good, a guest holds its keys without attesting again.\n\
         challenge_seconds = 300\nsession_seconds = 300\nlease_seconds = 300\n\n\
         # Whether evidence must come with a revocation list: \"required\", or \"absent-ok\" with a reason.\n\
         [revocation]\n{revocation}\n{kept}{}",
        options.listen,
        store_text(&options.store)
    ))
}

fn store_text(store: &StoreSource) -> String {
    let StoreSource::Postgres(postgres) = store else { return String::new() };
    let text = |value: &str| toml::Value::String(value.to_owned()).to_string();
    let file = |path: &Option<PathBuf>| path.as_ref().and_then(|path| path.to_str()).map(text);
    let mut lines = format!(
        "\n# The database that every broker of this folder's keys uses; the password stands in a file of its own.\n\
         [store]\nkind = \"postgres\"\nurl = {}\ntls = \"{}\"\n",
        text(&postgres.url),
        match postgres.tls {
            PostgresTls::Verify => "verify",
            PostgresTls::Off => "off",
        }
    );
    for (name, value) in [("password_file", file(&postgres.password_file)), ("ca_file", file(&postgres.ca_file))] {
        if let Some(value) = value {
            lines.push_str(&format!("{name} = {value}\n"));
        }
    }
    lines
}
