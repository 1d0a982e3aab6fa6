//! The initial RAM file system: the guest program as `/init`, and the modules it loads.
//!
//! *Takes* the guest program and resolved modules; or the bytes of an initrd.
//! *Guarantees* that it writes one zstd frame around one cpio archive, the same for the same input; and that reading is
//! bounded and refuses anything behind the first archive.
//! *Does not check* the program: it is measured.

use crate::cpio::{self, CpioError, Entries, Entry};
use crate::modules::{Module, list_file};
use std::io::Read;

/// Folder of the modules.
pub const MODULES_FOLDER: &str = "modules";
/// The file with their order.
pub const LIST_FILE: &str = "modules/list";
/// Largest initrd, unpacked.
pub const MAX_UNPACKED: u64 = 256 << 20;

/// An initrd that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// Not the archive wanted.
    #[error(transparent)]
    Cpio(#[from] CpioError),
    /// Compression or decompression fails.
    #[error("cannot (de)compress the initrd")]
    Compression(#[source] std::io::Error),
    /// It unpacks to more than is read here.
    #[error("the initrd unpacks to more than {MAX_UNPACKED} bytes")]
    TooLarge,
}

/// Makes an initrd.
pub fn write(guest: Vec<u8>, modules: Vec<Module>) -> Result<Vec<u8>, InitrdError> {
    let mut entries = Entries::new();
    for folder in ["dev", "etc", "proc", "run", "sys", MODULES_FOLDER] {
        entries.insert(folder.to_owned(), Entry::folder());
    }
    entries.insert("dev/console".to_owned(), Entry::character(0o600, 5, 1));
    entries.insert("init".to_owned(), Entry::file(0o755, guest));
    entries.insert(LIST_FILE.to_owned(), Entry::file(0o644, list_file(&modules).into_bytes()));
    for module in modules {
        let path = format!("{MODULES_FOLDER}/{}", module.file_name());
        entries.insert(path, Entry::file(0o644, module.bytes));
    }
    let archive = cpio::write(&entries)?;
    zstd::bulk::compress(&archive, LEVEL).map_err(InitrdError::Compression)
}

/// Reads an initrd, compressed with zstd, gzip or xz, or not at all.
pub fn read(bytes: &[u8]) -> Result<Entries, InitrdError> {
    let archive = match bytes {
        [0x28, 0xB5, 0x2F, 0xFD, ..] => unpack(zstd::Decoder::new(bytes).map_err(InitrdError::Compression)?)?,
        [0x1F, 0x8B, ..] => unpack(flate2::read::MultiGzDecoder::new(bytes))?,
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => unpack(lzma_rust2::XzReader::new(bytes, true))?,
        _ => return Ok(cpio::read(bytes)?),
    };
    Ok(cpio::read(&archive)?)
}

fn unpack(reader: impl Read) -> Result<Vec<u8>, InitrdError> {
    let mut bytes = Vec::new();
    reader.take(MAX_UNPACKED + 1).read_to_end(&mut bytes).map_err(InitrdError::Compression)?;
    if bytes.len() as u64 > MAX_UNPACKED { Err(InitrdError::TooLarge) } else { Ok(bytes) }
}

/// A fifth of a second for 18 MB; level 19 would take 9 s to save a fifth of the size.
const LEVEL: i32 = 3;
