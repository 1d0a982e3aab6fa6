//! Writes a header.

use super::split::split;
use super::{AREA, AREA_OFFSET, BINARY, COPY, ITERATIONS, STRIPES};
use crate::xts::{Direction, Xts, XtsError};
use aws_lc_rs::{digest, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::Secret;
use claims::volume::{CIPHER, DATA_OFFSET, Drive, VolumeKey};
use std::num::NonZeroU32;
use zeroize::{Zeroize, Zeroizing};

/// The parts of a header that differ from drive to drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) sealed_bytes: u64,
    pub(super) slot_salt: String,
    pub(super) digest_salt: String,
    pub(super) digest: String,
}

/// Everything in front of a drive's data, as offsets and bytes: both header copies, and the key slot.
/// All that is random in other headers is derived from the key, so that the same key gives the same bytes.
pub fn pieces(key: &VolumeKey, drive: Drive, sealed_bytes: u64) -> Result<[(u64, Vec<u8>); 2], XtsError> {
    // The size is derived along, so that another size in the header is another header.
    let derive = |what: &str| key.derive(&format!("confide/v1/luks2/{}/{sealed_bytes}/{what}", drive.name()));
    let public = |what: &str| derive(what).expose(|bytes| *bytes);
    let drive_key = key.drive_key(drive);
    let (slot_salt, digest_salt) = (public("slot-salt"), public("digest-salt"));
    let digest = digest_of(&drive_key, &digest_salt[..32]);
    let parts = Parts {
        sealed_bytes,
        slot_salt: STANDARD.encode(&slot_salt[..32]),
        digest_salt: STANDARD.encode(&digest_salt[..32]),
        digest: STANDARD.encode(digest),
    };
    let json = json(&parts);
    let uuid = uuid(&public("uuid"));
    let mut headers = copy(Which::First, &uuid, &public("header-salt-1"), &json);
    headers.extend(copy(Which::Second, &uuid, &public("header-salt-2"), &json));
    let area = key_slot(key, &drive_key, &slot_salt[..32], &derive("stripes"))?;
    Ok([(0, headers), (AREA_OFFSET as u64, area)])
}

/// The JSON text, in its one spelling.
pub(super) fn json(parts: &Parts) -> String {
    let Parts { sealed_bytes, slot_salt, digest_salt, digest } = parts;
    let keyslots_size = DATA_OFFSET - AREA_OFFSET as u64;
    let json_size = COPY - BINARY;
    format!(
        concat!(
            r#"{{"keyslots":{{"0":{{"type":"luks2","key_size":64,"#,
            r#""af":{{"type":"luks1","stripes":{},"hash":"sha256"}},"#,
            r#""area":{{"type":"raw","offset":"{}","size":"{}","encryption":"{}","key_size":64}},"#,
            r#""kdf":{{"type":"pbkdf2","hash":"sha256","iterations":{},"salt":"{}"}}}}}},"tokens":{{}},"#,
            r#""segments":{{"0":{{"type":"crypt","offset":"{}","size":"{}","iv_tweak":"0","#,
            r#""encryption":"{}","sector_size":4096}}}},"#,
            r#""digests":{{"0":{{"type":"pbkdf2","keyslots":["0"],"segments":["0"],"hash":"sha256","#,
            r#""iterations":{},"salt":"{}","digest":"{}"}}}},"#,
            r#""config":{{"json_size":"{}","keyslots_size":"{}"}}}}"#,
        ),
        STRIPES,
        AREA_OFFSET,
        AREA,
        CIPHER,
        ITERATIONS,
        slot_salt,
        DATA_OFFSET,
        sealed_bytes,
        CIPHER,
        ITERATIONS,
        digest_salt,
        digest,
        json_size,
        keyslots_size,
    )
}

/// Which of the two copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    First,
    Second,
}

impl Which {
    pub(super) fn magic(self) -> [u8; 6] {
        match self {
            Self::First => *b"LUKS\xba\xbe",
            Self::Second => *b"SKUL\xba\xbe",
        }
    }

    pub(super) fn offset(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => COPY,
        }
    }
}

