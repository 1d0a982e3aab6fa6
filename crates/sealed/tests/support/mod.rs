//! What several tests need: trees, images, and the real tools.
#![allow(dead_code, reason = "each test file uses a part")]

use sealed::ext4::{Layout, Options, Size, Sources};
use sealed::tree::{Content, Kind, Meta, Tree};
use std::io::Write;
use std::path::Path;
use std::process::Command;

pub(crate) const UUID: [u8; 16] = [7, 1, 2, 3, 4, 5, 0x46, 7, 0x88, 9, 10, 11, 12, 13, 14, 15];

/// Bytes that depend on source and position, so that a wrong offset shows.
pub(crate) struct Pattern;

impl Sources for Pattern {
    fn read(&self, source: u32, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        for (index, byte) in (offset..).zip(out.iter_mut()) {
            *byte = pattern(source, index);
        }
        Ok(())
    }
}

pub(crate) fn pattern(source: u32, index: u64) -> u8 {
    let mixed = (index / 7 + u64::from(source)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

pub(crate) fn options(size: Size) -> Options {
    Options { size, label: "confide".into(), uuid: UUID, journal: false, time: 1_700_000_000 }
}

pub(crate) fn meta(mode: u16) -> Meta {
    Meta { mode, uid: 1000, gid: 70000, mtime: 1_650_000_000, mtime_nanos: 123, xattrs: Default::default() }
}

pub(crate) fn inline(text: &[u8]) -> Kind {
    Kind::File(Content::Inline(text.into()))
}

/// One of everything.
pub(crate) fn sampler() -> Tree {
    let mut tree = Tree::new(Meta::plain(0o755));
    let mut put = |path: &str, mode, kind| tree.put(path.as_bytes(), meta(mode), kind).map(|_| ()).unwrap();
    put("etc/passwd", 0o644, inline(b"root:x:0:0::/root:/bin/sh\n"));
    put("bin/su", 0o4755, Kind::File(Content::Source { source: 3, offset: 11, length: 100_000 }));
    put("empty", 0o600, inline(b""));
    put("exact", 0o600, Kind::File(Content::Source { source: 4, offset: 0, length: 8192 }));
    put("zeros", 0o600, Kind::File(Content::Zeros(3 << 20)));
    put("short-link", 0o777, Kind::Link(b"bin/su".to_vec()));
    put("link-59", 0o777, Kind::Link(vec![b'a'; 59]));
    put("link-60", 0o777, Kind::Link(vec![b'b'; 60]));
    put("link-long", 0o777, Kind::Link(vec![b'c'; 4000]));
    put("dev/null", 0o666, Kind::Device { block: false, major: 1, minor: 3 });
    put("dev/big", 0o660, Kind::Device { block: true, major: 259, minor: 70_000 });
    put("dev/pipe", 0o640, Kind::Fifo);
    put("dev/log", 0o777, Kind::Socket);
    put("tmp", 0o1777, Kind::Folder);
    put(&format!("long/{}", "n".repeat(255)), 0o644, inline(b"long"));
    let mut deep = String::from("deep");
    for level in 0..100 {
        deep.push_str(&format!("/{level}"));
    }
    put(&deep, 0o644, inline(b"deep"));
    let mut with_xattrs = meta(0o755);
    with_xattrs
        .xattrs
        .insert(b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    tree.put(b"bin/ping", with_xattrs.clone(), inline(b"ping")).unwrap();
    with_xattrs.xattrs.insert(b"user.large".to_vec(), vec![b'x'; 3000]);
    with_xattrs.xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    tree.put(b"bin/many", with_xattrs.clone(), inline(b"many")).unwrap();
    tree.put(b"tmp/with", with_xattrs, Kind::Folder).unwrap();
    tree.hard_link(b"sbin/su", b"bin/su").unwrap();
    tree.hard_link(b"sbin/sulogin", b"bin/su").unwrap();
    tree.hard_link(b"another-null", b"dev/null").unwrap();
    tree
}

/// The whole volume, holes as zeros.
pub(crate) fn image(layout: &Layout, sources: &dyn Sources) -> Vec<u8> {
    let mut out = vec![0; layout.bytes() as usize];
    layout.fill(0, &mut out, sources).unwrap();
    out
}

/// Writes only what is allocated, in pieces.
pub(crate) fn write_sparse(layout: &Layout, sources: &dyn Sources, path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path).unwrap();
    file.set_len(layout.bytes()).unwrap();
    for range in layout.allocated() {
        let mut at = range.start;
        while at < range.end {
            let count = (range.end - at).min(256);
            let mut out = vec![0xee; count as usize * 4096];
            layout.fill(at, &mut out, sources).unwrap();
            file.write_all_at(&out, at * 4096).unwrap();
            at += count;
        }
    }
}

pub(crate) fn save(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Runs a tool that the set-up installs; gives success and all it said. `None`, said so, where it is missing.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    match Command::new(program).args(arguments).env("PATH", path).env("LC_ALL", "C").output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {program} is not here");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// e2fsck finds nothing to say.
pub(crate) fn check(path: &Path) {
    if let Some((clean, said)) = tool("e2fsck", &["-fn", path.to_str().unwrap()]) {
        assert!(clean, "{said}");
        for complaint in ["invalid", "Fix?", "WARNING", "rror", "optimiz"] {
            assert!(!said.contains(complaint), "{said}");
        }
    }
}
