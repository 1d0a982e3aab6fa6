//! The large layers, which the manifest describes by the command that makes them (`genlayers.py`).

use aws_lc_rs::digest::{SHA256, digest};
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

const BLOCK: usize = 512;
const MIB: usize = 1 << 20;

/// The tar file that a command makes, if it is one of those known.
pub(super) fn tar(command: &str) -> Option<io::Result<File>> {
    let (_, ids) = command.split_once("--only")?;
    let layer: fn(&mut Tar) -> io::Result<()> = match ids.split_whitespace().next()? {
        "20-big50m" => |tar| {
            tar.folder("opt/")?;
            tar.header("opt/blob", b'0', 50 * MIB + 123)?;
            tar.contents(&stream("big50", 50 * MIB + 123))?;
            tar.header("opt/after", b'0', 5)?;
            tar.contents(b"after")
        },
        "21-multigroup" => |tar| {
            let sizes = [128 * MIB, 128 * MIB + 1, 44 * MIB];
            sizes.iter().enumerate().try_for_each(|(index, size)| tar.pattern(&format!("f{index}"), *size))
        },
        "22-extent-tree" => |tar| {
            tar.header("first", b'0', 1)?;
            tar.contents(b"1")?;
            tar.pattern("huge", 700 * MIB)?;
            tar.header("last", b'0', 1)?;
            tar.contents(b"2")
        },
        "23-many-inodes" => |tar| {
            (0..40).try_for_each(|folder| {
                tar.folder(&format!("d{folder:02}/"))?;
                (0..1000).try_for_each(|file| tar.header(&format!("d{folder:02}/f{file:03}"), b'0', 0))
            })
        },
        _ => return None,
    };
    Some(make(layer))
}

fn make(layer: fn(&mut Tar) -> io::Result<()>) -> io::Result<File> {
    let mut tar = Tar { out: BufWriter::with_capacity(MIB, tempfile::tempfile()?), pattern: stream("pat", MIB) };
    layer(&mut tar)?;
    tar.out.write_all(&[0; 2 * BLOCK])?;
    let mut file = tar.out.into_inner()?;
    file.rewind()?;
    Ok(file)
}

/// SHA-256 of the seed and a counter, again and again.
fn stream(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length.next_multiple_of(32));
    let mut counter: u64 = 0;
    while bytes.len() < length {
        bytes.extend_from_slice(digest(&SHA256, &[seed.as_bytes(), &counter.to_le_bytes()].concat()).as_ref());
        counter += 1;
    }
    bytes.truncate(length);
    bytes
}

struct Tar {
    out: BufWriter<File>,
    /// What [`Tar::pattern`] repeats.
    pattern: Vec<u8>,
}

impl Tar {
    fn folder(&mut self, name: &str) -> io::Result<()> {
        self.header(name, b'5', 0)
    }

    fn contents(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.pad(bytes.len())
    }

    fn pattern(&mut self, name: &str, size: usize) -> io::Result<()> {
        self.header(name, b'0', size)?;
        let mut left = size;
        while left > 0 {
            let part = left.min(self.pattern.len());
            self.out.write_all(&self.pattern[..part])?;
            left -= part;
        }
        self.pad(size)
    }

    fn pad(&mut self, length: usize) -> io::Result<()> {
        self.out.write_all(&[0; BLOCK][..length.next_multiple_of(BLOCK) - length])
    }

    /// A ustar header with the generator's own mode and time.
    fn header(&mut self, name: &str, kind: u8, size: usize) -> io::Result<()> {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, name.as_bytes());
        put(100, format!("{mode:07o}").as_bytes());
        for at in [108, 116, 329, 337] {
            put(at, b"0000000");
        }
        put(124, format!("{size:011o}").as_bytes());
        put(136, format!("{:011o}", 1_700_000_000).as_bytes());
        put(148, b"        ");
        put(156, &[kind]);
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.out.write_all(&block)
    }
}
