//! Quotes as bytes: each way of being malformed has its error, and no bit of a genuine quote can change unseen.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests say what went wrong by failing")]

use attest::dcap::{Collateral, DcapError, PckCache, PckExtension, QeIdentity, Quote, TcbInfo, VerifiedCollateral};
use claims::dcap::{DcapBody, DcapTee, TcbStatus};
use claims::{Code, UnixTime};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

const AT: UnixTime = UnixTime(1_751_000_000);

fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    if !folder.join("sgx").exists() {
        println!("skipped: vectors are not here");
        return None;
    }
    Some(folder)
}

fn load(folder: &Path, name: &str) -> (Vec<u8>, VerifiedCollateral) {
    let read = |file: &str| fs::read(folder.join(name).join(file)).unwrap();
    let mut heap = Collateral::new();
    heap.add(&read("collateral.json")).unwrap();
    (read("quote.bin"), heap.verify().unwrap())
}

const SGX: &str = "sgx/phala_v3_00A067110000";
const TDX: &str = "tdx/phala_v4_B0C06F000000";

/// Every bit of the file, padding included: there is no benign flip.
fn no_bit_can_change(name: &str) {
    let Some(folder) = vectors() else { return };
    let (quote, with) = load(&folder, name);
    let cache = PckCache::new(4);
    Quote::parse(&quote).unwrap().verify_cached(&with, AT, &cache).unwrap();
    for bit in 0..quote.len() * 8 {
        let mut flipped = quote.clone();
        *flipped.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
        let result = Quote::parse(&flipped).and_then(|quote| quote.verify_cached(&with, AT, &cache));
        assert!(result.is_err(), "bit {} of byte {} of {name} changed unseen", bit % 8, bit / 8);
    }
}

#[test]
fn no_bit_of_an_sgx_quote_can_change_unseen() {
    no_bit_can_change(SGX);
}

#[test]
fn no_bit_of_a_tdx_quote_can_change_unseen() {
    no_bit_can_change(TDX);
}

#[test]
fn a_quote_that_is_cut_anywhere_names_what_is_missing() {
    let Some(folder) = vectors() else { return };
    let (quote, _) = load(&folder, SGX);
    for length in 0..quote.len() {
        let error = Quote::parse(quote.get(..length).unwrap()).unwrap_err();
        assert!(matches!(error, DcapError::Truncated { .. }), "{length}: {error}");
        assert_eq!(error.code(), Code::DcapFormat);
    }
    assert_eq!(
        Quote::parse(quote.get(..40).unwrap()),
        Err(DcapError::Truncated { what: "the user data", offset: 28, wanted: 20 })
    );
}

#[test]
fn only_zeros_may_follow_a_quote() {
    let Some(folder) = vectors() else { return };
    let (quote, with) = load(&folder, SGX);
    let padded = [quote.as_slice(), &[0; 100]].concat();
    let parsed = Quote::parse(&padded).unwrap();
    assert_eq!(parsed.padding(), 100);
    let plain = Quote::parse(&quote).unwrap();
    assert_eq!(parsed.verify(&with, AT).unwrap().claims(), plain.verify(&with, AT).unwrap().claims());
    let offset = quote.len() + 100;
    assert_eq!(Quote::parse(&[padded.as_slice(), &[7]].concat()), Err(DcapError::Trailing { offset }));
    let long = [padded.as_slice(), &[0; 64 * 1024]].concat();
    assert_eq!(Quote::parse(&long), Err(DcapError::TooLong { got: long.len(), max: 64 * 1024 }));
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let Some(folder) = vectors() else { return };
    let (sgx, _) = load(&folder, SGX);
    let (tdx, _) = load(&folder, TDX);
    let with = |quote: &[u8], at: usize, bytes: &[u8]| {
        let mut quote = quote.to_vec();
        quote.get_mut(at..at + bytes.len()).unwrap().copy_from_slice(bytes);
        Quote::parse(&quote).unwrap_err()
    };
    assert_eq!(with(&sgx, 0, &[2]), DcapError::Version { got: 2 });
    assert_eq!(with(&sgx, 0, &[6]), DcapError::Version { got: 6 });
    assert_eq!(with(&sgx, 2, &[3]), DcapError::KeyType { got: 3 });
    assert_eq!(with(&sgx, 4, &[0x81]), DcapError::TeeType { version: 3, got: 0x81 });
    assert_eq!(with(&tdx, 4, &[1]), DcapError::TeeType { version: 4, got: 1 });
    assert_eq!(with(&sgx, 12, &[0]), DcapError::Vendor { got: "009a7233f79c4ca9940a0db3957f0607".to_owned() });
    // Outer certification type and length of a version 4 quote, inner type of both.
    let outer = 48 + 584 + 4 + 128;
    assert_eq!(with(&tdx, outer, &[7]), DcapError::CertificationType { place: "outer", got: 7 });
    let inner = outer + 6 + 384 + 64 + 2 + 32;
    assert_eq!(with(&tdx, inner, &[4]), DcapError::CertificationType { place: "inner", got: 4 });
    assert_eq!(with(&sgx, inner - 6 - 200, &[7]), DcapError::CertificationType { place: "inner", got: 7 });
    // One byte less in a length leaves one that nothing accounts for.
    let length = u32::from_le_bytes(tdx.get(outer + 2..outer + 6).unwrap().try_into().unwrap());
    assert_eq!(
        with(&tdx, outer + 2, &(length - 1).to_le_bytes()),
        DcapError::Surplus { what: "the signature data", extra: 1 }
    );
    for error in [DcapError::Version { got: 2 }, DcapError::KeyType { got: 3 }] {
        assert_eq!(error.code(), Code::DcapVersion);
    }
}

