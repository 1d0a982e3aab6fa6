//! Collateral on this machine's disk: content-addressed, and verified before it is kept.
//!
//! *Guarantees* that an object has the digest its entry names, that an entry appears whole or not at all, and that what
//! is out of date is not handed out. *Does not check* who may write to the folder: everything in it is verified again,
//! against the vendors' pinned roots, each time that it is used.

use crate::outcome::{self, Failure, Result};
use claims::{Digest256, UnixTime};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A folder of collateral.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    folder: PathBuf,
}

/// What is known about a piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// `vendor/kind/…`.
    pub(crate) name: String,
    /// Of its bytes; also where they are.
    pub(crate) sha256: Digest256,
    /// Address it was fetched from.
    pub(crate) source: String,
    /// When.
    pub(crate) fetched_at: UnixTime,
    /// Not to be used from then on.
    pub(crate) expires: Option<UnixTime>,
}

/// A piece and what is known about it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) entry: Entry,
    pub(crate) bytes: Vec<u8>,
}

impl Store {
    /// The folder given, or the user's own.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self> {
        if let Some(folder) = folder {
            return Ok(Self { folder: folder.to_owned() });
        }
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
        let cache = cache.filter(|path| path.is_absolute()).ok_or_else(|| {
            Failure::environment("there is no home folder to keep collateral in").hint("name a folder with --store DIR")
        })?;
        Ok(Self { folder: cache.join("confide/collateral") })
    }

    /// The piece of this name, if it is there, whole and in date.
    pub(crate) fn get(&self, name: &str, now: UnixTime) -> Option<Stored> {
        let entry: Entry = serde_json::from_slice(&std::fs::read(self.entry_path(name)).ok()?).ok()?;
        if entry.name != name || entry.expires.is_some_and(|expires| expires <= now) {
            return None;
        }
        let bytes = std::fs::read(self.object_path(&entry.sha256)).ok()?;
        (Digest256::of(&bytes) == entry.sha256).then_some(Stored { entry, bytes })
    }

    /// Keeps a piece. Whoever calls has verified it.
    pub(crate) fn keep(&self, stored: &Stored) -> Result<()> {
        self.put(&self.object_path(&stored.entry.sha256), &stored.bytes)?;
        let entry = serde_json::to_vec_pretty(&stored.entry)
            .map_err(|error| Failure::environment("an entry cannot be written").because(error))?;
        self.put(&self.entry_path(&stored.entry.name), &entry)
    }

    fn put(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let cannot = |error| outcome::cannot("write", path, error);
        let folder = path.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(folder).map_err(cannot)?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(cannot)?;
        file.write_all(bytes).map_err(cannot)?;
        file.persist(path).map(|_| ()).map_err(|error| cannot(error.error))
    }

    fn object_path(&self, digest: &Digest256) -> PathBuf {
        self.folder.join("objects").join(digest.to_string())
    }

    fn entry_path(&self, name: &str) -> PathBuf {
        self.folder.join("entries").join(format!("{}.json", Digest256::of(name.as_bytes())))
    }
}
