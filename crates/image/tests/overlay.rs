//! Merging layers: what an overlay would show, and what is refused.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]

use image::archive::tar::{Slice, TarError};
use image::overlay::{LayerError, Limits, Merger, Reason, merge_bytes, resolve};
use proptest::prelude::*;
use sealed::tree::{Content, Kind, Tree};

#[path = "archive_support/mod.rs"]
mod archive_support;
use archive_support::{Tar, vectors};

fn merged(layers: &[Tar]) -> Tree {
    merge(layers).unwrap()
}

fn merge(layers: &[Tar]) -> Result<Tree, LayerError> {
    let layers: Vec<Vec<u8>> = layers.iter().map(Tar::bytes).collect();
    merge_bytes(&layers.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn refused(layers: &[Tar]) -> (String, Reason) {
    let error = merge(layers).unwrap_err();
    assert_eq!(error.code(), Some(claims::Code::Layer), "{error}");
    (error.entry, error.reason)
}

fn names(tree: &Tree) -> Vec<String> {
    tree.walk().skip(1).map(|entry| String::from_utf8(entry.path).unwrap()).collect()
}

fn length(tree: &Tree, path: &str) -> u64 {
    match tree.get(path.as_bytes()) {
        Some((_, Kind::File(content))) => content.len(),
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn upper_layers_win() {
    let lower = Tar::new().folder("d").file("d/a", b"1").file("d/b", b"2").file("e", b"3").symlink("l", "d");
    let upper =
        Tar::new().file("d/a", b"11").file("e/f", b"").remove_last().folder("e").file("e/f", b"333").file("l", b"");
    let tree = merged(&[lower, upper]);
    assert_eq!(names(&tree), ["d", "d/a", "d/b", "e", "e/f", "l"]);
    assert_eq!((length(&tree, "d/a"), length(&tree, "e/f"), length(&tree, "l")), (2, 3, 0));
}

#[test]
fn contents_are_pointed_at() {
    let layer = Tar::new().file("a", b"contents");
    let tree = merged(&[Tar::new(), layer]);
    let wanted = Content::Source { source: 1, offset: 512, length: 8 };
    assert_eq!(tree.get(b"a").unwrap().1, &Kind::File(wanted));
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    let lower = || Tar::new().folder("d").file("d/a", b"1").file("d/b", b"2").file("f", b"3");
    let tree = merged(&[lower(), Tar::new().file("d/.wh.a", b"").file(".wh.f", b"")]);
    assert_eq!(names(&tree), ["d", "d/b"]);
    // Before or after what the same layer adds: it makes no difference.
    let before = Tar::new().file("d/.wh.a", b"").file("d/a", b"new");
    let after = Tar::new().file("d/a", b"new").file("d/.wh.a", b"");
    for upper in [before, after] {
        let tree = merged(&[lower(), upper]);
        assert_eq!((names(&tree), length(&tree, "d/a")), (names(&merged(&[lower()])), 3));
    }
    for upper in [
        Tar::new().file("d/c", b"").file("d/.wh..wh..opq", b""),
        Tar::new().file("d/.wh..wh..opq", b"").file("d/c", b""),
    ] {
        assert_eq!(names(&merged(&[lower(), upper])), ["d", "d/c", "f"]);
    }
    assert_eq!(names(&merged(&[lower(), Tar::new().file(".wh..wh..opq", b"")])), [""; 0]);
    // In the lowest layer there is nothing to hide.
    assert_eq!(names(&merged(&[Tar::new().file("x", b"").file(".wh.x", b"").file(".wh.gone", b"")])), ["x"]);
    // Docker and containerd make the folder that a marker stands in; a file in its way stays.
    let tree = merged(&[lower(), Tar::new().file("p/q/.wh.a", b"").file("r/.wh..wh..opq", b"").file("f/.wh.x", b"")]);
    assert_eq!(names(&tree), ["d", "d/a", "d/b", "f", "p", "p/q", "r"]);
    assert_eq!(tree.get(b"p/q").unwrap().0, &sealed::tree::Meta::plain(0o755));
}

#[test]
fn whiteouts_do_not_reach_through_links() {
    let lower = Tar::new().folder("real").file("real/a", b"1").symlink("link", "real");
    let tree = merged(&[lower, Tar::new().file("link/.wh.a", b"").file("link/.wh..wh..opq", b"")]);
    assert_eq!(names(&tree), ["link", "real", "real/a"]);
}

#[test]
fn hard_links_reach_lower_layers_and_part_when_replaced() {
    let lower = Tar::new().file("a", b"1").hard_link("b", "a").hard_link("./c", "/b");
    let tree = merged(&[lower, Tar::new().hard_link("d/e", "a").file("a", b"new")]);
    assert_eq!(tree.id(b"b"), tree.id(b"d/e"));
    assert_eq!((length(&tree, "b"), length(&tree, "a")), (1, 3));
}

#[test]
fn a_hard_links_entry_changes_the_file() {
    let lower = Tar::new().pax(&[("SCHILY.xattr.user.a", b"1")]).file("a", b"bytes").symlink("s", "a");
    let owner: [(&str, &[u8]); 3] = [("uid", b"7"), ("gid", b"8"), ("mtime", b"12")];
    let link = Tar::new().pax(&[&owner[..], &[("SCHILY.xattr.user.b", b"2")]].concat()).hard_link("b", "a");
    let link = link.pax(&owner).hard_link("t", "s");
    let tree = merged(&[lower, link]);
    let (meta, _) = tree.get(b"a").unwrap();
    assert_eq!((meta.uid, meta.gid, meta.mtime, meta.xattrs.len(), length(&tree, "a")), (7, 8, 12, 2, 5));
    let (meta, _) = tree.get(b"s").unwrap();
    assert_eq!((meta.mode, meta.uid, meta.gid), (0o777, 7, 8));
}

#[test]
fn parents_that_are_links_are_followed_inside() {
    let lower =
        || Tar::new().folder("usr/lib").symlink("lib", "usr/lib").symlink("up", "../../..").symlink("abs", "/usr");
    let tree = merged(&[lower(), Tar::new().file("lib/x", b"").file("up/y", b"").file("abs/lib/z", b"")]);
    assert_eq!(names(&tree), ["abs", "lib", "up", "usr", "usr/lib", "usr/lib/x", "usr/lib/z", "y"]);
    // What a link leads to is made, inside of the root.
    let dangling = Tar::new().symlink("a", "gone").file("a/b", b"").symlink("c", "/run/x/../..").file("c/d", b"");
    assert_eq!(names(&merged(&[dangling])), ["a", "c", "d", "gone", "gone/b"]);
    // The last component is not followed.
    let tree = merged(&[lower(), Tar::new().file("lib", b"file")]);
    assert_eq!(length(&tree, "lib"), 4);
    assert_eq!(resolve(&tree, b"abs/lib"), Some(b"usr/lib".to_vec()));
}

#[test]
fn meta_is_kept() {
    let layer = Tar::new()
        .pax(&[
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\n=\0"),
            ("mtime", b"-1.5"),
            ("uid", b"3000000000"),
        ])
        .file("ping", b"x")
        .pax(&[("SCHILY.xattr.com.apple.x", b"1"), ("path", "n".repeat(250).as_bytes())])
        .file("short", b"")
        .device("null", 1, 3);
    let tree = merged(&[layer]);
    let (meta, _) = tree.get(b"ping").unwrap();
    assert_eq!((meta.uid, meta.mtime, meta.mtime_nanos), (3_000_000_000, -2, 500_000_000));
    assert_eq!(meta.xattrs.get(b"security.capability".as_slice()).unwrap(), b"\x01\0\0\x02\0\n=\0");
    assert!(tree.get("n".repeat(250).as_bytes()).unwrap().0.xattrs.is_empty());
    assert_eq!(tree.get(b"null").unwrap().1, &Kind::Device { block: false, major: 1, minor: 3 });
}

#[test]
fn entries_that_lead_out_are_refused() {
    for path in ["../a", "a/../../b", "a/..", "/.."] {
        assert!(matches!(refused(&[Tar::new().file(path, b"")]), (entry, Reason::Climbs) if entry == path));
    }
    for target in ["../a", "missing", ".", "d"] {
        let (entry, reason) = refused(&[Tar::new().folder("d").hard_link("h", target)]);
        assert!(entry == "h" && matches!(reason, Reason::HardLink { .. } | Reason::Climbs), "{target}: {reason}");
    }
    assert!(matches!(refused(&[Tar::new().hard_link("a", "a")]).1, Reason::HardLink { .. }));
    assert!(matches!(refused(&[Tar::new().symlink("a", "a").file("a/b", b"")]).1, Reason::LinkLoop));
    assert!(matches!(refused(&[Tar::new().file("a", b"").file("a/b", b"")]).1, Reason::ParentNotFolder));
    assert!(matches!(refused(&[Tar::new().symlink("a", "")]).1, Reason::EmptyLink));
    assert!(matches!(refused(&[Tar::new().symlink("./", "x")]).1, Reason::Root));
    // Absolute paths stay inside.
    assert_eq!(names(&merged(&[Tar::new().file("/etc/x", b"")])), ["etc", "etc/x"]);
}

#[test]
fn our_folder_and_the_kernels_marks_are_refused() {
    for layer in [
        Tar::new().file(".confide/workload.json", b"{}"),
        Tar::new().folder("./.confide"),
        Tar::new().symlink("a", ".").file("a/.confide", b""),
        Tar::new().symlink(".confide", "etc"),
    ] {
        assert!(matches!(refused(&[layer]).1, Reason::Reserved));
    }
    assert_eq!(names(&merged(&[Tar::new().file("etc/.confide", b"")])).len(), 2);
    assert!(matches!(refused(&[Tar::new().device("x", 0, 0)]).1, Reason::OverlayInternal { .. }));
    let marked = Tar::new().pax(&[("SCHILY.xattr.trusted.overlay.opaque", b"y")]).folder("d");
    assert!(merged(&[marked]).get(b"d").unwrap().0.xattrs.is_empty());
}

#[test]
fn names_have_limits() {
    let long = "n".repeat(256);
    assert!(matches!(refused(&[Tar::new().pax(&[("path", long.as_bytes())]).file("s", b"")]).1, Reason::TooLong));
    let deep = vec!["n"; 2100].join("/");
    assert!(matches!(refused(&[Tar::new().pax(&[("path", deep.as_bytes())]).file("s", b"")]).1, Reason::TooLong));
    let nul = Tar::new().pax(&[("path", b"a\0b")]).file("s", b"");
    assert!(matches!(refused(&[nul]).1, Reason::Tar(TarError::Nul { .. })));
    let link = "n".repeat(4096);
    assert!(matches!(
        refused(&[Tar::new().pax(&[("linkpath", link.as_bytes())]).symlink("s", "x")]).1,
        Reason::TooLong
    ));
}

#[test]
fn what_readers_disagree_about_is_refused() {
    let sparse = Tar::new().pax(&[("GNU.sparse.major", b"1")]).file("s", b"");
    assert!(matches!(refused(&[sparse]).1, Reason::Tar(TarError::Sparse { .. })));
    assert!(matches!(refused(&[Tar::new().raw(b'S', "s", b"")]).1, Reason::Tar(TarError::Sparse { .. })));
    assert!(matches!(
        refused(&[Tar::new().raw(b'2', "s", b"body")]).1,
        Reason::Tar(TarError::Field { field: "size", .. })
    ));
    assert!(matches!(refused(&[Tar::new().raw(b'V', "s", b"")]).1, Reason::Tar(TarError::Kind { kind: b'V', .. })));
    let doubled = Tar::new().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("s", b"");
    assert!(matches!(refused(&[doubled]).1, Reason::Tar(TarError::Extension { .. })));
    // pax wins over the header's size: another reader would find another entry inside.
    let inner = Tar::new().file("hidden", b"").bytes();
    let layer = Tar::new().pax(&[("size", b"1024")]).file("outer", &[]).remove_end().append(&inner[..1024]);
    assert_eq!(names(&merged(&[layer])), ["outer"]);
}

#[test]
fn limits_hold() {
    let layer = (0..20).fold(Tar::new(), |tar, i| tar.file(&format!("f{i}"), &[0; 100])).bytes();
    let run = |limits| {
        let mut merger = Merger::new(limits);
        merger.layer("l", 0, 0, || image::archive::tar::Reader::new(Slice(&layer))).map_err(|error| error.reason)
    };
    assert!(matches!(run(Limits { entries: 19, bytes: 1 << 20 }), Err(Reason::Entries { limit: 19 })));
    assert!(matches!(run(Limits { entries: 20, bytes: 1999 }), Err(Reason::Bytes { limit: 1999 })));
    assert!(run(Limits { entries: 20, bytes: 2000 }).is_ok());
}

#[test]
fn truncated_layers_are_refused() {
    let whole = Tar::new().file("a", &[1; 2000]).bytes();
    for cut in [100, 512, 600, 2000, 2559] {
        let error = merge_bytes(&[&whole[..cut]]).unwrap_err();
        assert!(matches!(error.reason, Reason::Tar(TarError::Truncated { .. })), "{cut}: {error}");
        assert_eq!(error.code(), Some(claims::Code::Image));
    }
}

#[test]
fn vector_layers_merge() {
    let Some(vectors) = vectors() else { return };
    let mut merged = 0;
    for file in std::fs::read_dir(vectors.join("layers/tars")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        let result = merge_bytes(&[&bytes]);
        // The rest of the "err" ones are errors of the other program only: an overlay takes the last of two entries.
        match name.as_str() {
            // Its last entry is sparse, which layers are not (module docs of `archive::tar`).
            "10-formats.tar" => assert!(matches!(result.unwrap_err().reason, Reason::Tar(TarError::Sparse { .. }))),
            "97-err-truncated.tar" => {
                assert!(matches!(result.unwrap_err().reason, Reason::Tar(TarError::Truncated { .. })));
            }
            "99-err-parent-is-file.tar" => {
                assert_eq!(result.unwrap_err().reason.to_string(), "a parent of it is not a folder");
            }
            "95-err-name-256.tar" => assert!(matches!(result.unwrap_err().reason, Reason::TooLong)),
            _ => {
                result.unwrap_or_else(|error| panic!("{name}: {error}"));
                merged += 1;
            }
        }
    }
    assert!(merged >= 10, "{merged}");
}

fn entry() -> impl Strategy<Value = (u8, Vec<String>, Vec<String>)> {
    let name = prop_oneof!["[a-c]", Just("..".to_owned()), Just(".wh.a".to_owned()), Just(".wh..wh..opq".to_owned())];
    let path = proptest::collection::vec(name, 1..4);
    (0..5_u8, path.clone(), path)
}

proptest! {
    #[test]
    fn any_entries_merge_or_are_refused_the_same_way(layers in proptest::collection::vec(proptest::collection::vec(entry(), 0..12), 1..4)) {
        let build = || layers.iter().map(|entries| {
            entries.iter().fold(Tar::new(), |tar, (kind, path, target)| {
                let (path, target) = (path.join("/"), target.join("/"));
                match kind {
                    0 => tar.file(&path, b"x"),
                    1 => tar.folder(&path),
                    2 => tar.symlink(&path, &target),
                    3 => tar.hard_link(&path, &target),
                    _ => tar.device(&path, 1, 3),
                }
            })
        }).collect::<Vec<_>>();
        let (first, second) = (merge(&build()), merge(&build()));
        match (first, second) {
            (Ok(first), Ok(second)) => prop_assert_eq!(format!("{first:?}"), format!("{second:?}")),
            (Err(first), Err(second)) => prop_assert_eq!(first.to_string(), second.to_string()),
            _ => prop_assert!(false, "one merged, one did not"),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..4096), edits in proptest::collection::vec((0..2048_usize, any::<u8>()), 0..20)) {
        let _ = merge_bytes(&[&bytes]);
        bytes = Tar::new().pax(&[("path", b"p"), ("SCHILY.xattr.user.a", b"b")]).file("f", b"x").symlink("l", "f").bytes();
        for (at, value) in edits {
            bytes[at] = value;
        }
        let _ = merge_bytes(&[&bytes]);
    }
}
