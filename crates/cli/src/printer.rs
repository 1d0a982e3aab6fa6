//! Stdout is data, stderr is talk. Nothing else in the project prints.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the one module that prints")]

use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Where a command's words go.
#[derive(Debug, Clone)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    progress: bool,
    started: Instant,
}

impl Printer {
    /// `json`: data as one JSON object; `quiet`: no talk.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, progress: !quiet && std::io::stderr().is_terminal(), started: Instant::now() }
    }

    /// Whether data goes out as JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Data: `value` as one line of JSON with `--json`, else the text that `human` makes.
    pub(crate) fn data(&self, value: &serde_json::Value, human: impl FnOnce() -> String) {
        if self.json {
            println!("{value}");
        } else {
            let text = human();
            if !text.is_empty() {
                println!("{text}");
            }
        }
    }

    /// Raw bytes, as a file's contents.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::stdout().write_all(bytes)
    }

    /// A line of talk.
    pub(crate) fn say(&self, line: impl Display) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    /// A step of long work, with the seconds since the command began.
    pub(crate) fn step(&self, what: &str, words: impl Display) {
        if !self.quiet {
            eprintln!("{:>7.2} s  {what:<22} {words}", self.started.elapsed().as_secs_f64());
        }
    }

    /// A warning: something that works, but that the user should know.
    pub(crate) fn warn(&self, line: impl Display) {
        eprintln!("warning: {line}");
    }

    /// Why the command failed.
    pub(crate) fn failure(&self, failure: &crate::outcome::Failure) {
        if self.json {
            println!("{}", failure.to_json());
        }
        eprintln!("{failure}");
    }

    /// A bar for long work, drawn only on a terminal.
    pub(crate) fn bar(&self) -> Bar {
        let bar = if self.progress { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if let Ok(style) =
            ProgressStyle::with_template("{msg:<14} [{bar:25}] {bytes}/{total_bytes} {binary_bytes_per_sec}")
        {
            bar.set_style(style.progress_chars("#>-"));
        }
        Bar(bar)
    }
}

/// A progress bar on one line of the terminal, gone when the work is done.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// Draws `done` of `total` bytes of the step `what`.
    pub(crate) fn at(&self, what: &'static str, done: u64, total: Option<u64>) {
        self.0.set_message(what);
        self.0.set_length(total.unwrap_or(done));
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
