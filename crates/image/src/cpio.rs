//! The `newc` form of cpio (Linux `Documentation/driver-api/early-userspace/buffer-format.rst`), which the kernel reads
//! its first file system from.
//!
//! *Takes* entries to write, or the bytes of an archive.
//! *Guarantees* that the same entries give the same bytes (sorted, inode numbers counted, no times), and that reading
//! refuses whatever the writer would not write: a second archive behind the first, odd padding, unsorted parents.
//! *Does not check* what the files hold.

use std::collections::BTreeMap;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Device numbers, for a device.
    pub device: (u32, u32),
    /// Contents, or a link's target.
    pub bytes: Vec<u8>,
}

impl Entry {
    /// A folder that everybody may enter.
    pub fn folder() -> Self {
        Self { mode: FOLDER | 0o755, device: (0, 0), bytes: Vec::new() }
    }

    /// A regular file.
    pub fn file(permissions: u32, bytes: Vec<u8>) -> Self {
        Self { mode: FILE | permissions & 0o7777, device: (0, 0), bytes }
    }

    /// A character device.
    pub fn character(permissions: u32, major: u32, minor: u32) -> Self {
        Self { mode: CHARACTER | permissions & 0o7777, device: (major, minor), bytes: Vec::new() }
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.mode & TYPE == FOLDER
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.mode & TYPE == FILE
    }
}

/// Bytes that are not one cpio archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpioError {
    /// The archive ends inside an entry.
    #[error("the cpio archive ends at byte {offset}, inside an entry")]
    Short {
        /// Where the entry starts.
        offset: usize,
    },
    /// An entry does not start with `070701`.
    #[error("no cpio entry (newc) at byte {offset}")]
    Magic {
        /// Where.
        offset: usize,
    },
    /// A field is not eight hex digits.
    #[error("the cpio entry at byte {offset} has a field that is not a number")]
    Number {
        /// Where the entry starts.
        offset: usize,
    },
    /// A name that is empty, absolute, leads upwards, or stands there twice.
    #[error("the cpio entry at byte {offset} has the name `{name}`, which is not allowed")]
    Name {
        /// Where the entry starts.
        offset: usize,
        /// The name.
        name: String,
    },
    /// Bytes behind the last entry.
    #[error("{count} bytes follow the cpio archive's end; a kernel would unpack a second archive there")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// More than a cpio archive can hold.
    #[error("`{name}` is too large for a cpio archive")]
    TooLarge {
        /// The entry.
        name: String,
    },
}

/// Entries by path, as the archive is sorted: parents come before what is in them.
pub type Entries = BTreeMap<String, Entry>;

/// Writes an archive. Inode numbers count from 1, times are 0.
pub fn write(entries: &Entries) -> Result<Vec<u8>, CpioError> {
    let mut out = Vec::with_capacity(entries.values().map(|entry| entry.bytes.len() + 256).sum());
    for (index, (name, entry)) in entries.iter().enumerate() {
        let too_large = |_| CpioError::TooLarge { name: name.clone() };
        let length = u32::try_from(entry.bytes.len()).map_err(too_large)?;
        let inode = u32::try_from(index + 1).map_err(too_large)?;
        let links = if entry.is_folder() { 2 } else { 1 };
        head(&mut out, name, [inode, entry.mode, links, length, entry.device.0, entry.device.1]);
        out.extend_from_slice(&entry.bytes);
        pad(&mut out, 4);
    }
    head(&mut out, TRAILER, [0, 0, 1, 0, 0, 0]);
    pad(&mut out, 512);
    Ok(out)
}

fn head(out: &mut Vec<u8>, name: &str, [inode, mode, links, length, major, minor]: [u32; 6]) {
    let name_length = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
    out.extend_from_slice(MAGIC);
    for field in [inode, mode, 0, 0, links, 0, length, 0, 0, major, minor, name_length, 0] {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out, 4);
}

fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

/// Reads an archive that holds exactly one, with nothing but zeros behind it.
pub fn read(bytes: &[u8]) -> Result<Entries, CpioError> {
    let mut entries = Entries::new();
    let mut offset = 0_usize;
    loop {
        let start = offset;
        let mut take = |count: usize| {
            let end = offset.checked_add(count).ok_or(CpioError::Short { offset: start })?;
            let piece = bytes.get(offset..end).ok_or(CpioError::Short { offset: start })?;
            offset = end;
            Ok(piece)
        };
        if take(MAGIC.len())? != MAGIC {
            return Err(CpioError::Magic { offset: start });
        }
        let mut fields = [0_u32; 13];
        for field in &mut fields {
            *field = number(take(8)?).ok_or(CpioError::Number { offset: start })?;
        }
        let [_, mode, _, _, _, _, length, _, _, major, minor, name_length, _] = fields;
        let name = match take(name_length as usize)?.split_last() {
            Some((0, name)) => String::from_utf8_lossy(name).into_owned(),
            _ => return Err(CpioError::Name { offset: start, name: String::new() }),
        };
        take((HEAD + name_length as usize).next_multiple_of(4) - HEAD - name_length as usize)?;
        if name == TRAILER {
            let rest = bytes.get(offset..).unwrap_or_default();
            let zeros = rest.iter().take_while(|byte| **byte == 0).count();
            return if zeros == rest.len() {
                Ok(entries)
            } else {
                Err(CpioError::Trailing { count: rest.len() - zeros })
            };
        }
        let contents = take(length as usize)?.to_vec();
        take((length as usize).next_multiple_of(4) - length as usize)?;
        if !is_inside(&name) || entries.contains_key(&name) {
            return Err(CpioError::Name { offset: start, name });
        }
        entries.insert(name, Entry { mode, device: (major, minor), bytes: contents });
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(text, 16).ok())?
}

fn is_inside(name: &str) -> bool {
    name == "." || name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

const MAGIC: &[u8] = b"070701";
/// Magic and thirteen fields.
const HEAD: usize = 6 + 13 * 8;
const TRAILER: &str = "TRAILER!!!";
const TYPE: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER: u32 = 0o020_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_archive_behind_the_first_is_refused() {
        let entries = Entries::from([("init".to_owned(), Entry::file(0o755, b"program".to_vec()))]);
        let once = write(&entries).unwrap();
        assert_eq!(read(&once), Ok(entries));
        let twice = [once.as_slice(), &once].concat();
        assert_eq!(read(&twice), Err(CpioError::Trailing { count: once.len() }));
    }
}
