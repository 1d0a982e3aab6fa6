//! Where the master key is kept: as it is, or wrapped by Vault or a hardware security module, in one file of the folder.
//!
//! *Takes* `[master]` and `[vault]` of the settings.
//! *Guarantees* that a wrapped key is in the clear in memory only.
//! *Does not check* whether the key is the store's: the store knows a mark of its key.

use crate::hsm::{Hsm, Place};
use crate::keys::{self, KeysError, Master};
use crate::settings::{MasterSource, Settings};
use crate::vault::{Transit, VaultSettings};
use claims::Secret;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// `[master]`, with what it leans on.
#[derive(Clone, Copy)]
pub(crate) struct Keeping<'a> {
    pub(crate) source: &'a MasterSource,
    pub(crate) vault: Option<&'a VaultSettings>,
}

impl<'a> From<&'a Settings> for Keeping<'a> {
    fn from(settings: &'a Settings) -> Self {
        Self { source: &settings.master, vault: settings.vault.as_ref() }
    }
}

impl Keeping<'_> {
    /// The file that holds the key or what it is wrapped as; none where it is no file of the folder.
    pub(crate) fn file(&self, folder: &Path) -> Option<PathBuf> {
        match self.source {
            MasterSource::File => Some(folder.join(keys::MASTER)),
            MasterSource::Descriptor { .. } => None,
            MasterSource::VaultTransit { .. } | MasterSource::Pkcs11 { .. } => Some(folder.join(keys::WRAPPED)),
        }
    }

    /// The key in the folder.
    pub(crate) fn load(&self, folder: &Path) -> Result<Master, KeysError> {
        match self.source {
            // Linux gives each descriptor of a process as a file.
            MasterSource::Descriptor { number } => Master::read(Path::new(&format!("/dev/fd/{number}"))),
            _ => self.open(&self.file(folder).unwrap_or_else(|| folder.join(keys::MASTER))),
        }
    }

    /// The key in one file.
    pub(crate) fn open(&self, path: &Path) -> Result<Master, KeysError> {
        match self.source {
            MasterSource::File | MasterSource::Descriptor { .. } => Master::read(path),
            MasterSource::VaultTransit { mount, key } => {
                let text = wrapped(path)?;
                let text = std::str::from_utf8(&text).map(str::trim).unwrap_or_default();
                if !Transit::is_ciphertext(text) {
                    return Err(KeysError::Content {
                        path: path.to_owned(),
                        wanted: "a ciphertext of Vault's transit engine",
                    });
                }
                Ok(Master::from(self.transit(mount, key)?.decrypt(text)?))
            }
            MasterSource::Pkcs11 { .. } => {
                let text = wrapped(path)?;
                self.hsm(false, |hsm| hsm.unwrap(&text)).map(Master::from)
            }
        }
    }

    /// What to write for a key. `make`: a key of a hardware security module that is absent is made.
    pub(crate) fn seal(&self, master: &Master, make: bool) -> Result<Zeroizing<Vec<u8>>, KeysError> {
        master.expose(|key| match self.source {
            MasterSource::File | MasterSource::Descriptor { .. } => Ok(Zeroizing::new(key.to_vec())),
            MasterSource::VaultTransit { mount, key: name } => {
                let text = self.transit(mount, name)?.encrypt(key)?;
                Ok(Zeroizing::new((text + "\n").into_bytes()))
            }
            MasterSource::Pkcs11 { .. } => {
                self.hsm(make, |hsm| hsm.wrap(key)).map(|text| Zeroizing::new(text.into_bytes()))
            }
        })
    }

    /// The same key under the newest version of Vault's key; none where the source is another.
    pub(crate) fn rewrap(&self, path: &Path) -> Result<Option<Vec<u8>>, KeysError> {
        let MasterSource::VaultTransit { mount, key } = self.source else { return Ok(None) };
        let text = wrapped(path)?;
        let text = std::str::from_utf8(&text).map(str::trim).unwrap_or_default();
        Ok(Some((self.transit(mount, key)?.rewrap(text)? + "\n").into_bytes()))
    }

    fn transit<'k>(&self, mount: &'k str, key: &'k str) -> Result<Transit<'k>, KeysError> {
        let settings = self.vault.ok_or(KeysError::NoVault)?;
        Ok(Transit::new(settings, mount, key)?)
    }

    fn hsm<T>(&self, make: bool, work: impl FnOnce(&Hsm) -> Result<T, crate::HsmError>) -> Result<T, KeysError> {
        let place = Place::of(self.source).ok_or(KeysError::NoVault)?;
        let hsm = Hsm::open(&place, make)?;
        let outcome = work(&hsm);
        hsm.close();
        Ok(outcome?)
    }
}

impl From<Secret<[u8; 32]>> for Master {
    fn from(key: Secret<[u8; 32]>) -> Self {
        Self::of(key)
    }
}

/// A wrapped key's file; nothing in it is secret by itself.
fn wrapped(path: &Path) -> Result<Vec<u8>, KeysError> {
    std::fs::read(path).map_err(|source| KeysError::Read { path: path.to_owned(), source })
}
