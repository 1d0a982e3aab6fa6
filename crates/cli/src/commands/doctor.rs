//! `confide doctor`: what this machine can and can't do, each finding with its fix.
//!
//! Behind every check stands a way in which people got stuck: a VM that does not boot, an attestation that fails, a
//! connection that is not let through.

mod bundle;
mod host;

use crate::Context;
use crate::args::DoctorArgs;
use crate::outcome::{Outcome, Result};
use serde_json::{Value, json};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// As it should be.
    Ok,
    /// Works, but worth knowing.
    Note,
    /// Something that was asked for cannot work.
    Missing,
}

/// One finding.
#[derive(Debug)]
struct Finding {
    area: &'static str,
    name: &'static str,
    state: State,
    found: String,
    fix: Option<String>,
}

impl Finding {
    fn ok(area: &'static str, name: &'static str, found: impl Into<String>) -> Self {
        Self { area, name, state: State::Ok, found: found.into(), fix: None }
    }

    fn note(area: &'static str, name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { area, name, state: State::Note, found: found.into(), fix: Some(fix.into()) }
    }

    fn missing(area: &'static str, name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { area, name, state: State::Missing, found: found.into(), fix: Some(fix.into()) }
    }

    fn to_json(&self) -> Value {
        let state = match self.state {
            State::Ok => "ok",
            State::Note => "note",
            State::Missing => "missing",
        };
        json!({ "area": self.area, "name": self.name, "state": state, "found": self.found, "fix": self.fix })
    }
}

/// Runs the command.
pub(super) fn run(args: &DoctorArgs, context: &Context) -> Result {
    let emulated = context.development.is_some();
    let mut findings = host::hardware(emulated);
    findings.extend(host::tools(emulated));
    findings.extend(host::parts());
    findings.extend(host::guest());
    if let Some(folder) = &args.bundle {
        findings.extend(bundle::check(folder));
    }
    if let Some(url) = &args.broker {
        findings.push(bundle::reach("broker", url));
    }
    let missing = findings.iter().filter(|finding| finding.state == State::Missing).count();
    let list: Vec<Value> = findings.iter().map(Finding::to_json).collect();
    context.printer.data(&json!({ "findings": list, "missing": missing }), || page(&findings, missing));
    Ok(if missing == 0 { Outcome::Done } else { Outcome::Refused })
}

fn page(findings: &[Finding], missing: usize) -> String {
    let mut lines = Vec::new();
    let mut area = "";
    for finding in findings {
        if finding.area != area {
            area = finding.area;
            lines.push(format!("{area}:"));
        }
        let mark = match finding.state {
            State::Ok => "ok     ",
            State::Note => "note   ",
            State::Missing => "MISSING",
        };
        lines.push(format!("  {mark} {:<16} {}", finding.name, finding.found));
        if let Some(fix) = &finding.fix {
            lines.push(format!("          {:<16} fix: {fix}", ""));
        }
    }
    lines.push(match missing {
        0 => "nothing is missing".to_owned(),
        1 => "1 thing is missing".to_owned(),
        _ => format!("{missing} things are missing"),
    });
    lines.join("\n")
}
