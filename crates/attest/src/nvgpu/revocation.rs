//! Revocation as collateral: OCSP responses (RFC 6960), one or more per certificate.
//!
//! *Takes* responses in DER as a responder gave them, and what to do without. *Guarantees* of a state that is used: the
//! certificate's own issuer, or a responder that this issuer delegated to, signed it, and it is in date. *Does not
//! check* the OCSP nonce: responses are collateral, so they are kept, and in date is what makes them fresh.

use super::certificate::{Certificate, is_signed_by};
use crate::signed::Signed;
use aws_lc_rs::digest;
use claims::nvgpu::Revocation;
use claims::{Code, UnixTime};
use x509_cert::der::asn1::{ObjectIdentifier, OctetStringRef};
use x509_cert::der::{Decode, Encode, Reader, SliceReader};
use x509_cert::ext::pkix::{CrlReason, ExtendedKeyUsage};
use x509_ocsp::{BasicOcspResponse, CertId, CertStatus, OcspResponse, OcspResponseStatus, SingleResponse};

/// Longest response that is read.
pub const MAX_OCSP: usize = 64 * 1024;
/// Most responses that are looked at.
const MAX_RESPONSES: usize = 64;

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const BASIC_RESPONSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");

/// What is known about revocation, and what to do where nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationInput {
    /// OCSP responses in DER, in any order, for any certificates.
    pub responses: Vec<Vec<u8>>,
    /// What to do with a certificate that no response is about. A response that is there is always honoured.
    pub policy: RevocationPolicy,
    /// What to do with a certificate on hold.
    pub hold: HoldPolicy,
}

/// What to do without a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationPolicy {
    /// Refuse.
    Required,
    /// Go on; the reason is copied into the result.
    AbsentOk {
        /// Why none is needed.
        reason: String,
    },
}

/// What to do with a certificate on hold: NVIDIA suspends devices and RIMs before release, or after a return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldPolicy {
    /// Refuse.
    Refused,
    /// Go on; the reason is copied into the result.
    Accepted {
        /// Why.
        reason: String,
    },
}

/// Why the revocation state refuses a chain. Places count from the leaf, which is 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// Not an OCSP response in DER, or too large, or too many.
    #[error("an OCSP response is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// Nothing is known about this one, and policy asks for it.
    #[error("no OCSP response is about certificate {place} of the chain, and the policy asks for one")]
    Missing {
        /// Which.
        place: usize,
    },
    /// Neither the issuer nor its delegate signed the response.
    #[error("the OCSP response about certificate {place} of the chain is not signed by its issuer")]
    Signature {
        /// Which.
        place: usize,
    },
    /// Not in date.
    #[error(
        "the OCSP response about certificate {place} is for {from} to {until} (seconds since 1970), the time is {now}"
    )]
    Stale {
        /// Which.
        place: usize,
        /// `thisUpdate`.
        from: u64,
        /// `nextUpdate`; zero when it has none.
        until: u64,
        /// Verification time.
        now: u64,
    },
    /// The issuer revoked it.
    #[error("certificate {place} of the chain is revoked since {since} (seconds since 1970)")]
    Revoked {
        /// Which.
        place: usize,
        /// Since when.
        since: u64,
    },
    /// The issuer suspended it.
    #[error("certificate {place} of the chain is on hold since {since} (seconds since 1970)")]
    Hold {
        /// Which.
        place: usize,
        /// Since when.
        since: u64,
    },
    /// The issuer does not know it.
    #[error("the issuer of certificate {place} of the chain does not know it")]
    Unknown {
        /// Which.
        place: usize,
    },
}

impl RevocationError {
    /// The stable code of this refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Revoked { .. } | Self::Hold { .. } => Code::GpuRevoked,
            _ => Code::GpuRevocation,
        }
    }
}

impl RevocationInput {
    /// No responses, for the reason given.
    pub fn absent(reason: impl Into<String>) -> Self {
        let policy = RevocationPolicy::AbsentOk { reason: reason.into() };
        Self { responses: Vec::new(), policy, hold: HoldPolicy::Refused }
    }

    /// These responses; one about each certificate must be there, and none may be on hold.
    pub fn required(responses: Vec<Vec<u8>>) -> Self {
        Self { responses, policy: RevocationPolicy::Required, hold: HoldPolicy::Refused }
    }

