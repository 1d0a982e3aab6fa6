//! The reader: our volumes, mke2fs's, and damaged ones.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests stop at the first error")]

#[cfg(test)]
mod support;

use proptest::prelude::*;
use sealed::ext4::{Layout, NoSources, ReadError, Reader, Size, VolumeSources};
use sealed::tree::{Content, Kind, Meta, Tree};
use std::collections::BTreeMap;
use support::*;

fn contents(reader: &Reader<Vec<u8>>, path: &str) -> Vec<u8> {
    let inode = reader.lookup(path.as_bytes()).unwrap();
    let Kind::File(content) = reader.stat(inode).unwrap().kind else { panic!("{path} is no file") };
    let mut out = vec![0xee; content.len() as usize];
    reader.read(inode, 0, &mut out).unwrap();
    out
}

/// Path, attributes, kind (content as bytes), and which earlier path is the same node.
type Flat = Vec<(Vec<u8>, Meta, Kind, Option<Vec<u8>>)>;

fn flat(tree: &Tree, read: &dyn Fn(u32, u64, &mut [u8])) -> Flat {
    let mut seen = BTreeMap::new();
    let entries = tree.walk().map(|entry| {
        let kind = match entry.kind {
            Kind::File(Content::Source { source, offset, length }) => {
                let mut bytes = vec![0; *length as usize];
                read(*source, *offset, &mut bytes);
                inline(&bytes)
            }
            Kind::File(Content::Zeros(length)) => inline(&vec![0; *length as usize]),
            other => other.clone(),
        };
        let first = seen.entry(entry.id).or_insert_with(|| entry.path.clone()).clone();
        let first = (first != entry.path).then_some(first);
        (entry.path, entry.meta.clone(), kind, first)
    });
    entries.collect()
}

fn flat_of_reader(reader: &Reader<Vec<u8>>) -> Flat {
    let tree = reader.tree().unwrap();
    flat(&tree, &|source, offset, out| reader.read(source, offset, out).unwrap())
}

#[test]
fn one_of_everything_reads_back() {
    let tree = sampler();
    let bytes = image(&Layout::plan(&tree, &options(Size::Minimal)).unwrap(), &Pattern);
    let reader = Reader::open(bytes).unwrap();
    let wanted =
        flat(&tree, &|source, offset, out| sealed::ext4::Sources::read(&Pattern, source, offset, out).unwrap());
    assert_eq!(flat_of_reader(&reader), wanted);
    assert_eq!(reader.identity(), (&b"confide"[..], UUID));
    assert_eq!(contents(&reader, "/short-link").len(), 100_000);
    assert_eq!(contents(&reader, "../tmp/./../etc//passwd"), b"root:x:0:0::/root:/bin/sh\n");
}

#[test]
fn a_volume_is_made_again_larger_with_more_in_it() {
    let bytes = image(&Layout::plan(&sampler(), &options(Size::Bytes(32 << 20))).unwrap(), &Pattern);
    let reader = Reader::open(bytes).unwrap();
    let mut tree = reader.tree().unwrap();
    tree.put(b"added", meta(0o600), Kind::File(Content::Source { source: 1 << 31, offset: 5, length: 70_000 }))
        .unwrap();
    let mut larger = options(Size::Bytes(64 << 20));
    larger.journal = true;
    let sources = VolumeSources { reader: &reader, others: &Pattern };
    let layout = Layout::plan(&tree, &larger).unwrap();
    let bytes = image(&layout, &sources);
    check(save(&bytes).path());
    let again = Reader::open(bytes).unwrap();
    assert_eq!(contents(&again, "bin/su"), contents(&reader, "bin/su"));
    let added: Vec<u8> = (5..70_005).map(|index| pattern(1 << 31, index)).collect();
    assert_eq!(contents(&again, "added"), added);
    assert!(again.has_journal() && !again.needs_recovery());
}

