//! Secrets at rest: AES-256-GCM, bound to path and version, so that a value cannot be moved or an older one put back
//! under a newer version.

use super::StoreError;
use crate::keys::Master;
use crate::path::ResourcePath;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use claims::{Secret, UnixTime};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

/// Seals and opens values.
pub(crate) struct Vault {
    key: RandomizedNonceKey,
}

/// A value as it lies in the store.
pub(crate) struct Sealed {
    pub(crate) version: u64,
    bytes: Vec<u8>,
}

/// What is known of a secret without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Listed {
    pub(crate) path: String,
    pub(crate) version: u64,
    pub(crate) changed: u64,
}

impl Vault {
    pub(crate) fn new(master: &Master) -> Result<Self, StoreError> {
        let key = master
            .derive("secrets")
            .expose(|key| RandomizedNonceKey::new(&AES_256_GCM, key))
            .map_err(|_| StoreError::Damaged { what: "master key" })?;
        Ok(Self { key })
    }

    fn seal(&self, path: &ResourcePath, version: u64, value: &Secret<Vec<u8>>) -> Result<Vec<u8>, StoreError> {
        // Room for the tag from the start: growing would leave a copy of the value behind.
        let mut bytes = value.expose(|value| {
            let mut bytes = Vec::with_capacity(value.len().saturating_add(AES_256_GCM.tag_len()));
            bytes.extend_from_slice(value);
            bytes
        });
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(binding(path, version)), &mut bytes)
            .map_err(|_| StoreError::Damaged { what: "secret" })?;
        Ok([nonce.as_ref().as_slice(), &bytes].concat())
    }

    /// Opens a value; fails when it was made for another path or version.
    pub(crate) fn open(&self, path: &ResourcePath, sealed: Sealed) -> Result<Secret<Vec<u8>>, StoreError> {
        let damaged = || StoreError::Damaged { what: "secret" };
        let mut bytes = sealed.bytes;
        let (nonce, body) = bytes.split_at_mut_checked(NONCE_LEN).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let aad = Aad::from(binding(path, sealed.version));
        let length = self.key.open_in_place(nonce, aad, body).map_err(|_| damaged())?.len();
        bytes.drain(..NONCE_LEN);
        bytes.truncate(length);
        Ok(Secret::new(bytes))
    }
}

fn binding(path: &ResourcePath, version: u64) -> Vec<u8> {
    format!("confide/secret/v1\0{path}\0{version}").into_bytes()
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
        .prepare_cached("SELECT version FROM secrets WHERE path = ?")?
        .query_row([path.as_str()], |row| row.get(0))
        .optional()?;
    let version = last.unwrap_or(0).saturating_add(1).cast_unsigned();
    let sealed = vault.seal(path, version, value)?;
    connection
        .prepare_cached(
            "INSERT INTO secrets (path, version, changed, sealed) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET version = ?2, changed = ?3, sealed = ?4",
        )?
        .execute(params![path.as_str(), version.cast_signed(), now.0.cast_signed(), sealed])?;
    Ok(version)
}

/// Deletes a value; whether there was one.
pub(crate) fn delete(connection: &Connection, path: &ResourcePath, now: UnixTime) -> Result<bool, StoreError> {
    let changed = connection
        .prepare_cached("UPDATE secrets SET sealed = NULL, changed = ? WHERE path = ? AND sealed IS NOT NULL")?
        .execute(params![now.0.cast_signed(), path.as_str()])?;
    Ok(changed > 0)
}

/// The current value, still sealed.
pub(crate) fn fetch(connection: &Connection, path: &ResourcePath) -> Result<Option<Sealed>, StoreError> {
    let row = connection
        .prepare_cached("SELECT version, sealed FROM secrets WHERE path = ? AND sealed IS NOT NULL")?
        .query_row([path.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))
        .optional()?;
    Ok(row.map(|(version, bytes)| Sealed { version: version.cast_unsigned(), bytes }))
}

/// Every path that has a value.
pub(crate) fn list(connection: &Connection) -> Result<Vec<Listed>, StoreError> {
    let mut statement =
        connection.prepare("SELECT path, version, changed FROM secrets WHERE sealed IS NOT NULL ORDER BY path")?;
    let rows = statement.query_map([], |row| {
        Ok(Listed {
            path: row.get(0)?,
            version: row.get::<_, i64>(1)?.cast_unsigned(),
            changed: row.get::<_, i64>(2)?.cast_unsigned(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
