//! Encrypts a released secret to the attested key: flattened JWE (RFC 7516), AES-256-GCM, exactly as upstream clients
//! read it.
//!
//! *Takes* a [`Released`] value, which only a permit opens.
//! *Guarantees* that nobody without the guest's private key reads the value.
//! *Does not check* that the key is attested: the session says so.
//!
//! The protected header's member order matters: real clients parse it and write it again to rebuild the additional
//! data, as `alg`, `enc`, then the rest sorted, without blanks.

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use aws_lc_rs::agreement::{self, EphemeralPrivateKey, ParsedPublicKey};
use aws_lc_rs::kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::signature::RsaPublicKeyComponents;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claims::Secret;
use claims::kbs::{Jwe, TeeKey};
use zeroize::Zeroize;

const ECDH: &str = "ECDH-ES+A256KW";

/// A guest's key that no secret can be encrypted to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("the key's algorithm or curve is not supported")]
    Unsupported,
    #[error("the key is malformed")]
    Malformed,
    #[error("the encryption failed")]
    Failed,
}

/// A guest's key, checked: a secret can be encrypted to it.
pub(crate) enum Recipient {
    Ec { curve: Curve, point: Vec<u8> },
    RsaOaep(OaepPublicEncryptingKey),
    RsaPkcs1(Pkcs1PublicEncryptingKey),
}

/// A curve for key agreement.
#[derive(Clone, Copy)]
pub(crate) struct Curve {
    name: &'static str,
    coordinate: usize,
    algorithm: &'static agreement::Algorithm,
}

const CURVES: [Curve; 2] = [
    Curve { name: "P-256", coordinate: 32, algorithm: &agreement::ECDH_P256 },
    Curve { name: "P-521", coordinate: 66, algorithm: &agreement::ECDH_P521 },
];

impl Recipient {
    /// Checks a key; `old` also admits RSA with PKCS #1 v1.5, which clients of protocol 0.2.0 may ask for.
    pub(crate) fn parse(key: &TeeKey, old: bool) -> Result<Self, KeyError> {
        match key {
            TeeKey::Ec { crv, alg, x, y } => {
                let curve = CURVES.into_iter().find(|curve| curve.name == crv && alg == ECDH);
                let curve = curve.ok_or(KeyError::Unsupported)?;
                let (x, y) = (decode(x)?, decode(y)?);
                if x.len() != curve.coordinate || y.len() != curve.coordinate {
                    return Err(KeyError::Malformed);
                }
                let point = [&[4], x.as_slice(), &y].concat();
                let unparsed = agreement::UnparsedPublicKey::new(curve.algorithm, point.as_slice());
                ParsedPublicKey::try_from(&unparsed).map_err(|_| KeyError::Malformed)?;
                Ok(Self::Ec { curve, point })
            }
            TeeKey::Rsa { alg, n, e } => {
                let components = RsaPublicKeyComponents { n: decode(n)?, e: decode(e)? };
                if !(256..=1024).contains(&components.n.len()) || components.e.len() > 8 {
                    return Err(KeyError::Unsupported);
                }
                let key: PublicEncryptingKey = components.try_into().map_err(|_| KeyError::Malformed)?;
                match alg.as_str() {
                    "RSA-OAEP-256" => {
                        OaepPublicEncryptingKey::new(key).map(Self::RsaOaep).map_err(|_| KeyError::Malformed)
                    }
                    "RSA1_5" if old => {
                        Pkcs1PublicEncryptingKey::new(key).map(Self::RsaPkcs1).map_err(|_| KeyError::Malformed)
                    }
                    _ => Err(KeyError::Unsupported),
                }
            }
        }
    }

    /// Encrypts `secret` under a fresh content key, and that to the recipient.
    pub(crate) fn encrypt(&self, secret: &Secret<Vec<u8>>) -> Result<Jwe, KeyError> {
        let mut content_key = [0; 32];
        rand::fill(&mut content_key).map_err(|_| KeyError::Failed)?;
        let jwe = self.wrap(&content_key).and_then(|(header, wrapped)| seal(&header, &wrapped, &content_key, secret));
        content_key.zeroize();
        jwe
    }

