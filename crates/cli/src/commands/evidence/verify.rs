//! `confide evidence verify`: one question, one answer, and why.

use crate::appraise::{self, Question, Refused, Wanted};
use crate::args::{EvidenceKind as Kind, EvidenceVerifyArgs};
use crate::collateral::Pieces;
use crate::outcome::{self, Failure, Outcome, Result};
use crate::{Context, collateral};
use attest::floors::Floors;
use serde_json::{Value, json};
use std::path::Path;

/// Runs the command.
pub(crate) fn run(args: &EvidenceVerifyArgs, context: &Context) -> Result {
    let at = match &args.at {
        Some(text) => super::at(text)?,
        None => crate::now(),
    };
    let bytes = super::read(&args.file)?;
    let kind = match kind(args.kind, &bytes, &args.file) {
        Ok(kind) => kind,
        // An answer like any other: it is no evidence, so it is not verified.
        Err(failure) if context.printer.json() => {
            let mut answer = failure.to_json();
            merge(&mut answer, &json!({ "verified": false, "type": null, "claims": {} }));
            context.printer.data(&answer, String::new);
            return Ok(Outcome::Refused);
        }
        Err(failure) => return Err(failure),
    };
    unused(kind, args)?;
    let wanted = Wanted::read(args.reference.as_deref(), args.accept_any.as_deref())?;
    let mut pieces = Pieces::read(&args.collateral, args.bundle_key.as_deref())?;
    if args.collateral.is_empty() {
        let store = collateral::store::Store::open(args.store.as_deref())?;
        collateral::sources::stored(kind, &bytes, &store, at).into_iter().for_each(|piece| pieces.push(piece));
    }
    let floors = args.floors.as_deref().map(floors).transpose()?;
    if let Some(warning) = floors.as_ref().and_then(|floors| appraise::stale_floors(floors, at)) {
        context.printer.warn(warning);
    }
    let question = Question {
        bytes: &bytes,
        file: &args.file,
        pieces: &pieces,
        at,
        wanted,
        report_data: args.report_data.as_deref().map(super::report_data).transpose()?,
        nonce: args.nonce.as_deref().map(nonce).transpose()?,
        enrolled: args.enrolled_key.clone(),
        require_crl: args.require_crl,
        allow_debug: args.allow_debug.clone(),
        floors,
    };
    match appraise::verify(kind, &question)? {
        Ok(accepted) => {
            accepted.warnings.iter().for_each(|warning| context.printer.warn(warning));
            let mut answer = json!({
                "verified": true, "code": null, "type": kind.name(), "claims": accepted.claims,
                "not_compared": accepted.not_compared, "warnings": accepted.warnings, "at": at,
            });
            merge(&mut answer, &accepted.facts);
            context.printer.data(&answer, || {
                let mut page = format!("verified: genuine, and as wanted\n{}", table(&accepted.claims));
                for (name, value) in accepted.facts.as_object().into_iter().flatten() {
                    page.push_str(&format!("\n  {name:<20} {}", text(value)));
                }
                for what in &accepted.not_compared {
                    page.push_str(&format!("\n  not compared         {what}"));
                }
                page
            });
            Ok(Outcome::Done)
        }
        Err(refused) if context.printer.json() => {
            context.printer.data(&refusal(&refused, kind), String::new);
            Ok(Outcome::Refused)
        }
        Err(refused) => Err(refused.failure()),
    }
}

/// The kind that was named, or that the bytes show.
pub(super) fn kind(named: Option<Kind>, bytes: &[u8], path: &Path) -> Result<Kind> {
    named.or_else(|| appraise::detect(bytes)).ok_or_else(|| {
        Failure::refused(format!("{} is no evidence of a kind that can be told by its bytes", path.display()))
            .code(claims::Code::EvidenceKind)
            .hint("name the kind with --type")
    })
}

/// Refuses an option that this kind of evidence has no place for: what was asked for and not compared would pass for
/// compared.
fn unused(kind: Kind, args: &EvidenceVerifyArgs) -> Result<()> {
    let snp_or_intel = matches!(kind, Kind::Snp | Kind::Sgx | Kind::Tdx | Kind::RaTls);
    let asked = [
        (args.report_data.is_some(), "--report-data", has_report_data(kind)),
        (args.nonce.is_some(), "--nonce", !matches!(kind, Kind::Snp | Kind::Sgx | Kind::Tdx | Kind::Aci)),
        (!args.enrolled_key.is_empty(), "--enrolled-key", kind == Kind::Tpm),
        (args.allow_debug.is_some(), "--allow-debug", snp_or_intel),
        (args.floors.is_some(), "--floors", snp_or_intel || kind == Kind::AzTdxVtpm),
    ];
    match asked.iter().find(|(given, _, has)| *given && !has) {
        Some((_, option, _)) => {
            Err(Failure::usage(format!("{option} says nothing about evidence of kind {}", kind.name()))
                .hint("leave it out; `confide evidence verify --help` says what each option is for"))
        }
        None => Ok(()),
    }
}

/// Whether 64 bytes of report data are compared for this kind. An RA-TLS certificate says by itself which they are.
fn has_report_data(kind: Kind) -> bool {
    matches!(kind, Kind::Snp | Kind::Sgx | Kind::Tdx | Kind::Aci | Kind::Maa | Kind::RaTls)
}

fn nonce(text: &str) -> Result<Vec<u8>> {
    hex::decode(text).map_err(|error| Failure::usage("--nonce is not hex").because(error).code(claims::Code::Format))
}

/// `shipped`, or a file.
fn floors(text: &str) -> Result<Floors> {
    let table = match text {
        "shipped" => Floors::shipped(),
        path => Floors::parse(&outcome::read(Path::new(path))?),
    };
    table.map_err(|error| Failure::usage(format!("--floors {text} cannot be used")).because(error))
}

fn refusal(refused: &Refused, kind: Kind) -> Value {
    let mut answer = refused.failure().to_json();
    let finding = refused.finding.as_ref();
    merge(
        &mut answer,
        &json!({
            "verified": false,
            "type": kind.name(),
            "reason": refused.reason,
            "claim": finding.map(|finding| &finding.claim),
            "got": finding.map(|finding| &finding.got),
            "wanted": finding.map(|finding| &finding.wanted),
            "wanted_from": refused.wanted_from,
            "next": refused.next,
            "claims": if refused.claims.is_null() { json!({}) } else { refused.claims.clone() },
        }),
    );
    answer
}

fn merge(answer: &mut Value, more: &Value) {
    if let (Some(members), Some(more)) = (answer.as_object_mut(), more.as_object()) {
        members.extend(more.clone());
    }
}

/// The claims by name, as a list for people.
pub(super) fn table(claims: &Value) -> String {
    let lines = claims.as_object().into_iter().flatten().map(|(name, value)| format!("  {name:<20} {}", text(value)));
    lines.collect::<Vec<_>>().join("\n")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
