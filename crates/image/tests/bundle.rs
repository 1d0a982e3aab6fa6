//! A whole bundle, built from a real archive, and what the real tools say to it.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail")]

use claims::boot::BootParameters;
use claims::reference::Reference;
use claims::site::{Site, host_data};
use claims::volume::VolumeKey;
use image::build::{self, BuildError, Built, Progress, Request, Step};
use image::bundle::{Manifest, ManifestError, names};
use image::workload::{Place, Workload};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// A folder with everything a build needs, made once per test.
struct Bench {
    folder: tempfile::TempDir,
    parts: PathBuf,
    key: VolumeKey,
}

/// What differs from the usual build.
struct Change<'a> {
    archive: bool,
    threads: usize,
    firmware: Option<&'a Path>,
    progress: &'a (dyn Fn(Progress) + Sync),
    cancelled: &'a (dyn Fn() -> bool + Sync),
}

const USUAL: Change<'static> =
    Change { archive: false, threads: 2, firmware: None, progress: &|_| {}, cancelled: &|| false };

const WORKLOAD: &str = "compute_env: onprem_cvm\ncc_cpu_mechanism: amd_sev_snp\ndocker_archive: app.tar\nname: hello\n\
    root_drive_size: 1\nuser_config:\n  kit: kit\nallowed_ports: [8080]\nworkload_log: applog\nresources: [hello/secret/hmac]\n";

