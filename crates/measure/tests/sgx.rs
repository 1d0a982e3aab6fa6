//! Streams and SIGSTRUCTs of SGX enclaves: exact errors, and that what is written is read back.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what went wrong by failing")]

use claims::{Code, Digest256, Refusal};
use measure::sgx::sgxs::{Meter, PAGE, PageFlags, Record, SgxsError, measure, outline};
use measure::sgx::signing::{BuildDate, Content, PublicKeys, SigningError, SigningKey, assemble};
use measure::sgx::sigstruct::{Sigstruct, SigstructError, verify};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

/// Made for this test with `openssl genrsa -3 3072`; it signs nothing else.
const SIGNER: &[u8] = include_bytes!("data/test-only-signer.p8.der");

fn vector(name: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    let bytes = std::fs::read(folder.join("sgx/measurement").join(name)).ok();
    if bytes.is_none() {
        println!("skipped: vectors are not here");
    }
    bytes
}

fn create(size: u64) -> Record {
    Record::Create { ssa_frame_pages: 1, size }
}

fn add(offset: u64) -> Record {
    Record::Add { offset, flags: PageFlags::READ_WRITE }
}

fn extend(offset: u64) -> Record {
    Record::Extend { offset, data: [7; 256] }
}

fn stream(records: &[Record]) -> Vec<u8> {
    records.iter().flat_map(Record::encode).collect()
}

#[test]
fn each_rule_of_a_canonical_stream_has_its_error() {
    let start = [create(0x4000), add(0), extend(0)];
    let with = |more: &[Record]| measure(&stream(&[&start, more].concat())).unwrap_err();
    assert_eq!(with(&[create(0x4000)]), SgxsError::SecondCreate { at: 448 });
    assert_eq!(with(&[add(0x1800)]), SgxsError::Alignment { at: 448, offset: 0x1800, alignment: 4096 });
    assert_eq!(with(&[add(0x4000)]), SgxsError::Range { at: 448, offset: 0x4000, size: 0x4000 });
    assert_eq!(with(&[add(0)]), SgxsError::Duplicate { at: 448, offset: 0 });
    assert_eq!(with(&[add(0x2000), add(0x1000)]), SgxsError::Order { at: 512, offset: 0x1000 });
    assert_eq!(with(&[extend(0x180)]), SgxsError::Alignment { at: 448, offset: 0x180, alignment: 256 });
    assert_eq!(with(&[extend(0)]), SgxsError::Order { at: 448, offset: 0 });
    assert_eq!(with(&[extend(0x1000)]), SgxsError::Stray { at: 448, offset: 0x1000 });
    let flags = PageFlags(0x107);
    assert_eq!(with(&[Record::Add { offset: 0x1000, flags }]), SgxsError::Flags { at: 448, flags: 0x107 });
    assert_eq!(measure(&stream(&[add(0)])), Err(SgxsError::NoCreate));
    assert_eq!(measure(&stream(&[extend(0)])), Err(SgxsError::NoCreate));
    assert_eq!(measure(&[]), Err(SgxsError::NoCreate));
    assert_eq!(measure(&stream(&[create(0x4000), extend(0)])), Err(SgxsError::Stray { at: 64, offset: 0 }));
    assert_eq!(measure(&stream(&[create(0x3000)])), Err(SgxsError::Size { size: 0x3000 }));
    assert_eq!(measure(&stream(&[create(0x1000)])), Err(SgxsError::Size { size: 0x1000 }));
    assert_eq!(measure(&stream(&[Record::Create { ssa_frame_pages: 0, size: 0x4000 }])), Err(SgxsError::SsaFrame));
    let bytes = stream(&start);
    assert_eq!(measure(&bytes[..bytes.len() - 1]), Err(SgxsError::Truncated { at: 128 }));
    let mut reserved = bytes.clone();
    reserved[127] = 1;
    assert_eq!(measure(&reserved), Err(SgxsError::Reserved { at: 64 }));
    let mut unsized_stream = bytes.clone();
    unsized_stream[..8].copy_from_slice(b"UNSIZED\0");
    assert_eq!(measure(&unsized_stream), Err(SgxsError::Unsized));
    let mut unknown = bytes;
    unknown[..8].copy_from_slice(b"EREMOVE\0");
    assert_eq!(
        measure(&unknown).unwrap_err().to_string(),
        "the record at byte 0x0 has an unknown tag 4552454d4f564500"
    );
    assert_eq!(measure(&unknown).unwrap_err().code(), Code::SgxStream);
}

