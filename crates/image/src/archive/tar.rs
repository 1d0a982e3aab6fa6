//! A strict reader of tar headers: what is where, never the contents.
//!
//! *Takes* an [`Input`]: a range of a file, or a stream. Header fields are decoded by the `tar` crate; extension
//! headers are read here, because extended attributes may hold newlines and a hostile header may claim any length.
//! *Guarantees* one reading only: what other readers disagree about (sparse entries, links with contents, unknown
//! types, a NUL in a name) is an error, and extension headers are at most 1 MiB.
//! *Does not check* paths: `overlay` does.

use std::collections::BTreeMap;
use std::io;

/// Longest extension header (pax records, GNU long names).
const EXTENSION_LIMIT: u64 = 1 << 20;
const BLOCK: u64 = 512;

/// Where the reader gets its bytes from.
pub trait Input {
    /// Fills `out` as far as there are bytes; fewer means the end.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize>;
    /// Passes over `length` bytes; `false` if the input ends before. `contents` tells file contents from padding.
    fn skip(&mut self, length: u64, contents: bool) -> io::Result<bool>;
}

/// What kind of thing an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// Another name for the entry at [`Entry::link`].
    HardLink,
    /// A symbolic link to [`Entry::link`].
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A folder.
    Folder,
    /// A named pipe.
    Fifo,
}

/// One entry, extension headers applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path as written.
    pub path: Vec<u8>,
    /// Target of a link, as written.
    pub link: Vec<u8>,
    /// Kind.
    pub kind: EntryKind,
    /// Permission bits, with set-id and sticky bits.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds of the same.
    pub mtime_nanos: u32,
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// Bytes of contents.
    pub size: u64,
    /// Where the contents start in the input.
    pub offset: u64,
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A tar file that has no single reading.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The file ends in the middle of an entry.
    #[error("truncated: it ends inside of the entry at byte {at}")]
    Truncated {
        /// Offset of the entry's header.
        at: u64,
    },
    /// A header is not a tar header.
    #[error("no tar header at byte {at} (checksum differs)")]
    Checksum {
        /// Offset of the header.
        at: u64,
    },
    /// A number in a header is malformed or out of range.
    #[error("field {field} of the header at byte {at} is out of range")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Offset of the header.
        at: u64,
    },
    /// An extension header is malformed, doubled or too long.
    #[error("the extension header at byte {at} is malformed, doubled, or longer than 1 MiB")]
    Extension {
        /// Offset of the header.
        at: u64,
    },
    /// A sparse entry.
    #[error("the entry at byte {at} is sparse; container layers have no sparse entries")]
    Sparse {
        /// Offset of the header.
        at: u64,
    },
    /// An entry type that has no meaning in a layer.
    #[error("the entry at byte {at} has the unknown type {kind:#04x}")]
    Kind {
        /// The type byte.
        kind: u8,
        /// Offset of the header.
        at: u64,
    },
    /// A name or link target with a NUL byte.
    #[error("a name of the entry at byte {at} holds a NUL byte")]
    Nul {
        /// Offset of the header.
        at: u64,
    },
    /// The input cannot be read.
    #[error("cannot read it")]
    Io(#[from] io::Error),
}

/// Reads entry after entry.
#[derive(Debug)]
pub struct Reader<I> {
    input: I,
    position: u64,
    /// Bytes of contents and padding that are still before the next header, and where their entry began.
    pending: (u64, u64, u64),
    ended: End,
}

/// How the end came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Not there yet.
    Not,
    /// At least one block of zeros, as the format asks for.
    Marked,
    /// The input just stopped, between two entries.
    Bare,
}

impl<I: Input> Reader<I> {
    /// A reader at the start of a tar file.
    pub fn new(input: I) -> Self {
        Self { input, position: 0, pending: (0, 0, 0), ended: End::Not }
    }

    /// How the archive ended.
    pub fn end(&self) -> End {
        self.ended
    }

    /// The input, to take what it gathered.
    pub fn input(&mut self) -> &mut I {
        &mut self.input
    }