impl Bench {
    fn new() -> Option<Self> {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/confide/guest-parts"));
        let parts = std::env::var_os("CONFIDE_GUEST_PARTS").map(PathBuf::from).or_else(home)?;
        if !parts.join("vmlinuz").exists() {
            println!("skipped: guest parts are not here (scripts/setup.sh fetches them)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello/make-image.sh");
        let service = folder.path().join("service");
        std::fs::write(&service, "#!/bin/sh\n").unwrap();
        let archive = folder.path().join("app.tar");
        assert!(Command::new("bash").arg(script).args([&service, &archive]).status().unwrap().success());
        std::fs::write(folder.path().join("guest"), vec![0x7f; 50_000]).unwrap();
        std::fs::create_dir_all(folder.path().join("kit/startup")).unwrap();
        std::fs::write(folder.path().join("kit/startup/start.sh"), "#!/bin/sh\n").unwrap();
        Some(Self { folder, parts, key: VolumeKey::from_slice(&[7; 32]).unwrap() })
    }

    fn workload(&self, text: &str) -> Workload {
        Workload::parse(text, Place { file: &self.folder.path().join("w.yml"), home: None }).unwrap()
    }

    fn build(&self, text: &str, out: &Path, change: Change<'_>) -> Result<Built, BuildError> {
        let (workload, guest) = (self.workload(text), self.folder.path().join("guest"));
        let (kernel, modules) = (self.parts.join("vmlinuz"), self.parts.join("modules"));
        let firmware = self.parts.join("OVMF.amdsev.fd");
        let request = Request {
            workload: &workload,
            kernel: &kernel,
            modules: &modules,
            firmware: change.firmware.unwrap_or(&firmware),
            guest: &guest,
            volume_key: &self.key,
            broker: None,
            out,
            archive: change.archive,
            cache: None,
            threads: change.threads,
            progress: change.progress,
            cancelled: change.cancelled,
        };
        build::build(&request)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Names in the folder that start with a dot: what a failed build might leave.
    fn leftovers(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path()).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect()
    }
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output = Command::new(program).env("PATH", path).args(arguments).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_bundle_is_what_the_real_tools_want() {
    let Some(bench) = Bench::new() else { return };
    let out = bench.path("bundle");
    let steps = Mutex::new(Vec::new());
    let progress = |Progress { step, .. }: Progress| steps.lock().unwrap().push(step);
    let built = bench.build(WORKLOAD, &out, Change { archive: true, progress: &progress, ..USUAL }).unwrap();
    let mut seen = steps.lock().unwrap().clone();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, [Step::Parts, Step::Image, Step::Root, Step::Drives, Step::Measure, Step::Archive]);
    let mut wanted = [
        names::APPLOG,
        names::ROOT,
        names::INITRD,
        names::LAUNCH,
        names::FIRMWARE,
        names::README,
        names::USER_CONFIG,
        names::USER_DATA,
        names::KERNEL,
        names::SITE,
        names::MANIFEST,
        names::REFERENCE,
    ];
    wanted.sort_unstable();
    assert_eq!(files(&out).into_iter().map(|(name, _)| name).collect::<Vec<_>>(), wanted);

    // The parts agree with each other.
    let manifest = Manifest::load(&out).unwrap();
    assert_eq!(manifest, built.manifest);
    let reference = Reference::parse(&std::fs::read(out.join(names::REFERENCE)).unwrap()).unwrap();
    assert_eq!(reference, built.reference);
    let site_bytes = std::fs::read(out.join(names::SITE)).unwrap();
    assert_eq!(host_data(&site_bytes), manifest.host_data);
    assert_eq!(reference.host_data, manifest.host_data);
    assert_eq!(Site::parse(&site_bytes).unwrap(), built.site);
    let parameters = BootParameters::parse(&manifest.command_line).unwrap();
    assert_eq!(parameters.root.root_hash, reference.root_hash);
    assert_eq!(parameters.applog.len(), 3);
    assert_eq!(reference.resources, ["default/volume-key/hello", "hello/secret/hmac"]);
    assert!(reference.launch_measurements.iter().any(|entry| entry.vcpu_type == manifest.vcpu_type));

    // qcow2, ext4 and LUKS2 by their own tools.
    for name in [names::APPLOG, names::ROOT, names::USER_CONFIG, names::USER_DATA] {
        run("qemu-img", &["check".as_ref(), "-q".as_ref(), out.join(name).as_ref()]);
    }
    for name in [names::APPLOG, names::USER_DATA] {
        let raw = bench.path(&format!("{name}.raw"));
        run("qemu-img", &["convert".as_ref(), "-O".as_ref(), "raw".as_ref(), out.join(name).as_ref(), raw.as_ref()]);
        run("e2fsck", &["-fn".as_ref(), raw.as_ref()]);
        if name == names::APPLOG {
            // The offsets on the command line are where the files are.
            for file in &parameters.applog {
                let text = run("debugfs", &["-R".as_ref(), format!("stat /{}", file.name).as_ref(), raw.as_ref()]);
                let block = file.offset / 4096;
                assert!(text.contains(&format!("Size: {}", file.length)), "{text}");
                let first = text.split("EXTENTS:\n(0-").nth(1).unwrap().split("):").nth(1).unwrap();
                assert!(first.starts_with(&format!("{block}-")), "wanted block {block} in {text}");
            }
        }
    }
    let key = bench.path("key");
    std::fs::write(&key, [7; 32]).unwrap();
    for name in [names::ROOT, names::USER_CONFIG] {
        let raw = bench.path(&format!("{name}.raw"));
        run("qemu-img", &["convert".as_ref(), "-O".as_ref(), "raw".as_ref(), out.join(name).as_ref(), raw.as_ref()]);
        let dump = run("cryptsetup", &["luksDump".as_ref(), raw.as_ref()]);
        assert!(dump.contains("aes-xts-plain64"), "{dump}");
        let test = ["open", "--test-passphrase", "--key-file"].map(std::ffi::OsStr::new);
        run("cryptsetup", &[test.as_slice(), &[key.as_ref(), raw.as_ref()]].concat());
    }
    launch_script(&bench, &out, &manifest);
    one_file(&bench, &out, &built);
}

/// The script is sound shell, prints the whole command, and says what is missing here.
fn launch_script(bench: &Bench, out: &Path, manifest: &Manifest) {
    let script = out.join(names::LAUNCH);
    run("sh", &["-n".as_ref(), script.as_ref()]);
    let printed = run("sh", &[script.as_ref(), "--print".as_ref()]);
    for wanted in [
        "kernel-hashes=on",
        "confidential-guest-support=sev0",
        "policy=0x30000",
        "-bios' 'OVMF.amdsev.fd",
        "hostfwd=tcp:0.0.0.0:8080-:8080",
        "serial=user_config",
        "file=site.json,if=none,id=site,format=raw,readonly=on",
        &format!("'{}'", manifest.command_line),
    ] {
        assert!(printed.contains(wanted), "{wanted} in {printed}");
    }
    let sum = Command::new("sh")
        .arg("-c")
        .arg("sed -n \"/^digests='/,/'$/p\" launch_vm.sh | tr -d \"'\" | sed 's/^digests=//' | sha256sum -c --quiet -")
        .current_dir(out)
        .status();
    assert!(sum.unwrap().success());
    std::fs::write(bench.path("qemu-old"), "#!/bin/sh\necho QEMU emulator version 8.2.2\n").unwrap();
    run("chmod", &["+x".as_ref(), bench.path("qemu-old").as_ref()]);
    let old = Command::new("sh").arg(&script).arg("--check").env("QEMU", bench.path("qemu-old")).output().unwrap();
    assert_eq!(old.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&old.stderr).contains("needs 9.1 or later"), "{old:?}");
    let copy = bench.path("copy");
    run("cp", &["-r".as_ref(), out.as_ref(), copy.as_ref()]);
    std::fs::write(copy.join(names::SITE), vec![b'\n'; 512]).unwrap();
    let changed = Command::new("sh").arg(copy.join(names::LAUNCH)).arg("--check").output().unwrap();
    assert!(String::from_utf8_lossy(&changed.stderr).contains("a file differs"), "{changed:?}");
    std::fs::remove_dir_all(copy).unwrap();
}

