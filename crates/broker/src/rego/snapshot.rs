//! The policies and reference values in force: read from the store after each change, compiled once, then shared.

use super::engine::{Program, References};
use super::release::PathForm;
use super::{Use, shipped};
use crate::store::db::Connection;
use crate::store::policies::{self, Stored};
use crate::store::{Store, StoreError, references, sessions};
use crate::verify::Kind;
use claims::UnixTime;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Number in the store that grows with every change of policies and reference values.
pub(crate) const EPOCH: &str = "policy_epoch";

/// A policy in force.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) version: u64,
    /// Of release policies.
    pub(crate) prefix: String,
    pub(crate) path_form: PathForm,
    pub(crate) program: Program,
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
            let policy = Arc::new(Policy::compile(&stored).map_err(damaged)?);
            match stored.used_for {
                Use::Release => snapshot.release.push(policy),
                Use::Appraisal => {
                    snapshot.appraisal.insert(stored.name, policy);
                }
            }
        }
        Ok(snapshot)
    }

    /// The appraisal policy for the primary evidence of a kind: an administrator's, else the shipped one.
    pub(crate) fn for_kind(&self, kind: Kind, selector: Option<&str>) -> (String, &Program) {
        self.chosen("cpu", selector, kind.name())
    }

    /// The appraisal policy for a device of a class.
    pub(crate) fn for_device(&self, class: &str, selector: Option<&str>) -> (String, &Program) {
        self.chosen(class, selector, "nvidia")
    }

    fn chosen(&self, class: &str, selector: Option<&str>, shipped_name: &str) -> (String, &Program) {
        let own = format!("{}_{class}", selector.unwrap_or("default"));
        match self.appraisal.get(&own) {
            Some(policy) => (own, &policy.program),
            None => (format!("confide/{shipped_name}"), shipped::of(shipped_name)),
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
