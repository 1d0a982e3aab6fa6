//! Reference values one by one, and documents of them.

use super::BrokerLocation;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `reference revoke`.
#[derive(Debug, Args)]
pub struct ReferenceRevokeArgs {
    /// The value's id, as `list` prints it
    pub id: String,
    /// Why; it stays in the list and in the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `reference expire`.
#[derive(Debug, Args)]
pub struct ReferenceExpireArgs {
    /// The value's id, as `list` prints it
    pub id: String,
    /// When, in RFC 3339; now otherwise
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `reference import`.
#[derive(Debug, Args)]
pub struct ReferenceImportArgs {
    /// The document
    pub file: PathBuf,
    /// The signature of a bundle; FILE.sig otherwise, where there is one
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// Name that the values of a CoRIM get, instead of the one that it gives
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `reference sign`.
#[derive(Debug, Args)]
pub struct ReferenceSignArgs {
    /// The bundle
    pub file: PathBuf,
    /// Ed25519 private key, PEM
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Check, write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `reference trust`.
#[derive(Debug, Args)]
pub struct ReferenceTrustArgs {
    /// A name for the key
    pub name: String,
    /// Public key, PEM: Ed25519, P-256 or P-384
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `reference untrust`.
#[derive(Debug, Args)]
pub struct ReferenceUntrustArgs {
    /// The key's name
    pub name: String,
    /// Check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}
