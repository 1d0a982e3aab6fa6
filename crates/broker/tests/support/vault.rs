//! A server that follows Vault's published HTTP API as far as the broker uses it: a real HTTP server over real TLS on
//! loopback, with a certificate authority of its own. Not Vault: that its answers are Vault's is read from the documents.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub const ROLE: &str = "role-of-the-broker";
pub const SECRET_ID: &str = "secret-id-nobody-may-see";

/// What the server does instead of what it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    Well,
    Sealed,
    Redirects,
    Huge,
    Deep,
    WrongTypes,
    NotJson,
    OtherVersion,
    EchoesToken,
    Slow,
}

/// What the server knows.
pub struct State {
    pub mood: Mood,
    /// Method and path of each request, without the health checks.
    pub requests: Vec<String>,
    /// Life of tokens of logins, seconds.
    pub lease: u64,
    pub renewals: u64,
    pub logins: u64,
    pub v1: BTreeMap<String, Value>,
    pub v2: BTreeMap<String, Vec<Entry>>,
    tokens: HashMap<String, Option<Instant>>,
    /// Newest version of the transit key; each version hides a value in its own way.
    pub transit: u8,
    /// Where requests are sent on to.
    pub elsewhere: String,
    made: u64,
}

/// One version of an entry; none where it is destroyed.
#[derive(Clone)]
pub struct Entry {
    pub data: Option<Value>,
    pub deleted: bool,
}

pub struct FakeVault {
    pub address: SocketAddr,
    pub place: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    tls: (Vec<u8>, Vec<u8>),
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl FakeVault {
    pub fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(place.path().join("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
        let leaf = leaf.signed_by(&leaf_key, &Issuer::new(authority, &key)).unwrap();
        std::fs::write(place.path().join("secret-id"), format!("{SECRET_ID}\n")).unwrap();
        let state = State {
            mood: Mood::Well,
            requests: Vec::new(),
            lease: 3600,
            renewals: 0,
            logins: 0,
            v1: BTreeMap::new(),
            v2: BTreeMap::new(),
            tokens: HashMap::new(),
            transit: 1,
            elsewhere: String::new(),
            made: 0,
        };
        let mut vault = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            place,
            state: Arc::new(Mutex::new(state)),
            tls: (leaf.der().to_vec(), leaf_key.serialize_der()),
            stop: None,
            thread: None,
        };
        vault.go_on();
        vault
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A token that does not end.
    pub fn token(&self) -> String {
        let token = "hvs.a-token-nobody-may-see".to_owned();
        self.state().tokens.insert(token.clone(), None);
        token
    }

    /// Every token there is, ended.
    pub fn revoke(&self) {
        self.state().tokens.clear();
    }

    /// Requests for values and logins, since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }

    /// Ends the server; connections to it break.
    pub fn die(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// Serves, at the same address as before.
    pub fn go_on(&mut self) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (told, bound) = std::sync::mpsc::channel();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.tls.1.clone()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.tls.0.clone().into()], key)
            .unwrap();
        let (state, address) = (Arc::clone(&self.state), self.address);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind(address).await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener, TlsAcceptor::from(Arc::new(config)), state) => {}
                }
            });
        });
        self.address = bound.recv().unwrap();
        (self.stop, self.thread) = (Some(stop), Some(thread));
    }
}

