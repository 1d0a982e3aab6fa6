//! Attestation tokens as a relying party reads them: MAA, EAR and NRAS JWTs, with keys as collateral.
//!
//! *Takes* a token, the service's keys, what is wanted, and the time. *Guarantees* what the type at each step says:
//! [`Token`] (well-formed) → [`VerifiedToken`] (a given key signed it, for this issuer and audience, and it is in date) →
//! typed claims that were compared: [`maa`], [`ear`], [`nras`].
//! *Does not check* the evidence behind the token: the service is trusted for that. Nothing that the token names (`jku`,
//! `x5u`) is fetched, and nothing that it brings (`jwk`, `x5c`) is a key.

pub mod ear;
mod error;
mod jwt;
mod keys;
pub mod maa;
pub mod nras;
mod rules;
pub(crate) mod strict;
mod value;

pub use error::TokenError;
pub use jwt::{MAX_TOKEN, Token, VerifiedToken};
pub use keys::{KeySet, MAX_KEY_SET};
pub use rules::{Audience, Rules};
