//! Which certificate of an SNP chain is meant.

use std::fmt;

/// Which certificate of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// AMD root key.
    Root,
    /// AMD SEV key (ASK or ASVK).
    Intermediate,
    /// The endorsement key that signs reports (VCEK or VLEK).
    Vek,
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Root => "root",
            Self::Intermediate => "intermediate",
            Self::Vek => "endorsement",
        })
    }
}
