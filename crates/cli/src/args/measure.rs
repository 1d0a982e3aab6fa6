//! Predicting measurements.

use clap::{Args, Subcommand, ValueEnum};
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
    /// The MRTD that a TDX module will report (experimental; RTMRs are not predicted)
    #[command(after_help = "Example:\n  confide measure tdx OVMF.fd")]
    Tdx(TdxArgs),
    /// MRENCLAVE of an enclave (SGXS, ELF), or what a SIGSTRUCT says
    #[command(after_help = "Examples:\n  confide measure sgx enclave.sgxs --sigstruct enclave.sig\n  \
        confide measure sgx enclave --heap-size 0x2000000 --stack-size 0x20000 --threads 4")]
    Sgx(SgxArgs),
    /// The dm-verity root hashes of container layers, base first, as CCE policies name them
    #[command(after_help = "Examples:\n  confide measure layers image.tar --json\n  \
        confide measure layers --layer layer.tar --output layer.ext4")]
    Layers(LayersArgs),
    /// Why two measurements differ, component by component
    #[command(after_help = "Examples:\n  confide measure diff bundle-a bundle-b\n  \
        confide measure diff old.sgxs new.sgxs\n  confide measure diff bundle --reported 6ae57ac1…")]
    Diff(DiffArgs),
}

/// Arguments of `measure snp`.
#[derive(Debug, Args)]
pub struct SnpArgs {
    /// Firmware (OVMF)
    #[arg(long, value_name = "FILE", required_unless_present = "igvm")]
    pub ovmf: Option<PathBuf>,
    /// IGVM file: it says by itself what is loaded
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ovmf", "kernel", "vcpus", "vcpu_type", "guest_features", "flavour"])]
    pub igvm: Option<PathBuf>,
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
    /// Who loads the guest; `ec2` and `gce` are experimental, since published tools disagree
    #[arg(long, value_enum, default_value_t = Flavour::Qemu)]
    pub flavour: Flavour,
}

/// Who loads a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Flavour {
    /// QEMU with KVM
    Qemu,
    /// Amazon EC2
    Ec2,
    /// Google Compute Engine
    Gce,
}

/// Arguments of `measure tdx`.
#[derive(Debug, Args)]
pub struct TdxArgs {
    /// Firmware (OVMF with TDX metadata)
    pub firmware: PathBuf,
}

/// Arguments of `measure sgx`.
#[derive(Debug, Args)]
pub struct SgxArgs {
    /// SGXS stream, ELF file for x86_64-fortanix-unknown-sgx, or SIGSTRUCT
    pub file: PathBuf,
    /// SIGSTRUCT that must be for this enclave
    #[arg(long, value_name = "FILE")]
    pub sigstruct: Option<PathBuf>,
    /// How an ELF file becomes an enclave
    #[command(flatten)]
    pub layout: LayoutArgs,
}

/// How an ELF file becomes an enclave; the options of `ftxsgx-elf2sgxs`.
#[derive(Debug, Args)]
pub struct LayoutArgs {
    /// Heap of an ELF enclave, in bytes
    #[arg(long, value_name = "BYTES")]
    pub heap_size: Option<String>,
    /// Stack of each thread of an ELF enclave, in bytes
    #[arg(long, value_name = "BYTES")]
    pub stack_size: Option<String>,
    /// Threads of an ELF enclave
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: u64,
    /// Pages of an SSA frame of an ELF enclave
    #[arg(long, value_name = "PAGES", default_value_t = 1)]
    pub ssaframesize: u32,
    /// Lay out an ELF enclave for debugging
    #[arg(long)]
    pub debug: bool,
}

/// Arguments of `measure layers`.
#[derive(Debug, Args)]
pub struct LayersArgs {
    /// Archives that `docker save` wrote, or OCI layouts (tar file or folder)
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<PathBuf>,
    /// Name or digest of the image, where an archive holds several
    #[arg(long, value_name = "NAME", conflicts_with = "layer")]
    pub image: Option<String>,
    /// Each file is a layer itself (a tar file that is not compressed), not an image
    #[arg(long)]
    pub layer: bool,
    /// Write the layer's ext4 image to this file
    #[arg(long, value_name = "FILE", requires = "layer")]
    pub output: Option<PathBuf>,
    /// Write the layer to this file, with entries inserted for the folders that have none
    #[arg(long, value_name = "FILE", requires = "layer", conflicts_with = "output")]
    pub repack: Option<PathBuf>,
}

/// Arguments of `measure diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A bundle, SGXS stream, ELF enclave, SIGSTRUCT, CCE policy or reference.json
    pub a: PathBuf,
    /// Another one of the same kind
    #[arg(required_unless_present = "reported")]
    pub b: Option<PathBuf>,
    /// A digest that was reported, to be explained from the bundle A
    #[arg(long, value_name = "HEX")]
    pub reported: Option<String>,
    /// How ELF files become enclaves
    #[command(flatten)]
    pub layout: LayoutArgs,
}
