//! MRTD: against a second computation written straight from the definition, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use aws_lc_rs::digest::{SHA384, digest};
use claims::{Code, Refusal};
use measure::tdx::{Tdvf, TdxError, mrtd};

/// data offset, data size, address, size, type, attributes.
type Section = (u32, u32, u64, u64, u32, u32);
const LENGTH: usize = 0x5000;
const SECTIONS: [Section; 5] = [
    (0x1000, 0x2000, 0xFFFF_E000, 0x2000, 0, 1),
    (0, 0x1000, 0xFFFF_D000, 0x1000, 1, 0),
    (0, 0, 0x81_0000, 0x2000, 3, 0),
    (0, 0, 0x80_9000, 0x1000, 2, 0),
    (0, 0, 0x10_0000, 0x4000, 4, 2),
];

#[test]
fn the_number_is_the_definition() {
    let image = image(&SECTIONS);
    let mut log = Vec::new();
    let mut record = |name: &str, address: u64, data: &[u8]| {
        let mut bytes = vec![0; 128];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes[16..24].copy_from_slice(&address.to_le_bytes());
        log.extend(bytes);
        log.extend(data);
    };
    for page in 0..2_usize {
        let address = 0xFFFF_E000 + page as u64 * 4096;
        record("MEM.PAGE.ADD", address, &[]);
        for chunk in 0..16_usize {
            let data = 0x1000 + page * 4096 + chunk * 256;
            record("MR.EXTEND", address + chunk as u64 * 256, &image[data..data + 256]);
        }
    }
    for address in [0xFFFF_D000, 0x81_0000, 0x81_1000, 0x80_9000] {
        record("MEM.PAGE.ADD", address, &[]);
    }
    assert_eq!(mrtd(&image).unwrap().0, digest(&SHA384, &log).as_ref());
}

#[test]
fn what_is_measured_counts_and_nothing_else() {
    let image = image(&SECTIONS);
    let number = mrtd(&image).unwrap();
    let changed = |at: usize| {
        let mut image = image.clone();
        image[at] ^= 1;
        mrtd(&image).unwrap()
    };
    assert_ne!(changed(0x1000), number);
    assert_ne!(changed(0x2FFF), number);
    assert_eq!(changed(0), number);
    assert_eq!(changed(0x3000), number);
}

#[test]
fn each_rule_has_its_error() {
    let refused = |change: fn(&mut Section)| {
        let mut sections = SECTIONS;
        change(&mut sections[0]);
        match Tdvf::parse(&image(&sections)).unwrap_err() {
            TdxError::Section { index: 0, wrong } => wrong,
            other => panic!("{other}"),
        }
    };
    assert_eq!(refused(|section| section.4 = 7), "is of an unknown type");
    assert_eq!(refused(|section| section.5 = 4), "has an unknown attribute");
    assert_eq!(refused(|section| section.2 += 1), "is not made of pages");
    assert_eq!(refused(|section| section.3 = 0), "has no place in memory");
    assert_eq!(refused(|section| section.0 = 0x4000), "lies outside of the image");
    assert_eq!(refused(|section| section.1 = 0x3000), "has more contents than memory");
    assert_eq!(refused(|section| section.1 = 0x1000), "is measured, and its contents do not fill it");
    assert_eq!(refused(|section| section.5 = 3), "is measured and added later");
    let large = (0, 0, 0, 1 << 33, 3, 0);
    let error = Tdvf::parse(&image(&[large])).unwrap_err();
    assert_eq!(error, TdxError::Section { index: 0, wrong: "adds more memory than 1 GiB in all" });
    assert_eq!(mrtd(&[0; 100]).unwrap_err(), TdxError::Length { got: 100 });
    assert!(matches!(mrtd(&[0; 4096]).unwrap_err(), TdxError::Footer(_)));
    let mut wrong = image(&SECTIONS);
    let at = LENGTH - 0x800;
    wrong[at] = b'X';
    assert_eq!(mrtd(&wrong).unwrap_err(), TdxError::Malformed { offset: at });
    let mut without = image(&SECTIONS);
    without[LENGTH - 32 - 18 - 16] ^= 1;
    assert_eq!(mrtd(&without).unwrap_err(), TdxError::NoMetadata);
    assert_eq!(mrtd(&wrong).unwrap_err().code(), Code::TdxFirmware);
}

#[test]
fn no_changed_byte_makes_it_panic() {
    let image = image(&SECTIONS);
    for at in LENGTH - 0x900..LENGTH {
        for value in [0, 0xFF, image[at] ^ 1, image[at] ^ 0x80] {
            let mut changed = image.clone();
            changed[at] = value;
            let Ok(firmware) = Tdvf::parse(&changed) else { continue };
            // Memory that is not measured may have become large: such a number is right, and slow here.
            if firmware.sections().iter().map(|section| section.size).sum::<u64>() < 1 << 20 {
                let _ = firmware.mrtd();
            }
        }
    }
}

#[test]
fn firmware_of_this_machine_has_a_volume_that_is_measured() {
    let home = std::env::var("HOME").unwrap_or_default();
    let parts = std::env::var("CONFIDE_GUEST_PARTS").unwrap_or_else(|_| format!("{home}/.cache/confide/guest-parts"));
    let images = [format!("{parts}/OVMF.amdsev.fd"), "/usr/share/ovmf/OVMF.fd".to_owned()];
    for path in &images {
        let Ok(image) = std::fs::read(path) else {
            println!("skipped: {path} is not here");
            continue;
        };
        let firmware = Tdvf::parse(&image).unwrap();
        let volume = firmware.sections().iter().find(|section| section.kind == 0).unwrap();
        assert_eq!((volume.attributes, volume.address + volume.size), (1, 1 << 32), "{path}");
        println!("{path}: MRTD {}", firmware.mrtd());
    }
}

/// An image whose pages differ, with metadata 0x800 before its end.
fn image(sections: &[Section]) -> Vec<u8> {
    let mut image: Vec<u8> = (0..LENGTH).map(|at| (at / 256 * 7 + at % 13) as u8).collect();
    let mut metadata = b"TDVF".to_vec();
    for number in [16 + 32 * sections.len() as u32, 1, sections.len() as u32] {
        metadata.extend(number.to_le_bytes());
    }
    for (data_offset, data_size, address, size, kind, attributes) in sections {
        metadata.extend([data_offset.to_le_bytes(), data_size.to_le_bytes()].concat());
        metadata.extend([address.to_le_bytes(), size.to_le_bytes()].concat());
        metadata.extend([kind.to_le_bytes(), attributes.to_le_bytes()].concat());
    }
    let guid = |text: &str| {
        let digits = hex::decode(text.replace('-', "")).unwrap();
        [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map(|place: usize| digits[place])
    };
    let mut table = 0x800_u32.to_le_bytes().to_vec();
    table.extend(22_u16.to_le_bytes());
    table.extend(guid("e47a6535-984a-4798-865e-4685a7bf8ec2"));
    table.extend((table.len() as u16 + 18).to_le_bytes());
    table.extend(guid("96b582de-1fb2-45f7-baea-a366c55a082d"));
    let end = LENGTH - 32;
    image[end - table.len()..end].copy_from_slice(&table);
    image[LENGTH - 0x800..LENGTH - 0x800 + metadata.len()].copy_from_slice(&metadata);
    image
}