    /// The protected header, and the wrapped content key.
    fn wrap(&self, content_key: &[u8; 32]) -> Result<(String, Vec<u8>), KeyError> {
        match self {
            Self::Ec { curve, point } => {
                let (ephemeral, wrapped) = agree_and_wrap(*curve, point, content_key)?;
                let (x, y) = ephemeral.split_at_checked(curve.coordinate).ok_or(KeyError::Failed)?;
                let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
                let epk = format!(r#"{{"crv":"{}","kty":"EC","x":"{x}","y":"{y}"}}"#, curve.name);
                Ok((format!(r#"{{"alg":"{ECDH}","enc":"A256GCM","epk":{epk}}}"#), wrapped))
            }
            Self::RsaOaep(key) => {
                let mut out = vec![0; key.ciphertext_size()];
                let wrapped = key.encrypt(&OAEP_SHA256_MGF1SHA256, content_key, &mut out, None);
                let wrapped = wrapped.map_err(|_| KeyError::Failed)?.to_vec();
                Ok((r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#.into(), wrapped))
            }
            Self::RsaPkcs1(key) => {
                let mut out = vec![0; key.ciphertext_size()];
                let wrapped = key.encrypt(content_key, &mut out).map_err(|_| KeyError::Failed)?.to_vec();
                Ok((r#"{"alg":"RSA1_5","enc":"A256GCM"}"#.into(), wrapped))
            }
        }
    }
}

/// ECDH, Concat KDF (RFC 7518, 4.6), AES key wrap. Returns the ephemeral point's coordinates and the wrapped key.
fn agree_and_wrap(curve: Curve, point: &[u8], content_key: &[u8; 32]) -> Result<(Vec<u8>, Vec<u8>), KeyError> {
    let failed = |_| KeyError::Failed;
    let private = EphemeralPrivateKey::generate(curve.algorithm, &SystemRandom::new()).map_err(failed)?;
    let public = private.compute_public_key().map_err(failed)?;
    let coordinates = public.as_ref().get(1..).ok_or(KeyError::Failed)?.to_vec();
    let peer = agreement::UnparsedPublicKey::new(curve.algorithm, point);
    let wrapped = agreement::agree_ephemeral(private, peer, KeyError::Malformed, |shared| {
        let mut key = concat_kdf(shared)?;
        let mut out = [0; 40];
        let wrapped = AesKek::new(&AES_256, &key).and_then(|kek| Ok(kek.wrap(content_key, &mut out)?.to_vec()));
        key.zeroize();
        wrapped.map_err(failed)
    })?;
    Ok((coordinates, wrapped))
}

/// Concat KDF is the one-step KDF of NIST SP 800-56C with this fixed information.
fn concat_kdf(shared: &[u8]) -> Result<[u8; 32], KeyError> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let information = [
        length(ECDH.len()).as_slice(),
        ECDH.as_bytes(),
        &length(0), // PartyUInfo
        &length(0), // PartyVInfo
        &256u32.to_be_bytes(),
    ]
    .concat();
    let algorithm = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256).ok_or(KeyError::Failed)?;
    let mut key = [0; 32];
    sskdf_digest(algorithm, shared, &information, &mut key).map_err(|_| KeyError::Failed)?;
    Ok(key)
}

fn seal(header: &str, wrapped: &[u8], content_key: &[u8; 32], secret: &Secret<Vec<u8>>) -> Result<Jwe, KeyError> {
    let failed = |_| KeyError::Failed;
    let protected = URL_SAFE_NO_PAD.encode(header);
    let key = RandomizedNonceKey::new(&AES_256_GCM, content_key).map_err(failed)?;
    let mut bytes = secret.expose(Vec::clone);
    let sealed = key.seal_in_place_separate_tag(Aad::from(protected.as_bytes()), &mut bytes);
    let Ok((iv, tag)) = sealed else {
        bytes.zeroize();
        return Err(KeyError::Failed);
    };
    Ok(Jwe {
        encrypted_key: URL_SAFE_NO_PAD.encode(wrapped),
        iv: URL_SAFE_NO_PAD.encode(iv.as_ref()),
        ciphertext: URL_SAFE_NO_PAD.encode(&bytes),
        tag: URL_SAFE_NO_PAD.encode(tag.as_ref()),
        protected,
    })
}

fn decode(text: &str) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concat_kdf_has_the_form_of_rfc_7518() {
        // SHA-256(00000001 | Z | len "ECDH-ES+A256KW" | 0 | 0 | 256), computed without the library's KDF.
        let mut input = vec![0, 0, 0, 1];
        input.extend([9; 32]);
        input.extend([0, 0, 0, 14]);
        input.extend(b"ECDH-ES+A256KW");
        input.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(concat_kdf(&[9; 32]).unwrap(), claims::Digest256::of(&input).0);
    }

    #[test]
    fn keys_that_are_no_keys_are_refused() {
        let ec = |crv: &str, alg: &str, x: &str, y: &str| TeeKey::Ec {
            crv: crv.into(),
            alg: alg.into(),
            x: x.into(),
            y: y.into(),
        };
        let parse = |key: &TeeKey| Recipient::parse(key, false).map(drop);
        let (x, y) = ("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM");
        assert_eq!(parse(&ec("P-256", ECDH, x, y)), Ok(()));
        assert_eq!(parse(&ec("P-256", ECDH, x, x)), Err(KeyError::Malformed), "not on the curve");
        assert_eq!(parse(&ec("P-256", ECDH, "AA", y)), Err(KeyError::Malformed));
        assert_eq!(parse(&ec("P-384", ECDH, x, y)), Err(KeyError::Unsupported));
        assert_eq!(parse(&ec("P-256", "ECDH-ES", x, y)), Err(KeyError::Unsupported));
        let small = TeeKey::Rsa { alg: "RSA-OAEP-256".into(), n: "AQAB".into(), e: "AQAB".into() };
        assert_eq!(parse(&small), Err(KeyError::Unsupported));
    }
}
