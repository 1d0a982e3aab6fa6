//! Secrets at rest: each version of each path under a data key of its own (AES-256-GCM), the data key wrapped by the master
//! key. Both are bound to path and version, so that a value cannot be moved, and an older one not be put back under a newer
//! version. A new master key wraps the data keys again; values are not touched.

use super::db::{Connection, OptionalExtension, Row, params};
use super::{StoreError, sessions};
use crate::keys::Master;
use crate::path::ResourcePath;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use claims::{Digest256, Secret, UnixTime};
use serde::Serialize;
use zeroize::Zeroize;

/// One row per version; a deleted one keeps its row, without value and key.
pub(super) const TABLES: &str = "
CREATE TABLE secrets (
    path TEXT NOT NULL, version INTEGER NOT NULL, added INTEGER NOT NULL, deleted INTEGER,
    epoch INTEGER, wrapped BLOB, sealed BLOB, PRIMARY KEY (path, version)) STRICT, WITHOUT ROWID;";

const EPOCH: &str = "master_epoch";
const CHECK: &str = "master_check";

/// Seals and opens values under the master key of one epoch.
pub(crate) struct Vault {
    key: RandomizedNonceKey,
    epoch: u64,
    check: Digest256,
}

/// A value as it lies in the store.
pub(crate) struct Sealed {
    pub(crate) version: u64,
    epoch: u64,
    wrapped: Vec<u8>,
    bytes: Vec<u8>,
}

/// What is known of a secret without its value: its newest version that is there, and how many are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Listed {
    pub(crate) path: String,
    pub(crate) version: u64,
    pub(crate) changed: u64,
    pub(crate) versions: u64,
}

/// What is known of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ListedVersion {
    pub(crate) version: u64,
    pub(crate) added: u64,
    /// When it was deleted.
    pub(crate) deleted: Option<u64>,
}

/// Ties a new store to its master key.
pub(super) fn begin(connection: &Connection, master: &Master) -> Result<(), StoreError> {
    sessions::set_number(connection, EPOCH, 1)?;
    keep_check(connection, master)
}

/// Whether the store is tied to this master key.
pub(super) fn is_of(connection: &Connection, master: &Master) -> Result<bool, StoreError> {
    Ok(kept_check(connection)? == check(master).0)
}

fn kept_check(connection: &Connection) -> Result<Vec<u8>, StoreError> {
    let kept: Option<Vec<u8>> =
        connection.query_row("SELECT value FROM meta WHERE name = ?", [CHECK], |row| row.get(0)).optional()?;
    kept.ok_or(StoreError::Damaged { what: "mark of the master key" })
}

impl Vault {
    /// The vault of the store's current epoch; fails where the store is tied to another master key.
    pub(crate) fn open_store(connection: &Connection, master: &Master) -> Result<Self, StoreError> {
        if !is_of(connection, master)? {
            return Err(StoreError::MasterKey);
        }
        Self::new(master, sessions::number(connection, EPOCH)?)
    }

    fn new(master: &Master, epoch: u64) -> Result<Self, StoreError> {
        let key = master
            .derive("secrets")
            .expose(|key| RandomizedNonceKey::new(&AES_256_GCM, key))
            .map_err(|_| StoreError::MasterKey)?;
        Ok(Self { key, epoch, check: check(master) })
    }

    /// Fails where the store went over to another master key since.
    pub(super) fn fits(&self, connection: &Connection) -> Result<(), StoreError> {
        let same = kept_check(connection)? == self.check.0 && sessions::number(connection, EPOCH)? == self.epoch;
        if same { Ok(()) } else { Err(StoreError::MasterKey) }
    }

    fn seal(&self, path: &ResourcePath, version: u64, value: &Secret<Vec<u8>>) -> Result<Sealed, StoreError> {
        let failed = || StoreError::Damaged { what: "secret" };
        let mut data_key = [0; 32];
        rand::fill(&mut data_key).map_err(|_| failed())?;
        let data_key = Secret::new(std::mem::take(&mut data_key));
        let own = data_key.expose(|key| RandomizedNonceKey::new(&AES_256_GCM, key)).map_err(|_| failed())?;
        let bytes = value.expose(|value| encrypt(&own, &value_binding(path, version), value))?;
        Ok(Sealed { version, epoch: self.epoch, wrapped: self.wrap(path.as_str(), version, &data_key)?, bytes })
    }

