//! Root hashes of layers: values known from hcsshim, what is refused and how, findings, and layers written again.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use claims::{Code, Refusal};
use image::archive::{Image, Opening};
use image::layers::{Layer, LayerError, LintKind, Options, image_layers, repack, root_hash, write_image};
use proptest::prelude::*;
use sealed::FileDevice;
use sealed::ext4::Reader;
use sealed::tree::Kind;
use std::collections::BTreeMap;
use std::process::Command;

#[path = "archive_support/mod.rs"]
mod archive_support;
use archive_support::{Stored, Tar, config, legacy, oci};

const THREADS: Options = Options { threads: 3 };

/// Root hash and size of a layer without entries (hcsshim, commit 7c9ff7f).
const EMPTY: (&str, u64) = ("8b4842f06982817534a75bcf71865213b09dfa8313229c384e5201dadbd75e25", 57_344);

fn measured(layer: &[u8]) -> Result<Layer, LayerError> {
    root_hash(layer, &THREADS)
}

fn refused(layer: &Tar) -> LayerError {
    measured(&layer.bytes()).unwrap_err()
}

/// A sparse file of one piece.
fn sparse(map: &[u8], size: u64, contents: &[u8]) -> Tar {
    let size = size.to_string();
    let records: [(&str, &[u8]); 3] =
        [("GNU.sparse.map", map), ("GNU.sparse.numblocks", b"1"), ("GNU.sparse.size", size.as_bytes())];
    Tar::new().pax(&records).raw(b'0', "s", contents)
}

fn image(layer: &[u8]) -> (Layer, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = FileDevice::new(file.reopen().unwrap()).unwrap();
    let layer = write_image(layer, &out, &THREADS).unwrap();
    file.as_file().set_len(layer.ext4_size).unwrap();
    (layer, file)
}

#[test]
fn empty_layers_have_the_known_hash() {
    for bytes in [&[][..], &[0; 512], &[0; 1024], &[0; 10_240]] {
        let layer = measured(bytes).unwrap();
        assert_eq!((layer.root_hash.to_string().as_str(), layer.ext4_size), EMPTY);
        assert!(layer.findings.is_empty());
    }
}

#[test]
fn threads_and_the_way_bytes_come_change_nothing() {
    struct Dripping<'a>(&'a [u8]);
    impl std::io::Read for Dripping<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let length = out.len().min(777);
            std::io::Read::read(&mut self.0, out.get_mut(..length).unwrap())
        }
    }
    let bytes = Tar::new().folder("a/").file("a/b", &[7; 3_000_000]).file("a/c", b"c").bytes();
    let layer = measured(&bytes).unwrap();
    for threads in [0, 1, 2, 9] {
        assert_eq!(root_hash(bytes.as_slice(), &Options { threads }).unwrap(), layer);
    }
    assert_eq!(root_hash(Dripping(&bytes), &THREADS).unwrap(), layer);
    assert_eq!(image(&bytes).0, layer);
}

