//! OCSP responses (RFC 6960).

use crate::forge::keys::{KeyName, Keys};
use crate::forge::x509::CertificatePlan;
use crate::forge::{NOW, Result};
use aws_lc_rs::digest::{SHA384, digest};
use std::time::Duration;
use x509_cert::der::asn1::{BitString, GeneralizedTime, Null, ObjectIdentifier, OctetString};
use x509_cert::der::{DateTime, Decode, Encode};
use x509_cert::ext::pkix::CrlReason;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspResponse, ResponderId, ResponseData, RevokedInfo,
    SingleResponse, Version,
};

/// What a responder says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::forge) enum Said {
    Good,
    Unknown,
    Revoked,
    Hold,
    /// Good, until yesterday.
    Stale,
}

impl Said {
    /// A response about `subject`, signed by a key.
    pub(super) fn response(
        self,
        keys: &Keys,
        subject: &CertificatePlan,
        issuer: &CertificatePlan,
        signer: KeyName,
    ) -> Result<Vec<u8>> {
        let time = |seconds: u64| -> Result<OcspGeneralizedTime> {
            let time = DateTime::from_unix_duration(Duration::from_secs(seconds))?;
            Ok(OcspGeneralizedTime(GeneralizedTime::from_date_time(time)))
        };
        let parsed = |plan: &CertificatePlan| -> Result<x509_cert::TbsCertificate> {
            Ok(x509_cert::Certificate::from_der(&plan.make(keys)?)?.tbs_certificate)
        };
        let (subject, issuer) = (parsed(subject)?, parsed(issuer)?);
        let hash = |bytes: &[u8]| OctetString::new(digest(&SHA384, bytes).as_ref());
        let revoked = |reason| -> Result<CertStatus> {
            let (revocation_time, revocation_reason) = (time(NOW - 86_400)?, Some(reason));
            Ok(CertStatus::Revoked(RevokedInfo { revocation_time, revocation_reason }))
        };
        let until = if self == Self::Stale { NOW - 1 } else { NOW + 43_200 };
        let single = SingleResponse {
            cert_id: CertId {
                hash_algorithm: AlgorithmIdentifierOwned {
                    oid: ObjectIdentifier::new("2.16.840.1.101.3.4.2.2")?,
                    parameters: Some(Null.into()),
                },
                issuer_name_hash: hash(&issuer.subject.to_der()?)?,
                issuer_key_hash: hash(issuer.subject_public_key_info.subject_public_key.raw_bytes())?,
                serial_number: subject.serial_number,
            },
            cert_status: match self {
                Self::Good | Self::Stale => CertStatus::good(),
                Self::Unknown => CertStatus::unknown(),
                Self::Revoked => revoked(CrlReason::KeyCompromise)?,
                Self::Hold => revoked(CrlReason::CertificateHold)?,
            },
            this_update: time(NOW - 86_400)?,
            next_update: Some(time(until)?),
            single_extensions: None,
        };
        let data = ResponseData {
            version: Version::V1,
            responder_id: ResponderId::ByKey(OctetString::new([0; 20])?),
            produced_at: time(NOW - 86_400)?,
            responses: vec![single],
            response_extensions: None,
        };
        let signature = keys.sign(signer, &data.to_der()?)?;
        let basic = BasicOcspResponse {
            tbs_response_data: data,
            signature_algorithm: signer.1.algorithm()?,
            signature: BitString::from_bytes(&signature)?,
            certs: None,
        };
        Ok(OcspResponse::successful(basic)?.to_der()?)
    }
}
