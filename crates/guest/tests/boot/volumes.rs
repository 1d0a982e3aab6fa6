//! Drives, device-mapper, scratch area, mounts and firewall in a booted kernel, with a key that the test knows.

use crate::vm::{Drive, Parts, Vm, padded};
use claims::boot::{BootParameters, KERNEL_PARAMETERS};
use claims::volume::{Drive as Sealed, Geometry, VolumeKey};
use claims::workload::SETTINGS_PATH;
use sealed::ext4::{Layout, NoSources, Options, Size};
use sealed::seal::{Job, seal};
use sealed::tree::{Content, Kind, Meta, Tree};
use std::path::PathBuf;
use std::sync::Mutex;

const MODEL_MARK: &[u8] = b"here the model starts";

/// The static program of `probe/`.
fn probe() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/release/probe");
    let path = std::env::var_os("CONFIDE_PROBE").map_or_else(|| PathBuf::from(default), PathBuf::from);
    if !path.exists() {
        println!("skipped: the probe is not here (scripts/build-guest.sh --probe builds it)");
        return None;
    }
    Some(path)
}

fn options(size: Size) -> Options {
    Options { size, label: "test".into(), uuid: [5; 16], journal: false, time: 0 }
}

fn file(bytes: &[u8]) -> Kind {
    Kind::File(Content::Inline(bytes.into()))
}

/// A root drive with room for a scratch area, full of noise.
fn root_drive(key: u8) -> (Vec<u8>, Geometry) {
    let settings = br#"{"version":1,"name":"hello","role":null,"command":["/hello"],"environment":[],"folder":"/",
        "user":{"uid":1000,"gid":1000,"groups":[]},"stop_signal":15,"limits":{"memory_bytes":null,"processes":64},
        "log":"none","user_data":"read-only","gpu":false}"#;
    let mut tree = Tree::new(Meta::plain(0o755));
    tree.put(SETTINGS_PATH.as_bytes(), Meta::plain(0o600), file(settings)).unwrap();
    tree.put(b"greeting", Meta::plain(0o644), file(b"hello")).unwrap();
    tree.put(b"model", Meta::plain(0o644), file(&padded(MODEL_MARK, 1 << 20))).unwrap();
    let layout = Layout::plan(&tree, &options(Size::Minimal)).unwrap();
    let key = VolumeKey::from_slice(&[key; 32]).unwrap();
    let sink = Mutex::new(Vec::new());
    let job = Job {
        layout: &layout,
        sources: &NoSources,
        key: &key,
        drive: Sealed::Root,
        sink: &sink,
        progress: &|_| {},
        cancelled: &|| false,
        threads: 2,
    };
    let geometry = seal(&job).unwrap();
    let mut bytes = sink.into_inner().unwrap();
    bytes.resize(usize::try_from(geometry.tail_offset()).unwrap(), 0);
    let mut noise = 1u32;
    bytes.extend((0..64 << 20).map(|_| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.to_be_bytes()[0]
    }));
    (bytes, geometry)
}

fn user_data() -> Vec<u8> {
    let mut tree = Tree::new(Meta::plain(0o755));
    tree.put(b"data", Meta::plain(0o644), file(b"data")).unwrap();
    tree.put(b"link", Meta::plain(0o777), Kind::Link(b"data".to_vec())).unwrap();
    let layout = Layout::plan(&tree, &options(Size::Bytes(8 << 20))).unwrap();
    let mut image = vec![0; 8 << 20];
    for range in layout.allocated() {
        let bytes = usize::try_from(range.start * 4096).unwrap()..usize::try_from(range.end * 4096).unwrap();
        layout.fill(range.start, &mut image[bytes], &NoSources).unwrap();
    }
    image
}

fn vm<'a>(parts: &'a Parts, probe: &'a PathBuf, root: Vec<u8>, geometry: Geometry) -> Vm<'a> {
    let command_line = format!("{KERNEL_PARAMETERS} {}", BootParameters { root: geometry, applog: vec![] });
    let drives = vec![Drive { serial: "root", bytes: root }, Drive { serial: "user_data", bytes: user_data() }];
    Vm { parts, init: probe, drives, command_line, host_data: None, network: true, memory: 512 }
}

#[test]
fn a_sealed_drive_opens_and_the_firewall_stands() {
    let (Some(parts), Some(probe)) = (Parts::find(), probe()) else { return };
    let (root, geometry) = root_drive(9);
    let outcome = vm(&parts, &probe, root, geometry).run();
    assert_eq!(outcome.halt(), None);
    for (what, wanted) in [
        ("settings read", "yes"),
        ("link followed", "no"),
        ("data read", "yes"),
        ("data written", "no"),
        ("settings seen in the container", "no"),
        ("greeting read", "yes"),
        ("root volume written", "no"),
        ("scratch area kept what was written", "yes"),
        ("large file read", "yes"),
        ("damage seen after", "no"),
        ("open port answers", "yes"),
        ("closed port is unreachable", "yes"),
        ("at once", "yes"),
        ("open UDP port is sent to", "yes"),
        ("closed UDP port is sent to", "no"),
        ("hosts entry found", "yes"),
        ("lease renewed", "yes"),
    ] {
        assert!(outcome.console.contains(&format!("probe: {what}: {wanted}\n")), "{what}");
    }
    assert!(outcome.console.contains("scratch on the drive with 64 MiB"));
}

#[test]
fn another_key_and_a_flipped_block_are_refused() {
    let (Some(parts), Some(probe)) = (Parts::find(), probe()) else { return };
    let wanted = "drive `root` does not match its root hash: it is damaged, or the key is another volume's";
    let (root, geometry) = root_drive(8);
    let outcome = vm(&parts, &probe, root, geometry).run();
    assert_eq!(outcome.halt(), Some(("E-ROOT", wanted)));

    let (mut root, geometry) = root_drive(9);
    root[usize::try_from(geometry.data_offset).unwrap() + 100] ^= 1;
    let outcome = vm(&parts, &probe, root, geometry).run();
    assert_eq!(outcome.halt(), Some(("E-ROOT", wanted)));
}

#[test]
fn damage_in_a_file_is_seen_and_never_handed_out() {
    let (Some(parts), Some(probe)) = (Parts::find(), probe()) else { return };
    let (mut root, geometry) = root_drive(9);
    // The last data block but a few belongs to the large file.
    let block = geometry.data_blocks / 2;
    root[usize::try_from(geometry.data_offset + block * 4096).unwrap() + 9] ^= 0x80;
    let outcome = vm(&parts, &probe, root, geometry).run();
    for (what, wanted) in [("damage seen before", "no"), ("large file read", "no"), ("damage seen after", "yes")] {
        assert!(outcome.console.contains(&format!("probe: {what}: {wanted}\n")), "{what}");
    }
}
