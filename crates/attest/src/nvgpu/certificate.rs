//! X.509 certificates of NVIDIA's chains: parsed by `x509-cert`, then held to one profile (P-384, ECDSA with SHA-384).

use crate::signed::Signed;
use aws_lc_rs::{digest, signature};
use claims::UnixTime;
use claims::bytes::Digest384;
use std::ops::RangeInclusive;
use x509_cert::certificate::{TbsCertificate, Version};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};

/// Longest certificate that is read.
pub const MAX_CERTIFICATE: usize = 8 * 1024;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// `AlgorithmIdentifier` of ecdsa-with-SHA384 (RFC 5758): no parameters.
const ECDSA_SHA384: [u8; 12] = *b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03";

/// What is wrong with a chain. Places count from the leaf, which is 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Another number of certificates than the profile has.
    #[error("the chain has {got} certificates, wanted are {wanted}")]
    Length {
        /// Found.
        got: usize,
        /// Wanted, in words.
        wanted: String,
    },
    /// Not X.509 in DER, or too large.
    #[error("certificate {place} of the chain is malformed: {what}")]
    Malformed {
        /// Which.
        place: usize,
        /// What is wrong.
        what: String,
    },
    /// The last certificate's key is not the pinned one, whatever its name.
    #[error("the chain ends at `{name}`, whose key (SHA-384 {spki}) is not pinned")]
    RootNotPinned {
        /// Subject.
        name: String,
        /// SHA-384 of its SubjectPublicKeyInfo.
        spki: Digest384,
    },
    /// Another algorithm than ECDSA with SHA-384.
    #[error("certificate {place} of the chain is not signed with ECDSA and SHA-384")]
    Algorithm {
        /// Which.
        place: usize,
    },
    /// Another key than a valid point on P-384.
    #[error("certificate {place} of the chain does not hold a P-384 key")]
    Key {
        /// Which.
        place: usize,
    },
    /// The issuer is not the subject of the next certificate.
    #[error("certificate {place} of the chain was issued by `{issuer}`, the next one is of `{next}`")]
    Name {
        /// Which.
        place: usize,
        /// Issuer found.
        issuer: String,
        /// Subject of the next certificate.
        next: String,
    },
    /// The next certificate's key did not sign it.
    #[error("the signature of certificate {place} of the chain is wrong")]
    Signature {
        /// Which.
        place: usize,
    },
    /// Basic constraints, key usage or extensions do not fit the place.
    #[error("certificate {place} of the chain {what}")]
    Constraints {
        /// Which.
        place: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// An extension that nobody here understands is marked critical.
    #[error("certificate {place} of the chain has the unknown critical extension {oid}")]
    CriticalExtension {
        /// Which.
        place: usize,
        /// Its object identifier.
        oid: String,
    },
    /// Outside of its validity.
    #[error("certificate {place} of the chain is valid from {from} to {until} (seconds since 1970), the time is {now}")]
    Time {
        /// Which.
        place: usize,
        /// Start.
        from: u64,
        /// End.
        until: u64,
        /// Verification time.
        now: u64,
    },
}

/// Whether the algorithm is ECDSA with SHA-384 and the key signed it.
pub(super) fn is_signed_by(signed: &Signed<'_>, key: &[u8]) -> bool {
    signed.algorithm == ECDSA_SHA384
        && signature::UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_ASN1, key)
            .verify(signed.body, signed.signature)
            .is_ok()
}

