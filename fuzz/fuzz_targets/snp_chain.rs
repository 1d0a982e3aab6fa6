//! A report, a chain and a revocation list of any bytes: never accepted, as no input has AMD's signatures by chance.
//! The first 1184 bytes are the report; then four parts, each behind a two-byte length.
#![no_main]
use attest::snp::{Collateral, CrlPolicy, Endorsements, Report};
use claims::UnixTime;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((report, mut rest)) = bytes.split_at_checked(1184) else { return };
    let mut part = || {
        let (length, after) = rest.split_first_chunk::<2>().unwrap_or((&[0, 0], &[]));
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (part, after) = after.split_at(length);
        rest = after;
        part.to_vec()
    };
    let with = Endorsements { vek: part(), intermediate: part(), root: part(), crl: Some(part()) };
    for piece in [&with.vek, &with.intermediate, &with.root] {
        let _ = Collateral::new().add(piece);
    }
    if let Ok(report) = Report::parse(report) {
        let _ = report.verify(&with, &CrlPolicy::Required, UnixTime(1_784_250_304));
    }
});
