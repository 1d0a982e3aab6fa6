//! The emulated processor against its own verifier, and against the production one, which refuses it always.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use attest::snp::{
    BelievedVersions, CertificateTable, CrlPolicy, Expected, REPORT_LENGTH, Report, Role, SnpError, TcbFloor, kbs,
};
use claims::snp::{GuestPolicy, Tee};
use claims::snp_port::{RESPONSE_HEAD_LENGTH, decode_response_head, encode_request};
use claims::{Allowed, Code, HostData, LaunchDigest, ReportData, UnixTime};
use emulated::{EmulatorError, Fault, Guest, Hardware, Model, Processor, ServeError, serve, serve_stream};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::OnceLock;

const NOW: UnixTime = UnixTime(1_790_000_000);
const DAY: u64 = 24 * 3600;
const DATA: ReportData = ReportData([7; 64]);

#[test]
fn every_model_verifies_and_says_that_it_is_emulated() {
    let folder = tempfile::tempdir().unwrap();
    for model in [Model::MILAN, Model::GENOA, Model::TURIN, Model { report_version: 5, ..Model::GENOA }] {
        let workspace = folder.path().join(format!("{}-{}", model.product, model.report_version));
        copy_keys(&workspace, model);
        let processor = open(&workspace, NOW);
        assert_eq!(processor.model(), model);
        let evidence = processor.evidence(&guest(), DATA, 0).unwrap();
        let verified = processor.verifier().unwrap().verify(&evidence.report, &evidence.endorsements(), NOW).unwrap();
        let claims = verified.claims();
        assert_eq!((claims.tee, claims.product, claims.version), (Tee::Emulated, model.product, model.report_version));
        assert_eq!((claims.measurement, claims.host_data), (guest().measurement, guest().host_data));
        assert!(verified.appraise(&expected()).is_ok());
        // The JSON form rebuilds the same bytes.
        let report = Report::parse(&evidence.report).unwrap();
        let (again, table) = kbs::from_json(&kbs::to_json(&report, &evidence.certificates)).unwrap();
        assert_eq!((again.as_bytes(), table), (report.as_bytes(), evidence.certificates));
    }
}

#[test]
fn production_refuses_it_by_each_mark_alone() {
    let processor = processor();
    let evidence = processor.evidence(&guest(), DATA, 0).unwrap();
    let policy = CrlPolicy::AbsentOk { reason: "test".to_owned() };
    let refuse =
        |report: &[u8]| Report::parse(report).unwrap().verify(&evidence.endorsements(), &policy, NOW).unwrap_err();
    assert_eq!(refuse(&evidence.report), SnpError::Emulated { mark: "the chip id starts with EMUL" });
    // Without the mark in the chip id, the certificates' mark refuses it.
    let mut unmarked = evidence.report.clone();
    unmarked[0x1A0] = b'X';
    let error = refuse(&unmarked);
    assert_eq!(error, SnpError::Emulated { mark: "a certificate has the critical extension of development roots" });
    assert_eq!(error.code(), Code::Emulated);
}

#[test]
fn measured_launch_and_reported_measurement_are_equal() {
    let image = firmware();
    let ovmf = measure::snp::Ovmf::parse(&image).unwrap();
    let launch = measure::snp::Launch {
        ovmf: &ovmf,
        kernel: Some(measure::snp::KernelHashes::of(&measure::snp::HashedFiles {
            kernel: b"kernel",
            initrd: Some(b"initrd"),
            command_line: Some("quiet"),
        })),
        vcpus: 2,
        vcpu_type: "EPYC-v4".parse().unwrap(),
        guest_features: measure::snp::GuestFeatures::SNP,
        vmm: measure::snp::Vmm::Qemu,
    };
    let processor = processor();
    let guest = Guest::launch(&launch, HostData([3; 32])).unwrap();
    let evidence = processor.evidence(&guest, DATA, 0).unwrap();
    let verified = processor.verifier().unwrap().verify(&evidence.report, &evidence.endorsements(), NOW).unwrap();
    assert_eq!(verified.claims().measurement, measure::snp::measure(&launch).unwrap());
    // One byte of the command line, and offline prediction and report part.
    let changed = measure::snp::Launch {
        kernel: launch.kernel.map(|hashes| measure::snp::KernelHashes {
            command_line: measure::snp::KernelHashes::command_line("quiet "),
            ..hashes
        }),
        ..launch
    };
    assert_ne!(verified.claims().measurement, measure::snp::measure(&changed).unwrap());
}