#[test]
fn volumes_of_mke2fs_in_several_forms() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("many")).unwrap();
    std::fs::write(folder.path().join("small"), b"a few bytes").unwrap();
    let large: Vec<u8> = (0..3_000_000).map(|index| pattern(1, index)).collect();
    std::fs::write(folder.path().join("large"), &large).unwrap();
    for index in 0..3000 {
        std::fs::write(folder.path().join(format!("many/a file of some length {index}")), index.to_string()).unwrap();
    }
    std::os::unix::fs::symlink("many", folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink("x".repeat(200), folder.path().join("dangling")).unwrap();
    let forms: [&[&str]; 5] = [
        &[],
        &["-b", "1024"],
        &["-b", "4096", "-O", "inline_data"],
        &["-O", "^64bit,^metadata_csum"],
        &["-b", "4096", "-I", "128", "-O", "^metadata_csum"],
    ];
    for form in forms {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 << 20).unwrap();
        let path = file.path().to_str().unwrap();
        let arguments = [&["-q", "-F", "-t", "ext4", "-d", folder.path().to_str().unwrap()], form, &[path]].concat();
        let Some((made, said)) = tool("mke2fs", &arguments) else { return };
        assert!(made, "{said}");
        // e2fsck -D hashes the large folder.
        tool("e2fsck", &["-fyD", path]);
        let reader = Reader::open(std::fs::read(file.path()).unwrap()).unwrap();
        assert_eq!(contents(&reader, "small"), b"a few bytes", "{form:?}");
        assert!(contents(&reader, "large") == large, "{form:?}");
        assert_eq!(contents(&reader, "link/a file of some length 2999"), b"2999", "{form:?}");
        let many = reader.list(reader.lookup(b"many").unwrap()).unwrap();
        assert_eq!(many.len(), 3000);
        assert!(matches!(reader.lookup(b"dangling"), Err(ReadError::NotFound { path }) if path == "dangling"));
        let tree = reader.tree().unwrap();
        let again = image(
            &Layout::plan(&tree, &options(Size::Minimal)).unwrap(),
            &VolumeSources { reader: &reader, others: &NoSources },
        );
        assert_eq!(flat_of_reader(&Reader::open(again).unwrap()), flat_of_reader(&reader), "{form:?}");
    }
}

#[test]
fn links_end() {
    let mut tree = Tree::new(Meta::plain(0o755));
    tree.put(b"a", meta(0o777), Kind::Link(b"b".to_vec())).unwrap();
    tree.put(b"b", meta(0o777), Kind::Link(b"a".to_vec())).unwrap();
    tree.put(b"out", meta(0o777), Kind::Link(b"/../../../f".to_vec())).unwrap();
    tree.put(b"f", meta(0o644), inline(b"inside")).unwrap();
    let reader = Reader::open(image(&Layout::plan(&tree, &options(Size::Minimal)).unwrap(), &NoSources)).unwrap();
    assert!(matches!(reader.lookup(b"a"), Err(ReadError::Links { path }) if path == "a"));
    assert_eq!(contents(&reader, "out"), b"inside");
    assert!(matches!(reader.lookup(b"f/x"), Err(ReadError::NotFound { path }) if path == "f/x"));
}

#[test]
fn what_is_no_volume_is_refused() {
    let good = image(&Layout::plan(&sampler(), &options(Size::Minimal)).unwrap(), &Pattern);
    let with = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[1024 + at..1024 + at + value.len()].copy_from_slice(value);
        Reader::open(bytes).err().unwrap().to_string()
    };
    assert_eq!(with(0x38, &[0, 0]), "not an ext4 volume: no superblock");
    assert_eq!(with(0x18, &[7]), "not an ext4 volume: block size");
    assert_eq!(with(0x58, &[3, 0]), "not an ext4 volume: inode size");
    assert_eq!(with(0x28, &[0, 0, 0, 0]), "not an ext4 volume: inodes per group");
    assert_eq!(with(0x62, &[1]), "the volume uses unknown features (0x10000)");
    assert!(matches!(Reader::open(Vec::new()), Err(ReadError::Device { offset: 1024, .. })));
}

