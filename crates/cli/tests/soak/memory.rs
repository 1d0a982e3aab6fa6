//! Many sessions, and memory that does not grow with them.

use super::process::Process;
use super::support::Folder;
use super::support::guest::Guest;
use super::support::processor::Launch;
use super::{amount, figure};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const PATH: &str = "example/key/1";
const GUESTS: usize = 8;
/// Shares of the run between two looks.
const LOOKS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_flat_over_many_sessions() {
    let sessions = amount("SOAK_SESSIONS", 400);
    let folder = Folder::new();
    let process = Process::start(&folder);
    let guest = Guest::new(Launch::default());
    process.serve_secret(&guest, PATH, b"value").await;
    let begun = Instant::now();
    let done = Arc::new(AtomicU64::new(0));
    let mut running = Vec::new();
    for _ in 0..GUESTS {
        let (ready, done, launch) = (process.ready.clone(), Arc::clone(&done), guest.launch.clone());
        running.push(tokio::spawn(async move {
            let guest = Guest::new(launch);
            let mut wire = super::wire::Wire::to(&ready).await.unwrap();
            while done.fetch_add(1, Ordering::Relaxed) < sessions {
                assert_eq!(wire.serves(&guest, PATH, b"value").await, Some(true));
            }
        }));
    }
    let mut looks = Vec::new();
    for look in 1..=LOOKS {
        while done.load(Ordering::Relaxed) < sessions * look / LOOKS && !running.iter().all(|task| task.is_finished()) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        looks.push(process.resident());
    }
    for task in running {
        task.await.unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    let mib = |bytes: u64| format!("{:.1} MiB", f64::from(u32::try_from(bytes >> 10).unwrap()) / 1024.0);
    // The first fifth fills caches and the allocator's own stores.
    let settled = looks[3];
    let (least, most) = (*looks[3..].iter().min().unwrap(), *looks[3..].iter().max().unwrap());
    figure("memory: sessions (handshake and one secret each)", sessions);
    figure(
        "memory: sessions a second, guests on the same machine",
        format!("{:.0}", f64::from(u32::try_from(sessions).unwrap()) / seconds),
    );
    figure(
        "memory: after a fifth; least and most from then on",
        format!("{}; {}, {}", mib(settled), mib(least), mib(most)),
    );
    // What a short run has left of filling up is no growth.
    let slack = if sessions >= 20_000 { 0 } else { 8 << 20 };
    assert!(most <= settled / 10 * 11 + slack, "memory grows: {looks:?}");
    assert!(process.whole_log().await >= sessions * 2);
}
