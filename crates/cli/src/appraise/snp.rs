//! SEV-SNP reports.

use super::{Accepted, Question, Refused, Verdict, Wanted, waived};
use crate::outcome::{Failure, Result};
use attest::floors::Floors;
use attest::snp::{
    BelievedVersions, CertificateTable, CrlPolicy, Debugging, Endorsements, Expected, Fields, Migration, PlatformRules,
    REPORT_LENGTH, Report, SnpError, TcbFloor, kbs,
};
use claims::reference::{Chips, Reference};
use claims::snp::SnpClaims;
use claims::{Allowed, Code, UnixTime};
use serde_json::{Value, json};

/// Whether it is a report, or a KBS object with one.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    bytes.len() == REPORT_LENGTH && matches!(bytes, [1..=9, 0, 0, 0, ..])
        || serde_json::from_slice::<Value>(bytes).is_ok_and(|value| inner(&value).get("attestation_report").is_some())
}

/// Reads a raw report, or the KBS JSON form, with whatever certificates came along.
pub(crate) fn read(bytes: &[u8]) -> std::result::Result<(Report, CertificateTable), Box<Refused>> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{') && bytes.len() != REPORT_LENGTH {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| Box::new(Refused::malformed(Code::SnpFormat, format!("not JSON: {error}"))))?;
        return kbs::from_json(inner(&value)).map_err(|error| Box::new(Refused::of(&error)));
    }
    let report = Report::parse(bytes).map_err(|error| Box::new(Refused::of(&error)))?;
    Ok((report, CertificateTable::of(Vec::new())))
}

/// Verifies and appraises.
pub(super) fn verify(question: &Question<'_>) -> Result<Verdict> {
    let collateral = question.pieces.snp()?;
    let (report, certificates) = match read(question.bytes) {
        Ok(parts) => parts,
        Err(refused) => return Ok(Err(refused)),
    };
    let crl = match question.require_crl {
        true => CrlPolicy::Required,
        false => CrlPolicy::AbsentOk { reason: "no --require-crl was given".to_owned() },
    };
    let expected = expected(question)?;
    let with = Endorsements::choose(&report, &certificates, &collateral);
    let refused = |error: SnpError, genuine| Box::new(Refused { genuine, ..refusal(&error, question, &report) });
    let verdict = report
        .verify(&with, &crl, question.at)
        .map_err(|error| refused(error, false))
        .and_then(|verified| verified.appraise(&expected).map_err(|error| refused(error, true)))
        .map(|appraised| Accepted {
            claims: serde_json::to_value::<&SnpClaims>(appraised.claims()).unwrap_or_default(),
            not_compared: waived(appraised.waivers()),
            facts: json!({ "revocation": appraised.crl() }),
            warnings: below_floors(appraised.claims(), question.at),
        });
    Ok(verdict)
}

