//! Any bytes as a certificate table; what parses encodes to something that parses alike.
#![no_main]
use attest::snp::CertificateTable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(table) = CertificateTable::parse(bytes) {
        // Entries may share padding in the input, so that the encoding can be shorter, never too long to parse.
        assert_eq!(CertificateTable::parse(&table.encode()), Ok(table));
    }
});
