//! Building and looking inside.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Arguments of `build`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  confide build cc_site-1.yml -o bundle\n  \
    confide build w.yml -o bundle --tgz --volume-key-file site.key\n  \
    confide build w.yml -o bundle --kernel vmlinuz --modules lib/modules/6.12 --firmware OVMF.amdsev.fd --json")]
pub struct BuildArgs {
    /// Workload file
    #[arg(value_name = "WORKLOAD.yml")]
    pub workload: PathBuf,
    /// Folder to make
    #[arg(long, short)]
    pub output: PathBuf,
    /// What to build for
    #[arg(long, value_enum, default_value_t = Target::Cvm)]
    pub target: Target,
    /// What the guest is made of
    #[command(flatten)]
    pub parts: GuestParts,
    /// 32 bytes that the drives' keys are derived from; made and kept beside the bundle if not given
    #[arg(long, value_name = "FILE")]
    pub volume_key_file: Option<PathBuf>,
    /// The broker the guest asks; the workload file's `broker:` otherwise
    #[arg(long, value_name = "URL", requires = "broker_identity")]
    pub broker_url: Option<String>,
    /// SHA-256 of the broker's identity key, as `confide broker status` prints it
    #[arg(long, value_name = "HEX", requires = "broker_url")]
    pub broker_identity: Option<String>,
    /// Also make OUTPUT.tgz (stored, not compressed)
    #[arg(long)]
    pub tgz: bool,
    /// Replace the output folder if it is there
    #[arg(long)]
    pub force: bool,
    /// Check everything and print what would be built, write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Kernel, modules, firmware and guest; the set-up's where not given.
#[derive(Debug, Args, Clone)]
pub struct GuestParts {
    /// Kernel (bzImage)
    #[arg(long, value_name = "VMLINUZ")]
    pub kernel: Option<PathBuf>,
    /// The kernel's folder of modules
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// AMD SEV build of OVMF, with the kernel-hash section
    #[arg(long, value_name = "FD")]
    pub firmware: Option<PathBuf>,
    /// The static guest binary; the one beside this program otherwise
    #[arg(long, value_name = "FILE")]
    pub guest: Option<PathBuf>,
}

/// Substrate to build for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// A confidential VM (AMD SEV-SNP)
    Cvm,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  confide inspect bundle\n  confide inspect bundle/user_data.qcow2 /\n  \
    confide inspect bundle/crypt_root.qcow2 /etc/passwd --key-file bundle.key\n  \
    confide inspect bundle/applog.qcow2 /boot.log")]
pub struct InspectArgs {
    /// Bundle, disk image or initrd
    pub path: PathBuf,
    /// File or folder inside
    pub inner: Option<String>,
    /// The site's volume key, for a sealed drive
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// Verbs of `data`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Put files on a bundle's user_data drive, and grow it as needed
    #[command(after_help = "Example:\n  confide data add bundle/user_data.qcow2 /data/train ext_mount.conf")]
    Add(DataAddArgs),
}

/// Arguments of `data add`.
#[derive(Debug, Args)]
pub struct DataAddArgs {
    /// The drive
    #[arg(value_name = "user_data.qcow2")]
    pub drive: PathBuf,
    /// Files and folders to add, each under its own name
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// Grow the drive to at least this many GB
    #[arg(long, value_name = "GB")]
    pub size: Option<u64>,
    /// Print what would be added, write nothing
    #[arg(long)]
    pub dry_run: bool,
}
