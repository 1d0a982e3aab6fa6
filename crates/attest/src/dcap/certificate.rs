//! X.509 certificates of Intel's SGX PKI: parsed by `x509-cert`, then held to Intel's one profile ("SGX PCK Certificate
//! and CRL Profile Specification", revision 1.5).

use super::crypto::{self, POINT};
use super::error::{DcapError, Role};
use crate::signed::Signed;
use crate::snp::single;
use claims::bytes::Digest384;
use x509_cert::certificate::{TbsCertificate, Version};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode, pem};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::Name;

/// Longest certificate that is read.
pub const MAX_CERTIFICATE: usize = 8 * 1024;
/// Most certificates in one PEM text.
const MAX_CHAIN: usize = 8;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
/// `AlgorithmIdentifier` of ecdsa-with-SHA256, without parameters (RFC 5758): the one form.
const ECDSA_SHA256: [u8; 12] = *b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
/// `SubjectPublicKeyInfo` of an uncompressed P-256 point, up to the point (RFC 5480).
const P256_SPKI: [u8; 26] =
    *b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

const INTEL: &str = "Intel Corporation";
pub(crate) const ROOT_NAME: &str = "Intel SGX Root CA";
pub(crate) const PROCESSOR_CA: &str = "Intel SGX PCK Processor CA";
pub(crate) const PLATFORM_CA: &str = "Intel SGX PCK Platform CA";
const PCK_NAME: &str = "Intel SGX PCK Certificate";
const SIGNER_NAME: &str = "Intel SGX TCB Signing";

/// A certificate that is well-formed and in its profile. Nothing is known about who signed it.
#[derive(Debug)]
pub(crate) struct Certificate<'a> {
    pub(crate) role: Role,
    pub(crate) der: &'a [u8],
    body: &'a [u8],
    signature: &'a [u8],
    pub(crate) parsed: TbsCertificate,
    pub(crate) point: [u8; POINT],
    /// Seconds since 1970.
    pub(crate) valid: (u64, u64),
}

impl<'a> Certificate<'a> {
    /// Parses a certificate that is to stand in one place of the chain.
    pub(crate) fn parse(der: &'a [u8], role: Role) -> Result<Self, DcapError> {
        let certificate = Self::read(der, role)?;
        certificate.check_names()?;
        certificate.check_constraints()?;
        Ok(certificate)
    }

    /// Parses a certificate whose subject says which place it has.
    pub(crate) fn parse_any(der: &'a [u8]) -> Result<Self, DcapError> {
        let mut certificate = Self::read(der, Role::Pck)?;
        certificate.role = match common_name(&certificate.parsed.subject).as_deref() {
            Some(ROOT_NAME) => Role::Root,
            Some(PROCESSOR_CA | PLATFORM_CA) => Role::PckCa,
            Some(SIGNER_NAME) => Role::Signer,
            _ => Role::Pck,
        };
        certificate.check_names()?;
        certificate.check_constraints()?;
        Ok(certificate)
    }

    fn read(der: &'a [u8], role: Role) -> Result<Self, DcapError> {
        let malformed = |what: String| DcapError::Certificate { role, what };
        if der.len() > MAX_CERTIFICATE {
            return Err(malformed(format!("{} bytes, at most {MAX_CERTIFICATE} are read", der.len())));
        }
        let Signed { body, algorithm, signature, .. } =
            Signed::take(der).map_err(|error| malformed(error.to_string()))?;
        let parsed = TbsCertificate::from_der(body).map_err(|error| malformed(error.to_string()))?;
        if parsed.version != Version::V3 {
            return Err(malformed("not version 3".to_owned()));
        }
        if algorithm != ECDSA_SHA256 || parsed.signature.to_der().as_deref() != Ok(&ECDSA_SHA256) {
            return Err(DcapError::SignatureAlgorithm { role });
        }
        let info = &parsed.subject_public_key_info;
        let curve = info.algorithm.parameters.as_ref().and_then(|value| value.decode_as::<ObjectIdentifier>().ok());
        let point = match info.subject_public_key.as_bytes().map(<[u8; POINT]>::try_from) {
            Some(Ok(point)) if info.algorithm.oid == EC_PUBLIC_KEY && curve == Some(SECP256R1) => point,
            _ => return Err(DcapError::Key { role }),
        };
        let valid = (
            parsed.validity.not_before.to_unix_duration().as_secs(),
            parsed.validity.not_after.to_unix_duration().as_secs(),
        );
        Ok(Self { role, der, body, signature, parsed, point, valid })
    }

    /// Whether the key behind `point` signed it.
    pub(crate) fn check_signed_by(&self, point: &[u8; POINT]) -> Result<(), DcapError> {
        match crypto::verify_der(point, self.body, self.signature) {
            true => Ok(()),
            false => Err(DcapError::ChainSignature { role: self.role }),
        }
    }

    /// Whether a root's key is the anchor's.
    pub(crate) fn check_pinned(&self, anchor: &[u8; POINT]) -> Result<(), DcapError> {
        if &self.point == anchor {
            return Ok(());
        }
        let spki = [P256_SPKI.as_slice(), self.point.as_slice()].concat();
        Err(DcapError::RootNotPinned { spki: Digest384(crypto::sha384(&spki)) })
    }

    pub(crate) fn serial(&self) -> &[u8] {
        self.parsed.serial_number.as_bytes()
    }

    pub(crate) fn subject(&self) -> String {
        common_name(&self.parsed.subject).unwrap_or_default()
    }

    pub(crate) fn extensions(&self) -> &[x509_cert::ext::Extension] {
        self.parsed.extensions.as_deref().unwrap_or(&[])
    }

