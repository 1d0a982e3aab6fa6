//! Guests in a hurry: handshakes with a resource, and resources by a live session, against a broker in this process, over
//! TLS, with emulated reports that are really verified. Broker and guests share the machine's cores, as in the
//! measurement of the peer.
//!
//! First a closed loop finds the rate; then an open loop at 60 % of it finds the delays, counted from the moment a
//! request was due, so that a slow answer delays nobody's clock but its own.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench prints, and ends when the broker does not answer"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use hyper::StatusCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::guest::{Guest, Session};
use support::processor::Launch;
use support::{Broker, Client, Folder};

const PATH: &str = "example/volume-key/site-1";
/// Connections, each with a guest that asks one thing after the other.
const GUESTS: usize = 16;
const ROUND: Duration = Duration::from_secs(5);
/// Share of the closed loop's rate that the open loop asks for.
const SHARE: f64 = 0.6;
/// The upstream server on two shared cores, evidence without signatures, best of four clients (shared/reference/trustee.md 7.4).
const UPSTREAM: [(&str, f64); 2] = [("handshakes", 213.0), ("gets", 350.0)];

/// What a guest does again and again.
#[derive(Clone, Copy)]
enum Task {
    /// `/auth`, `/attest`, one resource.
    Handshake,
    /// One resource, by the session's cookie.
    Resource,
}

struct Asker {
    client: Client,
    guest: Guest,
    session: Session,
}

impl Asker {
    async fn new(broker: &Broker, launch: Launch) -> Self {
        // A key takes its time, and an idle connection is ended.
        let guest = Guest::new(launch);
        let mut client = broker.client().await;
        let (session, _) = guest.attested(&mut client).await;
        Self { client, guest, session }
    }

    /// The broker ends connections that were idle: before each round a guest connects again.
    async fn connect(&mut self, broker: &Broker) {
        self.client = broker.client().await;
    }

    async fn run(&mut self, task: Task) {
        if matches!(task, Task::Handshake) {
            self.session = self.guest.attested(&mut self.client).await.0;
        }
        let answer = self.session.get(&mut self.client, PATH).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = Folder::new();
        let broker = folder.start().await;
        let launch = Launch::default();
        broker.serve_secret(PATH, b"thirty-two bytes of volume key!!", &launch.reference(&[PATH])).await;
        let mut askers = Vec::new();
        for _ in 0..GUESTS {
            askers.push(Asker::new(&broker, launch.clone()).await);
        }
        let before = resident();
        for (task, (what, upstream)) in [Task::Handshake, Task::Resource].into_iter().zip(UPSTREAM) {
            let (rate, delays);
            connect(&mut askers, &broker).await;
            let worked = processor_seconds();
            (askers, rate) = closed(askers, task).await;
            let each = (processor_seconds() - worked) / (rate * ROUND.as_secs_f64()) * 1e3;
            connect(&mut askers, &broker).await;
            (askers, delays) = open(askers, task, rate * SHARE).await;
            println!(
                "  {what:12} {rate:8.0} per second, {:.1} times upstream's {upstream:.0}, {each:.2} ms of a processor each with the guest's part; at {:.0} per second p50 {:.1} ms, p99 {:.1} ms",
                rate / upstream,
                rate * SHARE,
                delays.at(0.5),
                delays.at(0.99),
            );
        }
        println!("  guests       {:8.0} reports made per second and core", made(&askers[0]));
        println!("  memory       {} MiB at the start, {} MiB at the end", before >> 20, resident() >> 20);
        println!("  bare limit   {:8.0} P-384 checks per second on {} cores", bare(), cores());
        broker.stop().await;
    });
}

async fn connect(askers: &mut [Asker], broker: &Broker) {
    for asker in askers {
        asker.connect(broker).await;
    }
}

/// Every guest as fast as it gets answers: requests per second.
async fn closed(askers: Vec<Asker>, task: Task) -> (Vec<Asker>, f64) {
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let running: Vec<_> = askers
        .into_iter()
        .map(|mut asker| {
            let done = Arc::clone(&done);
            tokio::spawn(async move {
                while start.elapsed() < ROUND {
                    asker.run(task).await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                asker
            })
        })
        .collect();
    let mut askers = Vec::new();
    for asker in running {
        askers.push(asker.await.unwrap());
    }
    let count = u32::try_from(done.load(Ordering::Relaxed)).unwrap();
    (askers, f64::from(count) / start.elapsed().as_secs_f64())
}

/// Requests that are due at fixed times, whoever is free takes the next.
async fn open(askers: Vec<Asker>, task: Task, rate: f64) -> (Vec<Asker>, Delays) {
    let start = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let running: Vec<_> = askers
        .into_iter()
        .map(|mut asker| {
            let next = Arc::clone(&next);
            tokio::spawn(async move {
                let mut delays = Vec::new();
                loop {
                    let number = u32::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    let due = start + Duration::from_secs_f64(f64::from(number) / rate);
                    if due > start + ROUND {
                        return (asker, delays);
                    }
                    tokio::time::sleep_until(due.into()).await;
                    asker.run(task).await;
                    delays.push(due.elapsed().as_secs_f64() * 1e3);
                }
            })
        })
        .collect();
    let (mut askers, mut all) = (Vec::new(), Vec::new());
    for asker in running {
        let (asker, delays) = asker.await.unwrap();
        askers.push(asker);
        all.extend(delays);
    }
    all.sort_by(f64::total_cmp);
    (askers, Delays(all))
}

/// Milliseconds, sorted.
struct Delays(Vec<f64>);

impl Delays {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of a list that fits memory")]
    fn at(&self, share: f64) -> f64 {
        let last = self.0.len().checked_sub(1).unwrap_or_else(|| panic!("nothing was asked"));
        let last = f64::from(u32::try_from(last).unwrap());
        self.0[(last * share) as usize]
    }
}

/// The guests' own share: a report, signed, as JSON.
fn made(asker: &Asker) -> f64 {
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < Duration::from_secs(1) {
        asker.guest.body(&asker.session);
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

/// Checks of a report's signature and nothing else, on all cores.
fn bare() -> f64 {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, document.as_ref()).unwrap();
    let report = [7_u8; 672];
    let signature = pair.sign(&random, &report).unwrap();
    let start = Instant::now();
    let mut checks = 0_u32;
    while start.elapsed() < Duration::from_secs(1) {
        let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, pair.public_key().as_ref());
        key.verify(&report, signature.as_ref()).unwrap();
        checks += 1;
    }
    f64::from(checks) / start.elapsed().as_secs_f64() * f64::from(cores())
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap())
}

/// What this process, broker and guests, has worked (`/proc/self/stat`, hundredths of a second).
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    // After the name in brackets: the state is the third value, user and system time are the 14th and 15th.
    let values: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    values[11..13].iter().map(|value| value.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Bytes in memory (`/proc/self/statm`, pages of 4 KiB).
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() << 12
}