/// The one-file form unpacks to the same files, below `NAME/cvm_ID`, and is stored.
fn one_file(bench: &Bench, out: &Path, built: &Built) {
    let archive = built.archive.clone().unwrap();
    assert_eq!(archive, bench.path("hello.tgz"));
    run("gzip", &["-t".as_ref(), archive.as_ref()]);
    let to = bench.path("unpacked");
    std::fs::create_dir(&to).unwrap();
    run("tar", &["-xzf".as_ref(), archive.as_ref(), "-C".as_ref(), to.as_ref()]);
    let unpacked = to.join(format!("hello/cvm_{}", built.manifest.cvm_id));
    assert_eq!(files(&unpacked), files(out));
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    let sum: u64 = files(out).iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert!(size(&archive) >= sum);
}

#[test]
fn the_same_inputs_give_the_same_bytes_elsewhere() {
    let (Some(one), Some(other)) = (Bench::new(), Bench::new()) else { return };
    let first = one.build(WORKLOAD, &one.path("a"), Change { archive: true, ..USUAL }).unwrap();
    // Another folder, another umask, other permissions and times, another number of threads.
    std::fs::create_dir(other.path("deep")).unwrap();
    run("chmod", &["-R".as_ref(), "go-rwx".as_ref(), other.path("kit").as_ref()]);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let change = Change { threads: 1, archive: true, ..USUAL };
    let second = other.build(WORKLOAD, &other.path("deep/b"), change).unwrap();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    for ((name, one), (other_name, other)) in files(&first.folder).into_iter().zip(files(&second.folder)) {
        assert_eq!(name, other_name);
        assert!(one == other, "{name} differs");
    }
    assert!(std::fs::read(first.archive.unwrap()).unwrap() == std::fs::read(second.archive.unwrap()).unwrap());
    use std::os::unix::fs::PermissionsExt;
    for entry in std::fs::read_dir(&second.folder).unwrap() {
        let entry = entry.unwrap();
        let wanted = if entry.file_name() == names::LAUNCH { 0o755 } else { 0o644 };
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, wanted, "{:?}", entry.file_name());
    }
    // Another site: HOST_DATA differs, the measurement does not.
    let third = other.build(&format!("{WORKLOAD}site: berlin\n"), &other.path("c"), USUAL).unwrap();
    assert_eq!(third.reference.launch_measurements, first.reference.launch_measurements);
    assert_ne!(third.reference.host_data, first.reference.host_data);
    assert_ne!(third.manifest.cvm_id, first.manifest.cvm_id);
}

