//! Opening the sealed drives: dm-crypt under the key that the broker released, dm-verity above it, ext4 on top.

use crate::console::Public;
use crate::devices::{BlockDevice, DeviceError, DriveName};
use crate::mapper::{Crypt, Mapper, MapperError, Verity};
use crate::mounts::{self, MountError};
use crate::public;
use claims::Code;
use claims::volume::{BLOCK_SIZE, Drive, Geometry, VolumeKey};
use claims::workload::{SETTINGS_PATH, Settings, SettingsError};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Names in the device-mapper of the verified devices, which are watched while the workload runs.
pub const VERIFIED_ROOT: &str = "root";
/// As [`VERIFIED_ROOT`], for the site's configuration.
pub const VERIFIED_CONFIG: &str = "user_config";

/// Why a sealed drive does not open.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The drive is missing.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The drive is shorter than its measured geometry.
    #[error("drive `{name}` has {got} bytes, its measured layout needs {wanted}")]
    Short {
        /// The drive.
        name: &'static str,
        /// Its size.
        got: u64,
        /// The size needed.
        wanted: u64,
    },
    /// A block does not match the measured root hash.
    #[error("drive `{name}` does not match its root hash: it is damaged, or the key is another volume's")]
    Corrupted {
        /// The drive.
        name: &'static str,
    },
    /// The kernel cannot map it.
    #[error("drive `{name}` cannot be mapped")]
    Mapper {
        /// The drive.
        name: &'static str,
        /// Why.
        source: MapperError,
    },
    /// It cannot be read.
    #[error("drive `{name}` cannot be read")]
    Read {
        /// The drive.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It cannot be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The settings in it are not usable.
    #[error("the workload's settings in the root volume cannot be used")]
    Settings(#[from] SettingsError),
}

impl VolumeError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Device(error) => error.code(),
            Self::Short { .. } => Code::Drive,
            Self::Mount(error) => error.code(),
            Self::Settings(_) => Code::Workload,
            _ => Code::Root,
        }
    }

    /// For the console: constants, sizes and the kernel's reasons.
    pub fn words(&self) -> Public {
        match self {
            Self::Device(error) => error.words(),
            Self::Mount(error) => error.words(),
            Self::Read { name, source } => public!("drive `", name, "` cannot be read: ", source),
            Self::Settings(_) => public!("the workload's settings in the root volume cannot be used"),
            other => Public::reviewed(other),
        }
    }
}

/// A drive must hold what its measured geometry says.
pub fn long_enough(drive: &BlockDevice, geometry: &Geometry) -> Result<(), VolumeError> {
    let wanted = geometry.data_offset.saturating_add(geometry.sealed_bytes());
    if drive.size < wanted {
        return Err(VolumeError::Short { name: drive.name.serial(), got: drive.size, wanted });
    }
    Ok(())
}

/// Opens, verifies and mounts the root volume, and reads the workload's settings in it.
pub fn open_root(
    mapper: &Mapper,
    drive: &BlockDevice,
    geometry: &Geometry,
    key: &VolumeKey,
) -> Result<Settings, VolumeError> {
    open(mapper, drive, geometry, key, &ROOT)?;
    let path = Path::new(mounts::ROOT_VOLUME).join(SETTINGS_PATH);
    let bytes = read_bounded(&path).map_err(|source| failed(mapper, &ROOT, source))?;
    Ok(Settings::parse(&bytes)?)
}

/// Opens, verifies and mounts the site's configuration.
pub fn open_config(
    mapper: &Mapper,
    drive: &BlockDevice,
    geometry: &Geometry,
    key: &VolumeKey,
) -> Result<(), VolumeError> {
    open(mapper, drive, geometry, key, &CONFIG)
}

struct Sealed {
    drive: Drive,
    name: DriveName,
    encrypted: &'static str,
    verified: &'static str,
    place: &'static str,
    what: &'static str,
}

const ROOT: Sealed = Sealed {
    drive: Drive::Root,
    name: DriveName::Root,
    encrypted: "root-sealed",
    verified: VERIFIED_ROOT,
    place: mounts::ROOT_VOLUME,
    what: "the root volume",
};

const CONFIG: Sealed = Sealed {
    drive: Drive::UserConfig,
    name: DriveName::UserConfig,
    encrypted: "user_config-sealed",
    verified: VERIFIED_CONFIG,
    place: mounts::USER_CONFIG,
    what: "the user_config drive",
};

const MAX_SETTINGS: u64 = 1 << 20;

fn open(
    mapper: &Mapper,
    drive: &BlockDevice,
    geometry: &Geometry,
    key: &VolumeKey,
    sealed: &Sealed,
) -> Result<(), VolumeError> {
    long_enough(drive, geometry)?;
    let name = sealed.name.serial();
    let unmapped = |source| VolumeError::Mapper { name, source };
    let (offset, length) = (geometry.data_offset, geometry.sealed_bytes());
    let crypt = Crypt { device: &drive.node, offset, length, read_only: true };
    let table = key.drive_key(sealed.drive).expose(|key| crypt.table(key));
    let encrypted = mapper.create(sealed.encrypted, &table).map_err(unmapped)?;
    drop(table);
    let verity = Verity { device: encrypted.node, geometry: *geometry };
    let verified = mapper.create(sealed.verified, &verity.table()).map_err(unmapped)?;
    // A wrong key shows here, before anything interprets a block.
    let mut block = [0; BLOCK_SIZE as usize];
    File::open(&verified.node)
        .and_then(|mut device| device.read_exact(&mut block))
        .map_err(|source| failed(mapper, sealed, source))?;
    mounts::sealed_volume(&verified.node, sealed.place, sealed.what).map_err(|error| {
        if mapper.is_corrupted(sealed.verified).unwrap_or(true) { corrupted(sealed) } else { error.into() }
    })
}

fn failed(mapper: &Mapper, sealed: &Sealed, source: io::Error) -> VolumeError {
    if mapper.is_corrupted(sealed.verified).unwrap_or(true) {
        return corrupted(sealed);
    }
    VolumeError::Read { name: sealed.name.serial(), source }
}

fn corrupted(sealed: &Sealed) -> VolumeError {
    VolumeError::Corrupted { name: sealed.name.serial() }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SETTINGS).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use claims::VerityRoot;

    #[test]
    fn a_drive_shorter_than_its_layout_is_named() {
        let geometry = Geometry { data_offset: 4096, data_blocks: 3, tree_blocks: 1, root_hash: VerityRoot([0; 32]) };
        let drive = |size| BlockDevice { name: DriveName::Root, node: "/dev/vda".into(), size };
        assert!(long_enough(&drive(20_480), &geometry).is_ok());
        let error = long_enough(&drive(20_479), &geometry).unwrap_err();
        assert_eq!(error.code(), Code::Drive);
        assert_eq!(error.words().line(), "drive `root` has 20479 bytes, its measured layout needs 20480");
    }
}
