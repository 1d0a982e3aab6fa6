//! Sealed drives: the pipeline, the real tools, the authenticated reader.
#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first error")]

#[cfg(test)]
mod support;

use claims::volume::{BLOCK_SIZE, DATA_OFFSET, Drive, VERITY_SALT, VolumeKey};
use claims::{Code, VerityRoot};
use sealed::ext4::{Layout, Reader, Size, Sources};
use sealed::open::{OpenError, SealedReader};
use sealed::seal::{Job, Plain, SealError, seal, seal_again, seal_keeping};
use sealed::tree::{Content, Kind, Meta, Tree};
use sealed::xts::{Direction, Xts};
use sealed::{ReadAt, WriteAt, verity};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use support::*;

fn key(byte: u8) -> VolumeKey {
    VolumeKey::from_slice(&[byte; 32]).unwrap()
}

fn layout() -> Layout {
    let mut tree = sampler();
    let model = Kind::File(Content::Source { source: 9, offset: 3, length: 9_000_001 });
    tree.put(b"model.bin", meta(0o644), model).unwrap();
    Layout::plan(&tree, &options(Size::Minimal)).unwrap()
}

fn job<'a>(layout: &'a Layout, key: &'a VolumeKey, sink: &'a dyn WriteAt, threads: usize) -> Job<'a> {
    Job { layout, sources: &Pattern, key, drive: Drive::Root, sink, progress: &|_| {}, cancelled: &|| false, threads }
}

fn sealed_with(layout: &Layout, key: &VolumeKey, threads: usize) -> (Vec<u8>, Plain) {
    let sink = Mutex::new(Vec::new());
    let plain = seal_keeping(&job(layout, key, &sink, threads)).unwrap();
    (sink.into_inner().unwrap(), plain)
}

#[test]
fn the_same_drive_whatever_the_threads_and_the_way() {
    let layout = layout();
    let (one, plain) = sealed_with(&layout, &key(1), 1);
    let (four, _) = sealed_with(&layout, &key(1), 4);
    assert!(one == four);
    let sink = Mutex::new(Vec::new());
    assert_eq!(seal(&job(&layout, &key(1), &sink, 3)).unwrap(), plain.geometry);
    assert!(sink.into_inner().unwrap() == one);
    let (other, other_plain) = sealed_with(&layout, &key(2), 2);
    assert_eq!(plain, other_plain);
    assert!(one != other);
    let sink = Mutex::new(Vec::new());
    assert_eq!(seal_again(&job(&layout, &key(2), &sink, 2), &plain).unwrap(), plain.geometry);
    assert!(sink.into_inner().unwrap() == other);
    assert_eq!(one.len() as u64, DATA_OFFSET + plain.geometry.sealed_bytes());
    let (root, tree) = verity::tree_of(&image(&layout, &Pattern), layout.blocks()).unwrap();
    assert_eq!((root, tree), (plain.geometry.root_hash, plain.tree));
}

#[test]
fn veritysetup_agrees_with_the_tree() {
    let salt = hex::encode(VERITY_SALT);
    for blocks in [2u64, 127, 128, 129, 300, 128 * 128, 128 * 128 + 1] {
        let data: Vec<u8> = (0..blocks * BLOCK_SIZE).map(|index| pattern(5, index)).collect();
        let (root, tree) = verity::tree_of(&data, blocks).unwrap();
        let file = save(&[data.as_slice(), &tree].concat());
        let path = file.path().to_str().unwrap();
        let offset = (blocks * BLOCK_SIZE).to_string();
        let (salt, count) = (format!("--salt={salt}"), format!("--data-blocks={blocks}"));
        let offset = format!("--hash-offset={offset}");
        let arguments = ["verify", "--no-superblock", &salt, &count, &offset, path, path, &root.to_string()];
        let Some((good, said)) = tool("veritysetup", &arguments) else { return };
        assert!(good, "{blocks} blocks: {said}");
        let other = VerityRoot([1; 32]).to_string();
        let (good, _) = tool("veritysetup", &[&arguments[..7], &[&other]].concat()).unwrap();
        assert!(!good, "{blocks} blocks");
    }
}

#[test]
fn hashes_are_those_of_the_cryptographic_library() {
    let data: Vec<u8> = (0..200 * BLOCK_SIZE).map(|index| pattern(6, index)).collect();
    for count in [1usize, 2, 7, 8, 15, 16, 17, 128, 200] {
        let mut out = vec![[0; 32]; count];
        assert_eq!(verity::hash_blocks(&data, &mut out), count);
        for (block, hash) in data.chunks(4096).zip(&out) {
            let salted = [&VERITY_SALT[..], block].concat();
            assert_eq!(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &salted).as_ref(), hash);
        }
    }
}

