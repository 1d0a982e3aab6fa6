//! How fast a layer's root hash is computed, against a pass as hcsshim makes it, and against hashing alone.
//!
//! The peer does what tar2ext4 and dmverity do, on one thread: the same image is written to a file, then read back and
//! hashed block by block with aws-lc-rs. `CONFIDE_BENCH_MB` (default 512) is the layer's size, `CONFIDE_BENCH_DIR` the
//! folder to work in. All figures are of one run on one machine, medians of five.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench talks, and ends when something fails")]

use aws_lc_rs::digest::{Context, SHA256};
use image::layers::{Options, root_hash, write_image};
use sealed::FileDevice;
use sealed::verity::{FAN_OUT, hash_blocks_salted};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const RUNS: usize = 5;
const BLOCK: usize = 4096;
const SALT: [u8; 32] = [0; 32];
/// SPECIFICATION.md: times the rate of the peer.
const PROMISE: f64 = 4.0;

fn main() {
    let megabytes = std::env::var("CONFIDE_BENCH_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(512_usize);
    let parent = std::env::var_os("CONFIDE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::Builder::new().prefix("confide-bench-").tempdir_in(parent).unwrap();
    let (layer, image) = (folder.path().join("layer.tar"), folder.path().join("layer.ext4"));
    make(&layer, megabytes);
    let bytes = std::fs::metadata(&layer).unwrap().len();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("layer {:.0} MB, {threads} threads; medians of {RUNS}", bytes as f64 / 1e6);

    let wanted = peer(&layer, &image);
    let blocks = std::fs::read(&image).unwrap();
    let mut times = [const { Vec::new() }; 5];
    for _ in 0..RUNS {
        // Turn by turn, so that a noisy neighbour disturbs all of them.
        let hash = |threads| root_hash(File::open(&layer).unwrap(), &Options { threads }).unwrap().root_hash.0;
        let work: [&dyn Fn(); 5] = [
            &|| assert_eq!(hash(threads), wanted),
            &|| assert_eq!(hash(1), wanted),
            &|| assert_eq!(peer(&layer, &image), wanted),
            &|| hash_all(&blocks, threads),
            &|| hash_all(&blocks, 1),
        ];
        for (times, work) in times.iter_mut().zip(work) {
            let start = Instant::now();
            work();
            times.push(start.elapsed().as_secs_f64());
        }
    }
    let [ours, ours_alone, peer, limit, limit_alone] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    let rate = |seconds: f64| bytes as f64 / 1e6 / seconds;
    println!("root_hash                          {:>8.0} MB/s", rate(ours));
    println!("root_hash, one hashing thread      {:>8.0} MB/s", rate(ours_alone));
    println!("tar2ext4 equivalent, one thread    {:>8.0} MB/s", rate(peer));
    println!("hashing alone, {threads} threads           {:>8.0} MB/s", rate(limit));
    println!("hashing alone, one thread          {:>8.0} MB/s", rate(limit_alone));
    let verdict = if peer / ours >= PROMISE { "kept" } else { "MISSED" };
    println!("against the peer                   {:>8.1} x   (promise: at least {PROMISE}; {verdict})", peer / ours);
    println!("of the hashing limit               {:>8.0} %", limit / ours * 100.0);
}

/// A layer of files of many sizes: a few large ones, many small ones.
fn make(path: &Path, megabytes: usize) {
    let mut tar = tar::Builder::new(BufWriter::new(File::create(path).unwrap()));
    let mut state = 1_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    };
    let mut left = megabytes << 20;
    for index in 0.. {
        let size = match index % 64 {
            0 => 16 << 20,
            1..8 => 300_000 + index % 1000,
            _ => 3_000 + index * 37 % 30_000,
        };
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(size as u64);
        let name = format!("folder{:03}/file{index}", index / 500);
        tar.append_data(&mut header, name, noise(size).as_slice()).unwrap();
        if left <= size {
            break;
        }
        left -= size;
    }
    tar.into_inner().unwrap().flush().unwrap();
}

/// One thread that writes the image, then reads and hashes it.
fn peer(layer: &Path, image: &Path) -> [u8; 32] {
    write_single_threaded(layer, image);
    let mut file = BufReader::with_capacity(1 << 20, File::open(image).unwrap());
    let mut level = Vec::new();
    let mut block = [0; BLOCK];
    while file.read_exact(&mut block).is_ok() {
        level.extend_from_slice(hash(&block).as_ref());
    }
    loop {
        level.resize(level.len().next_multiple_of(BLOCK), 0);
        let above: Vec<[u8; 32]> = level.chunks(BLOCK).map(hash).collect();
        if let [root] = above.as_slice() {
            return *root;
        }
        level = above.concat();
    }
}

fn hash(block: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&SALT);
    context.update(block);
    context.finish().as_ref().try_into().unwrap()
}

/// The same image in a file. Where it is made by our own code, the time that code takes for hashing is not the peer's:
/// the blocks are made once, before any clock runs, and the peer is timed for reading the tar file and writing them.
fn write_single_threaded(layer: &Path, image: &Path) {
    // Reading the layer through a tar reader, as tar2ext4 does, with each file's bytes copied to their place.
    let mut archive = tar::Archive::new(BufReader::new(File::open(layer).unwrap()));
    let known = image.with_extension("known");
    if !known.exists() {
        let out = FileDevice::new(File::create(&known).unwrap()).unwrap();
        let layer = write_image(File::open(layer).unwrap(), &out, &Options { threads: 1 }).unwrap();
        out.file().set_len(layer.ext4_size).unwrap();
    }
    let mut out = BufWriter::with_capacity(512 << 10, File::create(image).unwrap());
    let mut at = 9 * BLOCK as u64;
    out.seek(SeekFrom::Start(at)).unwrap();
    for entry in archive.entries().unwrap() {
        let length = io::copy(&mut entry.unwrap(), &mut out).unwrap();
        let padding = length.wrapping_neg() % BLOCK as u64;
        out.write_all(&[0; BLOCK][..padding as usize]).unwrap();
        at += length + padding;
    }
    // What comes after and before the data: folders, tables, bitmaps; descriptors and superblock.
    let mut known = File::open(known).unwrap();
    known.seek(SeekFrom::Start(at)).unwrap();
    io::copy(&mut known, &mut out).unwrap();
    out.seek(SeekFrom::Start(0)).unwrap();
    known.rewind().unwrap();
    io::copy(&mut known.take(9 * BLOCK as u64), &mut out).unwrap();
    out.flush().unwrap();
}

/// Hashes of blocks in memory on all threads, nothing else: what the machine can do.
fn hash_all(blocks: &[u8], threads: usize) {
    let chunks: Vec<&[u8]> = blocks.chunks(BLOCK * FAN_OUT as usize).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut hashes = [[0; 32]; FAN_OUT as usize];
                while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    hash_blocks_salted(&SALT, chunk, &mut hashes);
                    std::hint::black_box(&hashes);
                }
            });
        }
    });
}
