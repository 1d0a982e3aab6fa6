//! The kernel command line: composed here, checked against everything that would start something else.

use claims::Code;
use claims::boot::{BootParameters, KERNEL_PARAMETERS};

/// Longest command line that the kernel takes, without its NUL (`COMMAND_LINE_SIZE` on x86).
pub const MAX_LENGTH: usize = 2047;

/// A command line that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// A parameter that starts something else than the guest program, or makes devices.
    #[error("the kernel command line holds `{token}`, which would start or open something that is not measured")]
    Forbidden {
        /// The parameter.
        token: String,
    },
    /// Too long: the kernel would cut it.
    #[error("the kernel command line has {got} bytes, the kernel reads {MAX_LENGTH}")]
    Length {
        /// Its length.
        got: usize,
    },
    /// A NUL byte, behind which the kernel reads nothing, or another control character.
    #[error("the kernel command line holds the control character {byte:#04x}")]
    Control {
        /// The byte.
        byte: u8,
    },
}

impl CommandLineError {
    /// `E-CMDLINE`.
    pub fn code(&self) -> Code {
        Code::CommandLine
    }
}

/// The command line of a bundle.
pub(super) fn compose(parameters: &BootParameters) -> Result<String, CommandLineError> {
    let line = format!("{KERNEL_PARAMETERS} {parameters}");
    check(&line)?;
    Ok(line)
}

/// Refuses what a bundle's command line must not hold.
pub fn check(line: &str) -> Result<(), CommandLineError> {
    if let Some(byte) = line.bytes().find(u8::is_ascii_control) {
        return Err(CommandLineError::Control { byte });
    }
    if line.len() > MAX_LENGTH {
        return Err(CommandLineError::Length { got: line.len() });
    }
    // The kernel reads quotes off a parameter, and takes `-` for `_`.
    let plain = |token: &str| token.trim_matches('"').to_ascii_lowercase().replace('-', "_");
    let forbidden = |token: &&str| {
        let token = plain(token);
        FORBIDDEN.iter().any(|name| match name.strip_suffix('*') {
            Some(start) => token.starts_with(start),
            None => token.split('=').next() == Some(name),
        })
    };
    match line.split(' ').find(forbidden) {
        Some(token) => Err(CommandLineError::Forbidden { token: token.to_owned() }),
        None => Ok(()),
    }
}

/// Parameters by name; `*` stands for any rest. `__` is `--`, which hands the rest to the first process.
const FORBIDDEN: &[&str] = &[
    "init",
    "rdinit",
    "rd.*",
    "systemd.*",
    "dm_mod.*",
    "initrd*",
    "root",
    "resume",
    "single",
    "emergency",
    "netconsole",
    "kgdboc",
    "kgdbwait",
    "crashkernel",
    "acpi_rsdp",
    "__",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_something_else_is_refused() {
        for token in [
            "init=/bin/sh",
            "rdinit=/x",
            "rd.break",
            "systemd.unit=rescue.target",
            "dm-mod.create=x",
            "dm_mod.create=x",
            "\"init=/bin/sh\"",
            "initrd=/x",
            "--",
        ] {
            let wanted = CommandLineError::Forbidden { token: token.to_owned() };
            assert_eq!(check(&format!("quiet {token} confide.root=x")), Err(wanted));
        }
        assert_eq!(check("quiet\0init=/bin/sh"), Err(CommandLineError::Control { byte: 0 }));
        assert_eq!(check(&"a".repeat(2048)), Err(CommandLineError::Length { got: 2048 }));
        assert_eq!(check(KERNEL_PARAMETERS), Ok(()));
        assert_eq!(check(&"a".repeat(2047)), Ok(()));
    }
}
