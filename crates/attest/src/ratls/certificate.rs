//! RA-TLS certificates as they come.

use super::claims::{Claims, from_cbor, key_report_data, report_data_of};
use super::error::RaTlsError;
use crate::path::PublicKey;
use crate::snp::Waiver;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use ciborium::Value;
use claims::bytes::ReportData;
use claims::{Allowed, UnixTime};
use std::collections::BTreeMap;
use std::ops::Range;
use x509_cert::der::asn1::{BitStringRef, ObjectIdentifier};
use x509_cert::der::{Decode, Encode, Reader, SliceReader};

/// Longest certificate that is read; one with a TDX quote has about 10 KiB.
pub const MAX_CERTIFICATE: usize = 64 * 1024;

/// A certificate whose form is right. Nothing in it is true before [`RaTlsCertificate::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaTlsCertificate {
    /// What is signed, as it came.
    body: Vec<u8>,
    algorithm: ObjectIdentifier,
    signature: Vec<u8>,
    key: PublicKey,
    spki: Vec<u8>,
    valid: (u64, u64),
    evidence: Found,
}

/// Evidence that, if it is genuine, vouches for the certificate's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundEvidence {
    /// Which verifier takes it.
    pub kind: EvidenceKind,
    /// Format of the certificate.
    pub format: Format,
    /// The quote or report. **Not verified.**
    pub evidence: Vec<u8>,
    /// What the verified evidence must hold as report data.
    pub expected_report_data: ReportData,
    /// SubjectPublicKeyInfo of the certificate, in DER: the key that the peer holds.
    pub spki: Vec<u8>,
    /// Other claims that the evidence binds, as CBOR.
    pub other_claims: BTreeMap<String, Vec<u8>>,
    /// What was not compared, and why.
    pub waivers: Vec<Waiver>,
}

/// Kinds of evidence in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceKind {
    /// An SGX quote (version 3 and later).
    SgxQuote,
    /// A TDX quote (version 4 and later).
    TdxQuote,
    /// An SNP report.
    SnpReport,
}

/// Formats of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TCG DICE extension with CBOR.
    Interoperable,
    /// Gramine before 1.8: a bare quote, bound to the key only.
    Gramine,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    kind: EvidenceKind,
    format: Format,
    bytes: Vec<u8>,
    /// The claims' bytes, and what they say; none in Gramine's format.
    claims: Option<(Vec<u8>, Claims)>,
}

