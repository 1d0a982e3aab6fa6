//! Single values of a workload file, each with its one error.

use super::fields::kind;
use super::yaml::{Entry, Found, Node, Value};
use super::{Place, WorkloadError, is_name, is_resource_path};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

impl Node {
    /// Text, written as text.
    pub(super) fn text(self, key: &str) -> Result<String, WorkloadError> {
        let (line, found) = (self.line, self.found());
        match self.value {
            Value::Scalar { text, .. } if found == Found::Text => Ok(text),
            _ => Err(kind(line, key, found, "text")),
        }
    }

    /// Any single value as it is written: `8080` and `true` are texts here.
    pub(super) fn word(self, key: &str) -> Result<String, WorkloadError> {
        let (line, found) = (self.line, self.found());
        match self.value {
            Value::Scalar { text, .. } if found != Found::Nothing => Ok(text),
            _ => Err(kind(line, key, found, "text")),
        }
    }

    /// A list.
    pub(super) fn list(self, key: &str, wanted: &'static str) -> Result<Vec<Self>, WorkloadError> {
        let (line, found) = (self.line, self.found());
        match self.value {
            Value::List(items) => Ok(items),
            _ => Err(kind(line, key, found, wanted)),
        }
    }

    /// A map with keys that the user chooses.
    pub(super) fn map(self, key: &str, wanted: &'static str) -> Result<Vec<Entry>, WorkloadError> {
        let (line, found) = (self.line, self.found());
        match self.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(kind(line, key, found, wanted)),
        }
    }

    /// `true` or `false`.
    pub(super) fn truth(self, key: &str) -> Result<bool, WorkloadError> {
        match self.found() {
            Found::Truth(value) => Ok(value),
            found => Err(kind(self.line, key, found, "true or false")),
        }
    }

    /// A whole number between `least` and `most`.
    pub(super) fn number(self, key: &str, least: u64, most: u64) -> Result<u64, WorkloadError> {
        let (line, found) = (self.line, self.found());
        let Value::Scalar { text, .. } = self.value else { return Err(kind(line, key, found, "a number")) };
        if found != Found::Integer {
            return Err(kind(line, key, found, "a number"));
        }
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(WorkloadError::Range { line, key: key.to_owned(), value: text, least, most }),
        }
    }

    /// A port.
    pub(super) fn port(self, key: &str) -> Result<u16, WorkloadError> {
        let line = self.line;
        self.number(key, 1, u16::MAX.into())
            .and_then(|port| u16::try_from(port).map_err(|_| port_error(line, key, port.to_string())))
            .map_err(|error| match error {
                WorkloadError::Range { value, .. } => port_error(line, key, value),
                other => other,
            })
    }

    /// One word of a fixed set.
    pub(super) fn choice<T: Copy>(self, key: &str, choices: &[(&str, T)]) -> Result<T, WorkloadError> {
        let line = self.line;
        let text = self.text(key)?;
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => Err(WorkloadError::Value { line, key: key.to_owned(), value: text, wanted: words_of(choices) }),
        }
    }

    /// A name of a workload, site or project.
    pub(super) fn name(self, key: &str) -> Result<String, WorkloadError> {
        self.checked(key, is_name, "letters, digits, `.`, `_`, `-` (at most 64, not `.` or `-` first)")
    }

    /// Text for which `sound` holds.
    pub(super) fn checked(
        self,
        key: &str,
        sound: impl FnOnce(&str) -> bool,
        wanted: &str,
    ) -> Result<String, WorkloadError> {
        let line = self.line;
        let text = self.text(key)?;
        if sound(&text) { Ok(text) } else { Err(value_error(line, key, text, wanted)) }
    }

    /// Text that parses as `T`.
    pub(super) fn parsed<T: FromStr>(self, key: &str, wanted: &str) -> Result<T, WorkloadError> {
        let line = self.line;
        let text = self.word(key)?;
        text.parse().map_err(|_| value_error(line, key, text, wanted))
    }

    /// A path: `~` is the home folder, other relative paths start at the workload file's folder.
    pub(super) fn path(self, key: &str, place: Place<'_>) -> Result<PathBuf, WorkloadError> {
        let line = self.line;
        let text = self.checked(key, |text| !text.is_empty() && !text.contains('\0'), "a path")?;
        let home = |rest: &str| {
            let home = place.home.ok_or(WorkloadError::Home { line, key: key.to_owned() })?;
            Ok(if rest.is_empty() { home.to_owned() } else { home.join(rest) })
        };
        match text.strip_prefix('~') {
            Some("") => home(""),
            Some(rest) if rest.starts_with('/') => home(rest.trim_start_matches('/')),
            Some(_) => Err(value_error(line, key, text, "a path; `~NAME` is not expanded, write the whole path")),
            None => Ok(place.file.parent().unwrap_or(Path::new("")).join(text)),
        }
    }

    /// An IP address of the host `name`.
    pub(super) fn address(self, name: &str) -> Result<IpAddr, WorkloadError> {
        let line = self.line;
        let text = self.word(name)?;
        text.parse().map_err(|_| WorkloadError::Address { line, name: name.to_owned(), value: text })
    }

    /// A resource path.
    pub(super) fn resource(self) -> Result<String, WorkloadError> {
        let line = self.line;
        let text = self.text("resources")?;
        if is_resource_path(&text) { Ok(text) } else { Err(WorkloadError::Resource { line, value: text }) }
    }

    /// Bytes, as `2 GB` or `512 MB`; a plain number is GB, as drive sizes are.
    pub(super) fn bytes(self, key: &str) -> Result<u64, WorkloadError> {
        const WANTED: &str = "a size as `2 GB` or `512 MB`";
        let line = self.line;
        let text = self.word(key)?;
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        let unit = match text.get(digits.len()..).unwrap_or("").trim() {
            "" | "G" | "GB" | "GiB" => 1 << 30,
            "M" | "MB" | "MiB" => 1 << 20,
            _ => return Err(value_error(line, key, text, WANTED)),
        };
        let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        match bytes {
            Some(bytes) if (LEAST_MEMORY..=MOST_MEMORY).contains(&bytes) => Ok(bytes),
            Some(_) => Err(value_error(line, key, text, "64 MB to 16384 GB")),
            None => Err(value_error(line, key, text, WANTED)),
        }
    }

    /// The value as JSON, for arguments that are passed on.
    pub(super) fn json(self) -> serde_json::Value {
        let found = self.found();
        match self.value {
            Value::List(items) => items.into_iter().map(Self::json).collect(),
            Value::Map(entries) => {
                serde_json::Value::Object(entries.into_iter().map(|entry| (entry.key, entry.value.json())).collect())
            }
            Value::Scalar { text, .. } => match found {
                Found::Nothing => serde_json::Value::Null,
                Found::Truth(value) => value.into(),
                Found::Integer | Found::Decimal => serde_json::from_str(&text).unwrap_or_else(|_| text.into()),
                Found::Text | Found::List | Found::Map => text.into(),
            },
        }
    }
}

/// A value that means nothing here.
pub(super) fn value_error(line: usize, key: &str, value: String, wanted: &str) -> WorkloadError {
    WorkloadError::Value { line, key: key.to_owned(), value, wanted: wanted.to_owned() }
}

fn port_error(line: usize, key: &str, value: String) -> WorkloadError {
    WorkloadError::Port { line, key: key.to_owned(), value }
}

fn words_of<T>(choices: &[(&str, T)]) -> String {
    choices.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
}

const LEAST_MEMORY: u64 = 64 << 20;
const MOST_MEMORY: u64 = 16_384 << 30;