/// A well-formed certificate of the profile. Nothing is known about who signed it.
pub(super) struct Certificate<'a> {
    pub(super) place: usize,
    pub(super) signed: Signed<'a>,
    pub(super) parsed: TbsCertificate,
    /// Uncompressed point.
    pub(super) key: Vec<u8>,
    spki: Digest384,
    /// Seconds since 1970.
    pub(super) valid: (u64, u64),
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(der: &'a [u8], place: usize) -> Result<Self, ChainError> {
        let malformed = |what: String| ChainError::Malformed { place, what };
        if der.len() > MAX_CERTIFICATE {
            return Err(malformed(format!("{} bytes, at most {MAX_CERTIFICATE} are read", der.len())));
        }
        let signed = Signed::take(der).map_err(|error| malformed(error.to_string()))?;
        let parsed = TbsCertificate::from_der(signed.body).map_err(|error| malformed(error.to_string()))?;
        if parsed.version != Version::V3 {
            return Err(malformed("not a certificate of version 3".to_owned()));
        }
        if signed.algorithm != ECDSA_SHA384 || parsed.signature.to_der().as_deref() != Ok(&ECDSA_SHA384) {
            return Err(ChainError::Algorithm { place });
        }
        let info = &parsed.subject_public_key_info;
        let curve = info.algorithm.parameters.as_ref().and_then(|value| value.decode_as::<ObjectIdentifier>().ok());
        let key = match info.subject_public_key.as_bytes() {
            Some(point)
                if info.algorithm.oid == EC_PUBLIC_KEY
                    && curve == Some(SECP384R1)
                    && point.len() == 97
                    && signature::ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_ASN1, point).is_ok() =>
            {
                point.to_vec()
            }
            _ => return Err(ChainError::Key { place }),
        };
        let spki = sha384(&info.to_der().map_err(|error| malformed(error.to_string()))?);
        let valid = (
            parsed.validity.not_before.to_unix_duration().as_secs(),
            parsed.validity.not_after.to_unix_duration().as_secs(),
        );
        Ok(Self { place, signed, parsed, key, spki, valid })
    }

    /// The one extension with this identifier.
    pub(super) fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        self.extensions().iter().find(|extension| extension.extn_id == oid).map(|found| found.extn_value.as_bytes())
    }

    pub(super) fn extensions(&self) -> &[Extension] {
        self.parsed.extensions.as_deref().unwrap_or(&[])
    }

    /// The subject's common name, where there is exactly one.
    pub(super) fn common_name(&self) -> Option<String> {
        let mut found =
            self.parsed.subject.0.iter().flat_map(|part| part.0.iter()).filter(|value| value.oid == COMMON_NAME);
        let value = found.next().filter(|_| found.next().is_none())?;
        std::str::from_utf8(value.value.value()).ok().map(str::to_owned)
    }

    pub(super) fn check_time(&self, UnixTime(now): UnixTime) -> Result<(), ChainError> {
        let (from, until) = self.valid;
        match (from..=until).contains(&now) {
            true => Ok(()),
            false => Err(ChainError::Time { place: self.place, from, until, now }),
        }
    }

    fn check_issuer(&self, issuer: &Self) -> Result<(), ChainError> {
        let place = self.place;
        if self.parsed.issuer != issuer.parsed.subject {
            let (issuer, next) = (self.parsed.issuer.to_string(), issuer.parsed.subject.to_string());
            return Err(ChainError::Name { place, issuer, next });
        }
        if !is_signed_by(&self.signed, &issuer.key) {
            return Err(ChainError::Signature { place });
        }
        Ok(())
    }

    /// Basic constraints, key usage, nothing twice, nothing critical that is unknown.
    fn check_constraints(&self) -> Result<(), ChainError> {
        let place = self.place;
        let refuse = |what| Err(ChainError::Constraints { place, what });
        let (mut constraints, mut usage) = (None, None);
        for (index, extension) in self.extensions().iter().enumerate() {
            if self.extensions().iter().take(index).any(|other| other.extn_id == extension.extn_id) {
                return refuse("has an extension twice");
            }
            let value = extension.extn_value.as_bytes();
            match extension.extn_id {
                BASIC_CONSTRAINTS => match BasicConstraints::from_der(value) {
                    Ok(value) => constraints = Some(value),
                    Err(_) => return refuse("has malformed basic constraints"),
                },
                KEY_USAGE => match KeyUsage::from_der(value) {
                    Ok(value) => usage = Some(value),
                    Err(_) => return refuse("has a malformed key usage"),
                },
                oid if extension.critical => {
                    return Err(ChainError::CriticalExtension { place, oid: oid.to_string() });
                }
                _ => {}
            }
        }
        let authority = constraints.as_ref().is_some_and(|value| value.ca);
        let may = |what| usage.as_ref().is_some_and(|value: &KeyUsage| value.0.contains(what));
        if place == 0 {
            return match () {
                () if authority || may(KeyUsages::KeyCertSign) => refuse("is an authority, a leaf is none"),
                () if !may(KeyUsages::DigitalSignature) => refuse("may not sign, a leaf must"),
                () => Ok(()),
            };
        }
        // Authorities below this one, the leaf not counted.
        let below = place.saturating_sub(1);
        let path = constraints.as_ref().and_then(|value| value.path_len_constraint);
        match () {
            () if !authority => refuse("is not an authority"),
            () if !may(KeyUsages::KeyCertSign) => refuse("may not sign certificates"),
            () if path.is_some_and(|longest| usize::from(longest) < below) => refuse("allows no chain of this length"),
            () => Ok(()),
        }
    }
}

/// Verifies a chain, leaf first, up to a pinned root that is its last certificate.
pub(super) fn verify_chain<'a>(
    certificates: &'a [Vec<u8>],
    lengths: RangeInclusive<usize>,
    pin: &Digest384,
    now: UnixTime,
) -> Result<Vec<Certificate<'a>>, ChainError> {
    let length = certificates.len();
    let wrong_length = || ChainError::Length {
        got: length,
        wanted: match lengths.start() == lengths.end() {
            true => lengths.start().to_string(),
            false => format!("{} to {}", lengths.start(), lengths.end()),
        },
    };
    if length > *lengths.end() {
        return Err(wrong_length());
    }
    let parsed = certificates.iter().enumerate().map(|(place, der)| Certificate::parse(der, place));
    let chain = parsed.collect::<Result<Vec<_>, _>>()?;
    // The pin comes first: nothing else about an unknown root matters.
    if let Some(root) = chain.last().filter(|root| root.spki != *pin) {
        return Err(ChainError::RootNotPinned { name: root.parsed.subject.to_string(), spki: root.spki });
    }
    if length < *lengths.start() {
        return Err(wrong_length());
    }
    for (certificate, issuer) in chain.iter().zip(chain.iter().skip(1).chain(chain.last())) {
        certificate.check_issuer(issuer)?;
    }
    for certificate in &chain {
        certificate.check_constraints()?;
    }
    for certificate in &chain {
        certificate.check_time(now)?;
    }
    Ok(chain)
}

/// ECDSA P-384 with SHA-384; the signature is R then S, big-endian.
pub(super) fn signed_fixed(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    signature::UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, key).verify(message, signature).is_ok()
}

pub(super) fn sha384(bytes: &[u8]) -> Digest384 {
    let mut value = [0; 48];
    value.copy_from_slice(digest::digest(&digest::SHA384, bytes).as_ref());
    Digest384(value)
}
