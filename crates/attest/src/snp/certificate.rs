//! X.509 certificates of an SNP chain: parsed by `x509-cert`, then held to AMD's one profile.

use super::error::SnpError;
use super::role::Role;
use super::roots::Anchors;
use crate::signed::Signed;
use claims::UnixTime;
use x509_cert::certificate::{TbsCertificate, Version};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode, Reader, SliceReader};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::Name;

/// Longest certificate that is read.
pub const MAX_CERTIFICATE: usize = 8 * 1024;

const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// `RSASSA-PSS-params` (RFC 4055): SHA-384, MGF1 with SHA-384, salt 48.
const PSS_PARAMETERS: [u8; 54] = *b"\x30\x34\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xa2\x03\x02\x01\x30";
/// The same with the default trailer field written out, as AMD's roots and intermediates have it.
const PSS_PARAMETERS_TRAILER: [u8; 59] = *b"\x30\x39\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xa2\x03\x02\x01\x30\xa3\x03\x02\x01\x01";

/// A certificate that is well-formed and in its profile. Nothing is known about who signed it.
pub(crate) struct Certificate<'a> {
    pub(crate) role: Role,
    pub(crate) der: &'a [u8],
    pub(crate) signed: Signed<'a>,
    pub(crate) parsed: TbsCertificate,
    /// SubjectPublicKeyInfo in DER.
    pub(crate) spki: Vec<u8>,
    /// Seconds since 1970.
    pub(crate) valid: (u64, u64),
}

impl<'a> Certificate<'a> {
    pub(crate) fn parse(der: &'a [u8], role: Role) -> Result<Self, SnpError> {
        let malformed = |what: String| SnpError::Certificate { role, what };
        if der.len() > MAX_CERTIFICATE {
            return Err(malformed(format!("{} bytes, at most {MAX_CERTIFICATE} are read", der.len())));
        }
        let signed = Signed::take(der).map_err(|error| malformed(error.to_string()))?;
        let parsed = TbsCertificate::from_der(signed.body).map_err(|error| malformed(error.to_string()))?;
        if parsed.version != Version::V3 {
            return Err(malformed("not version 3".to_owned()));
        }
        let spki = parsed.subject_public_key_info.to_der().map_err(|error| malformed(error.to_string()))?;
        let valid = (
            parsed.validity.not_before.to_unix_duration().as_secs(),
            parsed.validity.not_after.to_unix_duration().as_secs(),
        );
        Ok(Self { role, der, signed, parsed, spki, valid })
    }

    /// Refuses any signature but RSASSA-PSS with the exact parameters, inside and outside of what is signed.
    pub(crate) fn check_algorithm(&self) -> Result<(), SnpError> {
        let inner = self.parsed.signature.to_der().unwrap_or_default();
        if is_pss_sha384(self.signed.algorithm) && is_pss_sha384(&inner) && inner == self.signed.algorithm {
            Ok(())
        } else {
            Err(SnpError::SignatureParameters { role: self.role })
        }
    }

    /// The PKCS #1 key of a root or intermediate: RSA 4096, exponent 65537.
    pub(crate) fn rsa_key(&self) -> Result<&[u8], SnpError> {
        let wrong = SnpError::Key { role: self.role, wanted: "RSA 4096 with exponent 65537" };
        let info = &self.parsed.subject_public_key_info;
        let key = info.subject_public_key.as_bytes().ok_or(wrong.clone())?;
        // SEQUENCE { INTEGER of 513 bytes with a leading zero, INTEGER 65537 }: one form, so compare its frame.
        let (head, rest) = key.split_first_chunk::<9>().ok_or(wrong.clone())?;
        let (modulus, exponent) = rest.split_first_chunk::<512>().ok_or(wrong.clone())?;
        let framed = head == b"\x30\x82\x02\x0a\x02\x82\x02\x01\x00" && exponent == b"\x02\x03\x01\x00\x01";
        match framed && modulus.first().is_some_and(|byte| byte >> 7 == 1) && info.algorithm.oid == RSA_ENCRYPTION {
            true => Ok(key),
            false => Err(wrong),
        }
    }

    /// The uncompressed P-384 point of an endorsement key.
    pub(crate) fn p384_point(&self) -> Result<&[u8], SnpError> {
        let wrong = SnpError::Key { role: self.role, wanted: "P-384" };
        let info = &self.parsed.subject_public_key_info;
        let curve = info.algorithm.parameters.as_ref().and_then(|value| value.decode_as::<ObjectIdentifier>().ok());
        match info.subject_public_key.as_bytes() {
            Some(point) if info.algorithm.oid == EC_PUBLIC_KEY && curve == Some(SECP384R1) && point.len() == 97 => {
                Ok(point)
            }
            _ => Err(wrong),
        }
    }

