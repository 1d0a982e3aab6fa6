//! `broker.toml`: what an operator may decide. Unknown keys are errors; whatever weakens the broker is not in the file.

mod store;

pub use store::{Postgres, PostgresTls, StoreSource};

use crate::vault::settings::path;
use crate::vault::{KeptInVault, VaultSettings};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Name of the settings file in a broker's folder.
pub const FILE_NAME: &str = "broker.toml";

/// How a broker runs.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Seconds a challenge may be answered.
    #[serde(default = "five_minutes")]
    pub challenge_seconds: u64,
    /// Seconds a session, and its token, is good.
    #[serde(default = "five_minutes")]
    pub session_seconds: u64,
    /// Seconds a guest holds the keys after it last attested, where its `site.json` says nothing else.
    #[serde(default = "five_minutes")]
    pub lease_seconds: u64,
    /// How the program's own log looks.
    #[serde(default)]
    pub log: LogFormat,
    /// Folder with endorsements (the offline store layout), for guests that send none; relative to the file's folder.
    #[serde(default)]
    pub collateral: Option<PathBuf>,
    /// Where the master key comes from.
    #[serde(default)]
    pub master: MasterSource,
    /// Where rules, secrets and the audit log are.
    #[serde(default)]
    pub store: StoreSource,
    /// What to do about revocation lists.
    pub revocation: Revocation,
    /// Bounds on what a peer may use.
    #[serde(default)]
    pub limits: Limits,
    /// The Vault (or OpenBao) that keeps secrets or wraps the master key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultSettings>,
    /// What is kept in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<KeptInVault>,
    /// Folder of keys and store: where the file is. Not in the file.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Development broker: emulated evidence is accepted where a verifier for it is given. Not in the file.
    #[serde(skip)]
    pub dev: bool,
    /// Plain HTTP, for unmodified test clients. Only with `dev`, only on loopback. Not in the file.
    #[serde(skip)]
    pub insecure_http: bool,
}

/// Where the master key comes from: 32 bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "source", rename_all = "kebab-case", deny_unknown_fields)]
pub enum MasterSource {
    /// The file `master.key` in the broker's folder.
    #[default]
    File,
    /// A file descriptor that the starter opened, as a pipe: nothing is on the disk.
    Descriptor {
        /// Its number.
        number: u32,
    },
    /// The file `master.wrapped` in the broker's folder, which Vault's transit engine decrypts at start.
    VaultTransit {
        /// Where the engine is mounted.
        #[serde(default = "transit")]
        mount: String,
        /// Name of Vault's key.
        key: String,
    },
    /// The file `master.wrapped` in the broker's folder, which a hardware security module decrypts at start.
    Pkcs11 {
        /// The module's library.
        module: PathBuf,
        /// Label of the token.
        token: String,
        /// Label of the AES key in it.
        key: String,
        /// File with the user's PIN.
        pin_file: PathBuf,
    },
}

/// How the program's own log looks, on stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What to do about revocation lists.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "crl", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Revocation {
    /// Evidence without a list in date is refused.
    Required,
    /// Evidence without a list is accepted; one that is there is checked.
    AbsentOk {
        /// Why; it goes into the audit log.
        reason: String,
    },
}

/// Bounds on what a peer may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Bytes of a request's head; a token with many devices is large.
    pub head_bytes: usize,
    /// Connections at once.
    pub connections: usize,
    /// Requests a second of one address (of one /64 in IPv6), four seconds of it at once; 0 is no limit.
    pub requests_per_second: u32,
    /// Connections a second of one address (of one /64 in IPv6), four seconds of it at once; one beyond is closed before
    /// its TLS handshake. 0 is no limit: behind a load balancer all come from its address.
    pub connections_per_second: u32,
    /// Whether addresses of this machine have no such limits: a proxy on it speaks for many.
    pub loopback_exempt: bool,
    /// Seconds a request may take.
    pub request_seconds: u64,
    /// Seconds until a connection's TLS handshake, and each request's head, must be there.
    pub header_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 2 << 20,
            head_bytes: 320 << 10,
            connections: 1024,
            requests_per_second: 250,
            connections_per_second: 100,
            loopback_exempt: true,
            request_seconds: 30,
            header_seconds: 10,
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not the TOML wanted.
    #[error("{} is not valid", path.display())]
    Toml {
        /// File.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value that makes no sense.
    #[error("`{key}` is {got}, wanted {wanted}")]
    Value {
        /// Which.
        key: &'static str,
        /// Value found.
        got: String,
        /// What would do.
        wanted: &'static str,
    },
}

