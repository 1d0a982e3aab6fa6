//! A client whose broker may vanish: every step may come to nothing.

use super::process::Process;
use super::support::Answer;
use super::support::guest::{Guest, Session};
use attest::channel::Pinned;
use broker::Ready;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longest that anything may take on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection.
pub(super) struct Wire {
    sender: SendRequest<Full<Bytes>>,
}

impl Wire {
    pub(super) async fn to(ready: &Ready) -> Option<Self> {
        let connect = async {
            let stream = TcpStream::connect(ready.address).await.ok()?;
            let config = Pinned::new(ready.identity).client_config().unwrap();
            let name = ServerName::try_from("broker.invalid").unwrap();
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
            tokio::spawn(connection);
            Some(Self { sender })
        };
        timeout(PATIENCE, connect).await.ok()?
    }

    pub(super) async fn send(
        &mut self,
        method: &str,
        path: &str,
        header: Option<(&str, &str)>,
        body: impl Into<Bytes>,
    ) -> Option<Answer> {
        let mut request = hyper::Request::builder().method(method).uri(path).header("host", "broker");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let exchange = async {
            self.sender.ready().await.ok()?;
            let (parts, body) = self.sender.send_request(request).await.ok()?.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            Some(Answer { status: parts.status, headers: parts.headers, body })
        };
        timeout(PATIENCE, exchange).await.ok()?
    }

    pub(super) async fn auth(&mut self) -> Option<Session> {
        let body = r#"{"version":"0.4.0","tee":"snp","extra-params":""}"#;
        let answer = self.send("POST", "/kbs/v0/auth", None, body).await?;
        let nonce = answer.json()["nonce"].as_str()?.to_owned();
        Some(Session { cookie: answer.cookie(), nonce })
    }

    pub(super) async fn attest(&mut self, session: &Session, body: &Value) -> Option<Answer> {
        self.send("POST", "/kbs/v0/attest", Some(("cookie", &session.cookie)), body.to_string()).await
    }

    pub(super) async fn get(&mut self, session: &Session, path: &str) -> Option<Answer> {
        self.send("GET", &format!("/kbs/v0/resource/{path}"), Some(("cookie", &session.cookie)), "").await
    }

    /// Handshake and one secret: whether it is the one wanted.
    pub(super) async fn serves(&mut self, guest: &Guest, path: &str, wanted: &[u8]) -> Option<bool> {
        let session = self.auth().await?;
        let attested = self.attest(&session, &guest.body(&session)).await?;
        if attested.status != 200 {
            return Some(false);
        }
        let answer = self.get(&session, path).await?;
        Some(answer.status == 200 && guest.secret(&answer) == wanted)
    }
}

impl Process {
    pub(super) async fn wire(&self) -> Wire {
        Wire::to(&self.ready).await.unwrap_or_else(|| panic!("the broker takes no connection"))
    }

    pub(super) async fn admin(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Answer {
        let bearer = format!("Bearer {}", self.admin);
        let answer = self.wire().await.send(method, path, Some(("authorization", &bearer)), body).await;
        answer.unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }

    /// Stores a secret with a rule that releases it to the guest.
    pub(super) async fn serve_secret(&self, guest: &Guest, path: &str, value: &[u8]) {
        let put = self.admin("POST", &format!("/kbs/v0/resource/{path}"), value.to_vec()).await;
        assert_eq!(put.status, 200, "{put:?}");
        let rule = guest.launch.reference(&[path]).to_string();
        assert!(self.admin("POST", "/confide/v0/references", rule).await.status.is_success());
    }

    /// The number of entries of a log that is whole.
    pub(super) async fn whole_log(&self) -> u64 {
        let verdict = self.admin("GET", "/confide/v0/audit/verify", "").await.json();
        assert_eq!(verdict["ok"], json!(true), "{verdict}");
        verdict["entries"].as_u64().unwrap()
    }
}
