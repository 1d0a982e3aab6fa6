//! Predicting measurements.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Verbs of `measure`.
#[derive(Debug, Subcommand)]
pub enum MeasureCommand {
    /// The launch digest that an SNP processor will report
    #[command(
        after_help = "Example:\n  confide measure snp --ovmf OVMF.amdsev.fd --kernel vmlinuz --initrd initrd.img \
        --append \"$(cat cmdline)\" --vcpus 2 --vcpu-type EPYC-v4"
    )]
    Snp(SnpArgs),
    /// Why two measurements differ, component by component
    #[command(after_help = "Examples:\n  confide measure diff bundle-a bundle-b\n  \
        confide measure diff bundle --reported 6ae57ac1…")]
    Diff(DiffArgs),
}

/// Arguments of `measure snp`.
#[derive(Debug, Args)]
pub struct SnpArgs {
    /// Firmware (OVMF)
    #[arg(long, value_name = "FILE")]
    pub ovmf: PathBuf,
    /// Kernel
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Initial RAM disk
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub initrd: Option<PathBuf>,
    /// Kernel command line, byte for byte
    #[arg(long, value_name = "TEXT", requires = "kernel", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// Number of virtual CPUs
    #[arg(long, default_value_t = 1)]
    pub vcpus: u32,
    /// QEMU's name of the virtual CPU
    #[arg(long, default_value = "EPYC-v4")]
    pub vcpu_type: String,
    /// SEV features in the VMSA
    #[arg(long, default_value = "0x1")]
    pub guest_features: String,
}

/// Arguments of `measure diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A bundle
    pub a: PathBuf,
    /// Another bundle
    #[arg(required_unless_present = "reported")]
    pub b: Option<PathBuf>,
    /// A digest that was reported, to be explained from A
    #[arg(long, value_name = "HEX")]
    pub reported: Option<String>,
}
