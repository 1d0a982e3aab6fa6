//! How a command ends: exit 0 ok, 1 refused, 2 usage, 3 environment.

use claims::Code;
use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

/// What a command that ran to its end has to say to the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// The question was answered with no, and the answer has been printed.
    Refused,
}

/// Whose turn it is after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Evidence, a rule or an input was refused.
    Refused,
    /// The command was called wrongly.
    Usage,
    /// The machine, the network or a file is not as it must be.
    Environment,
}

/// A command that did not run to its end: what, why, and what to do.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    code: Option<Code>,
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    hints: Vec<String>,
}

/// The result of every command.
pub type Result<T = Outcome, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Evidence, a rule or an input was refused.
    pub fn refused(what: impl Into<String>) -> Self {
        Self::new(Kind::Refused, what)
    }

    /// The command was called wrongly.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Kind::Usage, what)
    }

    /// What the parser of the command line says: its first line, and the others as hints.
    pub(crate) fn misuse(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let what = lines.next().unwrap_or_default();
        let failure = Self::usage(what.strip_prefix("error: ").unwrap_or(what));
        lines.fold(failure, Self::hint)
    }

    /// The machine, the network or a file is not as it must be.
    pub fn environment(what: impl Into<String>) -> Self {
        Self::new(Kind::Environment, what)
    }

    fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, code: None, what: what.into(), source: None, hints: Vec::new() }
    }

    /// Adds the cause, which is printed below. A full disk is the same advice wherever it is met.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = source.into();
        let full = disk_is_full(source.as_ref());
        self.source = Some(source);
        if full { self.hint("free some space on the disk of that file, then run the same command again") } else { self }
    }

    /// Adds the stable code.
    #[must_use]
    pub fn code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Whether it has this code.
    pub(crate) fn is(&self, code: Code) -> bool {
        self.code == Some(code)
    }

    /// The exit status.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::Refused => 1,
            Kind::Usage => 2,
            Kind::Environment => 3,
        })
    }

    /// As an object for `--json`.
    pub fn to_json(&self) -> serde_json::Value {
        let mut causes = Vec::new();
        let mut cause = self.source.as_deref().map(|source| source as &dyn Error);
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        serde_json::json!({
            "error": self.what, "code": self.code.map(Code::name), "causes": causes, "hints": self.hints,
        })
    }
}

/// The message, then each cause and hint on a line of its own.
impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "error: {}", self.what)?;
        if let Some(code) = self.code {
            write!(out, " [{code}]")?;
        }
        let mut cause = self.source.as_deref().map(|source| source as &dyn Error);
        while let Some(error) = cause {
            write!(out, "\n  cause: {error}")?;
            cause = error.source();
        }
        for hint in &self.hints {
            write!(out, "\n  hint: {hint}")?;
        }
        if let Some(code) = self.code {
            write!(out, "\n  hint: `confide explain {code}` says what this means")?;
        }
        Ok(())
    }
}

/// Reads a whole file; the failure names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| cannot("read", path, error))
}

/// Writes a whole file; the failure names it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|error| cannot("write", path, error))
}

/// The failure of a file operation.
pub(crate) fn cannot(verb: &str, path: &Path, error: std::io::Error) -> Failure {
    let failure = Failure::environment(format!("cannot {verb} {}", path.display()));
    match error.kind() {
        ErrorKind::PermissionDenied => failure.hint(format!("check the permissions of {}", path.display())),
        _ => failure,
    }
    .because(error)
}

/// Whether the kernel's reason, at the end of the causes, is that there is no more room.
fn disk_is_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if let Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) = kind {
            return true;
        }
        cause = error.source();
    }
    false
}