/// Reads all there is; errors are welcome, panics and endless loops are not.
fn read_all(bytes: Vec<u8>) {
    let Ok(reader) = Reader::open(bytes) else { return };
    let Ok(tree) = reader.tree() else { return };
    for entry in tree.walk() {
        if let Kind::File(Content::Source { source, length, .. }) = entry.kind {
            let mut out = vec![0; (*length).min(1 << 20) as usize];
            let _ = reader.read(*source, 0, &mut out);
        }
        let _ = reader.lookup(&entry.path);
    }
}

#[derive(Debug, Clone)]
enum Step {
    File(Vec<u8>, Vec<u8>, u16),
    Source(Vec<u8>, u64, u64),
    Folder(Vec<u8>),
    Link(Vec<u8>, Vec<u8>),
    Hard(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Attribute(Vec<u8>, Vec<u8>, Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let path = proptest::collection::vec("[a-c]{1,2}|[α-ω]{1,20}", 1..4).prop_map(|parts| parts.join("/").into_bytes());
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    let step = prop_oneof![
        (path.clone(), bytes(9000), 0u16..0o10000).prop_map(|(path, bytes, mode)| Step::File(path, bytes, mode)),
        (path.clone(), 0u64..100, 0u64..20_000).prop_map(|(path, offset, length)| Step::Source(path, offset, length)),
        path.clone().prop_map(Step::Folder),
        (path.clone(), "[a-z/.]{1,100}").prop_map(|(path, target)| Step::Link(path, target.into_bytes())),
        (path.clone(), path.clone()).prop_map(|(path, target)| Step::Hard(path, target)),
        path.clone().prop_map(Step::Remove),
        (path, "user\\.[a-z]{1,30}", bytes(600)).prop_map(|(path, name, value)| Step::Attribute(
            path,
            name.into_bytes(),
            value
        )),
    ];
    proptest::collection::vec(step, 0..40)
}

fn grow(steps: Vec<Step>) -> Tree {
    let mut tree = Tree::new(Meta::plain(0o755));
    for step in steps {
        // Steps that do not fit what is there change nothing.
        let _ = match step {
            Step::File(path, bytes, mode) => tree.put(&path, meta(mode), inline(&bytes)).is_ok(),
            Step::Source(path, offset, length) => {
                tree.put(&path, meta(0o600), Kind::File(Content::Source { source: 1, offset, length })).is_ok()
            }
            Step::Folder(path) => tree.put(&path, meta(0o755), Kind::Folder).is_ok(),
            Step::Link(path, target) => tree.put(&path, meta(0o777), Kind::Link(target)).is_ok(),
            Step::Hard(path, target) => tree.hard_link(&path, &target).is_ok(),
            Step::Remove(path) => tree.remove(&path),
            Step::Attribute(path, name, value) => {
                let mut with = meta(0o644);
                with.xattrs.insert(name, value);
                tree.put(&path, with, inline(b"x")).is_ok()
            }
        };
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_reads_back(steps in steps(), minimal in any::<bool>()) {
        let tree = grow(steps);
        let size = if minimal { Size::Minimal } else { Size::Bytes(8 << 20) };
        let bytes = image(&Layout::plan(&tree, &options(size)).unwrap(), &Pattern);
        let mut wanted = flat(&tree, &|source, offset, out| {
            sealed::ext4::Sources::read(&Pattern, source, offset, out).unwrap();
        });
        let mut got = flat_of_reader(&Reader::open(bytes).unwrap());
        got.retain(|(path, ..)| path != b"lost+found");
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        got.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(got, wanted);
    }

    #[test]
    fn damage_never_panics(flips in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..200)) {
        let mut bytes = image(&Layout::plan(&sampler(), &options(Size::Minimal)).unwrap(), &Pattern);
        // All but the superblock's magic lies in the first 130 blocks, before the files' data.
        let metadata = 130 * 4096;
        for (index, bit) in flips {
            bytes[1024 + 0x40 + index.index(metadata)] ^= 1 << bit;
        }
        read_all(bytes);
    }
}
