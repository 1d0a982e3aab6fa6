//! Looking into bundles, and putting files on a data drive.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail")]

use claims::volume::{Drive, VolumeKey};
use image::build::{self, Built, Request};
use image::bundle::names;
use image::data_drive::{self, DataError};
use image::inspect::{self, InspectError, Inspected, ItemKind, Volume};
use image::workload::{Place, Workload};
use std::path::{Path, PathBuf};
use std::process::Command;

const WORKLOAD: &str = "compute_env: onprem_cvm\ncc_cpu_mechanism: amd_sev_snp\ndocker_archive: app.tar\nname: hello\n\
    root_drive_size: 1\nuser_config:\n  kit: kit\n";

fn bundle(folder: &Path) -> Option<Built> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/confide/guest-parts"));
    let parts = std::env::var_os("CONFIDE_GUEST_PARTS").map(PathBuf::from).or_else(home)?;
    if !parts.join("vmlinuz").exists() {
        println!("skipped: guest parts are not here (scripts/setup.sh fetches them)");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello/make-image.sh");
    let (service, archive) = (folder.join("service"), folder.join("app.tar"));
    std::fs::write(&service, "#!/bin/sh\n").unwrap();
    assert!(Command::new("bash").arg(script).args([&service, &archive]).status().unwrap().success());
    std::fs::write(folder.join("guest"), "program").unwrap();
    std::fs::create_dir(folder.join("kit")).unwrap();
    std::fs::write(folder.join("kit/client.key"), "secret of the site").unwrap();
    std::os::unix::fs::symlink("client.key", folder.join("kit/link")).unwrap();
    let workload = Workload::parse(WORKLOAD, Place { file: &folder.join("w.yml"), home: None }).unwrap();
    let request = Request {
        workload: &workload,
        kernel: &parts.join("vmlinuz"),
        modules: &parts.join("modules"),
        firmware: &parts.join("OVMF.amdsev.fd"),
        guest: &folder.join("guest"),
        volume_key: &VolumeKey::from_slice(&[7; 32]).unwrap(),
        broker: None,
        out: &folder.join("bundle"),
        archive: true,
        cache: None,
        threads: 2,
        progress: &|_| {},
        cancelled: &|| false,
    };
    Some(build::build(&request).unwrap())
}

fn copied(inspected: &Inspected, inner: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    inspected.copy(inner, &mut bytes).unwrap();
    bytes
}

#[test]
fn every_part_of_a_bundle_can_be_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    let Some(built) = bundle(folder.path()) else { return };
    let key = VolumeKey::from_slice(&[7; 32]).unwrap();
    let names_of = |inspected: &Inspected, inner: &str| -> Vec<String> {
        inspected.list(inner).unwrap().into_iter().map(|item| item.name).collect()
    };

    // The folder and the one file hold the same.
    let whole = inspect::open(&built.folder, None).unwrap();
    let packed = inspect::open(built.archive.as_ref().unwrap(), None).unwrap();
    assert_eq!(names_of(&whole, ""), names_of(&packed, "/"));
    assert_eq!(names_of(&whole, "").len(), 12);
    for name in [names::SITE, names::ROOT, names::LAUNCH] {
        let bytes = std::fs::read(built.folder.join(name)).unwrap();
        assert!(copied(&whole, name) == bytes && copied(&packed, name) == bytes, "{name}");
    }
    assert!(matches!(whole.copy("../key", &mut Vec::new()), Err(InspectError::NotFound { .. })));
    assert!(matches!(packed.list("absent"), Err(InspectError::NotFound { .. })));

    // Sealed drives: with the key only, in the folder and in the one file.
    let root = built.folder.join(names::ROOT);
    assert!(matches!(inspect::open(&root, None), Err(InspectError::KeyNeeded)));
    let other = VolumeKey::from_slice(&[8; 32]).unwrap();
    let error = Volume::open(&root, Some(&other)).unwrap_err();
    assert!(matches!(error, InspectError::Sealed(_)), "{error}");
    let opened = inspect::open(&root, Some(&key)).unwrap();
    assert!(String::from_utf8(copied(&opened, "/etc/passwd")).unwrap().contains("hello:x:1000"));
    let Inspected::Packed(packed) = packed else { panic!("not the one-file form") };
    let volume = packed.drive(names::USER_CONFIG, Some(&key)).unwrap();
    assert_eq!(volume.sealed().unwrap().0, Drive::UserConfig);
    assert_eq!(volume.read("/kit/link").unwrap(), b"secret of the site");
    let items = volume.list("/kit").unwrap();
    assert_eq!(items[1].kind, ItemKind::Link("client.key".into()));
    assert!(matches!(volume.read("/kit"), Err(InspectError::NotAFile { .. })));
    let settings = Volume::open(&root, Some(&key)).unwrap().read("/.confide/workload.json").unwrap();
    let settings = claims::workload::Settings::parse(&settings).unwrap();
    assert_eq!((settings.user.uid, settings.command.as_slice()), (1000, ["/usr/bin/hello".to_owned()].as_slice()));

    // A flipped bit in a sealed drive is an error, not another byte.
    let mut bytes = std::fs::read(&root).unwrap();
    let at = bytes.len() - (1 << 20);
    bytes[at] ^= 1;
    std::fs::write(&root, bytes).unwrap();
    let damaged = Volume::open(&root, Some(&key)).and_then(|volume| {
        let tree = volume.reader().tree()?;
        let files: Vec<_> = tree.walk().map(|entry| String::from_utf8(entry.path.to_vec()).unwrap()).collect();
        for file in files {
            if volume.is_file(&file)? {
                volume.read(&file)?;
            }
        }
        Ok(())
    });
    assert!(matches!(damaged, Err(InspectError::Volume(_))), "{damaged:?}");

    // Logs and initrd.
    let log = inspect::open(&built.folder.join(names::APPLOG), None).unwrap();
    assert_eq!(names_of(&log, "/")[0], "boot.log");
    assert_eq!(log.copy("/boot.log", &mut Vec::new()).unwrap(), 1 << 20);
    let initrd = inspect::open(&built.folder.join(names::INITRD), None).unwrap();
    assert_eq!(copied(&initrd, "/init"), b"program");
    assert!(names_of(&initrd, "modules").contains(&"modules/dm_crypt.ko".to_owned()));
    assert!(initrd.is_file("init").unwrap() && !initrd.is_file("dev").unwrap());
}

