//! Writes a container image of one layer: an OCI layout as one tar file, with `manifest.json` beside it, so that
//! `docker load`, `podman load` and `skopeo copy oci-archive:` all take it.
//!
//! *Takes* files, folders and links by their places in the image, and how it is started.
//! *Guarantees* the same bytes for the same inputs: entries sorted, owner root, one time for all, compression without a
//! clock or a name; every folder above an entry is there. Nothing is left behind when it fails.
//! *Does not check* that the program runs in the image: whoever lists the files knows what it needs.

use aws_lc_rs::digest::{Context, SHA256};
use claims::Digest256;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Most entries of an image.
const MAX_ENTRIES: usize = 4096;

/// What stands at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A folder.
    Folder,
    /// The bytes of this file.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
    /// A symbolic link to this.
    Link(String),
}

/// One entry: where, with which permissions, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Place without a leading slash, as `usr/bin/confide`.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: u32,
    /// What stands there.
    pub content: Content,
}

/// An image that is to be written.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Name with tag, as `confide-broker:0.1.0`.
    pub name: String,
    /// What is in it.
    pub entries: Vec<Entry>,
    /// How it is started (the members of an image's `config`).
    pub config: Value,
    /// Seconds since 1970, for the image and every file.
    pub created: u64,
}

/// Why an image cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// An entry's place is not one.
    #[error("`{path}` is no place in an image: {why}")]
    Path {
        /// Place.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Digest of the manifest: what a registry calls the image's digest.
    pub manifest: Digest256,
    /// Digest of the configuration: what engines call the image's id.
    pub id: Digest256,
}

/// Writes the image as a tar file at `out`, which must not be there yet.
pub fn write(recipe: &Recipe, out: &Path) -> Result<Written, OciError> {
    let failed = |source| OciError::Write { path: out.to_owned(), source };
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let entries = complete(&recipe.entries)?;
    let mut layer = tempfile::tempfile_in(folder).map_err(failed)?;
    let (compressed, plain) = write_layer(&entries, recipe.created, &mut layer).map_err(|error| match error {
        LayerError::Entry(error) => error,
        LayerError::Io(source) => failed(source),
    })?;
    let created = rfc_3339(recipe.created);
    let config = document(&json!({
        "architecture": "amd64", "os": "linux", "created": created, "config": recipe.config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", plain.digest)]},
        "history": [{"created": created, "created_by": "confide"}],
    }));
    let manifest = document(&json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.name(), "size": config.length},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": compressed.name(),
            "size": compressed.length}],
    }));
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": MANIFEST, "digest": manifest.name(), "size": manifest.length,
            "platform": {"architecture": "amd64", "os": "linux"},
            "annotations": {"io.containerd.image.name": recipe.name,
                "org.opencontainers.image.ref.name": recipe.name}}],
    });
    let docker = json!([{"Config": config.blob(), "RepoTags": [recipe.name], "Layers": [compressed.blob()]}]);

    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut archive = tar::Builder::new(io::BufWriter::with_capacity(1 << 20, file.as_file_mut()));
    let mut put = |name: &str, bytes: &[u8]| {
        let mut header = header(0o644, 0, recipe.created, tar::EntryType::Regular, bytes.len() as u64);
        archive.append_data(&mut header, name, bytes)
    };
    put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(failed)?;
    put("index.json", index.to_string().as_bytes()).map_err(failed)?;
    put("manifest.json", docker.to_string().as_bytes()).map_err(failed)?;
    put(&manifest.blob(), &manifest.bytes).map_err(failed)?;
    put(&config.blob(), &config.bytes).map_err(failed)?;
    let mut member = header(0o644, 0, recipe.created, tar::EntryType::Regular, compressed.length);
    layer.rewind().map_err(failed)?;
    archive.append_data(&mut member, compressed.blob(), &mut layer).map_err(failed)?;
    archive.into_inner().and_then(|mut inner| inner.flush()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(out).map_err(|error| failed(error.error))?;
    Ok(Written { manifest: manifest.digest, id: config.digest })
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Bytes with their digest.
struct Blob {
    bytes: Vec<u8>,
    digest: Digest256,
    length: u64,
}

impl Blob {
    fn name(&self) -> String {
        format!("sha256:{}", self.digest)
    }

    fn blob(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }
}

/// A JSON document: members in the order of their names.
fn document(value: &Value) -> Blob {
    let bytes = value.to_string().into_bytes();
    Blob { digest: Digest256::of(&bytes), length: bytes.len() as u64, bytes }
}

/// Checks places, adds the folders above them, and sorts.
fn complete(entries: &[Entry]) -> Result<BTreeMap<String, Entry>, OciError> {
    let mut all: BTreeMap<String, Entry> = BTreeMap::new();
    for entry in entries {
        let wrong = |why| Err(OciError::Path { path: entry.path.clone(), why });
        if entry.path.is_empty() || entry.path.len() > 100 {
            return wrong("it has 1 to 100 bytes");
        }
        if entry.path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return wrong("it is relative to the root, without `.`, `..` and empty parts");
        }
        if all.len() >= MAX_ENTRIES {
            return wrong("the image has too many entries");
        }
        let (path, is_folder) = (entry.path.clone(), entry.content == Content::Folder);
        match all.insert(path, entry.clone()) {
            Some(before) if !(is_folder && before.content == Content::Folder) => {
                return wrong("something stands there already");
            }
            _ => {}
        }
        for (index, _) in entry.path.match_indices('/') {
            let path = entry.path.get(..index).unwrap_or_default().to_owned();
            let folder = Entry { path: path.clone(), mode: 0o755, owner: 0, content: Content::Folder };
            let there = all.entry(path).or_insert(folder);
            if there.content != Content::Folder {
                return wrong("it is below something that is no folder");
            }
        }
    }
    Ok(all)
}