    /// The next entry, or none at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        if self.ended != End::Not {
            return Ok(None);
        }
        self.pass_contents()?;
        let mut extensions = Extensions::default();
        loop {
            let at = self.position;
            let Some(block) = self.header(at, extensions.any())? else { return Ok(None) };
            let header = tar::Header::from_byte_slice(&block);
            let kind = header.entry_type().as_byte();
            match kind {
                b'x' | b'L' | b'K' => {
                    let body = self.extension(header, at)?;
                    extensions.take(kind, body, at)?;
                }
                b'g' => {
                    // Nobody applies a global header to a layer; git writes one that holds a comment.
                    self.extension(header, at)?;
                }
                _ => return self.entry(header, extensions, at).map(Some),
            }
        }
    }

    fn pass_contents(&mut self) -> Result<(), TarError> {
        let (contents, padding, at) = std::mem::take(&mut self.pending);
        for (length, is_contents) in [(contents, true), (padding, false)] {
            if length > 0 && !self.input.skip(length, is_contents)? {
                return Err(TarError::Truncated { at });
            }
            self.position = self.position.saturating_add(length);
        }
        Ok(())
    }

    /// The next header block, or none at a proper end.
    fn header(&mut self, at: u64, inside: bool) -> Result<Option<[u8; 512]>, TarError> {
        let mut block = [0; 512];
        let got = self.input.read(&mut block)?;
        self.position = self.position.saturating_add(got as u64);
        if got == 0 && !inside {
            self.ended = End::Bare;
            return Ok(None);
        }
        if got < block.len() || (inside && block.iter().all(|byte| *byte == 0)) {
            return Err(TarError::Truncated { at });
        }
        if block.iter().all(|byte| *byte == 0) {
            let got = self.input.read(&mut block)?;
            if block.iter().take(got).any(|byte| *byte != 0) {
                return Err(TarError::Checksum { at });
            }
            self.ended = End::Marked;
            return Ok(None);
        }
        let header = tar::Header::from_byte_slice(&block);
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(index, byte)| if (148..156).contains(&index) { u32::from(b' ') } else { u32::from(*byte) })
            .sum();
        match header.cksum() {
            Ok(stated) if stated == sum => Ok(Some(block)),
            _ => Err(TarError::Checksum { at }),
        }
    }

    fn extension(&mut self, header: &tar::Header, at: u64) -> Result<Vec<u8>, TarError> {
        let size = header.entry_size().map_err(|_| TarError::Field { field: "size", at })?;
        if size > EXTENSION_LIMIT {
            return Err(TarError::Extension { at });
        }
        let mut body = vec![0; size as usize];
        let padding = padding_of(size);
        if self.input.read(&mut body)? < body.len() || (padding > 0 && !self.input.skip(padding, false)?) {
            return Err(TarError::Truncated { at });
        }
        self.position = self.position.saturating_add(size).saturating_add(padding);
        Ok(body)
    }

    fn entry(&mut self, header: &tar::Header, extensions: Extensions, at: u64) -> Result<Entry, TarError> {
        let field = |field| move |_| TarError::Field { field, at };
        let old = header.as_old();
        let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extensions.link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        if path.contains(&0) || link.contains(&0) {
            return Err(TarError::Nul { at });
        }
        let kind = match header.entry_type().as_byte() {
            // As the oldest tar files write folders.
            b'0' | 0 if path.ends_with(b"/") => EntryKind::Folder,
            // A contiguous file is a file (POSIX.1-2017, pax, "ustar Interchange Format").
            b'0' | b'7' | 0 => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharDevice,
            b'4' => EntryKind::BlockDevice,
            b'5' => EntryKind::Folder,
            b'6' => EntryKind::Fifo,
            b'S' => return Err(TarError::Sparse { at }),
            kind => return Err(TarError::Kind { kind, at }),
        };
        if extensions.sparse {
            return Err(TarError::Sparse { at });
        }
        let size = match extensions.size {
            Some(size) => size,
            None => number(&old.size, header.entry_size()).map_err(field("size"))?,
        };
        // Readers disagree whether such contents are there.
        if size > 0 && kind != EntryKind::File {
            return Err(TarError::Field { field: "size", at });
        }
        let id = |given: Option<u64>, stated: io::Result<u64>, name| {
            let value = given.map_or(stated, Ok).map_err(field(name))?;
            u32::try_from(value).map_err(|_| TarError::Field { field: name, at })
        };
        let device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let device_number = |stated: io::Result<Option<u32>>, name| match stated {
            Ok(value) => Ok(value.unwrap_or(0)),
            Err(_) if !device => Ok(0),
            Err(_) => Err(TarError::Field { field: name, at }),
        };
        let (mtime, mtime_nanos) = match extensions.mtime {
            Some(mtime) => mtime,
            None => (number(&old.mtime, header.mtime()).map_err(field("mtime"))?.cast_signed(), 0),
        };
        let offset = self.position;
        let padding = padding_of(size);
        if offset.checked_add(size).and_then(|end| end.checked_add(padding)).is_none() {
            return Err(TarError::Field { field: "size", at });
        }
        self.pending = (size, padding, at);
        Ok(Entry {
            path,
            link,
            kind,
            mode: (number(&old.mode, header.mode()).map_err(field("mode"))? & 0o7777) as u16,
            uid: id(extensions.uid, number(&old.uid, header.uid()), "uid")?,
            gid: id(extensions.gid, number(&old.gid, header.gid()), "gid")?,
            mtime,
            mtime_nanos,
            major: device_number(header.device_major(), "devmajor")?,
            minor: device_number(header.device_minor(), "devminor")?,
            size,
            offset,
            xattrs: extensions.xattrs,
        })
    }
}

