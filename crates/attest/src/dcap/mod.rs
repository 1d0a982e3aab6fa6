//! Intel SGX and TDX quotes (DCAP): quotes, their collateral, and what is wanted of them.
//!
//! *Takes* raw quotes, collateral and the time. *Guarantees* what the type at each step says: [`Quote`] (well-formed) →
//! [`VerifiedQuote`] (a platform of Intel's signed it; patch level and dates are results of their own) →
//! [`AppraisedQuote`] (it is the one wanted). Collateral goes its own way: [`Collateral`] (a heap of files) →
//! [`VerifiedCollateral`] (Intel signed every piece), checked once and used for any number of quotes.
//! *Does not check* freshness by itself: that is in `Expected::report_data`, which the caller makes of its nonce.
//!
//! Why not the crate `dcap-qvl`: it is the best kept verifier, and here the oracle of the tests and the peer of the
//! benchmark. But it does not read TCB info of version 2 nor SGX quotes of version 4, checks all collateral again for
//! each quote, lets the outer certification type of a TDX quote be anything, builds policy in, gives one status where
//! there are three axes, and brings a second crypto provider.

mod body;
mod cache;
mod certificate;
mod collateral;
mod crl;
mod crypto;
mod error;
mod expected;
mod extension;
mod finding;
mod json;
mod pck;
mod quote;
mod roots;
mod tcb;
mod verified;
mod verify;

pub use crate::snp::{Rule, Waiver};
pub use cache::PckCache;
pub use certificate::MAX_CERTIFICATE;
pub use collateral::{Collateral, MAX_FILE, MAX_PIECES};
pub use crl::MAX_CRL;
pub use error::{DcapError, Role};
pub use expected::{Expected, ExpectedBody, PlatformRules, SgxExpected, Staleness, TcbRules, TdxExpected, Tolerance};
pub use extension::PckExtension;
pub use json::{Level, MAX_JSON, Module, PlatformLevel, QeIdentity, TcbInfo, Verdict};
pub use quote::{MAX_QUOTE, Quote};
pub use roots::UnanchoredRoot;
pub use verified::{UnanchoredCollateral, VerifiedCollateral};
pub use verify::{AppraisedQuote, SignedQuote, UnanchoredQuote, VerifiedQuote};