#[test]
fn a_body_descriptor_of_version_5_must_fit() {
    let Some(folder) = vectors() else { return };
    let quote = fs::read(folder.join("tdx/google_v5_sample/quote.bin")).unwrap();
    let parsed = Quote::parse(&quote).unwrap();
    assert_eq!((parsed.version(), parsed.tee()), (5, DcapTee::Tdx));
    let DcapBody::Tdx(claims) = parsed.claimed() else { panic!("a trust domain") };
    assert_eq!(claims.report, "1.5");
    assert!(claims.tee_tcb_svn2.is_some() && claims.mr_service_td.is_some() && claims.extended.is_none());
    for (kind, size) in [(1_u16, 384_u32), (2, 648), (3, 584), (4, 648), (5, 648)] {
        let mut quote = quote.clone();
        quote.get_mut(48..50).unwrap().copy_from_slice(&kind.to_le_bytes());
        quote.get_mut(50..54).unwrap().copy_from_slice(&size.to_le_bytes());
        assert_eq!(Quote::parse(&quote), Err(DcapError::Body { kind, size }));
    }
}

#[test]
fn the_three_axes_of_a_genuine_quote() {
    let Some(folder) = vectors() else { return };
    let (quote, with) = load(&folder, SGX);
    let quote = Quote::parse(&quote).unwrap();
    let verified = quote.verify(&with, AT).unwrap();
    let claims = verified.claims();
    assert_eq!(claims.tcb.status, TcbStatus::ConfigurationAndSWHardeningNeeded);
    assert_eq!(claims.tcb.advisories, ["INTEL-SA-00289", "INTEL-SA-00615"]);
    assert_eq!((claims.platform.fmspc.as_str(), claims.platform.ca), ("00a067110000", "processor"));
    // TCB info and identity were issued on 2025-06-19; the identity ends first.
    assert_eq!(claims.collateral.until, 1_752_919_278);
    assert_eq!(claims.tcb.evaluation_number, 17);
    assert_eq!(verified.checked_at(), AT);
    let signed = quote.check_signatures().unwrap();
    assert_eq!(signed.body(), quote.claimed());
    assert_eq!(&quote.claimed_platform().unwrap(), signed.platform());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parsers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..700), version in 3_u8..6) {
        let _ = Quote::parse(&bytes);
        let mut headed = bytes.clone();
        let header = [version, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x93, 0x9A, 0x72, 0x33, 0xF7, 0x9C, 0x4C, 0xA9, 0x94, 0x0A, 0x0D,
            0xB3, 0x95, 0x7F, 0x06, 0x07];
        for (to, from) in headed.iter_mut().zip(header) {
            *to = from;
        }
        let _ = Quote::parse(&headed);
        let _ = PckExtension::parse(&bytes);
        let _ = TcbInfo::parse(&bytes);
        let _ = QeIdentity::parse(&bytes);
        let _ = Collateral::new().add(&bytes);
    }
}
