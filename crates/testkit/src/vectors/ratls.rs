//! Vectors of RA-TLS certificates: the part `ratls` of a manifest of SGX quotes, files `ratls/<name>.pem`.

use super::{Case, Run, Verdict};
use attest::ratls::{BoundEvidence, EvidenceKind, RaTlsCertificate, RaTlsError};
use claims::{Allowed, UnixTime};
use serde_json::Value;
use std::fs;
use std::path::Path;
use x509_cert::der::Decode;

const KIND: &str = "ratls";

/// `part` is the manifest's member `ratls`.
pub(super) fn run(base: &Path, part: &Value, now: UnixTime, run: &mut Run<'_>) {
    for (name, expected) in part["expected"].as_object().into_iter().flatten() {
        let path = base.join("ratls").join(format!("{name}.pem"));
        let pem = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()));
        let parts = pem.and_then(|pem| {
            let der = x509_cert::der::pem::decode_vec(&pem).map(|(_, der)| der).map_err(|error| error.to_string())?;
            let parsed = x509_cert::Certificate::from_der(&der).map_err(|error| error.to_string())?;
            let validity = parsed.tbs_certificate.validity;
            Ok((der, validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs()))
        });
        match parts {
            Ok((der, from, until)) => certificate(name, expected, &der, (from, until), now, run),
            Err(error) => run.error(KIND, name, error),
        }
    }
}

fn certificate(name: &str, expected: &Value, der: &[u8], valid: (u64, u64), now: UnixTime, run: &mut Run<'_>) {
    let verify = |der: &[u8], at: u64| RaTlsCertificate::parse(der)?.verify(&nonce(expected), UnixTime(at));
    let holds = expected["claims_hash_matches"] == true && expected["pubkey_hash_matches_SPKI"] == true;
    let wanted = if holds { Verdict::Accept } else { Verdict::Refuse };
    let result = verify(der, valid.0);
    let detail = result.as_ref().ok().and_then(|bound| difference(expected, bound));
    tell(run, &format!("{name} (at its time)"), wanted, result.map(|_| ()), detail);
    let today = if (valid.0..=valid.1).contains(&now.0) { wanted } else { Verdict::Refuse };
    tell(run, &format!("{name} (today)"), today, verify(der, now.0).map(|_| ()), None);
    // One bit of the evidence, and one of the signature.
    for (what, at) in [("evidence", der.len() / 2), ("signature", der.len().saturating_sub(4))] {
        let mut flipped = der.to_vec();
        if let Some(byte) = flipped.get_mut(at) {
            *byte ^= 1;
        }
        tell(
            run,
            &format!("{name} (a bit of the {what})"),
            Verdict::Refuse,
            verify(&flipped, valid.0).map(|_| ()),
            None,
        );
    }
}

fn nonce(expected: &Value) -> Allowed<Vec<u8>> {
    match expected["nonce"].as_str().and_then(|text| hex::decode(text).ok()) {
        Some(nonce) => Allowed::only(nonce),
        None => Allowed::any("the vector has none"),
    }
}

/// The first value that is not what the manifest says.
fn difference(expected: &Value, bound: &BoundEvidence) -> Option<String> {
    let part = |range: std::ops::Range<usize>| bound.evidence.get(range).map(hex::encode).unwrap_or_default();
    let mut keys: Vec<&str> = bound.other_claims.keys().map(String::as_str).collect();
    keys.push("pubkey-hash");
    keys.sort_unstable();
    let mut wanted_keys: Vec<&str> =
        expected["claim_keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    wanted_keys.retain(|key| *key != "nonce");
    wanted_keys.sort_unstable();
    let mut found =
        vec![("report_data", bound.expected_report_data.to_string()), ("quote_len", bound.evidence.len().to_string())];
    if bound.kind == EvidenceKind::SgxQuote {
        found.push(("mr_enclave", part(112..144)));
        found.push(("mr_signer", part(176..208)));
    }
    let other = found.into_iter().find_map(|(member, got)| {
        let wanted = &expected[member];
        let wanted = wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned);
        (wanted != got).then(|| format!("{member} is {got}, the manifest says {wanted}"))
    });
    other.or_else(|| (keys != wanted_keys).then(|| format!("claims are {keys:?}, the manifest says {wanted_keys:?}")))
}

fn tell(run: &mut Run<'_>, name: &str, expected: Verdict, result: Result<(), RaTlsError>, detail: Option<String>) {
    let (got, code) = match result {
        Ok(()) => (Verdict::Accept, None),
        Err(error) => (Verdict::Refuse, Some(error.code().to_string())),
    };
    run.tell(&Case { kind: KIND, name: name.to_owned(), expected, got, code, detail });
}
