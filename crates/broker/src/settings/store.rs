//! `[store]`: where rules, secrets and the audit log are.
//!
//! *Takes* what an operator wrote.
//! *Guarantees* that no password stands in the settings, and that nothing goes over a network without TLS to a server whose
//! authority is named.
//! *Does not check* that there is a server: the broker does when it starts.

use super::SettingsError;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// Where rules, secrets and the audit log are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum StoreSource {
    /// The file `broker.sqlite` in the broker's folder: one broker.
    #[default]
    Sqlite,
    /// A PostgreSQL database: several brokers with the same keys.
    Postgres(Postgres),
}

/// A PostgreSQL database.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// `postgres://USER@HOST[:PORT]/DATABASE`, without a password. A host that begins with `%2F` is the folder of a socket.
    pub url: String,
    /// File whose first line is the password; relative to the file's folder. Read for each connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Whether the server must prove who it is.
    #[serde(default)]
    pub tls: PostgresTls,
    /// Certificates (PEM) of the authority that the server's certificate must be of; relative to the file's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Known only to be refused with the right words: an unknown key would be shown with its line.
    #[serde(default, skip_serializing)]
    password: Option<IgnoredAny>,
}

impl PartialEq for Postgres {
    fn eq(&self, other: &Self) -> bool {
        let fields = |one: &Self| (one.url.clone(), one.password_file.clone(), one.tls, one.ca_file.clone());
        fields(self) == fields(other)
    }
}

impl Eq for Postgres {}

/// Whether the database's server must prove who it is. Sockets of this machine need no proof.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PostgresTls {
    /// TLS, with a certificate for the host's name that the authority in `ca_file` issued.
    #[default]
    Verify,
    /// None; on this machine only.
    Off,
}

impl Postgres {
    /// A database at `url`. One that is reached over a network has its password and its authority's certificates in the
    /// files `postgres.password` and `postgres-ca.pem` of the broker's folder.
    pub fn at(url: String) -> Result<Self, SettingsError> {
        let mut made = Self { url, password_file: None, tls: PostgresTls::Verify, ca_file: None, password: None };
        if !made.is_local_socket() {
            made.password_file = Some("postgres.password".into());
            made.ca_file = Some("postgres-ca.pem".into());
        }
        made.check()?;
        Ok(made)
    }

    pub(super) fn relative_to(&mut self, folder: &Path) {
        for path in [&mut self.password_file, &mut self.ca_file].into_iter().flatten() {
            *path = folder.join(&path);
        }
    }

    /// Whether every host is the folder of a socket.
    pub(crate) fn is_local_socket(&self) -> bool {
        self.url
            .parse::<Config>()
            .is_ok_and(|config| config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))))
    }

    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let value = |key, got: &str, wanted| Err(SettingsError::Value { key, got: got.to_owned(), wanted });
        if self.password.is_some() {
            return value(
                "store.password",
                "in the settings",
                "nothing: put it into a file and name that in `password_file`",
            );
        }
        // The URL itself is not repeated: there may be a password in it.
        let Ok(config) = self.url.parse::<Config>() else {
            return value("store.url", "not a PostgreSQL URL", "postgres://USER@HOST/DATABASE");
        };
        if config.get_password().is_some() {
            return value(
                "store.url",
                "with a password",
                "none in it: put it into a file and name that in `password_file`",
            );
        }
        if config.get_hosts().is_empty() || !config.get_hostaddrs().is_empty() {
            return value("store.url", "without a host, or with `hostaddr`", "postgres://USER@HOST/DATABASE");
        }
        if config.get_user().is_none() || config.get_dbname().is_none() {
            return value("store.url", "without user or database", "postgres://USER@HOST/DATABASE");
        }
        let sockets = config.get_hosts().iter().filter(|host| matches!(host, Host::Unix(_))).count();
        if sockets != 0 && sockets != config.get_hosts().len() {
            return value("store.url", "with sockets and other hosts", "one kind of them");
        }
        match self.tls {
            PostgresTls::Off if !config.get_hosts().iter().all(is_here) => {
                value("store.tls", "off", "`verify` for a server on another machine")
            }
            PostgresTls::Verify if sockets == 0 && self.ca_file.is_none() => {
                value("store.ca_file", "absent", "the file with the certificates of the server's authority")
            }
            _ => Ok(()),
        }
    }
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(toml: &str) -> (&'static str, String) {
        match toml::from_str::<Postgres>(toml).unwrap().check() {
            Err(SettingsError::Value { key, got, .. }) => (key, got),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn settings_are_printed_as_they_are_read() {
        let text = "listen = '127.0.0.1:0'\n[revocation]\ncrl = 'required'\n[store]\nkind = 'postgres'\n\
            url = 'postgres://a@127.0.0.1/b'\ntls = 'off'\npassword_file = 'p'\n";
        let read: super::super::Settings = toml::from_str(text).unwrap();
        let again: super::super::Settings = toml::from_str(&read.to_toml().unwrap()).unwrap();
        assert_eq!(again.store, read.store);
        let StoreSource::Postgres(mut postgres) = again.store else { panic!("{:?}", again.store) };
        postgres.relative_to(Path::new("/folder"));
        assert_eq!(postgres.password_file, Some("/folder/p".into()));
    }

    #[test]
    fn passwords_and_plain_connections_over_a_network_are_refused() {
        for (toml, key, got) in [
            ("url = 'postgres://a:hush@db/b'", "store.url", "with a password"),
            ("url = 'host=db user=a dbname=b password=hush'", "store.url", "with a password"),
            ("url = 'postgres://a@db/b'\npassword = 'hush'", "store.password", "in the settings"),
            ("url = 'postgres://a@db:hush/b'", "store.url", "not a PostgreSQL URL"),
            ("url = 'postgres://a@db'", "store.url", "without user or database"),
            ("url = 'user=a dbname=b'", "store.url", "without a host, or with `hostaddr`"),
            (
                "url = 'host=localhost hostaddr=1.2.3.4 user=a dbname=b'",
                "store.url",
                "without a host, or with `hostaddr`",
            ),
            ("url = 'postgres://a@%2Frun,db/b'", "store.url", "with sockets and other hosts"),
            ("url = 'postgres://a@db/b'", "store.ca_file", "absent"),
            ("url = 'postgres://a@localhost/b'", "store.ca_file", "absent"),
            ("url = 'postgres://a@db/b'\ntls = 'off'", "store.tls", "off"),
            ("url = 'postgres://a@127.0.0.1,db/b'\ntls = 'off'", "store.tls", "off"),
        ] {
            assert_eq!(refused(toml), (key, got.to_owned()), "{toml}");
            let error = toml::from_str::<Postgres>(toml).unwrap().check().unwrap_err();
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        for toml in [
            "url = 'postgres://a@%2Frun%2Fpostgresql/b'",
            "url = 'postgres://a@127.0.0.1:5433/b'\ntls = 'off'",
            "url = 'postgres://a@one,two/b'\nca_file = 'ca.pem'",
        ] {
            toml::from_str::<Postgres>(toml).unwrap().check().unwrap();
        }
        assert!(toml::from_str::<Postgres>("url = ''\nsslmode = 'disable'").is_err(), "unknown keys");
    }
}
