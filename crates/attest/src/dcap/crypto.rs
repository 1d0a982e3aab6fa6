//! The only cryptography that quotes need: SHA-256, and ECDSA over P-256 with SHA-256.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ParsedPublicKey, UnparsedPublicKey};

/// Length of an uncompressed P-256 point.
pub(crate) const POINT: usize = 65;

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut value = [0; 32];
    value.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    value
}

pub(crate) fn sha384(bytes: &[u8]) -> [u8; 48] {
    let mut value = [0; 48];
    value.copy_from_slice(digest::digest(&digest::SHA384, bytes).as_ref());
    value
}

/// A signature in DER, as certificates and lists have it.
pub(crate) fn verify_der(point: &[u8; POINT], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
}

/// A signature as R then S, big-endian, as quotes and signed JSON have it.
pub(crate) fn verify_fixed(point: &[u8; POINT], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
}

/// A key that checks many such signatures; none when the point is not on the curve.
pub(crate) fn fixed_key(point: &[u8; POINT]) -> Option<ParsedPublicKey> {
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()
}
