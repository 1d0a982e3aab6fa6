//! Vectors of attestation tokens: NVIDIA's detached EATs, and the certificate chain of one of its keys.
//!
//! The keys that signed the EATs are not published, so form and digests are checked, and verification must refuse. What
//! kind of file a case is follows from what it holds.

use super::{Case, Run, Verdict, snp};
use attest::token::nras::DetachedEat;
use attest::token::{Audience, KeySet, Rules, TokenError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::{Allowed, UnixTime};
use serde_json::Value;
use std::fs;
use std::path::Path;
use x509_cert::der::Decode;

const KIND: &str = "token";

/// `tokens` is the manifest's list of that name.
pub(super) fn run(base: &Path, tokens: &Value, now: UnixTime, run: &mut Run<'_>) {
    for case in tokens.as_array().into_iter().flatten() {
        let name = snp::text(case, "file");
        let content = fs::read(base.join(name)).map_err(|error| error.to_string());
        let content = content.and_then(|bytes| {
            let value: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            Ok((bytes, value))
        });
        match content {
            Err(error) => run.error(KIND, name, error),
            Ok((_, value)) if value["x5c"].is_array() => chain(name, &value["x5c"], now, run),
            Ok((bytes, value)) if value[0][0] == "JWT" => detached(name, case, &bytes, &value, now, run),
            // Claims that are not signed: there is nothing to verify, they are somebody's print-out.
            Ok(_) => run.skip(&format!("{name}: claims without a signature")),
        }
    }
}

fn detached(name: &str, case: &Value, bytes: &[u8], value: &Value, now: UnixTime, run: &mut Run<'_>) {
    let digests = case["submod_digest_ok"].as_object().into_iter().flatten();
    let holds = digests.into_iter().all(|(_, ok)| ok == true);
    let parsed = DetachedEat::parse(bytes);
    let detail = parsed.as_ref().ok().and_then(|eat| {
        let claims = Value::Object(eat.overall().claimed().clone());
        (claims != case["payload"]).then(|| "the payload is not what the manifest says".to_owned())
    });
    let expected = if holds { Verdict::Accept } else { Verdict::Refuse };
    tell(run, &format!("{name} (form and digests)"), expected, parsed.clone().map(|_| ()), detail);

    let rules = Rules {
        issuer: Allowed::any("the vector says which"),
        audience: Audience::NotUsed { reason: "NVIDIA's service writes none".to_owned() },
        leeway_seconds: 60,
    };
    let result = parsed.and_then(|eat| eat.verify(&some_key()?, &rules, now).map(|_| ()));
    tell(run, &format!("{name} (by a key that is not its own)"), Verdict::Refuse, result, None);

    // Another token under a device's name.
    let mut swapped = value.clone();
    if let Some(devices) = swapped[1].as_object_mut() {
        for token in devices.values_mut() {
            *token = value[0][1].clone();
        }
    }
    let result = DetachedEat::parse(swapped.to_string().as_bytes()).map(|_| ());
    tell(run, &format!("{name} (another token for the device)"), Verdict::Refuse, result, None);
}

/// The chain must hold at its own time up to its last certificate, and not today when its leaf is out of date.
fn chain(name: &str, x5c: &Value, now: UnixTime, run: &mut Run<'_>) {
    let der = |text: &Value| STANDARD.decode(text.as_str()?).ok();
    let chain: Option<Vec<Vec<u8>>> = x5c.as_array().into_iter().flatten().map(der).collect();
    let leaf = chain.as_ref().and_then(|chain| x509_cert::Certificate::from_der(chain.first()?).ok());
    let (Some(chain), Some(leaf)) = (chain, leaf) else {
        return run.error(KIND, name, "the chain is not readable".to_owned());
    };
    let Some((anchor, below)) = chain.split_last() else { return run.error(KIND, name, "no chain".to_owned()) };
    let validity = leaf.tbs_certificate.validity;
    let (from, until) =
        (validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs());
    let at = |time: u64| KeySet::of_chain(None, below, &[anchor], UnixTime(time)).map(|_| ());
    tell(run, &format!("{name} (at its time)"), Verdict::Accept, at(from), None);
    let today = if (from..=until).contains(&now.0) { Verdict::Accept } else { Verdict::Refuse };
    tell(run, &format!("{name} (today)"), today, at(now.0), None);
    tell(run, &format!("{name} (before its time)"), Verdict::Refuse, at(from.saturating_sub(1)), None);
    let unrooted = KeySet::of_chain(None, below, &[], UnixTime(from)).map(|_| ());
    tell(run, &format!("{name} (no root)"), Verdict::Refuse, unrooted, None);
}

/// A key set that holds none of the vectors' keys: the base point of P-384.
fn some_key() -> Result<KeySet, TokenError> {
    let jwks = r#"{"keys":[{"kty":"EC","crv":"P-384","kid":"none of theirs",
        "x":"qofKIr6LBTeOscceCyowdO9dvFS54Af3OFQcKllUAq3SVTho4QMtMOxe-YBsCnK3",
        "y":"NhfeSpbEJiymLx7mkigUfF0Gv9PttfoxzgUy6UoYHcz7u8SkMR17VSp3nAQB6g5f"}]}"#;
    KeySet::parse(jwks.as_bytes())
}

fn tell(run: &mut Run<'_>, name: &str, expected: Verdict, result: Result<(), TokenError>, detail: Option<String>) {
    let (got, code) = match result {
        Ok(()) => (Verdict::Accept, None),
        Err(error) => (Verdict::Refuse, Some(error.code().to_string())),
    };
    run.tell(&Case { kind: KIND, name: name.to_owned(), expected, got, code, detail });
}