#[test]
fn faults_are_refused_for_their_reason() {
    let processor = processor();
    let refuse = |fault| {
        let evidence = processor.evidence(&guest().with_fault(fault), DATA, 0).unwrap();
        processor.verifier().unwrap().verify(&evidence.report, &evidence.endorsements(), NOW).unwrap_err()
    };
    assert_eq!(refuse(Fault::Short), SnpError::Length { got: REPORT_LENGTH - 1 });
    assert!(matches!(refuse(Fault::NoCertificates), SnpError::Missing { .. }));
    assert_eq!(refuse(Fault::WrongSignature), SnpError::Signature);
    assert_eq!(refuse(Fault::MaskedChipId), SnpError::ChipMasked);
    assert_eq!(refuse(Fault::MaskedChipKey), SnpError::SignatureRange { component: "r" });
    assert_eq!(
        refuse(Fault::ForgedMicrocode),
        SnpError::TcbMismatch { component: "microcode", certificate: 0x53, report: 0x54 }
    );
    assert_eq!(refuse(Fault::Revoked), SnpError::Revoked { role: Role::Intermediate });
    // An old microcode is honest about itself; the rule's floor refuses it.
    let evidence = processor.evidence(&guest().with_fault(Fault::OldMicrocode), DATA, 0).unwrap();
    let old = processor.verifier().unwrap().verify(&evidence.report, &evidence.endorsements(), NOW).unwrap();
    let rule = Expected { tcb_floor: TcbFloor::AtLeast(Model::GENOA.tcb), ..expected() };
    assert_eq!(
        old.appraise(&rule),
        Err(SnpError::TcbFloor { which: "reported", component: "microcode", got: 0x53, wanted: 0x54 })
    );
}

#[test]
fn a_revocation_list_is_the_roots_own_or_refused() {
    let processor = processor();
    let evidence = processor.evidence(&guest(), DATA, 0).unwrap();
    let verify = |crl: Option<Vec<u8>>| {
        let with = attest::snp::Endorsements { crl, ..evidence.endorsements() };
        processor.verifier().unwrap().verify(&evidence.report, &with, NOW).map(|_| ())
    };
    let good = evidence.endorsements().crl.unwrap();
    assert_eq!(verify(Some(good.clone())), Ok(()));
    assert_eq!(verify(None), Err(SnpError::CrlMissing));
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(verify(Some(changed)), Err(SnpError::CrlSignature));
    assert!(matches!(verify(Some(good[..good.len() - 1].to_vec())), Err(SnpError::CrlMalformed { .. })));
    let certificate = evidence.endorsements().vek;
    assert!(matches!(verify(Some(certificate)), Err(SnpError::CrlMalformed { .. })));
}

#[test]
fn appraisal_refuses_each_claim() {
    let processor = processor();
    let verify = |guest: &Guest, vmpl| {
        let evidence = processor.evidence(guest, DATA, vmpl).unwrap();
        processor.verifier().unwrap().verify(&evidence.report, &evidence.endorsements(), NOW).unwrap()
    };
    let good = verify(&guest(), 0);
    let other = LaunchDigest([9; 48]);
    assert_eq!(
        good.appraise(&Expected { measurement: Allowed::only(other), ..expected() }),
        Err(SnpError::Measurement { got: guest().measurement, allowed: vec![other] })
    );
    assert_eq!(
        good.appraise(&Expected { report_data: Allowed::only(ReportData([8; 64])), ..expected() }),
        Err(SnpError::ReportData { got: DATA })
    );
    assert_eq!(verify(&guest(), 2).appraise(&expected()), Err(SnpError::Vmpl { got: 2 }));
    let policy = GuestPolicy(GuestPolicy::PLAIN.0 | 1 << 19);
    assert_eq!(
        verify(&guest().with_policy(policy), 0).appraise(&expected()),
        Err(SnpError::Debug { policy: policy.0 })
    );
    let policy = GuestPolicy(GuestPolicy::PLAIN.0 | 1 << 18);
    assert_eq!(
        verify(&guest().with_policy(policy), 0).appraise(&expected()),
        Err(SnpError::Migration { policy: policy.0 })
    );
    assert_eq!(
        verify(&guest().with_policy(GuestPolicy(0x3_0000 | 2 << 8)), 0).appraise(&expected()),
        Err(SnpError::Abi { wanted: (2, 0), got: (1, 55) })
    );
    let chip = good.claims().chip_id;
    let listed = claims::ChipId([1; 64]);
    assert_eq!(
        good.appraise(&Expected { chips: Allowed::only(listed), ..expected() }),
        Err(SnpError::Chip { got: chip, allowed: vec![listed] })
    );
    assert!(good.appraise(&Expected { chips: Allowed::only(chip), ..expected() }).is_ok());
    assert_eq!(expected().versions, BelievedVersions::WithCpuid);
}

