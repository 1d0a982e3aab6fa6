//! The root volume of a bundle: an image's layers and Confide's own files, sealed into a qcow2 drive.
//!
//! *Takes* a container archive, files to add, a volume key and the drive's size. Nothing is unpacked: blocks are read
//! from the archive (or from one nameless scratch file, where something is compressed) when they are sealed.
//! *Guarantees* that the same archive, files and key give the same bytes; that memory grows with the number of files
//! and not with their size; and that a drive is left behind only when every layer had its digest.
//! *Does not check* what the image does.

mod error;
mod user;

pub use error::{RootVolumeError, UserError};

use crate::archive::{ArchiveError, Image, ImageConfig, Opening};
use crate::overlay::{Limits, Merger, resolve};
use crate::qcow2::{Plan, Writer};
use crate::volume_cache::{Cache, Known};
use aws_lc_rs::digest;
use claims::volume::{BLOCK_SIZE, DATA_OFFSET, Drive, Geometry, VolumeKey};
use claims::workload::User;
use claims::{Digest256, VerityRoot};
use sealed::FileDevice;
use sealed::ext4::{Layout, Options, Size};
use sealed::luks2::HEADER_BYTES;
use sealed::seal::{Job, SealError, seal, seal_again, seal_keeping};
use sealed::tree::{Content, Kind, Meta, Tree};
use sealed::verity::tree_blocks;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Room that must stay on the drive for what the container writes.
const SCRATCH_ROOM: u64 = 16 << 20;
/// How much an archive may unpack to, as a multiple of the drive: layers may hide each other's files.
const UNPACKED_TIMES: u64 = 16;
/// Largest hash tree that is held in memory to be kept for another site (for 8 GiB of files).
const TREE_KEPT: u64 = 64 << 20;
/// Folders that the guest mounts something on.
const MOUNT_POINTS: [(&str, u16); 8] = [
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o755),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("user_config", 0o755),
    ("user_data", 0o755),
    ("applog", 0o755),
];
/// Files that the guest mounts its own over.
const MOUNTED_FILES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// Where the image comes from.
pub struct Source<'a> {
    /// What `docker save` wrote, or an OCI layout.
    pub archive: &'a Path,
    /// The image wanted, by name or digest, where the archive holds several.
    pub reference: Option<&'a str>,
    /// Folder for the scratch file: on the disk that the drive will be on.
    pub scratch: &'a Path,
    /// Folder that keeps what is the same for the next site; none keeps nothing.
    pub cache: Option<&'a Path>,
    /// Bytes of the drive.
    pub drive_bytes: u64,
    /// Asked now and then whether to give up.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// How the drive is written.
pub struct Sealing<'a> {
    /// The drive's file, which must not exist yet.
    pub out: &'a Path,
    /// The site's volume key.
    pub key: &'a VolumeKey,
    /// Threads to use; changes the time only.
    pub threads: usize,
    /// Told of each number of bytes that were sealed, from any thread.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Asked now and then whether to give up.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// An image's merged files, to which the caller adds.
#[derive(Debug)]
pub struct RootVolume {
    image: Image,
    tree: Tree,
    drive_bytes: u64,
    cache: Option<Cache>,
    /// Of the files added so far.
    added: Digest256,
}

/// A drive that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// How the guest opens it.
    pub geometry: Geometry,
    /// Bytes of files on it.
    pub content_bytes: u64,
    /// Files, folders and links on it.
    pub nodes: u64,
    /// Whether the hashes came from the cache.
    pub from_cache: bool,
}

