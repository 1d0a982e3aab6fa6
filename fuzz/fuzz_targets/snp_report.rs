//! Any bytes as a report; what parses encodes to the same bytes.
#![no_main]
use attest::snp::{REPORT_LENGTH, Report};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(report) = Report::parse(bytes) {
        let signature: [u8; 144] = bytes[0x2A0..0x330].try_into().unwrap();
        assert_eq!(report.claimed().encode(&signature).as_slice(), bytes);
        assert_eq!(report.as_bytes().len(), REPORT_LENGTH);
    }
});
