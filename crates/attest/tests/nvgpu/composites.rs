//! CPU and devices: one nonce, one key, one set.

use crate::forge::{Report, WORLD, chain_under, ders, device_places, lenient, no_responses, roots};
use attest::composite::kbs::{self, DeviceNonces};
use attest::composite::{Binding, BoundReport, Composite, CompositeError, Identities, Promised, Session, Switches};
use attest::nvgpu::{AppraisedDevice, DeviceChain, Evidence, Expected, UnanchoredRoots};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use claims::bytes::Digest256;
use claims::kbs::{RuntimeData, TeeKey, runtime_binding};
use claims::{Allowed, Code, Nonce, Refusal, ReportData};

type Device = AppraisedDevice<UnanchoredRoots>;

/// A verified CPU report, as far as a composite looks at it.
#[derive(Debug, Clone, PartialEq)]
struct Cpu(ReportData);

impl BoundReport for Cpu {
    fn bound(&self) -> ReportData {
        self.0
    }
}

const SESSION: Session = Session { nonce: Nonce([3; 32]), key: Digest256([4; 32]) };

/// The device of a chain, asked with this nonce.
fn device(chain: &[crate::forge::Issued], report: &Report) -> Device {
    let evidence = Evidence::parse(&report.signed_by(&chain[0])).unwrap();
    let verified =
        evidence.verify(&DeviceChain::from_der(ders(chain)), &roots(), &no_responses(), crate::forge::NOW).unwrap();
    verified.appraise(&Expected { nonce: Allowed::any("the composite compares it"), ..lenient() }).unwrap()
}

fn asked(chain: &[crate::forge::Issued], index: u32) -> Device {
    device(chain, &Report::new().nonce(SESSION.device_nonce(index)))
}

fn both() -> Vec<Device> {
    vec![asked(&WORLD.device, 0), asked(&WORLD.second, 1)]
}

fn cpu_of(devices: &[Device]) -> Cpu {
    let digests: Vec<_> = devices.iter().map(|device| device.claims().evidence).collect();
    Cpu(SESSION.report_data(&digests))
}

fn promised(gpus: usize) -> Promised {
    let identities = Identities::Any { reason: "test".to_owned() };
    Promised { gpus, switches: Switches::Count(0), identities }
}

fn bind(
    cpu: Cpu,
    devices: Vec<Device>,
    promised: &Promised,
) -> Result<Composite<Cpu, UnanchoredRoots>, CompositeError> {
    Composite::bind(cpu, devices, &SESSION, &Binding::Own, promised)
}

fn refused(cpu: Cpu, devices: Vec<Device>, promised: &Promised) -> (String, Code) {
    let error = bind(cpu, devices, promised).unwrap_err();
    (format!("{error:?}").split([' ', '{']).next().unwrap().to_owned(), error.code())
}

fn devices_error(name: &str) -> (String, Code) {
    (name.to_owned(), Code::CompositeDevices)
}

fn binding_error(name: &str) -> (String, Code) {
    (name.to_owned(), Code::CompositeBinding)
}

#[test]
fn a_machine_is_bound() {
    let devices = both();
    let composite = bind(cpu_of(&devices), devices.clone(), &promised(2)).unwrap();
    assert_eq!(composite.devices().len(), 2);
    assert_eq!(composite.cpu(), &cpu_of(&devices));
    assert_eq!(composite.waivers()[0].claim, "device-ids");
    // No devices are a machine, too, when none are promised.
    assert!(bind(cpu_of(&[]), Vec::new(), &promised(0)).is_ok());
    let ids: Vec<String> = devices.iter().map(|device| device.claims().device_id.clone()).collect();
    let exactly = |ids: Vec<String>| Promised { identities: Identities::Exactly(ids), ..promised(2) };
    assert!(bind(cpu_of(&devices), devices.clone(), &exactly(ids.clone())).is_ok());
    let error = bind(cpu_of(&devices), devices.clone(), &exactly(vec![ids[0].clone(), "43".repeat(9)])).unwrap_err();
    assert!(matches!(&error, CompositeError::Missing { id } if *id == "43".repeat(9)));
    assert_eq!(error.finding().unwrap().wanted, "43".repeat(9));
    assert_eq!(error.code(), Code::CompositeDevices);
    assert_eq!(refused(cpu_of(&devices), devices, &exactly(vec![ids[1].clone()])), devices_error("Extra"));
}

