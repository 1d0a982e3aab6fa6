//! Evidence and its comparison with reference values.

use crate::forge::{
    DRIVER, FWID, Manifest, NONCE, Place, Report, VBIOS, WORLD, chain_under, composite_id, device_places, lenient,
    roots, tcb_info, verify,
};
use attest::nvgpu::{
    ChainError, DeviceChain, Evidence, Expected, GpuError, NvidiaRoots, References, RevocationInput, Roots,
    UnanchoredRoots, VersionRule,
};
use claims::nvgpu::{Architecture, Measres, Mode};
use claims::{Allowed, Code, Nonce, Refusal, UnixTime};
use rcgen::{BasicConstraints, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};

/// Driver and VBIOS together, as no public data has them.
fn strict() -> Expected {
    let driver = Manifest::driver(&[7, 21, 30, 35]).golden();
    Expected::strict(NONCE, vec![driver], vec![Manifest::vbios(&[0, 1, 2]).golden()])
}

fn appraise(report: &Report, expected: &Expected) -> Result<Measres, GpuError> {
    let appraised = report.verify()?.appraise(expected)?;
    Ok(appraised.claims().measres.unwrap())
}

#[test]
fn a_device_with_all_reference_values_is_appraised() {
    let appraised = Report::new().verify().unwrap().appraise(&strict()).unwrap();
    let claims = appraised.claims();
    assert_eq!(claims.measres, Some(Measres::Success));
    assert_eq!((claims.chip.as_str(), claims.architecture), ("GH100", Architecture::Hopper));
    assert_eq!(claims.hwmodel, "GH100 A01 GSP BROM");
    assert_eq!(claims.device_id, "41".repeat(9));
    // Claims are printed under NVIDIA's names.
    let json = serde_json::to_value(claims).unwrap();
    assert_eq!(json["measres"], "success");
    assert_eq!(json["secboot"], true);
    assert_eq!(json["dbgstat"], "disabled");
    assert_eq!(json["x-nvidia-gpu-driver-version"], DRIVER);
    assert_eq!(json["x-nvidia-gpu-vbios-version"], VBIOS);
    assert_eq!(json["x-nvidia-gpu-attestation-report-cert-chain-fwid-match"], true);
    // Every waiver is listed.
    let waived: Vec<_> = appraised.waivers().iter().map(|waiver| waiver.claim).collect();
    assert_eq!(waived, ["arch", "device-id", "mode", "driver-version", "vbios-version"]);
    assert_eq!(appraised.checked_at(), crate::forge::NOW);
}

#[test]
fn measurements_that_differ_are_named_with_got_and_wanted() {
    let mut report = Report::new();
    report.blocks.insert(8, [0xDD; 48]);
    report.blocks.insert(2, [0xDD; 48]);
    report.blocks.remove(&31);
    let error = report.verify().unwrap().appraise(&strict()).unwrap_err();
    let GpuError::Measurements { mismatches } = &error else { panic!("{error}") };
    let found: Vec<_> = mismatches.iter().map(|one| (one.index, one.source, one.got.is_some())).collect();
    assert_eq!(found, [(1, "vbios", true), (7, "driver", true), (30, "driver", false)]);
    assert_eq!(error.code(), Code::GpuMeasurement);
    let finding = error.finding().unwrap();
    assert_eq!((finding.claim.as_str(), finding.got.as_str()), ("measurements[1]", "dd".repeat(48).as_str()));
    assert!(finding.wanted.contains(&"02".repeat(48)), "{finding:?}");

    // What no RIM speaks of is not compared.
    let mut report = Report::new();
    report.blocks.insert(60, [0xDD; 48]);
    assert_eq!(appraise(&report, &strict()), Ok(Measres::Success));
    // Raw bytes are no digest, even when they are equal.
    let mut bytes = Report::new().unsigned();
    let place = 37 + 8 + 7 * 55 + 4;
    assert_eq!(bytes[place], 1);
    bytes[place] = 0x81;
    bytes.extend(crate::forge::sign_fixed(&WORLD.device[0].key, &bytes));
    let error = verify(&bytes, &WORLD.device).unwrap().appraise(&strict()).unwrap_err();
    assert!(matches!(error, GpuError::Measurements { mismatches } if mismatches[0].index == 7));
}

