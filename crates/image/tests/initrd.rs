//! The initrd: kernel modules resolved out of the guest parts, packed, read back, and unpacked by the real tools.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail")]

use image::cpio::{self, CpioError, Entries, Entry};
use image::initrd::{self, InitrdError};
use image::modules::{self, KernelError, ModulesError, Need};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn parts() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/confide/guest-parts"));
    let folder = std::env::var_os("CONFIDE_GUEST_PARTS").map(PathBuf::from).or_else(home)?;
    if folder.join("vmlinuz").exists() {
        return Some(folder);
    }
    println!("skipped: guest parts are not here (scripts/setup.sh fetches them)");
    None
}

fn resolved(parts: &Path) -> Vec<modules::Module> {
    modules::resolve(&parts.join("modules"), &std::fs::read(parts.join("vmlinuz")).unwrap()).unwrap()
}

#[test]
fn modules_come_after_what_they_depend_on() {
    let Some(parts) = parts() else { return };
    let modules = resolved(&parts);
    let place = |name: &str| modules.iter().position(|module| module.name == name).unwrap();
    for name in ["virtio_blk", "virtio_net", "sev_guest", "dm_crypt", "dm_verity", "xts", "overlay", "nft_ct"] {
        assert_eq!(modules[place(name)].need, Need::Required, "{name}");
    }
    for (before, after) in [
        ("configfs", "tsm"),
        ("tsm", "sev_guest"),
        ("failover", "net_failover"),
        ("net_failover", "virtio_net"),
        ("dm_mod", "dm_crypt"),
        ("reed_solomon", "dm_verity"),
        ("nfnetlink", "nf_tables"),
        ("sunrpc", "nfs"),
    ] {
        assert!(place(before) < place(after), "{before} before {after}");
    }
    assert_eq!(modules[place("nfs")].need, Need::Nfs);
    assert_eq!(modules[place("sunrpc")].need, Need::Nfs);
    assert_eq!(modules[place("dm_mod")].need, Need::Required);
    let mut names: Vec<_> = modules.iter().map(|module| &module.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), modules.len());
    let list = modules::list_file(&modules);
    assert!(list.contains("required virtio_blk.ko\n"), "{list}");
}

#[test]
fn the_same_input_gives_the_same_initrd_and_the_real_tools_read_it() {
    let Some(parts) = parts() else { return };
    let guest = vec![0x7f; 100_000];
    let bytes = initrd::write(guest.clone(), resolved(&parts)).unwrap();
    assert_eq!(bytes, initrd::write(guest.clone(), resolved(&parts)).unwrap());
    assert!(bytes.len() < 25_000_000, "{}", bytes.len());
    println!("initrd without a guest program: {} bytes", bytes.len());
    let entries = initrd::read(&bytes).unwrap();
    assert_eq!(entries["init"], Entry::file(0o755, guest));
    assert!(entries.contains_key("modules/dm_verity.ko"));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("initrd.img");
    std::fs::write(&file, &bytes).unwrap();
    let mut zstd = Command::new("zstd").arg("-dcq").arg(&file).stdout(Stdio::piped()).spawn().unwrap();
    let listed = Command::new("cpio").args(["-t", "--quiet"]).stdin(zstd.stdout.take().unwrap()).output().unwrap();
    assert!(zstd.wait().unwrap().success() && listed.status.success());
    let listed: Vec<_> = String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(listed, entries.keys().cloned().collect::<Vec<_>>());
}

#[test]
fn a_kernel_without_a_needed_driver_is_refused_by_name() {
    let Some(parts) = parts() else { return };
    let kernel = std::fs::read(parts.join("vmlinuz")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(parts.join("modules/modules.builtin"), folder.path().join("modules.builtin")).unwrap();
    let error = modules::resolve(folder.path(), &kernel).unwrap_err();
    assert!(matches!(&error, ModulesError::Missing { name, .. } if name == "virtio_blk"), "{error}");
    assert_eq!(error.code(), Some(claims::Code::Kernel));
    // A dependency that is missing is named with what needs it.
    let copy = |path: &str| {
        let to = folder.path().join(Path::new(path).file_name().unwrap());
        std::fs::copy(parts.join("modules/kernel").join(path), to).unwrap();
    };
    copy("drivers/block/virtio_blk.ko.xz");
    copy("drivers/net/virtio_net.ko.xz");
    let error = modules::resolve(folder.path(), &kernel).unwrap_err();
    let wanted = "net_failover";
    assert!(
        matches!(&error, ModulesError::Missing { name, purpose, .. } if name == wanted && purpose.contains("virtio_net")),
        "{error}"
    );
}

#[test]
fn modules_of_another_kernel_are_refused() {
    let Some(parts) = parts() else { return };
    let mut kernel = std::fs::read(parts.join("vmlinuz")).unwrap();
    let release = modules::kernel_release(&kernel).unwrap();
    let at = usize::from(u16::from_le_bytes([kernel[0x20E], kernel[0x20F]])) + 0x200;
    kernel[at] = b'9';
    let error = modules::resolve(&parts.join("modules"), &kernel).unwrap_err();
    assert!(matches!(&error, ModulesError::Vermagic { got, wanted, .. } if *got == release && wanted.starts_with('9')));
}

#[test]
fn what_is_no_kernel_is_refused() {
    assert_eq!(modules::kernel_release(b"\x7fELF"), Err(KernelError::NotBzImage));
    let mut image = vec![0; 0x400];
    image[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    assert_eq!(modules::kernel_release(&image), Err(KernelError::NoVersion));
}

#[test]
fn broken_cpio_archives_are_refused() {
    let entries = Entries::from([("a".to_owned(), Entry::file(0o644, b"123".to_vec()))]);
    let bytes = cpio::write(&entries).unwrap();
    assert_eq!(cpio::read(&bytes[..50]), Err(CpioError::Short { offset: 0 }));
    assert_eq!(cpio::read(b"070702"), Err(CpioError::Magic { offset: 0 }));
    let mut number = bytes.clone();
    number[6] = b'x';
    assert_eq!(cpio::read(&number), Err(CpioError::Number { offset: 0 }));
    for name in ["../a", "/a", "a//b", ""] {
        let entries = Entries::from([(name.to_owned(), Entry::folder())]);
        let wanted = CpioError::Name { offset: 0, name: name.to_owned() };
        assert_eq!(cpio::read(&cpio::write(&entries).unwrap()), Err(wanted));
    }
    let second = [bytes.as_slice(), b"070701"].concat();
    assert_eq!(cpio::read(&second), Err(CpioError::Trailing { count: 6 }));
    assert!(matches!(initrd::read(&[0x28, 0xB5, 0x2F, 0xFD, 1, 2, 3]), Err(InitrdError::Compression(_))));
}

proptest::proptest! {
    #[test]
    fn cpio_round_trips(files in proptest::collection::btree_map("[a-z]{1,9}(/[a-z]{1,9})?", proptest::collection::vec(0_u8.., 0..50), 0..9)) {
        let entries: Entries = files.into_iter().map(|(name, bytes)| (name, Entry::file(0o644, bytes))).collect();
        assert_eq!(cpio::read(&cpio::write(&entries).unwrap()).unwrap(), entries);
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(0_u8.., 0..300)) {
        let _ = cpio::read(&bytes);
        let _ = initrd::read(&bytes);
        let _ = modules::ModuleInfo::parse(&bytes);
        let _ = modules::kernel_release(&bytes);
    }
}
