//! The only cryptography that SNP evidence needs, behind one small trait.

use aws_lc_rs::{digest, signature};

/// Digests and signature checks of a crypto library.
pub(crate) trait Provider {
    /// A P-384 public key, parsed once.
    type EcKey: Send + Sync;

    /// SHA-256 (FIPS 180-4).
    fn sha256(bytes: &[u8]) -> [u8; 32];
    /// SHA-384 (FIPS 180-4).
    fn sha384(bytes: &[u8]) -> [u8; 48];
    /// RSASSA-PSS with SHA-384, MGF1-SHA384, salt of 48 bytes (RFC 8017); `key` is a PKCS #1 `RSAPublicKey`.
    fn rsa_pss_sha384(key: &[u8], message: &[u8], signature: &[u8]) -> bool;
    /// A P-384 point in uncompressed form; none when it is not on the curve.
    fn p384_key(point: &[u8]) -> Option<Self::EcKey>;
    /// ECDSA P-384 with SHA-384; the signature is R then S, big-endian.
    fn p384_sha384(key: &Self::EcKey, message: &[u8], signature: &[u8; 96]) -> bool;
}

/// The provider in use.
pub(crate) struct AwsLc;

impl Provider for AwsLc {
    type EcKey = signature::ParsedPublicKey;

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        let mut value = [0; 32];
        value.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        value
    }

    fn sha384(bytes: &[u8]) -> [u8; 48] {
        let mut value = [0; 48];
        value.copy_from_slice(digest::digest(&digest::SHA384, bytes).as_ref());
        value
    }

    fn rsa_pss_sha384(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        signature::UnparsedPublicKey::new(&signature::RSA_PSS_2048_8192_SHA384, key).verify(message, signature).is_ok()
    }

    fn p384_key(point: &[u8]) -> Option<Self::EcKey> {
        signature::ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).ok()
    }

    fn p384_sha384(key: &Self::EcKey, message: &[u8], signature: &[u8; 96]) -> bool {
        key.verify_sig(message, signature).is_ok()
    }
}
