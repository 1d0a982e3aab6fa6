//! What is not believed any more.

use super::BrokerLocation;
use clap::{Args, Subcommand};

/// Verbs of `revoke`.
#[derive(Debug, Subcommand)]
pub enum RevokeCommand {
    /// An image: by its measurement, or by the reference.json of its bundle
    Image(RevokeArgs),
    /// A site: by its HOST_DATA, its name, or its site.json
    Site(RevokeArgs),
    /// A processor or device: by the id in its evidence
    Chip(RevokeArgs),
    /// A secret, or all below a prefix: no version is released any more
    Key(RevokeArgs),
    /// A version of a policy, NAME@VERSION: it denies until another takes its place, and does not come back
    Policy(RevokeArgs),
    /// A release rule, by its id
    Rule(RevokeArgs),
    /// List revocations, also those that were lifted
    List(RevokeListArgs),
    /// Take a revocation back
    Lift(RevokeLiftArgs),
}

/// Arguments of `revoke image` and so on.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// What
    #[arg(value_name = "WHAT")]
    pub subject: String,
    /// Why; `confide explain DECISION` says it for every refusal that comes of this
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `revoke list`.
#[derive(Debug, Args)]
pub struct RevokeListArgs {
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `revoke lift`.
#[derive(Debug, Args)]
pub struct RevokeLiftArgs {
    /// The revocation's id, as `list` prints it
    pub id: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}
