//! Endorsements of utility VMs: COSE_Sign1 (RFC 9052) in two forms.
//!
//! Only the protected header is read. The unprotected one (time stamps, receipts) is not signed and decides nothing.

use super::did::Did;
use super::error::AciError;
use crate::path::{self, PublicKey, Usage};
use crate::token::strict::{self, member};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey,
};
use ciborium::Value;
use claims::aci::{UvmClaims, UvmForm};
use claims::bytes::Digest256;
use claims::{LaunchDigest, UnixTime};
use coset::iana::{self, EnumI64};
use coset::{Algorithm, CoseSign1, Header, Label, RegisteredLabelWithPrivate, TaggedCborSerializable};

/// Longest endorsement that is read; real ones have about 11 KiB.
pub const MAX_COSE: usize = 128 * 1024;

/// An endorsement whose form is right. Nothing in it is true before [`UvmEndorsement::verify`].
#[derive(Debug, Clone, PartialEq)]
pub struct UvmEndorsement {
    signed: CoseSign1,
    algorithm: SignatureAlgorithm,
    /// Leaf first, root last.
    chain: Vec<Vec<u8>>,
    thumbprint: Option<Vec<u8>>,
    claims: UvmClaims,
}

/// An endorsement that its issuer signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedUvm {
    claims: UvmClaims,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignatureAlgorithm {
    Ps384,
    Es384,
    Es256,
}

impl UvmEndorsement {
    /// Parses a tagged COSE_Sign1 with an attached payload.
    pub fn parse(bytes: &[u8]) -> Result<Self, AciError> {
        if bytes.len() > MAX_COSE {
            return Err(AciError::Length { file: "the UVM endorsement", got: bytes.len(), most: MAX_COSE });
        }
        let signed = CoseSign1::from_tagged_slice(bytes).map_err(|error| cose(&format!("{error:?}")))?;
        let header = &signed.protected.header;
        if header.crit.iter().any(|label| !understood(label)) {
            return Err(AciError::Critical);
        }
        let algorithm = match &header.alg {
            Some(Algorithm::Assigned(iana::Algorithm::PS384)) => SignatureAlgorithm::Ps384,
            Some(Algorithm::Assigned(iana::Algorithm::ES384)) => SignatureAlgorithm::Es384,
            Some(Algorithm::Assigned(iana::Algorithm::ES256)) => SignatureAlgorithm::Es256,
            other => return Err(AciError::Algorithm { got: format!("{other:?}") }),
        };
        let payload = signed.payload.as_deref().ok_or_else(|| cose("the payload is detached"))?;
        let claims = match label(header, HASH_ENVELOPE)? {
            Some(hash) => transparent(header, hash, payload, receipts(&signed.unprotected))?,
            None => legacy(header, payload)?,
        };
        let chain = chain(header)?;
        let thumbprint = thumbprint(header)?;
        Ok(Self { algorithm, chain, thumbprint, claims, signed })
    }

    /// What the endorsement states. **Not verified**: good for explaining, never for trust.
    pub fn claimed(&self) -> &UvmClaims {
        &self.claims
    }

    /// Verifies issuer, chain and signature. `issuer` is the one that the caller trusts; `now` bounds the signing time,
    /// at which the certificates must have been valid.
    pub fn verify(&self, issuer: &str, now: UnixTime) -> Result<VerifiedUvm, AciError> {
        self.attested(issuer, now)
    }

    fn attested(&self, issuer: &str, now: UnixTime) -> Result<VerifiedUvm, AciError> {
        let wanted = Did::parse(issuer)?;
        if self.claims.issuer != issuer {
            return Err(AciError::Issuer { got: self.claims.issuer.clone(), wanted: issuer.to_owned() });
        }
        let short = || AciError::Chain { what: "it has not at least a leaf and a root".to_owned() };
        let (leaf, rest) = self.chain.split_first().ok_or_else(short)?;
        let (root, between) = rest.split_last().ok_or_else(short)?;
        let got = Digest256::of(root);
        if got != wanted.root {
            return Err(AciError::Root { got: got.to_string(), wanted: wanted.root.to_string() });
        }
        if self.thumbprint.as_ref().is_some_and(|thumbprint| thumbprint.as_slice() != Digest256::of(leaf).0) {
            return Err(AciError::Thumbprint);
        }
        let signed_at = self.claims.signed_at;
        if signed_at > now {
            return Err(AciError::Future { signed_at: signed_at.0, now: now.0 });
        }
        let between: Vec<&[u8]> = between.iter().map(Vec::as_slice).collect();
        path::verify(leaf, &between, root, Usage::Purpose(wanted.purpose), signed_at)
            .map_err(|what| AciError::Chain { what })?;
        let key = PublicKey::of_certificate(leaf).map_err(|what| AciError::Chain { what })?;
        self.signed
            .verify_signature(&[], |signature, message| self.algorithm.check(&key, message, signature))
            .map(|()| VerifiedUvm { claims: self.claims.clone() })
    }
}

