//! What an operator does to a broker's folder: a new master key, a backup, a restore.
//!
//! *Takes* a folder that [`crate::init`] made.
//! *Guarantees* that a crash at any point leaves a folder that serves, or a restore that never was; that nothing is
//! overwritten; and that what was done is in the audit log.
//! *Does not check* where a backup with keys is kept: it is worth as much as the folder.

use crate::init::write_new;
use crate::keys::{self, Keys, KeysError, Master};
use crate::master::Keeping;
use crate::settings::{self, Settings, SettingsError, StoreSource};
use crate::store::{self, StoreError, StoredLog};
use claims::{Digest256, UnixTime};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const LOCK: &str = "broker.lock";
/// What a backup always holds beside the store.
const PUBLIC: [&str; 6] = [settings::FILE_NAME, keys::IDENTITY, keys::TLS, keys::TOKEN, keys::AUDIT, keys::ADMIN];
/// What it holds as well where it is in the folder: worth nothing without Vault or the hardware security module.
const WRAPPED: [&str; 1] = [keys::WRAPPED];
/// What it holds with keys, as far as it is in the folder.
const PRIVATE: [&str; 6] =
    [keys::IDENTITY_KEY, keys::TLS_KEY, keys::TOKEN_KEY, keys::AUDIT_KEY, keys::ADMIN_KEY, keys::MASTER];
/// Without these a broker does not serve, and a restore does not end.
const NEEDED: [&str; 3] = [keys::TLS_KEY, keys::TOKEN_KEY, keys::AUDIT_KEY];

