//! HTTP itself: methods, paths, heads, limits; sections 1.2, 1.3 and 1.7.

use super::support::guest::Guest;
use super::support::processor::{Launch, verifier};
use super::support::{Broker, Folder};
use super::{PATH, error, is};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A broker that speaks plain HTTP, so that a test can write what no client library would.
async fn plain(folder: &Folder) -> Broker {
    let mut settings = broker::Settings { insecure_http: true, ..folder.settings() };
    // What is never finished is cut off soon.
    (settings.limits.header_seconds, settings.limits.request_seconds) = (3, 5);
    folder.start_with(settings, verifier()).await
}

/// Sends bytes as they are and returns what comes until the broker closes.
async fn raw(address: SocketAddr, request: Vec<u8>) -> String {
    let exchange = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // The broker may answer and close before everything is written.
        let _ = stream.write_all(&request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::task::spawn_blocking(exchange).await.unwrap()
}

#[tokio::test]
async fn wrong_methods_say_which_are_right() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    let id = "0".repeat(64);
    let reference = format!("/confide/v0/references/{id}");
    let paths: [(&str, &[&str]); 9] = [
        ("/kbs/v0/auth", &["POST"]),
        ("/kbs/v0/attest", &["POST"]),
        ("/kbs/v0/resource/a/b/c", &["DELETE", "GET", "POST"]),
        ("/kbs/v0/attestation-policy", &["POST"]),
        ("/kbs/v0/resource-policy", &["GET", "POST"]),
        ("/kbs/v0/reference-value", &["GET", "POST"]),
        ("/kbs/v0/reference-value/x", &["GET"]),
        (&reference, &["DELETE", "GET"]),
        ("/healthz", &["GET"]),
    ];
    for (path, allowed) in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            let answer = client.send(method, path, &[], "").await;
            if allowed.contains(&method) {
                assert_ne!(answer.status, 405, "{method} {path}");
                continue;
            }
            assert_eq!(error(&answer), is(405, "PluginNotFound", "E-ROUTE"), "{method} {path}");
            let mut said: Vec<_> = answer.headers["allow"].to_str().unwrap().split(", ").collect();
            said.sort_unstable();
            assert_eq!(said, allowed, "{method} {path}");
        }
        // HEAD would release without handing over.
        let head = client.send("HEAD", path, &[], "").await;
        assert_eq!((head.status.as_u16(), head.body.len()), (405, 0), "{path}");
        assert!(head.headers.contains_key("allow"));
    }
}