#[test]
fn xts_is_that_of_another_implementation() {
    use aes::cipher::KeyInit;
    let mut key = [0; 64];
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = pattern(8, index as u64 * 7);
    }
    let halves = (aes::Aes256::new_from_slice(&key[..32]).unwrap(), aes::Aes256::new_from_slice(&key[32..]).unwrap());
    let other = xts_mode::Xts128::new(halves.0, halves.1);
    for (first, sector) in [(0u64, 4096usize), (8 << 33, 4096), (0, 512), (77, 512)] {
        let plain: Vec<u8> = (0..sector as u64 * 5).map(|index| pattern(7, index)).collect();
        let mut wanted = plain.clone();
        for (index, unit) in wanted.chunks_mut(sector).enumerate() {
            let tweak = u128::from(first) + (index * sector / 512) as u128;
            other.encrypt_sector(unit, tweak.to_le_bytes());
        }
        let mut got = plain.clone();
        Xts::new(&key, Direction::Seal).unwrap().apply(first, sector, &mut got).unwrap();
        assert!(got == wanted, "{first} {sector}");
        Xts::new(&key, Direction::Open).unwrap().apply(first, sector, &mut got).unwrap();
        assert!(got == plain, "{first} {sector}");
    }
    let mut xts = Xts::new(&key, Direction::Seal).unwrap();
    assert_eq!(xts.apply(0, 4096, &mut [0; 4095]).unwrap_err().to_string(), "AES-XTS: not whole sectors");
    assert_eq!(Xts::new(&[3; 64], Direction::Seal).err().unwrap().to_string(), "AES-XTS: the key is not usable");
}

#[test]
fn what_was_sealed_reads_back_by_geometry_and_by_header() {
    let layout = layout();
    let plain_image = image(&layout, &Pattern);
    let (bytes, plain) = sealed_with(&layout, &key(1), 2);
    let reader = SealedReader::new(bytes.clone(), plain.geometry, &key(1), Drive::Root).unwrap();
    let mut out = vec![0; plain_image.len()];
    reader.read_exact_at(0, &mut out).unwrap();
    assert!(out == plain_image);
    let mut odd = vec![0; 10_001];
    reader.read_exact_at(4001, &mut odd).unwrap();
    assert!(odd == plain_image[4001..14_002]);
    assert!(reader.read_exact_at(reader.size() - 1, &mut [0; 2]).is_err());
    let (by_header, drive) = SealedReader::from_header(bytes, &key(1)).unwrap();
    assert_eq!((by_header.geometry(), drive), (&plain.geometry, Drive::Root));
    let volume = Reader::open(by_header).unwrap();
    let inode = volume.lookup(b"etc/passwd").unwrap();
    let mut passwd = vec![0; 26];
    volume.read(inode, 0, &mut passwd).unwrap();
    assert_eq!(passwd, b"root:x:0:0::/root:/bin/sh\n");
}

#[test]
fn damage_is_named_by_its_block() {
    let (bytes, plain) = sealed_with(&layout(), &key(1), 2);
    let geometry = plain.geometry;
    let open = |bytes: &Vec<u8>| SealedReader::new(bytes.clone(), geometry, &key(1), Drive::Root);
    let at = |block: u64| (DATA_OFFSET + block * BLOCK_SIZE) as usize;
    let verify = |bytes: &Vec<u8>| open(bytes).unwrap().verify(&|_| {}).unwrap_err();

    let mut flipped = bytes.clone();
    flipped[at(1000) + 17] ^= 1;
    assert!(matches!(verify(&flipped), OpenError::Data { block: 1000 }));
    // Two sectors exchanged, one repeated, one zeroed.
    let mut swapped = bytes.clone();
    let (first, second) = swapped.split_at_mut(at(2001));
    first[at(2000)..].swap_with_slice(&mut second[..4096]);
    assert!(matches!(verify(&swapped), OpenError::Data { block: 2000 }));
    let mut repeated = bytes.clone();
    repeated.copy_within(at(10)..at(11), at(12));
    assert!(matches!(verify(&repeated), OpenError::Data { block: 12 }));
    let mut zeroed = bytes.clone();
    zeroed[at(13)..at(14)].fill(0);
    assert!(matches!(verify(&zeroed), OpenError::Data { block: 13 }));
    // A block of the same place of another site's volume.
    let (other, _) = sealed_with(&layout(), &key(2), 1);
    let mut copied = bytes.clone();
    copied[at(14)..at(15)].copy_from_slice(&other[at(14)..at(15)]);
    assert!(matches!(verify(&copied), OpenError::Data { block: 14 }));
    // The tree: its top is checked on opening, the rest when needed.
    let mut top = bytes.clone();
    top[at(geometry.data_blocks)] ^= 1;
    assert!(matches!(open(&top), Err(OpenError::Tree { block: 0 })));
    let mut leaf = bytes.clone();
    leaf[at(geometry.data_blocks + 2)] ^= 1;
    assert!(matches!(verify(&leaf), OpenError::Tree { block: 2 }));
    assert_eq!(verify(&leaf).code(), Code::Root);

    for (byte, drive) in [(2, Drive::Root), (1, Drive::UserConfig)] {
        let wrong = SealedReader::new(bytes.clone(), geometry, &key(byte), drive);
        assert!(matches!(wrong, Err(OpenError::Tree { block: 0 })));
    }
    let mut other = geometry;
    other.root_hash = VerityRoot([3; 32]);
    assert!(matches!(SealedReader::new(bytes.clone(), other, &key(1), Drive::Root), Err(OpenError::Tree { block: 0 })));
    other.tree_blocks += 1;
    assert!(matches!(SealedReader::new(bytes.clone(), other, &key(1), Drive::Root), Err(OpenError::Size { .. })));
    let short = bytes[..bytes.len() - 1].to_vec();
    assert!(matches!(SealedReader::new(short, geometry, &key(1), Drive::Root), Err(OpenError::Size { .. })));
}