#[test]
fn chunks_that_are_not_measured_do_not_change_the_number() {
    let measured = stream(&[create(0x4000), add(0), extend(0)]);
    let loaded = Record::Unmeasured { offset: 0x100, data: [9; 256] };
    let both = stream(&[create(0x4000), add(0), extend(0), loaded]);
    let (one, two) = (measure(&measured).unwrap(), measure(&both).unwrap());
    assert_eq!(one.mrenclave, two.mrenclave);
    assert_eq!(two.records.unmeasured, 1);
    assert_eq!(outline(&both).unwrap().pages[0].measured, 1);
}

#[test]
fn every_flipped_bit_of_a_stream_changes_the_number_or_is_refused() {
    let bytes = stream(&[create(0x4000), add(0), extend(0x200), add(0x1000)]);
    let number = measure(&bytes).unwrap().mrenclave;
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(enclave) = measure(&changed) {
            // A measured chunk that becomes one that is only loaded, and the reverse, are eight flips away.
            assert_ne!(enclave.mrenclave, number, "bit {bit}");
        }
    }
}

proptest! {
    #[test]
    fn a_stream_is_measured_the_same_in_pieces(records in records(), cuts in prop::collection::vec(1_usize..700, 0..20)) {
        let bytes = stream(&records);
        let whole = measure(&bytes).unwrap();
        let mut meter = Meter::new();
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (now, behind) = rest.split_at(cut.min(rest.len()));
            meter = meter.update(now).unwrap();
            rest = behind;
        }
        prop_assert_eq!(&meter.update(rest).unwrap().finish().unwrap(), &whole);
        // The number is SHA-256 over the records themselves, without what is loaded only.
        let measured: Vec<Record> =
            records.iter().copied().filter(|record| !matches!(record, Record::Unmeasured { .. })).collect();
        prop_assert_eq!(whole.mrenclave, Digest256::of(&stream(&measured)));
        let mut direct = Meter::with_pages();
        for record in &records {
            direct = direct.record(record).unwrap();
        }
        let direct = direct.finish().unwrap();
        prop_assert_eq!(direct.mrenclave, whole.mrenclave);
        prop_assert_eq!(direct.pages.len() as u64, whole.records.eadd);
    }

    #[test]
    fn no_bytes_make_the_meter_panic(bytes in prop::collection::vec(any::<u8>(), 0..900)) {
        let _ = measure(&bytes);
        let _ = measure(&[create(0x4000).encode(), bytes].concat());
    }

    #[test]
    fn no_bytes_make_the_sigstruct_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = verify(&bytes);
    }
}

/// Canonical streams: pages ascend, chunks ascend within them, some are measured.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let flags = prop_oneof![
        Just(PageFlags::TCS),
        Just(PageFlags::READ_WRITE),
        Just(PageFlags::regular(true, false, true)),
        Just(PageFlags::regular(true, false, false)),
    ];
    let page = (flags, any::<u16>(), any::<u16>(), any::<u8>());
    (1_u32..5, prop::collection::btree_map(0_u64..64, page, 0..6)).prop_map(|(ssa_frame_pages, pages)| {
        let mut records = vec![Record::Create { ssa_frame_pages, size: 64 * PAGE }];
        for (index, (flags, present, measured, byte)) in pages {
            let page = index * PAGE;
            records.push(Record::Add { offset: page, flags });
            for chunk in (0..16).filter(|chunk| present >> chunk & 1 == 1) {
                let (offset, data) = (page + chunk * 256, [byte; 256]);
                records.push(match measured >> chunk & 1 {
                    1 => Record::Extend { offset, data },
                    _ => Record::Unmeasured { offset, data },
                });
            }
        }
        records
    })
}

fn content() -> Content {
    Content::production(Digest256([3; 32]), 770, 2, BuildDate::new(2026, 11, 22).unwrap())
}

#[test]
fn what_is_signed_is_verified_and_every_changed_byte_is_refused() {
    let key = SigningKey::from_der(SIGNER).unwrap();
    let signed = key.sign(&content(), &PublicKeys::Refused).unwrap();
    let claims = signed.claims();
    assert_eq!((claims.isvprodid, claims.isvsvn, claims.date.as_str()), (770, 2, "2026-11-22"));
    assert_eq!((claims.mrsigner, claims.mrenclave), (key.mrsigner(), Digest256([3; 32])));
    assert!(!claims.debug && !claims.debug_allowed && !claims.public_sample_key);
    let bytes = *signed.bytes();
    for at in 0..bytes.len() {
        for flip in [1, 0x80] {
            let mut changed = bytes;
            changed[at] ^= flip;
            assert!(verify(&changed).is_err(), "byte {at}");
        }
    }
}

