//! Keeps what is the same for every site of an image, so that the next site's drive is only encrypted.
//!
//! *Takes* a folder of the user's own. An entry is found by the archive's path, inode, size and times: a changed
//! archive has no entry. Kept are the hash tree (1/127 of the files) and, of a compressed archive, its layers in
//! plain, for which the scratch file gets a name instead of vanishing; nothing is copied.
//! *Guarantees* that a tree is used only for the very files and settings it was made from: it is checked against its
//! digest, its root hash and a sample of the blocks. A cache that cannot be used or written is as good as none.
//! *Does not check* who wrote an entry: a folder that others may write to is not used.

use crate::archive::{Image, Kept};
use aws_lc_rs::digest;
use claims::Digest256;
use claims::volume::{BLOCK_SIZE, Geometry};
use rustix::fs::{AtFlags, CWD, linkat};
use sealed::ext4::Layout;
use sealed::seal::Plain;
use sealed::verity;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Changes when another version would give other trees or entries for the same files.
const VERSION: &str = concat!("confide cache 2, ", env!("CARGO_PKG_VERSION"));
/// Entries that are kept; the oldest go first.
const MAX_ENTRIES: usize = 8;
/// Blocks compared with a kept tree: so many from the start, where the metadata are, and so many spread over the rest.
const SAMPLE: u64 = 1024;
const MAGIC: &[u8; 8] = b"CFDTREE1";
const BLOCK: usize = BLOCK_SIZE as usize;

/// The entry of one archive, which may be empty yet.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    archive: PathBuf,
    stamp: Stamp,
}

/// What is to be kept.
pub(crate) struct Known<'a> {
    /// Of image, files added and settings.
    pub(crate) identity: &'a Digest256,
    /// The image.
    pub(crate) image: &'a Image,
    /// Its volume's tree.
    pub(crate) plain: &'a Plain,
}

/// By which a file is known to be the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Serialize, Deserialize)]
struct Entry {
    version: String,
    image: Kept,
    /// Of the file `layers`, where there is one.
    layers: Option<Stamp>,
}

impl Cache {
    /// The entry for an archive; none where there can be none.
    pub(crate) fn find(root: &Path, archive: &Path, reference: Option<&str>) -> Option<Self> {
        let stamp = Stamp::of(archive)?;
        let archive = archive.canonicalize().ok()?;
        let key = serde_json::to_vec(&(VERSION, &archive, &stamp, reference)).ok()?;
        let folder = root.join(hex::encode(digest::digest(&digest::SHA256, &key)));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
        for folder in [root, &folder] {
            let metadata = fs::metadata(folder).ok()?;
            if metadata.mode() & 0o022 != 0 || metadata.uid() != rustix::process::geteuid().as_raw() {
                return None;
            }
        }
        Some(Self { folder, archive, stamp })
    }

    /// Where a scratch file has to be made so that it can be kept.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The image, if an earlier build has checked it.
    pub(crate) fn image(&self) -> Option<Image> {
        let entry: Entry = serde_json::from_slice(&fs::read(self.folder.join("image.json")).ok()?).ok()?;
        let layers = self.folder.join("layers");
        if entry.version != VERSION || (entry.layers.is_some() && Stamp::of(&layers) != entry.layers) {
            return None;
        }
        let image = Image::from_kept(entry.image, &self.archive, &layers).ok()?;
        (Stamp::of(&self.archive).as_ref() == Some(&self.stamp)).then_some(image)
    }

    /// The kept tree of a layout, if it fits.
    pub(crate) fn plain(&self, identity: &Digest256, layout: &Layout, image: &Image) -> Option<Plain> {
        let bytes = fs::read(self.tree_path(identity)).ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (stated, rest) = rest.split_first_chunk::<32>()?;
        if digest::digest(&digest::SHA256, rest).as_ref() != stated {
            return None;
        }
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (text, tree) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let geometry: Geometry = std::str::from_utf8(text).ok()?.parse().ok()?;
        let plain = Plain { geometry, tree: tree.to_vec() };
        (geometry.data_blocks == layout.blocks() && fits(&plain, layout, image).unwrap_or(false)).then_some(plain)
    }

