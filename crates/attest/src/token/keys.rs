//! Keys of attestation services: a JWKS (RFC 7517) that the caller trusts, or whose certificates lead to a root that the
//! caller trusts.

use super::error::TokenError;
use super::strict::{self, member};
use crate::path::{self, PublicKey, Usage};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use claims::UnixTime;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// Longest key set that is read.
pub const MAX_KEY_SET: usize = 1024 * 1024;

/// Keys that the caller trusts. An algorithm belongs to each key; a token cannot choose another.
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Clone)]
pub(super) struct Key {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

impl KeySet {
    /// A JWKS that the caller got from the service over a channel that it trusts. RSA, P-256 and P-384 keys are taken,
    /// from their numbers or from the first certificate of `x5c`; where both are there they must agree. Other kinds are
    /// passed over, so a shared secret can never be a key.
    pub fn parse(jwks: &[u8]) -> Result<Self, TokenError> {
        Self::read(jwks, &|_| Ok(()))
    }

    /// The same for a JWKS from anywhere: the `x5c` of each key must lead to one of these roots at this time.
    pub fn certified(jwks: &[u8], roots: &[&[u8]], at: UnixTime) -> Result<Self, TokenError> {
        Self::read(jwks, &|chain| check_chain(chain, roots, at))
    }

    /// One key out of a certificate chain, leaf first, that must lead to one of these roots at this time.
    pub fn of_chain(kid: Option<&str>, chain: &[Vec<u8>], roots: &[&[u8]], at: UnixTime) -> Result<Self, TokenError> {
        check_chain(chain, roots, at)?;
        let leaf = chain.first().ok_or_else(|| refused("a chain is empty"))?;
        let public = PublicKey::of_certificate(leaf).map_err(|what| TokenError::Chain { what })?;
        Ok(Self { keys: vec![Key::new(kid.map(str::to_owned), &public, None)?] })
    }

    fn read(jwks: &[u8], chained: &Chained<'_>) -> Result<Self, TokenError> {
        if jwks.len() > MAX_KEY_SET {
            return Err(refused("it is too long"));
        }
        let value = strict::parse(jwks).map_err(|error| refused(&error.to_string()))?;
        let list = member(&value, "keys").as_array().ok_or_else(|| refused("`keys` is no list"))?;
        if list.len() > MAX_KEYS {
            return Err(refused("it has too many keys"));
        }
        let mut keys: Vec<Key> = Vec::new();
        for jwk in list {
            let kind = member(jwk, "kty").as_str().unwrap_or("");
            if !matches!(kind, "RSA" | "EC") || *member(jwk, "use") == "enc" {
                continue;
            }
            let chain = chain_of(jwk)?;
            chained(&chain)?;
            let key = Key::read(jwk, &chain)?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(refused("two keys have the same id"));
            }
            keys.push(key);
        }
        match keys.is_empty() {
            true => Err(refused("it has no usable key")),
            false => Ok(Self { keys }),
        }
    }

    /// The key with this id; without an id the set must hold exactly one.
    pub(super) fn find(&self, kid: Option<&str>) -> Result<&Key, TokenError> {
        let unknown = || TokenError::KeyUnknown { kid: kid.unwrap_or("").chars().take(200).collect() };
        match (kid, self.keys.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(unknown()),
            (Some(kid), keys) => keys.iter().find(|key| key.id.as_deref() == Some(kid)).ok_or_else(unknown),
        }
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.keys.iter().map(|key| (&key.id, key.algorithm))).finish()
    }
}