enum LayerError {
    Entry(OciError),
    Io(io::Error),
}

impl From<io::Error> for LayerError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes the layer, compressed; its digests as it is stored and as it is unpacked.
fn write_layer(entries: &BTreeMap<String, Entry>, time: u64, out: &mut File) -> Result<(Blob, Blob), LayerError> {
    let gzip = GzBuilder::new().mtime(0).write(Counted::new(io::BufWriter::new(out)), Compression::default());
    let mut archive = tar::Builder::new(Counted::new(gzip));
    for (path, entry) in entries {
        let header = |kind, length| header(entry.mode, entry.owner, time, kind, length);
        match &entry.content {
            Content::Folder => {
                archive.append_data(&mut header(tar::EntryType::Directory, 0), format!("{path}/"), io::empty())?;
            }
            Content::Link(target) => archive.append_link(&mut header(tar::EntryType::Symlink, 0), path, target)?,
            Content::Bytes(bytes) => {
                let mut header = header(tar::EntryType::Regular, bytes.len() as u64);
                archive.append_data(&mut header, path, bytes.as_slice())?;
            }
            Content::File(file) => {
                let unread = |source| LayerError::Entry(OciError::Read { path: file.clone(), source });
                let bytes = File::open(file).map_err(unread)?;
                let length = bytes.metadata().map_err(unread)?.len();
                let mut whole = Exactly { inner: bytes, left: length };
                archive.append_data(&mut header(tar::EntryType::Regular, length), path, &mut whole).map_err(unread)?;
            }
        }
    }
    let (gzip, plain) = archive.into_inner()?.finish();
    let (mut inner, compressed) = gzip.finish()?.finish();
    inner.flush()?;
    Ok((compressed, plain))
}

/// A file that must have as many bytes as it said it has.
struct Exactly {
    inner: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let Some(place) = out.get_mut(..most).filter(|place| !place.is_empty()) else { return Ok(0) };
        match self.inner.read(place)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read")),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}

fn header(mode: u32, owner: u32, time: u64, kind: tar::EntryType, length: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.into());
    header.set_gid(owner.into());
    header.set_mtime(time);
    header.set_size(length);
    header
}

/// Passes bytes on, and knows their digest and number.
struct Counted<W> {
    inner: W,
    digest: Context,
    length: u64,
}

impl<W> Counted<W> {
    fn new(inner: W) -> Self {
        Self { inner, digest: Context::new(&SHA256), length: 0 }
    }

    fn finish(self) -> (W, Blob) {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.digest.finish().as_ref());
        (self.inner, Blob { bytes: Vec::new(), digest: Digest256(digest), length: self.length })
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..count).unwrap_or_default());
        self.length = self.length.saturating_add(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Seconds since 1970 as a date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
#[expect(clippy::arithmetic_side_effects, reason = "the number of days is bounded first")]
fn rfc_3339(seconds: u64) -> String {
    let seconds = seconds.min(253_402_300_799); // the year 9999
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_334_400, "2026-11-22T08:00:00Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc_3339(seconds), text);
        }
    }
}
