//! The workload's `/applog` folder as a tar archive that fits into a preallocated file.
//!
//! The folder is the workload's, which may change it while it is read: no link is followed, only regular files and
//! folders are taken, and every size is bounded by the archive's.

use super::Window;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the archive is written while the workload runs.
pub const EVERY: Duration = Duration::from_secs(60);

/// Folders below `/applog` that are looked into.
const MAX_DEPTH: usize = 8;
/// Entries taken.
const MAX_ENTRIES: usize = 4096;
const BLOCK: usize = 512;
/// Two empty blocks end an archive.
const END: usize = 2 * BLOCK;

/// Writes the folder to the drive, over and over.
#[derive(Debug)]
pub struct Snapshot {
    folder: PathBuf,
    window: Window,
}

impl Snapshot {
    /// Will write `folder` into `window`.
    pub fn new(folder: PathBuf, window: Window) -> Self {
        Self { folder, window }
    }

    /// Writes the folder as it is now.
    pub fn take(&mut self) -> io::Result<()> {
        let limit = usize::try_from(self.window.length()).unwrap_or(usize::MAX);
        let archive = pack(&self.folder, limit)?;
        self.window.replace(&archive)?;
        self.window.flush()
    }
}

/// A tar archive (ustar) of a folder, at most `limit` bytes long. What does not fit is left out and counted in a
/// last entry named `LEFT-OUT.txt`.
pub fn pack(folder: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(folder, flags, Mode::empty())?;
    let note_room = 2 * BLOCK;
    let mut archive = Archive { bytes: Vec::new(), limit: limit.saturating_sub(END + note_room), entries: 0, left: 0 };
    archive.folder(root.as_fd(), "", 0)?;
    let left = archive.left;
    let mut bytes = archive.bytes;
    if left > 0 {
        entry(&mut bytes, "LEFT-OUT.txt", b'0', format!("{left} entries did not fit\n").as_bytes());
    }
    if bytes.len().saturating_add(END) > limit {
        return Err(io::ErrorKind::StorageFull.into());
    }
    bytes.resize(bytes.len().saturating_add(END), 0);
    Ok(bytes)
}

struct Archive {
    bytes: Vec<u8>,
    limit: usize,
    entries: usize,
    left: u64,
}

impl Archive {
    fn folder(&mut self, folder: BorrowedFd<'_>, prefix: &str, depth: usize) -> io::Result<()> {
        let mut names = Vec::new();
        for item in Dir::read_from(folder)? {
            let name = item?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." && names.len() <= MAX_ENTRIES {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let path = format!("{prefix}{name}");
            // An entry that vanished or cannot be read is left out.
            if self.entries >= MAX_ENTRIES || self.item(folder, &name, &path, depth).is_err() {
                self.left = self.left.saturating_add(1);
            }
        }
        Ok(())
    }

    fn item(&mut self, folder: BorrowedFd<'_>, name: &str, path: &str, depth: usize) -> io::Result<()> {
        let kind = FileType::from_raw_mode(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match kind {
            FileType::Directory if depth < MAX_DEPTH => {
                let inner = openat(folder, name, flags | OFlags::DIRECTORY, Mode::empty())?;
                self.put(&format!("{path}/"), b'5', &[])?;
                self.folder(inner.as_fd(), &format!("{path}/"), depth.saturating_add(1))
            }
            FileType::RegularFile => {
                let file = File::from(openat(folder, name, flags, Mode::empty())?);
                // What is opened can differ from what was looked at.
                if !file.metadata()?.file_type().is_file() {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                let room = self.limit.saturating_sub(self.bytes.len());
                let mut contents = Vec::new();
                file.take(room as u64).read_to_end(&mut contents)?;
                self.put(path, b'0', &contents)
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn put(&mut self, path: &str, kind: u8, contents: &[u8]) -> io::Result<()> {
        let size = BLOCK.saturating_add(contents.len().next_multiple_of(BLOCK));
        if path.len() > 100 || self.bytes.len().saturating_add(size) > self.limit {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.entries = self.entries.saturating_add(1);
        entry(&mut self.bytes, path, kind, contents);
        Ok(())
    }
}

/// One ustar entry: root's, mode 0644 or 0755, time 0. `path` has at most 100 bytes.
fn entry(archive: &mut Vec<u8>, path: &str, kind: u8, contents: &[u8]) {
    let mode: &[u8] = if kind == b'5' { b"0000755\0" } else { b"0000644\0" };
    let size = format!("{:011o}\0", contents.len());
    let mut head = [0; BLOCK];
    let fields: [(usize, &[u8]); 9] = [
        (0, path.as_bytes()),
        (100, mode),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, size.as_bytes()),
        (136, b"00000000000\0"),
        (148, b"        "),
        (156, &[kind]),
        (257, b"ustar\x0000"),
    ];
    for (offset, bytes) in fields {
        if let Some(place) = head.get_mut(offset..offset.saturating_add(bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    if let Some(place) = head.get_mut(148..156) {
        place.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive.extend_from_slice(&head);
    archive.extend_from_slice(contents);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_reads_what_was_packed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        std::fs::write(folder.path().join("inner/note"), "hello").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let archive = pack(folder.path(), 1 << 16).unwrap();
        let out = tempfile::tempdir().unwrap();
        std::fs::write(out.path().join("a.tar"), &archive).unwrap();
        let status = std::process::Command::new("tar").args(["xf", "a.tar"]).current_dir(out.path()).status().unwrap();
        assert!(status.success());
        assert_eq!(std::fs::read(out.path().join("inner/note")).unwrap(), b"hello");
        assert!(!out.path().join("link").exists());
        assert_eq!(std::fs::read(out.path().join("LEFT-OUT.txt")).unwrap(), b"1 entries did not fit\n");
    }

    #[test]
    fn an_archive_never_exceeds_its_place() {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..20 {
            std::fs::write(folder.path().join(format!("f{index}")), vec![b'x'; 3000]).unwrap();
        }
        for limit in [4096, 8192, 20_000, 100_000] {
            assert!(pack(folder.path(), limit).unwrap().len() <= limit);
        }
        assert!(pack(folder.path(), 100).is_err() || pack(folder.path(), 100).unwrap().len() <= 100);
    }
}