#[test]
fn the_encoding_is_the_documented_one() {
    let mut text = b"gpu\x00\x00\x00\x02".to_vec();
    text.extend([3; 32]);
    text.extend([4; 32]);
    assert_eq!(SESSION.device_nonce(2).0, Digest256::of(&text).0);
    let mut text = b"confide composite 1".to_vec();
    text.extend([3; 32]);
    text.extend([4; 32]);
    text.extend([0, 0, 0, 1]);
    text.extend([5; 32]);
    let wanted = [&crate::forge::sha384(&text).0[..], &[0; 16]].concat();
    assert_eq!(SESSION.report_data(&[Digest256([5; 32])]).0[..], wanted);
}

#[test]
fn missing_extra_and_repeated_devices_are_refused() {
    let devices = both();
    let one = devices[..1].to_vec();
    assert_eq!(refused(cpu_of(&one), one.clone(), &promised(2)), devices_error("Count"));
    assert_eq!(refused(cpu_of(&devices), devices.clone(), &promised(1)), devices_error("Count"));
    // The same device twice: with the same evidence, or asked again for the second place.
    let twice = vec![one[0].clone(), one[0].clone()];
    assert_eq!(refused(cpu_of(&twice), twice, &promised(2)), devices_error("Repeated"));
    let again = vec![one[0].clone(), asked(&WORLD.device, 1)];
    assert_eq!(refused(cpu_of(&again), again, &promised(2)), devices_error("Repeated"));
    // Evidence that the CPU does not speak for.
    assert_eq!(refused(cpu_of(&one), devices.clone(), &promised(2)), binding_error("ReportData"));
    assert_eq!(refused(cpu_of(&devices), one, &promised(1)), binding_error("ReportData"));
    let mut swapped = devices.clone();
    swapped.swap(0, 1);
    assert_eq!(refused(cpu_of(&swapped), swapped, &promised(2)), binding_error("Nonce"));
}

#[test]
fn evidence_of_another_machine_session_or_key_is_refused() {
    let devices = both();
    // A CPU of another session with fresh devices of this one, and the other way round.
    let other = Session { nonce: Nonce([9; 32]), ..SESSION };
    let digests: Vec<_> = devices.iter().map(|device| device.claims().evidence).collect();
    let foreign = Cpu(other.report_data(&digests));
    assert_eq!(refused(foreign, devices.clone(), &promised(2)), binding_error("ReportData"));
    for session in [other, Session { key: Digest256([9; 32]), ..SESSION }] {
        let replayed = vec![device(&WORLD.device, &Report::new().nonce(session.device_nonce(0)))];
        let error = bind(cpu_of(&replayed), replayed, &promised(1)).unwrap_err();
        assert!(matches!(&error, CompositeError::Nonce { index: 0, wanted, .. } if *wanted == SESSION.device_nonce(0)));
        assert!(error.finding().is_some());
        let genuine = both();
        let data = Cpu(session.report_data(&digests));
        assert_eq!(refused(data, genuine, &promised(2)), binding_error("ReportData"));
    }
    // Report data with something in the padding.
    let mut cpu = cpu_of(&devices);
    cpu.0.0[63] = 1;
    assert_eq!(refused(cpu, devices, &promised(2)), binding_error("ReportData"));
}