#[test]
fn time_is_checked_and_certificates_are_renewed() {
    let processor = processor();
    let evidence = processor.evidence(&guest(), DATA, 0).unwrap();
    let verifier = processor.verifier().unwrap();
    let at = |now| verifier.verify(&evidence.report, &evidence.endorsements(), UnixTime(now));
    assert!(matches!(at(NOW.0 + 31 * DAY), Err(SnpError::Expired { role: Role::Root, .. })));
    assert!(matches!(at(NOW.0 - DAY), Err(SnpError::NotYetValid { role: Role::Root, .. })));
    // The same workspace, much later: new certificates from the same keys.
    let folder = tempfile::tempdir().unwrap();
    copy_keys(folder.path(), Model::GENOA);
    let later = UnixTime(NOW.0 + 400 * DAY);
    let renewed = open(folder.path(), later);
    let evidence = renewed.evidence(&guest(), DATA, 0).unwrap();
    assert!(
        open(folder.path(), NOW).verifier().unwrap().verify(&evidence.report, &evidence.endorsements(), later).is_ok()
    );
}

#[test]
fn another_workspaces_root_is_refused() {
    let other = tempfile::tempdir().unwrap();
    let stranger = Processor::open(other.path(), NOW, Model::GENOA, &hardware()).unwrap();
    let mode = std::fs::metadata(other.path().join("emulated-processor.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner may read it");
    let evidence = stranger.evidence(&guest(), DATA, 0).unwrap();
    let error = processor().verifier().unwrap().verify(&evidence.report, &evidence.endorsements(), NOW).unwrap_err();
    assert_eq!(error.code(), Code::SnpRoot);
}

#[test]
fn a_guest_is_served_over_its_stream() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("port");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(processor(), &guest(), listener));
        let mut stream = UnixStream::connect(&path).unwrap();
        for _ in 0..2 {
            let (report, table) = ask(&mut stream, 0).unwrap();
            let table = CertificateTable::parse(&table).unwrap();
            let with = attest::snp::Endorsements::choose(
                &Report::parse(&report).unwrap(),
                &table,
                &attest::snp::Collateral::new(),
            );
            let verified = processor().verifier().unwrap().verify(&report, &with, NOW).unwrap();
            assert_eq!(verified.claims().report_data, DATA);
        }
        assert!(ask(&mut stream, 4).is_none(), "there is no VMPL 4");
        drop(stream);
        assert!(server.join().unwrap().is_ok());
    });
}

#[test]
fn what_is_no_request_ends_the_service() {
    let (mut near, far) = UnixStream::pair().unwrap();
    near.write_all(&[0x55; 76]).unwrap();
    assert!(matches!(serve_stream(processor(), &guest(), far), Err(ServeError::Request(_))));
    let (mut near, far) = UnixStream::pair().unwrap();
    near.write_all(b"SNPQ").unwrap();
    drop(near);
    assert!(matches!(serve_stream(processor(), &guest(), far), Err(ServeError::Stream(_))));
    let (mut near, far) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        let busy = guest().with_fault(Fault::Status(2));
        let server = scope.spawn(move || serve_stream(processor(), &busy, far));
        assert!(ask(&mut near, 0).is_none());
        drop(near);
        assert!(server.join().unwrap().is_ok());
    });
}

