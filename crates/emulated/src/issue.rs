//! Certificates and lists of the development roots: AMD's profile, other names, a critical mark, at most 30 days.

use crate::state::EmulatorError;
use attest::snp::EMULATED_MARKER;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair, RSA_PSS_SHA384, RsaKeyPair};
use claims::UnixTime;
use claims::snp::{Product, TcbVersion};
use std::str::FromStr;
use std::time::Duration;
use x509_cert::certificate::{Certificate, TbsCertificate, Version};
use x509_cert::crl::{CertificateList, TbsCertList};
use x509_cert::der::asn1::{Any, BitString, Ia5StringRef, ObjectIdentifier, OctetString, UtcTime};
use x509_cert::der::flagset::FlagSet;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

/// Organisation in every name.
pub(crate) const ORGANIZATION: &str = "TEST ONLY NOT AMD";
/// What precedes AMD's names.
pub(crate) const PREFIX: &str = "TEST-";
/// Longest validity: 30 days.
pub(crate) const VALID_SECONDS: u64 = 30 * 24 * 3600;
/// Clocks of one machine's processes may differ a little.
const SKEW_SECONDS: u64 = 300;

const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const SECP384R1: &str = "1.3.132.0.34";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const KEY_USAGE: &str = "2.5.29.15";
const AMD: &str = "1.3.6.1.4.1.3704.1";

/// RSASSA-PSS with SHA-384, MGF1-SHA384, salt 48 (RFC 4055), as AMD's endorsement certificates have it.
const PSS_SHA384: &[u8] = b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xa2\x03\x02\x01\x30";

/// The roots' keys.
pub(crate) struct Authority<'a> {
    pub(crate) root: &'a RsaKeyPair,
    pub(crate) intermediate: &'a RsaKeyPair,
    pub(crate) product: Product,
    pub(crate) issued: UnixTime,
}

impl Authority<'_> {
    /// The self-signed root.
    pub(crate) fn root(&self) -> Result<Vec<u8>, EmulatorError> {
        let name = self.root_name()?;
        let extensions = vec![authority(None)?, usage(KeyUsages::KeyCertSign | KeyUsages::CRLSign)?];
        self.certificate(1, &name, &name, rsa_info(self.root)?, extensions, self.root)
    }

    /// The intermediate.
    pub(crate) fn intermediate(&self) -> Result<Vec<u8>, EmulatorError> {
        let extensions = vec![authority(Some(0))?, usage(KeyUsages::KeyCertSign.into())?];
        let (issuer, subject) = (self.root_name()?, self.intermediate_name()?);
        self.certificate(2, &issuer, &subject, rsa_info(self.intermediate)?, extensions, self.root)
    }

    /// The endorsement key's certificate for a chip and its patch levels.
    pub(crate) fn vcek(&self, point: &[u8], tcb: &TcbVersion, hardware_id: &[u8]) -> Result<Vec<u8>, EmulatorError> {
        let info = SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned {
                oid: oid(EC_PUBLIC_KEY)?,
                parameters: Some(Any::encode_from(&oid(SECP384R1)?)?),
            },
            subject_public_key: BitString::from_bytes(point)?,
        };
        let (version, product) = match self.product {
            Product::Milan => (0u8, "Milan-B0"),
            Product::Genoa => (0, "Genoa"),
            Product::Turin => (1, "Turin"),
        };
        let mut extensions = vec![
            amd("1", version.to_der()?)?,
            amd("2", Ia5StringRef::new(product)?.to_der()?)?,
            amd("3.1", tcb.bootloader.to_der()?)?,
            amd("3.2", tcb.tee.to_der()?)?,
            amd("3.3", tcb.snp.to_der()?)?,
            amd("3.8", tcb.microcode.to_der()?)?,
            amd("4", hardware_id.to_vec())?,
        ];
        let spares: &[&str] = if tcb.fmc.is_some() { &["3.5", "3.6", "3.7"] } else { &["3.4", "3.5", "3.6", "3.7"] };
        for spare in spares {
            extensions.push(amd(spare, 0u8.to_der()?)?);
        }
        if let Some(fmc) = tcb.fmc {
            extensions.push(amd("3.9", fmc.to_der()?)?);
        }
        let (issuer, subject) = (self.intermediate_name()?, name("SEV-VCEK")?);
        self.certificate(0, &issuer, &subject, info, extensions, self.intermediate)
    }

    /// A revocation list that names these serial numbers.
    pub(crate) fn revocation_list(&self, revoked: &[u32]) -> Result<Vec<u8>, EmulatorError> {
        let validity = self.validity()?;
        let entries: Result<Vec<_>, EmulatorError> = revoked
            .iter()
            .map(|serial| {
                Ok(x509_cert::crl::RevokedCert {
                    serial_number: SerialNumber::new(&serial.to_be_bytes())?,
                    revocation_date: validity.not_before,
                    crl_entry_extensions: None,
                })
            })
            .collect();
        let entries = entries?;
        let list = TbsCertList {
            version: Version::V2,
            signature: pss()?,
            issuer: self.root_name()?,
            this_update: validity.not_before,
            next_update: Some(validity.not_after),
            revoked_certificates: (!entries.is_empty()).then_some(entries),
            crl_extensions: None,
        };
        let signature = sign(self.root, &list.to_der()?)?;
        Ok(CertificateList { tbs_cert_list: list, signature_algorithm: pss()?, signature }.to_der()?)
    }

    fn certificate(
        &self,
        serial: u8,
        issuer: &Name,
        subject: &Name,
        info: SubjectPublicKeyInfoOwned,
        mut extensions: Vec<Extension>,
        signer: &RsaKeyPair,
    ) -> Result<Vec<u8>, EmulatorError> {
        extensions.push(extension(EMULATED_MARKER, true, vec![0x05, 0x00])?);
        let body = TbsCertificate {
            version: Version::V3,
            serial_number: SerialNumber::new(&[serial])?,
            signature: pss()?,
            issuer: issuer.clone(),
            validity: self.validity()?,
            subject: subject.clone(),
            subject_public_key_info: info,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(extensions),
        };
        let signature = sign(signer, &body.to_der()?)?;
        Ok(Certificate { tbs_certificate: body, signature_algorithm: pss()?, signature }.to_der()?)
    }

    fn validity(&self) -> Result<Validity, EmulatorError> {
        let at = |seconds| UtcTime::from_unix_duration(Duration::from_secs(seconds)).map(Time::UtcTime);
        let start = self.issued.0.saturating_sub(SKEW_SECONDS);
        Ok(Validity { not_before: at(start)?, not_after: at(start.saturating_add(VALID_SECONDS))? })
    }

    fn root_name(&self) -> Result<Name, EmulatorError> {
        name(&format!("ARK-{}", self.product))
    }

    fn intermediate_name(&self) -> Result<Name, EmulatorError> {
        name(&format!("SEV-{}", self.product))
    }
}

