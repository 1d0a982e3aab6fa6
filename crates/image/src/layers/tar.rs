//! Reads tar files as Go's archive/tar does, because the hash depends on what that reader makes of a layer.
//!
//! *Takes* a stream: v7, ustar, STAR, GNU and PAX headers, and all four sparse formats.
//! *Guarantees* the entries, in order, with the names, numbers and contents that Go gives, and an error where Go gives
//! one; extended headers are at most 1 MiB. (`archive::tar` is stricter: it refuses what readers disagree about.)
//! *Does not check* names or links: `tree` does.

use super::LayerError;
use super::input::Input;
use super::pax::{self, Records, integer, numeric, octal, string};
use super::sparse::{self, Map, Piece};
use super::time::Time;
use std::collections::BTreeMap;
use std::io::Read;

const BLOCK: usize = 512;
/// Longest extended header, and longest sparse map.
pub(super) const EXTENSION_LIMIT: usize = 1 << 20;

/// One header block.
pub(super) type Block = [u8; BLOCK];

/// An entry as Go sees it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    /// The type byte; `0` for a regular file.
    pub(super) kind: u8,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) size: i64,
    pub(super) mtime: Time,
    pub(super) atime: Time,
    pub(super) ctime: Time,
    pub(super) major: i64,
    pub(super) minor: i64,
    pub(super) records: Records,
    /// Offset of its first header.
    pub(super) at: u64,
}

impl Entry {
    /// Extended attributes by full name.
    pub(super) fn xattrs(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let named =
            |(key, value): (&Vec<u8>, &Vec<u8>)| Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone()));
        self.records.iter().filter_map(named).collect()
    }

    fn size_in_file(&self) -> Result<u64, LayerError> {
        match self.kind {
            // Links, devices, folders and pipes have no contents, whatever their size says.
            b'1'..=b'6' => Ok(0),
            _ => u64::try_from(self.size).map_err(|_| self.header("a negative size")),
        }
    }

    pub(super) fn header(&self, what: &'static str) -> LayerError {
        LayerError::Header { at: self.at, what }
    }
}

/// A part of an entry's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Bytes that [`Reader::read`] gives.
    Data(u64),
    /// A hole of a sparse file.
    Zeros(u64),
}

/// Reads entry after entry.
pub(super) struct Reader<R> {
    pub(super) input: Input<R>,
    body: Body,
}

/// What is left of the entry in the file, and what it expands to.
#[derive(Default)]
pub(super) struct Body {
    /// Offset of the entry's first header.
    at: u64,
    left: u64,
    padding: u64,
    sparse: Option<std::vec::IntoIter<Piece>>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(input: Input<R>) -> Self {
        Self { input, body: Body::default() }
    }

    /// Passes over what is left of the entry; `false` where the file ends in the padding (for Go that is the end).
    pub(super) fn pass(&mut self) -> Result<bool, LayerError> {
        let Body { at, left, padding, .. } = std::mem::take(&mut self.body);
        if !self.input.skip(left)? {
            return Err(LayerError::Truncated { at });
        }
        self.input.skip(padding)
    }

