//! A PostgreSQL server of its own for a test: in a temporary folder, on a socket there and on a loopback port with TLS.

#![allow(unreachable_pub, reason = "as the rest of the support of tests")]
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]

use crate::support::{Broker, Folder, processor};
use broker::{Facts, InitOptions, Postgres, PostgresTls, Settings, StoreSource, init};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Server {
    binaries: PathBuf,
    owner: Option<(u32, u32)>,
    pub place: tempfile::TempDir,
    pub port: u16,
    child: Option<Child>,
}

impl Server {
    /// None where this machine has no server; that is said.
    pub async fn start() -> Option<Self> {
        let Some(binaries) = binaries() else {
            println!("skipped: no PostgreSQL server on this machine (Debian package postgresql)");
            return None;
        };
        // Short, because a socket's path may have 107 bytes.
        let place = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
        let owner = owner();
        if let Some((user, group)) = owner {
            chown(place.path(), Some(user), Some(group)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { binaries, owner, place, port, child: None };
        let data = server.path("data");
        let made = server
            .command("initdb")
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let hba = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        server.write("data/pg_hba.conf", hba.as_bytes());
        server.certificates();
        server.run().await;
        server.sql("postgres", "CREATE ROLE confide LOGIN PASSWORD 'a quiet word'").await;
        server.sql("postgres", "CREATE DATABASE confide OWNER confide").await;
        Some(server)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.current_dir(self.place.path()).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = self.owner {
            chown(&path, Some(user), Some(group)).unwrap();
        }
    }

    /// An authority, the server's certificate of it, and an authority that has nothing to do with it.
    fn certificates(&self) {
        let authority = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            fs::write(self.path(&format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
            (params, key)
        };
        authority("other");
        let (params, key) = authority("ca");
        let leaf = KeyPair::generate().unwrap();
        let names = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = names.signed_by(&leaf, &Issuer::new(params, key)).unwrap();
        self.write("server.pem", certificate.pem().as_bytes());
        self.write("server-key.pem", leaf.serialize_pem().as_bytes());
    }

    /// Starts the server and waits until it answers.
    pub async fn run(&mut self) {
        let begun = Instant::now();
        loop {
            let mut command = self.command("postgres");
            command.arg("-D").arg(self.path("data"));
            let (socket, port) = (self.place.path().display().to_string(), self.port.to_string());
            let (certificate, key) = (self.path("server.pem"), self.path("server-key.pem"));
            for (name, value) in [
                ("unix_socket_directories", socket.as_str()),
                ("listen_addresses", "127.0.0.1"),
                ("port", port.as_str()),
                ("ssl", "on"),
                ("ssl_cert_file", certificate.to_str().unwrap()),
                ("ssl_key_file", key.to_str().unwrap()),
                ("max_connections", "60"),
                ("shared_buffers", "16MB"),
            ] {
                command.arg("-c").arg(format!("{name}={value}"));
            }
            let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
            // Processes of a server that was killed hold its memory for a moment; then it ends at once.
            while child.try_wait().unwrap().is_none() {
                if self.connect("postgres").await.is_ok() {
                    self.child = Some(child);
                    return;
                }
                if begun.elapsed() > PATIENCE {
                    let _ = child.kill();
                    let _ = child.wait();
                    panic!("no server: {}", fs::read_to_string(self.path("log")).unwrap());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let log = fs::read_to_string(self.path("log")).unwrap();
            assert!(begun.elapsed() < PATIENCE, "no server: {log}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// As a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// As an operator does: open connections are ended.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
            child.wait().unwrap();
        }
    }

    async fn connect(&self, database: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.place.path()).port(self.port).user("postgres").dbname(database);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs statements as the server's administrator.
    pub async fn sql(&self, database: &str, statements: &str) {
        // Several statements at once would be one transaction.
        let client = self.connect(database).await.unwrap();
        for statement in statements.split(';') {
            client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
    }

    /// A number that a query gives.
    pub async fn number(&self, query: &str) -> i64 {
        self.connect("confide").await.unwrap().query_one(query, &[]).await.unwrap().get(0)
    }

    /// Settings for the database on the socket, under a name of its own for its sessions.
    pub fn on_socket(&self, name: &str) -> Postgres {
        let folder = self.place.path().display().to_string().replace('/', "%2F");
        let url = format!("postgres://confide@{folder}:{}/confide?application_name={name}", self.port);
        Postgres::at(url).unwrap()
    }

    /// Settings for the database over TCP.
    pub fn over_tls(&self, password: &str, authority: &str) -> Postgres {
        fs::write(self.path("password"), format!("{password}\n")).unwrap();
        let url = format!("postgres://confide@localhost:{}/confide", self.port);
        let mut settings = Postgres::at(url).unwrap();
        settings.password_file = Some(self.path("password"));
        settings.ca_file = Some(self.path(authority));
        settings
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder whose store is in the database.
pub fn folder(store: Postgres) -> Folder {
    let place = tempfile::tempdir().unwrap();
    let options = InitOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        crl_absent_reason: Some("a test".into()),
        store: StoreSource::Postgres(store),
        ..InitOptions::default()
    };
    Folder { facts: init(&place.path().join("broker"), &options).unwrap(), place }
}

/// The same broker's folder for another machine, with a name of its own for its sessions.
pub fn copy(folder: &Folder, store: Postgres) -> Folder {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("broker");
    fs::create_dir(&target).unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
    }
    let settings = target.join("broker.toml");
    let (old, new) = (url_of(&folder.settings()), store.url);
    fs::write(&settings, fs::read_to_string(&settings).unwrap().replace(&old, &new)).unwrap();
    let moved = |path: &Path| target.join(path.file_name().unwrap());
    let facts = Facts {
        identity: folder.facts.identity,
        identity_certificate: moved(&folder.facts.identity_certificate),
        identity_key: moved(&folder.facts.identity_key),
        admin_key: moved(&folder.facts.admin_key),
        settings,
    };
    Folder { facts, place }
}

fn url_of(settings: &Settings) -> String {
    match &settings.store {
        StoreSource::Postgres(postgres) => postgres.url.clone(),
        StoreSource::Sqlite => panic!("not in PostgreSQL"),
    }
}

/// A folder's broker.
pub async fn start(folder: &Folder) -> Broker {
    folder.start_with(folder.settings(), processor::verifier()).await
}

/// Plain TCP on this machine: refused by the server's rules, which want TLS.
pub fn plain(mut settings: Postgres) -> Postgres {
    settings.tls = PostgresTls::Off;
    settings
}

fn binaries() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            let binaries = path.join("bin");
            (binaries.join("initdb").is_file() && binaries.join("postgres").is_file()).then_some((version, binaries))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, path)| path)
}

/// The server refuses to run as root.
fn owner() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let entry = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(entry("postgres").or_else(|| entry("nobody")).expect("a user that is not root"))
}