impl Drop for FakeVault {
    fn drop(&mut self) {
        self.die();
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, state: Arc<Mutex<State>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let state = Arc::clone(&state);
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    let target = parts.uri.path_and_query().unwrap().as_str().to_owned();
                    let slow = state.lock().unwrap().mood == Mood::Slow;
                    if slow {
                        tokio::time::sleep(Duration::from_secs(3600)).await;
                    }
                    let mut state = state.lock().unwrap();
                    Ok::<_, std::convert::Infallible>(state.answer(
                        parts.method.as_str(),
                        &target,
                        &parts.headers,
                        &body,
                    ))
                }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Answer = Response<Full<Bytes>>;

fn reply(status: u16, body: &Value) -> Answer {
    let body = if status == 204 { Bytes::new() } else { Bytes::from(body.to_string()) };
    Response::builder().status(status).header("content-type", "application/json").body(Full::new(body)).unwrap()
}

fn errors(status: u16, words: &[&str]) -> Answer {
    reply(status, &json!({ "errors": words }))
}

impl State {
    fn answer(&mut self, method: &str, target: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        assert_eq!(headers["x-vault-request"], "true");
        let Some(path) = path.strip_prefix("/v1/") else { return errors(404, &[]) };
        if self.mood == Mood::Sealed {
            return errors(503, &["Vault is sealed"]);
        }
        if path == "sys/health" {
            return reply(200, &json!({"initialized": true, "sealed": false, "standby": false}));
        }
        self.requests.push(format!("{method} {path}"));
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if path == "auth/approle/login" {
            return self.log_in(&body);
        }
        let token = headers.get("x-vault-token").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let ends = match self.tokens.get(&token) {
            Some(ends) if ends.is_none_or(|ends| Instant::now() < ends) => *ends,
            _ => return errors(403, &["permission denied", "invalid token"]),
        };
        match (method, path) {
            ("GET", "auth/token/lookup-self") => {
                let ttl = ends.map_or(0, |ends| ends.saturating_duration_since(Instant::now()).as_secs().max(1));
                reply(200, &json!({"data": {"ttl": ttl, "renewable": ends.is_some(), "policies": ["default"]}}))
            }
            ("POST", "auth/token/renew-self") => {
                self.renewals += 1;
                let lease = self.lease;
                self.grant(&token, lease)
            }
            ("POST", "auth/token/revoke-self") => {
                self.tokens.remove(&token);
                reply(204, &Value::Null)
            }
            _ => self.engine(method, path, query, &body, &token),
        }
    }

    fn log_in(&mut self, body: &Value) -> Answer {
        if body["role_id"] != json!(ROLE) || body["secret_id"] != json!(SECRET_ID) {
            return errors(400, &["invalid role or secret ID"]);
        }
        self.logins += 1;
        self.made += 1;
        let token = format!("hvs.token-of-a-login-{}", self.made);
        let lease = self.lease;
        self.grant(&token, lease)
    }

    fn grant(&mut self, token: &str, lease: u64) -> Answer {
        self.tokens.insert(token.to_owned(), Some(Instant::now() + Duration::from_secs(lease)));
        let auth = json!({"client_token": token, "accessor": "a", "policies": ["default"], "lease_duration": lease,
            "renewable": true});
        reply(200, &json!({"request_id": "r", "lease_id": "", "renewable": false, "data": null, "auth": auth}))
    }

    fn engine(&mut self, method: &str, path: &str, query: &str, body: &Value, token: &str) -> Answer {
        match self.mood {
            Mood::Redirects => {
                let to = format!("{}/v1/{path}", self.elsewhere);
                let answer = Response::builder().status(307).header("location", to);
                return answer.body(Full::new(Bytes::new())).unwrap();
            }
            Mood::Huge => return reply(200, &json!({"data": {"data": "x".repeat(8 << 20)}})),
            Mood::Deep => {
                let deep = format!("{{\"data\":{{\"data\":{}1{}}}}}", "[".repeat(200_000), "]".repeat(200_000));
                return Response::new(Full::new(Bytes::from(deep)));
            }
            Mood::WrongTypes => {
                return reply(200, &json!({"data": {"data": {"data": 17}, "metadata": {"version": 1}}}));
            }
            Mood::NotJson => {
                return Response::new(Full::new(Bytes::from_static(b"<html>a value nobody may see</html>")));
            }
            Mood::EchoesToken => return errors(500, &["internal error with", token]),
            _ => {}
        }
        let mut segments = path.split('/');
        match (segments.next(), segments.next()) {
            (Some("kv"), _) => self.kv_one(method, path.trim_start_matches("kv/"), body),
            (Some("secret"), Some(part)) => {
                let rest = path.trim_start_matches(&format!("secret/{part}/")).to_owned();
                self.kv_two(method, part, &rest, query, body)
            }
            (Some("transit"), Some(what)) => self.transit(what, body),
            _ => errors(404, &[&format!("no handler for route \"{path}\". route entry not found.")]),
        }
    }