#[test]
fn a_foreign_state_file_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("emulated-processor.json");
    std::fs::write(&path, "{}").unwrap();
    let opened = Processor::open(folder.path(), NOW, Model::GENOA, &hardware());
    assert!(matches!(opened, Err(EmulatorError::State { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"{}");
}

fn ask(stream: &mut UnixStream, vmpl: u32) -> Option<(Vec<u8>, Vec<u8>)> {
    stream.write_all(&encode_request(&DATA, vmpl)).unwrap();
    let mut head = [0; RESPONSE_HEAD_LENGTH];
    stream.read_exact(&mut head).unwrap();
    let mut payload = vec![0; decode_response_head(&head).ok()?];
    stream.read_exact(&mut payload).unwrap();
    let table = payload.split_off(REPORT_LENGTH);
    Some((payload, table))
}

/// One processor for all tests: making RSA keys takes seconds.
fn processor() -> &'static Processor {
    static PROCESSOR: OnceLock<(tempfile::TempDir, Processor)> = OnceLock::new();
    &PROCESSOR
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let processor = Processor::open(folder.path(), NOW, Model::GENOA, &hardware()).unwrap();
            (folder, processor)
        })
        .1
}

/// A workspace with keys made elsewhere, for another model.
fn copy_keys(workspace: &Path, model: Model) {
    static KEYS: OnceLock<String> = OnceLock::new();
    let text = KEYS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        Processor::open(folder.path(), NOW, Model::GENOA, &hardware()).unwrap();
        std::fs::read_to_string(folder.path().join("emulated-processor.json")).unwrap()
    });
    let mut state: serde_json::Value = serde_json::from_str(text).unwrap();
    state["model"] = serde_json::to_value(model).unwrap();
    std::fs::create_dir_all(workspace).unwrap();
    std::fs::write(workspace.join("emulated-processor.json"), state.to_string()).unwrap();
}

fn open(workspace: &Path, now: UnixTime) -> Processor {
    Processor::open(workspace, now, Model::GENOA, &hardware()).unwrap()
}

fn hardware() -> Hardware {
    Hardware::Ignore { reason: "tests run anywhere".to_owned() }
}

fn guest() -> Guest {
    Guest::new(LaunchDigest([5; 48]), HostData([6; 32])).unwrap()
}

fn expected() -> Expected {
    Expected::strict(
        Allowed::only(DATA),
        Allowed::only(LaunchDigest([5; 48])),
        Allowed::only(HostData([6; 32])),
        TcbFloor::None { reason: "test".to_owned() },
        Allowed::any("test"),
    )
}

/// The smallest firmware with a footer, one kernel-hash section and a reset block.
fn firmware() -> Vec<u8> {
    let guid = |digits: u128| {
        let bytes = digits.to_be_bytes();
        [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map(|place: usize| bytes[place])
    };
    let mut table = Vec::new();
    let mut put = |data: &[u8], name: u128| {
        table.extend_from_slice(data);
        table.extend((data.len() as u16 + 18).to_le_bytes());
        table.extend(guid(name));
    };
    put(&0x400_u32.to_le_bytes(), 0xdc886566_984a_4798_a75e_5585a7bf67cc);
    put(&[0x80_0C00_u32.to_le_bytes(), 0x400_u32.to_le_bytes()].concat(), 0x7255371f_3a3b_4b04_927b_1da6efa8d454);
    put(&0x80_B004_u32.to_le_bytes(), 0x00f771de_1a7e_4fcb_890e_68c77e2fb44e);
    let length = table.len() as u16 + 18;
    table.extend(length.to_le_bytes());
    table.extend(guid(0x96b582de_1fb2_45f7_baea_a366c55a082d));
    let mut image = vec![0x90; 8192];
    let end = image.len() - 32;
    image[end - table.len()..end].copy_from_slice(&table);
    let numbers = [28_u32, 1, 1, 0x80_0000, 0x1000, 0x10];
    let metadata = [b"ASEV".to_vec(), numbers.iter().flat_map(|number| number.to_le_bytes()).collect()].concat();
    let start = image.len() - 0x400;
    image[start..start + metadata.len()].copy_from_slice(&metadata);
    image
}
