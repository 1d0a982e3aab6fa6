//! NVIDIA's own evidence and RIMs from the shared vectors, under NVIDIA's roots.

use crate::forge::no_responses;
use attest::nvgpu::{
    ChainError, DeviceChain, Evidence, Expected, GpuError, NvidiaRoots, References, Rim, RimError, Roots, json,
};
use claims::nvgpu::{Architecture, Mode};
use claims::{Allowed, Code, Digest256, Refusal, UnixTime};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

/// 2024-06-01, when the signers of the RIMs used here were valid.
const THEN: UnixTime = UnixTime(1_717_200_000);

fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from)
        .join("nvgpu");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: vectors are not here");
    None
}

fn device(folder: &Path, name: &str) -> (Vec<u8>, DeviceChain) {
    let read = |end: &str| fs::read(folder.join(format!("evidence/{name}.{end}"))).unwrap();
    (read("report.bin"), DeviceChain::from_pem(&read("certs.pem")).unwrap())
}

#[test]
fn every_bit_of_a_report_is_covered() {
    let Some(folder) = vectors() else { return };
    let (bytes, chain) = device(&folder, "hopper-nvtrust-sample");
    // The chain is verified once, so that the test takes seconds.
    let chain = chain.verify(&NvidiaRoots, &no_responses(), THEN).unwrap();
    let verify = |bytes: &[u8]| Evidence::parse(bytes)?.verify_under(&chain).map(|_| ());
    assert_eq!(verify(&bytes), Ok(()));
    let mut flipped = bytes.clone();
    for bit in 0..bytes.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = verify(&flipped).unwrap_err();
        assert!(matches!(error.code(), Code::GpuFormat | Code::GpuSignature), "bit {bit}: {error}");
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
    // The one byte that nothing signs: it may be NUL, and then it is not read.
    for value in 1..=255_u8 {
        let error = verify(&[&bytes[..], &[value]].concat()).unwrap_err();
        assert_eq!(error, GpuError::Trailing { offset: bytes.len() });
    }
    assert_eq!(verify(&[&bytes[..], &[0]].concat()), Ok(()));
}

#[test]
fn every_bit_of_a_chain_is_covered() {
    let Some(folder) = vectors() else { return };
    let (bytes, chain) = device(&folder, "blackwell-nvat");
    let evidence = Evidence::parse(&bytes).unwrap();
    for (place, der) in chain.certificates().iter().enumerate() {
        // One bit of each byte, another one each time; all of them would take a minute.
        for at in 0..der.len() {
            let mut certificates = chain.certificates().to_vec();
            certificates[place][at] ^= 1 << (at % 8);
            let changed = DeviceChain::from_der(certificates);
            let error = evidence.verify(&changed, &NvidiaRoots, &no_responses(), THEN).unwrap_err();
            assert!(
                matches!(error.code(), Code::GpuChain | Code::GpuRoot | Code::GpuSignature),
                "certificate {place} byte {at}: {error}"
            );
        }
    }
}

#[test]
fn manifests_of_nvidias_verify_in_their_time_and_no_byte_can_change() {
    let Some(folder) = vectors() else { return };
    let read = |name: &str| fs::read(folder.join("rims").join(name)).unwrap();
    let vbios = read("1010_0200_882_96005E0001_PROD.swidtag");
    let verified = Rim::parse(&vbios).unwrap().verify(&NvidiaRoots, &no_responses(), THEN).unwrap();
    let golden = verified.golden();
    assert_eq!((golden.root, golden.measurements.len()), (NvidiaRoots.rim(), 12));
    assert_eq!(golden.rim, Digest256::of(&vbios));
    for at in (0..vbios.len()).step_by(23) {
        let mut changed = vbios.clone();
        changed[at] ^= 1;
        // Some bytes are spelling only (white space in base64 and between attributes): the canonical form is the same.
        if let Ok(other) = Rim::parse(&changed).and_then(|rim| rim.verify(&NvidiaRoots, &no_responses(), THEN)) {
            assert_eq!(other.document(), verified.document(), "byte {at}");
        }
    }
    let debug = Rim::parse(&read("neg-incorrect_cert_chain_driver_rim.xml")).unwrap();
    let error = debug.verify(&NvidiaRoots, &no_responses(), THEN).unwrap_err();
    assert!(matches!(&error, RimError::Chain(ChainError::RootNotPinned { name, .. }) if name.contains("Debug Only")));
    let changed = Rim::parse(&read("neg-NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml")).unwrap();
    let error = changed.verify(&NvidiaRoots, &no_responses(), UnixTime(1_750_000_000)).unwrap_err();
    assert!(matches!(error, RimError::Digest { .. }));
    let forged = Rim::parse(&read("neg-incorrect_signature_driver_rim.xml")).unwrap();
    let error = forged.verify(&NvidiaRoots, &no_responses(), UnixTime(1_750_000_000)).unwrap_err();
    assert_eq!(error, RimError::Signature);
    // The real VBIOS of real evidence; the driver's RIM is not public.
    let (bytes, chain) = device(&folder, "hopper-nvat");
    let evidence = Evidence::parse(&bytes).unwrap();
    let verified = evidence.verify(&chain, &NvidiaRoots, &no_responses(), THEN).unwrap();
    let mut expected = Expected::strict(*evidence.nonce(), Vec::new(), vec![golden]);
    let error = verified.clone().appraise(&expected).unwrap_err();
    let GpuError::GoldenMissing { id, .. } = &error else { panic!("{error}") };
    assert_eq!(id, "NV_GPU_DRIVER_GH100_535.86.09");
    expected.driver_golden = References::Waived { reason: "not public".to_owned() };
    verified.appraise(&expected).unwrap();
}