/// Why nothing was done to a folder.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// Somebody else uses the folder.
    #[error("{} is in use by a broker that runs, or by another command", path.display())]
    InUse {
        /// Folder.
        path: PathBuf,
    },
    /// There is something already.
    #[error("{} exists already, and nothing is overwritten", path.display())]
    Exists {
        /// File found.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key that the backup does not hold is not in the folder.
    #[error("the backup has no private keys: put {} there first", path.display())]
    KeyMissing {
        /// File wanted.
        path: PathBuf,
    },
    /// The backup holds a file that no backup has.
    #[error("the backup holds a file `{name}`, which does not belong into a broker's folder")]
    Stranger {
        /// Its name.
        name: String,
    },
    /// The master key does not come from a file.
    #[error("the master key comes from a descriptor, so a new one cannot be kept: set `[master] source = \"file\"`")]
    Source,
    /// Nothing wraps the master key that could do so again.
    #[error("only a master key under Vault's transit engine can be wrapped again: `[master]` names another source")]
    NoRewrap,
    /// The store is not in the folder.
    #[error("the store is in PostgreSQL: copy the database with pg_dump, and the broker's folder with any tool")]
    Elsewhere,
    /// No randomness.
    #[error("a new master key cannot be made")]
    Random,
    /// The settings cannot be used.
    #[error("the broker's settings cannot be used")]
    Settings(#[from] SettingsError),
    /// Keys cannot be read.
    #[error("the broker's keys cannot be used")]
    Keys(#[from] KeysError),
    /// The store cannot be used.
    #[error("the broker's store cannot be used")]
    Store(#[from] StoreError),
    /// The log in a backup is not whole.
    #[error("the audit log in the backup is not whole, from entry {sequence} on: {problem}")]
    Log {
        /// First bad entry.
        sequence: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// The log in a backup cannot be read.
    #[error("the audit log in the backup cannot be read")]
    LogUnread(#[from] crate::store::LogError),
}

/// What [`rotate_master`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// Epoch of the new key; none where an earlier rotation, cut short, was only brought to its end.
    pub epoch: Option<u64>,
    /// Data keys that were wrapped again.
    pub data_keys: u64,
}

/// What to put into a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backup {
    /// Store, settings, certificates. Secrets in it are sealed under the master key, which is not in it.
    WithoutKeys,
    /// The private keys, too: worth as much as the folder.
    WithKeys,
}

/// What [`restore`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Whose broker it is.
    pub identity: Digest256,
    /// Entries in the audit log, with the one about the restore.
    pub entries: u64,
}

/// Takes the folder for one program; given back when the file is dropped, also by a crash.
pub(crate) fn take(folder: &Path) -> Result<File, UpkeepError> {
    let path = folder.join(LOCK);
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = opened.map_err(|source| UpkeepError::File { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(UpkeepError::InUse { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(UpkeepError::File { path, source }),
    }
}

/// Makes a new master key and wraps every data key under it. The broker must not run. A rotation that was cut short is
/// brought to its end: the key that the store is under is always in one of two files. `from`: the file with the key that
/// the store is under now, where the settings name a new place for it already.
pub fn rotate_master(folder: &Path, now: UnixTime, from: Option<&Path>) -> Result<Rotated, UpkeepError> {
    let _in_use = take(folder)?;
    let settings = Settings::load(&folder.join(settings::FILE_NAME))?;
    let keeping = Keeping::from(&settings);
    let current = keeping.file(folder).ok_or(UpkeepError::Source)?;
    let mut next = current.clone().into_os_string();
    next.push(".next");
    let next = PathBuf::from(next);
    let old = match from {
        Some(path) => Master::read(path)?,
        None => keeping.open(&current)?,
    };
    if from.is_some_and(|from| from != current) && current.exists() {
        return Err(UpkeepError::Exists { path: current });
    }
    let keys = Keys::with(folder, old)?;
    if !store::upkeep::is_of(&settings, &keys.master)? {
        // The store went over to the next key, and then the power went.
        let waiting = if next.exists() { Some(keeping.open(&next)?) } else { None };
        let fits = waiting.map(|master| store::upkeep::is_of(&settings, &master)).transpose()?.unwrap_or(false);
        if !fits {
            return Err(StoreError::MasterKey.into());
        }
        rename(&next, &current)?;
        return Ok(Rotated { epoch: None, data_keys: 0 });
    }
    if next.exists() {
        // Made for a rotation that never came to the store.
        std::fs::remove_file(&next).map_err(|source| UpkeepError::File { path: next.clone(), source })?;
    }
    let master = Master::make().map_err(|_| UpkeepError::Random)?;
    // A key of a hardware security module is made where the master key comes there for the first time.
    write(&next, &keeping.seal(&master, from.is_some())?)?;
    sync(folder)?;
    let (epoch, data_keys) = store::upkeep::rotate(&settings, &keys, &master, now)?;
    rename(&next, &current)?;
    Ok(Rotated { epoch: Some(epoch), data_keys })
}

/// Has Vault wrap the master key again, under the newest version of its own key. The master key stays, so the broker may
/// run.
pub fn rewrap_master(folder: &Path) -> Result<(), UpkeepError> {
    let settings = Settings::load(&folder.join(settings::FILE_NAME))?;
    let keeping = Keeping::from(&settings);
    let current = keeping.file(folder).ok_or(UpkeepError::NoRewrap)?;
    let wrapped = keeping.rewrap(&current)?.ok_or(UpkeepError::NoRewrap)?;
    let beside = folder.join(format!("{}.new", keys::WRAPPED));
    let _ = std::fs::remove_file(&beside);
    write(&beside, &wrapped)?;
    rename(&beside, &current)
}

/// Writes one consistent copy of a broker's folder to `target`, which must not exist. The broker may run.
pub fn backup(folder: &Path, target: &Path, what: Backup) -> Result<(), UpkeepError> {
    let settings_file = folder.join(settings::FILE_NAME);
    if settings_file.exists() && Settings::load(&settings_file)?.store != StoreSource::Sqlite {
        return Err(UpkeepError::Elsewhere);
    }
    let mut files = Vec::new();
    let private: &[&str] = if what == Backup::WithKeys { &PRIVATE } else { &[] };
    for name in PUBLIC.iter().chain(&WRAPPED).chain(private) {
        let path = folder.join(name);
        match std::fs::read(&path) {
            Ok(body) => files.push(((*name).to_owned(), body)),
            // Keys that are kept elsewhere, as that of the identity, are not in the backup either.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !PUBLIC.contains(name) => {}
            Err(source) => return Err(UpkeepError::File { path, source }),
        }
    }
    // Made first, closed to others.
    write(target, &[])?;
    let copied = store::upkeep::copy_out(folder, target, &files);
    files.iter_mut().for_each(|(_, body)| zeroize::Zeroize::zeroize(body));
    if copied.is_err() {
        let _ = std::fs::remove_file(target);
    }
    Ok(copied?)
}

/// Makes a broker's folder from a backup. Files that are there are never overwritten: keys that the backup does not hold
/// must be there already, and nothing else of a broker.
pub fn restore(backup: &Path, folder: &Path, now: UnixTime) -> Result<Restored, UpkeepError> {
    let files = store::upkeep::files_of(backup)?;
    if let Some((name, _)) =
        files.iter().find(|(name, _)| !PUBLIC.iter().chain(&WRAPPED).chain(&PRIVATE).any(|known| name == known))
    {
        return Err(UpkeepError::Stranger { name: name.chars().take(100).collect() });
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| UpkeepError::File { path: folder.to_owned(), source })?;
    let _in_use = take(folder)?;
    let names = files.iter().map(|(name, _)| name.as_str()).chain([store::FILE_NAME]);
    if let Some(path) = names.map(|name| folder.join(name)).find(|path| path.exists()) {
        return Err(UpkeepError::Exists { path });
    }
    let held = |name: &str| files.iter().any(|(file, _)| file == name);
    if let Some(path) = NEEDED
        .iter()
        .map(|name| folder.join(name))
        .find(|path| !path.exists() && !path.file_name().and_then(|name| name.to_str()).is_some_and(held))
    {
        return Err(UpkeepError::KeyMissing { path });
    }
    let mut written = Vec::new();
    let outcome = fill(backup, folder, files, now, &mut written);
    if outcome.is_err() {
        // A restore that failed never was.
        for path in &written {
            let _ = std::fs::remove_file(path);
        }
    }
    outcome
}

fn fill(
    backup: &Path,
    folder: &Path,
    files: Vec<(String, Vec<u8>)>,
    now: UnixTime,
    written: &mut Vec<PathBuf>,
) -> Result<Restored, UpkeepError> {
    for (name, mut body) in files {
        let path = folder.join(name);
        let outcome = write(&path, &body);
        zeroize::Zeroize::zeroize(&mut body);
        outcome?;
        written.push(path);
    }
    let path = folder.join(store::FILE_NAME);
    write(&path, &[])?;
    for suffix in ["", "-wal", "-shm"] {
        written.push(folder.join(format!("{}{suffix}", store::FILE_NAME)));
    }
    store::upkeep::copy_in(backup, folder)?;
    let settings = Settings::load(&folder.join(settings::FILE_NAME))?;
    let keys = Keys::load(folder, &settings)?;
    let verdict = StoredLog::open(folder, keys.identity)?.verify(&[])?;
    if let Some(bad) = verdict.bad {
        return Err(UpkeepError::Log { sequence: bad.sequence, problem: bad.problem });
    }
    let entries = store::upkeep::begin_again(folder, &keys, now)?;
    Ok(Restored { identity: keys.identity, entries })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), UpkeepError> {
    write_new(path, bytes).map_err(|error| match error {
        crate::init::InitError::File { path, source } if source.kind() == std::io::ErrorKind::AlreadyExists => {
            let _ = source;
            UpkeepError::Exists { path }
        }
        crate::init::InitError::File { path, source } => UpkeepError::File { path, source },
        other => UpkeepError::File { path: path.to_owned(), source: std::io::Error::other(other) },
    })
}

fn rename(from: &Path, to: &Path) -> Result<(), UpkeepError> {
    std::fs::rename(from, to).map_err(|source| UpkeepError::File { path: to.to_owned(), source })?;
    sync(to.parent().unwrap_or(Path::new(".")))
}

/// Makes names in a folder durable.
fn sync(folder: &Path) -> Result<(), UpkeepError> {
    let failed = |source| UpkeepError::File { path: folder.to_owned(), source };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}
