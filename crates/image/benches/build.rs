//! How fast a root volume is made of a container archive, against copying the archive and against the usual tools.
//!
//! `CONFIDE_BENCH_MB` (default 1024) is the archive's size, `CONFIDE_BENCH_DIR` the folder to work in. All figures are
//! of one run on one machine, medians of three; the ratios are what SPECIFICATION.md promises.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench talks, and ends when something fails"
)]

use claims::volume::VolumeKey;
use image::root_volume::{RootVolume, Sealing, Source, Written};
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const RUNS: usize = 3;
const LAYERS: usize = 3;

fn main() {
    let megabytes = std::env::var("CONFIDE_BENCH_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(1024_u64);
    let parent = std::env::var_os("CONFIDE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::Builder::new().prefix("confide-bench-").tempdir_in(parent).expect("a folder to work in");
    let bench = Bench { folder: folder.path().to_owned(), archive: folder.path().join("image.tar"), megabytes };
    bench.make_archive();
    bench.run();
}

struct Bench {
    folder: PathBuf,
    archive: PathBuf,
    megabytes: u64,
}

impl Bench {
    fn run(&self) {
        let bytes = fs::metadata(&self.archive).unwrap().len();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let copy = median(|| {
            let out = self.folder.join("copy");
            let time = timed(|| command("cp", &["--reflink=never", text(&self.archive), text(&out)]));
            fs::remove_file(out).unwrap();
            time
        });
        let mut written = None;
        let build = median(|| self.build(&self.archive, None, 1, threads, &mut written));
        let written = written.unwrap();
        println!(
            "archive            {:>8.1} MB, {} files, {threads} threads, memory peak {} MB",
            bytes as f64 / 1e6,
            written.nodes,
            peak_megabytes()
        );
        println!("cp --reflink=never {copy:>8.2} s");
        row("build", build, build / copy, "x cp", 3.0, false);

        let cache = self.folder.join("cache");
        let mut ignored = None;
        let first = self.build(&self.archive, Some(&cache), 1, threads, &mut ignored);
        let again = median(|| self.build(&self.archive, Some(&cache), 2, threads, &mut ignored));
        assert!(ignored.as_ref().is_some_and(|written| written.from_cache), "the cache was not used");
        println!("build, filling cache {first:>6.2} s");
        row("second site", again, again / build * 100.0, "% of the first", 30.0, false);
        fs::remove_dir_all(&cache).unwrap();

        match self.tools() {
            Some(tools) => row("standard tools", tools, tools / build, "x build", 4.0, true),
            None => {
                println!("standard tools     skipped: one of tar, mke2fs, veritysetup, openssl, qemu-img is missing")
            }
        }
        self.gzip(&cache, threads);
        println!("memory peak        {:>8} MB (promise: below 300)", peak_megabytes());
    }

    /// One build from an archive; the drive is removed again.
    fn build(
        &self,
        archive: &Path,
        cache: Option<&Path>,
        key: u8,
        threads: usize,
        written: &mut Option<Written>,
    ) -> f64 {
        let out = self.folder.join("crypt_root.qcow2");
        let drive_bytes = (self.megabytes * 3 / 2 + 64) << 20;
        let key = VolumeKey::from_slice(&[key; 32]).unwrap();
        let time = timed(|| {
            let source =
                Source { archive, reference: None, scratch: &self.folder, cache, drive_bytes, cancelled: &|| false };
            let mut volume = RootVolume::open(&source).unwrap();
            volume.add_file(".confide/workload.json", 0o600, b"{}").unwrap();
            let sealing = Sealing { out: &out, key: &key, threads, progress: &|_| {}, cancelled: &|| false };
            *written = Some(volume.write(&sealing).unwrap());
        });
        fs::remove_file(out).unwrap();
        time
    }

    /// The usual pipeline, from the same archive.
    fn tools(&self) -> Option<f64> {
        for tool in ["tar", "mke2fs", "veritysetup", "openssl", "qemu-img"] {
            Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        }
        let (unpacked, root) = (self.folder.join("unpacked"), self.folder.join("root"));
        let (ext4, tree, qcow2) = (self.folder.join("ext4"), self.folder.join("tree"), self.folder.join("qcow2"));
        fs::create_dir_all(&unpacked).unwrap();
        fs::create_dir_all(&root).unwrap();
        let untar = timed(|| {
            command("tar", &["-xf", text(&self.archive), "-C", text(&unpacked)]);
            for layer in 0..LAYERS {
                let layer = unpacked.join(format!("l{layer}/layer.tar"));
                command("tar", &["-xf", text(&layer), "-C", text(&root), "--numeric-owner"]);
            }
        });
        let size = format!("{}M", self.megabytes * 5 / 4 + 64);
        let make = timed(|| {
            command(
                "mke2fs",
                &["-q", "-t", "ext4", "-O", "^has_journal", "-b", "4096", "-d", text(&root), text(&ext4), &size],
            );
        });
        let verity = timed(|| {
            command("veritysetup", &["format", text(&ext4), text(&tree)]);
        });
        let encrypt = fs::metadata(&ext4).unwrap().len() as f64 / openssl_rate();
        let convert =
            timed(|| command("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", text(&ext4), text(&qcow2)]));
        println!(
            "  untar {untar:.2} s, mke2fs {make:.2} s, veritysetup {verity:.2} s, aes-xts {encrypt:.2} s, qemu-img {convert:.2} s"
        );
        for path in [&ext4, &tree, &qcow2] {
            fs::remove_file(path).unwrap();
        }
        fs::remove_dir_all(&root).unwrap();
        fs::remove_dir_all(&unpacked).unwrap();
        Some(untar + make + verity + encrypt + convert)
    }

    /// The same from `docker save | gzip`.
    fn gzip(&self, cache: &Path, threads: usize) {
        let packed = self.folder.join("image.tar.gz");
        let mut encoder = flate2::write::GzEncoder::new(File::create(&packed).unwrap(), flate2::Compression::new(1));
        std::io::copy(&mut File::open(&self.archive).unwrap(), &mut encoder).unwrap();
        encoder.finish().unwrap();
        let mut written = None;
        let first = self.build(&packed, Some(cache), 1, threads, &mut written);
        let again = self.build(&packed, Some(cache), 2, threads, &mut written);
        println!("from gzip          {first:>8.2} s");
        row("  second site", again, again / first * 100.0, "% of the first", 30.0, false);
        let gunzip = timed(|| {
            Command::new("gzip").args(["-dc", text(&packed)]).stdout(Stdio::null()).status().unwrap();
        });
        println!("  gzip -dc alone   {gunzip:>8.2} s");
    }

    /// An archive as `docker save` writes it: half of its bytes in small files, half in large ones, part compressible.
    fn make_archive(&self) {
        let mut random = Random(7);
        let mut hashes = Vec::new();
        let per_layer = (self.megabytes << 20) / LAYERS as u64;
        for layer in 0..LAYERS {
            let path = self.folder.join(format!("layer{layer}"));
            let mut builder = tar::Builder::new(BufWriter::with_capacity(1 << 20, File::create(&path).unwrap()));
            let (mut done, mut index) = (0, 0);
            while done < per_layer {
                let size = match (index % 1000, random.next() % 16) {
                    (0, _) => (8 << 20) | (random.next() % (16 << 20)),
                    (_, 0) => random.next() % 160_000,
                    _ => random.next() % 16_000,
                };
                let name = format!("usr/lib/layer{layer}/package{}/module{}/file{index}.py", index / 400, index / 40);
                let mut header = tar::Header::new_ustar();
                header.set_size(size);
                header.set_mode(0o644);
                header.set_mtime(1_700_000_000);
                header.set_cksum();
                builder.append_data(&mut header, name, random.reader(size)).unwrap();
                done += size;
                index += 1;
            }
            builder.into_inner().unwrap().flush().unwrap();
            hashes.push(sha256(&path));
        }
        let diff_ids: Vec<String> = hashes.iter().map(|hash| format!("sha256:{hash}")).collect();
        let config =
            serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids}}).to_string();
        let names: Vec<String> = (0..LAYERS).map(|layer| format!("l{layer}/layer.tar")).collect();
        let manifest =
            serde_json::json!([{"Config": "config.json", "RepoTags": ["bench:1"], "Layers": names}]).to_string();
        let mut builder = tar::Builder::new(BufWriter::with_capacity(1 << 20, File::create(&self.archive).unwrap()));
        for (layer, name) in names.iter().enumerate() {
            let path = self.folder.join(format!("layer{layer}"));
            builder.append_path_with_name(&path, name).unwrap();
            fs::remove_file(path).unwrap();
        }
        for (name, text) in [("config.json", &config), ("manifest.json", &manifest)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_cksum();
            builder.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap().flush().unwrap();
    }
}

