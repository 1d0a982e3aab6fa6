//! The `.modinfo` section of a kernel module: NUL-separated `key=value` (ELF64, little endian).

/// What a module says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Modules it needs, with underscores.
    pub depends: Vec<String>,
    /// Modules that are to be loaded before it if they are there (`softdep=pre:`).
    pub softdeps: Vec<String>,
    /// Kernel it was built for.
    pub vermagic: String,
}

/// Bytes that are not a kernel module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ModuleInfoError {
    /// Not an ELF file for 64-bit little-endian machines.
    #[error("it is not a 64-bit ELF file")]
    NotElf,
    /// A header points outside the file.
    #[error("its ELF section table is broken")]
    Sections,
    /// There is no `.modinfo`.
    #[error("it has no .modinfo section")]
    NoInfo,
    /// `.modinfo` lacks `vermagic=`.
    #[error("it does not say which kernel it is for")]
    NoVermagic,
}

impl ModuleInfo {
    /// Reads it out of an uncompressed module.
    pub fn parse(bytes: &[u8]) -> Result<Self, ModuleInfoError> {
        let section = modinfo(bytes)?;
        let (mut depends, mut softdeps, mut vermagic) = (Vec::new(), Vec::new(), None);
        for field in section.split(|byte| *byte == 0) {
            let Ok(field) = std::str::from_utf8(field) else { continue };
            match field.split_once('=') {
                Some(("depends", names)) => depends.extend(names.split(',').filter(|name| !name.is_empty()).map(plain)),
                Some(("softdep", text)) => softdeps.extend(before(text)),
                Some(("vermagic", text)) => vermagic = Some(text.to_owned()),
                _ => {}
            }
        }
        let vermagic = vermagic.ok_or(ModuleInfoError::NoVermagic)?;
        Ok(Self { depends, softdeps, vermagic })
    }
}

/// The names after `pre:` and before `post:`.
fn before(text: &str) -> impl Iterator<Item = String> {
    let rest = text.split_once("pre:").map_or("", |(_, rest)| rest);
    rest.split("post:").next().unwrap_or("").split_ascii_whitespace().map(plain)
}

fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn modinfo(bytes: &[u8]) -> Result<&[u8], ModuleInfoError> {
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01".as_slice()) {
        return Err(ModuleInfoError::NotElf);
    }
    let table = Sections::of(bytes).ok_or(ModuleInfoError::Sections)?;
    let header = table.find(b".modinfo\0").ok_or(ModuleInfoError::Sections)?.ok_or(ModuleInfoError::NoInfo)?;
    table.header(header).and_then(|header| table.contents(header)).ok_or(ModuleInfoError::Sections)
}

/// Where in the file the header of the section with this name lies (the name ends with a NUL byte).
pub(super) fn section_header(bytes: &[u8], name: &[u8]) -> Option<usize> {
    let table = Sections::of(bytes)?;
    table.find(name)?.and_then(|index| table.place(index))
}

/// The section table of an ELF64 file.
struct Sections<'a> {
    bytes: &'a [u8],
    table: usize,
    size: usize,
    count: usize,
    names: &'a [u8],
}

impl<'a> Sections<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut sections = Self {
            bytes,
            table: usize::try_from(number(bytes, 0x28, 8)?).ok()?, // e_shoff
            size: number(bytes, 0x3A, 2)? as usize,                // e_shentsize
            count: number(bytes, 0x3C, 2)? as usize,               // e_shnum
            names: &[],
        };
        let names = number(bytes, 0x3E, 2)? as usize; // e_shstrndx
        sections.names = sections.contents(sections.header(names)?)?;
        Some(sections)
    }

    fn place(&self, index: usize) -> Option<usize> {
        self.table.checked_add(index.checked_mul(self.size)?)
    }

    fn header(&self, index: usize) -> Option<&'a [u8]> {
        let start = self.place(index)?;
        self.bytes.get(start..start.checked_add(SECTION_HEADER)?)
    }

    fn contents(&self, header: &[u8]) -> Option<&'a [u8]> {
        let start = usize::try_from(number(header, 0x18, 8)?).ok()?; // sh_offset
        let length = usize::try_from(number(header, 0x20, 8)?).ok()?; // sh_size
        self.bytes.get(start..start.checked_add(length)?)
    }

    /// The number of the section with this name; nothing inside of something when there is none.
    fn find(&self, wanted: &[u8]) -> Option<Option<usize>> {
        for index in 0..self.count {
            let name = self.names.get(number(self.header(index)?, 0, 4)? as usize..)?; // sh_name
            if name.starts_with(wanted) {
                return Some(Some(index));
            }
        }
        Some(None)
    }
}

fn number(bytes: &[u8], offset: usize, length: usize) -> Option<u64> {
    let field = bytes.get(offset..offset.checked_add(length)?)?;
    Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

const SECTION_HEADER: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_dependencies_before_only() {
        let names: Vec<String> = before("pre: ecb crc32c-x post: late").collect();
        assert_eq!(names, ["ecb", "crc32c_x"]);
        assert_eq!(ModuleInfo::parse(b"\x7fELF\x02\x01"), Err(ModuleInfoError::Sections));
        assert_eq!(ModuleInfo::parse(b"#!/bin/sh"), Err(ModuleInfoError::NotElf));
    }
}
