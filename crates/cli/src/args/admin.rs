//! Running a broker and administering it.

use super::{BrokerBackupArgs, BrokerRestoreArgs, BrokerRotateArgs};
use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Which broker a command talks to.
#[derive(Debug, Args, Clone)]
pub struct BrokerLocation {
    /// Folder that `confide broker init` made; it holds the admin key. `.confide/broker` otherwise
    #[arg(long = "broker-dir", value_name = "DIR", env = "CONFIDE_BROKER_DIR")]
    pub directory: Option<PathBuf>,
    /// The broker's address; the one in its broker.toml otherwise
    #[arg(long = "url", value_name = "URL", env = "CONFIDE_BROKER_URL")]
    pub url: Option<String>,
}

/// Verbs of `broker`.
#[derive(Debug, Subcommand)]
pub enum BrokerCommand {
    /// Make keys and settings
    #[command(
        after_help = "Example:\n  confide broker init --dir broker && confide broker serve --config broker/broker.toml"
    )]
    Init(BrokerInitArgs),
    /// Serve
    Serve(BrokerServeArgs),
    /// Say whether it runs, who it is and what it holds
    Status(BrokerStatusArgs),
    /// Write one consistent copy of a broker's folder; the broker may run
    #[command(after_help = "Example:\n  confide broker backup --broker-dir broker -o broker.backup --with-keys")]
    Backup(BrokerBackupArgs),
    /// Make a broker's folder from a backup; nothing is overwritten
    #[command(after_help = "Example:\n  confide broker restore broker.backup --dir broker")]
    Restore(BrokerRestoreArgs),
    /// Make a new master key and wrap every secret's key under it; the broker must not run
    RotateMaster(BrokerRotateArgs),
}

/// Arguments of `broker init`.
#[derive(Debug, Args)]
pub struct BrokerInitArgs {
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Names and addresses to put into the TLS certificate
    #[arg(long, value_name = "NAME", default_values = ["localhost", "127.0.0.1"])]
    pub name: Vec<String>,
    /// Keep the store in this PostgreSQL database, which several brokers can share; no password in it
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,
    /// Print what would be made, write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `broker serve`.
#[derive(Debug, Args)]
pub struct BrokerServeArgs {
    /// Settings
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Address, instead of the settings'; port 0 takes a free one, printed on the first line of stdout
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Development: accept evidence of the emulated processor (confide-dev only)
    #[arg(long)]
    pub dev: bool,
    /// Plain HTTP, on a loopback address only, for clients without TLS
    #[arg(long, requires = "dev")]
    pub insecure_http: bool,
    /// Where confide-dev keeps its development roots
    #[arg(long, value_name = "DIR", default_value = ".confide", env = "CONFIDE_WORKSPACE")]
    pub workspace: PathBuf,
    /// Print the settings as they are used, and end
    #[arg(long)]
    pub show_settings: bool,
}

/// Arguments of `broker status`.
#[derive(Debug, Args)]
pub struct BrokerStatusArgs {
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Verbs of `secret`.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Store a secret
    #[command(after_help = "Examples:\n  confide secret put hello/secret/hmac --file hmac.key\n  \
        openssl rand 32 | confide secret put hello/secret/hmac --file -")]
    Put(SecretPutArgs),
    /// Attest with the TEE this runs in, and print a secret's bytes
    #[command(
        after_help = "A broker releases values to attested guests only, never to administrators.\n\nExample (inside a TEE):\n  \
        confide secret get hello/secret/hmac --url https://broker:8999 --identity 3f5a…"
    )]
    Get(SecretGetArgs),
    /// List paths, or the versions of one; never values
    List(SecretListArgs),
    /// Delete a secret
    Delete(SecretDeleteArgs),
}

/// Arguments of `secret put`.
#[derive(Debug, Args)]
pub struct SecretPutArgs {
    /// REPOSITORY/TYPE/TAG
    pub path: String,
    /// File with the value; `-` is standard input
    #[arg(long)]
    pub file: PathBuf,
    /// Check, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `secret get`.
#[derive(Debug, Args)]
pub struct SecretGetArgs {
    /// REPOSITORY/TYPE/TAG
    pub path: String,
    /// The broker's address
    #[arg(long, value_name = "URL", env = "CONFIDE_BROKER_URL")]
    pub url: String,
    /// SHA-256 of the broker's identity key
    #[arg(long, value_name = "HEX")]
    pub identity: String,
    /// This version; the newest otherwise
    #[arg(long, value_name = "NUMBER")]
    pub secret_version: Option<u64>,
    /// The site.json whose digest is this guest's HOST_DATA, to explain a refusal by
    #[arg(long, value_name = "FILE")]
    pub site: Option<PathBuf>,
}

/// Arguments of `secret delete`.
#[derive(Debug, Args)]
pub struct SecretDeleteArgs {
    /// REPOSITORY/TYPE/TAG
    pub path: String,
    /// This version only; every version otherwise
    #[arg(long, value_name = "NUMBER")]
    pub secret_version: Option<u64>,
    /// Check, delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `secret list`.
#[derive(Debug, Args)]
pub struct SecretListArgs {
    /// REPOSITORY/TYPE/TAG, to list its versions
    pub path: Option<String>,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Verbs of `reference`.
#[derive(Debug, Subcommand)]
pub enum ReferenceCommand {
    /// Make a release rule of a bundle's reference.json
    #[command(after_help = "Example:\n  confide reference add bundle/reference.json")]
    Add(ReferenceAddArgs),
    /// List the rules
    List(ReferenceListArgs),
    /// Remove a rule
    Remove(ReferenceRemoveArgs),
}

/// Arguments of `reference add`.
#[derive(Debug, Args)]
pub struct ReferenceAddArgs {
    /// The bundle's reference.json
    pub file: PathBuf,
    /// Check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `reference list`.
#[derive(Debug, Args)]
pub struct ReferenceListArgs {
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `reference remove`.
#[derive(Debug, Args)]
pub struct ReferenceRemoveArgs {
    /// The rule's id, as `list` prints it
    pub id: String,
    /// Check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}