    /// Keeps what was made. Whatever goes wrong, the build is not affected.
    pub(crate) fn keep(&self, known: &Known<'_>) {
        let _ = self.try_keep(known);
        self.prune();
    }

    fn try_keep(&self, known: &Known<'_>) -> io::Result<()> {
        if Stamp::of(&self.archive).as_ref() != Some(&self.stamp) {
            return Ok(());
        }
        let layers = self.folder.join("layers");
        if let Some(scratch) = known.image.scratch_file() {
            match fs::remove_file(&layers) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let nameless = format!("/proc/self/fd/{}", scratch.as_raw_fd());
            linkat(CWD, nameless, CWD, &layers, AtFlags::SYMLINK_FOLLOW)?;
        }
        if let Some(kept) = known.image.kept() {
            let stamp = Stamp::of(&layers);
            let entry = Entry { version: VERSION.to_owned(), image: kept, layers: stamp };
            self.put(&self.folder.join("image.json"), &[&serde_json::to_vec(&entry)?])?;
        }
        let geometry = known.plain.geometry.to_string();
        let length = u16::try_from(geometry.len()).unwrap_or_default().to_be_bytes();
        let mut context = digest::Context::new(&digest::SHA256);
        let parts = [length.as_slice(), geometry.as_bytes(), &known.plain.tree];
        parts.iter().for_each(|part| context.update(part));
        let stated = context.finish();
        let [length, geometry, tree] = parts;
        self.put(&self.tree_path(known.identity), &[MAGIC, stated.as_ref(), length, geometry, tree])
    }

    fn put(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.persist(path).map(|_| ()).map_err(|error| error.error)
    }

    fn tree_path(&self, identity: &Digest256) -> PathBuf {
        self.folder.join(format!("{identity}.tree"))
    }

    fn prune(&self) {
        let Some(entries) = self.folder.parent().and_then(|root| fs::read_dir(root).ok()) else { return };
        let mut found: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let ours = entry.file_name().len() == 64 && entry.path() != self.folder;
                Some((entry.metadata().ok().filter(|_| ours)?.modified().ok()?, entry.path()))
            })
            .collect();
        found.sort();
        let surplus = found.len().saturating_sub(MAX_ENTRIES.saturating_sub(1));
        for (_, path) in found.into_iter().take(surplus) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Whether the tree's root is right, and a sample of the blocks has the hashes that it says.
fn fits(plain: &Plain, layout: &Layout, image: &Image) -> io::Result<bool> {
    let blocks = layout.blocks();
    let Some(leaves) = verity::levels(blocks).first().cloned() else { return Ok(false) };
    let mut hashes = [[0; verity::HASH]; 1];
    let Some(top) = plain.tree.get(..BLOCK) else { return Ok(false) };
    verity::hash_blocks(top, &mut hashes);
    if hashes[0] != *plain.geometry.root_hash.as_bytes() {
        return Ok(false);
    }
    let mut block = vec![0; BLOCK];
    let spread = (blocks / SAMPLE).max(1);
    let sample = (0..blocks.min(SAMPLE)).chain((0..blocks).step_by(usize::try_from(spread).unwrap_or(1)));
    for index in sample {
        layout.fill(index, &mut block, image)?;
        verity::hash_blocks(&block, &mut hashes);
        let at = leaves.start.saturating_mul(BLOCK_SIZE).saturating_add(index.saturating_mul(verity::HASH as u64));
        let stated = usize::try_from(at).ok().and_then(|at| plain.tree.get(at..)?.first_chunk::<{ verity::HASH }>());
        if stated != Some(&hashes[0]) {
            return Ok(false);
        }
    }
    Ok(true)
}
