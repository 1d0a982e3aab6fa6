//! PKI and evidence in the shape of each vendor's, made from one seed: the same seed, the same bytes.
//!
//! *Takes* a seed. *Guarantees* that every key, certificate, salt and signature follows from it, so that published
//! vectors can be made again. *Does not make* RSA keys: in the time of a test they cannot be, so four published ones stand
//! in for every seed (`rsa-test-keys.txt`). Nothing forged here reaches a vendor's pinned root, and no verifier's entry
//! for production takes another one.

pub mod aci;
pub mod amd;
pub mod azure;
pub mod intel;
mod keys;
pub mod nvidia;
pub mod ratls;
pub mod token;
pub mod tpm;
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

/// The fields of a vector, as they are sent: evidence, collateral, and what is wanted.
#[derive(Debug, Clone)]
pub struct Sent {
    kind: &'static str,
    now: u64,
    fields: Vec<(&'static str, Vec<u8>)>,
}

impl Sent {
    fn new(kind: &'static str) -> Self {
        Self { kind, now: NOW, fields: Vec::new() }
    }

    /// Replaces a field, or adds it.
    fn set(&mut self, name: &'static str, value: impl AsRef<[u8]>) {
        match self.get_mut(name) {
            Some(place) => *place = value.as_ref().to_vec(),
            None => self.add(name, value),
        }
    }

    fn add(&mut self, name: &'static str, value: impl AsRef<[u8]>) {
        self.fields.push((name, value.as_ref().to_vec()));
    }

    fn remove(&mut self, name: &str) {
        self.fields.retain(|(other, _)| *other != name);
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        self.fields.iter_mut().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Changes a field that is there.
    fn edit(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(value) = self.get_mut(name) {
            change(value);
        }
    }

    fn vector(self, name: &str, spec: &str, about: &str, expect: Expect) -> TextVector {
        TextVector {
            name: name.to_owned(),
            kind: self.kind.to_owned(),
            spec: spec.to_owned(),
            about: about.to_owned(),
            expect,
            now: self.now,
            fields: self.fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

impl Forge {
    /// One vector for each mutator of a table.
    fn spoil<Plan>(
        &self,
        table: &[Mutator<Plan, Sent>],
        plan: impl Fn(&Self) -> Result<Plan>,
        make: impl Fn(&Self, &Plan) -> Result<Sent>,
    ) -> Result<Vec<TextVector>> {
        let mut vectors = Vec::new();
        for mutator in table {
            let mut plan = plan(self)?;
            if let Change::Plan(change) = mutator.change {
                change(&mut plan);
            }
            let mut sent = make(self, &plan)?;
            if let Change::Made(change) = mutator.change {
                change(&mut sent);
            }
            vectors.push(sent.vector(mutator.name, mutator.spec, mutator.about, mutator.expect()));
        }
        Ok(vectors)
    }

    /// A forge for this seed.
    pub fn new(seed: u64) -> Self {
        Self { keys: Keys::new(seed) }
    }

    /// Every vector, in a fixed order.
    pub fn vectors(&self) -> Result<Vec<TextVector>> {
        let kinds = [
            self.amd_vectors()?,
            self.intel_vectors()?,
            self.tpm_vectors()?,
            self.azure_vectors()?,
            self.aci_vectors()?,
            self.ratls_vectors()?,
            self.token_vectors()?,
            self.nvidia_vectors()?,
        ];
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

/// Takes the last byte off.
fn shorten(bytes: &mut Vec<u8>) {
    bytes.pop();
}
