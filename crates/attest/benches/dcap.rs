//! Quote verification: ours cold, with collateral verified once, and with a known platform, against `dcap-qvl` with
//! `ring`, in one run.
//!
//! Promise (SPECIFICATION.md): cold never slower, with cached collateral at least 2.5 times the rate. Both check all of
//! it: collateral, lists, chains, both signatures. A ratio below its promise ends the run with an error.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark says what went wrong by failing")]

mod race;

use attest::dcap::{Collateral, PckCache, Quote};
use claims::UnixTime;
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use race::{Candidate, race};
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const COLD: f64 = 1.0;
const CACHED: f64 = 2.5;
/// Inside the validity of both vectors' collateral.
const NOW: u64 = 1_751_000_000;

fn main() -> ExitCode {
    let folder = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    if !folder.join("sgx").exists() {
        println!("skipped: vectors are not here");
        return ExitCode::SUCCESS;
    }
    let kept = ["sgx/phala_v3_00A067110000", "tdx/phala_v4_B0C06F000000"].map(|name| run(&folder.join(name), name));
    ExitCode::from(u8::from(kept.contains(&false)))
}

/// Whether the promises are kept for one vector.
fn run(folder: &Path, name: &str) -> bool {
    let raw = fs::read(folder.join("quote.bin")).unwrap();
    let bundle = fs::read(folder.join("collateral.json")).unwrap();
    let peer: QuoteCollateralV3 = serde_json::from_slice(&bundle).unwrap();
    let verifier = QuoteVerifier::new_prod().allow_debug(true);
    // Reading the bundle is outside of both: the peer's is deserialised, ours is a heap of pieces.
    let mut heap = Collateral::new();
    heap.add(&bundle).unwrap();
    let with = heap.verify().unwrap();
    let cache = PckCache::new(16);
    let now = UnixTime(NOW);
    let mut candidates: [Candidate<'_>; 4] = [
        (
            "confide, all of it",
            Box::new(|| {
                let with = heap.verify().unwrap();
                black_box(Quote::parse(&raw).unwrap().verify(&with, now).unwrap());
            }),
        ),
        (
            "confide, collateral kept",
            Box::new(|| {
                black_box(Quote::parse(&raw).unwrap().verify(&with, now).unwrap());
            }),
        ),
        (
            "confide, platform known",
            Box::new(|| {
                black_box(Quote::parse(&raw).unwrap().verify_cached(&with, now, &cache).unwrap());
            }),
        ),
        (
            "dcap-qvl 0.7.1 with ring",
            Box::new(|| {
                black_box(verifier.verify(&raw, &peer, NOW).unwrap());
            }),
        ),
    ];
    println!("{name}");
    let [cold, kept, known, peer] = race(&mut candidates);
    println!("  cold against dcap-qvl:            {:5.2} times (promised {COLD})", peer / cold);
    println!("  collateral kept against dcap-qvl: {:5.2} times (promised {CACHED})", peer / kept);
    println!("  platform known against dcap-qvl:  {:5.2} times", peer / known);
    peer / cold >= COLD && peer / kept >= CACHED
}
