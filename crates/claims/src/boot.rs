//! The kernel command line of a confidential VM: measured at launch, so the guest may believe it.

use crate::volume::{Geometry, GeometryError};
use std::fmt;

/// Why a command line does not carry what the guest needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// A parameter is missing.
    #[error("the kernel command line lacks `{0}=`")]
    Missing(&'static str),
    /// A parameter stands there twice.
    #[error("the kernel command line has `{0}=` twice")]
    Twice(&'static str),
    /// The root volume's geometry is wrong.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The list of log files is wrong.
    #[error("`confide.applog={0}` is not a list of NAME:OFFSET:LENGTH")]
    Applog(String),
}

/// A preallocated file on the `applog` drive: the guest writes these bytes of the drive and reads nothing there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// File name in the drive's root folder.
    pub name: String,
    /// Byte offset of the file's first block on the drive.
    pub offset: u64,
    /// The file's length.
    pub length: u64,
}

/// What the measured command line says to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootParameters {
    /// How to open the root volume (`confide.root=`).
    pub root: Geometry,
    /// Files of the `applog` drive (`confide.applog=`).
    pub applog: Vec<LogFile>,
}

/// Parameters for the kernel itself. `panic=-1` restarts at once, which QEMU turns into an exit.
/// Serial console for people; no swap, no user-space helpers, no module from outside the initrd.
pub const KERNEL_PARAMETERS: &str =
    "console=ttyS0 panic=-1 quiet loglevel=4 random.trust_cpu=on random.trust_bootloader=off";

impl BootParameters {
    /// Reads the guest's parameters out of a whole kernel command line.
    pub fn parse(command_line: &str) -> Result<Self, BootError> {
        let root = one_value(command_line, "confide.root")?.ok_or(BootError::Missing("confide.root"))?.parse()?;
        let applog = match one_value(command_line, "confide.applog")? {
            Some(list) => list.split(',').map(LogFile::parse).collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        Ok(Self { root, applog })
    }
}

impl LogFile {
    fn parse(text: &str) -> Result<Self, BootError> {
        let wrong = || BootError::Applog(text.chars().take(80).collect());
        let fields: Vec<&str> = text.split(':').collect();
        let [name, offset, length] = fields.as_slice() else { return Err(wrong()) };
        let sound = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let number = |field: &str| field.parse::<u64>().map_err(|_| wrong());
        if !sound {
            return Err(wrong());
        }
        Ok(Self { name: (*name).to_owned(), offset: number(offset)?, length: number(length)? })
    }
}

fn one_value<'a>(command_line: &'a str, name: &'static str) -> Result<Option<&'a str>, BootError> {
    let mut values =
        command_line.split_ascii_whitespace().filter_map(|token| token.strip_prefix(name)?.strip_prefix('='));
    let first = values.next();
    if values.next().is_some() { Err(BootError::Twice(name)) } else { Ok(first) }
}

/// The guest's part of the command line, without [`KERNEL_PARAMETERS`].
impl fmt::Display for BootParameters {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "confide.root={}", self.root)?;
        for (index, file) in self.applog.iter().enumerate() {
            let lead = if index == 0 { " confide.applog=" } else { "," };
            write!(out, "{lead}{}:{}:{}", file.name, file.offset, file.length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VerityRoot;

    fn parameters() -> BootParameters {
        BootParameters {
            root: Geometry { data_offset: 4096, data_blocks: 3, tree_blocks: 1, root_hash: VerityRoot([2; 32]) },
            applog: vec![
                LogFile { name: "boot.log".into(), offset: 8192, length: 100 },
                LogFile { name: "workload.log".into(), offset: 12288, length: 200 },
            ],
        }
    }

    #[test]
    fn parameters_round_trip_through_a_command_line() {
        let line = format!("{KERNEL_PARAMETERS} {}", parameters());
        assert_eq!(BootParameters::parse(&line), Ok(parameters()));
    }

    #[test]
    fn a_second_root_is_refused() {
        let line = format!("{} {}", parameters(), parameters());
        assert_eq!(BootParameters::parse(&line), Err(BootError::Twice("confide.root")));
        assert_eq!(BootParameters::parse("quiet"), Err(BootError::Missing("confide.root")));
    }
}
