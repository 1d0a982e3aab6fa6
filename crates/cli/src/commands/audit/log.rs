//! Where a command finds an audit log: in the broker's folder on this machine, or at a broker elsewhere.

use crate::args::BrokerLocation;
use crate::broker_api::{self, BrokerApi};
use crate::outcome::{Failure, Result};
use broker::ledger::Verdict;
use broker::{LogError, StoredLog};
use claims::Digest256;
use serde_json::Value;

/// Entries that a broker gives in one answer.
const PAGE: u64 = 500;

/// A broker's log.
pub(super) enum Log {
    /// The store of the broker's folder; the broker need not run.
    Folder(StoredLog),
    /// A running broker.
    Broker(BrokerApi),
}

impl Log {
    /// The store in the broker's folder, unless an address asks for a broker elsewhere or there is none.
    pub(super) fn open(location: &BrokerLocation) -> Result<Self> {
        let folder = broker_api::folder(location)?;
        if location.url.is_some() || !StoredLog::is_in(&folder) {
            return BrokerApi::open(location).map(Self::Broker);
        }
        let pinned = broker_api::identity(&folder)?;
        let opened = StoredLog::open(&folder, pinned);
        opened.map(Self::Folder).map_err(|error| unreadable(error).hint("name the broker's address with --url"))
    }

    /// The newest signed head.
    pub(super) fn head(&self) -> Result<String> {
        match self {
            Self::Folder(log) => log.head().map_err(unreadable),
            Self::Broker(api) => text(&api.get("/confide/v0/audit/head")?, "head"),
        }
    }

    /// The receipt of a decision.
    pub(super) fn receipt(&self, decision: &str) -> Result<Value> {
        match self {
            Self::Folder(log) => {
                let receipt = log.receipt(decision).map_err(unreadable)?;
                let receipt = receipt.ok_or_else(|| {
                    Failure::refused(format!("there is no decision {decision}"))
                        .hint("list the decisions: confide audit show")
                })?;
                serde_json::to_value(&receipt)
                    .map_err(|error| Failure::environment("the receipt cannot be written").because(error))
            }
            Self::Broker(api) => api.get(&format!("/confide/v0/audit/receipts/{decision}")),
        }
    }

    /// The lines of an export.
    pub(super) fn export(&self, mut line: impl FnMut(&str) -> Result<()>) -> Result<()> {
        match self {
            Self::Folder(log) => {
                log.export(|text| line(text).map_err(Stopped::Writing)).map_err(|stopped| match stopped {
                    Stopped::Writing(failure) => failure,
                    Stopped::Reading(error) => unreadable(error),
                })
            }
            Self::Broker(api) => from_broker(api, line),
        }
    }

    /// Walks the log. Where a broker answers, its entries are checked here: its own opinion of them is not asked for.
    pub(super) fn verify(&self, pinned: Digest256, kept: &[String]) -> Result<Verdict> {
        match self {
            Self::Folder(log) => log.verify(kept).map_err(unreadable),
            Self::Broker(api) => {
                let mut file = Vec::new();
                from_broker(api, |text| {
                    file.extend_from_slice(text.as_bytes());
                    file.push(b'\n');
                    Ok(())
                })?;
                broker::ledger::verify_export(file.as_slice(), pinned, kept)
                    .map_err(|error| Failure::refused("the broker's log cannot be believed").because(error))
            }
        }
    }
}

enum Stopped {
    Writing(Failure),
    Reading(LogError),
}

impl From<LogError> for Stopped {
    fn from(error: LogError) -> Self {
        Self::Reading(error)
    }
}

/// The head first: entries that come meanwhile are left out.
fn from_broker(api: &BrokerApi, mut line: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let answer = api.get("/confide/v0/audit/head")?;
    let head = text(&answer, "head")?;
    let size = head.lines().nth(1).and_then(|size| size.parse::<u64>().ok());
    let size = size.ok_or_else(|| Failure::environment("the broker's head has no size"))?;
    let chain = answer.get("certificates").and_then(Value::as_array).into_iter().flatten();
    let chain: Vec<&str> = chain.filter_map(Value::as_str).collect();
    line(
        &broker::ledger::export_header(&head, &chain)
            .map_err(|error| Failure::environment("the log cannot be written").because(error))?,
    )?;
    let mut next = 1;
    while next <= size {
        let limit = PAGE.min(size - next + 1);
        let page = api.get(&format!("/confide/v0/audit?from={next}&limit={limit}"))?;
        let rows = page.get("entries").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if rows.is_empty() {
            break;
        }
        for row in rows {
            line(&text(row, "body")?)?;
            next += 1;
        }
    }
    Ok(())
}

fn text(answer: &Value, member: &str) -> Result<String> {
    let text = answer.get(member).and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| Failure::environment(format!("the broker's answer has no `{member}`")))
}

fn unreadable(error: LogError) -> Failure {
    let what = "the audit log in the broker's folder cannot be used";
    match &error {
        LogError::Ledger(_) => Failure::refused(what),
        _ => Failure::environment(what),
    }
    .because(error)
}
