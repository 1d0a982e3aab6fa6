//! The audit log of a broker's folder, read without the broker: no private key is needed.
//!
//! *Takes* a broker's folder, and the identity that its log must be of.
//! *Guarantees* what [`crate::ledger`] does; reads only.
//! *Does not check* that the folder is the newest: heads that were kept elsewhere tell.

use super::audit::{self, Reader};
use super::db::Connection;
use super::postgres::Purpose;
use super::{FILE_NAME, Source, StoreError, schema};
use crate::keys::{self, KeysError};
use crate::ledger::{Authority, Kept, LedgerError, Receipt, Verdict, chain_text, export_header};
use crate::settings::{self, Settings, SettingsError};
use claims::Digest256;
use rustls::pki_types::CertificateDer;
use std::path::Path;

/// Entries read at once.
const PAGE: u32 = 500;

/// Why a folder's log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The certificates cannot be read.
    #[error("the audit key's certificates cannot be used")]
    Keys(#[from] KeysError),
    /// They are not of the pinned identity, or a kept head is not of this log.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The settings, which say where the database is, cannot be read.
    #[error("the broker's settings cannot be used")]
    Settings(#[from] SettingsError),
    /// The database cannot be read.
    #[error("the broker's store cannot be read")]
    Store(#[from] StoreError),
}

/// The log of a broker's folder: in it, or in the database that its settings name.
pub struct StoredLog {
    connection: Connection,
    reader: Reader,
    chain: Vec<CertificateDer<'static>>,
}

impl StoredLog {
    /// Whether `folder` holds a log at all.
    pub fn is_in(folder: &Path) -> bool {
        matches!(source(folder), Ok(Source::Postgres(_))) || folder.join(FILE_NAME).is_file()
    }

    /// Opens the log of `folder`, which must be the broker's with this identity.
    pub fn open(folder: &Path, pinned: Digest256) -> Result<Self, LogError> {
        let chain = keys::audit_chain(folder)?;
        let authority = Authority::attested(pinned, &chain)?;
        let source = source(folder)?;
        let open = || -> Result<Connection, StoreError> {
            let connection = source.open(Purpose::ReadSlowly)?;
            schema::check(&connection)?;
            // One state of the database, however long reading takes and whatever the broker writes meanwhile.
            connection.begin_reading()?;
            Ok(connection)
        };
        Ok(Self { connection: open()?, reader: Reader { authority }, chain })
    }

    /// Walks the whole log; `kept` are texts of heads that it must extend.
    pub fn verify(&self, kept: &[String]) -> Result<Verdict, LogError> {
        let mut heads = Kept::default();
        kept.iter().try_for_each(|text| heads.add(text, &self.reader.authority))?;
        Ok(self.reader.verify(&self.connection, &heads, &|| true)?)
    }

    /// The newest signed head.
    pub fn head(&self) -> Result<String, LogError> {
        Ok(self.reader.head_text(&self.connection)?)
    }

    /// The lines of an export, one after the other.
    pub fn export<E: From<LogError>>(&self, mut line: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        line(&export_header(&self.head()?, &chain_text(&self.chain)).map_err(LogError::from)?)?;
        let mut next = 1;
        loop {
            let entries = audit::range(&self.connection, next, PAGE).map_err(LogError::from)?;
            let Some(last) = entries.last() else { return Ok(()) };
            next = last.sequence.saturating_add(1);
            entries.iter().try_for_each(|entry| line(&entry.body))?;
        }
    }

    /// The receipt of a decision, with its entry; none where there is no such decision.
    pub fn receipt(&self, decision: &str) -> Result<Option<Receipt>, LogError> {
        let Some(entry) = audit::decision(&self.connection, decision)? else { return Ok(None) };
        let receipt = self.reader.receipt(&self.connection, &entry)?.with_certificates(&self.chain);
        Ok(Some(receipt.with_entry(entry.body)))
    }
}

/// A folder without settings holds its store.
fn source(folder: &Path) -> Result<Source, LogError> {
    let path = folder.join(settings::FILE_NAME);
    match path.exists() {
        true => Ok(Source::of(&Settings::load(&path)?)?),
        false => Ok(Source::Sqlite(folder.join(FILE_NAME))),
    }
}
