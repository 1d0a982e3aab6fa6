//! Running a broker and administering it.

use super::{
    BrokerBackupArgs, BrokerImportArgs, BrokerRenewArgs, BrokerRestoreArgs, BrokerRotateArgs, BrokerTokenKeyArgs,
    MasterArgs, ReferenceExpireArgs, ReferenceImportArgs, ReferenceRevokeArgs, ReferenceSignArgs, ReferenceTrustArgs,
    ReferenceUntrustArgs,
};
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
        after_help = "Examples:\n  confide broker init --dir broker && confide broker serve --config broker/broker.toml\n  \
            confide broker init --dir broker --master vault-transit --master-key confide \\\n      \
            --vault-address https://vault.example.com:8200 --vault-ca ca.pem --vault-role-id ID \\\n      \
            --vault-secret-id-file secret-id\n  \
            confide broker init --dir broker --master pkcs11 --master-key confide --pkcs11-token broker \\\n      \
            --pkcs11-module /usr/lib/softhsm/libsofthsm2.so --pkcs11-pin-file pin"
    )]
    Init(Box<BrokerInitArgs>),
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
    #[command(after_help = "Examples:\n  confide broker rotate-master --broker-dir broker\n  \
            confide broker rotate-master --broker-dir broker --from broker/master.key   \
            (after `[master]` in broker.toml was changed)\n  \
            confide broker rotate-master --broker-dir broker --rewrap")]
    RotateMaster(BrokerRotateArgs),
    /// Make a new key for attestation tokens; tokens of the old one stay good till they end
    RotateTokenKey(BrokerTokenKeyArgs),
    /// Issue a new TLS certificate from the identity; a running broker takes it into use by itself
    #[command(after_help = "Example:\n  confide broker renew-leaf --name broker.example.com")]
    RenewLeaf(BrokerRenewArgs),
    /// Take over secrets, policies and reference values of a Trustee's local storage; the broker must not run
    #[command(
        after_help = "Example:\n  confide broker import /opt/confidential-containers --broker-dir broker --dry-run"
    )]
    Import(BrokerImportArgs),
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
    /// Where the master key is kept
    #[command(flatten)]
    pub master: MasterArgs,
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
    /// Make a release rule of a bundle's reference.json; or add one reference value, NAME VALUE
    #[command(after_help = "Examples:\n  confide reference add bundle/reference.json\n  \
        confide reference add snp_launch_measurement 3f5a… --expires 2027-01-01T00:00:00Z")]
    Add(ReferenceAddArgs),
    /// List rules, reference values, and the keys that sign them
    List(ReferenceListArgs),
    /// Remove a rule, a reference value, or every value of a name
    Remove(ReferenceRemoveArgs),
    /// Revoke a reference value, with a reason: it stays in the list and does not come back
    Revoke(ReferenceRevokeArgs),
    /// End a reference value, now or at a time
    Expire(ReferenceExpireArgs),
    /// Take reference values out of a signed bundle, a CoRIM, a RIM of NVIDIA's or a reference.json
    #[command(
        after_help = "A signature of a bundle is looked for in FILE.sig.\n\nExample:\n  confide reference import values.json"
    )]
    Import(ReferenceImportArgs),
    /// Sign a bundle of reference values, into FILE.sig
    #[command(after_help = "Example:\n  openssl genpkey -algorithm ed25519 -out signer.pem\n  \
        confide reference sign values.json --key signer.pem")]
    Sign(ReferenceSignArgs),
    /// Pin a key: from then on, documents are imported only if a pinned key signed them
    Trust(ReferenceTrustArgs),
    /// Take a pinned key off
    Untrust(ReferenceUntrustArgs),
}

/// Arguments of `reference add`.
#[derive(Debug, Args)]
pub struct ReferenceAddArgs {
    /// The bundle's reference.json; a reference value's name where a value follows
    #[arg(value_name = "FILE|NAME")]
    pub what: String,
    /// The value: text, or JSON with --as-json
    pub value: Option<String>,
    /// The value is JSON: a number, true, an object
    #[arg(long, requires = "value")]
    pub as_json: bool,
    /// Policies get the value itself instead of a list with it
    #[arg(long, requires = "value")]
    pub single: bool,
    /// When it ends, in RFC 3339
    #[arg(long, value_name = "TIME", requires = "value")]
    pub expires: Option<String>,
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
    /// The id of a rule or of a reference value, as `list` prints it; or the name of reference values
    #[arg(value_name = "ID|NAME")]
    pub id: String,
    /// Check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: BrokerLocation,
}