    fn kv_one(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        match method {
            "GET" => match self.v1.get(path) {
                Some(data) => {
                    reply(200, &json!({"lease_duration": 2_764_800, "renewable": false, "data": data, "auth": null}))
                }
                None => errors(404, &[]),
            },
            "DELETE" => {
                self.v1.remove(path);
                reply(204, &Value::Null)
            }
            _ => {
                self.v1.insert(path.to_owned(), body.clone());
                reply(204, &Value::Null)
            }
        }
    }

    fn kv_two(&mut self, method: &str, part: &str, path: &str, query: &str, body: &Value) -> Answer {
        let other = self.mood == Mood::OtherVersion;
        let versions = self.v2.entry(path.to_owned()).or_default();
        let metadata = |number: usize, entry: &Entry| {
            json!({"version": number, "created_time": "2026-11-22T10:00:00.5Z", "destroyed": entry.data.is_none(),
                "deletion_time": if entry.deleted { "2026-11-22T11:00:00Z" } else { "" }})
        };
        match (method, part) {
            ("GET", "data") => {
                let asked = query.strip_prefix("version=").map_or(versions.len(), |number| number.parse().unwrap());
                let Some(entry) = asked.checked_sub(1).and_then(|place| versions.get(place)) else {
                    return errors(404, &[]);
                };
                let facts = metadata(if other { asked + 1 } else { asked }, entry);
                match &entry.data {
                    Some(data) if !entry.deleted => reply(200, &json!({"data": {"data": data, "metadata": facts}})),
                    _ => reply(404, &json!({"data": {"data": null, "metadata": facts}})),
                }
            }
            ("POST", "data") => {
                if body["options"]["cas"] != json!(versions.len()) {
                    return errors(400, &["check-and-set parameter did not match the current version"]);
                }
                versions.push(Entry { data: Some(body["data"].clone()), deleted: false });
                reply(200, &json!({"data": metadata(versions.len(), &versions[versions.len() - 1])}))
            }
            ("GET", "metadata") if versions.is_empty() => errors(404, &[]),
            ("GET", "metadata") => {
                let list: serde_json::Map<String, Value> = versions
                    .iter()
                    .enumerate()
                    .map(|(place, entry)| ((place + 1).to_string(), metadata(place + 1, entry)))
                    .collect();
                reply(200, &json!({"data": {"current_version": versions.len(), "versions": list}}))
            }
            ("POST", "destroy") => {
                for number in body["versions"].as_array().unwrap() {
                    let place = usize::try_from(number.as_u64().unwrap()).unwrap() - 1;
                    versions[place].data = None;
                }
                reply(204, &Value::Null)
            }
            _ => errors(405, &["unsupported operation"]),
        }
    }

    /// The cipher is a XOR with the key's version: enough to see that the right thing is asked for.
    fn transit(&mut self, what: &str, body: &Value) -> Answer {
        let hide = |bytes: &[u8], version: u8| bytes.iter().map(|byte| byte ^ version).collect::<Vec<_>>();
        let text = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
        let opened = || {
            let ciphertext = text("ciphertext");
            let (version, rest) = ciphertext.strip_prefix("vault:v")?.split_once(':')?;
            Some(hide(&STANDARD.decode(rest).ok()?, version.parse().ok()?))
        };
        let sealed = |bytes: &[u8], version: u8| format!("vault:v{version}:{}", STANDARD.encode(hide(bytes, version)));
        match what {
            "encrypt" => {
                let plain = STANDARD.decode(text("plaintext")).unwrap();
                reply(200, &json!({"data": {"ciphertext": sealed(&plain, self.transit), "key_version": self.transit}}))
            }
            "decrypt" => match opened() {
                Some(plain) => reply(200, &json!({"data": {"plaintext": STANDARD.encode(plain)}})),
                None => errors(400, &["invalid ciphertext: no prefix"]),
            },
            _ => match opened() {
                Some(plain) => reply(200, &json!({"data": {"ciphertext": sealed(&plain, self.transit)}})),
                None => errors(400, &["invalid ciphertext: no prefix"]),
            },
        }
    }
}
