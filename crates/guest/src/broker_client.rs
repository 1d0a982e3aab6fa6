//! The guest's side of the key broker: KBS protocol 0.4.0 over a pinned channel.
//!
//! *Takes* the broker's address, its pin, a name resolver and a device that makes evidence.
//! *Guarantees* that evidence is bound to the broker's nonce and to a key made for this session, that a resource is
//! readable only with that key, and that no error text carries one.
//! *Does not check* the token that the broker returns: it is the broker's own word, over a channel that is the broker's.
//!
//! Everything blocks: PID 1 has one thing to do while it has no key.

mod http;
mod keeper;
mod key;

pub use http::agent as pinned_agent;
pub use keeper::{Keeper, Patience};

use crate::evidence::{Attester, EvidenceError};
use attest::channel::{ChannelError, Pinned};
use attest::snp::kbs::to_json;
use claims::kbs::{
    Attestation, Challenge, CompositeEvidence, ErrorInformation, InitData, Jwe, Request, RuntimeData, Token, VERSION,
    runtime_binding,
};
use claims::{Code, ReportData, Secret};
use key::GuestKey;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use ureq::Agent;
use ureq::http::Response;

/// Largest answer read.
const MAX_ANSWER: u64 = 8 << 20;
/// Longest text of a refusal that is kept.
const MAX_DETAIL: usize = 200;
const SESSION_COOKIE: &str = "kbs-session-id=";

/// Looks up a name and port: the guest has its own resolver.
pub type Resolve = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// Why there is no session, or no resource.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is not one that can be used.
    #[error("the broker's address must start with https://")]
    Address,
    /// The server cannot be reached, or stopped answering.
    #[error("the broker cannot be reached")]
    Unreachable {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server is not the pinned one.
    #[error("the server is not the pinned broker{}", reason(source))]
    Identity {
        /// What the TLS library says.
        #[source]
        source: rustls::Error,
    },
    /// The TLS configuration cannot be made.
    #[error("the TLS configuration cannot be made")]
    Tls(#[source] rustls::Error),
    /// The broker refused.
    #[error("the broker refused with HTTP status {status}: {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Stable code, where the broker named one.
        code: Option<Code>,
        /// The broker's words, shortened, printable.
        detail: String,
    },
    /// The broker's answer is not what the protocol has.
    #[error("{what} of the broker is malformed")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// No evidence.
    #[error("there is no evidence to send")]
    Evidence(#[from] EvidenceError),
    /// A cryptographic step failed; which, and no more.
    #[error("{what} failed")]
    Crypto {
        /// Which step.
        what: &'static str,
    },
    /// The resource path is not three plain segments.
    #[error("`{0}` is not a resource path")]
    Path(String),
    /// Tried until the time was up.
    #[error("gave up after {seconds} s")]
    GaveUp {
        /// Seconds tried.
        seconds: u64,
        /// The last failure.
        #[source]
        last: Box<ClientError>,
    },
}

impl ClientError {
    /// The stable code of the refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. } => code.unwrap_or(Code::Denied),
            Self::Evidence(error) => error.code(),
            Self::Path(_) => Code::Path,
            Self::Crypto { .. } => Code::Binding,
            Self::Address
            | Self::Unreachable { .. }
            | Self::Identity { .. }
            | Self::Tls(_)
            | Self::Malformed { .. }
            | Self::GaveUp { .. } => Code::Broker,
        }
    }

    /// Whether this is the pinned broker's own no, as opposed to no answer from it.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if (400..500).contains(status) && *status != 429)
    }

    /// Whether trying again later can help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { .. } => !self.is_refusal(),
            _ => false,
        }
    }

    /// This error and its causes in one line.
    pub fn line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// A client of one broker.
#[derive(Clone)]
pub struct KbsClient {
    http: Agent,
    base: String,
    attester: Arc<dyn Attester>,
}

impl KbsClient {
    /// A client of the broker at `url` (`https://HOST:PORT`), known by its pinned identity.
    pub fn new(url: &str, pinned: Pinned, resolve: Resolve, attester: Arc<dyn Attester>) -> Result<Self, ClientError> {
        let base = url.trim_end_matches('/').to_owned();
        if !base.starts_with("https://") {
            return Err(ClientError::Address);
        }
        let tls = pinned.client_config().map_err(ClientError::Tls)?;
        Ok(Self { http: http::agent(tls, resolve), base, attester })
    }

    /// Proves this machine to the broker, once. `site_json` is sent as init-data: its digest is in the evidence.
    pub fn attest(&self, site_json: &[u8]) -> Result<Session, ClientError> {
        let request = Request {
            version: VERSION.into(),
            tee: "snp".into(),
            extra_params: serde_json::Value::Object(serde_json::Map::new()),
        };
        let answer = self.post("auth", &request, None)?;
        let cookie = cookie_of(&answer).ok_or(ClientError::Malformed { what: "the session cookie" })?;
        let challenge: Challenge = body(answer, "the challenge")?;

        let key = GuestKey::generate()?;
        let runtime_data = RuntimeData { nonce: challenge.nonce, tee_pubkey: key.public().clone() };
        let binding =
            runtime_binding(&runtime_data, "").map_err(|_| ClientError::Crypto { what: "binding the key" })?;
        let mut report_data = [0; 64];
        if let Some(place) = report_data.first_chunk_mut() {
            *place = binding;
        }
        let evidence = self.attester.report(&ReportData(report_data))?;
        let attestation = Attestation {
            init_data: Some(InitData { format: "site".into(), body: text_of(site_json)? }),
            runtime_data,
            tee_evidence: CompositeEvidence {
                primary_evidence: to_json(evidence.report(), evidence.certificates()),
                additional_evidence: String::new(),
            },
        };
        let answer = self.post("attest", &attestation, Some(&cookie))?;
        let Token { token } = body(answer, "the attestation result")?;
        Ok(Session { client: self.clone(), cookie, key: Arc::new(key), token: Arc::new(Secret::new(token)) })
    }