#[test]
fn two_steps_give_what_one_gives() {
    let key = SigningKey::from_der(SIGNER).unwrap();
    let signed = key.sign(&content(), &PublicKeys::Refused).unwrap();
    let big_endian = |range: std::ops::Range<usize>| signed.bytes()[range].iter().rev().copied().collect::<Vec<u8>>();
    let (modulus, signature) = (big_endian(128..512), big_endian(516..900));
    let to_sign = content().signed_bytes();
    let assembled = assemble(&to_sign, &modulus, &signature, &PublicKeys::Refused).unwrap();
    assert_eq!(assembled.bytes(), signed.bytes());
    let refused = |to_sign: &[u8], modulus: &[u8], signature: &[u8]| {
        assemble(to_sign, modulus, signature, &PublicKeys::Refused).map(|_| ()).unwrap_err()
    };
    let mut other = to_sign;
    other[250] ^= 1;
    assert_eq!(refused(&other, &modulus, &signature), SigningError::Assembled(SigstructError::Signature));
    let wrong = SigningError::Length { what: "signature", got: 383, wanted: 384 };
    assert_eq!(refused(&to_sign, &modulus, &signature[1..]), wrong);
    assert_eq!(refused(&to_sign, &[0; 384], &signature), SigningError::Assembled(SigstructError::Modulus));
    assert_eq!(refused(&to_sign, &modulus, &signature[1..]).code(), Code::SgxSigstruct);
}

#[test]
fn a_key_of_another_kind_is_refused() {
    assert_eq!(SigningKey::from_der(&SIGNER[1..]).map(|_| ()).unwrap_err(), SigningError::Key);
    // A key of 3072 bits with the usual exponent.
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa3072).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'static> = aws_lc_rs::encoding::AsDer::as_der(&pair).unwrap();
    let error = SigningKey::from_der(der.as_ref()).map(|_| ()).unwrap_err();
    assert_eq!((error.code(), error), (Code::SgxSigningKey, SigningError::Key));
}

#[test]
fn dates_are_in_the_calendar() {
    assert!(BuildDate::new(2024, 2, 29).is_ok());
    for (year, month, day) in [(2023, 2, 29), (2026, 13, 1), (2026, 4, 31), (2026, 1, 0), (10_000, 1, 1)] {
        assert_eq!(BuildDate::new(year, month, day), Err(SigningError::Date { year, month, day }));
    }
}

#[test]
fn each_form_of_a_sigstruct_has_its_error() {
    let key = SigningKey::from_der(SIGNER).unwrap();
    let bytes = *key.sign(&content(), &PublicKeys::Refused).unwrap().bytes();
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes;
        bytes[at] = to;
        verify(&bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(verify(&bytes[1..]).map(|_| ()).unwrap_err(), SigstructError::Length { got: 1807 });
    assert_eq!(changed(0, 7), SigstructError::Header { offset: 0 });
    assert_eq!(changed(24, 7), SigstructError::Header { offset: 24 });
    assert_eq!(changed(16, 1), SigstructError::Vendor { got: 1 });
    assert_eq!(changed(20, 0x2A), SigstructError::Date { got: 0x2026_112A });
    for (offset, length) in [(44, 84), (910, 2), (992, 16), (1028, 12)] {
        assert_eq!(changed(offset, 1), SigstructError::Reserved { offset, length });
    }
    assert_eq!(changed(512, 1), SigstructError::Exponent { got: 1 });
    assert_eq!(changed(128, 0), SigstructError::Modulus);
    assert_eq!(changed(511, 0x7F), SigstructError::Modulus);
    assert_eq!(changed(960, 0), SigstructError::Signature);
    assert_eq!(changed(1040, bytes[1040] ^ 1), SigstructError::Quotient { name: "Q1" });
    assert_eq!(changed(1424, bytes[1424] ^ 1), SigstructError::Quotient { name: "Q2" });
    let other = Digest256([4; 32]);
    let error = verify(&bytes).unwrap().for_enclave(other).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), Code::SgxSigstructEnclave);
    assert_eq!(error, SigstructError::Enclave { got: other, wanted: Digest256([3; 32]) });
}

#[test]
fn the_sample_key_of_the_sdk_signs_nothing_for_production() {
    let Some(bytes) = vector("fortanix_sig1.sigstruct.bin") else { return };
    let parsed = Sigstruct::parse(&bytes).unwrap();
    let to_sign = parsed.signed_bytes();
    assert!(parsed.verify().unwrap().claims().public_sample_key);
    let big_endian = |range: std::ops::Range<usize>| bytes[range].iter().rev().copied().collect::<Vec<u8>>();
    let (modulus, signature) = (big_endian(128..512), big_endian(516..900));
    let refused = assemble(&to_sign, &modulus, &signature, &PublicKeys::Refused).map(|_| ()).unwrap_err();
    assert_eq!(refused.code(), Code::SgxSampleKey);
    // Where it is allowed, the very SIGSTRUCT comes out.
    let allowed = PublicKeys::Allowed { reason: "a vector".to_owned() };
    assert_eq!(assemble(&to_sign, &modulus, &signature, &allowed).unwrap().bytes().as_slice(), bytes);
}
