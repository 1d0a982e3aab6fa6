//! `seeds VECTORS CORPUS`: copies each fuzz target's seeds from the vectors into its folder of the corpus.
#![expect(clippy::print_stderr, reason = "a program's output")]

use std::path::PathBuf;
use std::process::ExitCode;
use testkit::parsers::{TARGETS, seeds};

fn main() -> ExitCode {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [vectors, corpus] = folders.as_slice() else {
        eprintln!("usage: seeds VECTORS CORPUS");
        return ExitCode::from(2);
    };
    for target in TARGETS {
        let folder = corpus.join(target.name);
        let copied = std::fs::create_dir_all(&folder).and_then(|()| {
            seeds(target, vectors)
                .iter()
                .enumerate()
                .try_for_each(|(index, path)| std::fs::copy(path, folder.join(format!("vector-{index}"))).map(|_| ()))
        });
        if let Err(error) = copied {
            eprintln!("seeds: {}: {error}", folder.display());
            return ExitCode::from(3);
        }
    }
    ExitCode::SUCCESS
}