impl RootVolume {
    /// Opens the archive and merges the layers; adds the folders that the guest mounts on, where they are missing.
    pub fn open(source: &Source<'_>) -> Result<Self, RootVolumeError> {
        let limit = source.drive_bytes.saturating_mul(UNPACKED_TIMES).min(Limits::WIDEST.bytes);
        let cache = source.cache.and_then(|folder| Cache::find(folder, source.archive, source.reference));
        let read = |scratch| {
            let opening = Opening { reference: source.reference, scratch, limit, cancelled: source.cancelled };
            Image::open(source.archive, &opening)
        };
        let (image, cache) = match cache.as_ref().and_then(Cache::image) {
            Some(image) => (image, cache),
            None => match read(cache.as_ref().map_or(source.scratch, Cache::folder)) {
                // The cache's disk may be full or read-only where the drive's is not.
                Err(ArchiveError::Scratch { .. }) if cache.is_some() => (read(source.scratch)?, None),
                image => (image?, cache),
            },
        };
        let mut merger = Merger::new(Limits { bytes: limit, ..Limits::WIDEST });
        for layer in &image.layers {
            if (source.cancelled)() {
                return Err(RootVolumeError::Cancelled);
            }
            let name = format!("sha256:{}", layer.digest);
            merger.layer(&name, layer.source, layer.offset, || image.reader(layer))?;
        }
        let mut volume =
            Self { image, tree: merger.finish(), drive_bytes: source.drive_bytes, cache, added: Digest256([0; 32]) };
        volume.add_mount_points()?;
        Ok(volume)
    }

    /// What the image says about how it is started.
    pub fn config(&self) -> &ImageConfig {
        &self.image.config
    }

    /// The image's identity: SHA-256 of its configuration.
    pub fn image_id(&self) -> Digest256 {
        self.image.id
    }

    /// Names that the archive gives the image.
    pub fn image_names(&self) -> &[String] {
        &self.image.names
    }

    /// Digests of the layers, lowest first.
    pub fn layer_digests(&self) -> impl Iterator<Item = Digest256> {
        self.image.layers.iter().map(|layer| layer.digest)
    }

    /// The merged files.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Turns `name`, `uid`, `name:group` and so on into numbers, by the image's own `/etc/passwd` and `/etc/group`.
    pub fn user(&self, text: &str) -> Result<User, UserError> {
        let read = |path| user::read_text(&self.tree, &self.image, path);
        user::resolve_user(text, &read("etc/passwd"), &read("etc/group"))
    }

    /// Adds a file that is root's, replacing what is there. The path is taken literally, links are not followed.
    pub fn add_file(&mut self, path: &str, mode: u16, bytes: &[u8]) -> Result<(), RootVolumeError> {
        self.added = chain(self.added, &[path.as_bytes(), &mode.to_le_bytes(), bytes]);
        self.tree.put(path.as_bytes(), Meta::plain(mode), Kind::File(Content::Inline(bytes.into())))?;
        Ok(())
    }

