//! Evidence and refusals.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Verbs of `evidence`.
#[derive(Debug, Subcommand)]
pub enum EvidenceCommand {
    /// Get evidence from this TEE
    #[command(after_help = "Example:\n  confide evidence get --report-data 00…00 --json")]
    Get(EvidenceGetArgs),
    /// Verify evidence in a file
    #[command(after_help = "Examples:\n  confide evidence verify report.bin --collateral vcek.der ask.pem ark.pem \
        --reference reference.json\n  confide evidence verify report.bin --collateral certs --accept-any \"first look\"")]
    Verify(EvidenceVerifyArgs),
    /// Print what evidence claims, without believing it
    Show(EvidenceShowArgs),
}

/// Arguments of `evidence get`.
#[derive(Debug, Args)]
pub struct EvidenceGetArgs {
    /// 64 bytes to be signed, as hex; shorter is padded with zeros
    #[arg(long, value_name = "HEX")]
    pub report_data: String,
    /// HOST_DATA of the emulated guest (confide-dev only)
    #[arg(long, value_name = "HEX")]
    pub host_data: Option<String>,
    /// Launch measurement of the emulated guest (confide-dev only)
    #[arg(long, value_name = "HEX")]
    pub measurement: Option<String>,
    /// Where confide-dev keeps its development roots
    #[arg(long, value_name = "DIR", default_value = ".confide", env = "CONFIDE_WORKSPACE")]
    pub workspace: PathBuf,
}

/// Arguments of `evidence verify`.
#[derive(Debug, Args)]
pub struct EvidenceVerifyArgs {
    /// Evidence: a raw report, or the KBS JSON form
    pub file: PathBuf,
    /// Kind of evidence; found out otherwise
    #[arg(long = "type", value_name = "TYPE", value_parser = ["snp"])]
    pub kind: Option<String>,
    /// Certificates and revocation lists (DER or PEM files, or folders of them); no socket is opened
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub collateral: Vec<PathBuf>,
    /// Verify as of this time (RFC 3339); now otherwise
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Reference values to compare with
    #[arg(long, value_name = "FILE", required_unless_present = "accept_any", conflicts_with = "accept_any")]
    pub reference: Option<PathBuf>,
    /// Compare with nothing, for this reason
    #[arg(long, value_name = "REASON")]
    pub accept_any: Option<String>,
    /// Report data wanted, as hex; not compared otherwise, which is said in the result
    #[arg(long, value_name = "HEX")]
    pub report_data: Option<String>,
    /// Refuse when no revocation list is among the collateral
    #[arg(long)]
    pub require_crl: bool,
}

/// Arguments of `evidence show`.
#[derive(Debug, Args)]
pub struct EvidenceShowArgs {
    /// Evidence: a raw report, or the KBS JSON form
    pub file: PathBuf,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  confide explain E-SNP-DEBUG\n  confide explain last\n  confide explain --list")]
pub struct ExplainArgs {
    /// A code, the id of a broker's decision, or `last` for its newest refusal
    #[arg(value_name = "CODE|DECISION", required_unless_present = "list")]
    pub what: Option<String>,
    /// Print every code
    #[arg(long)]
    pub list: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: super::BrokerLocation,
}
