//! Where a broker's master key is kept.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Where the master key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum MasterKind {
    /// In the broker's folder, as it is
    #[default]
    File,
    /// In the broker's folder, encrypted by the transit engine of HashiCorp Vault or OpenBao
    VaultTransit,
    /// In the broker's folder, encrypted by an AES key in a hardware security module (PKCS #11)
    Pkcs11,
}

/// The flags of `broker init` about the master key.
#[derive(Debug, Args)]
#[command(next_help_heading = "Master key")]
pub struct MasterArgs {
    /// Where the master key is kept
    #[arg(long, value_enum, value_name = "WHERE", default_value = "file")]
    pub master: MasterKind,
    /// Name of Vault's transit key, or label of the AES key in the token (made there if it is absent)
    #[arg(long, value_name = "NAME")]
    pub master_key: Option<String>,
    /// Vault's address, https://HOST:8200
    #[arg(long, value_name = "URL")]
    pub vault_address: Option<String>,
    /// Certificate authorities that vouch for Vault, PEM
    #[arg(long, value_name = "FILE")]
    pub vault_ca: Option<PathBuf>,
    /// Vault's namespace
    #[arg(long, value_name = "NAME")]
    pub vault_namespace: Option<String>,
    /// Id of the AppRole to log in as
    #[arg(long, value_name = "ID", requires = "vault_secret_id_file", conflicts_with = "vault_token_file")]
    pub vault_role_id: Option<String>,
    /// File with the AppRole's secret id
    #[arg(long, value_name = "FILE", requires = "vault_role_id")]
    pub vault_secret_id_file: Option<PathBuf>,
    /// File with a token, instead of an AppRole
    #[arg(long, value_name = "FILE")]
    pub vault_token_file: Option<PathBuf>,
    /// Where Vault's transit engine is mounted
    #[arg(long, value_name = "PATH", default_value = "transit")]
    pub transit_mount: String,
    /// The module's PKCS #11 library
    #[arg(long, value_name = "FILE")]
    pub pkcs11_module: Option<PathBuf>,
    /// Label of the token
    #[arg(long, value_name = "LABEL")]
    pub pkcs11_token: Option<String>,
    /// File with the token's user PIN
    #[arg(long, value_name = "FILE")]
    pub pkcs11_pin_file: Option<PathBuf>,
}