    /// Seals everything into a qcow2 file. On any error the file is removed again.
    pub fn write(mut self, sealing: &Sealing<'_>) -> Result<Written, RootVolumeError> {
        let options = Options {
            size: Size::Minimal,
            label: "confide-root".to_owned(),
            uuid: self.uuid(),
            journal: false,
            time: 0,
        };
        let layout = Layout::plan(&self.tree, &options)?;
        let (content_bytes, nodes) = (self.tree.content_bytes(), self.tree.len());
        // The plan holds what is needed; with millions of files the tree is most of the memory.
        self.tree = Tree::new(Meta::plain(0o755));
        let plan = self.plan(&layout)?;
        let write_error = |source| RootVolumeError::Write { path: sealing.out.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(sealing.out).map_err(write_error)?;
        let sealed = self.seal(&layout, plan, file, sealing);
        if sealed.is_err() {
            // The build's error is the one to tell.
            let _ = std::fs::remove_file(sealing.out);
        }
        sealed.map(|(geometry, from_cache)| Written { geometry, content_bytes, nodes, from_cache })
    }

    fn seal(
        &mut self,
        layout: &Layout,
        plan: Plan,
        file: File,
        sealing: &Sealing<'_>,
    ) -> Result<(Geometry, bool), RootVolumeError> {
        let write_error = |source| RootVolumeError::Write { path: sealing.out.to_owned(), source };
        let sink = Writer::new(plan, FileDevice::new(file).map_err(write_error)?).map_err(write_error)?;
        let stop = AtomicBool::new(false);
        let cancelled = || stop.load(Ordering::Relaxed) || (sealing.cancelled)();
        let job = Job {
            layout,
            sources: &self.image,
            key: sealing.key,
            drive: Drive::Root,
            sink: &sink,
            progress: sealing.progress,
            cancelled: &cancelled,
            threads: sealing.threads.max(1),
        };
        let identity = self.identity();
        let known = self.cache.as_ref().and_then(|cache| cache.plain(&identity, layout, &self.image));
        let keep = self.cache.is_some() && tree_blocks(layout.blocks()).saturating_mul(BLOCK_SIZE) <= TREE_KEPT;
        let (sealed, checked) = thread::scope(|scope| {
            // Digests of what is read in place are computed beside the sealing; a wrong one stops it.
            let checker = scope.spawn(|| {
                let checked = self.image.check(&cancelled);
                stop.fetch_or(checked.is_err(), Ordering::Relaxed);
                checked
            });
            let sealed = match &known {
                Some(plain) => seal_again(&job, plain).map(|geometry| (geometry, None)),
                None if keep => seal_keeping(&job).map(|plain| (plain.geometry, Some(plain))),
                None => seal(&job).map(|geometry| (geometry, None)),
            };
            stop.fetch_or(sealed.is_err(), Ordering::Relaxed);
            (sealed, checker.join())
        });
        match checked {
            // Stopped because sealing failed: that error is the one to tell.
            Ok(Err(ArchiveError::Cancelled)) => {}
            Ok(checked) => checked?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        let (geometry, plain) = sealed.map_err(|error| match error {
            SealError::Cancelled => RootVolumeError::Cancelled,
            SealError::Write { source, .. } => write_error(source),
            other => other.into(),
        })?;
        if (sealing.cancelled)() {
            return Err(RootVolumeError::Cancelled);
        }
        if let (Some(cache), Some(plain)) = (&self.cache, &plain) {
            cache.keep(&Known { identity: &identity, image: &self.image, plain });
        }
        Ok((geometry, known.is_some()))
    }

    fn plan(&self, layout: &Layout) -> Result<Plan, RootVolumeError> {
        let geometry = Geometry {
            data_offset: DATA_OFFSET,
            data_blocks: layout.blocks(),
            tree_blocks: tree_blocks(layout.blocks()),
            root_hash: VerityRoot([0; 32]),
        };
        let needed = geometry.tail_offset().saturating_add(SCRATCH_ROOM);
        if needed > self.drive_bytes {
            return Err(RootVolumeError::TooSmall { needed, given: self.drive_bytes });
        }
        let sealed = DATA_OFFSET..DATA_OFFSET.saturating_add(geometry.sealed_bytes());
        Ok(Plan::new(self.drive_bytes, &[0..HEADER_BYTES as u64, sealed])?)
    }

    fn add_mount_points(&mut self) -> Result<(), RootVolumeError> {
        let missing = |tree: &Tree, path: &str| tree.get(path.as_bytes()).is_none();
        for (path, mode) in MOUNT_POINTS {
            if missing(&self.tree, path) {
                self.tree.put(path.as_bytes(), Meta::plain(mode), Kind::Folder)?;
            }
        }
        for path in MOUNTED_FILES {
            let folder = resolve(&self.tree, b"etc").unwrap_or_else(|| b"etc".to_vec());
            let name = path.strip_prefix("etc").unwrap_or(path);
            let path = [&folder, name.as_bytes()].concat();
            let is_folder = self.tree.get(&folder).is_none_or(|(_, kind)| *kind == Kind::Folder);
            if is_folder && self.tree.get(&path).is_none() {
                self.tree.put(&path, Meta::plain(0o644), Kind::File(Content::Inline(Vec::new().into())))?;
            }
        }
        Ok(())
    }

    /// Of the image, so that it says the same for every site.
    fn uuid(&self) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid.iter_mut().zip(self.image.id.as_bytes()).for_each(|(out, byte)| *out = *byte);
        // Version 8, variant 1 (RFC 9562): bits of our own choice.
        let [_, _, _, _, _, _, version, _, variant, ..] = &mut uuid;
        *version = *version & 0x0f | 0x80;
        *variant = *variant & 0x3f | 0x80;
        uuid
    }

    /// Of everything that the hash tree depends on.
    fn identity(&self) -> Digest256 {
        chain(self.added, &[self.image.id.as_bytes()])
    }
}

fn chain(before: Digest256, parts: &[&[u8]]) -> Digest256 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(before.as_bytes());
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    Digest256(out)
}
