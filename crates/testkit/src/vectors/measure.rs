//! Launch measurements: equal to the golden values, or refused where the manifest says so.

use super::{Case, Run, Verdict};
use claims::UnixTime;
use claims::{Code, Digest256};
use measure::snp::{GuestFeatures, HashedFiles, KernelHashes, Launch, Ovmf, UnknownVcpu, VcpuType, Vmm, measure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const KIND: &str = "snp-measure";

pub(super) fn run(folder: &Path, golden: &Value, _now: UnixTime, run: &mut Run<'_>) {
    let inputs = folder.join(golden["input_dir"].as_str().unwrap_or("inputs"));
    for case in golden["cases"].as_array().into_iter().flatten() {
        let id = case["id"].as_str().unwrap_or("");
        let name = case["ovmf"].as_str().unwrap_or("");
        let image = match name.strip_prefix("external:") {
            Some(external) => match installed(golden["external_ovmf"][external]["sha256"].as_str()) {
                Some(image) => image,
                None => {
                    run.skip(&format!("{id}: firmware {external} is not on this machine"));
                    continue;
                }
            },
            None => match fs::read(inputs.join(name)) {
                Ok(image) => image,
                Err(error) => {
                    run.error(KIND, id, format!("{name}: {error}"));
                    continue;
                }
            },
        };
        match digest(case, &inputs, &image) {
            Ok(result) => tell(run, id, case["launch_digest"].as_str(), result),
            Err(error) => run.error(KIND, id, error),
        }
    }
}

/// The digest or the code of the refusal; the outer error is a case that cannot be run.
fn digest(case: &Value, inputs: &Path, image: &[u8]) -> Result<Result<String, Code>, String> {
    let file = |member: &str| match case[member].as_str() {
        Some(name) => fs::read(inputs.join(name)).map(Some).map_err(|error| format!("{name}: {error}")),
        None => Ok(None),
    };
    let (kernel, initrd) = (file("kernel")?, file("initrd")?);
    let ovmf = match Ovmf::parse(image) {
        Ok(ovmf) => ovmf,
        Err(_) => return Ok(Err(Code::Firmware)),
    };
    let launch = Launch {
        ovmf: &ovmf,
        kernel: kernel.as_deref().map(|kernel| {
            let (initrd, command_line) = (initrd.as_deref(), case["append"].as_str());
            KernelHashes::of(&HashedFiles { kernel, initrd, command_line })
        }),
        vcpus: case["vcpus"].as_u64().and_then(|count| u32::try_from(count).ok()).ok_or("no number of virtual CPUs")?,
        vcpu_type: match (case["vcpu_type"].as_str(), case["vcpu_sig"].as_u64()) {
            (None, Some(signature)) => {
                let known = VcpuType::ALL.iter().find(|model| u64::from(model.signature()) == signature);
                *known.ok_or_else(|| format!("no virtual CPU has the signature {signature:#x}"))?
            }
            (name, _) => name.unwrap_or("EPYC-v4").parse().map_err(|error: UnknownVcpu| error.to_string())?,
        },
        guest_features: GuestFeatures(case["guest_features"].as_u64().ok_or("no guest features")?),
        vmm: match case["vmm"].as_str() {
            Some("QEMU") => Vmm::Qemu,
            Some("ec2") => Vmm::Ec2,
            Some("gce") => Vmm::Gce,
            other => return Err(format!("unknown vmm {other:?}")),
        },
    };
    Ok(measure(&launch).map(|digest| digest.to_string()).map_err(|error| error.code()))
}

fn tell(run: &mut Run<'_>, id: &str, wanted: Option<&str>, result: Result<String, Code>) {
    let (got, code, detail) = match (result, wanted) {
        (Ok(digest), Some(wanted)) if digest != wanted => {
            (Verdict::Error, None, Some(format!("the digest is {digest}, the golden one {wanted}")))
        }
        (Ok(_), _) => (Verdict::Accept, None, None),
        (Err(code), _) => (Verdict::Refuse, Some(code.to_string()), None),
    };
    let expected = if wanted.is_some() { Verdict::Accept } else { Verdict::Refuse };
    run.tell(&Case { kind: KIND, name: id.to_owned(), expected, got, code, detail });
}

/// A firmware of a distribution, found by its digest.
fn installed(sha256: Option<&str>) -> Option<Vec<u8>> {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let parts = std::env::var_os("CONFIDE_GUEST_PARTS")
        .map_or_else(|| Path::new(&home).join(".cache/confide/guest-parts"), PathBuf::from);
    [
        parts.join("OVMF.amdsev.fd"),
        PathBuf::from("/usr/share/ovmf/OVMF.amdsev.fd"),
        PathBuf::from("/usr/share/ovmf/OVMF.fd"),
    ]
    .into_iter()
    .filter_map(|path| fs::read(path).ok())
    .find(|bytes| Some(Digest256::of(bytes).to_string().as_str()) == sha256)
}
