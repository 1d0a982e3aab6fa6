//! A broker in this process, clients that speak to it over real TLS, and a processor that signs reports.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this module")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]

pub mod guest;
pub mod processor;
pub mod vault;

use attest::channel::Pinned;
use broker::{ExtraVerifier, Facts, InitOptions, Ready, Settings, Verifiers, admin_token, init, serve};
use claims::UnixTime;
use claims::kbs::ErrorInformation;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

pub fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}

/// A broker's folder, and how to run it.
pub struct Folder {
    pub facts: Facts,
    pub place: tempfile::TempDir,
}

impl Folder {
    pub fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let options = InitOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            crl_absent_reason: Some("a test".into()),
            ..InitOptions::default()
        };
        Self { facts: init(&place.path().join("broker"), &options).unwrap(), place }
    }

    pub fn path(&self) -> &Path {
        self.facts.settings.parent().unwrap()
    }

    pub fn settings(&self) -> Settings {
        Settings { dev: true, ..Settings::load(&self.facts.settings).unwrap() }
    }

    pub async fn start(&self) -> Broker {
        self.start_with(self.settings(), processor::verifier()).await
    }

    pub async fn start_with(&self, settings: Settings, extra: Option<Arc<dyn ExtraVerifier>>) -> Broker {
        let (stop, stopped) = oneshot::channel::<()>();
        let (told, ready) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            serve(settings, Verifiers { extra }, |facts| told.send(facts).unwrap(), shutdown).await.unwrap();
        });
        let ready = ready.await.expect("the broker listens");
        assert_eq!(ready.identity, self.facts.identity);
        Broker { admin: self.token("admin"), ready, stop, task }
    }

    pub fn token(&self, role: &str) -> String {
        admin_token(&std::fs::read(&self.facts.admin_key).unwrap(), role, now(), 600).unwrap()
    }
}

pub struct Broker {
    pub ready: Ready,
    pub admin: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Broker {
    pub async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }

    /// Ends it between two instructions, as far as that goes inside of one process.
    pub fn kill(self) {
        self.task.abort();
    }

    pub async fn client(&self) -> Client {
        Client::connect(&self.ready).await
    }

    pub async fn admin(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Answer {
        let bearer = format!("Bearer {}", self.admin);
        self.client().await.send(method, path, &[("authorization", &bearer)], body).await
    }

    /// Stores a secret and a rule that releases it.
    pub async fn serve_secret(&self, path: &str, value: &[u8], reference: &Value) -> String {
        let put = self.admin("POST", &format!("/kbs/v0/resource/{path}"), value.to_vec()).await;
        assert_eq!(put.status, StatusCode::OK);
        self.add(reference).await
    }

    pub async fn add(&self, reference: &Value) -> String {
        let added = self.admin("POST", "/confide/v0/references", reference.to_string()).await;
        assert!(added.status.is_success(), "{added:?}");
        added.json()["id"].as_str().unwrap().to_owned()
    }

    /// Everything that the audit log says, newest decision first.
    pub async fn decisions(&self) -> Vec<Value> {
        let list = self.admin("GET", "/confide/v0/decisions?limit=500", "").await.json();
        list["decisions"].as_array().unwrap().clone()
    }

    pub async fn decision(&self, id: &str) -> Value {
        let answer = self.admin("GET", &format!("/confide/v0/decisions/{id}"), "").await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.json()
    }
}

/// One connection; speaks plain HTTP to a broker that does.
pub struct Client {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Client {
    pub async fn connect(ready: &Ready) -> Self {
        let stream = TcpStream::connect(ready.address).await.unwrap();
        if ready.url.starts_with("http://") {
            return Self::over(stream).await;
        }
        let config = Pinned::new(ready.identity).client_config().unwrap();
        let name = ServerName::try_from("broker.invalid").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        Self::over(stream).await
    }

    async fn over<T>(stream: T) -> Self
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let mut http = hyper::client::conn::http1::Builder::new();
        let (sender, connection) = http.max_buf_size(1 << 20).handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    pub async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("host", "broker").body(Full::new(body.into())).unwrap();
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a refusal; its body must be what upstream clients parse.
    #[track_caller]
    pub fn refusal(&self) -> (u16, String) {
        let error: ErrorInformation = serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        assert!(error.kind.starts_with("https://github.com/confidential-containers/kbs/errors/"), "{error:?}");
        (self.status.as_u16(), error.detail.split(':').next().unwrap().to_owned())
    }

    /// The decision that a refusal names.
    pub fn decision(&self) -> String {
        let detail = self.json()["detail"].as_str().unwrap().to_owned();
        let (_, rest) = detail.split_once("(decision ").expect("the refusal names its decision");
        rest.trim_end_matches(')').to_owned()
    }

    /// The cookie pair it sets.
    pub fn cookie(&self) -> String {
        let value = self.headers["set-cookie"].to_str().unwrap();
        value.split(';').next().unwrap().to_owned()
    }
}

pub fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
