//! `confide evidence`: get it, look at it, verify it.

pub(super) mod fetch;
pub(super) mod verify;

use crate::Context;
use crate::appraise;
use crate::args::{EvidenceGetArgs, EvidenceShowArgs};
use crate::outcome::{self, Failure, Outcome, Result};
use attest::snp::kbs;
use claims::{Code, HostData, LaunchDigest, ReportData, UnixTime};
use serde_json::json;
use std::io::Read;
use std::path::Path;

/// `confide evidence get`.
pub(super) fn get(args: &EvidenceGetArgs, context: &Context) -> Result {
    let report_data = report_data(&args.report_data)?;
    if let Some(development) = &context.development {
        let measurement = parsed(args.measurement.as_deref(), "--measurement")?.unwrap_or(LaunchDigest([0x11; 48]));
        let host_data = parsed(args.host_data.as_deref(), "--host-data")?.unwrap_or(HostData([0x22; 32]));
        let evidence = development.evidence(&args.workspace, report_data, measurement, host_data)?;
        let answer = json!({
            "tee": "snp", "emulated": true, "primary_evidence": evidence.primary_evidence,
            "report": hex::encode(&evidence.report), "claims": evidence.claims,
            "launch_measurement": measurement, "host_data": host_data,
        });
        context.printer.warn("EMULATED evidence: it proves nothing");
        context.printer.data(&answer, || hex::encode(&evidence.report));
        return Ok(Outcome::Done);
    }
    if args.host_data.is_some() || args.measurement.is_some() {
        return Err(Failure::usage("a real processor decides measurement and host data itself")
            .hint("leave --host-data and --measurement away"));
    }
    let failed = |error: guest::evidence::EvidenceError| {
        Failure::environment("this machine gives no evidence")
            .code(error.code())
            .because(error)
            .hint("`confide doctor` says what is missing")
    };
    let evidence = guest::evidence::detect().and_then(|attester| attester.report(&report_data)).map_err(failed)?;
    let report = evidence.report();
    let answer = json!({
        "tee": "snp", "emulated": false, "primary_evidence": kbs::to_json(report, evidence.certificates()),
        "report": hex::encode(report.as_bytes()),
    });
    context.printer.data(&answer, || hex::encode(report.as_bytes()));
    Ok(Outcome::Done)
}

/// `confide evidence show`.
pub(super) fn show(args: &EvidenceShowArgs, context: &Context) -> Result {
    let bytes = read(&args.file)?;
    let kind = verify::kind(args.kind, &bytes, &args.file)?;
    let claims = appraise::claimed(kind, &bytes).map_err(|refused| refused.failure())?;
    context.printer.warn("these claims are not verified");
    let answer = json!({ "verified": false, "type": kind.name(), "claims": claims });
    context.printer.data(&answer, || verify::table(&claims));
    Ok(Outcome::Done)
}

/// The evidence: a file, or stdin where its name is `-`.
fn read(path: &Path) -> Result<Vec<u8>> {
    if path != Path::new("-") {
        return outcome::read(path);
    }
    let mut bytes = Vec::new();
    let limit = MAX_STDIN.saturating_add(1);
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::environment("cannot read stdin").because(error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length == limit) {
        return Err(Failure::usage(format!("stdin holds more than {} MiB", MAX_STDIN >> 20))
            .hint("no evidence is so long; name a file to have it looked at"));
    }
    Ok(bytes)
}

/// Most that is read of stdin.
const MAX_STDIN: u64 = 16 << 20;

/// Report data from hex; what is missing to 64 bytes is zero.
fn report_data(text: &str) -> Result<ReportData> {
    let wrong = || Failure::usage("report data is up to 64 bytes of hex").code(Code::Format);
    let bytes = hex::decode(text).map_err(|_| wrong())?;
    let mut data = [0; 64];
    data.get_mut(..bytes.len()).ok_or_else(wrong)?.copy_from_slice(&bytes);
    Ok(ReportData(data))
}

fn parsed<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    text: Option<&str>,
    option: &str,
) -> Result<Option<T>> {
    text.map(str::parse).transpose().map_err(|error| Failure::usage(format!("{option} cannot be used")).because(error))
}

/// RFC 3339 as seconds since 1970.
fn at(text: &str) -> Result<UnixTime> {
    let time = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).map_err(|error| {
        Failure::usage(format!("--at {text} is not a time like 2026-11-22T12:00:00Z")).because(error)
    })?;
    u64::try_from(time.unix_timestamp()).map(UnixTime).map_err(|_| Failure::usage("--at lies before 1970"))
}