    /// The next entry, or none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, LayerError> {
        let (mut records, mut name, mut link) = (Records::new(), Vec::new(), Vec::new());
        let at = self.input.position().saturating_add(self.body.left).saturating_add(self.body.padding);
        loop {
            if !self.pass()? {
                return Ok(None);
            }
            let Some(block) = self.block(at)? else { return Ok(None) };
            let mut entry = header(&block, at)?;
            self.body(&entry)?;
            match entry.kind {
                b'x' => records = self.records(at)?,
                b'g' => {
                    let records = self.records(at)?;
                    return Ok(Some(global(entry, records)));
                }
                b'L' => name = string(&self.extension(at)?).to_vec(),
                b'K' => link = string(&self.extension(at)?).to_vec(),
                _ => {
                    merge(&mut entry, &records).ok_or(LayerError::Header { at, what: "a PAX record is no number" })?;
                    entry.records = records;
                    for (field, long) in [(&mut entry.name, name), (&mut entry.link, link)] {
                        if !long.is_empty() {
                            *field = long;
                        }
                    }
                    if entry.kind == 0 {
                        entry.kind = if entry.name.ends_with(b"/") { b'5' } else { b'0' };
                    }
                    self.body(&entry)?;
                    self.sparse(&mut entry, block)?;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// The next part of the entry's contents, which must be read before the next call.
    pub(super) fn part(&mut self) -> Result<Option<Part>, LayerError> {
        let at = self.body.at;
        let Some(pieces) = &mut self.body.sparse else {
            return Ok((self.body.left > 0).then_some(Part::Data(self.body.left)));
        };
        match pieces.next() {
            Some(Piece::Hole(length)) => Ok(Some(Part::Zeros(length))),
            Some(Piece::Data(length)) if length > self.body.left => {
                let left = self.body.left;
                match self.input.skip(left)? {
                    true => Err(LayerError::SparseMissing { at }),
                    false => Err(LayerError::Truncated { at }),
                }
            }
            Some(Piece::Data(length)) => Ok(Some(Part::Data(length))),
            None if self.body.left > 0 => Err(LayerError::SparseUnreferenced { at }),
            None => Ok(None),
        }
    }

    /// Fills `out` with contents.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<(), LayerError> {
        let wanted = out.len();
        if wanted as u64 > self.body.left || self.input.fill(out)? < wanted {
            return Err(LayerError::Truncated { at: self.body.at });
        }
        self.body.left = self.body.left.saturating_sub(wanted as u64);
        Ok(())
    }

    /// Bytes of the entry that are left in the file.
    pub(super) fn left(&self) -> u64 {
        self.body.left
    }

    fn body(&mut self, entry: &Entry) -> Result<(), LayerError> {
        let left = entry.size_in_file()?;
        self.body = Body { at: entry.at, left, padding: left.wrapping_neg() % BLOCK as u64, sparse: None };
        Ok(())
    }

    /// The next header block, or none at the end.
    fn block(&mut self, at: u64) -> Result<Option<Block>, LayerError> {
        let mut block = [0; BLOCK];
        for zeros in [false, true] {
            match self.input.fill(&mut block)? {
                0 => return Ok(None),
                BLOCK if block != [0; BLOCK] && zeros => {
                    return Err(LayerError::Header { at, what: "a header follows one block of zeros" });
                }
                BLOCK if block != [0; BLOCK] => return Ok(Some(block)),
                BLOCK => {}
                _ => return Err(LayerError::Truncated { at }),
            }
        }
        Ok(None)
    }

    fn records(&mut self, at: u64) -> Result<Records, LayerError> {
        pax::records(&self.extension(at)?).ok_or(LayerError::Header { at, what: "a PAX record is malformed" })
    }

    fn extension(&mut self, at: u64) -> Result<Vec<u8>, LayerError> {
        let length = usize::try_from(self.body.left).ok().filter(|length| *length <= EXTENSION_LIMIT);
        match length {
            Some(length) => {
                let mut bytes = vec![0; length];
                self.read(&mut bytes)?;
                Ok(bytes)
            }
            None => match self.input.skip(EXTENSION_LIMIT as u64 + 1)? {
                true => Err(LayerError::Extension { at }),
                false => Err(LayerError::Truncated { at }),
            },
        }
    }

    fn sparse(&mut self, entry: &mut Entry, block: Block) -> Result<(), LayerError> {
        let map = if entry.kind == b'S' { self.old_map(entry, block)? } else { self.pax_map(entry)? };
        let Some(map) = map else { return Ok(()) };
        if matches!(entry.kind, b'1'..=b'6') {
            return Err(entry.header("a sparse entry that is no file"));
        }
        let pieces = sparse::pieces(&map, entry.size).ok_or_else(|| entry.header("a sparse map that overlaps"))?;
        self.body.sparse = Some(pieces.into_iter());
        Ok(())
    }

    /// The map in a GNU header (type `S`), and in the blocks after it.
    fn old_map(&mut self, entry: &mut Entry, block: Block) -> Result<Option<Map>, LayerError> {
        if format(&block) != Some(Format::Gnu) {
            return Err(entry.header("a sparse entry that is not GNU's"));
        }
        let bad = || LayerError::Header { at: entry.at, what: "a number of the sparse map" };
        entry.size = numeric(field(&block, 483, 12)).ok_or_else(bad)?;
        let mut map = Map::new();
        let mut total: usize = 97;
        let mut more = sparse::gnu_entries(field(&block, 386, 97), &mut map).ok_or_else(bad)?;
        while more {
            let mut block = [0; BLOCK];
            if self.input.fill(&mut block)? < BLOCK {
                return Err(LayerError::Truncated { at: entry.at });
            }
            total = total.saturating_add(BLOCK);
            if total >= EXTENSION_LIMIT {
                return Err(LayerError::SparseMap { at: entry.at });
            }
            more = sparse::gnu_entries(&block, &mut map).ok_or_else(bad)?;
        }
        Ok(Some(map))
    }

    /// The map of GNU's PAX formats 0.0, 0.1 and 1.0.
    fn pax_map(&mut self, entry: &mut Entry) -> Result<Option<Map>, LayerError> {
        let record = |key: &[u8]| entry.records.get(key).map(Vec::as_slice).unwrap_or_default();
        let in_body = match (record(b"GNU.sparse.major"), record(b"GNU.sparse.minor")) {
            (b"0", b"0" | b"1") => false,
            (b"1", b"0") => true,
            (b"", b"") if !record(b"GNU.sparse.map").is_empty() => false,
            _ => return Ok(None),
        };
        let bad = || LayerError::Header { at: entry.at, what: "a number of the sparse map" };
        let name = record(b"GNU.sparse.name").to_vec();
        let size =
            [&b"GNU.sparse.size"[..], b"GNU.sparse.realsize"].into_iter().map(record).find(|size| !size.is_empty());
        let size = size.map(|size| integer(size).ok_or_else(bad)).transpose()?;
        let map = match in_body {
            false => Some(
                sparse::map_of_records(record(b"GNU.sparse.numblocks"), record(b"GNU.sparse.map")).ok_or_else(bad)?,
            ),
            true => None,
        };
        if !name.is_empty() {
            entry.name = name;
        }
        entry.size = size.unwrap_or(entry.size);
        match map {
            Some(map) => Ok(Some(map)),
            None => self.map_of_body(entry.at).map(Some),
        }
    }

    /// Format 1.0: decimal lines in front of the data, in whole blocks.
    fn map_of_body(&mut self, at: u64) -> Result<Map, LayerError> {
        let mut lines = sparse::Lines::default();
        loop {
            if let Some(map) = lines.map().ok_or(LayerError::Header { at, what: "a number of the sparse map" })? {
                return Ok(map);
            }
            if lines.len() >= EXTENSION_LIMIT {
                return Err(LayerError::SparseMap { at });
            }
            let mut block = [0; BLOCK];
            self.read(&mut block)?;
            lines.push(&block);
        }
    }
}

/// A PAX global header, which Go gives to its callers as an entry without contents.
fn global(entry: Entry, records: Records) -> Entry {
    let mut named = Entry {
        link: Vec::new(),
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: Time::NONE,
        atime: Time::NONE,
        ctime: Time::NONE,
        major: 0,
        minor: 0,
        ..entry
    };
    let mut merged = named.clone();
    if merge(&mut merged, &records).is_some() {
        named.records = records.clone();
    }
    if let Some(name) = records.get(b"path".as_slice()).filter(|name| !name.is_empty()) {
        named.name = name.clone();
    }
    named
}

/// Applies the records that stand for header fields; an empty one leaves the field as it is.
fn merge(entry: &mut Entry, records: &Records) -> Option<()> {
    for (key, value) in records.iter().filter(|(_, value)| !value.is_empty()) {
        match key.as_slice() {
            b"path" => entry.name = value.clone(),
            b"linkpath" => entry.link = value.clone(),
            b"uid" => entry.uid = integer(value)?,
            b"gid" => entry.gid = integer(value)?,
            b"size" => entry.size = integer(value)?,
            b"mtime" => entry.mtime = Time::from_pax(value)?,
            b"atime" => entry.atime = Time::from_pax(value)?,
            b"ctime" => entry.ctime = Time::from_pax(value)?,
            _ => {}
        }
    }
    Some(())
}

/// Which dialect a header is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// None where the checksum is wrong; old writers summed up signed bytes.
fn format(block: &Block) -> Option<Format> {
    let stated = octal(field(block, 148, 8))?;
    let bytes = || block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    if stated != unsigned && stated != signed {
        return None;
    }
    Some(match field(block, 257, 8) {
        [b'u', b's', b't', b'a', b'r', 0, ..] if field(block, 508, 4) == b"tar\0" => Format::Star,
        [b'u', b's', b't', b'a', b'r', 0, ..] => Format::Ustar,
        b"ustar  \0" => Format::Gnu,
        _ => Format::V7,
    })
}

fn header(block: &Block, at: u64) -> Result<Entry, LayerError> {
    let format = format(block).ok_or(LayerError::Header { at, what: "the checksum differs" })?;
    let number = |start, length| {
        numeric(field(block, start, length)).ok_or(LayerError::Header { at, what: "a number is malformed" })
    };
    let mut entry = Entry {
        name: string(field(block, 0, 100)).to_vec(),
        link: string(field(block, 157, 100)).to_vec(),
        kind: field(block, 156, 1).first().copied().unwrap_or_default(),
        mode: number(100, 8)?,
        uid: number(108, 8)?,
        gid: number(116, 8)?,
        size: number(124, 12)?,
        mtime: Time::unix(number(136, 12)?, 0),
        atime: Time::NONE,
        ctime: Time::NONE,
        major: 0,
        minor: 0,
        records: Records::new(),
        at,
    };
    if format == Format::V7 {
        return Ok(entry);
    }
    (entry.major, entry.minor) = (number(329, 8)?, number(337, 8)?);
    let mut prefix: &[u8] = b"";
    match format {
        Format::V7 => {}
        Format::Ustar => prefix = string(field(block, 345, 155)),
        Format::Star => {
            prefix = string(field(block, 345, 131));
            entry.atime = Time::unix(number(476, 12)?, 0);
            entry.ctime = Time::unix(number(488, 12)?, 0);
        }
        Format::Gnu => match gnu_times(block) {
            Some((atime, ctime)) => (entry.atime, entry.ctime) = (atime, ctime),
            // What Go itself wrote before version 1.8.
            None => {
                prefix = Some(string(field(block, 345, 155))).filter(|prefix| prefix.is_ascii()).unwrap_or_default()
            }
        },
    }
    if !prefix.is_empty() {
        entry.name = [prefix, b"/", &entry.name].concat();
    }
    Ok(entry)
}

fn gnu_times(block: &Block) -> Option<(Time, Time)> {
    let time = |start| match field(block, start, 12) {
        [0, ..] => Some(Time::NONE),
        field => Some(Time::unix(numeric(field)?, 0)),
    };
    Some((time(345)?, time(357)?))
}

fn field(block: &Block, start: usize, length: usize) -> &[u8] {
    start.checked_add(length).and_then(|end| block.get(start..end)).unwrap_or_default()
}