#[test]
fn refusals_have_hcsshims_words_and_our_codes() {
    let long = "n".repeat(256);
    let cases = [
        (Tar::new().file("x", b"1").file("x", b"2"), "cannot overwrite file with non-inline data", Code::LayerConflict),
        (Tar::new().folder("d/").file("d", b""), "cannot replace a directory with a file", Code::LayerConflict),
        (Tar::new().file("d", b"").folder("d/"), "cannot replace a file with a directory", Code::LayerConflict),
        (
            Tar::new().file("a", b"").hard_link("a", "a"),
            "cannot orphan existing file or directory",
            Code::LayerConflict,
        ),
        (Tar::new().file("a", b"").file("a/b", b""), "path not found", Code::LayerConflict),
        (Tar::new().file("a", b"").file("a/b/c", b""), "path not found", Code::LayerConflict),
        (
            Tar::new().file("a", b"d").file(".wh.a", b""),
            "cannot overwrite file with non-inline data",
            Code::LayerConflict,
        ),
        (Tar::new().file(".wh.", b""), "cannot replace a directory with a file", Code::LayerConflict),
        (Tar::new().hard_link("a", "lower"), "file not found", Code::LayerLink),
        (Tar::new().folder("d/").hard_link("a", "d"), "link target cannot be a directory", Code::LayerLink),
        (Tar::new().pax(&[("path", long.as_bytes())]).raw(b'0', "s", b""), "invalid name", Code::Layer),
        (
            Tar::new().pax(&[("SCHILY.xattr.user.x", &[b'v'; 5000])]).raw(b'0', "s", b""),
            "could not fit xattr",
            Code::LayerXattr,
        ),
        (sparse(b"0,1", 9, b""), "sparse file references non-existent data", Code::LayerTar),
        (sparse(b"0,1", 9, b"12"), "sparse file contains unreferenced data", Code::LayerTar),
        (sparse(b"5,5", 9, b"12"), "invalid tar header", Code::LayerTar),
        (sparse(b"0,0", 137438953473, b""), "file too big", Code::LayerSize),
        (sparse(b"0,0", 137438953472, b""), "disk exceeded maximum size", Code::LayerSize),
        (Tar::new().pax(&[("mtime", b"soon")]).raw(b'0', "s", b""), "invalid tar header", Code::LayerTar),
        (
            Tar::new().file("f", b"1").hard_link("g", "f").file("f/.wh..wh..opq", b"").file("z", b""),
            "did not write the right amount",
            Code::LayerConflict,
        ),
        (
            Tar::new().symlink("l", &"t".repeat(70)).file("l/.wh..wh..opq", b""),
            "cannot retrieve link information",
            Code::LayerConflict,
        ),
    ];
    for (layer, words, code) in cases {
        let error = refused(&layer);
        assert_eq!((error.class(), error.code()), (Some(words), code), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_layer_that_ends_early_is_refused_but_for_its_padding() {
    let bytes = Tar::new().file("f", &[1; 700]).bytes();
    let whole = measured(&bytes).unwrap();
    for cut in 1..bytes.len() {
        match measured(bytes.get(..cut).unwrap()) {
            // Go takes a missing end, and an end in the padding, for the end.
            Ok(layer) => assert!((1212..=1536).contains(&cut) || cut == 2048 && layer == whole, "{cut}"),
            Err(error) => assert!(matches!(error, LayerError::Truncated { .. }), "{cut}: {error}"),
        }
    }
}

#[test]
fn findings_name_what_other_hosts_hash_differently() {
    let many: Vec<(String, Vec<u8>)> =
        (0..40).map(|at| (format!("SCHILY.xattr.user.{at:02}"), vec![b'v'; 40 + at % 7])).collect();
    let records: Vec<(&str, &[u8])> = many.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
    let layer = Tar::new()
        .raw(b'g', "pax_global_header", b"15 comment=git\n")
        .file("a/b/c", b"")
        .folder("a/")
        .file("twice", b"")
        .file("twice", b"now")
        .pax(&records)
        .raw(b'0', "many", b"");
    let layer = measured(&layer.bytes()).unwrap();
    let found: Vec<_> = layer.findings.iter().map(|lint| (lint.kind, lint.count, lint.examples.join(" "))).collect();
    assert_eq!(
        found,
        [
            // `a` got an entry later.
            (LintKind::ImplicitParents, 1, "a/b".to_owned()),
            (LintKind::GlobalHeader, 1, "pax_global_header".to_owned()),
            (LintKind::ManyXattrs, 1, "many".to_owned()),
            (LintKind::DoubledPaths, 1, "twice".to_owned()),
        ]
    );
    // As hcsshim v0.15.0, built with Go 1.26, sorts them.
    assert_eq!(layer.root_hash.to_string(), MANY_XATTRS);
}

/// Made by hcsshim v0.15.0 of the layer above.
const MANY_XATTRS: &str = "abc5e49988b8aba349d1acc65d19c5ef471a8c8feedaad00734aa00bc5d7c702";

#[test]
fn a_file_of_340_extents_is_told() {
    let layer = measured(&sparse(b"0,0", 340 << 27, b"").bytes()).unwrap();
    assert_eq!(layer.findings.iter().map(|lint| lint.kind).collect::<Vec<_>>(), [LintKind::ManyExtents]);
    assert_eq!(layer.root_hash.to_string(), HUGE);
}

/// Made by hcsshim v0.15.0 of the layer above.
const HUGE: &str = "8e02fad5b9e49f840901d26cccb013f9f645ed568a638701cedaa9053ccc08ba";

#[test]
fn a_repacked_layer_has_the_same_hash_and_no_implicit_parents() {
    let folder: [(&str, &[u8]); 3] = [("mtime", b"1600000000.25"), ("atime", b"-3.5"), ("uid", b"3000000000")];
    let bytes = Tar::new()
        .pax(&folder)
        .raw(b'5', "top/", b"")
        .file("top/x/y/file", &[1; 5000])
        .file("top/x/y/other", b"2")
        .file("else/.wh.gone", b"")
        .file("opaque/.wh..wh..opq", b"")
        .pax(&[("path", format!("{}/leaf", "p/".repeat(60)).as_bytes())])
        .raw(b'0', "s", b"3")
        .bytes();
    let before = measured(&bytes).unwrap();
    assert_eq!(
        before.findings.iter().map(|lint| (lint.kind, lint.count)).collect::<Vec<_>>(),
        [(LintKind::ImplicitParents, 64)]
    );
    let mut packed = Vec::new();
    assert_eq!(repack(bytes.as_slice(), &mut packed).unwrap(), 64);
    let after = measured(&packed).unwrap();
    assert_eq!((after.root_hash, after.ext4_size), (before.root_hash, before.ext4_size));
    assert!(after.findings.is_empty(), "{:?}", after.findings);
    let mut again = Vec::new();
    assert_eq!(repack(packed.as_slice(), &mut again).unwrap(), 0);
    assert_eq!(again, packed);
    assert!(matches!(
        repack(Tar::new().pax(&[("path", &[b'a'; 5000])]).raw(b'0', "s", b"").bytes().as_slice(), Vec::new()),
        Err(LayerError::PathLength { .. })
    ));
}

#[test]
fn every_packaging_of_an_image_has_the_same_layers() {
    let layers =
        vec![Tar::new().file("a", &[7; 70_000]).bytes(), Tar::new().bytes(), Tar::new().file("b", b"2").bytes()];
    let wanted: Vec<Layer> = layers.iter().map(|layer| measured(layer).unwrap()).collect();
    let settings = config(&layers);
    for parts in [
        legacy(&layers, &settings, "hello:1"),
        oci(&layers, &settings, Stored::Plain, "hello:1"),
        oci(&layers, &settings, Stored::Gzip, "hello:1"),
        oci(&layers, &settings, Stored::Zstd, "hello:1"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        parts.write_folder(folder.path());
        let archive = folder.path().join("image.tar");
        std::fs::write(&archive, parts.tar()).unwrap();
        for path in [folder.path(), &archive] {
            let opening = Opening { reference: None, scratch: folder.path(), limit: 10 << 20, cancelled: &|| false };
            let image = Image::open(path, &opening).unwrap();
            assert_eq!(image_layers(&image, &THREADS).unwrap(), wanted);
        }
    }
}

#[test]
fn a_layer_with_another_digest_or_no_hash_is_named() {
    let good = Tar::new().file("a", b"1").bytes();
    let bad = Tar::new().file("x", b"1").file("x", b"2").bytes();
    let open = |layers: &[Vec<u8>], named: &[Vec<u8>]| {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("image.tar");
        std::fs::write(&archive, legacy(layers, &config(named), "hello:1").tar()).unwrap();
        let opening = Opening { reference: None, scratch: folder.path(), limit: 10 << 20, cancelled: &|| false };
        image_layers(&Image::open(&archive, &opening).unwrap(), &THREADS).unwrap_err()
    };
    let error = open(&[good.clone(), good.clone()], &[good.clone(), bad.clone()]);
    assert_eq!(error.refusal(), Some(Code::Digest), "{error}");
    let error = open(&[good.clone(), bad.clone()], &[good, bad]);
    assert!(matches!(error, LayerError::At { number: 2, .. }), "{error}");
    assert_eq!(error.refusal(), Some(Code::LayerConflict));
}

/// A path and what is there.
type Files = BTreeMap<String, Option<Vec<u8>>>;

fn files() -> impl Strategy<Value = Files> {
    let contents =
        prop_oneof![Just(None), (0_usize..9000, any::<u8>()).prop_map(|(length, byte)| Some(vec![byte; length])),];
    proptest::collection::btree_map("[a-d]{1,2}(/[a-d]{1,30}){0,3}", contents, 0..40).prop_map(|mut files| {
        let all: Vec<String> = files.keys().cloned().collect();
        // What is above something is a folder.
        for (path, contents) in &mut files {
            if all.iter().any(|other| other.starts_with(&format!("{path}/"))) {
                *contents = None;
            }
        }
        files
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn images_hold_the_files_and_the_tools_agree(files in files()) {
        let mut tar = Tar::new();
        for (path, contents) in &files {
            tar = match contents {
                Some(contents) => tar.file(path, contents),
                None => tar.folder(&format!("{path}/")),
            };
        }
        let (layer, file) = image(&tar.bytes());
        let reader = Reader::open(FileDevice::new(file.reopen().unwrap()).unwrap()).unwrap();
        for (path, contents) in &files {
            let number = reader.lookup(path.as_bytes()).unwrap();
            if let Some(contents) = contents {
                let mut bytes = vec![0; contents.len()];
                let is_file = matches!(reader.stat(number).unwrap().kind, Kind::File(content) if content.len() == contents.len() as u64);
                prop_assert!(is_file, "{path}");
                reader.read(number, 0, &mut bytes).unwrap();
                prop_assert_eq!(&bytes, contents);
            }
        }
        let path = file.path().to_str().unwrap();
        if let Some(said) = tool("e2fsck", &["-fn", path]) {
            // hcsshim leaves this padding unset, too.
            let faults: Vec<&str> = said.lines().filter(|line| line.contains('?') || line.contains("ERROR")).collect();
            prop_assert!(faults.iter().all(|line| line.contains("Fix? no")), "{}", said);
            prop_assert_eq!(said.matches("Fix? no").count(), said.matches("Padding at end of inode bitmap").count(), "{}", said);
        }
        let tree = tempfile::NamedTempFile::new().unwrap();
        let salt = format!("--salt={}", "0".repeat(64));
        let arguments = ["format", &salt, "--hash=sha256", "--data-block-size=4096", "--hash-block-size=4096", path, tree.path().to_str().unwrap()];
        if let Some(said) = tool("veritysetup", &arguments) {
            prop_assert!(said.contains(&layer.root_hash.to_string()), "{}", said);
        }
    }

    #[test]
    fn no_bytes_can_make_it_panic(change in proptest::collection::vec((0_usize..6144, any::<u8>()), 0..6), cut in 0_usize..6144) {
        let records: [(&str, &[u8]); 2] = [("SCHILY.xattr.user.k", b"v"), ("mtime", b"1.5")];
        let mut bytes = Tar::new()
            .pax(&records).raw(b'0', "a/b", b"1")
            .raw(b'L', "long", b"some/long/name\0")
            .file("short", b"2")
            .hard_link("l", "a/b")
            .bytes();
        for (at, byte) in change {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(cut);
        let _ = measured(&bytes);
        let _ = repack(bytes.as_slice(), Vec::new());
    }
}

/// What a tool says, where it is installed.
fn tool(name: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(name).args(arguments).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").output();
    let output = output.ok().filter(|output| output.status.code().is_some())?;
    Some(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}