/// Offsets in the binary part (LUKS2 on-disk format 1.1.3, section 2.1).
pub(super) mod at {
    use std::ops::Range;
    pub(crate) const MAGIC: Range<usize> = 0..6;
    pub(crate) const VERSION: Range<usize> = 6..8;
    pub(crate) const SIZE: Range<usize> = 8..16;
    pub(crate) const SEQUENCE: Range<usize> = 16..24;
    pub(crate) const LABEL: Range<usize> = 24..72;
    pub(crate) const CHECKSUM_NAME: Range<usize> = 72..104;
    pub(crate) const SALT: Range<usize> = 104..168;
    pub(crate) const UUID: Range<usize> = 168..208;
    pub(crate) const SUBSYSTEM: Range<usize> = 208..256;
    pub(crate) const OFFSET: Range<usize> = 256..264;
    pub(crate) const PADDING: Range<usize> = 264..448;
    pub(crate) const CHECKSUM: Range<usize> = 448..512;
    pub(crate) const REST: Range<usize> = 512..4096;
}

/// Name of the checksum, padded.
pub(super) fn checksum_name() -> [u8; 32] {
    let mut name = [0; 32];
    name[..6].copy_from_slice(b"sha256");
    name
}

/// SHA-256 over a copy whose checksum field counts as zeros, padded.
pub(super) fn checksum(copy: &[u8]) -> [u8; 64] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&copy[..at::CHECKSUM.start]);
    context.update(&[0; 64]);
    context.update(&copy[at::CHECKSUM.end..]);
    let mut out = [0; 64];
    out[..32].copy_from_slice(context.finish().as_ref());
    out
}

fn copy(which: Which, uuid: &str, salt: &[u8; 64], json: &str) -> Vec<u8> {
    let mut out = vec![0; COPY];
    out[at::MAGIC].copy_from_slice(&which.magic());
    out[at::VERSION].copy_from_slice(&2u16.to_be_bytes());
    out[at::SIZE].copy_from_slice(&(COPY as u64).to_be_bytes());
    out[at::SEQUENCE].copy_from_slice(&1u64.to_be_bytes());
    out[at::CHECKSUM_NAME].copy_from_slice(&checksum_name());
    out[at::SALT].copy_from_slice(salt);
    out[at::UUID.start..at::UUID.start + uuid.len()].copy_from_slice(uuid.as_bytes());
    out[at::OFFSET].copy_from_slice(&(which.offset() as u64).to_be_bytes());
    out[BINARY..BINARY + json.len()].copy_from_slice(json.as_bytes());
    let checksum = checksum(&out);
    out[at::CHECKSUM].copy_from_slice(&checksum);
    out
}

/// The drive key, split and encrypted under the stretched volume key.
fn key_slot(
    key: &VolumeKey,
    drive_key: &Secret<[u8; 64]>,
    salt: &[u8],
    stripes_key: &Secret<[u8; 64]>,
) -> Result<Vec<u8>, XtsError> {
    let mut area = vec![0; AREA];
    let stripes = &mut area[..STRIPES * 64];
    // Noise that nobody without the volume key can tell from randomness.
    stripes_key.expose(|stripes_key| Xts::new(stripes_key, Direction::Seal)?.apply(0, 512, stripes))?;
    drive_key.expose(|drive_key| split(drive_key, stripes));
    let mut slot_key = Zeroizing::new([0u8; 64]);
    key.expose(|key| stretch(key, salt, &mut *slot_key));
    let sealed = Xts::new(&slot_key, Direction::Seal).and_then(|mut xts| xts.apply(0, 512, stripes));
    if sealed.is_err() {
        area.zeroize();
    }
    sealed.map(|()| area)
}

/// What the header says of the key that it does not contain.
pub(super) fn digest_of(drive_key: &Secret<[u8; 64]>, salt: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    drive_key.expose(|drive_key| stretch(drive_key, salt, &mut digest));
    digest
}

fn stretch(secret: &[u8], salt: &[u8], out: &mut [u8]) {
    let iterations = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, secret, out);
}

/// A version 4 UUID of derived bytes.
fn uuid(bytes: &[u8; 64]) -> String {
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[..16]);
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    let text = hex::encode(id);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}
