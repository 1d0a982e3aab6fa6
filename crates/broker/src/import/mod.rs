//! Takes over what another key broker holds: a Trustee's local storage.
//!
//! *Takes* a folder of that storage, and a broker's folder that nobody uses.
//! *Guarantees* that everything that can be taken over is taken over in one transaction, or nothing is; that a second
//! run changes nothing; and that what is not taken over is named, with the reason.
//! *Does not check* who wrote the files.

mod trustee;

use crate::intake;
use crate::keys::Keys;
use crate::path::ResourcePath;
use crate::rego::snapshot::{CLASSES, Policy};
use crate::rego::{Use, cases};
use crate::settings::{self, Settings};
use crate::store::db::Connection;
use crate::store::policies::{self, Stored};
use crate::store::secrets::{self, Vault};
use crate::store::{Store, StoreError, audit, references, revocations};
use crate::upkeep::{UpkeepError, take};
use claims::UnixTime;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use trustee::{Found, FoundPolicy, FoundSecret, FoundValue};

/// Name of the release policy, as upstream's own endpoint sets it.
const RELEASE: &str = "resource-policy";

/// What became of one thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// `secret`, `policy`, `value` or `file`.
    pub kind: &'static str,
    /// Path, or name.
    pub name: String,
    /// Where it was found, below the folder.
    pub place: String,
    /// `imported`, `unchanged` or `skipped`.
    pub outcome: &'static str,
    /// Why it was skipped, or what to know about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Reads a Trustee's local storage below `source` into the broker of `folder`, which must not run. With `dry_run` it only
/// says what it would do.
pub async fn import_trustee(
    folder: &Path,
    source: &Path,
    now: UnixTime,
    dry_run: bool,
) -> Result<Vec<Imported>, UpkeepError> {
    let _in_use = take(folder)?;
    let found = trustee::read(source).map_err(|error| UpkeepError::File { path: source.to_owned(), source: error })?;
    let settings = Settings::load(&folder.join(settings::FILE_NAME))?;
    let keys = Keys::load(folder, &settings)?;
    let store = Store::open(&settings, &keys)?;
    let vault = Arc::clone(&store.vault);
    if dry_run {
        return Ok(store.read(move |connection| Import::new(connection, &vault, now, false).run(&found)).await?);
    }
    let log = Arc::clone(&store.audit);
    let report = store.write(move |connection| {
        let report = Import::new(connection, &vault, now, true).run(&found)?;
        let count = |kind| report.iter().filter(|one| one.kind == kind && one.outcome == "imported").count();
        let object =
            format!("{} secrets, {} policies, {} reference values", count("secret"), count("policy"), count("value"));
        let changed = report.iter().any(|one| one.outcome == "imported");
        let facts =
            Change { admin: "operator", peer: "local", action: "import from Trustee", object: &object, changed };
        log.append(connection, now, audit::Kind::Admin, "", &facts)?;
        Ok(report)
    });
    Ok(report.await?)
}

/// The audit entry, in the form of an administrator's change.
#[derive(Serialize)]
struct Change<'a> {
    admin: &'static str,
    peer: &'static str,
    action: &'static str,
    object: &'a str,
    changed: bool,
}

/// What became of a thing: taken over, there already, or why not.
enum Outcome {
    Imported(Option<String>),
    Unchanged,
    Skipped(String),
}

/// One import, in one transaction.
struct Import<'a> {
    connection: &'a Connection,
    vault: &'a Vault,
    now: UnixTime,
    /// Otherwise nothing is changed.
    write: bool,
    /// Kinds and names that were met before.
    seen: BTreeSet<(&'static str, String)>,
}

impl<'a> Import<'a> {
    fn new(connection: &'a Connection, vault: &'a Vault, now: UnixTime, write: bool) -> Self {
        Self { connection, vault, now, write, seen: BTreeSet::new() }
    }

    fn run(&mut self, found: &Found) -> Result<Vec<Imported>, StoreError> {
        let mut report = Vec::new();
        let mut say = |kind, name: &str, place: &str, outcome: Outcome| {
            let (outcome, note) = match outcome {
                Outcome::Imported(note) => ("imported", note),
                Outcome::Unchanged => ("unchanged", None),
                Outcome::Skipped(why) => ("skipped", Some(why)),
            };
            report.push(Imported { kind, name: name.to_owned(), place: place.to_owned(), outcome, note });
        };
        for secret in &found.secrets {
            say("secret", &secret.path, &secret.place, self.secret(secret)?);
        }
        for policy in &found.policies {
            let name = policy.appraisal.as_deref().unwrap_or(RELEASE);
            say("policy", name, &policy.place, self.policy(name, policy)?);
        }
        for value in &found.values {
            say("value", &value.name, &value.place, self.value(value)?);
        }
        for skipped in &found.skipped {
            say("file", "", &skipped.place, Outcome::Skipped(skipped.why.clone()));
        }
        Ok(report)
    }

