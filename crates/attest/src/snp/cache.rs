//! Endorsement keys and revocation lists that were verified before, so that a known machine costs one signature check.
//!
//! A cache has one set of anchors, and its type says which: what a [`VekCache`] holds chains to AMD's pinned roots. Time
//! and revocation are checked at every use.

use super::chain::Vek;
use super::crl::SignedCrl;
use super::crypto::{AwsLc, Provider};
use super::endorsements::Endorsements;
use super::error::SnpError;
use super::roots::{Anchors, UnanchoredRoot};
use claims::UnixTime;
use claims::snp::SigningKey;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keys under AMD's pinned roots. Bounded: when it is full it starts over.
#[derive(Debug)]
pub struct VekCache(Known);

/// Keys under a root that the caller brings; evidence checked with it is never a verified report.
#[derive(Debug)]
pub struct UnanchoredCache {
    root: UnanchoredRoot,
    known: Known,
}

/// Verified endorsement keys, by the digest of their certificate, and lists.
struct Known {
    capacity: usize,
    keys: Mutex<HashMap<[u8; 32], Arc<Vek>>>,
    lists: Mutex<HashMap<ListId, Arc<SignedCrl>>>,
}

/// A key, and the list that came along.
type Found = (Arc<Vek>, Option<Arc<SignedCrl>>);

/// Digest of the root's key, digest of the list.
type ListId = ([u8; 48], [u8; 32]);
/// There is one list per product and kind.
const LISTS: usize = 16;

impl VekCache {
    /// A cache for at most `capacity` keys.
    pub fn new(capacity: usize) -> Self {
        Self(Known::new(capacity))
    }

    /// How many keys are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn look_up(&self, with: &Endorsements, kind: SigningKey, now: UnixTime) -> Result<Found, SnpError> {
        self.0.look_up(with, kind, &Anchors::Production, now)
    }
}

impl UnanchoredCache {
    /// A cache for at most `capacity` keys under `root`.
    pub fn new(root: UnanchoredRoot, capacity: usize) -> Self {
        Self { root, known: Known::new(capacity) }
    }

    pub(crate) fn look_up(&self, with: &Endorsements, kind: SigningKey, now: UnixTime) -> Result<Found, SnpError> {
        self.known.look_up(with, kind, &Anchors::Unanchored(&self.root), now)
    }
}

impl Known {
    fn new(capacity: usize) -> Self {
        Self { capacity, keys: Mutex::default(), lists: Mutex::default() }
    }

    fn len(&self) -> usize {
        locked(&self.keys).len()
    }

    /// The key and the list of these endorsements, verified now or before; validity is checked now.
    fn look_up(
        &self,
        with: &Endorsements,
        kind: SigningKey,
        anchors: &Anchors<'_>,
        now: UnixTime,
    ) -> Result<Found, SnpError> {
        let id = AwsLc::sha256(&with.vek);
        let known = locked(&self.keys).get(&id).cloned();
        let vek = match known {
            Some(vek) => {
                vek.check_time(now)?;
                vek
            }
            None => {
                let vek = Arc::new(Vek::verify(with, kind, anchors, now)?);
                put(&mut locked(&self.keys), self.capacity, id, Arc::clone(&vek));
                vek
            }
        };
        let Some(der) = &with.crl else { return Ok((vek, None)) };
        let id = (vek.root_id(), AwsLc::sha256(der));
        let known = locked(&self.lists).get(&id).cloned();
        let list = match known {
            Some(list) => list,
            None => {
                let list = Arc::new(vek.signed_crl(der)?);
                put(&mut locked(&self.lists), LISTS, id, Arc::clone(&list));
                list
            }
        };
        Ok((vek, Some(list)))
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} of {} keys", self.len(), self.capacity)
    }
}

/// Maps hold complete values only, so that a thread which panicked with the lock left nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, capacity: usize, key: K, value: V) {
    if map.len() >= capacity {
        map.clear();
    }
    map.insert(key, value);
}
