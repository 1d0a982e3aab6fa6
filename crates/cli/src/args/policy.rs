//! Policies of a broker.

use super::BrokerLocation;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Verbs of `policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Put a policy into force, as a new version, once its own cases hold
    #[command(after_help = "Example:\n  confide policy set hospital --file hospital.rego --for hospital/key")]
    Set(PolicySetArgs),
    /// Print a policy's text
    Get(PolicyGetArgs),
    /// List what is in force
    List(PolicyListArgs),
    /// Take a policy out of force; its versions stay
    Remove(PolicyRemoveArgs),
    /// Show what differs between a policy's version in force and an older version or a file
    Diff(PolicyDiffArgs),
    /// Put an older version into force again
    Rollback(PolicyRollbackArgs),
    /// Say which recorded decisions a policy would flip; changes nothing
    #[command(after_help = "Example:\n  confide policy try hospital.rego --against audit --for hospital/key")]
    Try(PolicyTryArgs),
}

/// Arguments of `policy set`.
#[derive(Debug, Args)]
pub struct PolicySetArgs {
    /// The policy's name; `default_cpu`, `default_gpu` or `default_switch` with --appraisal
    pub name: String,
    /// Rego
    #[arg(long)]
    pub file: PathBuf,
    /// Paths it is for: REPOSITORY, REPOSITORY/TYPE or REPOSITORY/TYPE/TAG; every path otherwise
    #[arg(long = "for", value_name = "PREFIX", default_value = "", conflicts_with = "appraisal")]
    pub prefix: String,
    /// It says what evidence is worth, not who gets what
    #[arg(long)]
    pub appraisal: bool,
    /// Check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `policy get`.
#[derive(Debug, Args)]
pub struct PolicyGetArgs {
    /// The policy's name; `confide/snp` and so on for those that come with the broker
    pub name: String,
    /// An older version
    #[arg(long, value_name = "NUMBER")]
    pub revision: Option<u64>,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `policy list`.
#[derive(Debug, Args)]
pub struct PolicyListArgs {
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `policy remove`.
#[derive(Debug, Args)]
pub struct PolicyRemoveArgs {
    /// The policy's name
    pub name: String,
    /// Check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `policy diff`.
#[derive(Debug, Args)]
pub struct PolicyDiffArgs {
    /// The policy's name
    pub name: String,
    /// An older version: shows what changed since
    #[arg(long, value_name = "NUMBER", required_unless_present = "file")]
    pub revision: Option<u64>,
    /// A file: shows what it would change
    #[arg(long, conflicts_with = "revision")]
    pub file: Option<PathBuf>,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `policy rollback`.
#[derive(Debug, Args)]
pub struct PolicyRollbackArgs {
    /// The policy's name
    pub name: String,
    /// The version; the one before the last otherwise
    #[arg(long, value_name = "NUMBER")]
    pub revision: Option<u64>,
    /// Check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `policy try`.
#[derive(Debug, Args)]
pub struct PolicyTryArgs {
    /// Rego
    pub file: PathBuf,
    /// What to decide on again
    #[arg(long, value_name = "WHAT", default_value = "audit", value_parser = ["audit"])]
    pub against: String,
    /// The policy whose place it takes; it is added to all others otherwise
    #[arg(long, value_name = "NAME", default_value = "proposed")]
    pub name: String,
    /// Paths it is for; every path otherwise
    #[arg(long = "for", value_name = "PREFIX", default_value = "")]
    pub prefix: String,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}
