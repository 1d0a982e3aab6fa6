//! What init makes, what administrators do and see, the audit log, and the bounds on requests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use hyper::StatusCode;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use support::guest::Guest;
use support::processor::{Launch, verifier};
use support::{Broker, Folder, refused};

const PATH: &str = "example/key/1";

#[test]
fn init_makes_private_files_once() {
    let folder = Folder::new();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.path()), 0o700);
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 13, "{seen}");
    let again = broker::init(folder.path(), &broker::InitOptions::default());
    assert!(matches!(again, Err(broker::InitError::Exists { .. })), "{again:?}");
    let text = std::fs::read_to_string(&folder.facts.settings).unwrap();
    std::fs::write(&folder.facts.settings, format!("listen = 1\n{text}")).unwrap();
    let unknown = broker::Settings::load(&folder.facts.settings);
    assert!(matches!(unknown, Err(broker::SettingsError::Toml { .. })), "{unknown:?}");
    let smuggled = format!("dev = true\n{text}");
    std::fs::write(&folder.facts.settings, smuggled).unwrap();
    assert!(broker::Settings::load(&folder.facts.settings).is_err(), "development is not a setting");
}

#[tokio::test]
async fn plain_http_is_for_development_on_loopback_only() {
    let folder = Folder::new();
    let plain = broker::Settings { insecure_http: true, ..folder.settings() };
    for bad in [
        broker::Settings { dev: false, ..plain.clone() },
        broker::Settings { listen: support::address("0.0.0.0:0"), ..plain.clone() },
    ] {
        let served = broker::serve(bad, broker::Verifiers::default(), |_| (), async {}).await;
        assert!(matches!(served, Err(broker::ServeError::Settings(_))), "{served:?}");
    }
    let broker = folder.start_with(plain, verifier()).await;
    assert!(broker.ready.url.starts_with("http://127.0.0.1:"));
    let guest = Guest::new(Launch::default());
    broker.serve_secret(PATH, b"value", &guest.launch.reference(&[PATH])).await;
    assert_eq!(guest.secret(&guest.get(&mut broker.client().await, PATH).await), b"value");
    broker.stop().await;
}

