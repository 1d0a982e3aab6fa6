//! LUKS2 headers: cryptsetup opens ours, and ours opens nothing else.
#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first error")]

#[cfg(test)]
mod support;

use aws_lc_rs::digest;
use claims::Code;
use claims::volume::{DATA_OFFSET, Drive, VolumeKey};
use sealed::luks2::{HEADER_BYTES, Header, ProfileError, pieces};
use support::*;

const SEALED: u64 = 40 << 20;
const COPY: usize = 0x4000;

fn key() -> VolumeKey {
    VolumeKey::from_slice(&[0xa5; 32]).unwrap()
}

fn header(drive: Drive) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    for (offset, piece) in pieces(&key(), drive, SEALED).unwrap() {
        bytes[offset as usize..offset as usize + piece.len()].copy_from_slice(&piece);
    }
    bytes
}

#[test]
fn cryptsetup_opens_it_by_passphrase_and_by_volume_key() {
    for drive in [Drive::Root, Drive::UserConfig] {
        let file = save(&header(drive));
        file.as_file().set_len(DATA_OFFSET + SEALED).unwrap();
        let path = file.path().to_str().unwrap();
        let Some((good, dump)) = tool("cryptsetup", &["luksDump", path]) else { return };
        assert!(good, "{dump}");
        for part in ["Version:       \t2", "aes-xts-plain64", "sector: 4096", "offset: 16777216", "pbkdf2"] {
            assert!(dump.contains(part), "{part}: {dump}");
        }
        let passphrase = save(&key().expose(|bytes| *bytes));
        let volume_key = save(&key().drive_key(drive).expose(|bytes| *bytes));
        let wrong = save(&[1; 32]);
        let wrong_volume = save(&[1; 64]);
        let opens = |option: &str, file: &tempfile::NamedTempFile| {
            let key_file = file.path().to_str().unwrap();
            tool("cryptsetup", &["open", "--test-passphrase", option, key_file, path]).unwrap().0
        };
        assert!(opens("--key-file", &passphrase));
        assert!(opens("--volume-key-file", &volume_key));
        assert!(!opens("--key-file", &wrong));
        assert!(!opens("--volume-key-file", &wrong_volume));
        // Both copies stand alone.
        for copy in [0, COPY] {
            let mut broken = header(drive);
            broken[copy..copy + 6].fill(0);
            let file = save(&broken);
            file.as_file().set_len(DATA_OFFSET + SEALED).unwrap();
            let (good, said) = tool("cryptsetup", &["luksDump", file.path().to_str().unwrap()]).unwrap();
            assert!(good, "{said}");
        }
    }
}

#[test]
fn its_own_key_opens_it_and_no_other() {
    for drive in [Drive::Root, Drive::UserConfig] {
        let header = Header::parse(&header(drive)).unwrap();
        assert_eq!(header.sealed_bytes(), SEALED);
        assert_eq!(header.authenticate(&key()), Ok(drive));
        let other = VolumeKey::from_slice(&[0xa4; 32]).unwrap();
        assert_eq!(header.authenticate(&other), Err(ProfileError::Key));
        assert_eq!(ProfileError::Key.code(), Code::Key);
    }
}

/// Puts the checksums right again, as a forger would.
fn seal_checksums(bytes: &mut [u8]) {
    for copy in bytes[..2 * COPY].chunks_exact_mut(COPY) {
        copy[448..512].fill(0);
        let checksum = digest::digest(&digest::SHA256, copy);
        copy[448..480].copy_from_slice(checksum.as_ref());
    }
}

fn edit_json(bytes: &mut [u8], copies: &[usize], from: &str, to: &str) {
    for copy in copies {
        let area = &mut bytes[copy * COPY + 4096..(copy + 1) * COPY];
        let end = area.iter().position(|byte| *byte == 0).unwrap();
        let text = String::from_utf8(area[..end].to_vec()).unwrap();
        let edited = text.replacen(from, to, 1);
        assert_ne!(text, edited, "{from}");
        area.fill(0);
        area[..edited.len()].copy_from_slice(edited.as_bytes());
    }
}

fn refused(bytes: &[u8]) -> ProfileError {
    let error = Header::parse(bytes).unwrap_err();
    assert_eq!(error.code(), Code::LuksProfile);
    error
}

