//! Collateral for machines without a network: one file, signed by whoever put it together.
//!
//! Every item is the vendor's own signed word and is verified as such; the bundle's signature says who chose the items,
//! so that nobody on the way leaves a revocation list out. Format: JSON with the members `confide_collateral` (1),
//! `made_at` (seconds since 1970), `items` (`name`, `source`, `sha256`, `expires`, `bytes` in base64), `public_key` and
//! `signature` (Ed25519 over [`DOMAIN`] and the JCS form of everything but `signature`).

use super::Piece;
use crate::outcome::{self, Failure, Result};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::{Code, Digest256, UnixTime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// What is signed starts with this.
const DOMAIN: &[u8] = b"confide/collateral-bundle/v1\0";
/// Most items in one bundle.
const MAX_ITEMS: usize = 1024;
/// SubjectPublicKeyInfo of Ed25519 (RFC 8410) without the key's 32 bytes.
const ED25519_SPKI: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// The key that signs bundles.
pub(crate) struct SignKey(Ed25519KeyPair);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bundle {
    confide_collateral: u32,
    made_at: UnixTime,
    items: Vec<Item>,
    public_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

/// One piece of collateral in a bundle.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    name: String,
    source: String,
    sha256: Digest256,
    expires: Option<UnixTime>,
    bytes: String,
}

impl SignKey {
    /// Reads an Ed25519 key in PKCS #8 PEM, as `openssl genpkey -algorithm ed25519` writes it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let wrong = || {
            Failure::usage(format!("{} is not an Ed25519 private key in PEM", path.display()))
                .hint("make one with: openssl genpkey -algorithm ed25519 -out collateral.key")
        };
        let text = zeroize::Zeroizing::new(outcome::read(path)?);
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| wrong())?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der()).map(Self).map_err(|_| wrong())
    }
}

/// Whether a file says that it is a bundle.
pub(crate) fn is_one(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Peek {
        #[serde(rename = "confide_collateral")]
        _version: u32,
    }
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
        && serde_json::from_slice::<Peek>(bytes).is_ok()
}

/// Puts stored items into one signed file.
pub(crate) fn write(items: &[super::store::Stored], key: &SignKey, now: UnixTime) -> Result<Vec<u8>> {
    let items = items.iter().map(|stored| Item {
        name: stored.entry.name.clone(),
        source: stored.entry.source.clone(),
        sha256: stored.entry.sha256,
        expires: stored.entry.expires,
        bytes: STANDARD.encode(&stored.bytes),
    });
    let public_key = STANDARD.encode(key.0.public_key().as_ref());
    let mut bundle =
        Bundle { confide_collateral: 1, made_at: now, items: items.collect(), public_key, signature: None };
    bundle.signature = Some(STANDARD.encode(key.0.sign(&signed_bytes(&bundle)?).as_ref()));
    let mut bytes = serde_json::to_vec_pretty(&bundle).map_err(internal)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Opens a bundle: its signature must hold, under `key` when one is given and under its own otherwise.
pub(crate) fn open(bytes: &[u8], path: &Path, key: Option<&Path>) -> Result<Vec<Piece>> {
    let wrong = |what: &str| {
        Failure::refused(format!("the collateral bundle {} cannot be used: {what}", path.display()))
            .code(Code::CollateralBundle)
    };
    let mut bundle: Bundle = serde_json::from_slice(bytes).map_err(|error| wrong("it is malformed").because(error))?;
    if bundle.confide_collateral != 1 {
        return Err(wrong("this program reads version 1"));
    }
    if bundle.items.len() > MAX_ITEMS {
        return Err(wrong("it has too many items"));
    }
    let signature = bundle.signature.take().and_then(|text| STANDARD.decode(text).ok());
    let signature = signature.ok_or_else(|| wrong("it is not signed"))?;
    let own = STANDARD.decode(&bundle.public_key).map_err(|_| wrong("its key is not base64"))?;
    if let Some(path) = key
        && public_key(path)? != own
    {
        return Err(wrong("another key than the one given signed it").hint("ask who made it for their public key"));
    }
    UnparsedPublicKey::new(&ED25519, &own)
        .verify(&signed_bytes(&bundle)?, &signature)
        .map_err(|_| wrong("its signature is wrong"))?;
    let pieces = bundle.items.into_iter().map(|item| {
        let bytes = STANDARD.decode(&item.bytes).ok().filter(|bytes| Digest256::of(bytes) == item.sha256);
        let bytes = bytes.ok_or_else(|| wrong(&format!("item {} is damaged", item.name)))?;
        Ok(Piece { name: format!("{}: {}", path.display(), item.name), bytes, beside: true })
    });
    pieces.collect()
}

/// An Ed25519 public key in PEM.
fn public_key(path: &Path) -> Result<Vec<u8>> {
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(&outcome::read(path)?).ok();
    let key = spki.as_ref().and_then(|spki| spki.as_ref().strip_prefix(ED25519_SPKI)).filter(|key| key.len() == 32);
    key.map(<[u8]>::to_vec).ok_or_else(|| {
        Failure::usage(format!("{} is not an Ed25519 public key in PEM", path.display()))
            .hint("get it with: openssl pkey -in collateral.key -pubout")
    })
}

fn signed_bytes(bundle: &Bundle) -> Result<Vec<u8>> {
    let value: Value = serde_json::to_value(bundle).map_err(internal)?;
    let canonical = claims::json::canonical(&value).map_err(internal)?;
    Ok([DOMAIN, &canonical].concat())
}

fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::environment("the collateral bundle cannot be put into its canonical form").because(error)
}
