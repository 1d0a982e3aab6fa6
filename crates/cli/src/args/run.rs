//! Starting, stopping, and looking at the machine.

use super::GuestParts;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Arguments of `up`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  confide-dev up examples/hello/workload.yml\n  confide-dev down")]
pub struct UpArgs {
    /// Workload file
    #[arg(value_name = "WORKLOAD.yml")]
    pub workload: PathBuf,
    /// Where keys, the broker and the bundle are kept
    #[arg(long, value_name = "DIR", default_value = ".confide", env = "CONFIDE_WORKSPACE")]
    pub workspace: PathBuf,
    /// What the guest is made of
    #[command(flatten)]
    pub parts: GuestParts,
    /// Give up when the workload is not up after this many seconds
    #[arg(long, default_value_t = 180)]
    pub timeout: u64,
    /// How to run the VM's processor
    #[arg(long, value_enum, default_value_t = Accelerator::Auto)]
    pub accelerator: Accelerator,
}

/// Arguments of `down`.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// Where `up` kept its things
    #[arg(long, value_name = "DIR", default_value = ".confide", env = "CONFIDE_WORKSPACE")]
    pub workspace: PathBuf,
    /// Also delete keys, broker and bundle
    #[arg(long)]
    pub purge: bool,
    /// Print what would be ended, end nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// How to run the VM's processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Accelerator {
    /// KVM where it works, else emulation
    Auto,
    /// KVM
    Kvm,
    /// Plain emulation
    Tcg,
}

/// Arguments of `launch`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  confide launch bundle\n  confide launch bundle --gpu 0000:41:00.0\n  \
    confide-dev launch bundle --publish 8080:18080")]
pub struct LaunchArgs {
    /// Folder of the bundle
    pub bundle: PathBuf,
    /// Publish a guest port under another number, as GUEST:HOST; the same number otherwise
    #[arg(long, value_name = "GUEST:HOST")]
    pub publish: Vec<String>,
    /// Address on which ports are published
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: String,
    /// GPU to pass through (PCI address), by VFIO; several times for several
    #[arg(long, value_name = "PCI")]
    pub gpu: Vec<String>,
    /// How to run the VM's processor (only confide-dev can do without KVM)
    #[arg(long, value_enum, default_value_t = Accelerator::Auto)]
    pub accelerator: Accelerator,
    /// Where confide-dev keeps its development roots
    #[arg(long, value_name = "DIR", default_value = ".confide", env = "CONFIDE_WORKSPACE")]
    pub workspace: PathBuf,
    /// Print the command line, start nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Also check this bundle: files, firmware, ports, hosts
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Also check this broker: reachable, identity, rules
    #[arg(long, value_name = "URL")]
    pub broker: Option<String>,
    /// Where `up` kept its things
    #[arg(long, value_name = "DIR", default_value = ".confide", env = "CONFIDE_WORKSPACE")]
    pub workspace: PathBuf,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  confide completions bash > ~/.local/share/bash-completion/completions/confide")]
pub struct CompletionsArgs {
    /// Shell
    pub shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder to write to
    pub output: PathBuf,
}
