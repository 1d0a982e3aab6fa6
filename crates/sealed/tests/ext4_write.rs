//! Volumes as the real tools see them.
#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first error")]

#[cfg(test)]
mod support;

use sealed::ext4::{Layout, LayoutError, NoSources, Size, scratch};
use sealed::tree::{Content, Kind, Meta, Tree};
use support::*;

fn debugfs(path: &std::path::Path, request: &str) -> Option<String> {
    tool("debugfs", &["-R", request, path.to_str().unwrap()]).map(|(_, said)| said)
}

#[test]
fn one_of_everything_passes_e2fsck_and_reads_back() {
    for size in [Size::Minimal, Size::Bytes(64 << 20)] {
        let layout = Layout::plan(&sampler(), &options(size)).unwrap();
        let file = save(&image(&layout, &Pattern));
        check(file.path());
        let Some(passwd) = debugfs(file.path(), "cat /etc/passwd") else { return };
        assert!(passwd.contains("root:x:0:0::/root:/bin/sh\n"), "{passwd}");
        let stat = debugfs(file.path(), "stat /sbin/sulogin").unwrap();
        for part in ["Mode:  04755", "User:  1000", "Group: 70000", "Links: 3", "Size: 100000"] {
            assert!(stat.contains(part), "{part}: {stat}");
        }
        let device = debugfs(file.path(), "stat /dev/big").unwrap();
        assert!(device.contains("block") && device.contains("259:70000"), "{device}");
        let capability = debugfs(file.path(), "ea_list /bin/many").unwrap();
        assert!(capability.contains("security.capability (20)") && capability.contains("user.large (3000)"));
        let link = debugfs(file.path(), "stat /short-link").unwrap();
        assert!(link.contains("Fast link dest: \"bin/su\""), "{link}");
    }
}

#[test]
fn writing_only_what_is_allocated_gives_the_same_volume() {
    for (size, journal) in [(Size::Minimal, false), (Size::Bytes(300 << 20), true), (Size::Bytes(64 << 20), false)] {
        let mut options = options(size);
        options.journal = journal;
        let layout = Layout::plan(&sampler(), &options).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        write_sparse(&layout, &Pattern, file.path());
        check(file.path());
        assert!(std::fs::read(file.path()).unwrap() == image(&layout, &Pattern), "{size:?}");
        let written: u64 = layout.allocated().map(|range| range.end - range.start).sum();
        assert!(size == Size::Minimal || written < 200, "{written} blocks");
    }
}

#[test]
fn many_files_and_large_folders() {
    let mut tree = Tree::new(Meta::plain(0o755));
    for index in 0..40_000 {
        let path = format!("many/file with a name of some length {index}");
        tree.put(path.as_bytes(), meta(0o644), inline(if index % 100 == 0 { b"content" } else { b"" })).unwrap();
    }
    for index in 0..3000 {
        tree.put(format!("folders/{index}/x").as_bytes(), meta(0o644), inline(b"")).unwrap();
    }
    let layout = Layout::plan(&tree, &options(Size::Minimal)).unwrap();
    let file = save(&image(&layout, &NoSources));
    check(file.path());
    let Some(found) = debugfs(file.path(), "stat \"/many/file with a name of some length 39999\"") else { return };
    assert!(found.contains("Type: regular"), "{found}");
}

#[test]
fn more_folders_than_a_link_count_holds() {
    let mut tree = Tree::new(Meta::plain(0o755));
    for index in 0..65_010 {
        tree.put(format!("d/{index}").as_bytes(), meta(0o755), Kind::Folder).unwrap();
    }
    let layout = Layout::plan(&tree, &options(Size::Minimal)).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    write_sparse(&layout, &NoSources, file.path());
    check(file.path());
}

#[test]
fn files_that_need_an_extent_tree() {
    let mut tree = Tree::new(Meta::plain(0o755));
    tree.put(b"large", meta(0o644), Kind::File(Content::Zeros((5 << 30) + 1))).unwrap();
    tree.put(b"larger", meta(0o644), Kind::File(Content::Zeros(50 << 30))).unwrap();
    tree.put(b"last", meta(0o644), inline(b"behind them")).unwrap();
    let layout = Layout::plan(&tree, &options(Size::Minimal)).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    write_sparse(&layout, &NoSources, file.path());
    check(file.path());
    let Some(last) = debugfs(file.path(), "cat /last") else { return };
    assert!(last.contains("behind them"), "{last}");
    let stat = debugfs(file.path(), "stat /larger").unwrap();
    assert!(stat.contains("ETB0") && stat.contains("Size: 53687091200"), "{stat}");

    let mut tree = Tree::new(Meta::plain(0o755));
    tree.put(b"largest", meta(0o644), Kind::File(Content::Zeros(171 << 30))).unwrap();
    let too_large = LayoutError::TooLarge { path: "largest".into() };
    assert_eq!(Layout::plan(&tree, &options(Size::Minimal)).unwrap_err(), too_large);
}

#[test]
fn sizes_around_the_borders_of_groups() {
    let group = 32768 * 4096;
    for (groups, blocks) in [(1u64, 0u64), (1, 1), (1, 2), (1, 60), (2, 1), (3, 0), (17, 1), (64, 7), (65, 1)] {
        let mut wanted = options(Size::Bytes(groups * group + blocks * 4096 + 17));
        wanted.journal = groups == 3;
        let layout = Layout::plan(&sampler(), &wanted).unwrap();
        assert_eq!(layout.blocks(), groups * 32768 + blocks);
        let file = tempfile::NamedTempFile::new().unwrap();
        write_sparse(&layout, &Pattern, file.path());
        check(file.path());
    }
    // Read-only volumes: what they hold decides, to the block.
    for size in [32000u64, 32720, 32721, 32722, 32723, 32724, 32725, 32726, 32740, 32760, 65440, 65460, 65480] {
        let mut tree = Tree::new(Meta::plain(0o755));
        tree.put(b"file", meta(0o644), Kind::File(Content::Zeros(size * 4096))).unwrap();
        let layout = Layout::plan(&tree, &options(Size::Minimal)).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        write_sparse(&layout, &NoSources, file.path());
        check(file.path());
        assert!(layout.blocks() - size < 16, "{size}");
    }
}

