//! A reported measurement is explained by a launch that reproduces it, or not at all.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use claims::LaunchDigest;
use measure::diff::{Explanation, Neighbourhood, explain};
use measure::snp::{GuestFeatures, KernelHashes, Launch, MeasureError, Ovmf, Vmm, measure};

const LINE: &str = "quiet confide.root=ab ro";

#[test]
fn the_neighbourhood_is_found() {
    let image = image();
    let ovmf = Ovmf::parse(&image).unwrap();
    let meant = launch(&ovmf, LINE);
    let no_initrd = KernelHashes { initrd: claims::Digest256::of(b"").0, ..meant.kernel.unwrap() };
    let neighbours: [(Launch<'_>, &[&str]); 10] = [
        (meant.clone(), &[]),
        (Launch { vcpus: 1, ..meant.clone() }, &["1 virtual CPUs instead of 2"]),
        (Launch { vcpus: 64, ..meant.clone() }, &["64 virtual CPUs instead of 2"]),
        (
            Launch { vcpu_type: "EPYC-Genoa".parse().unwrap(), vcpus: 7, ..meant.clone() },
            &["7 virtual CPUs instead of 2", "virtual CPUs of type EPYC-Genoa instead of EPYC-v4"],
        ),
        (
            Launch { guest_features: GuestFeatures(0x21), ..meant.clone() },
            &["SEV features 0x21 (debug swap, as hosts of Linux 6.6 and 6.7 set it)"],
        ),
        (launch(&ovmf, "quiet confide.root=ab ro "), &["a blank behind the command line"]),
        (launch(&ovmf, "quiet confide.root=ab ro\n"), &["a line end behind the command line"]),
        (launch(&ovmf, "quiet confide.root=ab"), &["the command line without `ro`"]),
        (Launch { kernel: Some(no_initrd), ..meant.clone() }, &["no initrd"]),
        (Launch { kernel: None, ..meant.clone() }, &["no kernel (the firmware started something else)"]),
    ];
    for (actual, words) in neighbours {
        let found = near(&meant, measure(&actual).unwrap()).unwrap();
        assert_eq!(found.words, words);
    }
}

#[test]
fn what_is_not_near_is_not_explained() {
    let image = image();
    let ovmf = Ovmf::parse(&image).unwrap();
    let meant = launch(&ovmf, LINE);
    let other = measure(&launch(&ovmf, "quiet confide.root=ab ro console=ttyS0")).unwrap();
    assert_eq!(near(&meant, other), None);
    assert_eq!(near(&meant, LaunchDigest([7; 48])), None);
}

#[test]
fn a_launch_without_virtual_cpus_is_refused() {
    let image = image();
    let ovmf = Ovmf::parse(&image).unwrap();
    assert_eq!(measure(&Launch { vcpus: 0, ..launch(&ovmf, LINE) }), Err(MeasureError::Vcpus { got: 0 }));
}

fn near(meant: &Launch<'_>, reported: LaunchDigest) -> Option<Explanation> {
    explain(&Neighbourhood { launch: meant.clone(), command_line: Some(LINE) }, reported)
}

fn launch<'a>(ovmf: &'a Ovmf<'a>, line: &str) -> Launch<'a> {
    Launch {
        ovmf,
        kernel: Some(KernelHashes { command_line: KernelHashes::command_line(line), initrd: [2; 32], kernel: [1; 32] }),
        vcpus: 2,
        vcpu_type: "EPYC-v4".parse().unwrap(),
        guest_features: GuestFeatures::SNP,
        vmm: Vmm::Qemu,
    }
}

/// A small image with a footer: hash table at 0x80_0C00, one section of each kind.
fn image() -> Vec<u8> {
    let sections: [(u32, u32, u32); 5] = [
        (0x80_0000 - 0x4000, 0x4000, 1),
        (0x80_1000, 0x1000, 2),
        (0x80_2000, 0x1000, 3),
        (0x80_0000, 0x1000, 0x10),
        (0x80_3000, 0x1000, 4),
    ];
    let mut metadata = b"ASEV".to_vec();
    for number in [16 + 12 * sections.len() as u32, 1, sections.len() as u32] {
        metadata.extend(number.to_le_bytes());
    }
    for (address, length, kind) in sections {
        for number in [address, length, kind] {
            metadata.extend(number.to_le_bytes());
        }
    }
    let guid = |text: &str| {
        let digits = hex::decode(text.replace('-', "")).unwrap();
        [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map(|place: usize| digits[place])
    };
    let mut table = Vec::new();
    let mut put = |data: &[u8], name: &str| {
        table.extend(data);
        table.extend((data.len() as u16 + 18).to_le_bytes());
        table.extend(guid(name));
    };
    put(&0x400_u32.to_le_bytes(), "dc886566-984a-4798-a75e-5585a7bf67cc");
    put(&[0x80_0C00_u32.to_le_bytes(), 0x400_u32.to_le_bytes()].concat(), "7255371f-3a3b-4b04-927b-1da6efa8d454");
    put(&0x80_B004_u32.to_le_bytes(), "00f771de-1a7e-4fcb-890e-68c77e2fb44e");
    table.extend((table.len() as u16 + 18).to_le_bytes());
    table.extend(guid("96b582de-1fb2-45f7-baea-a366c55a082d"));
    let mut image = vec![0x90; 8192];
    let end = image.len() - 32;
    image[end - table.len()..end].copy_from_slice(&table);
    let start = image.len() - 0x400;
    image[start..start + metadata.len()].copy_from_slice(&metadata);
    image
}