/// Unverified claims.
pub(crate) fn fields(fields: &Fields) -> Value {
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

fn inner(value: &Value) -> &Value {
    value.get("primary_evidence").unwrap_or(value)
}

/// What to compare with, and nothing is left out silently.
fn expected(question: &Question<'_>) -> Result<Expected> {
    let report_data = match question.report_data {
        Some(data) => Allowed::only(data),
        None => Allowed::any("no --report-data was given"),
    };
    let mut expected = match &question.wanted {
        Wanted::Reference { path, bytes } => {
            let reference = Reference::parse(bytes).map_err(|error| {
                Failure::usage(format!("{} is not a reference file", path.display())).because(error)
            })?;
            by_reference(&reference, report_data)
        }
        Wanted::Any { reason } => any(reason, report_data),
    };
    if let Some(reason) = &question.allow_debug {
        expected.debugging = Debugging::Allowed { reason: reason.clone() };
    }
    if let Some(floors) = &question.floors {
        expected.tcb_floor = floors.snp_floor();
    }
    Ok(expected)
}

/// Nothing is compared but what always holds: no debugging, no migration.
pub(super) fn any(reason: &str, report_data: Allowed<claims::ReportData>) -> Expected {
    let floor = TcbFloor::None { reason: reason.to_owned() };
    let strict =
        Expected::strict(report_data.clone(), Allowed::any(reason), Allowed::any(reason), floor, Allowed::any(reason));
    let versions = BelievedVersions::AlsoVersion2 { reason: reason.to_owned() };
    Expected { vmpl: Allowed::any(reason), versions, ..loose(report_data, strict) }
}

fn by_reference(reference: &Reference, report_data: Allowed<claims::ReportData>) -> Expected {
    let digests = reference.launch_measurements.iter().map(|entry| entry.launch_measurement).collect();
    let floor = match reference.tcb_floor {
        Some(floor) => TcbFloor::AtLeast(floor),
        None => TcbFloor::None { reason: "the reference file names no floor".to_owned() },
    };
    let chips = match &reference.chips {
        Chips::List(chips) => Allowed::OneOf(chips.clone()),
        Chips::Any => Allowed::any("the reference file admits any chip"),
        Chips::FirstUse => Allowed::any("first use is remembered by a broker only"),
    };
    let host_data = Allowed::only(reference.host_data);
    loose(report_data.clone(), Expected::strict(report_data, Allowed::OneOf(digests), host_data, floor, chips))
}

/// Platform bits and ID blocks are for a broker's rules to ask for.
fn loose(report_data: Allowed<claims::ReportData>, strict: Expected) -> Expected {
    let providers = Allowed::any("no rule about cloud providers");
    let (debugging, migration) = (Debugging::Forbidden, Migration::Forbidden);
    Expected { report_data, providers, debugging, migration, platform: PlatformRules::NONE, ..strict }
}

/// Says which check refused, where the wanted value came from, and what to run next.
fn refusal(error: &SnpError, question: &Question<'_>, report: &Report) -> Refused {
    let refused = Refused { claims: fields(report.claimed()), ..Refused::of(error) };
    let reference = question.wanted.source();
    let from = |refused: Refused, what: &str| Refused {
        wanted_from: reference.as_ref().map(|path| format!("{path}{what}")),
        ..refused
    };
    match error.code() {
        Code::Measurement => from(refused, ", launch_measurements").next(format!(
            "see which component differs: confide measure diff BUNDLE --reported {}",
            report.claimed().measurement
        )),
        Code::HostData => from(refused, ", host_data: the SHA-256 of the bundle's site.json"),
        Code::SnpTcbFloor if question.floors.is_some() => {
            Refused { wanted_from: Some("the table of floors (--floors)".to_owned()), ..refused }
        }
        Code::SnpTcbFloor => from(refused, ", tcb_floor"),
        Code::SnpChip => from(refused, ", chips"),
        Code::ReportData => {
            let wanted = question.report_data.map(|data| data.to_string()).unwrap_or_default();
            let finding = refused.finding.map(|finding| claims::Finding { wanted, ..finding });
            Refused { wanted_from: Some("--report-data".to_owned()), finding, ..refused }
        }
        Code::SnpChain | Code::SnpRoot => refused
            .next("give root, intermediate and leaf with --collateral")
            .next(format!("or fetch them: confide evidence fetch-collateral {}", question.file.display())),
        Code::SnpCrl => {
            refused.next(format!("fetch a current list: confide evidence fetch-collateral {}", question.file.display()))
        }
        Code::SnpExpired => refused.next("to appraise old evidence, give its time with --at"),
        _ => refused,
    }
}

/// What the shipped table would have refused.
fn below_floors(claims: &SnpClaims, at: UnixTime) -> Vec<String> {
    let Ok(floors) = Floors::shipped() else { return Vec::new() };
    let row = floors.snp.iter().find(|row| row.product == claims.product && Some(row.cpuid) == claims.cpuid);
    let below = row.filter(|row| {
        let tcb = &claims.reported_tcb;
        tcb.snp < row.snp || tcb.microcode < row.microcode
    });
    let Some(row) = below else { return Vec::new() };
    let mut warnings = vec![format!(
        "the reported TCB ({}) is below what {} asks for (snp {}, microcode {}); --floors makes this a refusal",
        claims.reported_tcb, row.bulletin, row.snp, row.microcode
    )];
    warnings.extend(stale(&floors, at));
    warnings
}

/// Says that a table of floors is old.
pub(crate) fn stale(floors: &Floors, at: UnixTime) -> Option<String> {
    floors.stale(at).map(|days| {
        format!("the table of floors is of {}, {days} days old: look for newer bulletins, and give a newer table with --floors FILE", floors.as_of)
    })
}
