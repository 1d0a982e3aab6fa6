//! `forge --out DIR [--seed N]`: writes the text vectors of a seed. Files of an earlier run that are no more are removed.
#![expect(clippy::print_stderr, reason = "a program's output")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};
use testkit::forge::{Forge, PUBLISHED_SEED};

fn main() -> ExitCode {
    let Some((out, seed)) = arguments() else {
        eprintln!("usage: forge --out DIR [--seed N]");
        return ExitCode::from(2);
    };
    let vectors = match Forge::new(seed).vectors() {
        Ok(vectors) => vectors,
        Err(error) => {
            eprintln!("forge: {error}");
            return ExitCode::FAILURE;
        }
    };
    match write(&out, &testkit::text::files(&vectors)) {
        Ok(()) => {
            eprintln!("forge: {} vectors of seed {seed} in {}", vectors.len(), out.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("forge: {}: {error}", out.display());
            ExitCode::from(3)
        }
    }
}

fn arguments() -> Option<(PathBuf, u64)> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (mut out, mut seed) = (None, PUBLISHED_SEED);
    for pair in words.chunks(2) {
        match pair {
            [name, value] if name == "--out" => out = Some(PathBuf::from(value)),
            [name, value] if name == "--seed" => seed = value.parse().ok()?,
            _ => return None,
        }
    }
    Some((out?, seed))
}

/// Writes the files; what else lies in the folders of the kinds and in `shared` goes.
fn write(out: &Path, files: &std::collections::BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    for (path, bytes) in files {
        let path = out.join(path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&path, bytes)?;
    }
    let folders: std::collections::BTreeSet<&Path> = files.keys().filter_map(|path| path.parent()).collect();
    for folder in folders {
        for entry in fs::read_dir(out.join(folder))? {
            let entry = entry?;
            if !files.contains_key(&folder.join(entry.file_name())) && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}
