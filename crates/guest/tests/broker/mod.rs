//! A small key broker over TLS, with a machine that makes evidence: what the tests of client and agent talk to.
#![allow(dead_code, reason = "each test uses a part")]
#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use attest::channel::Pinned;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::rand::SystemRandom;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Router, serve::Listener};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use claims::kbs::{Attestation, Jwe, TeeKey, runtime_binding};
use claims::{Digest256, ReportData};
use guest::broker_client::{KbsClient, Resolve};
use guest::evidence::{Attester, Evidence, EvidenceError, Provider};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) const SECRET: &[u8] = b"correct horse battery staple 42!";
pub(crate) const NONCE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
pub(crate) const SITE_JSON: &[u8] = b"{\"site\":\"site-1\"}";

/// What the broker does wrong, or refuses.
#[derive(Default)]
pub(crate) struct Book {
    /// Status and text for the next attestations.
    pub(crate) refuse_attest: Option<(u16, &'static str)>,
    /// How many resources are answered with 401 before one is given.
    pub(crate) forget: usize,
    /// Status and text for the next resources, the last one first.
    pub(crate) refuse_resource: Vec<(u16, &'static str)>,
    /// An answer to `/auth` in place of the right one.
    pub(crate) auth: Option<Vec<u8>>,
    /// Whether the session cookie is left out.
    pub(crate) no_cookie: bool,
    /// Encrypts resources to this key instead.
    pub(crate) other_key: Option<TeeKey>,
    /// Attestations seen.
    pub(crate) attested: usize,
    /// The last guest's key.
    pub(crate) key: Option<TeeKey>,
}

pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pub(crate) identity: Digest256,
    pub(crate) book: Arc<Mutex<Book>>,
}

impl Broker {
    pub(crate) fn start() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let identity = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["broker".into()]).unwrap().signed_by(&key, &identity).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone(), identity.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let book = Arc::new(Mutex::new(Book::default()));
        let routes = Router::new()
            .route("/kbs/v0/auth", post(auth))
            .route("/kbs/v0/attest", post(attest))
            .route("/kbs/v0/resource/{repository}/{kind}/{tag}", get(resource))
            .with_state(book.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let tls = Tls { tcp: TcpListener::from_std(listener).unwrap(), acceptor: Arc::new(config).into() };
                axum::serve(tls, routes).await.unwrap();
            });
        });
        Self { address, identity: Digest256::of(&identity.key().subject_public_key_info()), book }
    }

    /// A client that looks the name `broker.test` up by itself.
    pub(crate) fn client(&self) -> KbsClient {
        self.client_pinned(self.identity)
    }

    pub(crate) fn client_pinned(&self, pin: Digest256) -> KbsClient {
        let address = self.address;
        let resolve: Resolve = Arc::new(move |name, port| {
            assert_eq!((name, port), ("broker.test", address.port()));
            Ok(vec![address])
        });
        let url = format!("https://broker.test:{}/", address.port());
        KbsClient::new(&url, Pinned::new(pin), resolve, Arc::new(Machine)).unwrap()
    }
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

type Shared = State<Arc<Mutex<Book>>>;

fn error(status: u16, detail: &str) -> Response {
    let kind = "https://github.com/confidential-containers/kbs/errors/Refused";
    (StatusCode::from_u16(status).unwrap(), Json(json!({ "type": kind, "detail": detail }))).into_response()
}

async fn auth(State(book): Shared, Json(request): Json<Value>) -> Response {
    let book = book.lock().unwrap();
    if request["version"] != "0.4.0" || request["tee"] != "snp" || request.get("extra-params").is_none() {
        return error(400, "E-VERSION");
    }
    let cookie = [("set-cookie", "kbs-session-id=0123456789abcdef; Expires=Sun, 22 Nov 2099 01:02:37 GMT")];
    let body = book.auth.clone().unwrap_or_else(|| json!({ "nonce": NONCE, "extra-params": "" }).to_string().into());
    if book.no_cookie { body.into_response() } else { (cookie, body).into_response() }
}

