//! Writes a layer again, with entries for the folders that have none.

use super::LayerError;
use super::blocks::{Blocks, Counted};
use super::input::Input;
use super::layout::FIRST_BLOCK;
use super::lint::shown;
use super::pax;
use super::tar::{Entry, Reader};
use super::tree::{Meta, Tree};
use std::io::{Read, Write};

const BLOCK: usize = 512;
const BUFFER: u64 = 64 << 10;
/// Longest path of an entry; Linux has the same limit.
const LONGEST_PATH: usize = 4096;

/// Copies a layer and inserts the entries that it lacks; gives their number.
///
/// All other bytes stay as they are, and an inserted entry says what hcsshim would have made up: the root hash does
/// not change, but older hosts compute the same one. The layer's digest changes.
pub fn repack<R: Read, W: Write>(layer: R, mut out: W) -> Result<u64, LayerError> {
    let mut reader = Reader::new(Input::new(layer, true));
    let mut tree = Tree::new(Counted::default(), FIRST_BLOCK)?;
    let mut inserted: u64 = 0;
    loop {
        // Padding, where there is none left, belongs to the entry before.
        let padded = reader.pass()?;
        copy(&mut reader, &mut out)?;
        if !padded {
            break;
        }
        let Some(entry) = reader.next()? else { break };
        if entry.name.len() > LONGEST_PATH {
            return Err(LayerError::PathLength { name: shown(&entry.name) });
        }
        for (path, meta) in tree.missing_parents(&entry.name) {
            out.write_all(&folder_entry(&path, &meta)).map_err(LayerError::Write)?;
            tree.create(&path, meta)?;
            inserted = inserted.saturating_add(1);
        }
        copy(&mut reader, &mut out)?;
        body(&mut reader, &mut tree, &entry, &mut out)?;
    }
    // What stands behind the end.
    while reader.input.skip(BUFFER)? {
        copy(&mut reader, &mut out)?;
    }
    copy(&mut reader, &mut out)?;
    out.flush().map_err(LayerError::Write)?;
    Ok(inserted)
}

fn copy<R: Read, W: Write>(reader: &mut Reader<R>, out: &mut W) -> Result<(), LayerError> {
    out.write_all(&reader.input.recorded()).map_err(LayerError::Write)
}

fn body<R: Read, W: Write>(
    reader: &mut Reader<R>,
    tree: &mut Tree<Counted>,
    entry: &Entry,
    out: &mut W,
) -> Result<(), LayerError> {
    if super::apply(tree, entry)? {
        tree.blocks.zeros(u64::try_from(entry.size).unwrap_or_default())?;
    }
    let mut buffer = vec![0; BUFFER as usize];
    while reader.left() > 0 {
        let length = usize::try_from(reader.left().min(BUFFER)).unwrap_or_default();
        reader.read(buffer.get_mut(..length).unwrap_or_default())?;
        copy(reader, out)?;
    }
    Ok(())
}

/// A folder as a PAX entry, all numbers in records.
fn folder_entry(path: &[u8], meta: &Meta) -> Vec<u8> {
    let mut records = Vec::new();
    let [atime, ctime, mtime, _] = meta.times;
    let path = [path, b"/"].concat();
    pax::encode(&mut records, b"path", &path);
    pax::encode(&mut records, b"uid", meta.uid.to_string().as_bytes());
    pax::encode(&mut records, b"gid", meta.gid.to_string().as_bytes());
    for (key, time) in [(&b"mtime"[..], mtime), (b"atime", atime), (b"ctime", ctime)] {
        if time.to_ext4() != 0 {
            pax::encode(&mut records, key, time.to_pax().as_bytes());
        }
    }
    let mut bytes = header(b'x', b"PaxHeaders.0/folder", 0o644, records.len());
    bytes.extend_from_slice(&records);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    let short = path.get(..100).unwrap_or(&path);
    bytes.extend_from_slice(&header(b'5', short, u32::from(meta.mode & 0o7777), 0));
    bytes
}

/// A ustar header (POSIX.1-2017, pax, "ustar Interchange Format").
fn header(kind: u8, name: &[u8], mode: u32, size: usize) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = at.checked_add(bytes.len()).and_then(|end| block.get_mut(at..end)) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, name);
    put(100, format!("{mode:07o}\0").as_bytes());
    for at in [108, 116, 329, 337] {
        put(at, b"0000000\0");
    }
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    if let Some(place) = block.get_mut(148..156) {
        place.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    block
}