impl VerifiedUvm {
    /// What the issuer states.
    pub fn claims(&self) -> &UvmClaims {
        &self.claims
    }
}

impl SignatureAlgorithm {
    /// The algorithm must be one of the leaf's kind of key.
    fn check(self, key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), AciError> {
        let checked = match (self, key) {
            (Self::Ps384, PublicKey::Rsa(key)) => {
                UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key).verify(message, signature)
            }
            (Self::Es384, PublicKey::P384(point)) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature)
            }
            (Self::Es256, PublicKey::P256(point)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            _ => return Err(AciError::Algorithm { got: format!("{self:?} with another kind of key") }),
        };
        checked.map_err(|_| AciError::Signature)
    }
}

/// The old form: text headers, JSON payload.
fn legacy(header: &Header, payload: &[u8]) -> Result<UvmClaims, AciError> {
    let text = |name: &'static str| match named(header, name)? {
        Some(Value::Text(text)) => Ok(text.clone()),
        _ => Err(cose(&format!("the header `{name}` is missing or no text"))),
    };
    let signed_at = match named(header, "signingtime")? {
        Some(Value::Tag(1, seconds)) => integer(seconds),
        _ => None,
    };
    let signed_at = signed_at.ok_or_else(|| cose("the header `signingtime` is missing or no epoch time"))?;
    let json = strict::parse(payload).map_err(|error| cose(&format!("the payload is not JSON: {error}")))?;
    let measurement = member(&json, "x-ms-sevsnpvm-launchmeasurement").as_str().and_then(|text| text.parse().ok());
    let as_text = member(&json, "x-ms-sevsnpvm-guestsvn").as_str().and_then(|text| text.parse::<u64>().ok());
    let as_number = member(&json, "x-ms-sevsnpvm-guestsvn-int").as_u64();
    let svn = match (as_text, as_number) {
        (Some(text), Some(number)) if text != number => return Err(cose("the payload has two security versions")),
        (text, number) => number.or(text),
    };
    Ok(UvmClaims {
        issuer: text("iss")?,
        feed: text("feed")?,
        svn: svn.ok_or_else(|| cose("the payload has no security version"))?,
        launch_measurement: measurement.ok_or_else(|| cose("the payload has no launch measurement"))?,
        signed_at: UnixTime(signed_at),
        form: UvmForm::Legacy,
        receipts: 0,
    })
}

/// The new form: CWT claims in the header, the payload is the measurement itself (hash envelope).
fn transparent(header: &Header, hash: &Value, payload: &[u8], receipts: usize) -> Result<UvmClaims, AciError> {
    if hash != &Value::from(HASH_SHA384) {
        return Err(cose("the hash envelope is not SHA-384"));
    }
    let Some(Value::Map(cwt)) = label(header, CWT_CLAIMS)? else { return Err(cose("there are no CWT claims")) };
    let one = |wanted: Value| -> Result<&Value, AciError> {
        let mut found = cwt.iter().filter(|(name, _)| *name == wanted).map(|(_, value)| value);
        match (found.next(), found.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(cose("a CWT claim is missing or there twice")),
        }
    };
    let text = |number: i64| one(Value::from(number))?.as_text().map(str::to_owned).ok_or_else(|| cose("no text"));
    let number = |name: Value| integer(one(name)?).ok_or_else(|| cose("a CWT claim is no number"));
    let issued_at = match one(Value::from(CWT_ISSUED_AT))? {
        Value::Tag(1, seconds) => integer(seconds),
        value => integer(value),
    };
    let measurement = LaunchDigest::from_slice(payload);
    Ok(UvmClaims {
        issuer: text(CWT_ISSUER)?,
        feed: text(CWT_SUBJECT)?,
        svn: number(Value::from("svn"))?,
        launch_measurement: measurement.ok_or_else(|| cose("the payload is no SHA-384"))?,
        signed_at: UnixTime(issued_at.ok_or_else(|| cose("a CWT claim is no time"))?),
        form: UvmForm::Transparent,
        receipts,
    })
}