#[test]
fn nvdec0_is_compared_only_while_it_is_on() {
    let mut report = Report::new();
    report.blocks.insert(36, [0xDD; 48]);
    assert_eq!(appraise(&report, &strict()), Ok(Measres::Success));
    let on = report.clone().with(11, &[0xAA]);
    assert!(
        matches!(appraise(&on, &strict()), Err(GpuError::Measurements { mismatches }) if mismatches[0].index == 35)
    );
    assert_eq!(appraise(&report.clone().without(11), &strict()), Err(GpuError::Nvdec0));
    let odd = GpuError::Opaque { field: 11, what: "is neither 0xAA nor 0x55" };
    assert_eq!(appraise(&report.with(11, &[0x5A]), &strict()), Err(odd));
}

#[test]
fn reference_values_must_be_for_this_very_driver_and_vbios() {
    let report = Report::new();
    let with = |driver: Manifest, vbios: Manifest| Expected::strict(NONCE, vec![driver.golden()], vec![vbios.golden()]);
    let (driver, vbios) = (|| Manifest::driver(&[7]), || Manifest::vbios(&[1]));
    assert_eq!(appraise(&report, &with(driver(), vbios())), Ok(Measres::Success));
    // The same index in both.
    let error = appraise(&report, &with(driver(), Manifest::vbios(&[7]))).unwrap_err();
    assert_eq!(error, GpuError::GoldenConflict { index: 7 });
    assert_eq!(error.code(), Code::GpuGolden);

    let missing = |what, version: &str, id: &str| {
        let (product, version, id) = ("GH100".to_owned(), version.to_owned(), id.to_owned());
        Err(GpuError::GoldenMissing { what, product, version, id })
    };
    let no_driver = || missing("driver", DRIVER, "NV_GPU_DRIVER_GH100_550.90.07");
    let no_vbios = missing("vbios", VBIOS, "NV_GPU_VBIOS_1010_0200_882_96009F0001");
    for wrong in [
        Manifest { version: "550.90.08".to_owned(), ..driver() },
        Manifest { product: "GB100".to_owned(), ..driver() },
        Manifest { edition: "SWITCH".to_owned(), ..driver() },
    ] {
        assert_eq!(appraise(&report, &with(wrong, vbios())), no_driver());
    }
    assert_eq!(appraise(&report, &with(driver(), driver())), no_vbios);
    // Several are given; the fitting one is taken.
    let mut several = with(driver(), vbios());
    several.driver_golden =
        References::Of(vec![Manifest { version: "1.0".to_owned(), ..driver() }.golden(), driver().golden()]);
    assert_eq!(appraise(&report, &several), Ok(Measres::Success));
    // Values of another root, or none, are none.
    let mut foreign = driver().golden();
    foreign.root = NvidiaRoots.rim();
    several.driver_golden = References::Of(vec![foreign]);
    assert_eq!(appraise(&report, &several), no_driver());
    let mut empty = driver().golden();
    empty.measurements.clear();
    several.driver_golden = References::Of(vec![empty]);
    assert_eq!(appraise(&report, &several), no_driver());
    // A waiver is a waiver, and the result says so.
    several.driver_golden = References::Waived { reason: "none is public".to_owned() };
    let appraised = report.verify().unwrap().appraise(&several).unwrap();
    assert_eq!(appraised.claims().measres, Some(Measres::NotRun));
    assert!(appraised.waivers().iter().any(|waiver| waiver.claim == "driver measurements"));
    let json = serde_json::to_value(appraised.claims()).unwrap();
    assert_eq!((&json["measres"], &json["secboot"]), (&"not-run".into(), &serde_json::Value::Null));
}

