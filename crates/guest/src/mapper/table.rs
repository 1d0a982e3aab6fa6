//! Table lines of the two targets that are used.

use claims::volume::{BLOCK_SIZE, CIPHER, Geometry, VERITY_SALT};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A target with its parameters. The text can hold a key, so it is wiped when dropped and never printed.
pub struct Table {
    /// `crypt` or `verity`.
    pub target: &'static str,
    /// Length in 512-byte sectors.
    pub sectors: u64,
    /// The target's parameters.
    pub parameters: Zeroizing<String>,
    /// Whether the mapped device refuses writing.
    pub read_only: bool,
}

/// An encrypted range of a drive.
pub struct Crypt<'a> {
    /// The drive's node.
    pub device: &'a Path,
    /// First byte on the drive.
    pub offset: u64,
    /// Bytes; a multiple of the block size.
    pub length: u64,
    /// Whether the mapped device refuses writing.
    pub read_only: bool,
}

/// A dm-verity tree that follows its data on one device.
pub struct Verity {
    /// Node of the decrypted device.
    pub device: PathBuf,
    /// Where things lie, and the root hash.
    pub geometry: Geometry,
}

const SECTOR: u64 = 512;

impl Crypt<'_> {
    /// The table line; the key is written as hex into a text that is wiped when dropped.
    pub fn table(&self, key: &[u8; 64]) -> Table {
        let mut hex_key = Zeroizing::new([0; 128]);
        let mut parameters = Zeroizing::new(String::with_capacity(512));
        // Only a wrong length can fail, and both lengths are fixed.
        if hex::encode_to_slice(key, hex_key.as_mut_slice()).is_ok() {
            parameters.push_str(CIPHER);
            parameters.push(' ');
            parameters.push_str(std::str::from_utf8(hex_key.as_slice()).unwrap_or_default());
            let place = format!(" 0 {} {} 1 sector_size:{BLOCK_SIZE}", self.device.display(), self.offset / SECTOR);
            parameters.push_str(&place);
        }
        Table { target: "crypt", sectors: self.length / SECTOR, parameters, read_only: self.read_only }
    }
}

impl Verity {
    /// The table line. No option for corruption: reads fail, nothing wrong is ever handed out, and the guest has time
    /// to say why it halts.
    pub fn table(&self) -> Table {
        let Geometry { data_blocks, root_hash, .. } = self.geometry;
        let device = self.device.display();
        let salt = hex::encode(VERITY_SALT);
        let parameters = format!(
            "1 {device} {device} {BLOCK_SIZE} {BLOCK_SIZE} {data_blocks} {data_blocks} sha256 {root_hash} {salt}"
        );
        let sectors = data_blocks.saturating_mul(BLOCK_SIZE / SECTOR);
        Table { target: "verity", sectors, parameters: Zeroizing::new(parameters), read_only: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use claims::VerityRoot;

    #[test]
    fn tables_are_what_the_kernel_documents() {
        let crypt = Crypt { device: Path::new("/dev/vda"), offset: 16 << 20, length: 8192, read_only: true };
        let table = crypt.table(&[0xab; 64]);
        let wanted = format!("aes-xts-plain64 {} 0 /dev/vda 32768 1 sector_size:4096", "ab".repeat(64));
        assert_eq!((table.target, table.sectors, table.parameters.as_str()), ("crypt", 16, wanted.as_str()));

        let geometry = Geometry { data_offset: 0, data_blocks: 300, tree_blocks: 4, root_hash: VerityRoot([1; 32]) };
        let table = Verity { device: "/dev/dm-0".into(), geometry }.table();
        let wanted = format!(
            "1 /dev/dm-0 /dev/dm-0 4096 4096 300 300 sha256 {} {}",
            "01".repeat(32),
            hex::encode(b"confide dm-verity salt version 1")
        );
        assert_eq!((table.target, table.sectors, table.parameters.as_str()), ("verity", 2400, wanted.as_str()));
        assert!(table.read_only);
    }
}
