//! Launch digests of IGVM files against Microsoft's `igvm` 0.5.0, which made the file and measured it.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use claims::{Code, LaunchDigest, Refusal};
use measure::snp::igvm::{Igvm, IgvmError, measure};

/// Pages of each kind, a parameter area of two pages, one virtual CPU; see `the_digest_is_that_of_the_crate`.
const FILE: &[u8] = include_bytes!("data/small.igvm");
const DIGEST: &str = "10156e1b02ed2eed9afeddd5a22280463d39049ce2700b31271ae9ec879775b3e131f937c5632ddfd2617fe549e3bfad";
const PLATFORM: usize = 24 + 8;

#[test]
fn the_digest_is_that_of_the_crate() {
    let igvm = measure(FILE).unwrap();
    assert_eq!(igvm.measurement.to_string(), DIGEST);
    assert_eq!((igvm.policy, igvm.pages, igvm.vcpus, igvm.id_block), (Some(0x3_0000), (8, 2), 1, false));
    assert!(igvm.loader_notes().is_empty());
}

#[test]
fn contents_count_where_they_are_measured() {
    let digest = |file: &[u8]| measure(file).unwrap().measurement;
    let changed = |needle: u8| {
        let mut file = FILE.to_vec();
        let at = file.windows(64).position(|window| window.iter().all(|byte| *byte == needle)).unwrap();
        file[at] ^= 1;
        digest(&file)
    };
    assert_ne!(changed(0xAB), digest(FILE));
    assert_eq!(changed(0xCD), digest(FILE));
}

#[test]
fn each_rule_has_its_error() {
    let refused = |change: &dyn Fn(&mut Vec<u8>)| edited(change).unwrap_err();
    let put =
        |at: usize, bytes: &'static [u8]| move |file: &mut Vec<u8>| file[at..at + bytes.len()].copy_from_slice(bytes);
    assert_eq!(measure(b"").unwrap_err(), IgvmError::Header);
    assert_eq!(measure(&FILE[..FILE.len() - 1]).unwrap_err(), IgvmError::Header);
    assert_eq!(refused(&put(0, b"X")), IgvmError::Header);
    assert_eq!(refused(&put(4, b"\x09")), IgvmError::Header);
    assert_eq!(refused(&put(12, b"\xFF\xFF\xFF\xFF")), IgvmError::Header);
    let mut file = FILE.to_vec();
    file[PLATFORM + 8] ^= 1;
    let error = measure(&file).unwrap_err();
    assert!(matches!(error, IgvmError::Checksum { .. }), "{error}");
    assert_eq!(error.code(), Code::Igvm);
    // Another platform; then a header of unknown type.
    assert_eq!(refused(&put(PLATFORM + 5, b"\x03")), IgvmError::Platform { count: 0 });
    assert_eq!(refused(&put(header(0x101), b"\x50\x05")), IgvmError::Unknown { at: header(0x101), kind: 0x550 });
    let page = header(0x302);
    assert_eq!(refused(&put(page + 8, b"\x01")), IgvmError::Malformed { at: page });
    assert_eq!(refused(&put(page + 8 + 12, b"\xF0\xFF\xFF\xFF")), IgvmError::Malformed { at: page });
    let settled = |at: usize, byte: &'static [u8]| match refused(&put(at, byte)) {
        IgvmError::Unsettled { at, .. } => assert_eq!(at, page),
        other => panic!("{other}"),
    };
    settled(page + 8 + 16, b"\x01");
    settled(page + 8 + 16, b"\x04");
    settled(page + 8 + 20, b"\x07");
    let area = header(0x301);
    assert_eq!(refused(&put(area + 8, b"\x01")), IgvmError::Malformed { at: area });
    assert_eq!(refused(&put(header(0x303) + 8 + 12, b"\x05")), IgvmError::Malformed { at: header(0x303) });
    // 4 GiB of parameters are the limit.
    assert_eq!(refused(&put(area + 8 + 5, b"\x01")), IgvmError::Malformed { at: header(0x303) });
}

#[test]
fn an_id_block_is_held_against_the_digest() {
    let with = |digest: LaunchDigest| {
        edited(&|file: &mut Vec<u8>| {
            let mut block = [0x30B_u32.to_le_bytes(), 8_u32.to_le_bytes()].concat();
            block.extend([1, 0, 0, 0, 0, 0, 0, 0]);
            block.extend(digest.0);
            block[4..8].copy_from_slice(&56_u32.to_le_bytes());
            // Behind the last header; the pages move, so every offset of theirs does.
            let length = u32::from_le_bytes(file[12..16].try_into().unwrap());
            let end = 24 + length as usize;
            file.splice(end..end, block.iter().copied());
            for at in headers(&file[..end]) {
                let kind = u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
                let offset = at + 8 + 12;
                let old = u32::from_le_bytes(file[offset..offset + 4].try_into().unwrap());
                if matches!(kind, 0x302 | 0x304) && old != 0 {
                    file[offset..offset + 4].copy_from_slice(&(old + block.len() as u32).to_le_bytes());
                }
            }
            file[12..16].copy_from_slice(&(length + block.len() as u32).to_le_bytes());
            let total = (file.len() as u32).to_le_bytes();
            file[16..20].copy_from_slice(&total);
        })
    };
    let digest = measure(FILE).unwrap().measurement;
    assert!(with(digest).unwrap().id_block);
    let wanted = LaunchDigest([7; 48]);
    assert_eq!(with(wanted).unwrap_err(), IgvmError::IdBlock { got: digest, wanted });
}

#[test]
fn what_kvm_does_otherwise_is_noted() {
    let moved = edited(&|file: &mut Vec<u8>| {
        let at = header(0x304) + 8;
        file[at..at + 8].copy_from_slice(&0x8000_u64.to_le_bytes());
    });
    assert_eq!(moved.unwrap().loader_notes().len(), 1);
}

#[test]
fn no_changed_byte_makes_it_panic() {
    let end = headers(FILE).last().unwrap() + 40;
    for at in 0..end {
        for value in [0, 0xFF, FILE[at] ^ 1, FILE[at] ^ 0x80] {
            let _ = edited(&|file: &mut Vec<u8>| file[at] = value);
        }
    }
}

/// The file with a change, and its checksum made right.
fn edited(change: &dyn Fn(&mut Vec<u8>)) -> Result<Igvm, IgvmError> {
    let mut file = FILE.to_vec();
    change(&mut file);
    let length = u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
    file[20..24].fill(0);
    let covered = file.get(..24_usize.saturating_add(length)).unwrap_or(&file);
    let checksum = crc32fast::hash(covered).to_le_bytes();
    file[20..24].copy_from_slice(&checksum);
    measure(&file)
}

/// Where the first header of a type begins.
fn header(kind: u32) -> usize {
    headers(FILE).into_iter().find(|at| FILE[*at..*at + 4] == kind.to_le_bytes()).unwrap()
}

fn headers(file: &[u8]) -> Vec<usize> {
    let end = 24 + u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
    let mut found = Vec::new();
    let mut at = 24;
    while at < end {
        found.push(at);
        let length = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
        at += 8 + length.next_multiple_of(8);
    }
    found
}
