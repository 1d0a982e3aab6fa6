//! The guest's key, made for one session, and what the broker encrypts to it (RFC 7516 with ECDH-ES+A256KW, A256GCM).

use super::ClientError;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claims::Secret;
use claims::kbs::{Jwe, TeeKey};
use serde::Deserialize;
use std::fmt;
use zeroize::Zeroizing;

const ALGORITHM: &str = "ECDH-ES+A256KW"; // RFC 7518, 4.6
const ENCRYPTION: &str = "A256GCM"; // RFC 7518, 5.3

/// An ephemeral P-256 key.
pub(super) struct GuestKey {
    private: PrivateKey,
    public: TeeKey,
}

impl fmt::Debug for GuestKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("GuestKey(…)")
    }
}

impl GuestKey {
    pub(super) fn generate() -> Result<Self, ClientError> {
        Self::of(PrivateKey::generate(&ECDH_P256).map_err(|_| ClientError::Crypto { what: "making the guest's key" })?)
    }

    fn of(private: PrivateKey) -> Result<Self, ClientError> {
        let failed = ClientError::Crypto { what: "reading the guest's public key" };
        let Ok(point) = private.compute_public_key() else { return Err(failed) };
        // SEC 1: 04, x, y.
        let Some((4, rest)) = point.as_ref().split_first().map(|(form, rest)| (*form, rest)) else {
            return Err(failed);
        };
        let Some((x, y)) = rest.split_at_checked(32).filter(|(_, y)| y.len() == 32) else { return Err(failed) };
        let public = TeeKey::Ec {
            crv: "P-256".into(),
            alg: ALGORITHM.into(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        };
        Ok(Self { private, public })
    }

    pub(super) fn public(&self) -> &TeeKey {
        &self.public
    }

    /// Decrypts what the broker encrypted to this key. Every failure reads the same.
    pub(super) fn decrypt(&self, jwe: &Jwe) -> Result<Secret<Vec<u8>>, ClientError> {
        self.open(jwe).ok_or(ClientError::Crypto { what: "decrypting the broker's answer" })
    }

    fn open(&self, jwe: &Jwe) -> Option<Secret<Vec<u8>>> {
        let header: Header = serde_json::from_slice(&decode(&jwe.protected)?).ok()?;
        let point = header.point()?;
        let wrapped = decode(&jwe.encrypted_key).filter(|bytes| bytes.len() == 40)?;
        let content_key = self.unwrap(&point, &wrapped)?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, content_key.as_slice()).ok()?);
        let nonce = Nonce::try_assume_unique_for_key(&decode(&jwe.iv)?).ok()?;
        let tag = decode(&jwe.tag).filter(|tag| tag.len() == 16)?;
        let mut text = Zeroizing::new(decode(&jwe.ciphertext)?);
        text.extend_from_slice(&tag);
        // RFC 7516, 5.1 step 14: the additional data is the header as it was received.
        let length = key.open_in_place(nonce, Aad::from(jwe.protected.as_bytes()), &mut text).ok()?.len();
        text.truncate(length);
        Some(Secret::new(std::mem::take(&mut *text)))
    }

    fn unwrap(&self, point: &[u8], wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let kek = agree(&self.private, UnparsedPublicKey::new(&ECDH_P256, point), (), |shared| {
            concat_kdf(shared, ALGORITHM).ok_or(())
        });
        let mut content_key = Zeroizing::new([0; 32]);
        let kek = AesKek::new(&AES_256, kek.ok()?.as_slice()).ok()?;
        let length = kek.unwrap(wrapped, content_key.as_mut_slice()).ok()?.len();
        (length == 32).then_some(content_key)
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    enc: String,
    epk: Epk,
    // Members that would change the meaning of the rest (RFC 7516, 4.1.3 and 4.1.13; RFC 7518, 4.6.1).
    zip: Option<serde::de::IgnoredAny>,
    crit: Option<serde::de::IgnoredAny>,
    apu: Option<serde::de::IgnoredAny>,
    apv: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Epk {
    kty: String,
    crv: String,
    x: String,
    y: String,
}

impl Header {
    /// The sender's ephemeral key as an uncompressed point (SEC 1, 2.3.3), if everything else is as wanted.
    fn point(&self) -> Option<Vec<u8>> {
        let plain = self.zip.is_none() && self.crit.is_none() && self.apu.is_none() && self.apv.is_none();
        let sound = self.alg == ALGORITHM && self.enc == ENCRYPTION && self.epk.kty == "EC" && self.epk.crv == "P-256";
        let (x, y) = (decode(&self.epk.x)?, decode(&self.epk.y)?);
        let whole = plain && sound && x.len() == 32 && y.len() == 32;
        whole.then(|| [&[4], x.as_slice(), y.as_slice()].concat())
    }
}

/// Concat KDF (NIST SP 800-56A, 5.8.1, as RFC 7518, 4.6.2 uses it) for a 256-bit key without party information: the
/// single-step KDF of SP 800-56C over the other information.
fn concat_kdf(shared: &[u8], algorithm: &str) -> Option<Zeroizing<[u8; 32]>> {
    let sha256 = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256)?;
    let mut key = Zeroizing::new([0; 32]);
    sskdf_digest(sha256, shared, &other_information(algorithm, &[], &[], 256)?, key.as_mut_slice()).ok()?;
    Some(key)
}

fn other_information(algorithm: &str, party_u: &[u8], party_v: &[u8], bits: u32) -> Option<Vec<u8>> {
    let mut information = Vec::new();
    for field in [algorithm.as_bytes(), party_u, party_v] {
        information.extend_from_slice(&u32::try_from(field.len()).ok()?.to_be_bytes());
        information.extend_from_slice(field);
    }
    information.extend_from_slice(&bits.to_be_bytes());
    Some(information)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests;
