//! The policies and reference values in force: read from the store after each change, compiled once, then shared.

use super::engine::{Program, References};
use super::release::PathForm;
use super::{Use, shipped};
use crate::store::db::Connection;
use crate::store::policies::{self, Stored};
use crate::store::revocations::{self, What};
use crate::store::{Store, StoreError, references, sessions};
use crate::verify::Kind;
use claims::UnixTime;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Number in the store that grows with every change of policies and reference values.
pub(crate) const EPOCH: &str = "policy_epoch";
/// Classes of submodules that appraisal policies are for.
pub(crate) const CLASSES: [&str; 3] = ["cpu", "gpu", "switch"];
/// What stands in front of the class in the name of the policy that is asked without a selector.
const DEFAULT: &str = "default";

/// A policy in force.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) version: u64,
    /// Of release policies.
    pub(crate) prefix: String,
    pub(crate) path_form: PathForm,
    pub(crate) program: Program,
    /// Why this version is revoked: it denies everything that it is for until another takes its place.
    pub(crate) revoked: Option<String>,
}

/// The appraisal policy for one submodule.
pub(crate) struct Chosen<'a> {
    pub(crate) name: String,
    /// Of an administrator's.
    pub(crate) version: Option<u64>,
    pub(crate) program: &'a Program,
    pub(crate) revoked: Option<&'a str>,
}

impl Policy {
    /// Compiles a stored policy.
    pub(crate) fn compile(stored: &Stored) -> Result<Self, super::RegoError> {
        let program = Program::compile(&stored.body)?;
        Ok(Self {
            name: stored.name.clone(),
            version: stored.version,
            prefix: stored.prefix.clone(),
            path_form: PathForm::of(&stored.body, program.version),
            program,
            revoked: None,
        })
    }
}

/// Everything that a decision depends on beside evidence and release rules.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The store's number at the time; a decision is good only while it stands.
    pub(crate) epoch: u64,
    /// In order of their names.
    pub(crate) release: Vec<Arc<Policy>>,
    appraisal: BTreeMap<String, Arc<Policy>>,
    pub(crate) references: Arc<References>,
    /// When a reference value expires next.
    until: u64,
}

impl Snapshot {
    fn read(connection: &Connection, now: UnixTime) -> Result<Self, StoreError> {
        let damaged = |_| StoreError::Damaged { what: "policy" };
        let mut snapshot = Self {
            epoch: sessions::number(connection, EPOCH)?,
            release: Vec::new(),
            appraisal: BTreeMap::new(),
            references: Arc::new(references::live(connection, now)?),
            until: references::next_end(connection, now)?.unwrap_or(u64::MAX),
        };
        for stored in policies::current(connection)? {
            let mut policy = Policy::compile(&stored).map_err(damaged)?;
            let version = revocations::version_name(&stored.name, stored.version);
            policy.revoked = revocations::find(connection, What::Policy, &version)?.map(|revoked| revoked.reason);
            let policy = Arc::new(policy);
            match stored.used_for {
                Use::Release => snapshot.release.push(policy),
                Use::Appraisal => {
                    snapshot.appraisal.insert(stored.name, policy);
                }
            }
        }
        Ok(snapshot)
    }

    /// Shipped policies and these reference values.
    #[cfg(test)]
    pub(crate) fn of(references: References) -> Self {
        let references = Arc::new(references);
        Self { epoch: 0, release: Vec::new(), appraisal: BTreeMap::new(), references, until: u64::MAX }
    }

    /// Whether an appraisal policy of an administrator has this name in front of its class.
    pub(crate) fn knows(&self, selector: &str) -> bool {
        let class = |name: &String| name.strip_prefix(selector)?.strip_prefix('_').map(str::to_owned);
        selector == DEFAULT || self.appraisal.keys().filter_map(class).any(|class| CLASSES.contains(&class.as_str()))
    }

    /// The appraisal policy for the primary evidence of a kind: an administrator's, else the shipped one.
    pub(crate) fn for_kind(&self, kind: Kind, selector: Option<&str>) -> Chosen<'_> {
        self.chosen("cpu", selector, kind.name())
    }

    /// The appraisal policy for a device of a class.
    pub(crate) fn for_device(&self, class: &str, selector: Option<&str>) -> Chosen<'_> {
        self.chosen(class, selector, "nvidia")
    }

    /// The policy of the selector for this class, else the default one for it, else the shipped one.
    fn chosen(&self, class: &str, selector: Option<&str>, shipped_name: &str) -> Chosen<'_> {
        let names = selector.into_iter().chain([DEFAULT]).map(|first| format!("{first}_{class}"));
        match names.into_iter().find_map(|name| self.appraisal.get(&name)) {
            Some(policy) => Chosen {
                name: policy.name.clone(),
                version: Some(policy.version),
                program: &policy.program,
                revoked: policy.revoked.as_deref(),
            },
            None => Chosen {
                name: format!("confide/{shipped_name}"),
                version: None,
                program: shipped::of(shipped_name),
                revoked: None,
            },
        }
    }
}

/// Hands out the snapshot in force.
pub(crate) struct Policies {
    current: RwLock<Arc<Snapshot>>,
}

impl Policies {
    pub(crate) async fn load(store: &Store, now: UnixTime) -> Result<Self, StoreError> {
        let snapshot = store.read(move |connection| Snapshot::read(connection, now)).await?;
        Ok(Self { current: RwLock::new(Arc::new(snapshot)) })
    }

    /// The snapshot in force now; read anew when a reference value has expired since, or another broker on the same store
    /// has changed something.
    pub(crate) async fn now(&self, store: &Store, now: UnixTime) -> Result<Arc<Snapshot>, StoreError> {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let changed = match store.is_shared() {
            true => store.read(|connection| sessions::number(connection, EPOCH)).await? != current.epoch,
            false => false,
        };
        if now.0 < current.until && !changed { Ok(current) } else { self.reload(store, now).await }
    }

    /// Reads the store again.
    pub(crate) async fn reload(&self, store: &Store, now: UnixTime) -> Result<Arc<Snapshot>, StoreError> {
        let snapshot = Arc::new(store.read(move |connection| Snapshot::read(connection, now)).await?);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        // Of two readings at once the later one stays.
        if snapshot.epoch >= current.epoch {
            *current = Arc::clone(&snapshot);
        }
        Ok(snapshot)
    }
}
