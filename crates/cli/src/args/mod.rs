//! The command line as types. The doc comments here are the help texts; names are contracts.

mod aci;
mod admin;
mod audit;
mod build;
mod evidence;
mod master;
mod measure;
mod policy;
mod reference;
mod revoke;
mod run;
mod upkeep;

pub use aci::*;
pub use admin::*;
pub use audit::*;
pub use build::*;
pub use evidence::*;
pub use master::*;
pub use measure::*;
pub use policy::*;
pub use reference::*;
pub use revoke::*;
pub use run::*;
pub use upkeep::*;

use clap::{Parser, Subcommand};

/// Runs a container where nobody but the workload can look, and proves it
///
/// Three commands do the main job: `confide broker init`, `confide build`, `confide launch`; `confide up` does all
/// three on one machine. Stdout is data, stderr is talk. Exit status: 0 done, 1 refused, 2 usage, 3 environment.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110, propagate_version = true, disable_help_subcommand = true)]
pub struct Args {
    /// Print data as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Every verb.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build, start a local broker, register, launch, wait until attested
    Up(UpArgs),
    /// End what `up` started in this folder
    Down(DownArgs),
    /// Build a bundle and its reference values from a workload file
    Build(BuildArgs),
    /// Look inside a bundle, a disk image or an initrd, without root
    Inspect(InspectArgs),
    /// Start a bundle as a confidential VM
    Launch(LaunchArgs),
    /// Predict a measurement; explain a mismatch
    #[command(subcommand)]
    Measure(MeasureCommand),
    /// Get, verify and show evidence
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// Say what a refusal means and what to change
    Explain(ExplainArgs),
    /// Confidential container groups of Azure: their policy, and why it refused
    #[command(subcommand)]
    Aci(AciCommand),
    /// Run a key broker
    #[command(subcommand)]
    Broker(BrokerCommand),
    /// Secrets that a broker holds
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Reference values that a broker releases against
    #[command(subcommand)]
    Reference(ReferenceCommand),
    /// Policies of a broker: who gets what, and what evidence is worth
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Take an image, site, chip, key, release rule or version of a policy out of use, at once
    #[command(subcommand, after_help = "Example:\n  confide revoke chip 7c1f… --reason \"stolen from the rack\"")]
    Revoke(RevokeCommand),
    /// What a broker decided, and whether its log is whole
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The host's data for a workload
    #[command(subcommand)]
    Data(DataCommand),
    /// Say what this machine can and can't do, each finding with its fix
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages to a folder
    Man(ManArgs),
}
