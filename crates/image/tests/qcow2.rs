//! qcow2 drives: what QEMU's own tool says of ours, and what we say of hostile ones.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::single_range_in_vec_init,
    reason = "a test says what went wrong by failing"
)]

use image::qcow2::{Plan, PlanError, Qcow2Error, Reader, Writer};
use proptest::prelude::*;
use sealed::{FileDevice, ReadAt, WriteAt};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

fn qemu_img(arguments: &[&str]) -> String {
    let output = Command::new("qemu-img").args(arguments).output().expect("qemu-img is installed by scripts/setup.sh");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qemu-img {arguments:?}: {text}");
    text
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn written(size: u64, ranges: &[Range<u64>], writes: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let writer = Writer::new(Plan::new(size, ranges).unwrap(), Mutex::new(Vec::new())).unwrap();
    for (offset, bytes) in writes {
        writer.write_all_at(*offset, bytes).unwrap();
    }
    let length = writer.plan().file_length();
    let file = writer.into_inner().into_inner().unwrap();
    assert_eq!(file.len() as u64, length);
    file
}

fn all(reader: &impl ReadAt) -> Vec<u8> {
    let mut bytes = vec![0; reader.size() as usize];
    reader.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn qemu_finds_no_fault_and_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (path, raw) = (folder.path().join("a.qcow2"), folder.path().join("a.raw"));
    // Two second-level tables, a hole between, and an end inside of a cluster.
    let size = (600 << 20) + 512;
    let ranges = [0..10, 70_000..200_000, (599 << 20)..size];
    let writes: Vec<(u64, Vec<u8>)> =
        ranges.iter().map(|r| (r.start, (0..r.end - r.start).map(|i| (i % 251) as u8).collect())).collect();
    let file = written(size, &ranges, &writes);
    std::fs::write(&path, &file).unwrap();
    let report = qemu_img(&["check", text(&path)]);
    assert!(report.contains("No errors were found"), "{report}");
    qemu_img(&["convert", "-f", "qcow2", "-O", "raw", text(&path), text(&raw)]);
    let mut wanted = vec![0; size as usize];
    for (offset, bytes) in &writes {
        wanted[*offset as usize..*offset as usize + bytes.len()].copy_from_slice(bytes);
    }
    assert!(std::fs::read(&raw).unwrap() == wanted, "qemu-img reads other bytes than were written");
    assert!(all(&Reader::open(file).unwrap()) == wanted, "our reader reads other bytes");
}

#[test]
fn a_drive_with_nothing_on_it() {
    let folder = tempfile::tempdir().unwrap();
    for size in [512, 1 << 40] {
        let path = folder.path().join(format!("{size}"));
        let file = written(size, &[], &[]);
        std::fs::write(&path, &file).unwrap();
        assert!(qemu_img(&["check", text(&path)]).contains("No errors were found"));
        assert_eq!(Reader::open(file).unwrap().size(), size);
    }
}

#[test]
fn the_order_of_writes_does_not_show() {
    let size = 4 << 20;
    let ranges = [0..size / 2, size - 65_536..size];
    let mut writes: Vec<(u64, Vec<u8>)> =
        (0..32).map(|i| (i * 65_536, vec![i as u8; 65_536])).chain([(size - 5, vec![7; 5])]).collect();
    let forward = written(size, &ranges, &writes);
    writes.reverse();
    assert!(forward == written(size, &ranges, &writes));
}

#[test]
fn only_what_was_planned_can_be_written() {
    let writer = Writer::new(Plan::new(1 << 20, &[0..65_536]).unwrap(), Mutex::new(Vec::new())).unwrap();
    for (offset, length) in [(65_536, 1), (65_535, 2), (1 << 20, 1), (u64::MAX, 1)] {
        let error = writer.write_all_at(offset, &vec![0; length]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{offset} {length}");
    }
    assert_eq!(Plan::new(0, &[]), Err(PlanError::Size { size: 0 }));
    assert_eq!(Plan::new(513, &[]), Err(PlanError::Size { size: 513 }));
    assert_eq!(Plan::new(512, &[0..513; 1]), Err(PlanError::Outside { start: 0, end: 513, size: 512 }));
}

#[test]
fn files_of_qemu_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("in.raw");
    let mut bytes = vec![0; 3 << 20];
    bytes.iter_mut().enumerate().skip(1 << 20).step_by(77).for_each(|(index, byte)| *byte = index as u8);
    std::fs::write(&raw, &bytes).unwrap();
    for options in
        ["compat=1.1", "compat=0.10", "cluster_size=4k", "cluster_size=512", "cluster_size=2M,lazy_refcounts=on"]
    {
        let path = folder.path().join("out.qcow2");
        qemu_img(&["convert", "-f", "raw", "-O", "qcow2", "-o", options, text(&raw), text(&path)]);
        qemu_img(&["resize", "-f", "qcow2", text(&path), "5M"]);
        let file = FileDevice::new(std::fs::File::open(&path).unwrap()).unwrap();
        let reader = Reader::open(file).unwrap_or_else(|error| panic!("{options}: {error}"));
        let mut wanted = bytes.clone();
        wanted.resize(5 << 20, 0);
        assert!(all(&reader) == wanted, "{options}");
    }
    // Clusters that are kept but read as zeros.
    let path = folder.path().join("zero.qcow2");
    qemu_img(&["create", "-q", "-f", "qcow2", text(&path), "1M"]);
    let io = Command::new("qemu-io")
        .args(["-c", "write -P 5 0 256k", "-c", "write -z 64k 64k", text(&path)])
        .status()
        .expect("qemu-io comes with qemu-img");
    assert!(io.success());
    let reader = Reader::open(std::fs::read(&path).unwrap()).unwrap();
    let mut wanted = vec![5; 256 << 10];
    wanted[64 << 10..128 << 10].fill(0);
    wanted.resize(1 << 20, 0);
    assert!(all(&reader) == wanted);
}

#[test]
fn forms_that_reach_out_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let base = at("base.raw");
    std::fs::write(&base, vec![1; 1 << 20]).unwrap();
    let feature = |path: &Path| match Reader::open(std::fs::read(path).unwrap()) {
        Err(Qcow2Error::Feature { what }) => what,
        other => panic!("{path:?}: {other:?}"),
    };
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", text(&base), "-F", "raw", text(&at("backed"))]);
    assert_eq!(feature(&at("backed")), "a backing file");
    let data = format!("data_file={}", text(&at("data")));
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", &data, text(&at("outside")), "1M"]);
    assert_eq!(feature(&at("outside")), "an external data file");
    qemu_img(&["convert", "-c", "-f", "raw", "-O", "qcow2", text(&base), text(&at("compressed"))]);
    assert_eq!(feature(&at("compressed")), "compressed clusters");
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", text(&base), text(&at("snapshot"))]);
    qemu_img(&["snapshot", "-c", "s", text(&at("snapshot"))]);
    assert_eq!(feature(&at("snapshot")), "snapshots");
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", "extended_l2=on", text(&at("subclusters")), "1M"]);
    assert_eq!(feature(&at("subclusters")), "subclusters");
    let raw = Reader::open(std::fs::read(&base).unwrap()).unwrap_err();
    assert!(matches!(raw, Qcow2Error::Magic), "{raw}");
    assert_eq!(raw.code(), Some(claims::Code::Disk));
}

