//! PCK chains that were verified before, so that a known platform costs two signature checks.
//!
//! Production only: what is in here chains to Intel's pinned root. Dates and revocation are checked at every use.

use super::crypto;
use super::error::DcapError;
use super::pck::PckChain;
use super::verified::Checked;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Verified PCK chains, by the digest of their text. Bounded: when it is full it starts over.
pub struct PckCache {
    capacity: usize,
    chains: Mutex<HashMap<[u8; 32], Arc<PckChain>>>,
}

impl PckCache {
    /// A cache for at most `capacity` platforms.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, chains: Mutex::default() }
    }

    /// How many platforms are known.
    pub fn len(&self) -> usize {
        self.locked().len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chain in this text, verified now or before.
    pub(crate) fn look_up(&self, pem: &[u8], checked: &Checked) -> Result<Arc<PckChain>, DcapError> {
        let id = crypto::sha256(pem);
        if let Some(chain) = self.locked().get(&id) {
            return Ok(Arc::clone(chain));
        }
        let chain = Arc::new(PckChain::of_quote(pem, checked)?);
        let mut chains = self.locked();
        if chains.len() >= self.capacity {
            chains.clear();
        }
        chains.insert(id, Arc::clone(&chain));
        Ok(chain)
    }

    /// The map holds complete values only, so that a thread which panicked with the lock left nothing half done.
    fn locked(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<PckChain>>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for PckCache {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "PckCache({} of {})", self.len(), self.capacity)
    }
}