    /// Opens a value; fails when it was made for another path, version or epoch.
    pub(crate) fn open(&self, path: &ResourcePath, sealed: Sealed) -> Result<Secret<Vec<u8>>, StoreError> {
        let data_key = self.unwrap(path.as_str(), sealed.version, sealed.epoch, sealed.wrapped)?;
        let key = data_key.expose(|key| RandomizedNonceKey::new(&AES_256_GCM, key));
        let key = key.map_err(|_| StoreError::Damaged { what: "data key" })?;
        decrypt(&key, &value_binding(path, sealed.version), sealed.bytes)
    }

    fn wrap(&self, path: &str, version: u64, data_key: &Secret<[u8; 32]>) -> Result<Vec<u8>, StoreError> {
        data_key.expose(|key| encrypt(&self.key, &key_binding(path, version, self.epoch), key))
    }

    fn unwrap(&self, path: &str, version: u64, epoch: u64, wrapped: Vec<u8>) -> Result<Secret<[u8; 32]>, StoreError> {
        let damaged = || StoreError::Damaged { what: "data key" };
        if epoch != self.epoch {
            return Err(damaged());
        }
        let bytes = decrypt(&self.key, &key_binding(path, version, epoch), wrapped)?;
        let key = bytes.expose(|bytes| <[u8; 32]>::try_from(bytes.as_slice()));
        Ok(Secret::new(key.map_err(|_| damaged())?))
    }
}

/// Wraps every data key under `new` and ties the store to it; the new epoch, and the number of data keys. In the caller's
/// transaction: after a crash it is one key or the other.
pub(super) fn rotate(connection: &Connection, old: &Master, new: &Master) -> Result<(u64, u64), StoreError> {
    let from = Vault::open_store(connection, old)?;
    let to = Vault::new(new, from.epoch.saturating_add(1))?;
    let mut statement =
        connection.prepare("SELECT path, version, epoch, wrapped FROM secrets WHERE wrapped IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut again = Vec::new();
    while let Some(row) = rows.next()? {
        let (path, version): (String, i64) = (row.get(0)?, row.get(1)?);
        let epoch = row.get::<_, i64>(2)?.cast_unsigned();
        let key = from.unwrap(&path, version.cast_unsigned(), epoch, row.get(3)?)?;
        let wrapped = to.wrap(&path, version.cast_unsigned(), &key)?;
        again.push((path, version, wrapped));
    }
    let mut update = connection.prepare("UPDATE secrets SET epoch = ?, wrapped = ? WHERE path = ? AND version = ?")?;
    for (path, version, wrapped) in &again {
        update.execute(params![to.epoch.cast_signed(), wrapped, path, version])?;
    }
    sessions::set_number(connection, EPOCH, to.epoch)?;
    keep_check(connection, new)?;
    Ok((to.epoch, again.len() as u64))
}

/// Stores a value as the next version of its path. Versions never start again, not even after a deletion.
pub(crate) fn put(
    connection: &Connection,
    vault: &Vault,
    path: &ResourcePath,
    value: &Secret<Vec<u8>>,
    now: UnixTime,
) -> Result<u64, StoreError> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT max(version) FROM secrets WHERE path = ?")?
        .query_row([path.as_str()], |row| row.get(0))?;
    let version = last.unwrap_or(0).saturating_add(1).cast_unsigned();
    let sealed = vault.seal(path, version, value)?;
    connection
        .prepare_cached("INSERT INTO secrets (path, version, added, epoch, wrapped, sealed) VALUES (?, ?, ?, ?, ?, ?)")?
        .execute(params![
            path.as_str(),
            version.cast_signed(),
            now.0.cast_signed(),
            sealed.epoch.cast_signed(),
            sealed.wrapped,
            sealed.bytes
        ])?;
    Ok(version)
}

/// Deletes one version, or all of them; how many there were. What is left says that they were there, and until when.
pub(crate) fn delete(
    connection: &Connection,
    path: &ResourcePath,
    version: Option<u64>,
    now: UnixTime,
) -> Result<usize, StoreError> {
    Ok(connection
        .prepare_cached(
            "UPDATE secrets SET deleted = ?1, epoch = NULL, wrapped = NULL, sealed = NULL
             WHERE path = ?2 AND deleted IS NULL AND (CAST(?3 AS INTEGER) IS NULL OR version = ?3)",
        )?
        .execute(params![now.0.cast_signed(), path.as_str(), version.map(u64::cast_signed)])?)
}

