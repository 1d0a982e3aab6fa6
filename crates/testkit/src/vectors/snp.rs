//! SNP reports: positives at their time, negatives with their reason, forged roots as test roots where the manifest
//! says so.

use super::{Case, Run, Verdict};
use attest::snp::{CrlPolicy, Endorsements, Expected, Report, SnpError, TcbFloor, UnanchoredRoot, encode_tcb};
use claims::bytes::Digest384;
use claims::snp::{Product, SnpClaims};
use claims::{Allowed, UnixTime};
use serde_json::Value;
use std::fs;
use std::path::Path;
use x509_cert::der::{Decode, Encode};

const KIND: &str = "snp";

pub(super) fn run(folder: &Path, manifest: &Value, now: UnixTime, run: &mut Run<'_>) {
    for case in list(manifest, "reports") {
        positive(folder, case, now, run);
    }
    for case in list(manifest, "negatives") {
        negative(folder, manifest, case, now, run);
    }
    for case in list(manifest, "emulated") {
        emulated(folder, case, now, run);
    }
}

fn positive(folder: &Path, case: &Value, now: UnixTime, run: &mut Run<'_>) {
    let name = text(case, "name");
    let input = match Input::read(folder, case) {
        Ok(input) => input,
        Err(error) => return run.error(KIND, name, error),
    };
    let at = time(case).unwrap_or(now);
    let result = Report::parse(&input.report).and_then(|report| report.verify(&input.with, &no_list(), at));
    let detail = result.as_ref().ok().and_then(|verified| difference(&case["fields"], verified.claims()));
    tell(run, KIND, name, Verdict::Accept, result.map(|_| ()), detail);
}

fn negative(folder: &Path, manifest: &Value, case: &Value, now: UnixTime, run: &mut Run<'_>) {
    let name = text(case, "name");
    let input = match Input::read(folder, case) {
        Ok(input) => input,
        Err(error) => return run.error(KIND, name, error),
    };
    let base = list(manifest, "reports").find(|base| base["name"] == case["base"]);
    let at = time(case).or_else(|| base.and_then(time)).unwrap_or(now);
    let must = text(case, "must");
    let production = |at| -> Result<(), SnpError> {
        let verified = Report::parse(&input.report)?.verify(&input.with, &no_list(), at)?;
        verified.appraise(&strict()).map(|_| ())
    };
    if must.contains("accept at manifest time") {
        tell(run, KIND, &format!("{name} (at its time)"), Verdict::Accept, authentic(&input, at), None);
        return tell(run, KIND, name, Verdict::Refuse, production(now), None);
    }
    let expected = if must.starts_with("accept") { Verdict::Accept } else { Verdict::Refuse };
    // A case that says so is about a rule behind the pin: the pin must refuse it, and the rule alone must, too.
    if text(case, "note").contains("(test) root") {
        tell(run, KIND, &format!("{name} (production)"), Verdict::Refuse, production(at), None);
        let result = input.test_root().map(|root| {
            let checked = Report::parse(&input.report)?.check_unanchored(&input.with, &root, &no_list(), at)?;
            strict().admit(checked.claims()).map(|_| ())
        });
        return match result {
            Some(result) => tell(run, KIND, name, expected, result, None),
            None => run.error(KIND, name, "the test root is not readable".to_owned()),
        };
    }
    tell(run, KIND, name, expected, production(at), None);
}

fn emulated(folder: &Path, case: &Value, now: UnixTime, run: &mut Run<'_>) {
    const KIND: &str = "snp-emulated";
    let name = text(case, "report");
    let input = match Input::read(folder, case) {
        Ok(input) => input,
        Err(error) => return run.error(KIND, name, error),
    };
    tell(run, KIND, &format!("{name} (production)"), Verdict::Refuse, authentic(&input, now), None);
    let Some(root) = input.test_root() else {
        return run.error(KIND, name, "the test root is not readable".to_owned());
    };
    let result =
        Report::parse(&input.report).and_then(|report| report.check_unanchored(&input.with, &root, &no_list(), now));
    tell(run, KIND, &format!("{name} (test root configured)"), Verdict::Accept, result.map(|_| ()), None);
}

/// What a case names, read.
struct Input {
    report: Vec<u8>,
    with: Endorsements,
}

impl Input {
    fn read(folder: &Path, case: &Value) -> Result<Self, String> {
        let file = |member: &str| {
            let name = case[member].as_str().or(case[member]["file"].as_str());
            let name = name.ok_or_else(|| format!("the manifest names no `{member}`"))?;
            fs::read(super::locate(folder, "snp", name)).map_err(|error| format!("{name}: {error}"))
        };
        let der = |member: &str| {
            let bytes = file(member)?;
            if bytes.first() == Some(&0x30) {
                return Ok(bytes);
            }
            x509_cert::der::pem::decode_vec(&bytes).map(|(_, der)| der).map_err(|error| format!("{member}: {error}"))
        };
        let with = Endorsements { vek: der("vek")?, intermediate: der("ica")?, root: der("ark")?, crl: None };
        Ok(Self { report: file("report")?, with })
    }

