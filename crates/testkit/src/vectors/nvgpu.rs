//! GPU evidence, its forgeries, RIMs, pairs of both, and the JSON around evidence.
//!
//! A RIM is judged at a time when its signers are valid, taken from the manifest; one that must be refused and is
//! authentic at that time is refused by what it is compared with, or by today. `tokens` of the same manifest are judged
//! by the runner of tokens.

mod comparisons;

use super::{Case, Run, Verdict};
use attest::nvgpu::{
    DeviceChain, Evidence, Expected, GpuError, NvidiaRoots, References, RevocationInput, Rim, RimError, Roots,
    VerifiedEvidence, VersionRule, json,
};
use claims::bytes::Digest384;
use claims::nvgpu::GoldenMeasurements;
use claims::{Allowed, Nonce, Refusal, UnixTime};
use comparisons::{config_difference, difference, rebuilt, rim_difference, spdm_difference};
use serde_json::Value;
use std::fs;
use std::path::Path;
use x509_cert::der::{Decode, Encode};

const KIND: &str = "nvgpu";
const RIM: &str = "nvgpu-rim";
const PAIR: &str = "nvgpu-pair";
const JSON: &str = "nvgpu-json";
const PARSED: &str = "nvgpu-parsed";

pub(super) fn run(folder: &Path, manifest: &Value, now: UnixTime, run: &mut Run<'_>) {
    roots(folder, manifest, run);
    for case in list(manifest, "evidence").chain(list(manifest, "negatives")) {
        evidence(folder, case, now, run);
    }
    for case in list(manifest, "rims") {
        rim(folder, manifest, case, now, run);
    }
    for case in list(manifest, "golden_pairs") {
        pair(folder, manifest, case, now, run);
    }
    for case in list(manifest, "evidence_json") {
        evidence_json(folder, case, now, run);
    }
    for case in list(manifest, "parsed_reference") {
        parsed_reference(folder, manifest, case, run);
    }
}

/// The pins of the program are the roots of the manifest.
fn roots(folder: &Path, manifest: &Value, run: &mut Run<'_>) {
    for (name, pin) in [("device-root", NvidiaRoots.device()), ("rim-root", NvidiaRoots.rim())] {
        let root = &manifest["roots"][name];
        let Some(file) = root["file"].as_str() else { continue };
        let spki = read(folder, file).and_then(|pem| {
            let (_, der) = x509_cert::der::pem::decode_vec(&pem).map_err(|error| error.to_string())?;
            let root = x509_cert::Certificate::from_der(&der).map_err(|error| error.to_string())?;
            root.tbs_certificate.subject_public_key_info.to_der().map_err(|error| error.to_string())
        });
        let spki = match spki {
            Ok(spki) => aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, &spki),
            Err(error) => {
                run.error(KIND, name, error);
                continue;
            }
        };
        let got = Digest384::from_slice(spki.as_ref());
        let detail = (got != Some(pin) || root["spki_sha384"].as_str() != Some(&pin.to_string()))
            .then(|| format!("the pin is {pin}, the manifest's root is another"));
        let (expected, got) = (Verdict::Accept, Verdict::Accept);
        run.tell(&Case { kind: KIND, name: name.to_owned(), expected, got, code: None, detail });
    }
}

fn evidence(folder: &Path, case: &Value, now: UnixTime, run: &mut Run<'_>) {
    let name = text(case, "name");
    // A case about bytes only comes without certificates of its own: those of its family are the base's.
    let (bytes, chain) = match read_pair(folder, case) {
        Ok(pair) => pair,
        Err(error) => return run.error(KIND, name, error),
    };
    let verified = verify(&bytes, &chain, now);
    let detail = verified.as_ref().ok().and_then(|verified| difference(case, verified));
    // Who asked knows its nonce: a case whose own nonce was changed was still asked for with the original one.
    let result = verified.and_then(|verified| verified.appraise(&unreferenced(case)).map(|_| ()));
    tell(run, KIND, name, must(case), result, detail);
}

