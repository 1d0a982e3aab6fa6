//! AMD SEV-SNP: reports, their endorsements, and what is wanted of them.
//!
//! *Takes* raw evidence, collateral and the time. *Guarantees* what the type at each step says:
//! [`Report`] (well-formed) → [`VerifiedReport`] (AMD silicon signed it) → [`AppraisedReport`] (it is the one wanted).
//! *Does not check* freshness by itself: that is in `Expected::report_data`, which the caller makes of its nonce.

mod cache;
mod certificate;
mod chain;
mod crl;
mod crypto;
mod endorsements;
mod error;
mod expected;
mod extensions;
mod finding;
pub mod kbs;
mod layout;
mod report;
mod role;
mod roots;
mod table;
mod verify;

pub use cache::{UnanchoredCache, VekCache};
pub use certificate::MAX_CERTIFICATE;
pub(crate) use certificate::single;
pub use chain::{EMULATED_CHIP_PREFIX, EMULATED_MARKER};
pub use crl::{CrlPolicy, CrlStatus, MAX_CRL};
pub use endorsements::{Collateral, CollateralError, Endorsements};
pub use error::SnpError;
pub use expected::{
    BelievedVersions, Debugging, Expected, Migration, ModelFloor, PlatformRules, Rule, TcbFloor, Waiver,
};
pub use layout::{REPORT_LENGTH, SIGNED};
pub use report::{Fields, Report, Versions, decode_tcb, encode_tcb, product_of};
pub use role::Role;
pub use roots::{ProductionRoots, UnanchoredRoot};
pub use table::{CertificateTable, Entry, MAX_ENTRIES, MAX_TABLE, TableError};
pub use verify::{AppraisedReport, UnanchoredReport, VerifiedReport};
