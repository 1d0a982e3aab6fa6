//! The key broker: verifies evidence, decides by release rules, and hands out secrets encrypted to the attested key.
//!
//! *Takes* settings, the keys that [`init`] made, and verifiers; speaks the KBS protocol 0.4.0 and 0.2.0 to guests and
//! JSON to administrators.
//! *Guarantees* that a secret leaves only with a permit of the policy module, encrypted to the attested key, after the
//! decision is in the audit log; and that a challenge is good for one successful attestation.
//! *Does not check* what a guest does after it has a secret.
//!
//! Read in this order: `http` (who may call what), `http/attest` (from a challenge to a session), `policy` (the
//! decision), `http/resource` (the only place where a secret leaves), `store`.
#![forbid(unsafe_code)]

mod app;
mod challenge;
mod clock;
mod ear;
mod explain;
mod hsm;
mod http;
mod import;
mod init;
mod intake;
mod jwe;
mod keys;
pub mod ledger;
mod master;
mod metrics;
mod path;
mod places;
mod policy;
mod rates;
mod rego;
mod renewal;
mod revocation;
mod serve;
mod settings;
mod store;
mod tls;
mod token;
mod try_out;
mod upkeep;
mod vault;
mod verify;

pub use attest::snp::Endorsements;
pub use hsm::HsmError;
pub use http::gate::{AdminKeyError, MAX_ADMIN_SECONDS, admin_token};
pub use import::{Imported, import_trustee};
pub use init::{Facts, InitError, InitOptions, init};
pub use intake::signer::{SignError, sign_references};
pub use keys::{ADMIN_KEY as ADMIN_KEY_FILE, KeysError, identity};
pub use renewal::{RenewalError, renew_leaf, rotate_token_key};
pub use serve::{Ready, ServeError, serve};
pub use settings::{
    FILE_NAME as SETTINGS_FILE, Limits, LogFormat, MasterSource, Postgres, PostgresTls, Revocation, Settings,
    SettingsError, StoreSource,
};
pub use store::{DatabaseError, LogError, StoreError, StoredLog};
pub use token::TokenKeyError;
pub use upkeep::{Backup, Restored, Rotated, UpkeepError, backup, restore, rewrap_master, rotate_master};
pub use vault::{KeptInVault, KvEncoding, KvVersion, VaultAuth, VaultError, VaultSettings};
pub use verify::{ExtraVerifier, Samples, Verifiers};
