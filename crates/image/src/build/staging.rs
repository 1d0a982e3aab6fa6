//! The folder a bundle is made in: it gets its name when it is whole, and goes away when it does not become so.

use super::BuildError;
use sealed::FileDevice;
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A folder beside the wanted one, removed when dropped before [`Staging::keep`].
pub(crate) struct Staging {
    folder: PathBuf,
    kept: bool,
}

impl Staging {
    /// Makes the folder `.NAME.partial-PID` beside `out`.
    pub(crate) fn new(out: &Path) -> Result<Self, BuildError> {
        let name = out.file_name().ok_or_else(|| BuildError::Exists { path: out.to_owned() })?;
        let folder = out.with_file_name(format!(".{}.partial-{}", name.to_string_lossy(), std::process::id()));
        let write = |source| BuildError::Write { path: folder.clone(), source };
        // A folder of that name is left from a process that was killed and had the same number.
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(write)?;
        }
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(write)?;
        }
        std::fs::create_dir(&folder).map_err(write)?;
        let staging = Self { folder, kept: false };
        set_mode(&staging.folder, 0o755)?;
        Ok(staging)
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file with a fixed mode, whatever the umask is.
    pub(crate) fn write(&self, name: &str, mode: u32, bytes: &[u8]) -> Result<(), BuildError> {
        let path = self.path(name);
        let mut file = create(&path)?;
        file.write_all(bytes).map_err(|source| BuildError::Write { path: path.clone(), source })?;
        set_mode(&path, mode)
    }

    /// Makes an empty file to write by offset.
    pub(crate) fn device(&self, name: &str) -> Result<FileDevice, BuildError> {
        let path = self.path(name);
        let file = create(&path)?;
        set_mode(&path, 0o644)?;
        FileDevice::new(file).map_err(|source| BuildError::Write { path, source })
    }

    /// Gives a file that somebody else wrote the mode of all others.
    pub(crate) fn fix_mode(&self, name: &str) -> Result<(), BuildError> {
        set_mode(&self.path(name), 0o644)
    }

    /// Bytes that the files in it really take.
    pub(crate) fn bytes(&self) -> Result<u64, BuildError> {
        let read = |source| BuildError::Read { what: "the folder", path: self.folder.clone(), source };
        let mut bytes = 0_u64;
        for entry in std::fs::read_dir(&self.folder).map_err(read)? {
            let blocks = entry.and_then(|entry| entry.metadata()).map_err(read)?.blocks();
            bytes = bytes.saturating_add(blocks.saturating_mul(512));
        }
        Ok(bytes)
    }

    /// Gives it its name.
    pub(crate) fn keep(mut self, out: &Path) -> Result<(), BuildError> {
        // Without replacing: somebody may have made the folder meanwhile.
        let renamed = rustix::fs::renameat_with(
            rustix::fs::CWD,
            &self.folder,
            rustix::fs::CWD,
            out,
            rustix::fs::RenameFlags::NOREPLACE,
        );
        match renamed {
            Ok(()) => {
                self.kept = true;
                Ok(())
            }
            Err(rustix::io::Errno::EXIST) => Err(BuildError::Exists { path: out.to_owned() }),
            Err(error) => Err(BuildError::Write { path: out.to_owned(), source: error.into() }),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody is left to tell if this fails; the name says what the folder is.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// A file beside the wanted one, removed when dropped before [`Unfinished::keep`].
pub(crate) struct Unfinished {
    path: PathBuf,
    wanted: PathBuf,
    kept: bool,
}

impl Unfinished {
    /// Makes nothing yet: the caller writes to [`Unfinished::path`].
    pub(crate) fn new(wanted: PathBuf) -> Result<Self, BuildError> {
        let name = wanted.file_name().ok_or_else(|| BuildError::Exists { path: wanted.clone() })?;
        let path = wanted.with_file_name(format!(".{}.partial-{}", name.to_string_lossy(), std::process::id()));
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(BuildError::Write { path, source }),
            _ => Ok(Self { path, wanted, kept: false }),
        }
    }

    /// Where to write.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name; what was there is replaced.
    pub(crate) fn keep(mut self) -> Result<PathBuf, BuildError> {
        set_mode(&self.path, 0o644)?;
        std::fs::rename(&self.path, &self.wanted)
            .map_err(|source| BuildError::Write { path: self.wanted.clone(), source })?;
        self.kept = true;
        Ok(self.wanted.clone())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.kept {
            // It may not have been made, and nobody is left to tell.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Creates a file that must not be there.
pub(crate) fn create(path: &Path) -> Result<File, BuildError> {
    let open = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(path);
    open.map_err(|source| BuildError::Write { path: path.to_owned(), source })
}

fn set_mode(path: &Path, mode: u32) -> Result<(), BuildError> {
    let set = std::fs::set_permissions(path, Permissions::from_mode(mode));
    set.map_err(|source| BuildError::Write { path: path.to_owned(), source })
}