/// A value, still sealed: of one version, or of the newest that is there.
pub(crate) fn fetch(
    connection: &Connection,
    path: &ResourcePath,
    version: Option<u64>,
) -> Result<Option<Sealed>, StoreError> {
    let read = |row: &Row| {
        let (version, epoch): (i64, i64) = (row.get(0)?, row.get(1)?);
        let (version, epoch) = (version.cast_unsigned(), epoch.cast_unsigned());
        Ok(Sealed { version, epoch, wrapped: row.get(2)?, bytes: row.get(3)? })
    };
    Ok(connection
        .prepare_cached(
            "SELECT version, epoch, wrapped, sealed FROM secrets
             WHERE path = ?1 AND deleted IS NULL AND (CAST(?2 AS INTEGER) IS NULL OR version = ?2) ORDER BY version DESC LIMIT 1",
        )?
        .query_row(params![path.as_str(), version.map(u64::cast_signed)], read)
        .optional()?)
}

/// Whether the newest value of a path is this one.
pub(crate) fn holds(
    connection: &Connection,
    vault: &Vault,
    path: &ResourcePath,
    value: &Secret<Vec<u8>>,
) -> Result<bool, StoreError> {
    let Some(sealed) = fetch(connection, path, None)? else { return Ok(false) };
    let kept = vault.open(path, sealed)?;
    Ok(kept.expose(|kept| value.expose(|value| kept == value)))
}

/// Every path that has a value.
pub(crate) fn list(connection: &Connection) -> Result<Vec<Listed>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT newest.path, newest.version, newest.added, there.versions FROM secrets AS newest JOIN (
             SELECT path, max(version) AS version, count(*) AS versions FROM secrets WHERE deleted IS NULL GROUP BY path
         ) AS there ON newest.path = there.path AND newest.version = there.version ORDER BY newest.path",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Listed {
            path: row.get(0)?,
            version: row.get::<_, i64>(1)?.cast_unsigned(),
            changed: row.get::<_, i64>(2)?.cast_unsigned(),
            versions: row.get::<_, i64>(3)?.cast_unsigned(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Every version of a path, also those that were deleted.
pub(crate) fn versions(connection: &Connection, path: &ResourcePath) -> Result<Vec<ListedVersion>, StoreError> {
    let mut statement =
        connection.prepare("SELECT version, added, deleted FROM secrets WHERE path = ? ORDER BY version")?;
    let rows = statement.query_map([path.as_str()], |row| {
        Ok(ListedVersion {
            version: row.get::<_, i64>(0)?.cast_unsigned(),
            added: row.get::<_, i64>(1)?.cast_unsigned(),
            deleted: row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn value_binding(path: &ResourcePath, version: u64) -> Vec<u8> {
    format!("confide/secret/v2\0{path}\0{version}").into_bytes()
}

fn key_binding(path: &str, version: u64, epoch: u64) -> Vec<u8> {
    format!("confide/data-key/v1\0{path}\0{version}\0{epoch}").into_bytes()
}

/// Nonce, ciphertext, tag.
fn encrypt(key: &RandomizedNonceKey, binding: &[u8], value: &[u8]) -> Result<Vec<u8>, StoreError> {
    // Room for the tag from the start: growing would leave a copy of the value behind.
    let mut bytes = Vec::with_capacity(value.len().saturating_add(AES_256_GCM.tag_len()));
    bytes.extend_from_slice(value);
    let sealed = key.seal_in_place_append_tag(Aad::from(binding), &mut bytes);
    let nonce = sealed.map_err(|_| {
        bytes.zeroize();
        StoreError::Damaged { what: "secret" }
    })?;
    Ok([nonce.as_ref().as_slice(), &bytes].concat())
}

fn decrypt(key: &RandomizedNonceKey, binding: &[u8], mut bytes: Vec<u8>) -> Result<Secret<Vec<u8>>, StoreError> {
    let damaged = || StoreError::Damaged { what: "secret" };
    let (nonce, body) = bytes.split_at_mut_checked(NONCE_LEN).ok_or_else(damaged)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
    let length = key.open_in_place(nonce, Aad::from(binding), body).map_err(|_| damaged())?.len();
    bytes.drain(..NONCE_LEN);
    bytes.truncate(length);
    Ok(Secret::new(bytes))
}

/// Tells a master key from another without telling anything about it.
fn check(master: &Master) -> Digest256 {
    master.derive("check").expose(|key| Digest256::of(key))
}

fn keep_check(connection: &Connection, master: &Master) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        params![CHECK, check(master).0],
    )?;
    Ok(())
}