fn row(what: &str, seconds: f64, ratio: f64, unit: &str, promise: f64, at_least: bool) {
    let (kept, word) = if at_least { (ratio >= promise, "at least") } else { (ratio <= promise, "at most") };
    let verdict = if kept { "kept" } else { "MISSED" };
    println!("{what:<18} {seconds:>8.2} s {ratio:>8.2} {unit} (promise: {word} {promise}) {verdict}");
}

fn median(mut run: impl FnMut() -> f64) -> f64 {
    let mut times: Vec<f64> = (0..RUNS).map(|_| run()).collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

fn timed(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

fn command(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).env("PATH", path()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Bytes per second of AES-256-XTS, as `openssl speed` states them for its largest block.
fn openssl_rate() -> f64 {
    let arguments = ["speed", "-elapsed", "-seconds", "1", "-bytes", "16384", "-evp", "aes-256-xts"];
    let output = Command::new("openssl").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().and_then(|line| line.split_whitespace().last()).unwrap_or_default();
    last.trim_end_matches('k').parse::<f64>().expect("openssl speed prints a rate") * 1000.0
}

fn peak_megabytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024
}

fn sha256(path: &Path) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return hex::encode(context.finish()),
            length => context.update(&buffer[..length]),
        }
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Bytes of which about half can be compressed away.
    fn reader(&mut self, size: u64) -> impl Read {
        let mut random = Random(self.next() | 1);
        let mut left = size;
        let mut line = [b' '; 64];
        Chunks(
            move || {
                for word in line.chunks_exact_mut(8).step_by(2) {
                    word.copy_from_slice(&random.next().to_le_bytes());
                }
                let length = left.min(64);
                left -= length;
                line[..length as usize].to_vec()
            },
            Vec::new(),
        )
    }
}

struct Chunks<F>(F, Vec<u8>);

impl<F: FnMut() -> Vec<u8>> Read for Chunks<F> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.1.len() < out.len() {
            let more = (self.0)();
            if more.is_empty() {
                break;
            }
            self.1.extend(more);
        }
        let length = self.1.len().min(out.len());
        out[..length].copy_from_slice(&self.1[..length]);
        self.1.drain(..length);
        Ok(length)
    }
}