/// A numeric field that nobody filled is zero.
fn number<T: Default>(field: &[u8], read: io::Result<T>) -> io::Result<T> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(T::default()) } else { read }
}

fn padding_of(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK
}

#[derive(Default)]
struct Extensions {
    seen: Vec<u8>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    sparse: bool,
}

impl Extensions {
    fn any(&self) -> bool {
        !self.seen.is_empty()
    }

    fn take(&mut self, kind: u8, mut body: Vec<u8>, at: u64) -> Result<(), TarError> {
        if self.seen.contains(&kind) {
            return Err(TarError::Extension { at });
        }
        self.seen.push(kind);
        if kind == b'x' {
            return self.records(&body).ok_or(TarError::Extension { at });
        }
        while body.last() == Some(&0) {
            body.pop();
        }
        let field = if kind == b'L' { &mut self.path } else { &mut self.link };
        field.get_or_insert(body);
        Ok(())
    }

    /// `LENGTH KEY=VALUE\n`, where LENGTH counts all of the record; a value may hold anything.
    fn records(&mut self, mut rest: &[u8]) -> Option<()> {
        while !rest.is_empty() {
            let space = rest.iter().take(20).position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(rest.get(..space)?).ok()?.parse().ok()?;
            let record = rest.get(space.checked_add(1)?..length)?.strip_suffix(b"\n")?;
            rest = rest.get(length..)?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (record.get(..equals)?, record.get(equals.checked_add(1)?..)?);
            self.record(key, value)?;
        }
        Some(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let text = || std::str::from_utf8(value).ok();
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            return self.xattrs.insert(name.to_vec(), value.to_vec()).is_none().then_some(());
        }
        if key.starts_with(b"GNU.sparse.") {
            self.sparse = true;
        }
        // An empty value takes the field of the header itself (POSIX pax).
        if value.is_empty() {
            return Some(());
        }
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(text()?.parse().ok()?),
            b"uid" => self.uid = Some(text()?.parse().ok()?),
            b"gid" => self.gid = Some(text()?.parse().ok()?),
            b"mtime" => self.mtime = Some(pax_time(text()?)?),
            _ => {}
        }
        Some(())
    }
}

/// `[-]SECONDS[.FRACTION]`, rounded down to a nanosecond.
fn pax_time(text: &str) -> Option<(i64, u32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = seconds.starts_with('-');
    let seconds: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if negative && nanos > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000_u32.checked_sub(nanos)?));
    }
    Some((seconds, nanos))
}

/// Reads the headers of a whole tar file in memory. For tests and fuzzing.
pub fn entries_of(bytes: &[u8]) -> Result<Vec<Entry>, TarError> {
    let mut reader = Reader::new(Slice(bytes));
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

/// A tar file in memory.
#[derive(Debug)]
pub struct Slice<'a>(pub &'a [u8]);

impl Input for Slice<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (taken, rest) = self.0.split_at(out.len().min(self.0.len()));
        if let Some(out) = out.get_mut(..taken.len()) {
            out.copy_from_slice(taken);
        }
        self.0 = rest;
        Ok(taken.len())
    }

    fn skip(&mut self, length: u64, _contents: bool) -> io::Result<bool> {
        let rest = usize::try_from(length).ok().and_then(|length| self.0.get(length..));
        self.0 = rest.unwrap_or_default();
        Ok(rest.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_round_down() {
        assert_eq!(pax_time("12.5"), Some((12, 500_000_000)));
        assert_eq!(pax_time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(pax_time("-0.5"), Some((-1, 500_000_000)));
        assert_eq!(pax_time("1.0000000009"), Some((1, 0)));
        assert_eq!(pax_time("1.+5"), None);
    }

    #[test]
    fn a_record_may_hold_newlines() {
        let mut extensions = Extensions::default();
        let body = b"30 SCHILY.xattr.user.x=a\nb\n=c\0\n";
        assert_eq!(extensions.records(&body[..31.min(body.len())]), None, "length is wrong by one");
        let body = b"31 SCHILY.xattr.user.x=a\nb\n=c\0\n";
        assert_eq!(body.len(), 31);
        extensions.records(body).unwrap();
        assert_eq!(extensions.xattrs.get(b"user.x".as_slice()), Some(&b"a\nb\n=c\0".to_vec()));
    }
}