/// Counts how often bytes of the header are read.
struct Counting(Vec<u8>, AtomicU64);

impl ReadAt for Counting {
    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        if offset < DATA_OFFSET {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
        self.0.read_exact_at(offset, out)
    }

    fn size(&self) -> u64 {
        self.0.len() as u64
    }
}

#[test]
fn the_header_is_read_once_and_what_was_judged_is_used() {
    let (bytes, _) = sealed_with(&layout(), &key(1), 2);
    let device = Counting(bytes, AtomicU64::new(0));
    let (reader, _) = SealedReader::from_header(&device, &key(1)).unwrap();
    reader.verify(&|_| {}).unwrap();
    assert_eq!(device.1.load(Ordering::Relaxed), 1);
    let wrong = SealedReader::from_header(&device, &key(2)).err().unwrap();
    assert_eq!((wrong.code(), wrong.to_string().as_str()), (Code::Key, "header"));
}

struct Failing;

impl Sources for Failing {
    fn read(&self, _source: u32, _offset: u64, _out: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

impl WriteAt for Failing {
    fn write_all_at(&self, _offset: u64, _bytes: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn failures_and_cancelling_end_it_before_there_is_a_header() {
    let (layout, key) = (layout(), key(1));
    let sink = Mutex::new(Vec::new());
    let mut failing = job(&layout, &key, &sink, 3);
    failing.sources = &Failing;
    assert!(matches!(seal(&failing), Err(SealError::Read { .. })));
    assert!(matches!(seal(&job(&layout, &key, &Failing, 3)), Err(SealError::Write { .. })));
    let done = AtomicU64::new(0);
    let progress = |bytes| {
        done.fetch_add(bytes, Ordering::Relaxed);
    };
    let cancelled = || done.load(Ordering::Relaxed) > 1 << 20;
    let mut stopped = job(&layout, &key, &sink, 3);
    (stopped.progress, stopped.cancelled) = (&progress, &cancelled);
    assert!(matches!(seal(&stopped), Err(SealError::Cancelled)));
    let written = sink.into_inner().unwrap();
    assert!(written.iter().take(DATA_OFFSET as usize).all(|byte| *byte == 0));
    assert!(done.load(Ordering::Relaxed) < layout.bytes());
    let (_, plain) = sealed_with(&layout, &key, 2);
    let empty = Layout::plan(&Tree::new(Meta::plain(0o755)), &options(Size::Minimal)).unwrap();
    let sink = Mutex::new(Vec::new());
    let other = seal_again(&job(&empty, &key, &sink, 1), &plain).unwrap_err();
    assert!(matches!(other, SealError::OtherVolume { wanted, .. } if wanted == empty.blocks()));
}

#[test]
fn progress_adds_up() {
    let (layout, key, sink) = (layout(), key(1), Mutex::new(Vec::new()));
    let done = AtomicU64::new(0);
    let progress = |bytes| {
        done.fetch_add(bytes, Ordering::Relaxed);
    };
    let mut watched = job(&layout, &key, &sink, 2);
    watched.progress = &progress;
    seal(&watched).unwrap();
    assert_eq!(done.load(Ordering::Relaxed), layout.bytes());
}
