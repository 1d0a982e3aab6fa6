//! Opens a container archive: what `docker save` writes (both layouts) or an OCI layout, as a folder or tar file.
//!
//! *Takes* a path and a folder for a nameless scratch file. The archive, and each layer, may be gzip or zstd.
//! *Guarantees* one image for linux/amd64 whose layers are plain tar files in open files; that every compressed byte
//! had its digest checked while it was decompressed; and, once [`Image::check`] has returned, that every layer that
//! is read in place has the digest that the image's configuration names.
//! *Does not check* signatures on the image, or what is in its layers: `overlay` reads those.

mod choose;
mod documents;
mod error;
mod files;
mod store;
pub mod tar;
mod unpack;

pub use documents::{ImageConfig, any_document};
pub use error::ArchiveError;
pub use files::Window;

use choose::{Chosen, choose};
use claims::Digest256;
use files::{Extent, Files, Scratch};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::path::Path;
use store::Store;
use unpack::{Encoding, decompress};

/// How to open an archive.
pub struct Opening<'a> {
    /// The image wanted, by name or digest, where the archive holds several.
    pub reference: Option<&'a str>,
    /// Folder for a scratch file without a name, where something is compressed.
    pub scratch: &'a Path,
    /// Most bytes that the scratch file may take.
    pub limit: u64,
    /// Asked now and then whether to give up.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// One image of an archive, ready to be read.
#[derive(Debug)]
pub struct Image {
    /// What it says about how it is started.
    pub config: ImageConfig,
    /// SHA-256 of its configuration: the image's identity, which names the layers.
    pub id: Digest256,
    /// Names that the archive gives it.
    pub names: Vec<String>,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    files: Files,
    scratch: Option<u32>,
    unchecked: Vec<(usize, Extent)>,
}

/// What a cache keeps of an image whose digests were checked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    config: ImageConfig,
    id: Digest256,
    names: Vec<String>,
    layers: Vec<Layer>,
    /// Whether each source is the scratch file, rather than the archive.
    scratch: Vec<bool>,
}

/// One layer: a plain tar file within one of the image's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// SHA-256 of the tar file.
    pub digest: Digest256,
    /// Source number, for [`Image::read`].
    pub source: u32,
    /// Where the tar file starts.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

impl Image {
    /// Opens the archive, chooses the image, decompresses what is compressed.
    pub fn open(path: &Path, opening: &Opening<'_>) -> Result<Self, ArchiveError> {
        Self::open_first(path, opening, &[]).map(|(image, _)| image)
    }

    /// The same for the first of several names that the archive knows, and for `opening.reference` when it knows none of
    /// them. The archive is read once. Also says whether one of the names was known.
    pub fn open_first(path: &Path, opening: &Opening<'_>, names: &[&str]) -> Result<(Self, bool), ArchiveError> {
        let mut files = Files::default();
        let mut scratch = Scratch::new(opening.scratch, opening.limit);
        let mut store = Store::open(path, &mut files, &mut scratch, opening.cancelled)?;
        let mut named = None;
        for name in names {
            match choose(path, &mut store, &mut files, Some(name)) {
                Err(ArchiveError::NoSuchImage { .. }) => {}
                chosen => {
                    named = Some(chosen?);
                    break;
                }
            }
        }
        let known = named.is_some();
        let chosen = match named {
            Some(chosen) => chosen,
            None => choose(path, &mut store, &mut files, opening.reference)?,
        };
        let mut image = Self {
            config: chosen.document.config.clone(),
            id: chosen.id,
            names: chosen.names.clone(),
            layers: Vec::new(),
            files,
            scratch: None,
            unchecked: Vec::new(),
        };
        for index in 0..chosen.blobs.len() {
            image.add_layer(&chosen, index, &mut store, &mut scratch, opening.cancelled)?;
        }
        image.scratch = scratch.source();
        Ok((image, known))
    }

    /// Opens the files of an image that a cache has kept.
    pub(crate) fn from_kept(kept: Kept, archive: &Path, scratch: &Path) -> io::Result<Self> {
        let mut files = Files::default();
        for is_scratch in &kept.scratch {
            files.add(File::open(if *is_scratch { scratch } else { archive })?);
        }
        let Kept { config, id, names, layers, .. } = kept;
        Ok(Self { config, id, names, layers, files, scratch: None, unchecked: Vec::new() })
    }

    /// What a cache is to keep; only an image from one file can be kept.
    pub(crate) fn kept(&self) -> Option<Kept> {
        let scratch: Vec<bool> = (0..self.files.len()).map(|source| Some(source) == self.scratch).collect();
        (scratch.iter().filter(|is_scratch| !**is_scratch).count() <= 1).then(|| Kept {
            config: self.config.clone(),
            id: self.id,
            names: self.names.clone(),
            layers: self.layers.clone(),
            scratch,
        })
    }

    /// The scratch file, where one was needed.
    pub(crate) fn scratch_file(&self) -> Option<&File> {
        self.files.file(self.scratch?).ok()
    }