impl Key {
    fn read(jwk: &Value, chain: &[Vec<u8>]) -> Result<Self, TokenError> {
        let certified =
            chain.first().map(|leaf| PublicKey::of_certificate(leaf)).transpose().map_err(|e| refused(&e))?;
        let number = |name: &str| -> Result<Option<Vec<u8>>, TokenError> {
            let Some(text) = member(jwk, name).as_str() else { return Ok(None) };
            URL_SAFE_NO_PAD
                .decode(text.trim_end_matches('='))
                .map(Some)
                .map_err(|_| refused("a number is not base64url"))
        };
        let plain = match (member(jwk, "kty").as_str(), member(jwk, "crv").as_str()) {
            (Some("RSA"), _) => match (number("n")?, number("e")?) {
                (Some(modulus), Some(exponent)) => Some(PublicKey::Rsa(pkcs1(&modulus, &exponent)?)),
                (None, None) => None,
                _ => return Err(refused("an RSA key lacks a number")),
            },
            (_, Some(curve @ ("P-256" | "P-384"))) => {
                let length = if curve == "P-256" { 32 } else { 48 };
                let (Some(x), Some(y)) = (number("x")?, number("y")?) else {
                    return Err(refused("an EC key lacks a coordinate"));
                };
                if x.len() != length || y.len() != length {
                    return Err(refused("a coordinate has the wrong length"));
                }
                let point = [&[4], x.as_slice(), &y].concat();
                Some(if length == 32 { PublicKey::P256(point) } else { PublicKey::P384(point) })
            }
            (Some("EC"), Some(_)) => return Err(refused("an EC key is on another curve than P-256 and P-384")),
            _ => None,
        };
        let public = match (plain, certified) {
            (Some(plain), Some(certified)) if plain != certified => {
                return Err(refused("a key and its certificate differ"));
            }
            (Some(key), _) | (None, Some(key)) => key,
            (None, None) => return Err(refused("a key has neither numbers nor a certificate")),
        };
        Self::new(member(jwk, "kid").as_str().map(str::to_owned), &public, member(jwk, "alg").as_str())
    }

    fn new(id: Option<String>, public: &PublicKey, named: Option<&str>) -> Result<Self, TokenError> {
        let (algorithm, decoding) = match public {
            PublicKey::Rsa(der) => {
                let algorithm = match named {
                    None | Some("RS256") => Algorithm::RS256,
                    Some("RS384") => Algorithm::RS384,
                    Some("RS512") => Algorithm::RS512,
                    Some("PS256") => Algorithm::PS256,
                    Some("PS384") => Algorithm::PS384,
                    Some("PS512") => Algorithm::PS512,
                    Some(_) => return Err(refused("an RSA key is for an algorithm that is not RSA's")),
                };
                (algorithm, DecodingKey::from_rsa_der(der))
            }
            PublicKey::P256(point) => (Algorithm::ES256, DecodingKey::from_ec_der(point)),
            PublicKey::P384(point) => (Algorithm::ES384, DecodingKey::from_ec_der(point)),
        };
        match named {
            Some(named) if named != format!("{algorithm:?}") => {
                Err(refused("a key is for an algorithm that is not its kind's"))
            }
            _ => Ok(Self { id, algorithm, decoding }),
        }
    }
}

/// The certificates of `x5c`: base64 (not base64url) of DER.
fn chain_of(jwk: &Value) -> Result<Vec<Vec<u8>>, TokenError> {
    let chain = match member(jwk, "x5c") {
        Value::Null => return Ok(Vec::new()),
        Value::Array(chain) if chain.len() <= MAX_CHAIN => chain,
        _ => return Err(refused("`x5c` is no short list")),
    };
    let der = |text: &Value| text.as_str().and_then(|text| STANDARD.decode(text).ok());
    chain.iter().map(|text| der(text).ok_or_else(|| refused("`x5c` is not base64"))).collect()
}

fn check_chain(chain: &[Vec<u8>], roots: &[&[u8]], at: UnixTime) -> Result<(), TokenError> {
    let (leaf, rest) = chain.split_first().ok_or_else(|| TokenError::Chain { what: "it has none".to_owned() })?;
    if chain.len() > MAX_CHAIN {
        return Err(TokenError::Chain { what: "it is too long".to_owned() });
    }
    // A root at the end of the chain adds nothing: the anchor is the caller's.
    let between: Vec<&[u8]> = rest.iter().map(Vec::as_slice).filter(|der| !roots.contains(der)).collect();
    let mut why = "no root is given".to_owned();
    for root in roots {
        match path::verify(leaf, &between, root, Usage::Any, at) {
            Ok(()) => return Ok(()),
            Err(what) => why = what,
        }
    }
    Err(TokenError::Chain { what: why })
}

fn pkcs1(modulus: &[u8], exponent: &[u8]) -> Result<Vec<u8>, TokenError> {
    use x509_cert::der::{Encode, asn1::UintRef};
    let encode = || vec![UintRef::new(modulus)?, UintRef::new(exponent)?].to_der();
    encode().map_err(|_| refused("an RSA key is not encodable"))
}

fn refused(what: &str) -> TokenError {
    TokenError::KeySet { what: what.to_owned() }
}

/// What is asked of the certificates of each key.
type Chained<'a> = dyn Fn(&[Vec<u8>]) -> Result<(), TokenError> + 'a;

/// Most keys in a set.
const MAX_KEYS: usize = 256;
/// Most certificates in a chain.
const MAX_CHAIN: usize = 8;