#[tokio::test]
async fn a_renewed_leaf_has_the_same_identity() {
    let folder = Folder::new();
    let before = std::fs::read(folder.path().join("tls.pem")).unwrap();
    broker::renew_leaf(folder.path(), &["broker.example".into()], None).unwrap();
    assert_ne!(std::fs::read(folder.path().join("tls.pem")).unwrap(), before);
    // The client pins the identity, so this fails unless the leaf is the identity's.
    let broker = folder.start().await;
    assert_eq!(broker.client().await.send("GET", "/healthz", &[], "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_new_leaf_is_taken_into_use_without_a_restart() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let leaf = async || {
        let stream = tokio::net::TcpStream::connect(broker.ready.address).await.unwrap();
        let config = attest::channel::Pinned::new(broker.ready.identity).client_config().unwrap();
        let name = rustls::pki_types::ServerName::try_from("broker.invalid").unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let stream = connector.connect(name, stream).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let before = leaf().await;
    let (key, certificate) = (folder.path().join("tls-key.pem"), folder.path().join("tls.pem"));
    let good = std::fs::read(&certificate).unwrap();
    broker::renew_leaf(folder.path(), &[], None).unwrap();
    let (new_key, new) = (std::fs::read(&key).unwrap(), std::fs::read(&certificate).unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    while leaf().await == before {
        assert!(Instant::now() < deadline, "the new leaf is not used");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A certificate without its key leaves the pair that is in use.
    let current = leaf().await;
    std::fs::write(&certificate, good).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(leaf().await, current);
    std::fs::write(&certificate, new).unwrap();
    std::fs::write(&key, new_key).unwrap();
    broker.stop().await;
}

#[tokio::test]
async fn ready_is_said_only_when_decisions_can_be_made() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let ready = async || broker.client().await.send("GET", "/readyz", &[], "").await;
    assert_eq!(ready().await.json(), json!({"ready": true, "audit": 1}));
    let store = Connection::open(folder.path().join("broker.sqlite")).unwrap();
    store.execute_batch("UPDATE audit_heads SET signature = zeroblob(64)").unwrap();
    assert_eq!(ready().await.refusal(), refused(503, "E-STORE"));
    broker.stop().await;
}

#[tokio::test]
async fn secrets_are_listed_without_values_and_versions_never_start_again() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let path = format!("/kbs/v0/resource/{PATH}");
    let version = async |broker: &Broker| {
        let list = broker.admin("GET", "/confide/v0/resources", "").await.json();
        list["resources"].as_array().unwrap().first().map(|entry| entry["version"].clone())
    };
    for wanted in [1, 2] {
        let put = broker.admin("POST", &path, "first value").await;
        assert_eq!((put.status, put.body.len()), (StatusCode::OK, 0));
        assert_eq!(put.headers["content-type"], "text/xml");
        assert_eq!(version(&broker).await, Some(json!(wanted)));
    }
    assert_eq!(broker.admin("DELETE", &path, "").await.status, StatusCode::OK);
    assert_eq!(broker.admin("DELETE", &path, "").await.refusal(), refused(404, "E-ABSENT"));
    assert_eq!(version(&broker).await, None);
    broker.admin("POST", &path, "second value").await;
    assert_eq!(version(&broker).await, Some(json!(3)));
    assert_eq!(broker.admin("POST", &path, "").await.refusal(), refused(400, "E-FORMAT"));
    assert_eq!(broker.admin("POST", "/kbs/v0/resource/a/../c", "x").await.refusal(), refused(400, "E-PATH"));
}

#[tokio::test]
async fn a_value_moved_to_another_path_or_version_does_not_open() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    broker.serve_secret(PATH, b"value", &guest.launch.reference(&[PATH, "example/key/2"])).await;
    broker.admin("POST", "/kbs/v0/resource/example/key/2", "other").await;
    broker.stop().await;
    let store = Connection::open(folder.path().join("broker.sqlite")).unwrap();
    let swap =
        "UPDATE secrets SET (wrapped, sealed) = (SELECT wrapped, sealed FROM secrets WHERE path = 'example/key/2')
                WHERE path = 'example/key/1'";
    assert_eq!(store.execute(swap, []).unwrap(), 1);
    assert_eq!(store.execute("UPDATE secrets SET version = 9 WHERE path = 'example/key/2'", []).unwrap(), 1);
    drop(store);
    let broker = folder.start().await;
    for path in [PATH, "example/key/2"] {
        let answer = guest.get(&mut broker.client().await, path).await;
        assert_eq!(answer.refusal(), refused(503, "E-STORE"), "{path}");
    }
}

#[tokio::test]
async fn references_are_added_once_listed_and_checked() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let reference = Launch::default().reference(&[PATH]);
    let id = broker.add(&reference).await;
    // The same content in other words is the same rule.
    let pretty = serde_json::to_string_pretty(&reference).unwrap();
    let again = broker.admin("POST", "/confide/v0/references", pretty).await;
    assert_eq!((again.status, again.json()["added"].clone()), (StatusCode::OK, json!(false)));
    let list = broker.admin("GET", "/confide/v0/references", "").await.json();
    assert_eq!(list["references"].as_array().unwrap().len(), 1);
    let shown = broker.admin("GET", &format!("/confide/v0/references/{id}"), "").await.json();
    assert_eq!(shown["reference"], reference);
    let bad: [(&str, Value, u16, &str); 6] = [
        ("version", json!(2), 400, "E-FORMAT"),
        ("surplus", json!(1), 400, "E-FORMAT"),
        ("substrate", json!("sgx"), 400, "E-TEE"),
        ("resources", json!([]), 400, "E-FORMAT"),
        ("launch_measurements", json!([]), 400, "E-FORMAT"),
        ("resources", json!(["a/../b"]), 400, "E-PATH"),
    ];
    for (member, value, status, code) in bad {
        let mut other = reference.clone();
        other[member] = value;
        let answer = broker.admin("POST", "/confide/v0/references", other.to_string()).await;
        assert_eq!(answer.refusal(), refused(status, code), "{member}");
    }
    let gone = broker.admin("DELETE", &format!("/confide/v0/references/{}", "0".repeat(64)), "").await;
    assert_eq!(gone.refusal(), refused(404, "E-ABSENT"));
}

