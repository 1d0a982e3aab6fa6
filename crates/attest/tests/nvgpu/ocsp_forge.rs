//! Makes OCSP responses.

use crate::forge::{Issued, sha384};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use claims::UnixTime;
use x509_cert::der::asn1::{BitString, GeneralizedTime, Null, ObjectIdentifier, OctetString};
use x509_cert::der::{DateTime, Decode, Encode};
use x509_cert::ext::pkix::CrlReason;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspResponse, ResponderId, ResponseData, RevokedInfo,
    SingleResponse, Version,
};

/// What a responder says of one certificate.
#[derive(Clone, Copy)]
pub(crate) enum Said {
    Good,
    Unknown,
    Revoked,
    Hold,
}

/// An OCSP response about `chain[place]`, signed by `by`, valid for a day around `at`.
pub(crate) fn response(
    chain: &[Issued],
    place: usize,
    said: Said,
    by: &Issued,
    inside: &[&Issued],
    at: UnixTime,
) -> Vec<u8> {
    let time = |seconds: u64| {
        let time = DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).unwrap();
        OcspGeneralizedTime(GeneralizedTime::from_date_time(time))
    };
    let parsed = |der: &[u8]| x509_cert::Certificate::from_der(der).unwrap();
    let (subject, issuer) = (parsed(&chain[place].der).tbs_certificate, parsed(&chain[place + 1].der).tbs_certificate);
    let hash = |bytes: &[u8]| OctetString::new(sha384(bytes).0).unwrap();
    let revoked =
        |reason| CertStatus::Revoked(RevokedInfo { revocation_time: time(at.0 - 10), revocation_reason: reason });
    let single = SingleResponse {
        cert_id: CertId {
            hash_algorithm: AlgorithmIdentifierOwned {
                oid: ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"),
                parameters: Some(Null.into()),
            },
            issuer_name_hash: hash(&issuer.subject.to_der().unwrap()),
            issuer_key_hash: hash(issuer.subject_public_key_info.subject_public_key.raw_bytes()),
            serial_number: subject.serial_number,
        },
        cert_status: match said {
            Said::Good => CertStatus::good(),
            Said::Unknown => CertStatus::unknown(),
            Said::Revoked => revoked(Some(CrlReason::KeyCompromise)),
            Said::Hold => revoked(Some(CrlReason::CertificateHold)),
        },
        this_update: time(at.0 - 43_200),
        next_update: Some(time(at.0 + 43_200)),
        single_extensions: None,
    };
    let data = ResponseData {
        version: Version::V1,
        responder_id: ResponderId::ByKey(OctetString::new([0; 20]).unwrap()),
        produced_at: time(at.0),
        responses: vec![single],
        response_extensions: None,
    };
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &by.key.serialize_der()).unwrap();
    let signature = key.sign(&SystemRandom::new(), &data.to_der().unwrap()).unwrap();
    let certs: Vec<_> = inside.iter().map(|issued| parsed(&issued.der)).collect();
    let basic = BasicOcspResponse {
        tbs_response_data: data,
        signature_algorithm: AlgorithmIdentifierOwned {
            oid: ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"),
            parameters: None,
        },
        signature: BitString::from_bytes(signature.as_ref()).unwrap(),
        certs: (!certs.is_empty()).then_some(certs),
    };
    OcspResponse::successful(basic).unwrap().to_der().unwrap()
}