    /// The device that this client's evidence comes from.
    pub fn attester(&self) -> &Arc<dyn Attester> {
        &self.attester
    }

    fn post(&self, path: &str, message: &impl Serialize, cookie: Option<&str>) -> Result<Answer, ClientError> {
        let bytes = serde_json::to_vec(message).map_err(|_| ClientError::Malformed { what: "a message" })?;
        let mut request = self.http.post(self.url(path)).header("content-type", "application/json");
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        Self::checked(request.send(&bytes).map_err(http::error)?)
    }

    fn get(&self, path: &str, cookie: &str) -> Result<Answer, ClientError> {
        Self::checked(self.http.get(self.url(path)).header("cookie", cookie).call().map_err(http::error)?)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/kbs/v0/{path}", self.base)
    }

    fn checked(answer: Answer) -> Result<Answer, ClientError> {
        let status = answer.status().as_u16();
        if status == 200 {
            return Ok(answer);
        }
        let said = body::<ErrorInformation>(answer, "the refusal").map(|said| said.detail).unwrap_or_default();
        let first = said.split(|letter: char| letter.is_whitespace() || letter == ':').next().unwrap_or_default();
        Err(ClientError::Refused { status, code: first.parse().ok(), detail: printable(&said) })
    }
}

type Answer = Response<ureq::Body>;

/// A broker that has accepted this machine's evidence. The key in it never leaves.
#[derive(Clone)]
pub struct Session {
    client: KbsClient,
    cookie: String,
    key: Arc<GuestKey>,
    token: Arc<Secret<String>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Session(…)")
    }
}

impl Session {
    /// Fetches and decrypts the resource at `repository/type/tag`.
    pub fn resource(&self, path: &str) -> Result<Secret<Vec<u8>>, ClientError> {
        if !is_resource_path(path) {
            return Err(ClientError::Path(printable(path)));
        }
        let answer = self.client.get(&format!("resource/{path}"), &self.cookie)?;
        let jwe: Jwe = body(answer, "the encrypted resource")?;
        self.key.decrypt(&jwe)
    }

    /// The attestation result that the broker signed.
    pub fn token(&self) -> &Secret<String> {
        &self.token
    }
}

/// Whether `path` is three segments of `[a-zA-Z0-9_-][a-zA-Z0-9_.-]*`.
pub fn is_resource_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let segment = |text: &str| {
        text.bytes().next().is_some_and(plain)
            && text.len() <= 128
            && text.bytes().all(|byte| plain(byte) || byte == b'.')
    };
    path.split('/').count() == 3 && path.split('/').all(segment)
}

fn body<T: DeserializeOwned>(answer: Answer, what: &'static str) -> Result<T, ClientError> {
    let bytes = answer.into_body().into_with_config().limit(MAX_ANSWER).read_to_vec().map_err(http::error)?;
    serde_json::from_slice(&bytes).map_err(|_| ClientError::Malformed { what })
}

fn cookie_of(answer: &Answer) -> Option<String> {
    let values = answer.headers().get_all("set-cookie").iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut pairs = texts.filter_map(|text| text.split(';').next());
    pairs.find(|pair| pair.starts_with(SESSION_COOKIE) && pair.len() <= 256).map(str::to_owned)
}

fn text_of(site_json: &[u8]) -> Result<String, ClientError> {
    String::from_utf8(site_json.to_vec()).map_err(|_| ClientError::Malformed { what: "site.json" })
}

fn printable(text: &str) -> String {
    text.chars().take(MAX_DETAIL).map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

fn reason(error: &rustls::Error) -> String {
    ChannelError::of(error).map(|why| format!(": {why}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_plain_segments_are_a_path() {
        assert!(is_resource_path("example/volume-key/site-1.x"));
        for bad in ["", "a/b", "a/b/c/d", "a//c", "a/b/.c", "../b/c", "a/b/c?d", "a/b/%63", "a/b/ç", "a/b/c\r\nx: y"] {
            assert!(!is_resource_path(bad), "{bad}");
        }
    }

    #[test]
    fn the_brokers_words_are_printable_and_short() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a?[2Jb?");
        assert_eq!(printable(&"x".repeat(1000)).len(), MAX_DETAIL);
    }

    #[test]
    fn only_the_brokers_own_no_is_a_refusal() {
        let refused = |status| ClientError::Refused { status, code: None, detail: String::new() };
        assert!(refused(403).is_refusal() && !refused(403).may_pass());
        assert!(!refused(429).is_refusal() && refused(429).may_pass());
        assert!(!refused(503).is_refusal() && refused(503).may_pass());
        let unreachable = ClientError::Unreachable { source: "no route".into() };
        assert!(!unreachable.is_refusal() && unreachable.may_pass());
        assert_eq!(unreachable.line(), "the broker cannot be reached: no route");
    }
}