/// `x5chain` (RFC 9360): one certificate, or several, leaf first.
fn chain(header: &Header) -> Result<Vec<Vec<u8>>, AciError> {
    let wrong = || cose("x5chain is missing or not in its form");
    let certificates = match label(header, X5CHAIN)?.ok_or_else(wrong)? {
        Value::Bytes(one) => vec![one.clone()],
        Value::Array(several) if several.len() <= MAX_CHAIN => {
            let bytes: Option<Vec<Vec<u8>>> = several.iter().map(|value| value.as_bytes().cloned()).collect();
            bytes.ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    Ok(certificates)
}

/// `x5t` (RFC 9360): SHA-256 of the leaf; other hashes are not taken.
fn thumbprint(header: &Header) -> Result<Option<Vec<u8>>, AciError> {
    match label(header, X5T)? {
        None => Ok(None),
        Some(Value::Array(parts)) => match parts.as_slice() {
            [hash, Value::Bytes(bytes)] if *hash == Value::from(HASH_SHA256) => Ok(Some(bytes.clone())),
            _ => Err(cose("x5t is not in its form")),
        },
        Some(_) => Err(cose("x5t is not in its form")),
    }
}

fn receipts(unprotected: &Header) -> usize {
    match unprotected.rest.iter().find(|(label, _)| *label == Label::Int(RECEIPTS)) {
        Some((_, Value::Array(receipts))) => receipts.len(),
        _ => 0,
    }
}

fn label(header: &Header, number: i64) -> Result<Option<&Value>, AciError> {
    single(header, &Label::Int(number))
}

fn named<'a>(header: &'a Header, name: &str) -> Result<Option<&'a Value>, AciError> {
    single(header, &Label::Text(name.to_owned()))
}

/// A header that is there at most once; the parser refuses doubles, and so does this.
fn single<'a>(header: &'a Header, wanted: &Label) -> Result<Option<&'a Value>, AciError> {
    let mut found = header.rest.iter().filter(|(label, _)| label == wanted).map(|(_, value)| value);
    match (found.next(), found.next()) {
        (value, None) => Ok(value),
        _ => Err(cose("a header is there twice")),
    }
}

/// Critical headers that are read here.
fn understood(label: &RegisteredLabelWithPrivate<iana::HeaderParameter>) -> bool {
    match label {
        RegisteredLabelWithPrivate::Assigned(known) => {
            [1, 3, CWT_CLAIMS, X5CHAIN, X5T, HASH_ENVELOPE].contains(&known.to_i64())
        }
        _ => false,
    }
}

fn integer(value: &Value) -> Option<u64> {
    value.as_integer().and_then(|integer| u64::try_from(integer).ok())
}

fn cose(what: &str) -> AciError {
    AciError::Cose { what: what.chars().take(200).collect() }
}

/// Most certificates in a chain.
const MAX_CHAIN: usize = 8;
/// `CWT Claims` (RFC 9597).
const CWT_CLAIMS: i64 = 15;
const CWT_ISSUER: i64 = 1;
const CWT_SUBJECT: i64 = 2;
const CWT_ISSUED_AT: i64 = 6;
/// `x5chain` and `x5t` (RFC 9360).
const X5CHAIN: i64 = 33;
const X5T: i64 = 34;
/// `payload-hash-alg` (draft-ietf-cose-hash-envelope).
const HASH_ENVELOPE: i64 = 258;
/// Receipts (draft-ietf-cose-merkle-tree-proofs), unprotected.
const RECEIPTS: i64 = 394;
const HASH_SHA256: i64 = -16;
const HASH_SHA384: i64 = -43;
