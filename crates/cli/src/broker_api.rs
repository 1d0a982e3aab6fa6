//! Talks to a broker as its administrator: pinned TLS, and a token signed with the admin key for one request's time.

use crate::args::BrokerLocation;
use crate::outcome::{Failure, Result};
use attest::channel::Pinned;
use broker::Settings;
use claims::{Code, Digest256};
use guest::broker_client::pinned_agent;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// An admin token is made for one request.
const TOKEN_SECONDS: u64 = 60;

/// A broker that this machine holds the admin key of.
pub(crate) struct BrokerApi {
    agent: ureq::Agent,
    url: String,
    admin_key: zeroize::Zeroizing<Vec<u8>>,
    identity: Digest256,
}

impl BrokerApi {
    /// Finds the broker's folder and reads its identity and admin key.
    pub(crate) fn open(location: &BrokerLocation) -> Result<Self> {
        let folder = folder(location)?;
        let settings = Settings::load(&folder.join(broker::SETTINGS_FILE)).map_err(no_settings)?;
        let url = location.url.clone().unwrap_or_else(|| format!("https://{}", reachable(settings.listen)));
        Self::at(&folder, url)
    }

    /// The broker of `folder`, listening at `url`.
    pub(crate) fn at(folder: &Path, url: String) -> Result<Self> {
        let admin_key =
            zeroize::Zeroizing::new(crate::outcome::read(&folder.join(broker::ADMIN_KEY_FILE)).map_err(|failure| {
                failure.hint("name the folder that `confide broker init` made with --broker-dir")
            })?);
        let identity = identity(folder)?;
        Ok(Self { agent: agent(&url, identity)?, url, admin_key, identity })
    }

    /// The broker's address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The broker's pinned identity.
    pub(crate) fn identity(&self) -> Digest256 {
        self.identity
    }

    /// `GET`, answered with JSON.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let request = self.agent.get(format!("{}{path}", self.url)).header("authorization", self.token()?);
        json(self.answer(request.call())?)
    }

    /// `POST` of bytes.
    pub(crate) fn post(&self, path: &str, body: &[u8], content_type: &str) -> Result<Value> {
        let request = self
            .agent
            .post(format!("{}{path}", self.url))
            .header("authorization", self.token()?)
            .header("content-type", content_type);
        json(self.answer(request.send(body))?)
    }

    /// `POST` of a secret's value; the version that it became.
    pub(crate) fn put_secret(&self, path: &str, value: &[u8]) -> Result<Option<u64>> {
        let request = self
            .agent
            .post(format!("{}{path}", self.url))
            .header("authorization", self.token()?)
            .header("content-type", "application/octet-stream");
        let answer = request.send(value);
        let header = answer.as_ref().ok().and_then(|answer| answer.headers().get("confide-version"));
        let version = header.and_then(|version| version.to_str().ok()?.parse().ok());
        self.answer(answer).map(|_| version)
    }

    /// `DELETE`.
    pub(crate) fn delete(&self, path: &str) -> Result<Value> {
        let request = self.agent.delete(format!("{}{path}", self.url)).header("authorization", self.token()?);
        json(self.answer(request.call())?)
    }

    fn token(&self) -> Result<String> {
        let token = broker::admin_token(&self.admin_key, "admin", crate::now(), TOKEN_SECONDS)
            .map_err(|error| Failure::environment("cannot sign an admin token").because(error))?;
        Ok(format!("Bearer {token}"))
    }

    fn answer(
        &self,
        answer: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        let mut answer = answer.map_err(|error| {
            Failure::environment(format!("the broker at {} does not answer", self.url))
                .because(error)
                .code(Code::Broker)
                .hint("start it with: confide broker serve --config DIR/broker.toml")
                .hint("name its folder with --broker-dir, and its address with --url where it differs from broker.toml")
        })?;
        let body = answer
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_vec()
            .map_err(|error| Failure::environment("the broker's answer broke off").because(error))?;
        let body = zeroize::Zeroizing::new(body);
        let status = answer.status();
        if status.is_success() {
            return Ok(body);
        }
        let detail = serde_json::from_slice::<claims::kbs::ErrorInformation>(&body)
            .map_or_else(|_| String::from_utf8_lossy(&body).into_owned(), |error| error.detail);
        let failure = Failure::refused(format!("the broker refused with {}: {detail}", status.as_u16()));
        let code = detail
            .split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-'))
            .find_map(|word| word.parse().ok());
        Err(match code {
            Some(code) => failure.code(code),
            None => failure,
        })
    }
}

/// Where the broker's folder is: the flag, `.confide/broker`, or the user's data folder.
pub(crate) fn folder(location: &BrokerLocation) -> Result<PathBuf> {
    if let Some(folder) = &location.directory {
        return Ok(folder.clone());
    }
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share/confide/broker"));
    let candidates = [Some(PathBuf::from(".confide/broker")), home];
    candidates.into_iter().flatten().find(|folder| folder.join(broker::SETTINGS_FILE).exists()).ok_or_else(|| {
        Failure::environment("there is no broker's folder here")
            .hint("make one with: confide broker init --dir broker")
            .hint("name one with --broker-dir, or CONFIDE_BROKER_DIR")
    })
}

/// The identity of the broker with this folder.
pub(crate) fn identity(folder: &Path) -> Result<Digest256> {
    broker::identity(folder).map_err(|error| {
        Failure::environment(format!("the broker's identity in {} cannot be read", folder.display())).because(error)
    })
}

/// The failure of settings that cannot be used.
pub(crate) fn no_settings(error: broker::SettingsError) -> Failure {
    Failure::environment("the broker's settings cannot be used").because(error)
}

/// An HTTP client that talks to the holder of `identity` only; plain HTTP (`broker serve --dev --insecure-http`) stays on
/// this machine.
fn agent(url: &str, identity: Digest256) -> Result<ureq::Agent> {
    let local = ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"];
    if local.iter().any(|start| url.starts_with(start)) {
        return Ok(ureq::Agent::config_builder().http_status_as_error(false).build().new_agent());
    }
    let tls = Pinned::new(identity)
        .client_config()
        .map_err(|error| Failure::environment("cannot set up TLS").because(error))?;
    Ok(pinned_agent(tls, resolve()))
}

/// Names as this machine resolves them.
pub(crate) fn resolve() -> guest::broker_client::Resolve {
    std::sync::Arc::new(|name: &str, port: u16| {
        std::net::ToSocketAddrs::to_socket_addrs(&(name, port)).map(Iterator::collect)
    })
}

fn json(body: zeroize::Zeroizing<Vec<u8>>) -> Result<Value> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body)
        .map_err(|error| Failure::environment("the broker's answer is not JSON").because(error))
}

/// An address to connect to for one that is listened on.
fn reachable(listen: std::net::SocketAddr) -> std::net::SocketAddr {
    if listen.ip().is_unspecified() {
        return std::net::SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), listen.port());
    }
    listen
}
