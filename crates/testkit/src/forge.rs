//! PKI and evidence in the shape of each vendor's, made from one seed: the same seed, the same bytes.
//!
//! *Takes* a seed. *Guarantees* that every key, certificate, salt and signature follows from it, so that published
//! vectors can be made again. *Does not make* RSA keys: in the time of a test they cannot be, so four published ones stand
//! in for every seed (`rsa-test-keys.txt`). Nothing forged here reaches a vendor's pinned root, and no verifier's entry
//! for production takes another one.

pub mod amd;
pub mod intel;
mod keys;
mod x509;

use crate::text::{Expect, TextVector};
use claims::Code;
use keys::Keys;

/// Making something failed: a defect of the forge, not of what is tested with it.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The seed of the published vectors.
pub const PUBLISHED_SEED: u64 = 1;

/// Verification time of forged evidence: 2026-09-01.
pub const NOW: u64 = 1_788_220_800;

/// Makes evidence.
pub struct Forge {
    keys: Keys,
}

/// One way to spoil evidence, and what must come of it.
pub struct Mutator<Plan, Made> {
    /// Its name, and that of the vector.
    pub name: &'static str,
    /// Document and section of the rule that it breaks.
    pub spec: &'static str,
    /// What it does.
    pub about: &'static str,
    /// The refusal; none where the verifier must accept all the same.
    pub expect: Option<(Code, &'static str)>,
    /// Where it sets in.
    pub change: Change<Plan, Made>,
}

/// Where a mutator sets in.
pub enum Change<Plan, Made> {
    /// Before anything is signed: the signatures will hold.
    Plan(fn(&mut Plan)),
    /// When everything is signed.
    Made(fn(&mut Made)),
}

impl Forge {
    /// A forge for this seed.
    pub fn new(seed: u64) -> Self {
        Self { keys: Keys::new(seed) }
    }

    /// Every vector, in a fixed order.
    pub fn vectors(&self) -> Result<Vec<TextVector>> {
        let kinds = [self.amd_vectors()?, self.intel_vectors()?];
        Ok(kinds.into_iter().flatten().collect())
    }
}

impl<Plan, Made> Mutator<Plan, Made> {
    fn expect(&self) -> Expect {
        match self.expect {
            None => Expect::Ok,
            Some((code, reason)) => Expect::Refuse { code, reason: reason.to_owned() },
        }
    }
}

const fn accepted<Plan, Made>(
    name: &'static str,
    spec: &'static str,
    about: &'static str,
    change: Change<Plan, Made>,
) -> Mutator<Plan, Made> {
    Mutator { name, spec, about, expect: None, change }
}

const fn refused<Plan, Made>(
    name: &'static str,
    spec: &'static str,
    about: &'static str,
    expect: (Code, &'static str),
    change: Change<Plan, Made>,
) -> Mutator<Plan, Made> {
    Mutator { name, spec, about, expect: Some(expect), change }
}
