//! Speed of sealing: `cargo bench -p sealed`. Each line has its rate and its ratio to a peer in the same run.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops at the first error")]

use claims::volume::{BLOCK_SIZE, Drive, VERITY_SALT, VolumeKey};
use sealed::ext4::{Layout, Options, Size, Sources};
use sealed::seal::{Job, seal, seal_again, seal_keeping};
use sealed::tree::{Content, Kind, Meta, Tree};
use sealed::xts::{Direction, Xts};
use sealed::{WriteAt, verity};
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Instant;

const PIECE: usize = 512 << 10;
const ROUNDS: usize = 64;
const FILE: u64 = 1 << 30;

struct Cached(File);

impl Sources for Cached {
    fn read(&self, _source: u32, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read_exact_at(out, offset)
    }
}

struct Nowhere;

impl WriteAt for Nowhere {
    fn write_all_at(&self, _offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        black_box(bytes);
        Ok(())
    }
}

/// Best of twelve, in MB/s: what the machine can do when nobody else has it.
fn rate(bytes: u64, mut run: impl FnMut()) -> f64 {
    let best = (0..12).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    bytes as f64 / best.fold(f64::MAX, f64::min) / 1e6
}

fn main() {
    let volume_key = VolumeKey::from_slice(&[7; 32]).unwrap();
    let mut piece: Vec<u8> = (0..PIECE).map(|index| (index * 31 / 7) as u8).collect();
    let bytes = (PIECE * ROUNDS) as u64;
    let mut copy = vec![0; PIECE];
    let memcpy = rate(bytes, || (0..ROUNDS).for_each(|_| black_box(&mut copy).copy_from_slice(black_box(&piece))));
    let scalar = rate(bytes / 4, || {
        for block in (0..ROUNDS / 4).flat_map(|_| piece.chunks(BLOCK_SIZE as usize)) {
            let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
            context.update(&VERITY_SALT);
            context.update(block);
            black_box(context.finish());
        }
    });
    let mut hashes = [[0; 32]; PIECE / BLOCK_SIZE as usize];
    let hash =
        rate(bytes, || (0..ROUNDS).for_each(|_| assert_eq!(verity::hash_blocks(&piece, &mut hashes), PIECE / 4096)));
    let drive_key = volume_key.drive_key(Drive::Root).expose(|key| *key);
    let mut xts = Xts::new(&drive_key, Direction::Seal).unwrap();
    let cipher = rate(bytes, || (0..ROUNDS).for_each(|_| xts.apply(0, BLOCK_SIZE as usize, &mut piece).unwrap()));
    let pure = rate(bytes / 8, || {
        use aes::cipher::KeyInit;
        let half = |at: usize| aes::Aes256::new_from_slice(&drive_key[at..at + 32]).unwrap();
        let xts = xts_mode::Xts128::new(half(0), half(32));
        for _ in 0..ROUNDS / 8 {
            xts.encrypt_area(&mut piece, BLOCK_SIZE as usize, 0, |tweak| (tweak * 8).to_le_bytes());
        }
    });

    let mut file = tempfile::tempfile().unwrap();
    (0..FILE / PIECE as u64).for_each(|_| file.write_all(&piece).unwrap());
    let mut read = vec![0; PIECE];
    let page_cache = rate(FILE, || {
        (0..FILE / PIECE as u64).for_each(|index| file.read_exact_at(&mut read, index * PIECE as u64).unwrap());
    });
    let mut tree = Tree::new(Meta::plain(0o755));
    for index in 0..1024 {
        let content = Content::Source { source: 0, offset: index << 20, length: 1 << 20 };
        tree.put(format!("folder/{index}").as_bytes(), Meta::plain(0o644), Kind::File(content)).unwrap();
    }
    let options = Options { size: Size::Minimal, label: String::new(), uuid: [1; 16], journal: false, time: 0 };
    let layout = Layout::plan(&tree, &options).unwrap();
    let sources = Cached(file);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let job = |threads| Job {
        layout: &layout,
        sources: &sources,
        key: &volume_key,
        drive: Drive::Root,
        sink: &Nowhere,
        progress: &|_| {},
        cancelled: &|| false,
        threads,
    };
    let one = rate(layout.bytes(), || assert!(seal(&job(1)).unwrap().data_blocks > 0));
    let all = rate(layout.bytes(), || assert!(seal(&job(threads)).unwrap().data_blocks > 0));
    let plain = seal_keeping(&job(threads)).unwrap();
    let again = rate(layout.bytes(), || assert!(seal_again(&job(threads), &plain).unwrap().data_blocks > 0));

    let line = |name: &str, rate: f64, peer: &str, peer_rate: f64| {
        println!("{name:<34}{rate:>8.0} MB/s   {:>5.2} x {peer}", rate / peer_rate);
    };
    println!("SHA-256 backend {}, {threads} threads", tape_sha256::backend());
    line("memcpy, 1 thread", memcpy, "memcpy", memcpy);
    line("read of page cache, 1 thread", page_cache, "memcpy", memcpy);
    line("verity hash, aws-lc, 1 thread", scalar, "memcpy", memcpy);
    line("verity hash, ours, 1 thread", hash, "aws-lc", scalar);
    line("AES-256-XTS, xts-mode, 1 thread", pure, "memcpy", memcpy);
    line("AES-256-XTS, ours, 1 thread", cipher, "xts-mode", pure);
    line("seal, 1 thread", one, "memcpy", memcpy);
    line("seal, all threads", all, "seal, 1 thread", one);
    line("second site, all threads", again, "seal, all threads", all);
}
