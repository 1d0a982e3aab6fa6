//! `confide measure snp`: which number will an SNP processor report?

use crate::Context;
use crate::args::{Flavour, SnpArgs};
use crate::outcome::{self, Failure, Outcome, Result};
use claims::{Code, Refusal};
use measure::snp::{
    self, GuestFeatures, HashedFiles, KernelHashes, Launch, MeasureError, Ovmf, OvmfError, VcpuType, Vmm, igvm,
};
use serde_json::json;
use std::path::Path;

/// `confide measure snp`.
pub(super) fn snp(args: &SnpArgs, context: &Context) -> Result {
    let path = match (&args.igvm, &args.ovmf) {
        (Some(file), _) => return from_igvm(file, context),
        (None, Some(path)) => path,
        (None, None) => return Err(Failure::usage("name a firmware with --ovmf, or a file with --igvm")),
    };
    let firmware = outcome::read(path)?;
    let ovmf = parse(&firmware, path)?;
    let kernel = args.kernel.as_deref().map(outcome::read).transpose()?;
    let initrd = args.initrd.as_deref().map(outcome::read).transpose()?;
    let files = kernel.as_deref().map(|kernel| HashedFiles {
        kernel,
        initrd: initrd.as_deref(),
        command_line: args.append.as_deref(),
    });
    let (vmm, flavour) = match args.flavour {
        Flavour::Qemu => (Vmm::Qemu, "qemu"),
        Flavour::Ec2 => (Vmm::Ec2, "ec2"),
        Flavour::Gce => (Vmm::Gce, "gce"),
    };
    let launch = Launch {
        ovmf: &ovmf,
        kernel: files.as_ref().map(KernelHashes::of),
        vcpus: args.vcpus,
        vcpu_type: vcpu_type(&args.vcpu_type)?,
        guest_features: features(&args.guest_features)?,
        vmm,
    };
    let digest = snp::measure(&launch).map_err(|error| cannot_measure(error, path))?;
    let experimental = vmm != Vmm::Qemu;
    if experimental {
        context.printer.warn(format_args!(
            "--flavour {flavour} is experimental: published tools disagree, and no report was at hand"
        ));
    }
    let answer = json!({
        "launch_digest": digest, "vcpus": args.vcpus, "vcpu_type": args.vcpu_type,
        "guest_features": format!("{:#x}", launch.guest_features.0), "flavour": flavour, "experimental": experimental,
    });
    context.printer.data(&answer, || digest.to_string());
    Ok(Outcome::Done)
}

/// `confide measure snp --igvm`.
fn from_igvm(path: &Path, context: &Context) -> Result {
    let igvm = igvm::measure(&outcome::read(path)?).map_err(|error| {
        let code = error.code();
        Failure::refused(format!("{} cannot be measured", path.display())).because(error).code(code)
    })?;
    let notes = igvm.loader_notes();
    for note in &notes {
        context.printer.warn(format_args!("another number on KVM: {note}"));
    }
    let answer = json!({
        "launch_digest": igvm.measurement, "vcpus": igvm.vcpus, "policy": igvm.policy.map(|policy| format!("{policy:#x}")),
        "pages": igvm.pages.0, "measured_pages": igvm.pages.1, "id_block": igvm.id_block, "notes": notes,
    });
    context.printer.data(&answer, || igvm.measurement.to_string());
    Ok(Outcome::Done)
}

pub(super) fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<Ovmf<'a>> {
    Ovmf::parse(bytes).map_err(|error| no_firmware(error, path))
}

fn no_firmware(error: OvmfError, path: &Path) -> Failure {
    Failure::refused(format!("{} cannot be measured", path.display()))
        .because(error)
        .code(Code::Firmware)
        .hint("use an AMD SEV build of OVMF; `make setup` fetches one")
}

pub(super) fn cannot_measure(error: MeasureError, firmware: &Path) -> Failure {
    match error {
        MeasureError::Firmware(error) => no_firmware(error, firmware),
        error => Failure::usage("this launch cannot be measured").because(error),
    }
}

pub(super) fn vcpu_type(name: &str) -> Result<VcpuType> {
    name.parse().map_err(|error| Failure::usage("this virtual CPU is not known").because(error))
}

/// Hexadecimal with `0x`, or decimal.
fn features(text: &str) -> Result<GuestFeatures> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number
        .map(GuestFeatures)
        .map_err(|error| Failure::usage(format!("--guest-features {text} is not a number")).because(error))
}
