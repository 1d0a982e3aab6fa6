//! Why a workload file is refused: always with the line, and with what to write instead.

use std::fmt;

/// A workload file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// Not YAML.
    #[error("line {line}: not valid YAML: {message}")]
    Syntax {
        /// Line of the file, from 1.
        line: usize,
        /// What the parser found.
        message: String,
    },
    /// Too many values, or nested too deep.
    #[error("line {line}: the workload file is too large or nested too deep")]
    TooLarge {
        /// Line where reading stopped.
        line: usize,
    },
    /// An anchor, an alias or a tag.
    #[error("line {line}: YAML anchors, aliases and tags are not read here; write the value out")]
    Alias {
        /// Line.
        line: usize,
    },
    /// More than one document.
    #[error("line {line}: a second YAML document starts here; a workload file holds one")]
    SecondDocument {
        /// Line.
        line: usize,
    },
    /// A key stands there twice, or in both spellings.
    #[error("line {line}: `{key}` was given on line {first} already")]
    Duplicate {
        /// Line of the second one.
        line: usize,
        /// The key.
        key: String,
        /// Line of the first one.
        first: usize,
    },
    /// A key that is not known.
    #[error("line {line}: unknown key `{key}`{}{}", Inside(within), Nearest(nearest.as_deref()))]
    UnknownKey {
        /// Line.
        line: usize,
        /// The key.
        key: String,
        /// The key it stands below, empty at the top.
        within: String,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A required key is missing.
    #[error("`{key}` is missing")]
    Missing {
        /// The key.
        key: String,
    },
    /// A value of another kind than wanted.
    #[error("line {line}: `{key}` is {found}, wanted {wanted}")]
    Kind {
        /// Line.
        line: usize,
        /// The key.
        key: String,
        /// What the file has.
        found: &'static str,
        /// What it should have.
        wanted: &'static str,
    },
    /// A value of the right kind that means nothing here.
    #[error("line {line}: `{key}` is `{value}`, wanted {wanted}")]
    Value {
        /// Line.
        line: usize,
        /// The key.
        key: String,
        /// What the file has.
        value: String,
        /// What it should have.
        wanted: String,
    },
    /// A value that exists elsewhere, but not on this substrate.
    #[error("line {line}: `{key}: {value}` is known but not supported by this build; supported: {supported}")]
    Unsupported {
        /// Line.
        line: usize,
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is supported.
        supported: &'static str,
    },
    /// A port outside 1 to 65535.
    #[error("line {line}: `{key}` holds {value}; a port is 1 to 65535")]
    Port {
        /// Line.
        line: usize,
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A size, count or time out of its range.
    #[error("line {line}: `{key}` is {value}, wanted {least} to {most}")]
    Range {
        /// Line.
        line: usize,
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Least allowed.
        least: u64,
        /// Most allowed.
        most: u64,
    },
    /// A host entry that is not a name with an IP address.
    #[error("line {line}: `{value}` is not an IP address (host entry `{name}`)")]
    Address {
        /// Line.
        line: usize,
        /// Host name.
        name: String,
        /// What the file has.
        value: String,
    },
    /// A resource that is not `repository/type/tag`.
    #[error(
        "line {line}: `{value}` is not a resource path; wanted repository/type/tag of letters, digits, `.`, `_`, `-`"
    )]
    Resource {
        /// Line.
        line: usize,
        /// What the file has.
        value: String,
    },
    /// A token that is still valid when the next check comes.
    #[error(
        "line {line}: issuer `{issuer}`: token_expiration is {token_expiration} s, it must be below check_frequency ({check_frequency} s)"
    )]
    TokenOutlivesCheck {
        /// Line.
        line: usize,
        /// Issuer's id.
        issuer: String,
        /// Its token's life.
        token_expiration: u64,
        /// Seconds between checks.
        check_frequency: u64,
    },
    /// `~` where no home folder is known.
    #[error("line {line}: `{key}` starts with `~`, and no home folder is known; write the whole path")]
    Home {
        /// Line.
        line: usize,
        /// The key.
        key: String,
    },
}

struct Inside<'a>(&'a str);

impl fmt::Display for Inside<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(out, " in `{}`", self.0) }
    }
}

struct Nearest<'a>(Option<&'a str>);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(out, "; did you mean `{key}`?"),
            None => Ok(()),
        }
    }
}