#[tokio::test]
async fn paths_that_are_not_served_are_404_in_json() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    let unknown = [
        "/",
        "/kbs",
        "/kbs/v0",
        "/kbs/v0/",
        "/kbs/v0/nothing",
        "/kbs/v0/nothing/at/all",
        "/kbs/v1/auth",
        "/KBS/v0/auth",
        "/kbs/v0/AUTH",
        "/kbs/v0/auth/",
        "//kbs/v0/auth",
        "/kbs//v0/auth",
        "/kbs/v0/%61uth",
        "/kbs/v0/auth%00",
        "/kbs/v0/./auth",
        "/kbs/v0/x/../auth",
        "/kbs/v0/token-certificate-chain",
        "/kbs/v0/resources",
        "/confide/v0/",
        "/healthz/",
        "/.well-known/",
        "/kbs/v0/pkcs11/resource/x",
        "/kbs/v0/reference-value/",
    ];
    for path in unknown {
        for method in ["GET", "POST", "DELETE"] {
            let answer = client.send(method, path, &[], "").await;
            assert_eq!(error(&answer), is(404, "PluginNotFound", "E-ROUTE"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn what_is_not_http_is_answered_or_cut_off_and_the_broker_goes_on() {
    let folder = Folder::new();
    let broker = plain(&folder).await;
    let address = broker.ready.address;
    let line = |text: &str| text.replace('\n', "\r\n").into_bytes();
    let whole = r#"{"version":"0.4.0","tee":"snp","extra-params":""}"#;
    // Absolute form, and a body in pieces.
    let absolute = format!(
        "POST http://x/kbs/v0/auth HTTP/1.1\nhost: x\nconnection: close\ncontent-length: {}\n\n{whole}",
        whole.len()
    );
    assert!(raw(address, line(&absolute)).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let pieces = format!(
        "POST /kbs/v0/auth HTTP/1.1\nhost: x\nconnection: close\ntransfer-encoding: chunked\n\n{:x}\n{whole}\n0\n\n",
        whole.len()
    );
    assert!(raw(address, line(&pieces)).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let old = format!("POST /kbs/v0/auth HTTP/1.0\ncontent-length: {}\n\n{whole}", whole.len());
    assert!(raw(address, line(&old)).await.starts_with("HTTP/1.0 200 OK\r\n"));
    // Two readings of where a request ends, and other smugglers' tools.
    for bad in [
        "POST /kbs/v0/auth HTTP/1.1\nhost: x\ncontent-length: 4\ncontent-length: 5\n\nabcd",
        "POST /kbs/v0/auth HTTP/1.1\nhost: x\ncontent-length: +4\n\nabcd",
        "POST /kbs/v0/auth HTTP/1.1\nhost: x\ntransfer-encoding: chunked, identity\n\n0\n\n",
        "GET /healthz HTTP/1.1\nhost : x\n\n",
        "GET /healthz HTTP/1.1\nhost: x\n folded: y\n\n",
        "GET /health z HTTP/1.1\nhost: x\n\n",
        "GET /healthz HTTP/9.9\nhost: x\n\n",
        "PRI * HTTP/2.0\n\nSM\n\n",
        "\u{16}\u{3}\u{1}\u{2}\n\n",
    ] {
        let answer = raw(address, line(bad)).await;
        assert!(answer.starts_with("HTTP/1.1 4") || answer.is_empty(), "{bad:?}: {answer:?}");
        assert!(!answer.contains(" 200 "), "{bad:?}: {answer:?}");
    }
    // A body that ends early is nobody's request.
    let short = raw(address, line("POST /kbs/v0/auth HTTP/1.1\nhost: x\ncontent-length: 400\n\n{}")).await;
    assert!(!short.contains(" 200 "), "{short}");
    assert_eq!(broker.client().await.send("GET", "/healthz", &[], "").await.status, 200);
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_unread_in_either_framing() {
    let folder = Folder::new();
    let broker = plain(&folder).await;
    let address = broker.ready.address;
    let head = "POST /kbs/v0/attest HTTP/1.1\r\nhost: x\r\n";
    // As curl sends it: the length is said first, and nothing is sent.
    let announced = format!("{head}expect: 100-continue\r\ncontent-length: 1000000000\r\nconnection: close\r\n\r\n");
    let answer = raw(address, announced.into_bytes()).await;
    assert!(answer.contains("413 Payload Too Large\r\n") && answer.contains("E-TOO-LARGE"), "{answer}");
    assert!(!answer.contains("100 Continue"), "nobody is invited to send it");
    // In pieces, without a length.
    let mut pieces = format!("{head}connection: close\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..48 {
        pieces.extend_from_slice(b"10000\r\n");
        pieces.extend_from_slice(&[b' '; 0x10000]);
        pieces.extend_from_slice(b"\r\n");
    }
    pieces.extend_from_slice(b"0\r\n\r\n");
    let answer = raw(address, pieces).await;
    // The broker closes with input unread, so the answer may be lost on the way; no other one comes.
    assert!(answer.is_empty() || answer.contains("E-TOO-LARGE"), "{answer}");
    // Compressed bodies are not unpacked: there is nothing to blow up.
    let bomb = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0; 64]].concat();
    let encoded =
        format!("{head}content-encoding: gzip\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bomb.len());
    let answer = raw(address, [encoded.as_bytes(), &bomb].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("E-NONCE"), "{answer}");
}

#[tokio::test]
async fn too_many_requests_are_429_with_the_time_to_wait() {
    let folder = Folder::new();
    let mut settings = folder.settings();
    settings.limits.requests_per_second = 1;
    settings.limits.loopback_exempt = false;
    let broker = folder.start_with(settings, verifier()).await;
    let mut client = broker.client().await;
    let mut refused = None;
    // Four seconds' worth at once; asking is much faster than one a second, also where the machine is slow.
    for _ in 0..2_000 {
        let answer = client.send("GET", "/healthz", &[], "").await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(error(&refused), is(429, "PluginInternalError", "E-BUSY"));
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert_eq!(wait, 1);
    // Whoever waits as told is served; another request may have been counted in between.
    let mut served = false;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        served |= client.send("GET", "/healthz", &[], "").await.status == 200;
        if served {
            break;
        }
    }
    assert!(served);
    broker.stop().await;
    // As it comes, addresses of this machine have no limit.
    let mut settings = folder.settings();
    settings.limits.requests_per_second = 1;
    let broker = folder.start_with(settings, verifier()).await;
    let mut client = broker.client().await;
    for _ in 0..20 {
        assert_eq!(client.send("GET", "/healthz", &[], "").await.status, 200);
    }
}

#[tokio::test]
async fn who_connects_again_and_again_is_closed_before_tls_and_others_are_served() {
    let folder = Folder::new();
    let mut settings = folder.settings();
    settings.limits.connections_per_second = 1;
    settings.limits.loopback_exempt = false;
    let broker = folder.start_with(settings, verifier()).await;
    // The answer to one byte that is no TLS: an alert, or nothing at all.
    let probe = async |from: [u8; 4]| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        let mut stream = socket.connect(broker.ready.address).await.unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
        // A connection that is closed unread may be reset.
        let _ = read.unwrap();
        !answer.is_empty()
    };
    let mut answered = 0;
    loop {
        assert!(answered < 2_000, "nobody is limited");
        if !probe([127, 0, 0, 2]).await {
            break;
        }
        answered += 1;
    }
    assert!(answered >= 4, "four seconds' worth at once: {answered}");
    // Another address goes on, over TLS and to its end.
    let mut client = broker.client().await;
    assert_eq!(client.send("GET", "/healthz", &[], "").await.status, 200);
    let metrics = client.send("GET", "/metrics", &[], "").await;
    let limited = String::from_utf8_lossy(&metrics.body).lines().any(|line| {
        line.strip_prefix("kbs_connections_limited_total ").is_some_and(|count| count.parse::<u64>().unwrap() > 0)
    });
    assert!(limited);
}

#[tokio::test]
async fn heads_beyond_every_limit_end_the_connection_and_no_other() {
    let folder = Folder::new();
    let broker = plain(&folder).await;
    let address = broker.ready.address;
    let many = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    let answer = raw(address, many.into_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(2 << 20));
    let answer = raw(address, long.into_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    // Inside what is read, a refusal has its body: the path counts as part of the head.
    let mut client = broker.client().await;
    let path = format!("/kbs/v0/resource/a/b/{}", "c".repeat(40 << 10));
    let answer = client.send("GET", &path, &[("x", &"y".repeat(300 << 10))], "").await;
    assert_eq!(error(&answer), is(431, "PayloadTooLarge", "E-TOO-LARGE"));
    assert_eq!(client.send("GET", "/healthz", &[], "").await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn probes_and_documents_are_for_anybody() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    let health = client.send("GET", "/healthz", &[], "").await;
    assert_eq!((health.status.as_u16(), health.body.len()), (200, 0));
    for (path, kind) in [
        ("/readyz", "application/json"),
        ("/metrics", "text/plain; version=0.0.4"),
        ("/openapi.json", "application/json"),
        ("/.well-known/jwks.json", "application/json"),
    ] {
        let answer = client.send("GET", path, &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.headers["content-type"].to_str().unwrap()), (200, kind), "{path}");
    }
    let keys = client.send("GET", "/.well-known/jwks.json", &[], "").await.json();
    let key = &keys["keys"][0];
    assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!("EC"), &json!("P-256"), &json!("ES256")));
    assert!(key.get("d").is_none());
    // Nothing on these answers leads elsewhere, and no guest learns what runs here.
    let guest = Guest::new(Launch::default());
    broker.serve_secret(PATH, b"value", &guest.launch.reference(&[PATH])).await;
    let answer = guest.get(&mut client, PATH).await;
    for name in ["server", "location", "x-powered-by", "access-control-allow-origin"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
    assert!(answer.headers.contains_key("date"));
}
