//! The emulated SNP processor: issuer, verifier, development roots.
