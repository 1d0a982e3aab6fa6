//! `vectors DIR [--json]`: runs every manifest below a folder, or a folder of our text vectors. Exit 0 only when nothing
//! disagrees.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program's output")]

use claims::UnixTime;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use testkit::vectors::{Case, Report, run};

fn main() -> ExitCode {
    let (options, folders): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let json = options.iter().any(|option| option == "--json");
    let (Some(folder), 1, true) = (folders.first(), folders.len(), options.iter().all(|option| option == "--json"))
    else {
        eprintln!("usage: vectors DIR [--json]");
        return ExitCode::from(2);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let counts = match run(&PathBuf::from(folder), UnixTime(now), &mut Printer { json }) {
        Ok(counts) => counts,
        Err(error) => {
            eprintln!("vectors: {folder}: {error}");
            return ExitCode::from(3);
        }
    };
    println!("{}", serde_json::json!(counts));
    if counts.verified + counts.refused_as_expected == 0 {
        eprintln!("vectors: no case was run");
        return ExitCode::from(3);
    }
    ExitCode::from(u8::from(counts.disagree > 0))
}

struct Printer {
    json: bool,
}

impl Report for Printer {
    fn case(&mut self, case: &Case) {
        if self.json {
            println!("{}", serde_json::json!(case));
        } else if !case.agrees() {
            eprintln!(
                "disagree: {} {}: expected {:?}, got {:?} {:?}",
                case.kind, case.name, case.expected, case.got, case.detail
            );
        }
    }

    fn skipped(&mut self, what: &str) {
        eprintln!("skipped: {what}");
    }
}
