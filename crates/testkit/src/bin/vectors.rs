//! `vectors DIR [--json]`: runs every manifest below a folder, or a folder of our text vectors. Exit 0 only when nothing
//! disagrees. Where the reader of stdout goes away (`… | head -1`), the run ends there, without a word, with exit 3.

use claims::UnixTime;
use std::io::{self, Write};
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
        talk("usage: vectors DIR [--json]");
        return ExitCode::from(2);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let counts = match run(&PathBuf::from(folder), UnixTime(now), &mut Printer { json }) {
        Ok(counts) => counts,
        Err(error) => {
            talk(format_args!("vectors: {folder}: {error}"));
            return ExitCode::from(3);
        }
    };
    print(&serde_json::json!(counts));
    if counts.verified + counts.refused_as_expected + counts.disagree == 0 {
        talk("vectors: no case was run");
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
            print(&serde_json::json!(case));
        } else if !case.agrees() {
            talk(format_args!(
                "disagree: {} {}: expected {:?}, got {:?} {:?}",
                case.kind, case.name, case.expected, case.got, case.detail
            ));
        }
    }

    fn skipped(&mut self, what: &str) {
        talk(format_args!("skipped: {what}"));
    }
}

/// A line on stdout. What cannot be told is not worth finding out.
#[expect(clippy::exit, reason = "a run whose results nobody reads has nothing to clean up")]
fn print(line: &serde_json::Value) {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    if let Err(error) = written {
        if error.kind() != io::ErrorKind::BrokenPipe {
            talk(format_args!("vectors: stdout cannot be written: {error}"));
        }
        std::process::exit(3);
    }
}

fn talk(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