fn rim(folder: &Path, manifest: &Value, case: &Value, now: UnixTime, run: &mut Run<'_>) {
    let name = text(case, "file");
    let bytes = match read(folder, name) {
        Ok(bytes) => bytes,
        Err(error) => return run.error(RIM, name, error),
    };
    let at = signers_time(case).unwrap_or(now);
    let result = golden(&bytes, at);
    let detail = result.as_ref().ok().and_then(|golden| rim_difference(case, golden));
    let expected = must(case);
    if expected == Verdict::Accept {
        return tell(run, RIM, name, expected, result.map(|_| ()), detail);
    }
    // Authentic in its time: then a comparison refuses it, or today does.
    let authentic = is_authentic(case);
    let result = result.map(|_| ());
    if !authentic {
        return tell(run, RIM, name, expected, result, detail);
    }
    tell(run, RIM, &format!("{name} (at its time)"), Verdict::Accept, result, detail);
    let compared = list(manifest, "golden_pairs").any(|pair| pair["rim"] == case["file"]);
    if !compared {
        tell(run, RIM, name, expected, golden(&bytes, now).map(|_| ()), None);
    }
}

/// Whether the manifest says that chain, root, digest and signature hold.
fn is_authentic(case: &Value) -> bool {
    let expected = &case["expected"];
    let xml = &expected["xmldsig_time_independent"];
    expected["cert_chain"] == "ok"
        && expected["root_is_rim_root"] == true
        && xml["reference_digest"] == "ok"
        && xml["signature_value"] == "ok"
}

/// When every signer of the chain was valid: the last start of validity.
fn signers_time(case: &Value) -> Option<UnixTime> {
    list(case, "certs").filter_map(|certificate| time(certificate[1].as_str()?)).max_by_key(|at| at.0)
}

fn golden(rim: &[u8], at: UnixTime) -> Result<GoldenMeasurements, RimError> {
    Rim::parse(rim)?.verify(&NvidiaRoots, &no_responses(), at).map(|verified| verified.golden())
}

/// Evidence against the reference values of a RIM, imported when its signers were valid and compared today.
fn pair(folder: &Path, manifest: &Value, case: &Value, now: UnixTime, run: &mut Run<'_>) {
    let name = format!("{} with {}", text(case, "evidence"), text(case, "rim"));
    let by = |member: &str, key: &str, value: &Value| list(manifest, member).find(|one| one[key] == *value);
    let device = by("evidence", "name", &case["evidence"]).or_else(|| by("negatives", "name", &case["evidence"]));
    let rim = by("rims", "file", &case["rim"]);
    let input = device.ok_or("the manifest has no such evidence".to_owned()).and_then(|device| {
        let (bytes, chain) = read_pair(folder, device)?;
        let golden = golden(&read(folder, text(case, "rim"))?, rim.and_then(signers_time).unwrap_or(now));
        Ok((device, bytes, chain, golden.map_err(|error| error.to_string())?))
    });
    let (device, bytes, chain, golden) = match input {
        Ok(input) => input,
        Err(error) => return run.error(PAIR, &name, error),
    };
    let said = text(case, "result");
    let expected = if said.contains("mismatch") { Verdict::Refuse } else { Verdict::Accept };
    let active = u64::try_from(golden.measurements.len()).ok();
    let mut detail = (case["active"].as_u64() != active).then(|| format!("{active:?} measurements are active"));
    let result = verify(&bytes, &chain, now).and_then(|verified| {
        let is_driver = verified.claims().driver_version.as_ref() == Some(&golden.colloquial_version);
        let mut expected = unreferenced(device);
        *(if is_driver { &mut expected.driver_golden } else { &mut expected.vbios_golden }) =
            References::Of(vec![golden]);
        verified.appraise(&expected).map(|_| ())
    });
    if let (Err(GpuError::Measurements { mismatches }), Some((_, place))) = (&result, said.split_once("index ")) {
        let place: String = place.chars().take_while(char::is_ascii_digit).collect();
        let found: Vec<String> = mismatches.iter().map(|one| one.index.to_string()).collect();
        if found != [place] {
            detail = Some(format!("mismatches are at {}", found.join(", ")));
        }
    }
    tell(run, PAIR, &name, expected, result, detail);
}

fn evidence_json(folder: &Path, case: &Value, now: UnixTime, run: &mut Run<'_>) {
    let name = text(case, "file");
    let bytes = match read(folder, name) {
        Ok(bytes) => bytes,
        Err(error) => return run.error(JSON, name, error),
    };
    let expected = if text(case, "must") == "reject" { Verdict::Refuse } else { Verdict::Accept };
    let mut ids = Vec::new();
    let result = json::parse(&bytes).and_then(|devices| {
        devices.into_iter().try_for_each(|device| {
            let verified = device.evidence.verify(&device.chain, &NvidiaRoots, &no_responses(), now)?;
            verified.check_sent_as(device.architecture)?;
            ids.push(verified.claims().device_id.clone());
            let nonce = device.nonce.map_or(Allowed::any("the format has no nonce"), Allowed::only);
            verified.appraise(&Expected { nonce, ..unreferenced(&Value::Null) }).map(|_| ())
        })
    });
    let (count, distinct) = (ids.len(), ids.into_iter().collect::<std::collections::BTreeSet<_>>().len());
    let detail = (result.is_ok() && (count == 0 || count != distinct)).then(|| "not one or more devices".to_owned());
    tell(run, JSON, name, expected, result, detail);
}