impl Settings {
    /// Reads `broker.toml`; keys and store lie in the same folder.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        Self::parse(&text, &folder).map_err(|error| match error {
            SettingsError::Toml { source, .. } => SettingsError::Toml { path: path.to_owned(), source },
            other => other,
        })
    }

    /// The settings of a text that is, or will be, in `folder`.
    pub(crate) fn parse(text: &str, folder: &Path) -> Result<Self, SettingsError> {
        let mut settings: Self = toml::from_str(text)
            .map_err(|source| SettingsError::Toml { path: folder.join(FILE_NAME), source: Box::new(source) })?;
        if let StoreSource::Postgres(postgres) = &mut settings.store {
            postgres.relative_to(folder);
        }
        settings.collateral = settings.collateral.map(|collateral| folder.join(collateral));
        if let Some(vault) = &mut settings.vault {
            vault.place(folder);
        }
        if let MasterSource::Pkcs11 { module, pin_file, .. } = &mut settings.master {
            (*module, *pin_file) = (folder.join(&*module), folder.join(&*pin_file));
        }
        settings.folder = folder.to_owned();
        settings.check()?;
        Ok(settings)
    }

    /// Refuses values that make no sense together; [`crate::serve`] calls it again, after flags were applied.
    pub fn check(&self) -> Result<(), SettingsError> {
        let value = |key, got: String, wanted| Err(SettingsError::Value { key, got, wanted });
        for (key, seconds) in [
            ("challenge_seconds", self.challenge_seconds),
            ("session_seconds", self.session_seconds),
            ("lease_seconds", self.lease_seconds),
        ] {
            if !(1..=86_400).contains(&seconds) {
                return value(key, seconds.to_string(), "1 to 86400");
            }
        }
        if !(1024..=1 << 30).contains(&self.limits.body_bytes) {
            return value("limits.body_bytes", self.limits.body_bytes.to_string(), "1024 to 1073741824");
        }
        if !(16 << 10..=16 << 20).contains(&self.limits.head_bytes) {
            return value("limits.head_bytes", self.limits.head_bytes.to_string(), "16384 to 16777216");
        }
        if self.limits.connections == 0 || self.limits.request_seconds == 0 || self.limits.header_seconds == 0 {
            return value("limits", "0".into(), "at least 1");
        }
        if let Revocation::AbsentOk { reason } = &self.revocation
            && reason.trim().is_empty()
        {
            return value("revocation.reason", "empty".into(), "why no revocation list is needed");
        }
        if let StoreSource::Postgres(postgres) = &self.store {
            postgres.check()?;
        }
        if self.insecure_http && !(self.dev && self.listen.ip().is_loopback()) {
            return value("insecure_http", self.listen.to_string(), "a development broker on a loopback address");
        }
        self.check_vault()
    }

    fn check_vault(&self) -> Result<(), SettingsError> {
        let value = |key, got: String, wanted| Err(SettingsError::Value { key, got, wanted });
        if let Some(vault) = &self.vault {
            vault.check()?;
        }
        for (place, kept) in self.secrets.iter().enumerate() {
            kept.check()?;
            if self.secrets.iter().take(place).any(|other| other.prefix == kept.prefix) {
                return value("secrets.prefix", kept.prefix.clone(), "a prefix that stands once");
            }
        }
        match (&self.master, &self.vault) {
            (MasterSource::VaultTransit { mount, key }, Some(vault)) => {
                path("master.mount", mount)?;
                path("master.key", key)?;
                if vault.is_plain() {
                    return value(
                        "vault.address",
                        vault.address.clone(),
                        "https, where the master key comes from Vault",
                    );
                }
            }
            (MasterSource::VaultTransit { .. }, None) => {
                return value("master.source", "vault-transit".into(), "a `[vault]` beside it");
            }
            _ => {}
        }
        if self.vault.is_none() && !self.secrets.is_empty() {
            return value("secrets", "without a `[vault]`".into(), "a `[vault]` beside it");
        }
        Ok(())
    }

    /// What only a broker that is about to serve knows: whether it is for development.
    pub(crate) fn check_to_serve(&self) -> Result<(), SettingsError> {
        self.check()?;
        match &self.vault {
            Some(vault) if vault.is_plain() && !self.dev => Err(SettingsError::Value {
                key: "vault.address",
                got: vault.address.clone(),
                wanted: "https (plain HTTP is for development brokers)",
            }),
            _ => Ok(()),
        }
    }
}

impl Settings {
    /// The settings as they are used, as TOML. There are no secrets in them.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

fn transit() -> String {
    "transit".into()
}

fn five_minutes() -> u64 {
    300
}
