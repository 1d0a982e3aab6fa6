//! What a guest refuses before it asks for a key, and what it leaves behind.

use crate::vm::{Drive, Parts, Vm, padded};
use claims::boot::{BootParameters, KERNEL_PARAMETERS, LogFile};
use claims::site::{self, Attestation, Broker, Network, Ports, Site};
use claims::volume::{DATA_OFFSET, Geometry};
use claims::{Digest256, HostData, VerityRoot};
use std::collections::BTreeMap;

const LOG_OFFSET: u64 = 8192;
const LOG_LENGTH: u64 = 16384;
const LOG_DRIVE: usize = 64 * 1024;

fn geometry() -> Geometry {
    Geometry { data_offset: DATA_OFFSET, data_blocks: 16, tree_blocks: 1, root_hash: VerityRoot([7; 32]) }
}

fn command_line(applog: bool) -> String {
    let file = LogFile { name: "boot.log".into(), offset: LOG_OFFSET, length: LOG_LENGTH };
    let parameters = BootParameters { root: geometry(), applog: if applog { vec![file] } else { vec![] } };
    format!("{KERNEL_PARAMETERS} {parameters}")
}

fn site(broker: &str) -> Vec<u8> {
    Site {
        version: 1,
        site: "site-1".into(),
        project: "test".into(),
        broker: Some(Broker { url: broker.into(), identity: Digest256([1; 32]) }),
        network: Network::Dhcp,
        ports: Ports { inbound: vec![8080], outbound: vec![443] },
        hosts: BTreeMap::new(),
        volume_key: "test/volume-key/site-1".into(),
        user_config: None,
        resources: vec![],
        attestation: Attestation { check_frequency: 120, grace: 300 },
        issuers: vec![],
    }
    .to_bytes()
    .unwrap()
}

fn root() -> Drive {
    Drive { serial: "root", bytes: vec![0; 18 << 20] }
}

fn vm<'a>(parts: &'a Parts, drives: Vec<Drive>, host_data: Option<HostData>) -> Vm<'a> {
    Vm { parts, init: &parts.guest, drives, command_line: command_line(false), host_data, network: true, memory: 512 }
}

#[test]
fn a_changed_site_drive_halts_before_it_is_parsed() {
    let Some(parts) = Parts::find() else { return };
    let built = site("https://10.0.2.2:8999");
    let changed = site("https://10.0.2.2:9999");
    let log = Drive { serial: "applog", bytes: vec![b'#'; LOG_DRIVE] };
    let drives = vec![root(), Drive { serial: "site", bytes: changed.clone() }, log];
    let mut vm = vm(&parts, drives, Some(site::host_data(&built)));
    vm.command_line = command_line(true);
    let outcome = vm.run();

    let wanted =
        format!("the site drive has SHA-256 {}, HOST_DATA is {}", site::host_data(&changed), site::host_data(&built));
    assert_eq!(outcome.halt(), Some(("E-SITE", wanted.as_str())));
    assert!(!outcome.reached("site") && !outcome.reached("network"));

    // The same line stands in boot.log, and nothing else on the drive was touched.
    let log = &outcome.drives[2];
    let start = LOG_OFFSET as usize;
    let written = &log[start..start + LOG_LENGTH as usize];
    assert!(String::from_utf8_lossy(written).contains(&format!("confide: halt code=E-SITE {wanted}")));
    assert!(log[..start].iter().chain(&log[start + LOG_LENGTH as usize..]).all(|byte| *byte == b'#'));
}

#[test]
fn missing_and_doubled_drives_are_named() {
    let Some(parts) = Parts::find() else { return };
    let bytes = site("https://10.0.2.2:8999");
    let host_data = Some(site::host_data(&bytes));

    let outcome = vm(&parts, vec![root()], host_data).run();
    assert_eq!(outcome.halt(), Some(("E-DRIVE", "drive `site` is not attached")));

    let drive = |bytes: &[u8]| Drive { serial: "site", bytes: bytes.to_vec() };
    let outcome = vm(&parts, vec![root(), drive(&bytes), drive(&bytes)], host_data).run();
    assert_eq!(outcome.halt(), Some(("E-DRIVE", "drive `site` is attached twice")));
}

#[test]
fn drives_of_the_wrong_size_are_refused() {
    let Some(parts) = Parts::find() else { return };
    let short = Drive { serial: "root", bytes: vec![0; 16 << 20] };
    let outcome = vm(&parts, vec![short], None).run();
    let wanted = "drive `root` has 16777216 bytes, its measured layout needs 16846848";
    assert_eq!(outcome.halt(), Some(("E-DRIVE", wanted)));

    let bytes = site("https://10.0.2.2:8999");
    let long = Drive { serial: "site", bytes: padded(&bytes, (1 << 20) + 512) };
    let outcome = vm(&parts, vec![root(), long], Some(site::host_data(&bytes))).run();
    assert_eq!(outcome.halt(), Some(("E-DRIVE", "drive `site` has 1049088 bytes, wanted are 1 to 1048576")));
}

#[test]
fn a_machine_without_a_processor_that_attests_is_refused() {
    let Some(parts) = Parts::find() else { return };
    let site = Drive { serial: "site", bytes: site("https://10.0.2.2:8999") };
    let outcome = vm(&parts, vec![root(), site], None).run();
    assert_eq!(outcome.halt().map(|(code, _)| code), Some("E-HARDWARE"));
}

#[test]
fn hostile_user_data_is_refused_before_anything_is_unlocked() {
    let Some(parts) = Parts::find() else { return };
    let bytes = site("https://10.0.2.2:8999");
    let host_data = Some(site::host_data(&bytes));
    let drives = |user_data: Vec<u8>| {
        let site = Drive { serial: "site", bytes: bytes.clone() };
        vec![root(), site, Drive { serial: "user_data", bytes: user_data }]
    };
    let outcome = vm(&parts, drives(vec![0xff; 1 << 20]), host_data).run();
    assert_eq!(outcome.halt(), Some(("E-DRIVE", "the user_data drive is not used: it is not ext4")));
    assert!(outcome.reached("site") && !outcome.reached("network"));
}

#[test]
fn a_command_line_without_its_parameters_is_refused() {
    let Some(parts) = Parts::find() else { return };
    let mut vm = vm(&parts, vec![root()], None);
    vm.command_line = KERNEL_PARAMETERS.into();
    assert_eq!(vm.run().halt(), Some(("E-CMDLINE", "the kernel command line lacks `confide.root=`")));
}

#[test]
fn no_network_card_and_no_broker_are_told_apart() {
    let Some(parts) = Parts::find() else { return };
    // Port 1 of the emulator's host: nobody listens there.
    let bytes = site("https://10.0.2.2:1");
    let host_data = Some(site::host_data(&bytes));
    let drives = || vec![root(), Drive { serial: "site", bytes: bytes.clone() }];
    let mut without_card = vm(&parts, drives(), host_data);
    without_card.network = false;
    assert_eq!(without_card.run().halt(), Some(("E-NETWORK", "no network card is attached")));
}
