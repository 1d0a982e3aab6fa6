//! Linux mounts our volumes: one boot of the guest's kernel under emulation, with busybox.
//!
//! Needs QEMU, busybox, xz and cpio, and the kernel that scripts/setup.sh fetches; says `skipped:` where they are not.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests stop at the first error")]

#[cfg(test)]
mod support;

use aws_lc_rs::digest::{Context, SHA256, digest};
use sealed::ext4::{Layout, Size, Sources, scratch};
use sealed::tree::{Content, Kind, Tree};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::*;

/// Without CMPXCHG16B: QEMU 7.2 can leave wrong flags behind it, which shows as a double fault in one boot of ten.
const CPU: &str = "Haswell-v4,-cx16";

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
insmod /virtio_blk.ko
mkdir /a /b /c
sums() { cd $1; find . -type f | grep -v ' ' | sort | xargs sha256sum | sha256sum; cd /; }
mount -t ext4 -o ro /dev/vda /a && echo "result tree $(sums /a)"
echo "result many $(ls /a/many | wc -l) $(cat "/a/many/file 2999")"
echo "result capability $(ls -ln /a/bin/su) $(readlink /a/link-60)"
write() {
  mount -t ext4 $1 $2 && mkdir $2/new && cp /bin/busybox $2/new/busybox
  for i in $(seq 300); do echo $i > $2/new/$i; done
  umount $2 && mount -t ext4 -o ro $1 $2 && cmp /bin/busybox $2/new/busybox && echo "result written $1 $(ls $2/new | wc -l)"
  umount $2
}
write /dev/vdb /b
write /dev/vdc /c
dmesg | grep -iE 'ext4.*(error|warn|corrupt|bad)' | sed 's/^/result complaint /'
sync; echo "result end"
reboot -f
"#;

fn parts() -> Option<PathBuf> {
    let home = std::env::var_os("HOME")?;
    let folder = std::env::var_os("XDG_CACHE_HOME").map_or(Path::new(&home).join(".cache"), PathBuf::from);
    Some(folder.join("confide/guest-parts")).filter(|folder| folder.join("vmlinuz").exists())
}

/// A busybox initrd, by the host's cpio.
fn initrd(folder: &Path, parts: &Path) -> Option<PathBuf> {
    let root = folder.join("root");
    for name in ["bin", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists())?;
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    fs::write(root.join("init"), INIT).unwrap();
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).unwrap();
    let module = parts.join("modules/kernel/drivers/block/virtio_blk.ko.xz");
    let script = "xz -dc \"$1\" > \"$2/virtio_blk.ko\" && cd \"$2\" && find . | cpio -o -H newc --quiet > \"$3\"";
    let out = folder.join("initrd");
    let arguments = ["-c", script, "sh", module.to_str()?, root.to_str()?, out.to_str()?];
    let (made, said) = tool("sh", &arguments)?;
    assert!(made, "{said}");
    Some(out)
}

/// Boots with the three disks and gives what was said, or nothing where there is no QEMU.
fn boot(parts: &Path, initrd: &Path, disks: &[&Path]) -> Option<String> {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-machine", "q35,accel=tcg", "-cpu", CPU, "-m", "512", "-nographic", "-no-reboot"]);
    command.arg("-kernel").arg(parts.join("vmlinuz")).arg("-initrd").arg(initrd);
    command.args(["-append", "console=ttyS0 quiet panic=-1", "-nodefaults", "-serial", "stdio"]);
    for disk in disks {
        let disk = format!("file={},format=raw,if=virtio,cache=unsafe", disk.display());
        command.args(["-drive", &disk]);
    }
    let log = tempfile::NamedTempFile::new().unwrap();
    let spawned = command.stdin(Stdio::null()).stdout(log.reopen().unwrap()).stderr(Stdio::inherit()).spawn();
    let mut machine = match spawned {
        Ok(machine) => machine,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("QEMU: {error}"),
    };
    let start = Instant::now();
    while machine.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(300) {
            machine.kill().unwrap();
            machine.wait().unwrap();
            panic!("the machine did not end: {}", fs::read_to_string(log.path()).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Some(String::from_utf8_lossy(&fs::read(log.path()).unwrap()).into_owned())
}

/// What `find . -type f | grep -v ' ' | sort | xargs sha256sum | sha256sum` gives.
fn sums(tree: &Tree) -> String {
    let mut lines: Vec<(Vec<u8>, String)> = Vec::new();
    for entry in tree.walk().filter(|entry| !entry.path.contains(&b' ')) {
        let Kind::File(content) = entry.kind else { continue };
        let mut bytes = vec![0; content.len() as usize];
        match content {
            Content::Inline(inline) => bytes.copy_from_slice(inline),
            Content::Source { source, offset, .. } => Pattern.read(*source, *offset, &mut bytes).unwrap(),
            Content::Zeros(_) => {}
        }
        let hash = hex::encode(digest(&SHA256, &bytes));
        lines.push((entry.path.clone(), format!("{hash}  ./{}\n", String::from_utf8_lossy(&entry.path))));
    }
    lines.sort();
    let mut all = Context::new(&SHA256);
    lines.iter().for_each(|(_, line)| all.update(line.as_bytes()));
    hex::encode(all.finish())
}

#[test]
fn linux_mounts_reads_and_writes() {
    let Some(parts) = parts() else {
        println!("skipped: the guest's kernel is not here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let Some(initrd) = initrd(folder.path(), &parts) else {
        println!("skipped: busybox is not here");
        return;
    };
    let mut tree = sampler();
    let wanted = sums(&tree);
    // A large folder, read by name.
    for index in 0..3000 {
        let target = Kind::File(Content::Inline(format!("content {index}").as_bytes().into()));
        tree.put(format!("many/file {index}").as_bytes(), meta(0o644), target).unwrap();
    }
    let disks = ["a", "b", "c"].map(|name| folder.path().join(name));
    write_sparse(&Layout::plan(&tree, &options(Size::Minimal)).unwrap(), &Pattern, &disks[0]);
    let mut writable = options(Size::Bytes(200 << 20));
    writable.journal = true;
    write_sparse(&Layout::plan(&sampler(), &writable).unwrap(), &Pattern, &disks[1]);
    let bytes = 200 << 20;
    let noise: Vec<u8> = (0..bytes).map(|index| pattern(9, index)).collect();
    fs::write(&disks[2], noise).unwrap();
    let device = fs::File::options().write(true).open(&disks[2]).unwrap();
    for (offset, piece) in scratch(bytes, UUID, 1_700_000_000).unwrap() {
        device.write_all_at(&piece, offset).unwrap();
    }
    let Some(said) = boot(&parts, &initrd, &[&disks[0], &disks[1], &disks[2]]) else {
        println!("skipped: qemu-system-x86_64 is not here");
        return;
    };
    let has = |line: &str| assert!(said.contains(line), "no `{line}` in\n{said}");
    has("result end");
    has(&format!("result tree {wanted}  -"));
    has("result many 3000 content 2999");
    has("result capability -rwsr-xr-x    3 1000     70000       100000");
    has(&"b".repeat(60));
    has("result written /dev/vdb 301");
    has("result written /dev/vdc 301");
    assert!(!said.contains("result complaint"), "{said}");
    check(&disks[1]);
    check(&disks[2]);
}
