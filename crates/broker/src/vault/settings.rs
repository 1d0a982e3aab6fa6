//! `[vault]` and `[[secrets]]` of `broker.toml`.

use crate::settings::SettingsError;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use ureq::http::Uri;

/// Longest time for one request, seconds: a release must end within the request limit.
const MAX_SECONDS: u64 = 60;

/// A server that speaks the HTTP API of HashiCorp Vault (OpenBao does), and how the broker logs in to it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VaultSettings {
    /// `https://HOST:PORT`; plain HTTP only for a development broker, on a loopback address.
    pub address: String,
    /// Certificate authorities that may vouch for it, PEM. No others are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Namespace, where the server has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Seconds one request may take.
    #[serde(default = "five")]
    pub seconds: u64,
    /// How the broker logs in.
    pub auth: VaultAuth,
}

/// How the broker logs in. What is secret lies in files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "method", rename_all = "kebab-case", deny_unknown_fields)]
pub enum VaultAuth {
    /// AppRole: the role's id, and a secret id from a file, read at each login.
    Approle {
        /// The role's id; not a secret by itself.
        role_id: String,
        /// File with the secret id.
        secret_id_file: PathBuf,
        /// Where the method is mounted.
        #[serde(default = "approle")]
        mount: String,
    },
    /// A token from a file, read again when the file changes (an agent writes it, for example).
    Token {
        /// File with the token.
        token_file: PathBuf,
    },
}

/// Resources that are kept in the server's key-value store (KV) instead of the broker's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeptInVault {
    /// Which resources: `REPOSITORY`, `REPOSITORY/TYPE` or a whole path; empty for all. The longest prefix counts.
    pub prefix: String,
    /// Where the KV engine is mounted.
    pub mount: String,
    /// Version of the engine.
    pub version: KvVersion,
    /// Folder in the mount that stands before the resource's path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub folder: String,
    /// Member of an entry that holds the value.
    #[serde(default = "data")]
    pub field: String,
    /// What the member holds.
    #[serde(default)]
    pub encoding: KvEncoding,
}

/// Version of a KV engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum KvVersion {
    /// One value per path.
    One,
    /// Values with versions.
    Two,
}

/// What a member of an entry holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KvEncoding {
    /// The value itself, as a text, or as a JSON array of bytes where it is not UTF-8.
    #[default]
    Text,
    /// The value in base64.
    Base64,
}

impl TryFrom<u8> for KvVersion {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            _ => Err("the version of a KV engine is 1 or 2"),
        }
    }
}

impl From<KvVersion> for u8 {
    fn from(version: KvVersion) -> Self {
        match version {
            KvVersion::One => 1,
            KvVersion::Two => 2,
        }
    }
}

impl VaultSettings {
    /// Takes file names as relative to `folder`.
    pub(crate) fn place(&mut self, folder: &Path) {
        let files = match &mut self.auth {
            VaultAuth::Approle { secret_id_file, .. } => [Some(secret_id_file), self.ca_file.as_mut()],
            VaultAuth::Token { token_file } => [Some(token_file), self.ca_file.as_mut()],
        };
        for file in files.into_iter().flatten() {
            *file = folder.join(&*file);
        }
    }

    /// Whether requests go over plain HTTP, which a development broker may do on this machine.
    pub(crate) fn is_plain(&self) -> bool {
        self.address.starts_with("http://")
    }

    /// Refuses what makes no sense.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let wanted = "https://HOST[:PORT], or http:// with a loopback address for a development broker";
        let address = || SettingsError::Value { key: "vault.address", got: self.address.clone(), wanted };
        let uri: Uri = self.address.parse().map_err(|_| address())?;
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let local = host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback());
        let whole = uri.path() == "/" && uri.query().is_none() && !self.address.contains(['@', '#']);
        match uri.scheme_str() {
            Some("https") if whole && !host.is_empty() => {
                if self.ca_file.is_none() {
                    return Err(SettingsError::Value {
                        key: "vault.ca_file",
                        got: "absent".into(),
                        wanted: "a PEM file with the authorities to trust, for an https address",
                    });
                }
            }
            Some("http") if whole && local => {}
            _ => return Err(address()),
        }
        if !(1..=MAX_SECONDS).contains(&self.seconds) {
            return Err(SettingsError::Value {
                key: "vault.seconds",
                got: self.seconds.to_string(),
                wanted: "1 to 60",
            });
        }
        if let Some(namespace) = &self.namespace {
            path("vault.namespace", namespace)?;
        }
        match &self.auth {
            VaultAuth::Approle { role_id, mount, .. } => {
                path("vault.auth.mount", mount)?;
                match role_id.is_empty() {
                    true => Err(SettingsError::Value {
                        key: "vault.auth.role_id",
                        got: "empty".into(),
                        wanted: "the role's id",
                    }),
                    false => Ok(()),
                }
            }
            VaultAuth::Token { .. } => Ok(()),
        }
    }
}

impl KeptInVault {
    /// Refuses what makes no sense.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        path("secrets.mount", &self.mount)?;
        if !self.folder.is_empty() {
            path("secrets.folder", &self.folder)?;
        }
        if !self.prefix.is_empty() {
            path("secrets.prefix", &self.prefix)?;
        }
        if self.prefix.split('/').count() > 3 {
            return Err(SettingsError::Value {
                key: "secrets.prefix",
                got: self.prefix.clone(),
                wanted: "at most REPOSITORY/TYPE/TAG",
            });
        }
        if self.field.is_empty() {
            return Err(SettingsError::Value {
                key: "secrets.field",
                got: "empty".into(),
                wanted: "the name of an entry's member",
            });
        }
        Ok(())
    }
}

/// Segments that need no escapes in a URL, none of which is a way up.
pub(crate) fn path(key: &'static str, text: &str) -> Result<(), SettingsError> {
    let sound = |segment: &str| {
        !segment.is_empty()
            && !segment.starts_with('.')
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    match text.split('/').all(sound) {
        true => Ok(()),
        false => Err(SettingsError::Value {
            key,
            got: text.to_owned(),
            wanted: "segments of letters, digits, dash, underscore and dot",
        }),
    }
}

fn five() -> u64 {
    5
}

fn approle() -> String {
    "approle".into()
}

fn data() -> String {
    "data".into()
}
