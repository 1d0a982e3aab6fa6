//! Thousands of connections that never ask anything, beside honest guests.

use super::process::Process;
use super::support::Folder;
use super::support::guest::Guest;
use super::support::processor::Launch;
use super::wire::Wire;
use super::{amount, at, figure};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATH: &str = "example/key/1";

/// A new connection, handshake and one secret each time, tried again as clients do; how long each took, sorted, and how
/// often one was tried again.
async fn honest(process: &Process, guest: &Guest, times: u64) -> (Vec<Duration>, u64) {
    let (mut delays, mut again) = (Vec::new(), 0);
    for number in 0..times {
        let begun = Instant::now();
        loop {
            let served = match Wire::to(&process.ready).await {
                Some(mut wire) => wire.serves(guest, PATH, b"value").await,
                None => None,
            };
            assert_ne!(served, Some(false), "guest {number} of {times} was refused");
            if served == Some(true) {
                break;
            }
            again += 1;
            assert!(begun.elapsed() < Duration::from_secs(120), "guest {number} of {times} was not served");
        }
        delays.push(begun.elapsed());
    }
    delays.sort();
    (delays, again)
}

/// Opens a connection, sends what it has, waits until the broker closes, and opens another.
async fn idle(address: std::net::SocketAddr, pause: Duration, end: Arc<AtomicBool>, open: Arc<AtomicU64>) {
    while !end.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // The start of a TLS record that never ends.
        let _ = stream.write_all(&[22, 3, 1, 2, 0, 1]).await;
        open.fetch_add(1, Ordering::Relaxed);
        let _ = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut [0; 64])).await;
        // An attacker that opens as fast as it is closed measures the machine, not the broker.
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_lock_nobody_out() {
    // One descriptor for each connection on this side, too.
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let (count, times) = (amount("SOAK_IDLE", 1_500), amount("SOAK_HONEST", 20));
    // Seconds after which one that was closed comes again: 10 is when the broker closes it by itself.
    let pause = Duration::from_secs(amount("SOAK_PAUSE", 10));
    let folder = Folder::new();
    let process = Process::start(&folder);
    let guest = Guest::new(Launch::default());
    process.serve_secret(&guest, PATH, b"value").await;
    let (alone, _) = honest(&process, &guest, times).await;
    let before = process.resident();
    let (end, open) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut idlers = Vec::new();
    for _ in 0..count {
        idlers.push(tokio::spawn(idle(process.ready.address, pause, Arc::clone(&end), Arc::clone(&open))));
    }
    // All have come, so all of the broker's 1024 places are taken.
    let deadline = Instant::now() + Duration::from_secs(120);
    while open.load(Ordering::Relaxed) < count && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (beside, again) = honest(&process, &guest, times).await;
    let after = process.resident();
    end.store(true, Ordering::Relaxed);
    for idler in &idlers {
        idler.abort();
    }
    let evicted =
        process.admin("GET", "/confide/v0/status", "").await.json()["counters"]["kbs_connections_evicted_total"]
            .as_u64()
            .unwrap();
    let (calm, busy) = (at(&alone, 0.99), at(&beside, 0.99));
    figure("idle: connections that never ask, opened again when closed", count);
    figure("idle: made room for others", evicted);
    figure(
        "idle: p50 of honest guests, alone and beside",
        format!("{:.1?}, {:.1?}", at(&alone, 0.5), at(&beside, 0.5)),
    );
    figure(
        "idle: p99 of honest guests, alone and beside",
        format!("{calm:.1?}, {busy:.1?} ({:.1} times)", busy.as_secs_f64() / calm.as_secs_f64()),
    );
    figure("idle: honest guests that had to connect again", again);
    figure("idle: memory before and with them", format!("{} MiB, {} MiB", before >> 20, after >> 20));
    assert!(after < before + (96 << 20), "memory grows with idle connections: {before} {after}");
}