    fn secret(&mut self, found: &FoundSecret) -> Result<Outcome, StoreError> {
        let Ok(path) = ResourcePath::parse(&found.path) else {
            return Ok(Outcome::Skipped("its path is not REPOSITORY/TYPE/TAG".into()));
        };
        if found.value.expose(Vec::is_empty) {
            return Ok(Outcome::Skipped("it is empty".into()));
        }
        if !self.seen.insert(("secret", found.path.clone())) {
            return Ok(Outcome::Skipped("the same path was found before".into()));
        }
        if secrets::holds(self.connection, self.vault, &path, &found.value)? {
            return Ok(Outcome::Unchanged);
        }
        if self.write {
            secrets::put(self.connection, self.vault, &path, &found.value, self.now)?;
        }
        Ok(Outcome::Imported(None))
    }

    fn policy(&mut self, name: &str, found: &FoundPolicy) -> Result<Outcome, StoreError> {
        let skip = |why: String| Ok(Outcome::Skipped(why));
        let used_for = if found.appraisal.is_some() { Use::Appraisal } else { Use::Release };
        let class = name.rsplit_once('_').map(|(_, class)| class);
        if used_for == Use::Appraisal && !class.is_some_and(|class| CLASSES.contains(&class)) {
            return skip("an appraisal policy's name ends in _cpu, _gpu or _switch; this one is never asked".into());
        }
        if crate::http::policies::checked_name(name).is_err() {
            return skip("its name is not of letters, digits, dashes, underscores and dots".into());
        }
        if !self.seen.insert(("policy", name.to_owned())) {
            return skip("a policy of that name was found before".into());
        }
        let (prefix, body) = (String::new(), found.text.clone());
        let stored = Stored { name: name.to_owned(), version: 0, used_for, prefix, added: self.now.0, body };
        let checked = Policy::compile(&stored).and_then(|policy| Ok((cases::run(&policy, used_for)?, policy)));
        let ((_, failed), policy) = match checked {
            Ok(checked) => checked,
            Err(error) => return skip(error.to_string()),
        };
        if let Some(first) = failed.first() {
            return skip(format!("its case `{}`: got {}, wanted {}", first.name, first.got, first.wanted));
        }
        if let Some(revoked) = revocations::of_text(self.connection, name, &found.text)? {
            return skip(format!("{} is revoked: {}", revoked.subject, revoked.reason));
        }
        let in_force = policies::in_force(self.connection, name)?;
        if in_force.is_some_and(|current| current.body == found.text && current.used_for == used_for) {
            return Ok(Outcome::Unchanged);
        }
        if self.write {
            policies::set(self.connection, name, used_for, "", &found.text, self.now)?;
        }
        let note = match used_for {
            Use::Release => format!(
                "Rego version {}; it releases to affirmed evidence only, unless it names other statuses in \
                 accepted_statuses",
                policy.program.version
            ),
            Use::Appraisal => format!(
                "Rego version {}; it is asked in the place of those that come with the broker",
                policy.program.version
            ),
        };
        Ok(Outcome::Imported(Some(note)))
    }

    fn value(&mut self, found: &FoundValue) -> Result<Outcome, StoreError> {
        let skip = |why: String| Ok(Outcome::Skipped(why));
        let expires = match found.expiration.as_deref().map(|text| (text, intake::seconds(text))) {
            None => None,
            Some((_, Some(end))) => Some(end),
            Some((text, None)) => return skip(format!("its expiration `{text}` is no time")),
        };
        if !self.seen.insert(("value", found.name.clone())) {
            return skip("values of that name were found before".into());
        }
        let (list, single) = match &found.value {
            Value::Array(list) => (list.clone(), false),
            value => (vec![value.clone()], true),
        };
        if list.is_empty() {
            return skip("it has no values".into());
        }
        let mut entries = Vec::new();
        for value in list {
            match intake::entry(&found.name, value, single, self.now, expires) {
                Ok(entry) => entries.push(entry),
                Err(why) => return skip(why.to_owned()),
            }
        }
        let there = references::of_name(self.connection, &found.name)?;
        let known = |entry: &references::Entry| there.iter().find(|other| other.id == entry.id);
        if let Some(revoked) = entries.iter().filter_map(known).find_map(|other| other.reason.clone()) {
            return skip(format!("a value of it is revoked here: {revoked}"));
        }
        let same = |entry: &references::Entry| {
            known(entry).is_some_and(|other| other.expires == entry.expires && other.single == entry.single)
        };
        if entries.iter().all(same) {
            return Ok(Outcome::Unchanged);
        }
        if self.write {
            for entry in &entries {
                references::add(self.connection, entry)?;
            }
        }
        let ended = expires.is_some_and(|end| end <= self.now.0);
        Ok(Outcome::Imported(ended.then(|| "its time is over, so nothing matches it; Trustee did not look".to_owned())))
    }
}