impl RaTlsCertificate {
    /// Parses a certificate in DER.
    pub fn parse(der: &[u8]) -> Result<Self, RaTlsError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(RaTlsError::Length { got: der.len() });
        }
        let malformed = |error: x509_cert::der::Error| RaTlsError::Certificate { what: error.to_string() };
        // The signed bytes as they came, and the same parsed.
        let mut reader = SliceReader::new(der).map_err(malformed)?;
        let (body, signature) = reader
            .sequence(|reader| {
                let body = reader.tlv_bytes()?;
                reader.tlv_bytes()?;
                let signature = BitStringRef::decode(reader)?;
                Ok((body, signature.as_bytes().unwrap_or(&[]).to_vec()))
            })
            .and_then(|parts| reader.finish(parts))
            .map_err(malformed)?;
        let parsed = x509_cert::Certificate::from_der(der).map_err(malformed)?;
        if parsed.tbs_certificate.signature.oid != parsed.signature_algorithm.oid {
            return Err(RaTlsError::Certificate { what: "two signature algorithms".to_owned() });
        }
        let tbs = &parsed.tbs_certificate;
        let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
        Ok(Self {
            algorithm: parsed.signature_algorithm.oid,
            signature,
            key: PublicKey::of(&parsed).map_err(|what| RaTlsError::Algorithm { what })?,
            spki: tbs.subject_public_key_info.to_der().map_err(malformed)?,
            valid: (seconds(tbs.validity.not_before), seconds(tbs.validity.not_after)),
            evidence: Found::read(tbs.extensions.as_deref().unwrap_or(&[]))?,
            body: body.to_vec(),
        })
    }

    /// The same in PEM.
    pub fn parse_pem(text: &[u8]) -> Result<Self, RaTlsError> {
        if text.len() > MAX_CERTIFICATE.saturating_mul(2) {
            return Err(RaTlsError::Length { got: text.len() });
        }
        let (_, der) = x509_cert::der::pem::decode_vec(text)
            .map_err(|error| RaTlsError::Certificate { what: error.to_string() })?;
        Self::parse(&der)
    }

    /// Which verifier the evidence is for. Not verified.
    pub fn kind(&self) -> EvidenceKind {
        self.evidence.kind
    }

    /// The evidence, as it is in there. Not verified.
    pub fn evidence(&self) -> &[u8] {
        &self.evidence.bytes
    }

    /// Checks self-signature, time, nonce, and that the evidence's report data binds the certificate's key.
    pub fn verify(&self, nonce: &Allowed<Vec<u8>>, now: UnixTime) -> Result<BoundEvidence, RaTlsError> {
        self.check_signature()?;
        let (from, until) = self.valid;
        if now.0 < from || now.0 > until {
            return Err(RaTlsError::Validity { from, until, now: now.0 });
        }
        let found = &self.evidence;
        let mut waivers = Vec::new();
        let (expected_report_data, other_claims, got) = match &found.claims {
            Some((bytes, claims)) => {
                claims.check_key(&self.spki)?;
                (report_data_of(bytes), claims.other.clone(), claims.nonce.clone())
            }
            None => (key_report_data(&self.spki), BTreeMap::new(), None),
        };
        let got_nonce = got.unwrap_or_default();
        match nonce {
            Allowed::OneOf(nonces) if nonces.contains(&got_nonce) => {}
            Allowed::OneOf(_) => return Err(RaTlsError::Nonce { got: hex::encode(got_nonce) }),
            Allowed::Any { reason } => waivers.push(Waiver { claim: "nonce", reason: reason.clone() }),
        }
        let stated = found.report_data()?;
        if stated != expected_report_data {
            return Err(RaTlsError::Binding { got: Box::new(stated), wanted: Box::new(expected_report_data) });
        }
        Ok(BoundEvidence {
            kind: found.kind,
            format: found.format,
            evidence: found.bytes.clone(),
            expected_report_data,
            spki: self.spki.clone(),
            other_claims,
            waivers,
        })
    }

    fn check_signature(&self) -> Result<(), RaTlsError> {
        let (algorithm, key): (&'static dyn VerificationAlgorithm, &[u8]) = match (&self.key, self.algorithm) {
            (PublicKey::P256(point), ECDSA_SHA256) => (&signature::ECDSA_P256_SHA256_ASN1, point),
            (PublicKey::P256(point), ECDSA_SHA384) => (&signature::ECDSA_P256_SHA384_ASN1, point),
            (PublicKey::P384(point), ECDSA_SHA256) => (&signature::ECDSA_P384_SHA256_ASN1, point),
            (PublicKey::P384(point), ECDSA_SHA384) => (&signature::ECDSA_P384_SHA384_ASN1, point),
            (PublicKey::Rsa(key), RSA_SHA256) => (&signature::RSA_PKCS1_2048_8192_SHA256, key),
            (PublicKey::Rsa(key), RSA_SHA384) => (&signature::RSA_PKCS1_2048_8192_SHA384, key),
            (PublicKey::Rsa(key), RSA_SHA512) => (&signature::RSA_PKCS1_2048_8192_SHA512, key),
            (_, oid) => return Err(RaTlsError::Algorithm { what: format!("{oid} with this kind of key") }),
        };
        ParsedPublicKey::new(algorithm, key)
            .map_err(|_| RaTlsError::Algorithm { what: "its key is malformed".to_owned() })?
            .verify_sig(&self.body, &self.signature)
            .map_err(|_| RaTlsError::Signature)
    }
}