#[test]
fn protected_pcie_needs_its_switches() {
    let gpu = |index: u32| device(&WORLD.device, &Report::new().with(21, &[0xAA]).nonce(SESSION.device_nonce(index)));
    let alone = vec![gpu(0)];
    assert_eq!(refused(cpu_of(&alone), alone.clone(), &promised(1)), devices_error("WithoutSwitches"));
    let waived = Promised { switches: Switches::NotAttested { reason: "lab".to_owned() }, ..promised(1) };
    let composite = bind(cpu_of(&alone), alone.clone(), &waived).unwrap();
    assert_eq!(composite.waivers()[0].claim, "switches");
    let root = &WORLD.device[4];
    let mut chain = chain_under(&device_places("LS_10", 0x4C), root);
    chain.push(crate::forge::Issued {
        der: root.der.clone(),
        key: rcgen::KeyPair::try_from(root.key.serialize_der()).unwrap(),
        params: root.params.clone(),
    });
    let switch = Report::new().without(3).with(6, b"96.10.55.00.01").nonce(SESSION.device_nonce(1));
    let machine = vec![gpu(0), device(&chain, &switch)];
    let with_switch = Promised { switches: Switches::Count(1), ..promised(1) };
    assert!(bind(cpu_of(&machine), machine.clone(), &with_switch).is_ok());
    assert_eq!(refused(cpu_of(&alone), alone, &with_switch), devices_error("Count"));
    assert_eq!(refused(cpu_of(&machine), machine, &waived), devices_error("Count"));
}

/// Known answer of the KBS protocol (trustee's runtime data).
fn runtime() -> RuntimeData {
    RuntimeData {
        nonce: BASE64_STANDARD.encode([0; 32]),
        tee_pubkey: TeeKey::Ec {
            crv: "P-256".to_owned(),
            alg: "ECDH-ES+A256KW".to_owned(),
            x: "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4".to_owned(),
            y: "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM".to_owned(),
        },
    }
}

#[test]
fn composites_of_the_kbs_protocol_are_bound() {
    let runtime = runtime();
    let upstream = kbs::device_nonce(&runtime).unwrap();
    assert_eq!(upstream.to_string(), "c384a9e6ebe921473845b44470202e43976a28d84977016c1db23755ed5ae995");
    let session = Session::of(&runtime).unwrap();
    let chains = [&WORLD.device, &WORLD.second];
    let make = |nonces: [Nonce; 2]| {
        let reports = nonces.map(|nonce| Report::new().nonce(nonce));
        let bytes: Vec<_> = chains.iter().zip(&reports).map(|(chain, report)| report.signed_by(&chain[0])).collect();
        let entries: Vec<_> = chains
            .iter()
            .zip(&bytes)
            .map(|(chain, bytes)| {
                let pem: String = ders(chain)
                    .iter()
                    .map(|der| {
                        let body = BASE64_STANDARD.encode(der);
                        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
                    })
                    .collect();
                serde_json::json!({
                    "arch": "HOPPER", "uuid": "unknown",
                    "evidence": BASE64_STANDARD.encode(bytes), "certificate": BASE64_STANDARD.encode(pem),
                })
            })
            .collect();
        serde_json::json!({ "nvidia": { "device_evidence_list": entries } }).to_string()
    };
    let appraised = |text: &str| -> Vec<Device> {
        let sent = kbs::devices(text).unwrap();
        sent.iter()
            .map(|sent| {
                let verified = sent.evidence.verify(&sent.chain, &roots(), &no_responses(), crate::forge::NOW).unwrap();
                verified.check_sent_as(sent.architecture).unwrap();
                verified.appraise(&Expected { nonce: Allowed::any("compared later"), ..lenient() }).unwrap()
            })
            .collect()
    };
    let cpu = |text: &str| {
        let mut data = [0; 64];
        data[..48].copy_from_slice(&runtime_binding(&runtime, text).unwrap());
        Cpu(ReportData(data))
    };
    let bind = |cpu: Cpu, devices: Vec<Device>, text: &str, nonces: DeviceNonces| {
        let binding = Binding::Kbs { runtime: &runtime, additional_evidence: text, nonces };
        Composite::bind(cpu, devices, &session, &binding, &promised(2))
    };
    let per_device = make([session.device_nonce(0), session.device_nonce(1)]);
    let same = make([upstream, upstream]);
    let waived = || DeviceNonces::Upstream { reason: "upstream's guest".to_owned() };
    let devices = appraised(&per_device);
    assert!(bind(cpu(&per_device), devices.clone(), &per_device, DeviceNonces::PerDevice).is_ok());
    let composite = bind(cpu(&same), appraised(&same), &same, waived()).unwrap();
    assert_eq!(composite.waivers().last().unwrap().claim, "nonce per device");
    // One form's nonces are not the other's.
    for (text, nonces) in [(&per_device, waived()), (&same, DeviceNonces::PerDevice)] {
        let error = bind(cpu(text), appraised(text), text, nonces).unwrap_err();
        assert!(matches!(error, CompositeError::Nonce { .. }), "{error}");
    }
    // The text that the CPU signed is the text that was appraised.
    let error = bind(cpu(&same), devices.clone(), &per_device, DeviceNonces::PerDevice).unwrap_err();
    assert!(matches!(error, CompositeError::ReportData { .. }));
    let other = make([session.device_nonce(0), session.device_nonce(1)]);
    let error = bind(cpu(&other), devices.clone(), &other, DeviceNonces::PerDevice).unwrap_err();
    assert!(matches!(error, CompositeError::OtherDevices), "signatures are random, so this is other evidence");
    let binding = Binding::Kbs { runtime: &runtime, additional_evidence: &per_device, nonces: waived() };
    let error = Composite::bind(cpu(&per_device), appraised(&same), &SESSION, &binding, &promised(2)).unwrap_err();
    assert!(matches!(error, CompositeError::OtherSession));
    assert_eq!(error.code(), Code::CompositeBinding);
}