    /// Common name and organisation, each there exactly once.
    pub(crate) fn check_name(&self, part: &'static str, common_name: &str, organization: &str) -> Result<(), SnpError> {
        let name = if part == "subject" { &self.parsed.subject } else { &self.parsed.issuer };
        let got = (single(name, COMMON_NAME), single(name, ORGANIZATION));
        if got == (Some(common_name.to_owned()), Some(organization.to_owned())) {
            return Ok(());
        }
        let show = |value: Option<String>| value.unwrap_or_else(|| "(none)".to_owned());
        Err(SnpError::Name {
            role: self.role,
            part,
            got: format!("CN={}, O={}", show(got.0), show(got.1)),
            wanted: format!("CN={common_name}, O={organization}"),
        })
    }

    /// Organisation of the subject.
    pub(crate) fn organization(&self) -> Option<String> {
        single(&self.parsed.subject, ORGANIZATION)
    }

    /// Whether it has a critical extension with this identifier.
    pub(crate) fn has_critical(&self, oid: &str) -> bool {
        self.extensions().iter().any(|extension| extension.critical && extension.extn_id.to_string() == oid)
    }

    pub(crate) fn extensions(&self) -> &[x509_cert::ext::Extension] {
        self.parsed.extensions.as_deref().unwrap_or(&[])
    }

    /// Basic constraints, key usage, and no unknown critical extension.
    pub(crate) fn check_constraints(&self, anchors: &Anchors<'_>) -> Result<(), SnpError> {
        let role = self.role;
        let refuse = |what| SnpError::Constraints { role, what };
        let mut constraints = None;
        let mut usage = None;
        let mut marked = false;
        for (index, extension) in self.extensions().iter().enumerate() {
            let value = extension.extn_value.as_bytes();
            if self.extensions().iter().take(index).any(|other| other.extn_id == extension.extn_id) && role != Role::Vek
            {
                return Err(refuse("has an extension twice"));
            }
            match extension.extn_id {
                BASIC_CONSTRAINTS => {
                    constraints =
                        Some(BasicConstraints::from_der(value).map_err(|_| refuse("has malformed basic constraints"))?);
                }
                KEY_USAGE => {
                    usage = Some(KeyUsage::from_der(value).map_err(|_| refuse("has a malformed key usage"))?);
                }
                oid if anchors.marker() == Some(oid.to_string().as_str()) => marked = extension.critical,
                oid if extension.critical => {
                    return Err(SnpError::CriticalExtension { role, oid: oid.to_string() });
                }
                _ => {}
            }
        }
        if anchors.marker().is_some() && !marked {
            return Err(refuse("lacks the mark of its processor"));
        }
        let authority = constraints.as_ref().is_some_and(|value| value.ca);
        let path = constraints.as_ref().and_then(|value| value.path_len_constraint);
        let signs = usage.as_ref().is_some_and(|value| value.0.contains(KeyUsages::KeyCertSign));
        match role {
            Role::Vek if authority => Err(refuse("is an authority, an endorsement key is none")),
            Role::Vek if usage.is_some() && signs => Err(refuse("may sign certificates, an endorsement key may not")),
            Role::Vek => Ok(()),
            _ if !authority => Err(refuse("is not an authority")),
            _ if !signs => Err(refuse("may not sign certificates")),
            Role::Root if path == Some(0) => Err(refuse("allows no intermediate")),
            _ => Ok(()),
        }
    }

    /// Whether `now` lies in its validity.
    pub(crate) fn check_time(&self, now: UnixTime) -> Result<(), SnpError> {
        check_time(self.role, self.valid, now)
    }
}

/// Whether `now` lies between the two times.
pub(crate) fn check_time(role: Role, (from, until): (u64, u64), UnixTime(now): UnixTime) -> Result<(), SnpError> {
    if now < from {
        return Err(SnpError::NotYetValid { role, from, now });
    }
    if now > until {
        return Err(SnpError::Expired { role, until, now });
    }
    Ok(())
}

pub(crate) fn is_pss_sha384(algorithm: &[u8]) -> bool {
    let parts = || -> Result<(ObjectIdentifier, &[u8]), x509_cert::der::Error> {
        let mut reader = SliceReader::new(algorithm)?;
        let parts = reader.sequence(|reader| {
            let oid = ObjectIdentifier::decode(reader)?;
            Ok((oid, reader.tlv_bytes()?))
        })?;
        reader.finish(parts)
    };
    parts().is_ok_and(|(oid, parameters)| {
        oid == RSASSA_PSS && (parameters == PSS_PARAMETERS || parameters == PSS_PARAMETERS_TRAILER)
    })
}

/// The one value of an attribute; none when it is missing, doubled or not text.
pub(crate) fn single(name: &Name, oid: ObjectIdentifier) -> Option<String> {
    let mut values = name.0.iter().flat_map(|relative| relative.0.iter()).filter(|attribute| attribute.oid == oid).map(
        |attribute| {
            use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
            let value = &attribute.value;
            value
                .decode_as::<Utf8StringRef<'_>>()
                .map(|text| text.as_str().to_owned())
                .or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned()))
                .ok()
        },
    );
    let first = values.next()?;
    values.next().is_none().then_some(first)?
}