    fn check_names(&self) -> Result<(), DcapError> {
        let (subjects, issuers): (&[&str], &[&str]) = match self.role {
            Role::Root => (&[ROOT_NAME], &[ROOT_NAME]),
            Role::PckCa => (&[PROCESSOR_CA, PLATFORM_CA], &[ROOT_NAME]),
            Role::Signer => (&[SIGNER_NAME], &[ROOT_NAME]),
            Role::Pck => (&[PCK_NAME], &[PROCESSOR_CA, PLATFORM_CA]),
        };
        let parts = [("subject", &self.parsed.subject, subjects), ("issuer", &self.parsed.issuer, issuers)];
        for (part, name, wanted) in parts {
            let (found, organization) = (common_name(name), single(name, ORGANIZATION));
            if !found.as_deref().is_some_and(|found| wanted.contains(&found)) || organization.as_deref() != Some(INTEL)
            {
                let show = |value: Option<String>| value.unwrap_or_else(|| "(none)".to_owned());
                let got = format!("CN={}, O={}", show(found), show(organization));
                return Err(DcapError::Name { role: self.role, part, got });
            }
        }
        Ok(())
    }

    fn check_constraints(&self) -> Result<(), DcapError> {
        let role = self.role;
        let refuse = |what| DcapError::Constraints { role, what };
        let mut constraints = None;
        let mut usage = None;
        for (index, extension) in self.extensions().iter().enumerate() {
            if self.extensions().iter().take(index).any(|other| other.extn_id == extension.extn_id) {
                return Err(refuse("has an extension twice"));
            }
            let value = extension.extn_value.as_bytes();
            match extension.extn_id {
                BASIC_CONSTRAINTS => {
                    constraints =
                        Some(BasicConstraints::from_der(value).map_err(|_| refuse("has malformed basic constraints"))?);
                }
                KEY_USAGE => {
                    usage = Some(KeyUsage::from_der(value).map_err(|_| refuse("has a malformed key usage"))?);
                }
                oid if extension.critical => {
                    return Err(DcapError::CriticalExtension { role, oid: oid.to_string() });
                }
                _ => {}
            }
        }
        let authority = constraints.as_ref().is_some_and(|value| value.ca);
        let path = constraints.as_ref().and_then(|value| value.path_len_constraint);
        let may = |purpose| usage.as_ref().is_some_and(|value| value.0.contains(purpose));
        match role {
            Role::Pck | Role::Signer if authority => Err(refuse("is an authority, which it must not be")),
            Role::Pck | Role::Signer if may(KeyUsages::KeyCertSign) => {
                Err(refuse("may sign certificates, which it must not"))
            }
            Role::Pck | Role::Signer if !may(KeyUsages::DigitalSignature) => Err(refuse("may not sign")),
            Role::Pck | Role::Signer => Ok(()),
            _ if !authority => Err(refuse("is not an authority")),
            _ if !may(KeyUsages::KeyCertSign) => Err(refuse("may not sign certificates")),
            Role::Root if path == Some(0) => Err(refuse("allows no intermediate")),
            _ => Ok(()),
        }
    }
}

/// Common name, when there is exactly one.
pub(crate) fn common_name(name: &Name) -> Option<String> {
    single(name, COMMON_NAME)
}

/// Whether a list or certificate is signed with ECDSA and SHA-256, by its algorithm's one form.
pub(crate) fn is_ecdsa_sha256(algorithm: &[u8]) -> bool {
    algorithm == ECDSA_SHA256
}

/// Takes a PEM text apart: `CERTIFICATE` blocks, line breaks between them, and at the end line breaks and one NUL, which
/// Intel's quote library leaves there. Nothing else, so that no unsigned byte of a quote can change unseen.
pub(crate) fn pem_chain(text: &[u8]) -> Result<Vec<Vec<u8>>, DcapError> {
    let wrong = |what: &str| DcapError::Pem { what: what.to_owned() };
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    let text = std::str::from_utf8(text).map_err(|_| wrong("not text"))?;
    let mut rest = text.trim_start_matches(['\r', '\n']);
    let mut certificates = Vec::new();
    while !rest.is_empty() {
        if certificates.len() == MAX_CHAIN {
            return Err(wrong("more than 8 certificates"));
        }
        let (block, behind) = block(rest).ok_or_else(|| wrong("a block does not end"))?;
        let (label, der) = decode_pem(block).map_err(|what| DcapError::Pem { what })?;
        if label != "CERTIFICATE" {
            return Err(wrong("a block is no certificate"));
        }
        certificates.push(der);
        rest = behind.trim_start_matches(['\r', '\n']);
    }
    match certificates.is_empty() {
        true => Err(wrong("no certificate")),
        false => Ok(certificates),
    }
}

/// The label and content of a PEM block (RFC 7468); its lines are all as wide as the first.
pub(crate) fn decode_pem(block: &str) -> Result<(&str, Vec<u8>), String> {
    let width = block.lines().nth(1).map_or(64, str::len);
    let mut decoder = pem::Decoder::new_wrapped(block.as_bytes(), width).map_err(|error| error.to_string())?;
    let mut content = Vec::new();
    decoder.decode_to_end(&mut content).map_err(|error| error.to_string())?;
    Ok((decoder.type_label(), content))
}

/// The first PEM block of a text that starts with one, and what follows.
pub(crate) fn block(text: &str) -> Option<(&str, &str)> {
    const END: &str = "-----END ";
    let end = text.find(END)?.checked_add(END.len())?;
    let dashes = text.get(end..)?.find("-----")?;
    text.split_at_checked(end.checked_add(dashes)?.checked_add(5)?)
}
