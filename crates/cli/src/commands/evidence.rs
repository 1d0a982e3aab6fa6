//! `confide evidence`: get it, look at it, verify it.

use crate::args::{EvidenceGetArgs, EvidenceShowArgs, EvidenceVerifyArgs};
use crate::outcome::{self, Failure, Outcome, Result};
use crate::{Context, collateral};
use attest::snp::{
    BelievedVersions, CertificateTable, CrlPolicy, Debugging, Endorsements, Expected, Fields, Migration, PlatformRules,
    REPORT_LENGTH, Report, SnpError, TcbFloor, kbs,
};
use claims::reference::{Chips, Reference};
use claims::snp::SnpClaims;
use claims::{Allowed, Code, HostData, LaunchDigest, ReportData, UnixTime};
use serde_json::{Value, json};
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
    let (report, _) = read(&args.file)?;
    let claims = fields(report.claimed());
    context.printer.warn("these claims are not verified");
    context.printer.data(&json!({ "verified": false, "claims": claims }), || table(&claims));
    Ok(Outcome::Done)
}

/// `confide evidence verify`.
pub(super) fn verify(args: &EvidenceVerifyArgs, context: &Context) -> Result {
    let now = match &args.at {
        Some(text) => at(text)?,
        None => crate::now(),
    };
    let collateral = collateral::read(&args.collateral)?;
    let expected = expected(args)?;
    let crl = if args.require_crl {
        CrlPolicy::Required
    } else {
        CrlPolicy::AbsentOk { reason: "no --require-crl was given".to_owned() }
    };
    let verdict = read(&args.file).and_then(|(report, certificates)| {
        let with = Endorsements::choose(&report, &certificates, &collateral);
        report
            .verify(&with, &crl, now)
            .and_then(|verified| verified.appraise(&expected))
            .map_err(|error| refusal(&error, args, &report))
    });
    match verdict {
        Ok(appraised) => {
            let claims = serde_json::to_value::<&SnpClaims>(appraised.claims()).unwrap_or_default();
            let waived: Vec<String> = appraised.waivers().iter().map(|waiver| format!("{waiver:?}")).collect();
            let answer = json!({
                "verified": true, "code": null, "claims": claims, "not_compared": waived,
                "revocation": format!("{:?}", appraised.crl()), "at": now.0,
            });
            context.printer.data(&answer, || {
                let mut page = format!("verified: genuine, and as wanted\n{}", table(&claims));
                for waiver in &waived {
                    page.push_str(&format!("\n  not compared         {waiver}"));
                }
                page
            });
            Ok(Outcome::Done)
        }
        Err(failure) => {
            let claims = read(&args.file).map(|(report, _)| fields(report.claimed())).unwrap_or(Value::Null);
            let mut answer = failure.to_json();
            if let Some(members) = answer.as_object_mut() {
                members.insert("verified".into(), false.into());
                members.insert("claims".into(), claims);
            }
            if context.printer.json() {
                context.printer.data(&answer, String::new);
                return Ok(Outcome::Refused);
            }
            Err(failure)
        }
    }
}

/// Reads a raw report, or the KBS JSON form, with whatever certificates came along.
fn read(path: &Path) -> Result<(Report, CertificateTable)> {
    let bytes = outcome::read(path)?;
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{') && bytes.len() != REPORT_LENGTH {
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::refused(format!("{} is not JSON", path.display())).because(error).code(Code::SnpFormat)
        })?;
        let inner = value.get("primary_evidence").unwrap_or(&value);
        return kbs::from_json(inner).map_err(|error| {
            Failure::refused(format!("{} is not evidence in the KBS form", path.display()))
                .code(error.code())
                .because(error)
        });
    }
    let report = Report::parse(&bytes).map_err(|error| {
        Failure::refused(format!("{} is not an SNP report", path.display())).code(error.code()).because(error)
    })?;
    Ok((report, CertificateTable::of(Vec::new())))
}

