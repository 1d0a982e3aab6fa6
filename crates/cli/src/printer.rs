//! Stdout is data, stderr is talk. Nothing else in the project prints.
//!
//! A reader that goes away (`confide … | head -1`) is no failure and ends nothing: what is not wanted is not printed, and
//! the exit status stays that of the command. Any other trouble with stdout is kept for the end, since data that was not
//! written must not look like success.

use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Where a command's words go.
#[derive(Debug, Clone)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    progress: bool,
    started: Instant,
    /// The first trouble with stdout.
    lost: Arc<OnceLock<io::Error>>,
}

impl Printer {
    /// `json`: data as one JSON object; `quiet`: no talk.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let progress = !quiet && io::stderr().is_terminal();
        Self { json, quiet, progress, started: Instant::now(), lost: Arc::default() }
    }

    /// Whether data goes out as JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Data: `value` as one line of JSON with `--json`, else the text that `human` makes.
    pub(crate) fn data(&self, value: &serde_json::Value, human: impl FnOnce() -> String) {
        if self.json {
            self.out(format!("{value}\n").as_bytes());
        } else {
            let text = human();
            if !text.is_empty() {
                self.out(format!("{text}\n").as_bytes());
            }
        }
    }

    /// Raw bytes, as a file's contents.
    pub(crate) fn bytes(&self, bytes: &[u8]) {
        self.out(bytes);
    }

    /// Why stdout does not hold all data; none when it does, or when nobody reads it any more.
    pub(crate) fn lost(&self) -> Option<&io::Error> {
        self.lost.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)
    }

    /// A line of talk.
    pub(crate) fn say(&self, line: impl Display) {
        if !self.quiet {
            talk(line);
        }
    }

    /// A step of long work, with the seconds since the command began.
    pub(crate) fn step(&self, what: &str, words: impl Display) {
        if !self.quiet {
            talk(format_args!("{:>7.2} s  {what:<22} {words}", self.started.elapsed().as_secs_f64()));
        }
    }

    /// A warning: something that works, but that the user should know.
    pub(crate) fn warn(&self, line: impl Display) {
        talk(format_args!("warning: {line}"));
    }

    /// Why the command failed.
    pub(crate) fn failure(&self, failure: &crate::outcome::Failure) {
        self.misuse(failure);
        talk(failure);
    }

    /// Why the command line was not understood, for programs; people have been told.
    pub(crate) fn misuse(&self, failure: &crate::outcome::Failure) {
        if self.json {
            self.out(format!("{}\n", failure.to_json()).as_bytes());
        }
    }

    fn out(&self, bytes: &[u8]) {
        if self.lost.get().is_some() {
            return;
        }
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            let _ = self.lost.set(error);
        }
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

/// A line on stderr. Nobody may be listening, which is nobody's fault.
fn talk(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
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
