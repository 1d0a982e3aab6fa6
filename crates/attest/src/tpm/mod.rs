//! TPM 2.0 quotes signed by an attestation key that was enrolled before, never by one that the evidence brings.
//!
//! *Takes* the signed message, its signature, an [`EnrolledKey`] and the PCR values that the sender says.
//! *Guarantees* what the type at each step says: [`Quote`] (well-formed) → [`VerifiedQuote`] (the enrolled key signed
//! it) → [`AppraisedQuote`] (nonce, selection and PCRs are the ones wanted).
//! *Does not check* where the key came from: that is the enrolment, or on Azure the hardware's report.
//!
//! The PCR selection is compared, not only the digest: a quote over other PCRs, whose values the sender lists under the
//! wanted numbers, has a right digest and the wrong selection.

mod error;
mod expected;
pub mod kbs;
mod key;
mod quote;
mod signature;
mod wire;

pub use error::TpmError;
pub use expected::{AppraisedQuote, Expected, PcrValues, Selection};
pub use key::EnrolledKey;
pub use quote::{MAX_QUOTE, Quote, VerifiedQuote};
pub use signature::{MAX_SIGNATURE, Signature};
