//! Root hashes of container layers: tar, then ext4, then dm-verity, byte for byte what hcsshim's tar2ext4 makes (with
//! `ConvertWhiteout`, at most 128 GiB). These are the `layers` of a CCE policy.
//!
//! *Takes* a layer's tar file as a stream, or an image whose layers are read one after the other.
//! *Guarantees* the root hash, image and refusals of hcsshim since 2024-09-25, whatever the machine and the number of
//! threads; that a layer is read once, and is not kept in memory: what is kept grows with the number of entries.
//! *Does not check* whether a host runs the same hcsshim: [`Lint`] names what other versions hash differently; nor
//! what is in the files.

mod blocks;
mod error;
mod extents;
mod input;
mod layout;
mod lint;
mod order;
mod pax;
mod repack;
mod sparse;
mod tar;
mod time;
mod tree;
mod xattrs;

pub use error::LayerError;
pub use lint::{Lint, LintKind};
pub use repack::repack;

use crate::archive::Image;
use blocks::{Blocks, Stream, hashed};
use claims::{Digest256, VerityRoot};
use input::Input;
use sealed::WriteAt;
use std::io::{self, Read};
use tar::{Entry, Part, Reader};
use tree::{BLOCK_DEVICE, CHARACTER, FIFO, FILE, FOLDER, Meta, SYMLINK, Tree};

/// Largest image: what dmverity-vhd and confcom ask hcsshim for.
pub const MAX_DISK: u64 = 128 << 30;

/// How to work; nothing here changes the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Threads that hash.
    pub threads: usize,
}

/// What a layer comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The root hash, as CCE policies name layers.
    pub root_hash: VerityRoot,
    /// Bytes of the ext4 image.
    pub ext4_size: u64,
    /// What other versions of hcsshim may see differently.
    pub findings: Vec<Lint>,
}

/// The root hash of a layer, from its (decompressed) tar file.
pub fn root_hash<R: Read>(layer: R, options: &Options) -> Result<Layer, LayerError> {
    convert(layer, None, options)
}

/// The same, and writes the ext4 image. `out` must read as zeros, up to [`Layer::ext4_size`]: long runs of zeros are
/// left out.
pub fn write_image<R: Read>(layer: R, out: &dyn WriteAt, options: &Options) -> Result<Layer, LayerError> {
    convert(layer, Some(out), options)
}

/// The layers of an image, base first. Their digests are checked beside the work.
pub fn image_layers(image: &Image, options: &Options) -> Result<Vec<Layer>, LayerError> {
    std::thread::scope(|scope| {
        let check = scope.spawn(|| image.check(&|| false));
        let layers = image.layers.iter().enumerate().map(|(index, layer)| {
            let reader = LayerTar { image, source: layer.source, offset: layer.offset, left: layer.length };
            let at = |source| at(index, layer.digest, source);
            root_hash(reader, options).map_err(at)
        });
        let layers: Result<Vec<Layer>, LayerError> = layers.collect();
        match check.join() {
            Ok(checked) => checked?,
            Err(_) => return Err(LayerError::Read(io::Error::other("the checking thread has stopped"))),
        }
        layers
    })
}

fn at(index: usize, digest: Digest256, source: LayerError) -> LayerError {
    LayerError::At { number: index.saturating_add(1), digest, source: Box::new(source) }
}

/// A layer's tar file within an image's files.
struct LayerTar<'a> {
    image: &'a Image,
    source: u32,
    offset: u64,
    left: u64,
}

impl Read for LayerTar<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let out = out.get_mut(..length).unwrap_or_default();
        self.image.read(self.source, self.offset, out)?;
        self.offset = self.offset.saturating_add(length as u64);
        self.left = self.left.saturating_sub(length as u64);
        Ok(length)
    }
}

fn convert<R: Read>(layer: R, out: Option<&dyn WriteAt>, options: &Options) -> Result<Layer, LayerError> {
    let (root_hash, ext4_size, findings) = hashed(options.threads, out, |stream| {
        let mut reader = Reader::new(Input::new(layer, false));
        let mut tree = Tree::new(stream, layout::FIRST_BLOCK)?;
        while let Some(entry) = reader.next()? {
            if apply(&mut tree, &entry)? {
                copy(&mut reader, tree.blocks)?;
            }
        }
        layout::close(tree)
    })?;
    Ok(Layer { root_hash, ext4_size, findings })
}

fn copy<R: Read>(reader: &mut Reader<R>, stream: &mut Stream<'_>) -> Result<(), LayerError> {
    while let Some(part) = reader.part()? {
        match part {
            Part::Zeros(length) => stream.zeros(length)?,
            Part::Data(length) => {
                let mut left = length;
                while left > 0 {
                    let room = stream.room(left)?;
                    reader.read(room)?;
                    let filled = room.len();
                    stream.filled(filled);
                    left = left.saturating_sub(filled as u64);
                }
            }
        }
    }
    Ok(())
}

/// Does with the tree what an entry says; whether its contents are wanted (tar2ext4, `ConvertTarToExt4`).
fn apply<B: Blocks>(tree: &mut Tree<B>, entry: &Entry) -> Result<bool, LayerError> {
    let name = entry.name.as_slice();
    tree.make_parents(name)?;
    let split = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash.saturating_add(1));
    let (folder, file) = name.split_at_checked(split).unwrap_or((b"", name));
    if let Some(hidden) = file.strip_prefix(b".wh.") {
        if hidden == b".wh..opq" {
            tree.opaque(folder)?;
        } else {
            tree.create(&[folder, hidden].concat(), Meta::new(CHARACTER))?;
        }
        return Ok(false);
    }
    if entry.kind == b'1' {
        tree.link(&entry.link, name)?;
        return Ok(false);
    }
    if entry.kind == b'g' {
        tree.lints.add(LintKind::GlobalHeader, name);
    }
    let kind = match entry.kind {
        b'2' => SYMLINK,
        b'3' => CHARACTER,
        b'4' => BLOCK_DEVICE,
        b'5' => FOLDER,
        b'6' => FIFO,
        _ => FILE,
    };
    tree.create(name, meta(entry, kind))?;
    Ok(kind == FILE)
}

fn meta(entry: &Entry, kind: u16) -> Meta {
    // Numbers are cut as Go's conversions cut them.
    let word = |value: i64| value as u32;
    Meta {
        mode: entry.mode as u16 & 0o7777 | kind,
        uid: word(entry.uid),
        gid: word(entry.gid),
        times: [entry.atime, entry.ctime, entry.mtime, entry.mtime],
        size: u64::try_from(entry.size).unwrap_or_default(),
        link: entry.link.clone(),
        major: word(entry.major),
        minor: word(entry.minor),
        xattrs: entry.xattrs(),
    }
}

impl<B: Blocks> Blocks for &mut B {
    fn position(&self) -> u64 {
        (**self).position()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        (**self).write(bytes)
    }

    fn zeros(&mut self, length: u64) -> Result<(), LayerError> {
        (**self).zeros(length)
    }

    fn leave(&mut self) -> Result<u32, LayerError> {
        (**self).leave()
    }
}