impl Found {
    /// The interoperable extension, else Gramine's; each at most once.
    fn read(extensions: &[x509_cert::ext::Extension]) -> Result<Self, RaTlsError> {
        let single = |oid: ObjectIdentifier| {
            let mut found = extensions.iter().filter(|extension| extension.extn_id == oid);
            match (found.next(), found.next()) {
                (first, None) => Ok(first.map(|extension| extension.extn_value.as_bytes())),
                _ => Err(RaTlsError::Doubled { oid: oid.to_string() }),
            }
        };
        let gramine = single(GRAMINE)?;
        if let Some(value) = single(DICE)? {
            return Self::interoperable(value);
        }
        let bytes = gramine.ok_or(RaTlsError::NoEvidence)?.to_vec();
        Ok(Self { kind: quote_kind(&bytes)?, format: Format::Gramine, bytes, claims: None })
    }

    fn interoperable(value: &[u8]) -> Result<Self, RaTlsError> {
        let Value::Tag(tag, content) = from_cbor(value)? else {
            return Err(RaTlsError::Cbor { what: "the evidence has no tag" });
        };
        let (bytes, claims) = match *content {
            Value::Array(parts) => match <[Value; 2]>::try_from(parts) {
                Ok([Value::Bytes(bytes), Value::Bytes(claims)]) => (bytes, claims),
                _ => return Err(RaTlsError::Cbor { what: "the evidence is not `[evidence, claims]` in byte strings" }),
            },
            _ => return Err(RaTlsError::Cbor { what: "the evidence is no array" }),
        };
        let kind = match tag {
            TAG_QUOTE => quote_kind(&bytes)?,
            TAG_SNP => EvidenceKind::SnpReport,
            tag => return Err(RaTlsError::Tag { tag }),
        };
        let parsed = Claims::parse(&claims)?;
        Ok(Self { kind, format: Format::Interoperable, bytes, claims: Some((claims, parsed)) })
    }

    /// The report data that the evidence states. Not verified: it only has to be consistent with the certificate.
    fn report_data(&self) -> Result<ReportData, RaTlsError> {
        let range = match self.kind {
            EvidenceKind::SgxQuote => SGX_REPORT_DATA,
            EvidenceKind::TdxQuote if self.bytes.starts_with(&[5, 0]) => TDX5_REPORT_DATA,
            EvidenceKind::TdxQuote => TDX_REPORT_DATA,
            EvidenceKind::SnpReport => SNP_REPORT_DATA,
        };
        let field = self.bytes.get(range).and_then(ReportData::from_slice);
        field.ok_or(RaTlsError::Cbor { what: "the evidence is too short" })
    }
}

/// SGX or TDX, by the quote's header: version and TEE type, little-endian.
fn quote_kind(quote: &[u8]) -> Result<EvidenceKind, RaTlsError> {
    let short = RaTlsError::Cbor { what: "the evidence is too short" };
    let Some(&[v0, v1, _, _, t0, t1, t2, t3]) = quote.first_chunk::<8>() else { return Err(short) };
    let (version, tee) = (u16::from_le_bytes([v0, v1]), u32::from_le_bytes([t0, t1, t2, t3]));
    match (version, tee) {
        // Version 3 has no TEE type: bytes 4 to 8 are reserved there.
        (3, _) | (4 | 5, 0) => Ok(EvidenceKind::SgxQuote),
        (4 | 5, 0x81) => Ok(EvidenceKind::TdxQuote),
        _ => Err(RaTlsError::Quote { version, tee }),
    }
}

/// `tcg-dice-TaggedEvidence`.
pub(super) const DICE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.9");
/// Gramine's: its bytes contain a tag and a length by mistake, so it reads as this.
pub(super) const GRAMINE: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.6.9.42.840.113741.1337.6");
/// "Intel TEE quote", SGX and TDX.
pub(super) const TAG_QUOTE: u64 = 60000;
/// SNP report: RATS-TLS's own tag, as there is no registered one.
pub(super) const TAG_SNP: u64 = 0x1a_7504;

const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");

// Where report data lies: header of 48 bytes and the enclave's report; the same and the TD report (behind type and size
// of the body in version 5); SNP ABI table 23.
const SGX_REPORT_DATA: Range<usize> = 368..432;
const TDX_REPORT_DATA: Range<usize> = 568..632;
const TDX5_REPORT_DATA: Range<usize> = 574..638;
const SNP_REPORT_DATA: Range<usize> = 0x50..0x90;