#[test]
fn the_rule_is_asked_for_everything() {
    let report = Report::new();
    let other = Nonce([8; 32]);
    let refusal = |expected: Expected| appraise(&report, &expected).unwrap_err();
    let error = refusal(Expected { nonce: Allowed::only(other), ..lenient() });
    assert_eq!(error, GpuError::Nonce { got: NONCE, wanted: vec![other] });
    assert_eq!(error.code(), Code::GpuNonce);
    let error = refusal(Expected { architectures: Allowed::only(Architecture::Blackwell), ..lenient() });
    assert_eq!(error, GpuError::Architecture { got: Architecture::Hopper, wanted: vec![Architecture::Blackwell] });
    let error = refusal(Expected { devices: Allowed::only("42".repeat(9)), ..lenient() });
    assert_eq!(error.code(), Code::GpuDevice);
    assert!(appraise(&report, &Expected { devices: Allowed::only("41".repeat(9)), ..lenient() }).is_ok());
    let error = refusal(Expected { modes: Allowed::only(Some(Mode::Ppcie)), ..lenient() });
    assert_eq!(error, GpuError::Mode { got: None, wanted: vec![Some(Mode::Ppcie)] });
    assert_eq!((error.code(), error.finding().unwrap().wanted.as_str()), (Code::GpuMode, "PPCIE"));

    let versions = |driver: VersionRule, vbios: VersionRule| Expected { driver, vbios, ..lenient() };
    let any = || VersionRule::Any { reason: "test".to_owned() };
    let least = |text: &str| VersionRule::AtLeast(text.to_owned());
    let listed = |text: &str| VersionRule::OneOf(vec![text.to_owned()]);
    for good in [
        versions(least("550.90.07"), any()),
        versions(least("550.54.14"), any()),
        versions(least("535.999"), any()),
        versions(listed(DRIVER), listed(&VBIOS.to_lowercase())),
        versions(any(), least("96.00.9E.FF.FF")),
    ] {
        assert!(appraise(&report, &good).is_ok(), "{good:?}");
    }
    for bad in [
        versions(least("550.90.08"), any()),
        versions(least("550.100"), any()),
        versions(least("551"), any()),
        versions(least("550.x"), any()),
        versions(listed("550.90"), any()),
        versions(any(), least("96.00.A0.00.00")),
        versions(any(), least("95.00.00.00.00")),
        versions(any(), listed("96.00.9F.00.02")),
    ] {
        assert_eq!(appraise(&report, &bad).unwrap_err().code(), Code::GpuVersion, "{bad:?}");
    }
}

#[test]
fn modes_are_read_from_old_and_new_fields() {
    let mode = |report: Report| report.verify().map(|verified| verified.claims().mode);
    let report = Report::new;
    assert_eq!(mode(report()), Ok(None));
    assert_eq!(mode(report().with(21, &[0xAA])), Ok(Some(Mode::Ppcie)));
    assert_eq!(mode(report().with(21, &[0x55])), Ok(None));
    assert_eq!(mode(report().with(36, &[0, 0])), Ok(Some(Mode::Spt)));
    assert_eq!(mode(report().with(36, &[1, 0])), Ok(Some(Mode::Mpt)));
    assert_eq!(mode(report().with(36, &[2, 0]).with(21, &[0xAA])), Ok(Some(Mode::Ppcie)));
    let refuse = |what| Err(GpuError::Opaque { field: 36, what });
    assert_eq!(mode(report().with(36, &[3, 0])), refuse("is neither 0, 1 nor 2"));
    assert_eq!(mode(report().with(36, &[2])), refuse("is neither 0, 1 nor 2"));
    assert_eq!(mode(report().with(36, &[0, 0]).with(21, &[0xAA])), refuse("contradicts field 21"));
}

#[test]
fn the_firmware_id_must_be_the_certificates() {
    let report = Report::new();
    let error = report.clone().with(20, &[0xF2; 48]).verify().unwrap_err();
    assert!(matches!(error, GpuError::Fwid { .. }), "{error}");
    assert_eq!(error.code(), Code::GpuFwid);
    assert!(report.clone().without(20).verify().unwrap().claims().fwid.is_none());
    assert_eq!(
        report.clone().with(20, &[1; 47]).verify(),
        Err(GpuError::Opaque { field: 20, what: "is not a SHA-384 digest" })
    );
    let with = |extensions: Vec<rcgen::CustomExtension>| {
        let mut places = device_places("GH100", 0x51);
        places[0].extensions = extensions;
        let chain = whole(&places);
        verify(&report.signed_by(&chain[0]), &chain)
    };
    assert!(with(vec![tcb_info(&[FWID])]).is_ok());
    assert!(with(vec![tcb_info(&[FWID, [0; 48]])]).is_ok());
    assert!(matches!(with(vec![tcb_info(&[[0; 48], FWID])]), Err(GpuError::Fwid { .. })));
    assert!(matches!(with(Vec::new()), Err(GpuError::FwidMissing { .. })));
    let malformed = |what| Err(GpuError::Chain(ChainError::Constraints { place: 0, what }));
    assert_eq!(
        with(vec![composite_id(&FWID), tcb_info(&[FWID])]).map(|_| ()),
        malformed("has two kinds of firmware ids")
    );
    let odd = rcgen::CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 1], vec![0x30, 0x00]);
    assert_eq!(with(vec![odd]).map(|_| ()), malformed("has a malformed firmware id"));
}

