//! Kernel modules: loads the files that the measured initrd lists, in the list's order.
//!
//! *Takes* `/modules/list` of the initrd, which the launch measurement covers.
//! *Guarantees* that a required module which doesn't load is named.
//! *Does not check* the modules themselves: they are measured with the initrd.

use claims::Code;
use rustix::io::Errno;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where the initrd keeps modules and their list.
pub const FOLDER: &str = "/modules";

/// When a module is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Always; without it the guest halts.
    Required,
    /// Where the hardware has it.
    Optional,
    /// Only when remote data is mounted.
    Nfs,
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// When it is needed.
    pub need: Need,
    /// File name in [`FOLDER`].
    pub file: String,
}

/// Why modules could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// The list is not there.
    #[error("the initrd has no list of modules")]
    NoList(#[source] std::io::Error),
    /// A line of the list is malformed.
    #[error("line {line} of the list of modules is not `required|optional|nfs FILE`")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// A module is listed, but is not in the initrd.
    #[error("the initrd lacks the module {file}")]
    Missing {
        /// File name.
        file: String,
        /// What opening it gave.
        source: std::io::Error,
    },
    /// The kernel refused a module.
    #[error("the kernel refused the module {file}")]
    Refused {
        /// File name.
        file: String,
        /// What the kernel said.
        source: Errno,
    },
}

impl ModulesError {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code::Kernel
    }
}

/// Reads a list: one module a line, empty lines and lines that start with `#` are skipped.
pub fn parse(text: &str) -> Result<Vec<Module>, ModulesError> {
    let mut modules = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = || ModulesError::Line { line: index.saturating_add(1) };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (need, file) = line.split_once(' ').ok_or_else(wrong)?;
        let need = match need {
            "required" => Need::Required,
            "optional" => Need::Optional,
            "nfs" => Need::Nfs,
            _ => return Err(wrong()),
        };
        let plain = file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if file.is_empty() || !plain {
            return Err(wrong());
        }
        modules.push(Module { need, file: file.to_owned() });
    }
    Ok(modules)
}

/// Reads the initrd's list.
pub fn list() -> Result<Vec<Module>, ModulesError> {
    let text = std::fs::read_to_string(Path::new(FOLDER).join("list")).map_err(ModulesError::NoList)?;
    parse(&text)
}

/// Loads what `wanted` chooses, in order. Gives how many were loaded.
pub fn load(modules: &[Module], wanted: impl Fn(Need) -> bool) -> Result<usize, ModulesError> {
    let mut loaded: usize = 0;
    for module in modules.iter().filter(|module| wanted(module.need)) {
        let path = PathBuf::from(FOLDER).join(&module.file);
        let file = File::open(&path).map_err(|source| ModulesError::Missing { file: module.file.clone(), source })?;
        let compressed = [".xz", ".zst", ".gz"].iter().any(|ending| module.file.ends_with(ending));
        let flags = if compressed { MODULE_INIT_COMPRESSED_FILE } else { 0 };
        match rustix::system::finit_module(&file, c"", flags) {
            Ok(()) | Err(Errno::EXIST) => loaded = loaded.saturating_add(1),
            // The driver is sound, its hardware is not here; who needs it will say so.
            Err(Errno::NODEV) => {}
            Err(_) if module.need == Need::Optional => {}
            Err(source) => return Err(ModulesError::Refused { file: module.file.clone(), source }),
        }
    }
    Ok(loaded)
}

/// Removes the modules, which nobody needs any more, and gives their memory back.
pub fn forget() {
    for entry in std::fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        // WHY: what stays costs memory only; the kernel loads none of it any more.
        let _ = std::fs::remove_file(entry.path());
    }
    let _ = rustix::mount::unmount(FOLDER, rustix::mount::UnmountFlags::DETACH);
}

const MODULE_INIT_COMPRESSED_FILE: i32 = 4; // include/uapi/linux/module.h

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_order() {
        let modules = parse("# made by build\nrequired virtio_blk.ko.xz\n\noptional tsm.ko\nnfs nfs.ko.xz\n").unwrap();
        let needs: Vec<_> = modules.iter().map(|module| (module.need, module.file.as_str())).collect();
        assert_eq!(needs, [(Need::Required, "virtio_blk.ko.xz"), (Need::Optional, "tsm.ko"), (Need::Nfs, "nfs.ko.xz")]);
    }

    #[test]
    fn odd_lines_are_named() {
        for text in ["needed a.ko", "required ../a.ko", "required", "required ", "required a.ko b.ko"] {
            assert!(matches!(parse(text), Err(ModulesError::Line { line: 1 })), "{text}");
        }
    }
}