#[test]
fn forged_tables_are_refused() {
    let good = written(1 << 20, &[0..1 << 20], &[]);
    // Header, refcount table, refcount block, first level, second level, data.
    let (l1, l2) = (3 << 16, 4 << 16);
    let forged = |at: usize, value: u64| {
        let mut file = good.clone();
        file[at..at + 8].copy_from_slice(&value.to_be_bytes());
        Reader::open(file).map(|_| ())
    };
    let second = u64::from_be_bytes(good[l2 + 8..l2 + 16].try_into().unwrap());
    assert!(matches!(forged(l2, second), Err(Qcow2Error::Overlap { what: "a data cluster", .. })));
    assert!(matches!(forged(l2, 1 << 63), Ok(())));
    assert!(matches!(forged(l2, 4 << 16), Err(Qcow2Error::Overlap { .. })), "data in its own table");
    assert!(matches!(forged(l1, 3 << 16), Err(Qcow2Error::Overlap { what: "a second-level table", .. })));
    assert!(matches!(forged(l1, 1 << 40), Err(Qcow2Error::Truncated { .. })));
    assert!(matches!(forged(l1, (4 << 16) | 2), Err(Qcow2Error::Entry { table: "first-level", index: 0, .. })));
    assert!(matches!(forged(l2 + 16, 512), Err(Qcow2Error::Entry { table: "second-level", index: 2, .. })));
    assert!(matches!(forged(1 << 16, 0), Ok(())));
    assert!(matches!(forged(1 << 16, 5 << 16), Err(Qcow2Error::Overlap { .. })), "a refcount block in the data");
    assert!(matches!(forged(72, 1 << 20), Err(Qcow2Error::UnknownFeatures { .. })));
    assert!(matches!(forged(24, 1 << 60), Err(Qcow2Error::Field { field: "size", .. })));
    assert!(matches!(forged(36, 0xffff_ffff_0000_0000), Err(Qcow2Error::Field { field: "l1_size", .. })));
    assert!(matches!(Reader::open(good[..4 << 16].to_vec()), Err(Qcow2Error::Truncated { .. })));
}

proptest! {
    #[test]
    fn any_header_is_read_or_refused(edits in proptest::collection::vec((0..112_usize, any::<u8>()), 0..6), cut in 0..400_000_usize) {
        let mut file = written(1 << 20, &[0..300_000], &[(5, vec![9; 1000])]);
        for (at, value) in edits {
            file[at] = value;
        }
        file.truncate(cut.max(1));
        if let Ok(reader) = Reader::open(file) {
            let mut part = vec![0; reader.size().min(1 << 20) as usize];
            let _ = reader.read_exact_at(0, &mut part);
        }
    }

    #[test]
    fn what_is_written_is_read(parts in proptest::collection::vec((0..3_000_000_u64, 1..90_000_usize, any::<u8>()), 1..8)) {
        let size = 4 << 20;
        let ranges: Vec<_> = parts.iter().map(|(start, length, _)| *start..*start + *length as u64).collect();
        let writes: Vec<_> = parts.iter().map(|(start, length, byte)| (*start, vec![*byte; *length])).collect();
        let mut wanted = vec![0; size as usize];
        for (offset, bytes) in &writes {
            wanted[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        let reader = Reader::open(written(size, &ranges, &writes)).unwrap();
        prop_assert!(all(&reader) == wanted);
    }
}
