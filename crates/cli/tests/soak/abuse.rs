//! Slow senders, huge bodies, deep JSON, bombs, heads without end: each is cut off, and memory stays.

use super::figure;
use super::process::Process;
use super::support::Folder;
use super::support::guest::Guest;
use super::support::processor::Launch;
use attest::channel::Pinned;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PATH: &str = "example/key/1";
/// Seconds that a head may take, and a request.
const LIMITS: (u64, u64) = (2, 4);
/// The most of an endless stream that may leave the sender: socket buffers on both sides, and what is read.
const MOST: usize = 64 << 20;

async fn tls(process: &Process) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(process.ready.address).await.unwrap();
    let config = Pinned::new(process.ready.identity).client_config().unwrap();
    let name = ServerName::try_from("broker.invalid").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// Sends a start, then pieces, until the broker closes or `most` bytes are out; how many went, and the first answer.
async fn flood(process: &Process, start: &str, piece: &[u8], most: usize) -> (usize, String) {
    let (mut read, mut write) = tokio::io::split(tls(process).await);
    let answer = tokio::spawn(async move {
        let mut bytes = vec![0; 4096];
        let count = read.read(&mut bytes).await.unwrap_or(0);
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    });
    let mut sent = 0;
    let flood = async {
        write.write_all(start.as_bytes()).await?;
        while sent < most {
            write.write_all(piece).await?;
            sent += piece.len();
        }
        write.flush().await
    };
    let _ = tokio::time::timeout(Duration::from_secs(120), flood).await;
    let answer = tokio::time::timeout(Duration::from_secs(30), answer).await.ok().and_then(Result::ok);
    (sent, answer.unwrap_or_default())
}

/// Sends a byte now and then until the broker closes; how long it let this go on.
async fn trickle(process: &Process, start: &str) -> Duration {
    let mut stream = tls(process).await;
    let begun = Instant::now();
    stream.write_all(start.as_bytes()).await.unwrap();
    let mut bytes = [0; 1024];
    loop {
        if stream.write_all(b"a").await.is_err() || stream.flush().await.is_err() {
            return begun.elapsed();
        }
        match tokio::time::timeout(Duration::from_millis(200), stream.read(&mut bytes)).await {
            // Closed, or answered and closed soon.
            Ok(Ok(0) | Err(_)) => return begun.elapsed(),
            Ok(Ok(_)) | Err(_) if begun.elapsed() < Duration::from_secs(60) => {}
            _ => panic!("a slow sender is still served after a minute"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_is_cut_off_and_memory_stays() {
    let folder = Folder::new();
    let text = std::fs::read_to_string(&folder.facts.settings).unwrap();
    let limits = format!("\n[limits]\nheader_seconds = {}\nrequest_seconds = {}\n", LIMITS.0, LIMITS.1);
    std::fs::write(&folder.facts.settings, text + &limits).unwrap();
    let process = Process::start(&folder);
    let guest = Guest::new(Launch::default());
    process.serve_secret(&guest, PATH, b"value").await;
    for _ in 0..20 {
        assert_eq!(process.wire().await.serves(&guest, PATH, b"value").await, Some(true));
    }
    let before = process.resident();
    let head = "POST /kbs/v0/attest HTTP/1.1\r\nhost: x\r\n";

    let (sent, answer) =
        flood(&process, &format!("{head}content-length: 1000000000\r\n\r\n"), &[b'x'; 1 << 16], 1_000_000_000).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(sent < MOST, "{sent}");
    figure("abuse: of a body of 1 GB, bytes that left the sender", sent);
    let piece = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let (sent, answer) =
        flood(&process, &format!("{head}transfer-encoding: chunked\r\n\r\n"), &piece, 1_000_000_000).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(sent < MOST, "{sent}");
    figure("abuse: … without a length", sent);
    let (sent, answer) =
        flood(&process, "GET /healthz HTTP/1.1\r\nhost: x\r\n", &b"a: b\r\n".repeat(1000), 6_000_000).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    figure("abuse: of a million headers, bytes that left the sender", sent);

    let deep = [b"{\"a\":".as_slice(), &vec![b'['; 1_900_000]].concat();
    let bomb = bomb();
    for (what, body, encoding) in [("deep JSON", &deep, "identity"), ("a gzip bomb", &bomb, "gzip")] {
        let mut wire = process.wire().await;
        let answer = wire.send("POST", "/kbs/v0/auth", Some(("content-encoding", encoding)), body.clone()).await;
        assert_eq!(answer.unwrap().refusal(), (400, "E-FORMAT".to_owned()), "{what}");
    }
    figure("abuse: bytes of deep JSON, of a gzip bomb", format!("{}, {}", deep.len(), bomb.len()));

    let slow_head = trickle(&process, "GET /healthz HTTP/1.1\r\nhost: x\r\nx: ").await;
    let slow_body = trickle(&process, &format!("{head}content-length: 1000\r\n\r\n")).await;
    figure("abuse: a slow head, a slow body are cut off after", format!("{slow_head:.1?}, {slow_body:.1?}"));
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut stream = tls(&process).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    assert_eq!(process.wire().await.serves(&guest, PATH, b"value").await, Some(true), "beside 100 slow senders");
    drop(slow);
    let after = process.resident();
    figure("abuse: memory before and after", format!("{} MiB, {} MiB", before >> 20, after >> 20));
    assert!(after < before + (48 << 20), "memory grew: {before} {after}");
    process.whole_log().await;
}

/// What unpacks to 256 MiB of zeros.
fn bomb() -> Vec<u8> {
    let made = std::process::Command::new("sh").args(["-c", "head -c 268435456 /dev/zero | gzip -1"]).output().unwrap();
    assert!(made.stdout.len() > 100_000, "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}
