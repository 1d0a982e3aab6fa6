//! A broker's audit log.

use super::BrokerLocation;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Verbs of `audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Print entries, newest last
    Show(AuditShowArgs),
    /// Check a whole log, or one receipt; names the first bad entry
    #[command(after_help = "Examples:\n  confide audit verify\n  \
        confide audit verify receipt.json --identity 3f5a…\n  \
        confide audit verify log.jsonl --identity 3f5a… --kept receipt.json")]
    Verify(AuditVerifyArgs),
    /// Write the whole log to a file that can be checked anywhere
    #[command(after_help = "Example:\n  confide audit export -o log.jsonl")]
    Export(AuditExportArgs),
    /// Print the receipt of a decision
    #[command(after_help = "Example:\n  confide audit receipt 0123456789abcdef >receipt.json")]
    Receipt(AuditReceiptArgs),
    /// Print the newest signed head, to keep it elsewhere
    #[command(after_help = "Example:\n  confide audit head >head.txt")]
    Head(AuditHeadArgs),
}

/// Arguments of `audit show`.
#[derive(Debug, Args)]
pub struct AuditShowArgs {
    /// How many entries, from the end
    #[arg(long, default_value_t = 20)]
    pub last: u64,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
pub struct AuditVerifyArgs {
    /// A receipt or an exported log; the log in the broker's folder, or else of the running broker, otherwise
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// SHA-256 of the broker's identity key; that of the broker's folder otherwise
    #[arg(long, value_name = "HEX")]
    pub identity: Option<String>,
    /// A receipt or head that was kept elsewhere, and that the log must still extend
    #[arg(long, value_name = "FILE")]
    pub kept: Vec<PathBuf>,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `audit export`.
#[derive(Debug, Args)]
pub struct AuditExportArgs {
    /// File to make
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Say what would be written, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `audit receipt`.
#[derive(Debug, Args)]
pub struct AuditReceiptArgs {
    /// Name of the decision, as `audit show` prints it
    pub decision: String,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `audit head`.
#[derive(Debug, Args)]
pub struct AuditHeadArgs {
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}
