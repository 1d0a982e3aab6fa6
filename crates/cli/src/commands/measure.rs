//! `confide measure`: which number will the hardware report, and why is it another one?

use crate::Context;
use crate::args::{DiffArgs, SnpArgs};
use crate::outcome::{self, Failure, Outcome, Result};
use crate::qemu::Bundle;
use claims::{Code, Digest256, LaunchDigest};
use image::bundle::names;
use measure::diff::{self, Component, Neighbourhood, Tree};
use measure::snp::{
    self, GuestFeatures, HashedFiles, KernelHashes, Launch, MeasureError, Ovmf, OvmfError, VcpuType, Vmm,
};
use serde_json::json;
use std::path::Path;

/// `confide measure snp`.
pub(super) fn snp(args: &SnpArgs, context: &Context) -> Result {
    let firmware = outcome::read(&args.ovmf)?;
    let ovmf = parse(&firmware, &args.ovmf)?;
    let kernel = args.kernel.as_deref().map(outcome::read).transpose()?;
    let initrd = args.initrd.as_deref().map(outcome::read).transpose()?;
    let files = kernel.as_deref().map(|kernel| HashedFiles {
        kernel,
        initrd: initrd.as_deref(),
        command_line: args.append.as_deref(),
    });
    let launch = Launch {
        ovmf: &ovmf,
        kernel: files.as_ref().map(KernelHashes::of),
        vcpus: args.vcpus,
        vcpu_type: vcpu_type(&args.vcpu_type)?,
        guest_features: features(&args.guest_features)?,
        vmm: Vmm::Qemu,
    };
    let digest = snp::measure(&launch).map_err(|error| cannot_measure(error, &args.ovmf))?;
    let answer = json!({
        "launch_digest": digest, "vcpus": args.vcpus, "vcpu_type": args.vcpu_type, "guest_features": format!("{:#x}", launch.guest_features.0),
    });
    context.printer.data(&answer, || digest.to_string());
    Ok(Outcome::Done)
}

/// `confide measure diff`.
pub(super) fn diff(args: &DiffArgs, context: &Context) -> Result {
    let first = Measured::read(&args.a)?;
    if let Some(reported) = &args.reported {
        let reported: LaunchDigest = reported
            .parse()
            .map_err(|error| Failure::usage("--reported is not a launch digest").because(error).code(Code::Format))?;
        return explain(&first, reported, context);
    }
    let second = args.b.as_deref().map(Measured::read).transpose()?;
    let Some(second) = second else { return Err(Failure::usage("name a second bundle, or --reported DIGEST")) };
    let (a, b) = (first.tree()?, second.tree()?);
    let comparison = diff::compare(&a, &b);
    let differences: Vec<_> = comparison
        .differences
        .iter()
        .map(|one| json!({ "name": one.name, "first": one.first, "second": one.second, "words": one.words }))
        .collect();
    let answer = json!({
        "first": a.measurement, "second": b.measurement, "equal": comparison.differences.is_empty(),
        "summary": comparison.summary(), "differences": differences, "same": comparison.equal,
    });
    context.printer.data(&answer, || {
        let mut lines = vec![comparison.summary(), format!("  {:<22} {}", args.a.display(), a.measurement)];
        lines.push(format!("  {:<22} {}", args.b.as_deref().unwrap_or(Path::new("")).display(), b.measurement));
        for component in &a.components {
            let mark = if comparison.equal.contains(&component.name) { "same   " } else { "DIFFERS" };
            lines.push(format!("  {mark} {:<20} {}", component.name, component.source));
        }
        lines.join("\n")
    });
    Ok(if comparison.differences.is_empty() { Outcome::Done } else { Outcome::Refused })
}