#[test]
fn each_change_of_the_json_is_refused_and_named() {
    let area_cipher = r#""size":"258048","encryption":"aes-xts-plain64""#;
    let segment_cipher = r#""iv_tweak":"0","encryption":"aes-xts-plain64""#;
    let null = |text: &str| text.replace("aes-xts-plain64", "cipher_null-ecb");
    let ecb = |text: &str| text.replace("aes-xts-plain64", "aes-ecb");
    let iv = |text: &str| text.replace("aes-xts-plain64", "aes-xts-essiv:sha256");
    let slot = r#""1":{"type":"luks2","key_size":64},"#;
    let segment = r#""1":{"type":"linear","offset":"0","size":"4096"},"#;
    let token = r#""tokens":{"0":{"type":"x","keyslots":["0"]}}"#;
    let requirement = r#""requirements":{"mandatory":["online-reencrypt-v2"]},"config""#;
    let requirement_inside = r#""config":{"requirements":{"mandatory":["online-reencrypt-v2"]},"#;
    let cases: Vec<(&str, String, &str)> = vec![
        (area_cipher, null(area_cipher), "/keyslots/0/area/encryption"),
        (area_cipher, ecb(area_cipher), "/keyslots/0/area/encryption"),
        (area_cipher, iv(area_cipher), "/keyslots/0/area/encryption"),
        (segment_cipher, null(segment_cipher), "/segments/0/encryption"),
        (segment_cipher, ecb(segment_cipher), "/segments/0/encryption"),
        (segment_cipher, iv(segment_cipher), "/segments/0/encryption"),
        (r#""keyslots":{"#, format!(r#""keyslots":{{{slot}"#), "/keyslots/1"),
        (r#""segments":{"#, format!(r#""segments":{{{segment}"#), "/segments/1"),
        (r#""digests":{"#, r#""digests":{"1":{"type":"pbkdf2"},"#.into(), "/digests/1"),
        (r#""tokens":{}"#, token.into(), "/tokens/0"),
        (r#""type":"luks2""#, r#""type":"reencrypt""#.into(), "/keyslots/0/type"),
        (r#""config""#, requirement.into(), "/requirements"),
        (r#""config":{"#, requirement_inside.into(), "/config/requirements"),
        (r#""config":{"#, r#""config":{"flags":["allow-discards"],"#.into(), "/config/flags"),
        (r#""sector_size":4096"#, r#""sector_size":512"#.into(), "/segments/0/sector_size"),
        (r#""offset":"16777216""#, r#""offset":"16781312""#.into(), "/segments/0/offset"),
        (r#""offset":"16777216""#, r#""offset":"0""#.into(), "/segments/0/offset"),
        (r#""size":"41943040""#, r#""size":"dynamic""#.into(), "/segments/0/size"),
        (r#""size":"41943040""#, r#""size":"41943041""#.into(), "/segments/0/size"),
        (r#""iv_tweak":"0""#, r#""iv_tweak":"8""#.into(), "/segments/0/iv_tweak"),
        (r#""type":"crypt""#, r#""type":"linear""#.into(), "/segments/0/type"),
        (r#""sector_size":4096"#, r#""sector_size":4096,"integrity":{}"#.into(), "/segments/0/integrity"),
        (r#""sector_size":4096"#, r#""sector_size":4096,"flags":["backup-final"]"#.into(), "/segments/0/flags"),
        (r#""keyslots":["0"]"#, r#""keyslots":["1"]"#.into(), "/digests/0/keyslots"),
        (r#""segments":["0"]"#, r#""segments":[]"#.into(), "/digests/0/segments"),
        (r#""iterations":1000"#, r#""iterations":4294967295"#.into(), "/keyslots/0/kdf/iterations"),
        (r#""iterations":1000"#, r#""iterations":1"#.into(), "/keyslots/0/kdf/iterations"),
        (
            r#"{"type":"pbkdf2","hash":"sha256","iterations":1000,"#,
            r#"{"type":"argon2id","time":999999,"memory":4194304,"cpus":4,"#.into(),
            "/keyslots/0/kdf/hash",
        ),
        (r#""stripes":4000"#, r#""stripes":1"#.into(), "/keyslots/0/af/stripes"),
        (r#""offset":"32768""#, r#""offset":"16777216""#.into(), "/keyslots/0/area/offset"),
        (r#""size":"258048""#, r#""size":"9999999999""#.into(), "/keyslots/0/area/size"),
        (r#""key_size":64"#, r#""key_size":32"#.into(), "/keyslots/0/key_size"),
        (r#""json_size":"12288""#, r#""json_size":"4190208""#.into(), "/config/json_size"),
        (r#""keyslots_size":"16744448""#, r#""keyslots_size":"0""#.into(), "/config/keyslots_size"),
        (r#""tokens":{}"#, r#""tokens":{},"tokens":{}"#.into(), "spelling of the JSON"),
        (r#""tokens":{}"#, r#""tokens": {}"#.into(), "spelling of the JSON"),
        (r#""size":"41943040""#, r#""size":"041943040""#.into(), "/segments/0/size"),
        (r#""digest":""#, r#""digest":"AAAA"#.into(), "/digests/0/digest"),
    ];
    for (from, to, wanted) in cases {
        let mut bytes = header(Drive::Root);
        edit_json(&mut bytes, &[0, 1], from, &to);
        seal_checksums(&mut bytes);
        match refused(&bytes) {
            ProfileError::Field { copy: 1, field, .. } => assert_eq!(field, wanted, "{to}"),
            other => panic!("{to}: {other:?}"),
        }
        // The second copy alone is judged too.
        let mut bytes = header(Drive::Root);
        edit_json(&mut bytes, &[1], from, &to);
        seal_checksums(&mut bytes);
        assert!(matches!(refused(&bytes), ProfileError::Field { copy: 2, field, .. } if field == wanted), "{to}");
    }
}

#[test]
fn each_change_of_the_binary_part_is_refused_and_named() {
    let cases: [(usize, &[u8], &str); 13] = [
        (0, b"SKUL", "magic"),
        (7, &[1], "version"),
        (14, &[0x80], "size"),
        (23, &[2], "sequence number"),
        (16, &[0xff; 8], "sequence number"),
        (24, b"label", "label"),
        (72, b"sha1\0\0", "checksum algorithm"),
        (168, b"X", "uuid"),
        (207, b"x", "uuid"),
        (208, b"subsystem", "subsystem"),
        (262, &[0x10], "offset"),
        (300, &[1], "padding"),
        (4000, &[1], "padding"),
    ];
    for (copy, start) in [(1u8, 0), (2, COPY)] {
        for (at, value, wanted) in cases {
            let value = if wanted == "magic" && copy == 2 { b"LUKS" } else { value };
            let mut bytes = header(Drive::Root);
            bytes[start + at..start + at + value.len()].copy_from_slice(value);
            seal_checksums(&mut bytes);
            match refused(&bytes) {
                ProfileError::Field { copy: got, field, .. } => assert_eq!((got, field.as_str()), (copy, wanted)),
                other => panic!("{wanted}: {other:?}"),
            }
        }
        let mut bytes = header(Drive::Root);
        bytes[start + 470] ^= 1;
        assert!(matches!(refused(&bytes), ProfileError::Field { field, .. } if field == "checksum"));
        let mut bytes = header(Drive::Root);
        bytes[start + COPY - 1] = b' ';
        seal_checksums(&mut bytes);
        assert!(matches!(refused(&bytes), ProfileError::Field { field, .. } if field == "what follows the JSON"));
        let mut bytes = header(Drive::Root);
        bytes[start + 4096] = b'[';
        seal_checksums(&mut bytes);
        assert_eq!(refused(&bytes), ProfileError::Json { copy });
    }
}

#[test]
fn copies_that_disagree_are_refused() {
    let other = "\"size\":\"41947136\"";
    let mut bytes = header(Drive::Root);
    edit_json(&mut bytes, &[1], "\"size\":\"41943040\"", other);
    seal_checksums(&mut bytes);
    assert_eq!(refused(&bytes), ProfileError::CopiesDisagree { field: "json" });
    let mut bytes = header(Drive::Root);
    bytes[COPY + 168] = if bytes[COPY + 168] == b'0' { b'1' } else { b'0' };
    seal_checksums(&mut bytes);
    assert_eq!(refused(&bytes), ProfileError::CopiesDisagree { field: "uuid" });
}

#[test]
fn a_header_that_only_the_key_can_tell_from_a_good_one_is_refused() {
    // Another size in both copies, checksums right, digest as it was.
    let mut bytes = header(Drive::Root);
    edit_json(&mut bytes, &[0, 1], "\"size\":\"41943040\"", "\"size\":\"41947136\"");
    seal_checksums(&mut bytes);
    let forged = Header::parse(&bytes).unwrap();
    assert_eq!(forged.authenticate(&key()), Err(ProfileError::Forged));
    // The key slot's bytes.
    let mut bytes = header(Drive::Root);
    bytes[2 * COPY + 5000] ^= 1;
    let forged = Header::parse(&bytes).unwrap();
    assert_eq!(forged.authenticate(&key()), Err(ProfileError::Forged));
    assert_eq!(ProfileError::Forged.code(), Code::LuksProfile);
}

#[test]
fn every_length_and_every_flipped_bit_is_refused() {
    let good = header(Drive::Root);
    for length in [0, 1, 6, 4096, COPY, 2 * COPY, HEADER_BYTES - 1] {
        assert_eq!(refused(&good[..length]), ProfileError::Truncated { got: length });
    }
    for at in (0..2 * COPY).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        refused(&bytes);
    }
}
