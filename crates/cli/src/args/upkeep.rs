//! What is done to a broker's folder.

use super::BrokerLocation;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `broker backup`.
#[derive(Debug, Args)]
pub struct BrokerBackupArgs {
    /// File to make
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Put the private keys into it, too: it is then worth as much as the folder
    #[arg(long)]
    pub with_keys: bool,
    /// Say what would be written, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `broker restore`.
#[derive(Debug, Args)]
pub struct BrokerRestoreArgs {
    /// The backup
    pub file: PathBuf,
    /// Folder to make, or to fill where it holds the keys that the backup has not
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Say what would be made, write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `broker rotate-master`.
#[derive(Debug, Args)]
pub struct BrokerRotateArgs {
    /// The file with the master key of now, where `[master]` names a new place for it already: the new key goes there
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Keep the master key, and have Vault encrypt it again under the newest version of its transit key; the broker may run
    #[arg(long, conflicts_with = "from")]
    pub rewrap: bool,
    /// Say what would be done, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `broker rotate-token-key`.
#[derive(Debug, Args)]
pub struct BrokerTokenKeyArgs {
    /// The identity's private key, where it does not lie in the broker's folder
    #[arg(long, value_name = "FILE")]
    pub identity_key: Option<PathBuf>,
    /// Say what would be done, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `broker renew-leaf`.
#[derive(Debug, Args)]
pub struct BrokerRenewArgs {
    /// Names and addresses to put into it; those of the certificate there otherwise
    #[arg(long, value_name = "NAME")]
    pub name: Vec<String>,
    /// The identity's private key, where it does not lie in the broker's folder
    #[arg(long, value_name = "FILE")]
    pub identity_key: Option<PathBuf>,
    /// Say what would be done, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}

/// Arguments of `broker import`.
#[derive(Debug, Args)]
pub struct BrokerImportArgs {
    /// Folder of a Trustee's storage, or one above it
    pub dir: PathBuf,
    /// Say what would be imported, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}