    /// The state of every certificate from place `first` up to the root, which is pinned and not asked about.
    pub(super) fn check(
        &self,
        chain: &[Certificate<'_>],
        first: usize,
        now: UnixTime,
    ) -> Result<Vec<Revocation>, RevocationError> {
        if self.responses.len() > MAX_RESPONSES {
            return Err(RevocationError::Malformed { what: format!("more than {MAX_RESPONSES} responses") });
        }
        let responses = self.responses.iter().map(|der| Response::parse(der)).collect::<Result<Vec<_>, _>>()?;
        let pairs = chain.iter().zip(chain.iter().skip(1)).skip(first);
        pairs.map(|(certificate, issuer)| self.state(&responses, certificate, issuer, now)).collect()
    }

    fn state(
        &self,
        responses: &[Response<'_>],
        certificate: &Certificate<'_>,
        issuer: &Certificate<'_>,
        UnixTime(now): UnixTime,
    ) -> Result<Revocation, RevocationError> {
        let place = certificate.place;
        let mut found = None;
        for response in responses {
            for single in &response.parsed.tbs_response_data.responses {
                if !is_about(&single.cert_id, certificate, issuer) {
                    continue;
                }
                if !response.is_signed_under(issuer, UnixTime(now)) {
                    return Err(RevocationError::Signature { place });
                }
                // Of several, the worst counts: a later "good" must not hide a revocation.
                let state = self.honour(place, single, now)?;
                if !matches!(found, Some(Revocation::Hold { .. })) {
                    found = Some(state);
                }
            }
        }
        match (found, &self.policy) {
            (Some(state), _) => Ok(state),
            (None, RevocationPolicy::AbsentOk { reason }) => Ok(Revocation::Absent { reason: reason.clone() }),
            (None, RevocationPolicy::Required) => Err(RevocationError::Missing { place }),
        }
    }

    fn honour(&self, place: usize, single: &SingleResponse, now: u64) -> Result<Revocation, RevocationError> {
        let from = single.this_update.0.to_unix_duration().as_secs();
        let until = single.next_update.map_or(0, |time| time.0.to_unix_duration().as_secs());
        // A revocation stays one when the response is old.
        if let CertStatus::Revoked(info) = &single.cert_status {
            let since = info.revocation_time.0.to_unix_duration().as_secs();
            return match (&self.hold, info.revocation_reason) {
                (HoldPolicy::Accepted { reason }, Some(CrlReason::CertificateHold)) => {
                    Ok(Revocation::Hold { since, reason: reason.clone() })
                }
                (HoldPolicy::Refused, Some(CrlReason::CertificateHold)) => Err(RevocationError::Hold { place, since }),
                _ => Err(RevocationError::Revoked { place, since }),
            };
        }
        if !(from..=until).contains(&now) {
            return Err(RevocationError::Stale { place, from, until, now });
        }
        match single.cert_status {
            CertStatus::Good(_) => Ok(Revocation::Good { from, until }),
            _ => Err(RevocationError::Unknown { place }),
        }
    }
}

/// A response taken apart; the signed bytes are kept as they came.
struct Response<'a> {
    signed: Signed<'a>,
    parsed: BasicOcspResponse,
}

impl<'a> Response<'a> {
    fn parse(der: &'a [u8]) -> Result<Self, RevocationError> {
        let malformed = |what: String| RevocationError::Malformed { what };
        if der.len() > MAX_OCSP {
            return Err(malformed(format!("{} bytes, at most {MAX_OCSP} are read", der.len())));
        }
        let outer = OcspResponse::from_der(der).map_err(|error| malformed(error.to_string()))?;
        if outer.response_status != OcspResponseStatus::Successful {
            return Err(malformed(format!("the responder answered {:?}", outer.response_status)));
        }
        let basic = basic_response(der).map_err(|error| malformed(error.to_string()))?;
        let parsed = BasicOcspResponse::from_der(basic).map_err(|error| malformed(error.to_string()))?;
        let signed = Signed::take_with_rest(basic).map_err(|error| malformed(error.to_string()))?;
        let critical = |extensions: &Option<x509_cert::ext::Extensions>| {
            extensions.iter().flatten().any(|extension| extension.critical)
        };
        let data = &parsed.tbs_response_data;
        if critical(&data.response_extensions)
            || data.responses.iter().any(|single| critical(&single.single_extensions))
        {
            return Err(malformed("it has a critical extension".to_owned()));
        }
        Ok(Self { signed, parsed })
    }

    /// Signed by the issuer itself, or by a certificate inside that the issuer signed for this purpose.
    fn is_signed_under(&self, issuer: &Certificate<'_>, now: UnixTime) -> bool {
        if is_signed_by(&self.signed, &issuer.key) {
            return true;
        }
        self.parsed.certs.iter().flatten().any(|delegate| {
            let Ok(der) = delegate.to_der() else { return false };
            let Ok(delegate) = Certificate::parse(&der, 0) else { return false };
            let usage = delegate.extension(EXTENDED_KEY_USAGE).map(ExtendedKeyUsage::from_der);
            delegate.parsed.issuer == issuer.parsed.subject
                && is_signed_by(&delegate.signed, &issuer.key)
                && delegate.check_time(now).is_ok()
                && usage.is_some_and(|usage| usage.is_ok_and(|usage| usage.0.contains(&OCSP_SIGNING)))
                && is_signed_by(&self.signed, &delegate.key)
        })
    }
}

/// The bytes inside of `OCSPResponse`, whose form was checked before.
fn basic_response(der: &[u8]) -> Result<&[u8], x509_cert::der::Error> {
    let mut reader = SliceReader::new(der)?;
    reader.sequence(|reader| {
        reader.tlv_bytes()?;
        let explicit = x509_cert::der::asn1::AnyRef::decode(reader)?;
        let mut inner = SliceReader::new(explicit.value())?;
        inner.sequence(|inner| {
            let kind = ObjectIdentifier::decode(inner)?;
            let bytes = OctetStringRef::decode(inner)?;
            match kind {
                BASIC_RESPONSE => Ok(bytes.as_bytes()),
                oid => Err(x509_cert::der::ErrorKind::OidUnknown { oid }.into()),
            }
        })
    })
}

/// Whether a response's identifier names this certificate. The hash only identifies, so SHA-1 does no harm here.
fn is_about(id: &CertId, certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> bool {
    let algorithm = match id.hash_algorithm.oid {
        SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        SHA256 => &digest::SHA256,
        SHA384 => &digest::SHA384,
        _ => return false,
    };
    let Ok(name) = certificate.parsed.issuer.to_der() else { return false };
    id.serial_number == certificate.parsed.serial_number
        && digest::digest(algorithm, &name).as_ref() == id.issuer_name_hash.as_bytes()
        && digest::digest(algorithm, &issuer.key).as_ref() == id.issuer_key_hash.as_bytes()
}