/// What to compare with, and nothing is left out silently.
fn expected(args: &EvidenceVerifyArgs) -> Result<Expected> {
    let unasked = |what: &str| format!("no {what} was given on the command line");
    let report_data = match &args.report_data {
        Some(text) => Allowed::only(report_data(text)?),
        None => Allowed::any(unasked("--report-data")),
    };
    let (measurement, host_data, tcb_floor, chips, vmpl, versions) = match (&args.reference, &args.accept_any) {
        (Some(path), _) => {
            let reference = Reference::parse(&outcome::read(path)?).map_err(|error| {
                Failure::usage(format!("{} is not a reference file", path.display())).because(error)
            })?;
            let digests = reference.launch_measurements.iter().map(|entry| entry.launch_measurement).collect();
            let floor = match reference.tcb_floor {
                Some(floor) => TcbFloor::AtLeast(floor),
                None => TcbFloor::None { reason: "the reference file names no floor".to_owned() },
            };
            let chips = match reference.chips {
                Chips::List(chips) => Allowed::OneOf(chips),
                Chips::Any => Allowed::any("the reference file admits any chip"),
                Chips::FirstUse => Allowed::any("first use is remembered by a broker only"),
            };
            let host_data = Allowed::only(reference.host_data);
            (Allowed::OneOf(digests), host_data, floor, chips, Allowed::only(0), BelievedVersions::WithCpuid)
        }
        (None, Some(reason)) if !reason.trim().is_empty() => (
            Allowed::any(reason),
            Allowed::any(reason),
            TcbFloor::None { reason: reason.clone() },
            Allowed::any(reason),
            Allowed::any(reason),
            BelievedVersions::AlsoVersion2 { reason: reason.clone() },
        ),
        _ => return Err(Failure::usage("say what to compare with: --reference FILE, or --accept-any \"why\"")),
    };
    Ok(Expected {
        report_data,
        measurement,
        host_data,
        vmpl,
        tcb_floor,
        firmware_floor: (0, 0, 0),
        chips,
        providers: Allowed::any("no rule about cloud providers"),
        debugging: Debugging::Forbidden,
        migration: Migration::Forbidden,
        versions,
        platform: PlatformRules::NONE,
        id_key: Allowed::any("no ID block is used"),
        author_key: Allowed::any("no ID block is used"),
        guest_svn_floor: 0,
        mitigations: 0,
    })
}

/// Says which check refused, where the wanted value came from, and what to run next.
fn refusal(error: &SnpError, args: &EvidenceVerifyArgs, report: &Report) -> Failure {
    let failure = Failure::refused("the evidence is refused").code(error.code());
    let cause: Box<dyn std::error::Error + Send + Sync> = error.to_string().into();
    let failure = failure.because(cause);
    match (error.code(), &args.reference) {
        (Code::Measurement, Some(reference)) => {
            failure.hint(format!("the wanted values come from {}", reference.display())).hint(format!(
                "see which component differs: confide measure diff BUNDLE --reported {}",
                report.claimed().measurement
            ))
        }
        (Code::HostData, Some(reference)) => failure.hint(format!(
            "the wanted value comes from {}: the SHA-256 of the bundle's site.json",
            reference.display()
        )),
        (Code::SnpChain | Code::SnpRoot, _) => failure.hint("give root, intermediate and leaf with --collateral"),
        (Code::SnpExpired, _) => failure.hint("to appraise old evidence, give its time with --at"),
        _ => failure,
    }
}

/// The claims by name, as a list for people.
fn table(claims: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let lines = claims.as_object().into_iter().flatten().map(|(name, value)| format!("  {name:<20} {}", text(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Unverified claims.
fn fields(fields: &Fields) -> Value {
    json!({
        "version": fields.version,
        "guest_svn": fields.guest_svn,
        "policy": format!("{:#x}", fields.policy.0),
        "vmpl": fields.vmpl,
        "platform_info": format!("{:#x}", fields.platform_info.0),
        "report_data": fields.report_data,
        "measurement": fields.measurement,
        "host_data": fields.host_data,
        "report_id": hex::encode(fields.report_id),
        "chip_id": fields.chip_id,
    })
}

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
