//! One file per verb.

mod aci;
mod audit;
mod broker;
mod broker_master;
mod build;
mod data;
mod doctor;
mod down;
mod evidence;
mod explain;
mod generated;
mod inspect;
mod launch;
mod measure;
mod measure_diff;
mod measure_layers;
mod measure_sgx;
mod policy;
mod reference;
mod reference_files;
mod revoke;
mod secret;
mod up;
mod up_proof;
mod upkeep;

use crate::args::{BrokerCommand, Command, DataCommand, EvidenceCommand, MeasureCommand};
use crate::{Context, Result};

/// Runs one command.
pub(crate) fn run(command: Command, context: &Context) -> Result {
    match command {
        Command::Up(args) => up::run(&args, context),
        Command::Down(args) => down::run(&args, context),
        Command::Build(args) => build::run(&args, context),
        Command::Inspect(args) => inspect::run(&args, context),
        Command::Launch(args) => launch::run(&args, context),
        Command::Measure(MeasureCommand::Snp(args)) => measure::snp(&args, context),
        Command::Measure(MeasureCommand::Tdx(args)) => measure_sgx::tdx(&args, context),
        Command::Measure(MeasureCommand::Sgx(args)) => measure_sgx::sgx(&args, context),
        Command::Measure(MeasureCommand::Diff(args)) => measure_diff::diff(&args, context),
        Command::Measure(MeasureCommand::Layers(args)) => measure_layers::run(&args, context),
        Command::Evidence(EvidenceCommand::Get(args)) => evidence::get(&args, context),
        Command::Evidence(EvidenceCommand::Verify(args)) => evidence::verify::run(&args, context),
        Command::Evidence(EvidenceCommand::FetchCollateral(args)) => evidence::fetch::run(&args, context),
        Command::Evidence(EvidenceCommand::Show(args)) => evidence::show(&args, context),
        Command::Explain(args) => explain::run(&args, context),
        Command::Aci(command) => aci::run(&command, context),
        Command::Broker(BrokerCommand::Init(args)) => broker::init(&args, context),
        Command::Broker(BrokerCommand::Serve(args)) => broker::serve(&args, context),
        Command::Broker(BrokerCommand::Status(args)) => broker::status(&args, context),
        Command::Broker(BrokerCommand::Backup(args)) => upkeep::backup(&args, context),
        Command::Broker(BrokerCommand::Restore(args)) => upkeep::restore(&args, context),
        Command::Broker(BrokerCommand::RotateMaster(args)) => upkeep::rotate_master(&args, context),
        Command::Broker(BrokerCommand::RotateTokenKey(args)) => upkeep::rotate_token_key(&args, context),
        Command::Broker(BrokerCommand::RenewLeaf(args)) => upkeep::renew_leaf(&args, context),
        Command::Broker(BrokerCommand::Import(args)) => upkeep::import(&args, context),
        Command::Secret(command) => secret::run(&command, context),
        Command::Reference(command) => reference::run(&command, context),
        Command::Policy(command) => policy::run(&command, context),
        Command::Revoke(command) => revoke::run(&command, context),
        Command::Audit(command) => audit::run(&command, context),
        Command::Data(DataCommand::Add(args)) => data::add(&args, context),
        Command::Doctor(args) => doctor::run(&args, context),
        Command::Completions(args) => generated::completions(&args),
        Command::Man(args) => generated::man(&args, context),
    }
}

/// A table of the objects under `list[member]`: a column per name, missing members left empty.
fn table(list: &serde_json::Value, member: &str, columns: &[&str]) -> String {
    let cell = |row: &serde_json::Value, column: &str| match row.get(column) {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Array(values)) => values
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(", "),
        Some(other) => other.to_string(),
    };
    let rows: Vec<Vec<String>> = list
        .get(member)
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten()
        .map(|row| columns.iter().map(|column| cell(row, column)).collect())
        .collect();
    if rows.is_empty() {
        return "none".to_owned();
    }
    let head: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(&rows).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|index| all.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    all.iter()
        .map(|row| {
            let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            line.join("  ").trim_end().to_owned()
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// A list with its times for people, for [`table`].
fn timed(list: &serde_json::Value, member: &str) -> serde_json::Value {
    let mut list = list.clone();
    for row in list.get_mut(member).and_then(serde_json::Value::as_array_mut).into_iter().flatten() {
        for name in ["added", "lifted", "expires", "revoked"] {
            if let Some(time) = row.get_mut(name)
                && let Some(text) = time.as_i64().and_then(audit::readable)
            {
                *time = text.into();
            }
        }
    }
    list
}