/// Places below the world's device root, with the root.
fn whole(places: &[Place]) -> Vec<crate::forge::Issued> {
    let root = &WORLD.device[4];
    let mut chain = chain_under(places, root);
    chain.push(crate::forge::Issued {
        der: root.der.clone(),
        key: rcgen::KeyPair::try_from(root.key.serialize_der()).unwrap(),
        params: root.params.clone(),
    });
    chain
}

#[test]
fn the_chain_has_one_shape() {
    let report = Report::new();
    let refused = |change: &dyn Fn(&mut Vec<Place>)| {
        let mut places = device_places("GH100", 0x61);
        change(&mut places);
        // The chain is refused before anybody looks at the signature.
        match verify(&report.signed_by(&WORLD.device[0]), &whole(&places)) {
            Err(GpuError::Chain(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let constraints = |place, what| ChainError::Constraints { place, what };
    assert_eq!(
        refused(&|places| places[0].authority = Some(BasicConstraints::Unconstrained)),
        constraints(0, "is an authority, a leaf is none")
    );
    assert_eq!(
        refused(&|places| places[0].usages = vec![KeyUsagePurpose::KeyAgreement]),
        constraints(0, "may not sign, a leaf must")
    );
    assert_eq!(refused(&|places| places[1].authority = None), constraints(1, "is not an authority"));
    assert_eq!(
        refused(&|places| places[2].usages = vec![KeyUsagePurpose::CrlSign]),
        constraints(2, "may not sign certificates")
    );
    assert_eq!(
        refused(&|places| places[2].authority = Some(BasicConstraints::Constrained(0))),
        constraints(2, "allows no chain of this length")
    );
    assert_eq!(
        refused(&|places| {
            let double = places[0].extensions[0].clone();
            places[0].extensions.push(double);
        }),
        constraints(0, "has an extension twice")
    );
    let critical = |places: &mut Vec<Place>| {
        let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99], vec![5, 0]);
        extension.set_criticality(true);
        places[3].extensions.push(extension);
    };
    assert_eq!(refused(&critical), ChainError::CriticalExtension { place: 3, oid: "1.3.6.1.4.1.99".to_owned() });
    assert_eq!(refused(&|places| places[0].algorithm = &PKCS_ECDSA_P256_SHA256), ChainError::Key { place: 0 });
    assert!(matches!(refused(&|places| places[2].years = (2030, 2040)), ChainError::Time { place: 2, .. }));
    assert!(matches!(refused(&|places| places[1].years = (2020, 2021)), ChainError::Time { place: 1, .. }));
    // Length and order.
    let bytes = report.signed_by(&WORLD.device[0]);
    let ders = crate::forge::ders(&WORLD.device);
    let with = |ders: Vec<Vec<u8>>| {
        let chain = DeviceChain::from_der(ders);
        let revocation = RevocationInput::absent("test");
        let evidence = Evidence::parse(&bytes).unwrap();
        evidence.verify(&chain, &roots(), &revocation, crate::forge::NOW).map(|_| ())
    };
    let without = |place: usize| {
        let mut fewer = ders.clone();
        fewer.remove(place);
        with(fewer)
    };
    for place in 0..4 {
        let wanted = ChainError::Length { got: 4, wanted: "5".to_owned() };
        assert_eq!(without(place), Err(GpuError::Chain(wanted)), "{place}");
    }
    assert!(matches!(without(4), Err(GpuError::Chain(ChainError::RootNotPinned { .. }))));
    assert_eq!(with(Vec::new()).unwrap_err().code(), Code::GpuChain);
    for place in 0..3 {
        let mut swapped = ders.clone();
        swapped.swap(place, place + 1);
        assert!(matches!(with(swapped), Err(GpuError::Chain(ChainError::Name { .. }))), "{place}");
    }
    let mut more = ders.clone();
    more.insert(4, ders[4].clone());
    assert!(matches!(with(more), Err(GpuError::Chain(ChainError::Length { got: 6, .. }))));
    // The same names under another root, and NVIDIA's roots for a test device.
    let forged = crate::forge::chain(
        &[&device_places("GH100", 0x41)[..], &[Place::authority("NVIDIA Device Identity CA")]].concat(),
    );
    let error = verify(&report.signed_by(&forged[0]), &forged).unwrap_err();
    assert!(matches!(error, GpuError::Chain(ChainError::RootNotPinned { .. })));
    assert_eq!(error.code(), Code::GpuRoot);
    let mut mixed = crate::forge::ders(&forged);
    mixed[4] = ders[4].clone();
    assert_eq!(with(mixed), Err(GpuError::Chain(ChainError::Signature { place: 3 })));
    let evidence = Evidence::parse(&bytes).unwrap();
    let chain = DeviceChain::from_der(ders.clone());
    let error = evidence.verify(&chain, &NvidiaRoots, &RevocationInput::absent("test"), UnixTime(0)).unwrap_err();
    assert_eq!(error.code(), Code::GpuRoot);
    // Pins do not stand in for each other.
    let crossed = UnanchoredRoots { device: roots().rim, rim: roots().device };
    let error = evidence.verify(&chain, &crossed, &RevocationInput::absent("test"), crate::forge::NOW).unwrap_err();
    assert_eq!(error.code(), Code::GpuRoot);
}

#[test]
fn chips_are_what_their_certificates_say() {
    let gpu = Report::new();
    let with = |report: &Report, places: &[Place]| {
        let chain = whole(places);
        verify(&report.signed_by(&chain[0]), &chain)
    };
    let blackwell = with(&gpu.clone().with(35, b"GB100"), &device_places("GB102", 0x71)).unwrap();
    assert_eq!(blackwell.claims().architecture, Architecture::Blackwell);
    assert_eq!(blackwell.claims().chip, "GB100");
    assert_eq!(blackwell.check_sent_as(Architecture::Blackwell), Ok(()));
    let error = blackwell.check_sent_as(Architecture::Hopper).unwrap_err();
    assert_eq!(error, GpuError::ArchitectureSent { sent: Architecture::Hopper, got: Architecture::Blackwell });
    assert_eq!(error.code(), Code::GpuArchitecture);
    let ids = blackwell.evidence().rim_ids(Architecture::Blackwell);
    assert_eq!(ids.driver.as_deref(), Some("NV_GPU_CC_DRIVER_GB100_550.90.07"));

    let error = with(&gpu.clone().with(35, b"GH100"), &device_places("GB100", 0x72)).unwrap_err();
    assert_eq!(error, GpuError::Chip { got: "GH100".to_owned(), certificate: "GB100".to_owned() });
    let unknown = |got: &str| Err(GpuError::UnknownChip { got: got.to_owned() });
    for chip in ["GA100", "GB10", "GBabc", "", "GH100X"] {
        let verified = with(&gpu, &device_places(chip, 0x73)).map(|_| ());
        assert_eq!(verified, unknown(&format!("{chip} A01 GSP BROM")), "{chip}");
    }
    let mut mixed = device_places("GH100", 0x74);
    mixed[0].name = "GB100 A01 GSP FMC LF".to_owned();
    assert_eq!(with(&gpu, &mixed).map(|_| ()), unknown("GB100 A01 GSP FMC LF"));
    // A GPU without a driver, a switch with one.
    let switch = gpu.clone().without(3).with(6, b"96.10.55.00.01");
    let kind = |architecture| Err(GpuError::Kind { architecture });
    assert_eq!(with(&switch, &device_places("GH100", 0x75)).map(|_| ()), kind(Architecture::Hopper));
    assert_eq!(with(&gpu, &device_places("LS_10", 0x76)).map(|_| ()), kind(Architecture::Ls10));
    let verified = with(&switch, &device_places("LS_10", 0x77)).unwrap();
    assert_eq!(verified.claims().chip, "LS10");
    let bios = Manifest {
        product: "LS10".to_owned(),
        edition: "SWITCH".to_owned(),
        version: "96.10.55.00.01".to_owned(),
        ..Manifest::vbios(&[0, 35])
    };
    // A switch has no driver, and its block 36 is no NVDEC0.
    let expected = Expected::strict(NONCE, Vec::new(), vec![bios.golden()]);
    let appraised = verified.appraise(&expected).unwrap();
    assert_eq!(appraised.claims().measres, Some(Measres::Success));
    assert!(serde_json::to_value(appraised.claims()).unwrap().get("x-nvidia-switch-bios-version").is_some());
}