#[test]
fn files_of_no_known_kind_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, vec![0; 8192]).unwrap();
    assert!(matches!(inspect::open(&file, None), Err(InspectError::Volume(_))));
    std::fs::write(&file, b"QFI\xfb").unwrap();
    assert!(matches!(inspect::open(&file, None), Err(InspectError::Qcow2(_))));
    assert!(
        Command::new("sh").arg("-c").arg("echo hello | gzip > file").current_dir(&folder).status().unwrap().success()
    );
    assert!(matches!(inspect::open(&file, None), Err(InspectError::Stored(_))));
}

fn tool(program: &str, arguments: &[&std::ffi::OsStr]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output = Command::new(program).env("PATH", path).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
}

#[test]
fn a_data_drive_takes_files_and_grows() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // A drive as somebody else makes it: 64 MB, with a file on it.
    let (raw, drive) = (path("raw"), path("user_data.qcow2"));
    std::fs::create_dir(path("old")).unwrap();
    std::fs::write(path("old/kept"), "kept").unwrap();
    tool(
        "mke2fs",
        &[
            "-q".as_ref(),
            "-t".as_ref(),
            "ext4".as_ref(),
            "-b".as_ref(),
            "4096".as_ref(),
            "-d".as_ref(),
            path("old").as_ref(),
            raw.as_ref(),
            "64M".as_ref(),
        ],
    );
    tool("qemu-img", &["convert".as_ref(), "-O".as_ref(), "qcow2".as_ref(), raw.as_ref(), drive.as_ref()]);

    std::fs::create_dir(path("train")).unwrap();
    std::fs::write(path("train/a.csv"), "1,2,3\n").unwrap();
    let big: Vec<u8> = (0..100 << 20).map(|index: u32| (index >> 8) as u8).collect();
    std::fs::write(path("train/big"), &big).unwrap();
    std::fs::write(path("ext_mount.conf"), "server:/export\n").unwrap();
    let paths = [path("train"), path("ext_mount.conf")];
    let request = data_drive::Request { drive: &drive, paths: &paths, size: None, cancelled: &|| false };
    let added = data_drive::add(&request).unwrap();
    assert_eq!((added.before, added.after), (64 << 20, 1 << 30));

    tool("qemu-img", &["check".as_ref(), "-q".as_ref(), drive.as_ref()]);
    tool("qemu-img", &["convert".as_ref(), "-O".as_ref(), "raw".as_ref(), drive.as_ref(), raw.as_ref()]);
    tool("e2fsck", &["-fn".as_ref(), raw.as_ref()]);
    let volume = Volume::open(&drive, None).unwrap();
    assert_eq!(volume.read("/kept").unwrap(), b"kept");
    assert!(volume.read("/train/big").unwrap() == big);
    assert_eq!(volume.read("/ext_mount.conf").unwrap(), b"server:/export\n");
    // The guest cannot make the folder that it mounts the export on.
    assert!(volume.list("/").unwrap().iter().any(|item| item.name == "mnt" && item.kind == ItemKind::Folder));

    // Again, with a newer file: it wins, the rest stays; an explicit size grows the drive.
    std::fs::write(path("ext_mount.conf"), "other:/export\n").unwrap();
    let request = data_drive::Request { size: Some(2 << 30), paths: &paths[1..], ..request };
    let added = data_drive::add(&request).unwrap();
    assert_eq!((added.before, added.after), (1 << 30, 2 << 30));
    let volume = Volume::open(&drive, None).unwrap();
    assert_eq!(volume.read("/ext_mount.conf").unwrap(), b"other:/export\n");
    assert_eq!(volume.read("/train/a.csv").unwrap(), b"1,2,3\n");

    // What goes wrong leaves the drive and the folder as they were.
    let before = std::fs::read(&drive).unwrap();
    let cancelled = data_drive::Request { cancelled: &|| true, ..request };
    assert!(matches!(data_drive::add(&cancelled), Err(DataError::Cancelled)));
    let absent = [path("absent")];
    let request = data_drive::Request { drive: &drive, paths: &absent, size: None, cancelled: &|| false };
    assert!(matches!(data_drive::add(&request), Err(DataError::File(_))));
    let nameless = [PathBuf::from("/")];
    let request = data_drive::Request { paths: &nameless, ..request };
    assert!(matches!(data_drive::add(&request), Err(DataError::NoName { .. })));
    assert!(std::fs::read(&drive).unwrap() == before);
    let left = std::fs::read_dir(folder.path())
        .unwrap()
        .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with('.'));
    assert!(!left);
}
