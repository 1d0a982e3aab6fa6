//! No parser panics on damaged input: a short run of what the fuzz targets do for longer, on the stable toolchain.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::parsers::{TARGETS, Target, seeds};

/// For all targets together; each gets its share.
const TIME: Duration = Duration::from_secs(40);
/// Largest seed: damage in a large file is rare, and each try costs its length.
const MAX_SEED: u64 = 200_000;

#[test]
fn no_parser_panics_on_damaged_seeds() {
    let vectors = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    if !vectors.exists() {
        eprintln!("skipped: vectors are not here, so damage starts from nothing");
    }
    let share = TIME / u32::try_from(TARGETS.len()).unwrap_or(u32::MAX);
    let mut tries = 0_u64;
    for target in TARGETS {
        tries += torment(target, &vectors, share);
    }
    assert!(tries > 10_000, "only {tries} tries");
}

#[test]
fn every_target_is_a_fuzz_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut names: Vec<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    names.sort();
    assert_eq!(files, names);
}

/// Seeds as they are, then damaged in one to four places, for the time given.
fn torment(target: &Target, vectors: &Path, time: Duration) -> u64 {
    let small = |path: &PathBuf| path.metadata().is_ok_and(|metadata| metadata.len() <= MAX_SEED);
    let mut seeds: Vec<Vec<u8>> =
        seeds(target, vectors).into_iter().filter(small).map(|path| std::fs::read(path).unwrap_or_default()).collect();
    seeds.extend([Vec::new(), b"{}".to_vec(), b"[]".to_vec(), vec![0; 4096], vec![0x30, 0x80], vec![0xFF; 600]]);
    let start = Instant::now();
    let mut random = Random(target.name.bytes().fold(7, |sum, byte| sum.rotate_left(5) ^ u64::from(byte)));
    let mut tries = 0;
    for seed in &seeds {
        (target.run)(seed);
        tries += 1;
    }
    while start.elapsed() < time {
        let seed = &seeds[random.below(seeds.len())];
        (target.run)(&damaged(seed, &mut random));
        tries += 1;
    }
    tries
}

fn damaged(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let length = bytes.len().max(1);
        let at = random.below(length);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), random.byte()),
            2 => bytes.extend_from_within(..bytes.len().min(64)),
            3 => {
                // A length or offset at its limit.
                for (place, value) in bytes.iter_mut().skip(at).zip([0xFF; 4]) {
                    *place = value;
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes
}

/// xorshift64*: damage that is the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }
}
