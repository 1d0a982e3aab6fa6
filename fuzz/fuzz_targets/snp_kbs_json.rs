//! Any bytes as evidence of a KBS client; what is read is written and read alike.
#![no_main]
use attest::snp::kbs::{from_json, from_slice, to_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((report, table)) = from_slice(bytes) {
        let (again, same) = from_json(&to_json(&report, &table)).unwrap();
        assert_eq!((again.as_bytes(), same), (report.as_bytes(), table));
    }
});