    /// The chain's own root as a test root, with the names that its certificates have.
    fn test_root(&self) -> Option<UnanchoredRoot> {
        let root = x509_cert::Certificate::from_der(&self.with.root).ok()?.tbs_certificate;
        let vek = x509_cert::Certificate::from_der(&self.with.vek).ok()?.tbs_certificate;
        let info = root.subject_public_key_info.to_der().ok()?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, &info);
        let (subject, vek_subject) = (root.subject.to_string(), vek.subject.to_string());
        let part = |name: &str, key: &str| {
            name.split(',').find_map(|part| part.trim().strip_prefix(key).map(str::to_owned)).unwrap_or_default()
        };
        let (prefix, product) = part(&subject, "CN=").split_once("ARK-").map(|(a, b)| (a.to_owned(), b.to_owned()))?;
        let vek_prefix = part(&vek_subject, "CN=").split_once("SEV-V").map(|(prefix, _)| prefix.to_owned())?;
        Some(UnanchoredRoot {
            spki: Digest384::from_slice(digest.as_ref())?,
            product: match product.as_str() {
                "Milan" => Product::Milan,
                "Genoa" => Product::Genoa,
                "Turin" => Product::Turin,
                _ => return None,
            },
            organization: part(&subject, "O="),
            prefix,
            vek_prefix,
            marker: None,
        })
    }
}

fn authentic(input: &Input, at: UnixTime) -> Result<(), SnpError> {
    Report::parse(&input.report)?.verify(&input.with, &no_list(), at).map(|_| ())
}

fn tell(
    run: &mut Run<'_>,
    kind: &'static str,
    name: &str,
    expected: Verdict,
    result: Result<(), SnpError>,
    detail: Option<String>,
) {
    let (got, code) = match result {
        Ok(()) => (Verdict::Accept, None),
        Err(error) => (Verdict::Refuse, Some(error.code().to_string())),
    };
    run.tell(&Case { kind, name: name.to_owned(), expected, got, code, detail });
}

/// The first claim that is not what the manifest says.
fn difference(fields: &Value, claims: &SnpClaims) -> Option<String> {
    let raw = |tcb| hex::encode(encode_tcb(tcb));
    let found = [
        ("/measurement", claims.measurement.to_string()),
        ("/host_data", claims.host_data.to_string()),
        ("/report_data", claims.report_data.to_string()),
        ("/chip_id", claims.chip_id.to_string()),
        ("/report_id", claims.report_id.clone()),
        ("/product", claims.product.to_string()),
        ("/policy", format!("{:#x}", claims.policy.0)),
        ("/platform_info", format!("{:#x}", claims.platform_info.0)),
        ("/reported_tcb/raw", raw(&claims.reported_tcb)),
        ("/committed_tcb/raw", raw(&claims.committed_tcb)),
        ("/current_tcb/raw", raw(&claims.current_tcb)),
        ("/launch_tcb/raw", raw(&claims.launch_tcb)),
    ];
    found.into_iter().find_map(|(pointer, got)| {
        let wanted = fields.pointer(pointer)?.as_str()?;
        (wanted != got).then(|| format!("{pointer} is {got}, the manifest says {wanted}"))
    })
}

pub(super) fn strict() -> Expected {
    Expected::strict(
        Allowed::any("vectors bind nothing"),
        Allowed::any("vectors have no reference values"),
        Allowed::any("vectors have no reference values"),
        TcbFloor::None { reason: "vectors are old".to_owned() },
        Allowed::any("vectors come from many machines"),
    )
}

pub(super) fn no_list() -> CrlPolicy {
    CrlPolicy::AbsentOk { reason: "the vectors hold no revocation lists".to_owned() }
}

pub(super) fn list<'a>(manifest: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    let value = &manifest[member];
    let single = (value.is_object()).then_some(value);
    value.as_array().into_iter().flatten().chain(single)
}

pub(super) fn text<'a>(case: &'a Value, member: &str) -> &'a str {
    case[member].as_str().unwrap_or("")
}

/// Seconds since 1970 of a case's time, RFC 3339 in UTC.
pub(super) fn time(case: &Value) -> Option<UnixTime> {
    let text = case["time"].as_str()?.replace("+00:00", "Z");
    text.parse::<x509_cert::der::DateTime>().ok().map(|time| UnixTime(time.unix_duration().as_secs()))
}
