//! The drives, found by the serial numbers that the host gave them.
//!
//! *Takes* sysfs. Serial numbers and sizes are the host's word.
//! *Guarantees* that each name stands for at most one drive.
//! *Does not check* contents: each drive has its own check (HOST_DATA, verity, or none at all for `user_data`).

use crate::console::{Disclose, Public};
use crate::public;
use claims::Code;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Drives that a bundle can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriveName {
    /// The sealed root volume and the scratch area.
    Root,
    /// `site.json`.
    Site,
    /// The site's sealed configuration.
    UserConfig,
    /// The host's data.
    UserData,
    /// The log.
    Applog,
}

impl DriveName {
    /// The serial number.
    pub fn serial(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Site => "site",
            Self::UserConfig => "user_config",
            Self::UserData => "user_data",
            Self::Applog => "applog",
        }
    }
}

impl Disclose for DriveName {
    fn disclose(&self) -> Public {
        self.serial().disclose()
    }
}

/// An attached drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDevice {
    /// Which one it says it is.
    pub name: DriveName,
    /// Its node.
    pub node: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

/// Why a drive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No drive has this serial number.
    #[error("drive `{0}` is not attached")]
    Missing(&'static str),
    /// Two drives have one serial number.
    #[error("drive `{0}` is attached twice")]
    Twice(&'static str),
    /// The drive is empty or larger than what is read of it.
    #[error("drive `{name}` has {got} bytes, wanted are 1 to {limit}")]
    Size {
        /// The drive.
        name: &'static str,
        /// Its size.
        got: u64,
        /// The most that is read.
        limit: u64,
    },
    /// Reading failed.
    #[error("drive `{name}` cannot be read")]
    Read {
        /// The drive.
        name: &'static str,
        /// What happened.
        source: std::io::Error,
    },
}

impl DeviceError {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code::Drive
    }

    /// For the console: all fields are constants and sizes.
    pub fn words(&self) -> Public {
        match self {
            Self::Read { name, source } => public!("drive `", *name, "` cannot be read: ", source),
            other => Public::reviewed(other),
        }
    }
}

/// Looks for a drive, and waits for it for a while: drivers announce drives when they are ready.
pub fn find(name: DriveName, patience: Duration) -> Result<BlockDevice, DeviceError> {
    let started = crate::console::uptime();
    loop {
        match find_in(Path::new("/sys/block"), Path::new("/dev"), name) {
            Err(DeviceError::Missing(_)) if crate::console::uptime().saturating_sub(started) < patience => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

/// As [`find`], without waiting; a drive that is not there is no error.
pub fn find_optional(name: DriveName) -> Result<Option<BlockDevice>, DeviceError> {
    match find(name, Duration::ZERO) {
        Ok(device) => Ok(Some(device)),
        Err(DeviceError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a small drive once, whole.
pub fn read_whole(device: &BlockDevice, limit: usize) -> Result<Vec<u8>, DeviceError> {
    let name = device.name.serial();
    let length = usize::try_from(device.size).unwrap_or(usize::MAX);
    if length == 0 || length > limit {
        return Err(DeviceError::Size { name, got: device.size, limit: limit as u64 });
    }
    let mut bytes = vec![0; length];
    File::open(&device.node)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|source| DeviceError::Read { name, source })?;
    Ok(bytes)
}

fn find_in(blocks: &Path, nodes: &Path, name: DriveName) -> Result<BlockDevice, DeviceError> {
    let mut found = None;
    let entries = std::fs::read_dir(blocks).map_err(|source| DeviceError::Read { name: name.serial(), source })?;
    for entry in entries.flatten() {
        let serial = std::fs::read_to_string(entry.path().join("serial")).unwrap_or_default();
        if serial.trim_end_matches(['\n', '\0']) != name.serial() {
            continue;
        }
        let sectors = std::fs::read_to_string(entry.path().join("size")).unwrap_or_default();
        let size = sectors.trim().parse::<u64>().unwrap_or(0).saturating_mul(512);
        let device = BlockDevice { name, node: nodes.join(entry.file_name()), size };
        if found.replace(device).is_some() {
            return Err(DeviceError::Twice(name.serial()));
        }
    }
    found.ok_or(DeviceError::Missing(name.serial()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysfs(drives: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (node, serial, sectors) in drives {
            let place = folder.path().join(node);
            std::fs::create_dir(&place).unwrap();
            std::fs::write(place.join("serial"), serial).unwrap();
            std::fs::write(place.join("size"), sectors).unwrap();
        }
        folder
    }

    #[test]
    fn a_drive_is_found_by_its_serial() {
        let folder = sysfs(&[("vda", "root\n", "8\n"), ("vdb", "site", "2\n")]);
        let device = find_in(folder.path(), Path::new("/dev"), DriveName::Site).unwrap();
        assert_eq!(device, BlockDevice { name: DriveName::Site, node: "/dev/vdb".into(), size: 1024 });
        let missing = find_in(folder.path(), Path::new("/dev"), DriveName::Applog);
        assert!(matches!(missing, Err(DeviceError::Missing("applog"))));
    }

    #[test]
    fn two_drives_of_one_name_are_refused() {
        let folder = sysfs(&[("vda", "site", "8\n"), ("vdb", "site", "2\n")]);
        let twice = find_in(folder.path(), Path::new("/dev"), DriveName::Site);
        assert!(matches!(twice, Err(DeviceError::Twice("site"))));
    }

    #[test]
    fn an_oversized_drive_is_not_read() {
        let folder = sysfs(&[("vda", "site", "3000\n")]);
        let device = find_in(folder.path(), folder.path(), DriveName::Site).unwrap();
        let error = read_whole(&device, 1 << 20).unwrap_err();
        assert!(matches!(error, DeviceError::Size { got: 1_536_000, limit: 1_048_576, .. }));
        assert_eq!(error.words().line(), "drive `site` has 1536000 bytes, wanted are 1 to 1048576");
    }
}