/// What a reported digest was, if a launch near the bundle's reproduces it.
fn explain(measured: &Measured, reported: LaunchDigest, context: &Context) -> Result {
    let ovmf = parse(&measured.firmware, &measured.bundle.file(names::FIRMWARE))?;
    let launch = measured.launch(&ovmf)?;
    let meant = Neighbourhood { launch, command_line: Some(&measured.bundle.manifest.command_line) };
    let found = diff::explain(&meant, reported);
    let words = match &found {
        Some(found) if found.words.is_empty() => "this is the bundle as it was built".to_owned(),
        Some(found) => format!("reproduced with: {}", found.words.join(", ")),
        None => "no launch near this bundle's has this digest; another firmware, kernel, initrd or command line was measured".to_owned(),
    };
    let answer = json!({
        "reported": reported, "explained": found.is_some(), "words": words,
        "changes": found.as_ref().map(|found| found.words.clone()), "tried": found.as_ref().map(|found| found.tried),
    });
    context.printer.data(&answer, || words.clone());
    Ok(if found.is_some() { Outcome::Done } else { Outcome::Refused })
}

/// A bundle with the files that are measured.
struct Measured {
    bundle: Bundle,
    firmware: Vec<u8>,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
}

impl Measured {
    fn read(folder: &Path) -> Result<Self> {
        let bundle = Bundle::open(folder)?;
        let read = |name| outcome::read(&bundle.file(name));
        Ok(Self {
            firmware: read(names::FIRMWARE)?,
            kernel: read(names::KERNEL)?,
            initrd: read(names::INITRD)?,
            bundle,
        })
    }

    fn launch<'a>(&self, ovmf: &'a Ovmf<'a>) -> Result<Launch<'a>> {
        let manifest = &self.bundle.manifest;
        let files = HashedFiles {
            kernel: &self.kernel,
            initrd: Some(&self.initrd),
            command_line: Some(&manifest.command_line),
        };
        Ok(Launch {
            ovmf,
            kernel: Some(KernelHashes::of(&files)),
            vcpus: manifest.vcpus,
            vcpu_type: vcpu_type(&manifest.vcpu_type)?,
            guest_features: GuestFeatures::SNP,
            vmm: Vmm::Qemu,
        })
    }

    fn tree(&self) -> Result<Tree> {
        let manifest = &self.bundle.manifest;
        let firmware = self.bundle.file(names::FIRMWARE);
        let ovmf = parse(&self.firmware, &firmware)?;
        let digest = snp::measure(&self.launch(&ovmf)?).map_err(|error| cannot_measure(error, &firmware))?;
        let file = |name, file: &str, bytes: &[u8]| Component {
            name,
            value: Digest256::of(bytes).to_string(),
            source: self.bundle.file(file).display().to_string(),
            is_text: false,
        };
        let setting =
            |name, value: String, is_text| Component { name, value, source: "manifest.json".to_owned(), is_text };
        Ok(Tree {
            measurement: digest.to_string(),
            components: vec![
                file("firmware", names::FIRMWARE, &self.firmware),
                file("kernel", names::KERNEL, &self.kernel),
                file("initrd", names::INITRD, &self.initrd),
                setting("kernel command line", manifest.command_line.clone(), true),
                setting("virtual CPUs", manifest.vcpus.to_string(), false),
                setting("virtual CPU type", manifest.vcpu_type.clone(), false),
            ],
        })
    }
}

fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<Ovmf<'a>> {
    Ovmf::parse(bytes).map_err(|error| no_firmware(error, path))
}

fn no_firmware(error: OvmfError, path: &Path) -> Failure {
    Failure::refused(format!("{} cannot be measured", path.display()))
        .because(error)
        .code(Code::Firmware)
        .hint("use an AMD SEV build of OVMF; `make setup` fetches one")
}

fn cannot_measure(error: MeasureError, firmware: &Path) -> Failure {
    match error {
        MeasureError::Firmware(error) => no_firmware(error, firmware),
        error => Failure::usage("this launch cannot be measured").because(error),
    }
}

fn vcpu_type(name: &str) -> Result<VcpuType> {
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