#[test]
fn more_inodes_than_blocks() {
    let mut tree = Tree::new(Meta::plain(0o755));
    for index in 0..70_000 {
        tree.put(format!("{}/{index}", index % 50).as_bytes(), meta(0o644), inline(b"")).unwrap();
    }
    let layout = Layout::plan(&tree, &options(Size::Minimal)).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    write_sparse(&layout, &NoSources, file.path());
    check(file.path());
}

#[test]
fn preallocated_files_lie_where_extents_of_says() {
    let mut tree = Tree::new(Meta::plain(0o755));
    tree.put(b"logs/boot.log", meta(0o644), Kind::File(Content::Zeros(1 << 20))).unwrap();
    tree.put(b"logs/empty", meta(0o644), inline(b"")).unwrap();
    let layout = Layout::plan(&tree, &options(Size::Bytes(16 << 20))).unwrap();
    let ranges = layout.extents_of(b"logs/boot.log");
    assert_eq!(ranges.iter().map(|range| range.end - range.start).sum::<u64>(), 1 << 20);
    for absent in [&b"logs"[..], b"logs/empty", b"logs/none", b"none/none", b""] {
        assert_eq!(layout.extents_of(absent), []);
    }
    let mut bytes = image(&layout, &NoSources);
    let start = ranges[0].start as usize;
    bytes[start..start + 5].copy_from_slice(b"hello");
    let file = save(&bytes);
    check(file.path());
    let Some(log) = debugfs(file.path(), "cat /logs/boot.log") else { return };
    assert!(log.contains("hello"), "{}", log.len());
}

#[test]
fn large_writable_volumes_are_sparse_and_can_grow() {
    let mut wanted = options(Size::Bytes(100 << 30));
    wanted.journal = true;
    let layout = Layout::plan(&sampler(), &wanted).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    write_sparse(&layout, &Pattern, file.path());
    check(file.path());
    let written: u64 = layout.allocated().map(|range| range.end - range.start).sum();
    assert!(written < 256, "{written} blocks");
    let small = Layout::plan(&sampler(), &options(Size::Bytes(40 << 20))).unwrap();
    write_sparse(&small, &Pattern, file.path());
    let path = file.path().to_str().unwrap();
    let Some((grown, said)) = tool("resize2fs", &["-f", path, "900M"]) else { return };
    assert!(grown, "{said}");
    check(file.path());
}

#[test]
fn what_does_not_fit_says_how_much_is_missing() {
    let tree = sampler();
    let LayoutError::TooSmall { wanted, got } = Layout::plan(&tree, &options(Size::Bytes(1 << 20))).unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(got, 1 << 20);
    assert!(Layout::plan(&tree, &options(Size::Bytes(wanted))).is_ok(), "{wanted}");
    let mut large = tree.clone();
    large.put(b"model", meta(0o644), Kind::File(Content::Zeros(30 << 30))).unwrap();
    let Err(LayoutError::TooSmall { wanted, .. }) = Layout::plan(&large, &options(Size::Bytes(20 << 30))) else {
        panic!("30 GiB fit into 20");
    };
    assert!(Layout::plan(&large, &options(Size::Bytes(wanted))).is_ok(), "{wanted}");
    assert!(wanted < 31 << 30, "{wanted}");
    let mut tree = Tree::new(Meta::plain(0o755));
    tree.put(b"l", meta(0o777), Kind::Link(vec![b'a'; 4096])).unwrap();
    let target = LayoutError::LinkTarget { path: "l".into(), length: 4096 };
    assert_eq!(Layout::plan(&tree, &options(Size::Minimal)).unwrap_err(), target);
    let mut odd = meta(0o644);
    odd.xattrs.insert(b"odd.name".to_vec(), vec![]);
    tree.put(b"l", odd, inline(b"")).unwrap();
    let xattr = LayoutError::Xattr { path: "l".into(), name: "odd.name".into() };
    assert_eq!(Layout::plan(&tree, &options(Size::Minimal)).unwrap_err(), xattr);
}

#[test]
fn same_tree_same_bytes() {
    let one = image(&Layout::plan(&sampler(), &options(Size::Minimal)).unwrap(), &Pattern);
    let layout = Layout::plan(&sampler().clone(), &options(Size::Minimal)).unwrap();
    // Asked for in another order and in other pieces.
    let mut other = vec![0; one.len()];
    for block in (0..layout.blocks() as usize).rev() {
        layout.fill(block as u64, &mut other[block * 4096..(block + 1) * 4096], &Pattern).unwrap();
    }
    assert!(one == other);
}

#[test]
fn a_scratch_file_system_makes_do_with_noise_around_it() {
    use std::os::unix::fs::FileExt;
    let bytes = 300 << 20;
    let noise: Vec<u8> = (0..bytes).map(|index| pattern(9, index)).collect();
    let file = save(&noise);
    for (offset, piece) in scratch(bytes, UUID, 1_700_000_000).unwrap() {
        file.as_file().write_all_at(&piece, offset).unwrap();
    }
    check(file.path());
    let pieces = scratch(100 << 30, UUID, 1_700_000_000).unwrap();
    let written: usize = pieces.iter().map(|(_, piece)| piece.len()).sum();
    assert!(written < 1 << 20, "{written} bytes");
}
