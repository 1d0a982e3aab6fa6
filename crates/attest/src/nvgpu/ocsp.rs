//! What to ask a responder about a chain (RFC 6960, 4.1): one request per certificate.
//!
//! *Takes* certificates that nothing has checked yet. *Guarantees* only the form of the requests: the answers are
//! collateral, and [`super::RevocationInput`] says which of them count.

use super::certificate::Certificate;
use aws_lc_rs::digest;
use claims::Digest256;
use x509_cert::der::Encode;
use x509_cert::der::asn1::{Null, ObjectIdentifier, OctetString};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{CertId, OcspRequest, Request, TbsRequest, Version};

/// The hash that NVIDIA's own verifier names certificates with (nvtrust, `cc_admin_utils.py`, `ocsp_certificate_chain_validation`).
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");

/// A question about one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspQuestion {
    /// SHA-256 of the certificate in DER.
    pub certificate: Digest256,
    /// `OCSPRequest` in DER, without a nonce: the answer is kept.
    pub request: Vec<u8>,
}

/// Questions about the certificates from place `first` up to the one below the root. What is no certificate is left out:
/// verification will say so.
pub(super) fn questions(chain: &[Vec<u8>], first: usize) -> Vec<OcspQuestion> {
    let pairs = chain.iter().zip(chain.iter().skip(1)).skip(first);
    pairs.filter_map(|(certificate, issuer)| question(certificate, issuer)).collect()
}

fn question(certificate: &[u8], issuer: &[u8]) -> Option<OcspQuestion> {
    let (subject, issuer) = (Certificate::parse(certificate, 0).ok()?, Certificate::parse(issuer, 1).ok()?);
    let hash = |bytes: &[u8]| OctetString::new(digest::digest(&digest::SHA384, bytes).as_ref()).ok();
    let id = CertId {
        hash_algorithm: AlgorithmIdentifierOwned { oid: SHA384, parameters: Some(Null.into()) },
        issuer_name_hash: hash(&subject.parsed.issuer.to_der().ok()?)?,
        issuer_key_hash: hash(&issuer.key)?,
        serial_number: subject.parsed.serial_number.clone(),
    };
    let request = Request { req_cert: id, single_request_extensions: None };
    let tbs_request = TbsRequest {
        version: Version::V1,
        requestor_name: None,
        request_list: vec![request],
        request_extensions: None,
    };
    let request = OcspRequest { tbs_request, optional_signature: None }.to_der().ok()?;
    Some(OcspQuestion { certificate: Digest256::of(certificate), request })
}