#[test]
fn a_build_that_fails_leaves_nothing() {
    let Some(bench) = Bench::new() else { return };
    let out = bench.path("bundle");
    let gone = |error: BuildError| {
        assert!(!out.exists(), "{error}");
        assert_eq!(bench.leftovers(), Vec::<String>::new(), "{error}");
        error
    };
    let error = gone(bench.build(WORKLOAD, &out, Change { cancelled: &|| true, ..USUAL }).unwrap_err());
    assert!(matches!(error, BuildError::Cancelled), "{error}");
    let error = gone(bench.build(&WORKLOAD.replace("app.tar", "absent.tar"), &out, USUAL).unwrap_err());
    assert!(matches!(error, BuildError::Root(_)), "{error}");
    let error = gone(bench.build(&WORKLOAD.replace("kit: kit", "kit: absent"), &out, USUAL).unwrap_err());
    assert!(matches!(error, BuildError::HostFile(_)), "{error}");
    let plain = bench.path("plain.fd");
    std::fs::write(&plain, vec![0; 4096]).unwrap();
    let error = gone(bench.build(WORKLOAD, &out, Change { firmware: Some(&plain), ..USUAL }).unwrap_err());
    assert_eq!(error.code(), Some(claims::Code::Firmware), "{error}");
    let error = gone(bench.build(&format!("{WORKLOAD}user: nobody-here\n"), &out, USUAL).unwrap_err());
    assert_eq!(error.code(), Some(claims::Code::Workload), "{error}");
    let big = bench.path("kit/big");
    std::fs::File::create(big).unwrap().set_len(2 << 30).unwrap();
    let error = gone(bench.build(WORKLOAD, &out, USUAL).unwrap_err());
    assert!(matches!(error, BuildError::DriveTooSmall { drive: "user_config", .. }), "{error}");
    std::fs::create_dir(&out).unwrap();
    let error = bench.build(WORKLOAD, &out, USUAL).unwrap_err();
    assert!(matches!(error, BuildError::Exists { .. }), "{error}");
}

#[test]
fn manifests_are_read_strictly() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Manifest::load(folder.path()), Err(ManifestError::Read { .. })));
    let text = r#"{"version":1,"name":"a","site":"b","cvm_id":"0","vcpus":1,"vcpu_type":"EPYC","memory_bytes":1,
        "command_line":"","policy":1,"host_data":"HASH","ports":[],"gpu":false,"drives":[],
        "files":[{"name":"NAME","sha256":"HASH"}]}"#
        .replace("HASH", &"0".repeat(64));
    assert!(Manifest::parse(text.replace("NAME", "vmlinuz").as_bytes()).is_ok());
    for name in ["../vmlinuz", "/etc/passwd", "", ".hidden", "a b"] {
        let error = Manifest::parse(text.replace("NAME", name).as_bytes()).unwrap_err();
        assert!(matches!(&error, ManifestError::Name { name: got } if got == name), "{error}");
    }
    let later = text.replace("\"version\":1", "\"version\":2");
    assert!(matches!(Manifest::parse(later.as_bytes()), Err(ManifestError::Version { got: 2 })));
    let unknown = text.replace("\"gpu\"", "\"extra\":1,\"gpu\"");
    assert!(matches!(Manifest::parse(unknown.as_bytes()), Err(ManifestError::Json { .. })));
}
