//! Where things lie on a sealed drive, and which key opens it.
//!
//! A sealed drive is `[LUKS2 header | ext4 | dm-verity tree | unused tail]`. The middle two are one dm-crypt device
//! (`aes-xts-plain64`, 512-bit key, 4096-byte sectors, IV counted in 512-byte sectors from the start of the ext4).
//! The header is for people's tools; the guest never reads it. The tree is over the plaintext, so the root hash is
//! the same for every site and key.

use crate::{Secret, VerityRoot};
use aws_lc_rs::hkdf;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Block size of ext4, dm-verity and dm-crypt here.
pub const BLOCK_SIZE: u64 = 4096;
/// Where the sealed data starts on a drive: room for two LUKS2 headers and a key slot.
pub const DATA_OFFSET: u64 = 16 << 20;
/// The cipher of every sealed drive, as dm-crypt names it.
pub const CIPHER: &str = "aes-xts-plain64";
/// Salt of every dm-verity tree. Public; a constant, so that the same files give the same root hash everywhere.
pub const VERITY_SALT: [u8; 32] = *b"confide dm-verity salt version 1";
/// Length of a site's volume key.
pub const VOLUME_KEY_LENGTH: usize = 32;

/// A drive whose contents are sealed, and thereby the label its key is derived under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Drive {
    /// The workload with its settings.
    Root,
    /// The site's own configuration.
    UserConfig,
}

impl Drive {
    /// Name in key derivation, QEMU serial numbers and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::UserConfig => "user_config",
        }
    }
}

/// A site's volume key is too short, or is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a volume key has {wanted} bytes, this one has {got}", wanted = VOLUME_KEY_LENGTH)]
pub struct VolumeKeyError {
    /// Length found.
    pub got: usize,
}

/// The secret of one site, from which the keys of its drives are derived.
#[derive(Debug)]
pub struct VolumeKey(Secret<[u8; VOLUME_KEY_LENGTH]>);

impl VolumeKey {
    /// Takes over a key of exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, VolumeKeyError> {
        bytes.try_into().map(|key| Self(Secret::new(key))).map_err(|_| VolumeKeyError { got: bytes.len() })
    }

    /// Lends the key's bytes to `user`.
    pub fn expose<R>(&self, user: impl FnOnce(&[u8; VOLUME_KEY_LENGTH]) -> R) -> R {
        self.0.expose(user)
    }

    /// The 512-bit AES-XTS key of `drive` (HKDF-SHA-256, RFC 5869; info is `confide/v1/drive/` and the drive's name).
    pub fn drive_key(&self, drive: Drive) -> Secret<[u8; 64]> {
        self.derive(&format!("confide/v1/drive/{}", drive.name()))
    }

    /// 64 bytes for another purpose: LUKS2 salts and UUIDs, so that a build has no randomness of its own.
    pub fn derive(&self, info: &str) -> Secret<[u8; 64]> {
        let mut out = [0; 64];
        self.0.expose(|key| {
            let pseudo_random = hkdf::Salt::new(hkdf::HKDF_SHA256, b"confide/v1").extract(key);
            let info = [info.as_bytes()];
            // Only a length above 255 hashes can fail, and the length is fixed.
            if let Ok(okm) = pseudo_random.expand(&info, Length64) {
                let _ = okm.fill(&mut out);
            }
        });
        let secret = Secret::new(out);
        zeroize::Zeroize::zeroize(&mut out);
        secret
    }
}

struct Length64;

impl hkdf::KeyType for Length64 {
    fn len(&self) -> usize {
        64
    }
}

/// A geometry that does not have its one form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a volume's geometry (wanted v1:CIPHER:OFFSET:DATA_BLOCKS:TREE_BLOCKS:ROOT_HASH)")]
pub struct GeometryError {
    /// The text given.
    pub text: String,
}

/// What the guest must know to open a sealed drive without believing anything that is written on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Byte offset of the sealed data on the drive.
    pub data_offset: u64,
    /// ext4 blocks.
    pub data_blocks: u64,
    /// dm-verity blocks, which follow directly (no superblock).
    pub tree_blocks: u64,
    /// Root hash of the tree.
    pub root_hash: VerityRoot,
}

impl Geometry {
    /// Bytes of ext4 and tree together.
    pub fn sealed_bytes(&self) -> u64 {
        self.data_blocks.saturating_add(self.tree_blocks).saturating_mul(BLOCK_SIZE)
    }

    /// Byte offset of the unused tail, where the scratch area starts (aligned to 1 MiB).
    pub fn tail_offset(&self) -> u64 {
        self.data_offset.saturating_add(self.sealed_bytes()).checked_next_multiple_of(1 << 20).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "v1:{CIPHER}:{}:{}:{}:{}", self.data_offset, self.data_blocks, self.tree_blocks, self.root_hash)
    }
}

impl FromStr for Geometry {
    type Err = GeometryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || GeometryError { text: text.chars().take(200).collect() };
        let fields: Vec<&str> = text.split(':').collect();
        let [version, cipher, offset, data, tree, root] = fields.as_slice() else { return Err(wrong()) };
        let number = |field: &str| field.parse::<u64>().map_err(|_| wrong());
        let geometry = Self {
            data_offset: number(offset)?,
            data_blocks: number(data)?,
            tree_blocks: number(tree)?,
            root_hash: root.parse().map_err(|_| wrong())?,
        };
        let end = geometry
            .data_blocks
            .checked_add(geometry.tree_blocks)
            .and_then(|blocks| blocks.checked_mul(BLOCK_SIZE))
            .and_then(|bytes| bytes.checked_add(geometry.data_offset));
        let sound = *version == "v1"
            && *cipher == CIPHER
            && geometry.data_blocks > 0
            && geometry.data_offset.is_multiple_of(BLOCK_SIZE)
            && end.is_some_and(|end| end < 1 << 50);
        // One text for one value: no leading zeros, no plus signs.
        if sound && geometry.to_string() == text { Ok(geometry) } else { Err(wrong()) }
    }
}

impl Serialize for Geometry {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Geometry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry_has_one_text() {
        let geometry =
            Geometry { data_offset: DATA_OFFSET, data_blocks: 10, tree_blocks: 1, root_hash: VerityRoot([1; 32]) };
        let text = geometry.to_string();
        assert_eq!(text.parse(), Ok(geometry));
        let other = text.replacen(":10:", ":010:", 1);
        assert_eq!(other.parse::<Geometry>(), Err(GeometryError { text: other.clone() }));
        let null_cipher = text.replace(CIPHER, "cipher_null-ecb");
        assert!(null_cipher.parse::<Geometry>().is_err());
    }

    #[test]
    fn drives_have_different_keys() {
        let key = VolumeKey::from_slice(&[9; 32]).unwrap();
        let root = key.drive_key(Drive::Root).expose(|bytes| *bytes);
        let config = key.drive_key(Drive::UserConfig).expose(|bytes| *bytes);
        assert_ne!(root, config);
        assert_ne!(root[..32], root[32..]);
        assert_eq!(VolumeKey::from_slice(&[1; 31]).unwrap_err(), VolumeKeyError { got: 31 });
    }
}