#[test]
fn evidence_files_are_read_in_both_forms() {
    let Some(folder) = vectors() else { return };
    let read = |name: &str| fs::read(folder.join("evidence-json").join(name)).unwrap();
    let devices = json::parse(&read("multi_gpu_hopper.json")).unwrap();
    assert_eq!(devices.len(), 4);
    let verified: Vec<_> = devices
        .iter()
        .map(|device| device.evidence.verify(&device.chain, &NvidiaRoots, &no_responses(), THEN).unwrap())
        .collect();
    assert!(verified.iter().all(|one| one.claims().mode == Some(Mode::Ppcie)));
    let switch = &json::parse(&read("switch_evidence_ls10.json")).unwrap()[0];
    assert_eq!((switch.architecture, switch.uuid.as_ref()), (Architecture::Ls10, None));
    // Trustee's form of the same, and hex for base64.
    let list: serde_json::Value = serde_json::from_slice(&read("hopper_evidence.json")).unwrap();
    let trustee = |evidence: String| {
        let (arch, certificate) = (&list[0]["arch"], &list[0]["certificate"]);
        serde_json::json!({ "device_evidence_list": [
            { "arch": arch, "uuid": "unknown", "evidence": evidence, "certificate": certificate }
        ]})
        .to_string()
    };
    let first = &json::parse(list.to_string().as_bytes()).unwrap()[0];
    for text in [list[0]["evidence"].as_str().unwrap().to_owned(), hex::encode(first.evidence.as_bytes())] {
        let found = json::parse(trustee(text).as_bytes()).unwrap();
        assert_eq!((&found[0].evidence, &found[0].chain), (&first.evidence, &first.chain));
        assert_eq!((found[0].nonce, found[0].uuid.as_deref()), (None, Some("unknown")));
    }
    assert_eq!(first.nonce.as_ref(), Some(first.evidence.nonce()));
    let expected = Expected { nonce: Allowed::only(claims::Nonce([1; 32])), ..crate::forge::lenient() };
    assert_eq!(verified[0].clone().appraise(&expected).unwrap_err().code(), Code::GpuNonce);

    let refused = |text: String| json::parse(text.as_bytes()).unwrap_err();
    for bad in [trustee("!".to_owned()), trustee("11e0zz".to_owned()), "[{}]".to_owned(), "5".to_owned(), String::new()]
    {
        assert!(matches!(refused(bad.clone()), GpuError::Json { .. }), "{bad}");
    }
    assert!(matches!(refused(trustee("EeAB".to_owned())), GpuError::Short { .. }));
    let many = serde_json::json!(vec![list[0].clone(); 17]).to_string();
    assert!(matches!(refused(many), GpuError::Json { .. }));
    assert!(matches!(refused(" ".repeat(2 * 1024 * 1024 + 1)), GpuError::Json { .. }));
    assert!(DeviceChain::from_pem(&vec![b'-'; 65 * 1024]).is_err());
    let certificate = fs::read(folder.join("roots/device-root.pem")).unwrap();
    assert!(DeviceChain::from_pem(&certificate.repeat(9)).is_err());
    assert_eq!(DeviceChain::from_pem(b"nothing").unwrap().certificates().len(), 0);
}

proptest! {
    /// No bytes panic a parser.
    #[test]
    fn parsers_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600), text in "(<|>|a|/|=|\"|&|;|xmlns|:| |!|\\?|-){0,80}") {
        let _ = Evidence::parse(&bytes);
        let _ = Rim::parse(&bytes);
        let _ = json::parse(&bytes);
        let _ = Rim::parse(text.as_bytes());
        let _ = attest::nvgpu::Opaque::parse(&bytes);
        let _ = DeviceChain::from_pem(&bytes);
    }

    /// What is written is what is read.
    #[test]
    fn transcripts_round_trip(nonce in any::<[u8; 32]>(), value in any::<[u8; 48]>(), last in 1..=255_u8, field in 100..200_u16, data in proptest::collection::vec(any::<u8>(), 0..99)) {
        let mut report = crate::forge::Report::new().nonce(claims::Nonce(nonce)).with(field, &data);
        report.blocks = (1..=last).map(|index| (index, value)).collect();
        let bytes = [report.unsigned(), vec![1; 96]].concat();
        let evidence = Evidence::parse(&bytes).unwrap();
        prop_assert_eq!(evidence.nonce().0, nonce);
        prop_assert_eq!(evidence.blocks().len(), usize::from(last));
        prop_assert!(evidence.blocks().iter().all(|block| block.value.0 == value && block.kind == 1));
        prop_assert_eq!(evidence.opaque().field(field), Some(&data[..]));
        prop_assert_eq!(evidence.signature_offset() + 96, bytes.len());
    }
}