async fn attest(State(book): Shared, head: HeaderMap, Json(message): Json<Attestation>) -> Response {
    let mut book = book.lock().unwrap();
    book.attested += 1;
    if let Some((status, detail)) = book.refuse_attest {
        return error(status, detail);
    }
    if head.get("cookie").is_none_or(|cookie| cookie != "kbs-session-id=0123456789abcdef") {
        return error(401, "E-NONCE: no session");
    }
    let (report, _) = attest::snp::kbs::from_json(&message.tee_evidence.primary_evidence).unwrap();
    let binding = runtime_binding(&message.runtime_data, &message.tee_evidence.additional_evidence).unwrap();
    let bound = report.claimed().report_data.0 == [binding.as_slice(), &[0; 16]].concat().as_slice();
    let site = message.init_data.unwrap();
    if !bound || message.runtime_data.nonce != NONCE || site.format != "site" || site.body.as_bytes() != SITE_JSON {
        return error(403, "E-REPORT-DATA");
    }
    book.key = Some(message.runtime_data.tee_pubkey);
    Json(json!({ "token": "header.payload.signature" })).into_response()
}

async fn resource(State(book): Shared, Path(path): Path<(String, String, String)>) -> Response {
    let mut book = book.lock().unwrap();
    if book.forget > 0 {
        book.forget -= 1;
        return error(401, "E-NONCE");
    }
    if let Some((status, detail)) = book.refuse_resource.pop() {
        return error(status, detail);
    }
    let Some(key) = book.other_key.clone().or(book.key.clone()) else { return error(401, "E-NONCE") };
    match path.2.as_str() {
        "secret" | "volume" => Json(encrypt(&key, SECRET)).into_response(),
        "denied" => error(403, "E-DENIED"),
        _ => error(404, "E-ABSENT"),
    }
}

/// ECDH-ES+A256KW with A256GCM (RFC 7518, 4.6 and 5.3), from the sender's side.
pub(crate) fn encrypt(key: &TeeKey, secret: &[u8]) -> Jwe {
    let TeeKey::Ec { x, y, .. } = key else { panic!("not an EC key") };
    let point = [vec![4], B64.decode(x).unwrap(), B64.decode(y).unwrap()].concat();
    let random = SystemRandom::new();
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &random).unwrap();
    let public = own.compute_public_key().unwrap().as_ref().to_vec();
    let information = b"\0\0\0\x0eECDH-ES+A256KW\0\0\0\0\0\0\0\0\0\0\x01\0";
    let kek = agree_ephemeral(own, UnparsedPublicKey::new(&ECDH_P256, point), (), |shared| {
        let mut kek = [0; 32];
        let sha256 = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256).unwrap();
        sskdf_digest(sha256, shared, information, &mut kek).map(|()| kek).map_err(|_| ())
    });
    let (content_key, mut wrapped) = ([5; 32], [0; 40]);
    AesKek::new(&AES_256, &kek.unwrap()).unwrap().wrap(&content_key, &mut wrapped).unwrap();
    let epk = json!({ "crv": "P-256", "kty": "EC", "x": B64.encode(&public[1..33]), "y": B64.encode(&public[33..]) });
    let header = format!("{{\"alg\":\"ECDH-ES+A256KW\",\"enc\":\"A256GCM\",\"epk\":{epk}}}");
    let protected = B64.encode(header);
    let mut text = secret.to_vec();
    let sealer = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &content_key).unwrap());
    let nonce = Nonce::assume_unique_for_key([9; 12]);
    let tag = sealer.seal_in_place_separate_tag(nonce, Aad::from(protected.as_bytes()), &mut text).unwrap();
    Jwe {
        protected,
        encrypted_key: B64.encode(wrapped),
        iv: B64.encode([9; 12]),
        ciphertext: B64.encode(text),
        tag: B64.encode(tag.as_ref()),
    }
}

/// A processor that signs nothing: version 2, policy 0x30000, a signature of one and one.
pub(crate) struct Machine;

impl Attester for Machine {
    fn report(&self, data: &ReportData) -> Result<Evidence, EvidenceError> {
        let mut report = [0; 0x4A0];
        (report[0], report[0x0A], report[0x34], report[0x2A0], report[0x2E8]) = (2, 3, 1, 1, 1);
        report[0x50..0x90].copy_from_slice(data.as_bytes());
        Evidence::of(data, &report, &[], Provider::Emulated)
    }

    fn provider(&self) -> Provider {
        Provider::Emulated
    }
}