    /// A reader at the start of a layer.
    pub fn reader(&self, layer: &Layer) -> tar::Reader<Window<'_>> {
        tar::Reader::new(self.files.window(&Extent {
            source: layer.source,
            offset: layer.offset,
            length: layer.length,
            digest: None,
        }))
    }

    /// Reads contents that a layer's headers pointed at.
    pub fn read(&self, source: u32, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.files.read(source, offset, out)
    }

    /// Bytes that [`Image::check`] has to read.
    pub fn unchecked_bytes(&self) -> u64 {
        self.unchecked.iter().map(|(_, extent)| extent.length).fold(0, u64::saturating_add)
    }

    /// Checks the digests of the layers that are read in place. It may run beside the build; nothing made from the
    /// image is to be kept unless this has returned well.
    pub fn check(&self, cancelled: &dyn Fn() -> bool) -> Result<(), ArchiveError> {
        for (index, extent) in &self.unchecked {
            let Some(layer) = self.layers.get(*index) else { continue };
            let got = self.files.sha256(extent, &|_| !cancelled());
            let got =
                got.map_err(|source| ArchiveError::Read { path: layer_name(*index, layer.digest).into(), source })?;
            let got = got.ok_or(ArchiveError::Cancelled)?;
            require(&layer_name(*index, layer.digest), got, layer.digest)?;
        }
        Ok(())
    }

    fn add_layer(
        &mut self,
        chosen: &Chosen,
        index: usize,
        store: &mut Store,
        scratch: &mut Scratch<'_>,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), ArchiveError> {
        let (Some(blob), Some(wanted)) = (chosen.blobs.get(index), chosen.document.layers.get(index).copied()) else {
            return Ok(());
        };
        let what = layer_name(index, wanted);
        let found = store.find(&blob.name, &mut self.files)?;
        let extent = found.ok_or_else(|| ArchiveError::Missing { what: what.clone(), name: blob.name.clone() })?;
        if let Some(size) = blob.size.filter(|size| *size != extent.length) {
            return Err(ArchiveError::Length { what, got: extent.length, wanted: size });
        }
        if let (Some(got), Some(wanted)) = (extent.digest, blob.digest) {
            require(&what, got, wanted)?;
        }
        let encoding = self.encoding(&extent)?;
        blob.allows(&what, encoding)?;
        let plain = match encoding {
            Encoding::Plain => {
                if let Some(named) = blob.digest {
                    require(&what, named, wanted)?;
                }
                self.check_later(index, extent, wanted, &what)?;
                extent
            }
            Encoding::Other(with) => return Err(ArchiveError::Compression { what, with }),
            encoding => self.unpack(&what, encoding, &extent, (blob.digest, wanted), scratch, cancelled)?,
        };
        self.layers.push(Layer { digest: wanted, source: plain.source, offset: plain.offset, length: plain.length });
        Ok(())
    }

    fn check_later(&mut self, index: usize, extent: Extent, wanted: Digest256, what: &str) -> Result<(), ArchiveError> {
        match extent.digest {
            Some(got) => require(what, got, wanted),
            // The same bytes under the same digest, as with an empty layer that is used often.
            None if self.unchecked.iter().any(|(earlier, known)| {
                *known == extent && self.layers.get(*earlier).is_some_and(|layer| layer.digest == wanted)
            }) =>
            {
                Ok(())
            }
            None => {
                self.unchecked.push((index, extent));
                Ok(())
            }
        }
    }

    fn encoding(&self, extent: &Extent) -> Result<Encoding, ArchiveError> {
        let mut start = vec![0; Encoding::MAGIC.min(usize::try_from(extent.length).unwrap_or(usize::MAX))];
        let read = self.files.read(extent.source, extent.offset, &mut start);
        read.map_err(|source| ArchiveError::Read { path: "layer".into(), source })?;
        Ok(Encoding::of(&start))
    }

    /// Decompresses a layer into the scratch file; both its digests are checked before it is used.
    fn unpack(
        &mut self,
        what: &str,
        encoding: Encoding,
        extent: &Extent,
        (named, wanted): (Option<Digest256>, Digest256),
        scratch: &mut Scratch<'_>,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Extent, ArchiveError> {
        let (source, offset) = scratch.open(&mut self.files)?;
        let files = &self.files;
        if let (Some(named), None) = (named, extent.digest) {
            let got = files.sha256(extent, &|_| !cancelled());
            let got = got.map_err(|source| ArchiveError::Read { path: what.into(), source })?;
            require(what, got.ok_or(ArchiveError::Cancelled)?, named)?;
        }
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        let mut length: u64 = 0;
        decompress(what, encoding, files.window(extent), cancelled, |chunks| {
            while chunks.next_chunk()? {
                context.update(chunks.chunk());
                length = length.saturating_add(chunks.chunk().len() as u64);
                scratch.append(files, chunks.chunk())?;
            }
            Ok(())
        })?;
        if let Some(got) = Digest256::from_slice(context.finish().as_ref()) {
            require(what, got, wanted)?;
        }
        Ok(Extent { source, offset, length, digest: Some(wanted) })
    }
}

impl sealed::ext4::Sources for Image {
    fn read(&self, source: u32, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.files.read(source, offset, out)
    }
}

fn layer_name(index: usize, digest: Digest256) -> String {
    format!("layer {} (sha256:{digest})", index.saturating_add(1))
}

fn require(what: &str, got: Digest256, wanted: Digest256) -> Result<(), ArchiveError> {
    match got == wanted {
        true => Ok(()),
        false => Err(ArchiveError::Digest { what: what.to_owned(), got, wanted }),
    }
}
