//! The one-file form of a bundle: a gzip file whose blocks are stored, around a tar file.
//!
//! Stored, because almost all of it is ciphertext, which does not become smaller; so writing costs a copy and a CRC.

use super::BuildError;
use super::staging::create;
use flate2::{Compression, GzBuilder};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Packs the files of `folder` below `prefix`, sorted by name, with fixed owner, modes and times.
pub(crate) fn write(
    folder: &Path,
    prefix: &str,
    out: &Path,
    cancelled: &dyn Fn() -> bool,
    progress: &dyn Fn(u64),
) -> Result<(), BuildError> {
    let write = |source| BuildError::Write { path: out.to_owned(), source };
    let read = |source| BuildError::Read { what: "the folder", path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        names.push(entry.map_err(read)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let file = io::BufWriter::with_capacity(1 << 20, create(out)?);
    let mut gzip = GzBuilder::new().mtime(0).write(file, Compression::none());
    let mut done = 0;
    for (index, part) in prefix.match_indices('/').chain([(prefix.len(), "")]) {
        debug_assert!(part.len() <= 1);
        let path = prefix.get(..index).unwrap_or(prefix);
        gzip.write_all(&header(&format!("{path}/"), 0, 0o755, b'5')).map_err(write)?;
    }
    let mut buffer = vec![0; 1 << 20];
    for name in names {
        let path = folder.join(&name);
        let read = |source| BuildError::Read { what: "a file of the bundle", path: path.clone(), source };
        let mut file = File::open(&path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let mode = if name.ends_with(".sh") { 0o755 } else { 0o644 };
        gzip.write_all(&header(&format!("{prefix}/{name}"), length, mode, b'0')).map_err(write)?;
        let mut left = length;
        while left > 0 {
            if cancelled() {
                return Err(BuildError::Cancelled);
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let piece = buffer.get_mut(..count).unwrap_or_default();
            file.read_exact(piece).map_err(read)?;
            gzip.write_all(piece).map_err(write)?;
            left -= count as u64;
            done += count as u64;
            progress(done);
        }
        let padding = length.next_multiple_of(512) - length;
        gzip.write_all(&vec![0; padding as usize]).map_err(write)?;
    }
    gzip.write_all(&[0; 1024]).map_err(write)?;
    gzip.finish().and_then(|mut file| file.flush()).map_err(write)
}

/// A ustar header (POSIX.1-1988; sizes from 8 GiB on in GNU's binary form).
fn header(path: &str, length: u64, mode: u32, kind: u8) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |offset: usize, bytes: &[u8]| {
        if let Some(place) = header.get_mut(offset..offset.saturating_add(bytes.len())) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, path.as_bytes().get(..path.len().min(100)).unwrap_or_default());
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\x000000000\0");
    if length < 1 << 33 {
        put(124, format!("{length:011o}\0").as_bytes());
    } else {
        put(124, &[&[0x80, 0, 0, 0], length.to_be_bytes().as_slice()].concat());
    }
    // The second after 1970 began: tar warns of times that are zero.
    put(136, b"00000000001\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000root");
    put(297, b"root");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let text = format!("{sum:06o}\0 ");
    if let Some(place) = header.get_mut(148..156) {
        place.copy_from_slice(text.as_bytes());
    }
    header
}