#[test]
fn the_text_around_devices_has_one_form() {
    assert_eq!(kbs::devices("").unwrap(), []);
    assert_eq!(kbs::devices("{\"nvidia\": {\"device_evidence_list\": []}}").unwrap(), []);
    for bad in [
        "{}",
        "[]",
        "{\"sampledevice\": {}}",
        "{\"nvidia\": {\"device_evidence_list\": []}, \"sampledevice\": {}}",
        "{\"nvidia\": {\"device_evidence_list\": []}, \"nvidia\": {\"device_evidence_list\": []}}",
        "{\"nvidia\": {\"device_evidence_list\": [], \"more\": 1}}",
        "{\"nvidia\": {\"device_evidence_list\": [{\"arch\": \"AMPERE\", \"evidence\": \"\", \"certificate\": \"\"}]}}",
    ] {
        let error = kbs::devices(bad).unwrap_err();
        assert!(matches!(error, CompositeError::Text { .. }), "{bad}: {error}");
        assert_eq!(error.code(), Code::GpuFormat);
    }
    // The text is in its form, the evidence in it is not.
    let short = "{\"nvidia\": {\"device_evidence_list\": [{\"arch\": \"HOPPER\", \"evidence\": \"EeAB\", \"certificate\": \"\"}]}}";
    assert!(matches!(kbs::devices(short), Err(CompositeError::Device(_))));
    let long = format!("{{\"nvidia\": {}}}", " ".repeat(3 * 1024 * 1024));
    assert_eq!(kbs::devices(&long).unwrap_err().code(), Code::GpuFormat);
    let short = RuntimeData { nonce: "AAAA".to_owned(), ..runtime() };
    assert!(matches!(Session::of(&short), Err(CompositeError::Text { .. })));
    let odd = RuntimeData { nonce: "!".to_owned(), ..runtime() };
    assert!(matches!(Session::of(&odd), Err(CompositeError::Text { .. })));
}