#[tokio::test]
async fn bounds_are_kept_and_answered_in_json() {
    let folder = Folder::new();
    let mut settings = folder.settings();
    settings.limits.header_seconds = 1;
    let broker = folder.start_with(settings, verifier()).await;
    let large = vec![b'x'; 3 << 20];
    let answer = broker.admin("POST", &format!("/kbs/v0/resource/{PATH}"), large).await;
    assert_eq!(answer.refusal(), refused(413, "E-TOO-LARGE"));

    let mut client = broker.client().await;
    let path = format!("/kbs/v0/resource/{PATH}");
    let bearer = format!("Bearer {}", "a".repeat(256 << 10));
    let answer = client.send("GET", &path, &[("authorization", &bearer)], "").await;
    assert_eq!(answer.refusal(), refused(401, "E-TOKEN"), "a head of 256 KiB is read");
    let bearer = format!("Bearer {}", "a".repeat(330 << 10));
    let answer = client.send("GET", &path, &[("authorization", &bearer)], "").await;
    assert_eq!(answer.refusal(), refused(431, "E-TOO-LARGE"));

    let mut client = broker.client().await;
    for (method, path, status, code) in [
        ("GET", "/", 404, "E-ROUTE"),
        ("GET", "/kbs/v0/nothing/x", 404, "E-ROUTE"),
        ("PUT", "/kbs/v0/auth", 405, "E-ROUTE"),
        ("PATCH", "/kbs/v0/resource/a/b/c", 405, "E-ROUTE"),
    ] {
        assert_eq!(client.send(method, path, &[], "").await.refusal(), refused(status, code), "{method} {path}");
    }
    assert_eq!(client.send("HEAD", &path, &[], "").await.status, StatusCode::METHOD_NOT_ALLOWED);
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    for body in ["", "{}", "null", deep.as_str(), r#"{"version":"0.4.0","tee":"snp"}"#] {
        assert_eq!(client.send("POST", "/kbs/v0/auth", &[], body.to_owned()).await.refusal(), refused(400, "E-FORMAT"));
    }
    let unknown = r#"{"version":"0.4.0","tee":"se","extra-params":{"attestation-policy-selector":"x"}}"#;
    assert_eq!(client.send("POST", "/kbs/v0/auth", &[], unknown).await.refusal(), refused(400, "E-TEE"));

    // A peer that sends nothing, or a head that never ends, is cut off.
    for first in ["", "\u{16}\u{3}\u{1}"] {
        let elapsed = closed_after(broker.ready.address, first).await;
        assert!(elapsed < Duration::from_secs(6), "{elapsed:?}");
    }
}

#[tokio::test]
async fn connections_are_counted() {
    let folder = Folder::new();
    let mut settings = folder.settings();
    settings.limits.connections = 2;
    let broker = folder.start_with(settings, verifier()).await;
    let (mut one, mut two) = (broker.client().await, broker.client().await);
    for client in [&mut one, &mut two] {
        assert_eq!(client.send("GET", "/healthz", &[], "").await.status, StatusCode::OK);
    }
    let elapsed = closed_after(broker.ready.address, "").await;
    assert!(elapsed < Duration::from_secs(3), "the third is closed at once: {elapsed:?}");
    assert_eq!(one.send("GET", "/healthz", &[], "").await.status, StatusCode::OK);
    let metrics = one.send("GET", "/metrics", &[], "").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("kbs_connections_refused_total 1"));
}

#[tokio::test]
async fn who_only_connects_makes_room_for_who_asks() {
    let folder = Folder::new();
    let mut settings = folder.settings();
    settings.limits.connections = 2;
    let broker = folder.start_with(settings, verifier()).await;
    let idle: Vec<_> = (0..8).map(|_| TcpStream::connect(broker.ready.address).unwrap()).collect();
    let _handshaken = broker.client().await;
    let mut asking = broker.client().await;
    assert_eq!(asking.send("GET", "/healthz", &[], "").await.status, StatusCode::OK);
    // Who asked stays, whoever comes.
    let more: Vec<_> = (0..8).map(|_| TcpStream::connect(broker.ready.address).unwrap()).collect();
    assert_eq!(asking.send("GET", "/healthz", &[], "").await.status, StatusCode::OK);
    drop((idle, more));
}

/// How long it takes until the broker closes a connection on which only `first` was sent.
async fn closed_after(address: SocketAddr, first: &'static str) -> Duration {
    let peer = move || {
        let started = Instant::now();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        let _ = stream.write_all(first.as_bytes());
        // A reset closes as well as an end does; only time tells.
        let _ = stream.read_to_end(&mut Vec::new());
        started.elapsed()
    };
    tokio::task::spawn_blocking(peer).await.unwrap()
}
