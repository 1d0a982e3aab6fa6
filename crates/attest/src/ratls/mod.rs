//! RA-TLS certificates: evidence inside a self-signed X.509 certificate, both directions.
//!
//! *Takes* a certificate, the nonce that is wanted, and the time. *Guarantees* of [`BoundEvidence`]: the certificate is
//! signed by its own key and in date, and **if** the evidence in it is genuine, it vouches for that key. *Does not check*
//! the evidence: give it to its verifier, and ask there for [`BoundEvidence::expected_report_data`]. A certificate alone
//! says nothing about the session it is used in: without a nonce it can be relayed.
//!
//! Formats: the interoperable one of the CCC attestation SIG (TCG DICE extension 2.23.133.5.4.9, CBOR tag 60000) and the
//! one that Gramine wrote before (`reference/sgx.md` 4). Where both are there, the interoperable one is read.

mod certificate;
mod claims;
mod encode;
mod error;

pub use certificate::{BoundEvidence, EvidenceKind, Format, MAX_CERTIFICATE, RaTlsCertificate};
pub use claims::{key_claims, key_report_data, report_data_of};
pub use encode::{Certificate, Evidence, SigningKey, extension, self_signed};
pub use error::RaTlsError;