/// Other programs' reading of the same evidence.
fn parsed_reference(folder: &Path, manifest: &Value, case: &Value, run: &mut Run<'_>) {
    let name = text(case, "file");
    let reference =
        read(folder, name).and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
    let reference: Value = match reference {
        Ok(reference) => reference,
        Err(error) => return run.error(PARSED, name, error),
    };
    let detail = if reference.get("MeasurementRecord").is_some() {
        rebuilt(&reference).map_or_else(Some, |bytes| match Evidence::parse(&bytes) {
            Ok(evidence) => spdm_difference(&reference, &evidence),
            Err(error) => Some(error.to_string()),
        })
    } else {
        // Trustee's claims do not say of which evidence they are: the measurements do.
        let found = list(manifest, "evidence").find(|one| one["measurements"] == reference["measurements"]);
        match found.map(|found| read_pair(folder, found).map(|(bytes, _)| Evidence::parse(&bytes))) {
            None => Some("no evidence has these measurements".to_owned()),
            Some(Err(error)) => Some(error),
            Some(Ok(Err(error))) => Some(error.to_string()),
            Some(Ok(Ok(evidence))) => config_difference(&reference["config"], &evidence),
        }
    };
    let (expected, got) = (Verdict::Accept, Verdict::Accept);
    run.tell(&Case { kind: PARSED, name: name.to_owned(), expected, got, code: None, detail });
}

fn verify(bytes: &[u8], chain: &[u8], now: UnixTime) -> Result<VerifiedEvidence, GpuError> {
    Evidence::parse(bytes)?.verify(&DeviceChain::from_pem(chain)?, &NvidiaRoots, &no_responses(), now)
}

/// Everything but the nonce is waived.
fn unreferenced(case: &Value) -> Expected {
    const REASON: &str = "vectors come from many machines";
    let waived = || References::Waived { reason: "no complete set of reference values is public".to_owned() };
    let version = || VersionRule::Any { reason: REASON.to_owned() };
    Expected {
        nonce: text(case, "nonce").parse::<Nonce>().map_or(Allowed::OneOf(Vec::new()), Allowed::only),
        architectures: Allowed::any(REASON),
        devices: Allowed::any(REASON),
        modes: Allowed::any(REASON),
        driver: version(),
        vbios: version(),
        driver_golden: waived(),
        vbios_golden: waived(),
    }
}

fn no_responses() -> RevocationInput {
    RevocationInput::absent("the vectors hold no OCSP responses")
}

fn tell<E: Refusal>(
    run: &mut Run<'_>,
    kind: &'static str,
    name: &str,
    expected: Verdict,
    result: Result<(), E>,
    detail: Option<String>,
) {
    let (got, code) = match result {
        Ok(()) => (Verdict::Accept, None),
        Err(error) => (Verdict::Refuse, Some(error.code().to_string())),
    };
    run.tell(&Case { kind, name: name.to_owned(), expected, got, code, detail });
}

fn read_pair(folder: &Path, case: &Value) -> Result<(Vec<u8>, Vec<u8>), String> {
    Ok((read(folder, text(&case["report"], "file"))?, read(folder, text(&case["certs"], "file"))?))
}

fn read(folder: &Path, file: &str) -> Result<Vec<u8>, String> {
    fs::read(super::locate(folder, "nvgpu", file)).map_err(|error| format!("{file}: {error}"))
}

fn must(case: &Value) -> Verdict {
    if text(case, "must").starts_with("accept") { Verdict::Accept } else { Verdict::Refuse }
}

fn list<'a>(value: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[member].as_array().into_iter().flatten()
}

fn text<'a>(case: &'a Value, member: &str) -> &'a str {
    case[member].as_str().unwrap_or("")
}

/// Seconds since 1970 of an RFC 3339 time in UTC.
fn time(text: &str) -> Option<UnixTime> {
    let text = text.replace("+00:00", "Z");
    text.parse::<x509_cert::der::DateTime>().ok().map(|time| UnixTime(time.unix_duration().as_secs()))
}