fn name(common: &str) -> Result<Name, EmulatorError> {
    Ok(Name::from_str(&format!("CN={PREFIX}{common},O={ORGANIZATION},OU=Confide development"))?)
}

fn oid(text: &str) -> Result<ObjectIdentifier, EmulatorError> {
    ObjectIdentifier::new(text).map_err(|error| EmulatorError::Encode { what: error.to_string() })
}

fn pss() -> Result<AlgorithmIdentifierOwned, EmulatorError> {
    Ok(AlgorithmIdentifierOwned::from_der(PSS_SHA384)?)
}

fn extension(id: &str, critical: bool, value: Vec<u8>) -> Result<Extension, EmulatorError> {
    Ok(Extension { extn_id: oid(id)?, critical, extn_value: OctetString::new(value)? })
}

fn amd(number: &str, value: Vec<u8>) -> Result<Extension, EmulatorError> {
    extension(&format!("{AMD}.{number}"), false, value)
}

fn authority(path: Option<u8>) -> Result<Extension, EmulatorError> {
    extension(BASIC_CONSTRAINTS, true, BasicConstraints { ca: true, path_len_constraint: path }.to_der()?)
}

fn usage(usages: FlagSet<KeyUsages>) -> Result<Extension, EmulatorError> {
    extension(KEY_USAGE, true, KeyUsage(usages).to_der()?)
}

fn rsa_info(key: &RsaKeyPair) -> Result<SubjectPublicKeyInfoOwned, EmulatorError> {
    Ok(SubjectPublicKeyInfoOwned {
        algorithm: AlgorithmIdentifierOwned { oid: oid(RSA_ENCRYPTION)?, parameters: Some(Any::null()) },
        subject_public_key: BitString::from_bytes(key.public_key().as_ref())?,
    })
}

fn sign(key: &RsaKeyPair, message: &[u8]) -> Result<BitString, EmulatorError> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), message, &mut signature).map_err(|_| EmulatorError::Crypto)?;
    Ok(BitString::from_bytes(&signature)?)
}

/// SubjectPublicKeyInfo of an RSA key in DER.
pub(crate) fn spki(key: &RsaKeyPair) -> Result<Vec<u8>, EmulatorError> {
    Ok(rsa_info(key)?.to_der()?)
}
