//! Launch digests against the golden values of PyPI `sev-snp-measure` 0.0.13.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what went wrong by failing")]

use measure::snp::{
    GuestFeatures, HashedFiles, KernelHashes, Launch, MeasureError, Ovmf, OvmfError, VcpuType, Vmm, measure,
};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    let folder = folder.join("snp/measure");
    if folder.exists() {
        return Some(folder);
    }
    println!("skipped: vectors are not here");
    None
}

/// Firmware of a distribution package: the set-up's copy counts only if it is the very file.
fn firmware(folder: &Path, golden: &Value, name: &str) -> Option<Vec<u8>> {
    let Some(external) = name.strip_prefix("external:") else {
        return Some(std::fs::read(folder.join("inputs").join(name)).unwrap());
    };
    let wanted = golden["external_ovmf"][external]["sha256"].as_str().unwrap();
    let home = std::env::var_os("HOME").unwrap_or_default();
    let copy = std::env::var_os("CONFIDE_GUEST_PARTS")
        .map_or_else(|| Path::new(&home).join(".cache/confide/guest-parts"), PathBuf::from)
        .join("OVMF.amdsev.fd");
    let bytes = std::fs::read(copy).ok()?;
    (claims::Digest256::of(&bytes).to_string() == wanted).then_some(bytes)
}

#[test]
fn every_golden_case_has_its_digest() {
    let Some(folder) = vectors() else { return };
    let golden: Value = serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let (mut equal, mut absent) = (0, 0);
    for case in golden["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let Some(image) = firmware(&folder, &golden, case["ovmf"].as_str().unwrap()) else {
            absent += 1;
            continue;
        };
        let input =
            |member: &str| case[member].as_str().map(|name| std::fs::read(folder.join("inputs").join(name)).unwrap());
        let (kernel, initrd) = (input("kernel"), input("initrd"));
        let ovmf = Ovmf::parse(&image).unwrap();
        let launch = Launch {
            ovmf: &ovmf,
            kernel: kernel.as_deref().map(|kernel| {
                KernelHashes::of(&HashedFiles {
                    kernel,
                    initrd: initrd.as_deref(),
                    command_line: case["append"].as_str(),
                })
            }),
            vcpus: u32::try_from(case["vcpus"].as_u64().unwrap()).unwrap(),
            vcpu_type: case["vcpu_type"].as_str().unwrap_or("EPYC-v4").parse().unwrap(),
            guest_features: GuestFeatures(case["guest_features"].as_u64().unwrap()),
            vmm: match case["vmm"].as_str().unwrap() {
                "QEMU" => Vmm::Qemu,
                "ec2" => Vmm::Ec2,
                "gce" => Vmm::Gce,
                other => panic!("unknown vmm {other}"),
            },
        };
        match case["launch_digest"].as_str() {
            Some(wanted) => assert_eq!(measure(&launch).unwrap().to_string(), wanted, "{id}"),
            None => assert_eq!(measure(&launch), Err(MeasureError::Firmware(OvmfError::KernelHashes)), "{id}"),
        }
        equal += 1;
    }
    println!("{equal} golden cases equal, {absent} need a firmware that is not here");
    // Every case ran, but for those whose firmware is a distribution's file that this machine does not have.
    let cases = golden["cases"].as_array().unwrap();
    let external = cases.iter().filter(|case| case["ovmf"].as_str().unwrap().starts_with("external:")).count();
    assert_eq!(equal + absent, cases.len());
    assert!(absent <= external && equal > 0);
}

#[test]
fn the_hash_table_is_the_golden_block() {
    let Some(folder) = vectors() else { return };
    let golden: Value = serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let read = |name: &str| std::fs::read(folder.join("inputs").join(name)).unwrap();
    let hashes = KernelHashes::of(&HashedFiles {
        kernel: &read("kernel-a.bin"),
        initrd: Some(&read("initrd-a.bin")),
        command_line: Some("console=ttyS0 root=/dev/mapper/root ro"),
    });
    assert_eq!(hex::encode(hashes.table()), golden["blocks"]["sev_hash_table_std"].as_str().unwrap());
}

#[test]
fn hostile_firmware_is_refused_and_never_panics() {
    assert_eq!(Ovmf::parse(&[]).unwrap_err(), OvmfError::Length { got: 0 });
    assert_eq!(Ovmf::parse(&[0; 100]).unwrap_err(), OvmfError::Length { got: 100 });
    assert_eq!(Ovmf::parse(&[0; 4096]).unwrap_err(), OvmfError::Footer);
    let Some(folder) = vectors() else { return };
    let image = std::fs::read(folder.join("inputs/ovmf_AmdSev_suffix.bin")).unwrap();
    for position in 0..image.len() {
        for value in [0, 0xFF, image[position] ^ 1, image[position] ^ 0x80] {
            let mut changed = image.clone();
            changed[position] = value;
            let Ok(ovmf) = Ovmf::parse(&changed) else { continue };
            let total: u64 = ovmf.sections().iter().map(|section| u64::from(section.size)).sum();
            assert!(total <= 64 << 32, "{position}");
        }
    }
}

#[test]
fn an_unknown_processor_is_named() {
    let error = "EPYC-Naples".parse::<VcpuType>().unwrap_err();
    assert!(error.to_string().starts_with("`EPYC-Naples` is not a virtual CPU"), "{error}");
}
