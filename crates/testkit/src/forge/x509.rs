//! Certificates and revocation lists as plans: every field can be changed before it is signed.

use super::Result;
use super::keys::{KeyName, Keys, Kind};
use std::str::FromStr;
use std::time::Duration;
use x509_cert::certificate::{Certificate, TbsCertificate, Version};
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::der::Encode;
use x509_cert::der::asn1::{BitString, GeneralizedTime, ObjectIdentifier, OctetString, UtcTime};
use x509_cert::der::flagset::FlagSet;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};

/// What a certificate is to be.
#[derive(Debug, Clone)]
pub(super) struct CertificatePlan {
    pub(super) serial: u64,
    pub(super) subject: String,
    pub(super) issuer: String,
    /// Seconds since 1970.
    pub(super) valid: (u64, u64),
    pub(super) key: KeyName,
    pub(super) signer: KeyName,
    /// The algorithm that it names, if another than it is signed with.
    pub(super) says: Option<Kind>,
    /// Identifier, critical, value in DER.
    pub(super) extensions: Vec<(&'static str, bool, Vec<u8>)>,
}

/// What a revocation list is to be.
#[derive(Debug, Clone)]
pub(super) struct ListPlan {
    pub(super) issuer: String,
    pub(super) valid: (u64, u64),
    pub(super) signer: KeyName,
    pub(super) serials: Vec<u64>,
}

impl CertificatePlan {
    /// Replaces the value of an extension; leaves it out with none.
    pub(super) fn set(&mut self, oid: &'static str, value: Option<Vec<u8>>) {
        self.extensions.retain(|(other, ..)| *other != oid);
        self.extensions.extend(value.map(|value| (oid, false, value)));
    }

    pub(super) fn make(&self, keys: &Keys) -> Result<Vec<u8>> {
        let algorithm = self.says.unwrap_or(self.signer.1).algorithm()?;
        let mut extensions = Vec::new();
        for (oid, critical, value) in &self.extensions {
            let extn_value = OctetString::new(value.clone())?;
            extensions.push(Extension { extn_id: ObjectIdentifier::new(oid)?, critical: *critical, extn_value });
        }
        let body = TbsCertificate {
            version: Version::V3,
            serial_number: serial(self.serial)?,
            signature: algorithm.clone(),
            issuer: Name::from_str(&self.issuer)?,
            validity: Validity { not_before: time(self.valid.0)?, not_after: time(self.valid.1)? },
            subject: Name::from_str(&self.subject)?,
            subject_public_key_info: keys.info(self.key)?,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(extensions),
        };
        let signature = BitString::from_bytes(&keys.sign(self.signer, &body.to_der()?)?)?;
        Ok(Certificate { tbs_certificate: body, signature_algorithm: algorithm, signature }.to_der()?)
    }
}

impl ListPlan {
    pub(super) fn make(&self, keys: &Keys) -> Result<Vec<u8>> {
        let algorithm = self.signer.1.algorithm()?;
        let mut entries = Vec::new();
        for number in &self.serials {
            entries.push(RevokedCert {
                serial_number: serial(*number)?,
                revocation_date: time(self.valid.0)?,
                crl_entry_extensions: None,
            });
        }
        let body = TbsCertList {
            version: Version::V2,
            signature: algorithm.clone(),
            issuer: Name::from_str(&self.issuer)?,
            this_update: time(self.valid.0)?,
            next_update: Some(time(self.valid.1)?),
            revoked_certificates: (!entries.is_empty()).then_some(entries),
            crl_extensions: None,
        };
        let signature = BitString::from_bytes(&keys.sign(self.signer, &body.to_der()?)?)?;
        Ok(CertificateList { tbs_cert_list: body, signature_algorithm: algorithm, signature }.to_der()?)
    }
}

/// The extensions of an authority.
pub(super) fn authority(path: Option<u8>) -> Result<Vec<(&'static str, bool, Vec<u8>)>> {
    let constraints = BasicConstraints { ca: true, path_len_constraint: path };
    Ok(vec![
        (BASIC_CONSTRAINTS, true, constraints.to_der()?),
        (KEY_USAGE, true, usage(KeyUsages::KeyCertSign | KeyUsages::CRLSign)?),
    ])
}

/// The extensions of one that only signs.
pub(super) fn signer() -> Result<Vec<(&'static str, bool, Vec<u8>)>> {
    let constraints = BasicConstraints { ca: false, path_len_constraint: None };
    Ok(vec![
        (BASIC_CONSTRAINTS, true, constraints.to_der()?),
        (KEY_USAGE, true, usage(KeyUsages::DigitalSignature | KeyUsages::NonRepudiation)?),
    ])
}

/// The value of a key usage that allows signatures only.
pub(super) fn digital_signature() -> Result<Vec<u8>> {
    usage(KeyUsages::DigitalSignature.into())
}

/// PEM with lines of 64.
pub(super) fn pem(der: &[u8]) -> Result<String> {
    use x509_cert::der::pem::{LineEnding, encode_string};
    Ok(encode_string("CERTIFICATE", LineEnding::LF, der).map_err(|error| error.to_string())?)
}

fn usage(usages: FlagSet<KeyUsages>) -> Result<Vec<u8>> {
    Ok(KeyUsage(usages).to_der()?)
}

fn serial(number: u64) -> Result<SerialNumber> {
    let bytes = number.to_be_bytes();
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(7);
    Ok(SerialNumber::new(bytes.get(start..).unwrap_or_default())?)
}

fn time(seconds: u64) -> Result<Time> {
    let since = Duration::from_secs(seconds);
    Ok(match seconds < YEAR_2050 {
        true => Time::UtcTime(UtcTime::from_unix_duration(since)?),
        false => Time::GeneralTime(GeneralizedTime::from_unix_duration(since)?),
    })
}

/// `UTCTime` ends here (RFC 5280, section 4.1.2.5).
const YEAR_2050: u64 = 2_524_608_000;

pub(super) const BASIC_CONSTRAINTS: &str = "2.5.29.19";
pub(super) const KEY_USAGE: &str = "2.5.29.15";
