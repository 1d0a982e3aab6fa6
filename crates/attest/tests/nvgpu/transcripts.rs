//! The form of the bytes: request, response, opaque fields.

use crate::forge::{Report, WORLD};
use attest::nvgpu::{Evidence, GpuError};
use claims::nvgpu::Architecture;
use claims::{Code, Refusal};

#[test]
fn opaque_fields_have_one_form() {
    let report = Report::new();
    let refused = |report: Report| match Evidence::parse(&report.signed_by(&WORLD.device[0])) {
        Err(GpuError::Opaque { field, what }) => (field, what),
        other => panic!("{other:?}"),
    };
    let mut double = report.clone();
    double.opaque.push((3, b"1".to_vec()));
    assert_eq!(refused(double), (3, "is there twice"));
    for text in [&b"550/../x"[..], b"550 90", b"550\0.90", &[b'5'; 33], "5\u{e9}".as_bytes()] {
        assert_eq!(refused(report.clone().with(3, text)), (3, "is not a short plain text"), "{text:?}");
    }
    assert_eq!(refused(report.clone().with(17, b"a?b")), (17, "is not a short plain text"));
    assert_eq!(refused(report.clone().without(6)), (6, "is missing"));
    let vbios = "is not five numbers and three zeros";
    assert_eq!(refused(report.clone().with(6, &[0, 0x9F, 0, 0x96, 1, 0, 0, 1])), (6, vbios));
    assert_eq!(refused(report.clone().with(6, &[0; 7])), (6, vbios));
    // Without its board, a GPU's VBIOS RIM has no name; unknown fields are kept.
    let bytes = report.without(17).with(999, &[1, 2, 3]).signed_by(&WORLD.device[0]);
    let evidence = Evidence::parse(&bytes).unwrap();
    assert_eq!(evidence.opaque().field(999), Some(&[1, 2, 3][..]));
    assert_eq!(evidence.rim_ids(Architecture::Hopper).vbios, None);
    assert_eq!(evidence.as_bytes(), bytes);
}

#[test]
fn the_transcript_has_one_form() {
    let good = Report::new().unsigned();
    let parse = |bytes: &[u8]| Evidence::parse(&[bytes, &[0x77; 96]].concat()).map(|_| ());
    assert_eq!(parse(&good), Ok(()));
    let (record, count) = (45, 42);
    let changed = |place: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[place] = value;
        parse(&bytes).unwrap_err()
    };
    let field = |what, offset, got| GpuError::Field { what, offset, got };
    assert_eq!(changed(0, 0x12), field("request version", 0, 0x12));
    assert_eq!(changed(1, 0xE1), field("request code", 1, 0xE1));
    assert_eq!(changed(2, 0), field("request attributes", 2, 0));
    assert_eq!(changed(3, 1), field("request operation", 3, 1));
    assert_eq!(changed(36, 8), field("slot", 36, 8));
    assert_eq!(changed(36, 1), field("response slot", 40, 0));
    assert_eq!(changed(37, 0x10), field("response version", 37, 0x10));
    assert_eq!(changed(38, 0x7F), field("response code", 38, 0x7F));
    assert_eq!(changed(39, 64), field("response parameter 1", 39, 64));
    assert_eq!(changed(41, 63), GpuError::BlockCount { stated: 63, got: 64 });
    assert_eq!(changed(count, 0xBF), GpuError::Short { what: "measurement", offset: 3469 });
    assert_eq!(changed(record, 0), field("measurement index", record, 0));
    assert_eq!(changed(record + 55, 1), field("measurement index", record + 55, 1));
    assert_eq!(changed(record + 1, 2), field("measurement specification", record, 2));
    assert_eq!(changed(record + 5, 47), field("measurement value size", record, 1));
    let mut short = good.clone();
    (short[record + 2], short[record + 5]) = (50, 47);
    assert_eq!(parse(&short).unwrap_err(), GpuError::MeasurementLength { index: 1, got: 47 });
    assert_eq!(Evidence::parse(&[0; 65 * 1024]).unwrap_err(), GpuError::TooLong { got: 65 * 1024 });
    let whole = [&good[..], &[0x77; 96]].concat();
    for length in 0..whole.len() {
        let error = Evidence::parse(&whole[..length]).unwrap_err();
        assert_eq!(error.code(), Code::GpuFormat, "{length}");
    }
    // One NUL may follow and says nothing; a second one, or anything else, may not.
    let more = |tail: &[u8]| Evidence::parse(&[&whole[..], tail].concat());
    assert_eq!(more(&[0]).unwrap().digest(), more(&[]).unwrap().digest());
    for tail in [&[0, 0][..], &[1], &whole] {
        assert_eq!(more(tail).unwrap_err(), GpuError::Trailing { offset: whole.len() });
    }
}
