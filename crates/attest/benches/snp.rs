//! SNP report verification: ours cold and with a known key, the `sev` crate's, and the bare signature check, in one run.
//!
//! Promise (SPECIFICATION.md): at least 7 times the `sev` crate's pure-Rust path cold, at least 10 times with a cached key.
//! `sev` checks signatures only; ours checks all of it. A ratio below its promise ends the run with an error.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark says what went wrong by failing")]

mod race;

use attest::snp::{CrlPolicy, Endorsements, REPORT_LENGTH, Report, SIGNED, VekCache};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use claims::UnixTime;
use race::{Candidate, race};
use sev::certs::snp::{Chain, Verifiable};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use x509_cert::der::Decode;

const COLD: f64 = 7.0;
const CACHED: f64 = 10.0;
/// Inside the validity of the report's chain.
const NOW: UnixTime = UnixTime(1_784_250_304);

fn main() -> ExitCode {
    let folder = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from)
        .join("snp");
    if !folder.exists() {
        println!("skipped: vectors are not here");
        return ExitCode::SUCCESS;
    }
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let der = |name: &str| x509_cert::der::pem::decode_vec(&read(name)).unwrap().1;
    let raw = read("reports/milan-v3-dstack.bin");
    let with = Endorsements {
        vek: read("certs/milan-v3-dstack.vek.der"),
        intermediate: der("roots/SEV-Milan.pem"),
        root: der("roots/ARK-Milan.pem"),
        crl: None,
    };
    let policy = CrlPolicy::AbsentOk { reason: "the peer checks none".to_owned() };
    let cache = VekCache::new(16);
    let (point, signature) = bare(&raw, &with.vek);

    let mut candidates: [Candidate<'_>; 4] = [
        (
            "confide, whole chain",
            Box::new(|| {
                let report = Report::parse(&raw).unwrap();
                black_box(report.verify(&with, &policy, NOW).unwrap());
            }),
        ),
        (
            "confide, known key",
            Box::new(|| {
                let report = Report::parse(&raw).unwrap();
                black_box(report.verify_cached(&with, &policy, NOW, &cache).unwrap());
            }),
        ),
        (
            "sev 8.0.0, whole chain",
            Box::new(|| {
                let chain = Chain::from_der(&with.root, &with.intermediate, &with.vek).unwrap();
                let report = AttestationReport::from_bytes(&raw).unwrap();
                (&chain, &report).verify().unwrap();
                black_box(report);
            }),
        ),
        (
            "bare ECDSA P-384 check",
            Box::new(|| {
                let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &point);
                key.verify(raw.get(SIGNED).unwrap(), &signature).unwrap();
            }),
        ),
    ];
    let [cold, cached, peer, limit] = race(&mut candidates);
    println!("cold against sev:   {:5.1} times (promised {COLD})", peer / cold);
    println!("cached against sev: {:5.1} times (promised {CACHED})", peer / cached);
    println!("cached against the bare check: {:.2} times its time", cached / limit);
    ExitCode::from(u8::from(peer / cold < COLD || peer / cached < CACHED))
}

/// The key's point, and the signature in big-endian form.
fn bare(raw: &[u8], vek: &[u8]) -> (Vec<u8>, Vec<u8>) {
    assert_eq!(raw.len(), REPORT_LENGTH);
    let certificate = x509_cert::Certificate::from_der(vek).unwrap();
    let point = certificate.tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes().to_vec();
    let part = |start: usize| raw.iter().skip(start).take(48).rev().copied().collect::<Vec<u8>>();
    (point, [part(0x2A0), part(0x2E8)].concat())
}
