//! Until when a piece of collateral may be used, as it says itself.
//!
//! *Takes* a certificate, a revocation list (DER or PEM, also several), an OCSP response or signed JSON of Intel's. *Guarantees* nothing:
//! this is for a store that has to know when to fetch again; verification reads the dates once more, signed.

use claims::UnixTime;
use serde_json::Value;
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::{DateTime, Decode};
use x509_ocsp::{BasicOcspResponse, OcspResponse};

/// Longest piece that is looked at.
const MAX_LENGTH: usize = 16 << 20;
/// Deepest object that is searched for `nextUpdate`.
const MAX_DEPTH: u32 = 8;

/// The earliest end of validity in a piece; none when it has none, or is of another form.
pub fn of(bytes: &[u8]) -> Option<UnixTime> {
    if bytes.len() > MAX_LENGTH {
        return None;
    }
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(0x30) => of_der(bytes),
        Some(b'{') => next_update(&serde_json::from_slice(bytes).ok()?, MAX_DEPTH),
        _ => of_pem(std::str::from_utf8(bytes).ok()?),
    }
}

fn of_der(der: &[u8]) -> Option<UnixTime> {
    let seconds = match Certificate::from_der(der) {
        Ok(certificate) => certificate.tbs_certificate.validity.not_after.to_unix_duration(),
        Err(_) => match CertificateList::from_der(der) {
            Ok(list) => list.tbs_cert_list.next_update?.to_unix_duration(),
            Err(_) => return of_ocsp(der),
        },
    };
    Some(UnixTime(seconds.as_secs()))
}

/// `nextUpdate` of a responder's answer (RFC 6960, 4.2.1).
fn of_ocsp(der: &[u8]) -> Option<UnixTime> {
    let answer = OcspResponse::from_der(der).ok()?.response_bytes?;
    let basic = BasicOcspResponse::from_der(answer.response.as_bytes()).ok()?;
    let ends = basic.tbs_response_data.responses.iter().filter_map(|single| single.next_update);
    ends.map(|time| UnixTime(time.0.to_unix_duration().as_secs())).min()
}

fn of_pem(text: &str) -> Option<UnixTime> {
    let blocks = text.split_inclusive("-----END ").filter_map(|part| {
        let start = part.find("-----BEGIN ")?;
        let label = part.get(start..)?.lines().next()?.trim_start_matches("-----BEGIN ").trim_end_matches('-');
        let body = part.get(start..)?;
        let (_, der) = x509_cert::der::pem::decode_vec(format!("{body}{label}-----\n").as_bytes()).ok()?;
        of_der(&der)
    });
    blocks.min()
}

/// `nextUpdate` of an object or of the objects in it; Intel's signed bodies may stand in a string.
fn next_update(value: &Value, depth: u32) -> Option<UnixTime> {
    let deeper = depth.checked_sub(1)?;
    match value {
        Value::Object(members) => members
            .iter()
            .filter_map(|(name, value)| match (name.as_str(), value) {
                ("nextUpdate", Value::String(text)) => {
                    text.parse::<DateTime>().ok().map(|time| UnixTime(time.unix_duration().as_secs()))
                }
                _ => next_update(value, deeper),
            })
            .min(),
        Value::String(text) if text.trim_start().starts_with('{') => {
            next_update(&serde_json::from_str(text).ok()?, deeper)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_json_says_when_to_ask_again() {
        let at = |text: &str| of(text.as_bytes());
        let inner = r#"{"tcbInfo":{"nextUpdate":"2025-07-06T12:14:18Z","x":{"nextUpdate":"2025-07-05T00:00:00Z"}}}"#;
        assert_eq!(at(inner), Some(UnixTime(1_751_673_600)));
        let quoted = serde_json::json!({ "tcb_info": inner }).to_string();
        assert_eq!(at(&quoted), Some(UnixTime(1_751_673_600)));
        assert_eq!(at(r#"{"nextUpdate":"soon"}"#), None);
        assert_eq!(at("{"), None);
        assert_eq!(at(""), None);
    }

    #[test]
    fn the_earliest_certificate_counts() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = |year| {
            let mut parameters = rcgen::CertificateParams::default();
            parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
            parameters.self_signed(&key).unwrap()
        };
        let (late, early) = (pem(2040), pem(2030));
        let both = Some(UnixTime(1_893_456_000));
        assert_eq!(of(early.der()), both);
        assert_eq!(of(format!("{}{}", late.pem(), early.pem()).as_bytes()), both);
        assert_eq!(of(b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), None);
    }
}
