//! Evidence in, claims out: one file for each kind of evidence.
//!
//! *Takes* evidence as a KBS client sends it, what it must be bound to, the time; collateral from the broker's folder
//! and from the evidence, where its form carries it.
//! *Guarantees* that claims come from a verifier, that the evidence is bound to this session and key, and that nothing
//! named by evidence was fetched.
//! *Does not check* rules and policies: it says what is true, not what is wanted.

mod aci;
mod azure;
mod collateral;
mod dcap;
mod devices;
mod sample;
mod snp;
#[cfg(test)]
mod tests;
mod tpm;

use crate::policy::Mode;
use crate::settings::Revocation;
use attest::dcap::{PckCache, VerifiedCollateral};
use attest::nvgpu::RimError;
use attest::snp::{CrlPolicy, CrlStatus, VekCache};
use claims::kbs::RuntimeData;
use claims::nvgpu::GoldenMeasurements;
use claims::snp::SnpClaims;
use claims::{Code, Digest256, UnixTime};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

pub use sample::Samples;
pub use snp::{ExtraVerifier, Verifiers};
pub(crate) use tpm::TRUSTED_KEYS;

/// Endorsement keys and platforms that are remembered as verified.
const KNOWN_KEYS: usize = 4096;

macro_rules! kinds {
    ($($variant:ident = $name:literal, $number:literal, $doc:literal;)*) => {
        /// A kind of evidence that can be the primary one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kind { $(#[doc = $doc] $variant,)* }

        impl Kind {
            /// Every kind.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What clients call it.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its number in a challenge: below 16, never used again for another.
            pub(crate) fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)* }
            }
        }
    };
}

kinds! {
    Snp = "snp", 0, "A guest of AMD SEV-SNP.";
    Tdx = "tdx", 1, "A guest of Intel TDX.";
    Sgx = "sgx", 2, "An enclave of Intel SGX.";
    AzSnpVtpm = "az-snp-vtpm", 3, "A confidential VM of Azure on SNP.";
    AzTdxVtpm = "az-tdx-vtpm", 4, "A confidential VM of Azure on TDX.";
    Tpm = "tpm", 5, "A machine with a TPM whose attestation key is enrolled.";
    Aci = "aci", 6, "A confidential container group of Azure; upstream has no name for it.";
    Sample = "sample", 7, "What upstream's clients send without a TEE; taken by development brokers only.";
}

impl Kind {
    /// The kind that a client names.
    pub(crate) fn parse(name: &str) -> Result<Self, Code> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or(Code::TeeUnsupported)
    }
}

/// What evidence must be bound to, and when.
pub(crate) struct Session<'a> {
    /// SHA-384 over nonce, key and additional evidence.
    pub(crate) binding: [u8; 48],
    pub(crate) now: UnixTime,
    /// Attestation keys of TPMs that were enrolled: DER of a SubjectPublicKeyInfo.
    pub(crate) enrolled: &'a [Vec<u8>],
}

/// Evidence of the CPU that a verifier accepted and that is bound to the session.
pub(crate) struct Verified {
    pub(crate) kind: Kind,
    /// What release rules ask about; of bare SNP only.
    pub(crate) snp: Option<SnpClaims>,
    /// Under upstream's names, without report data.
    pub(crate) claims: Value,
    /// Hex of the field that holds the binding.
    pub(crate) report_data: String,
    /// What init-data is compared with.
    pub(crate) init: Init,
    /// Names this instance of a guest, where the evidence does.
    pub(crate) instance: Option<String>,
    pub(crate) revocation: Option<CrlStatus>,
}

/// Where evidence holds the digest of init-data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Init {
    /// A field of the report. A digest that is shorter is followed by zeros, a longer one is cut.
    Field(Vec<u8>),
    /// PCR 8 of the SHA-256 bank, extended once from zero.
    Pcr8(Digest256),
    /// Nowhere.
    None,
    /// Nothing is signed at all (sample evidence): whatever is sent is shown.
    Unsigned,
}

impl Init {
    /// Hex, for claims.
    pub(crate) fn hex(&self) -> Option<String> {
        match self {
            Self::Field(bytes) => Some(hex::encode(bytes)),
            Self::Pcr8(digest) => Some(digest.to_string()),
            Self::None | Self::Unsigned => None,
        }
    }

    /// Whether this is where `digest` went.
    pub(crate) fn holds(&self, digest: &[u8]) -> bool {
        match self {
            Self::Field(field) => {
                let padded = digest.iter().copied().chain(std::iter::repeat(0)).take(field.len());
                !digest.is_empty() && !field.is_empty() && padded.eq(field.iter().copied())
            }
            Self::Pcr8(pcr) => digest.len() == 32 && Digest256::of(&[&[0; 32], digest].concat()) == *pcr,
            Self::None => false,
            Self::Unsigned => true,
        }
    }
}

/// A device that came with the CPU: verified, bound to the session, and part of what the CPU signed.
pub(crate) struct VerifiedDevice {
    /// What upstream calls the kind.
    pub(crate) name: &'static str,
    /// `gpu` or `switch`.
    pub(crate) class: &'static str,
    pub(crate) claims: Value,
}

/// The verifiers of a running broker.
pub(crate) struct Appraiser {
    revocation: CrlPolicy,
    known: VekCache,
    platforms: PckCache,
    intel: Mutex<HashMap<[u8; 32], Arc<VerifiedCollateral>>>,
    collateral: Option<PathBuf>,
    extra: Option<Arc<dyn ExtraVerifier>>,
}

impl Appraiser {
    pub(crate) fn new(mode: Mode, revocation: &Revocation, collateral: Option<PathBuf>, verifiers: Verifiers) -> Self {
        let revocation = match revocation {
            Revocation::Required => CrlPolicy::Required,
            Revocation::AbsentOk { reason } => CrlPolicy::AbsentOk { reason: reason.clone() },
        };
        let extra = verifiers.extra.filter(|_| mode == Mode::Development);
        let (known, platforms) = (VekCache::new(KNOWN_KEYS), PckCache::new(KNOWN_KEYS));
        Self { revocation, known, platforms, intel: Mutex::default(), collateral, extra }
    }

    /// Verifies evidence of a CPU and that it is bound to the session. Does arithmetic of a few milliseconds and may
    /// read files: not for an async thread.
    pub(crate) fn verify(&self, kind: Kind, evidence: &RawValue, session: &Session<'_>) -> Result<Verified, Code> {
        let value = || serde_json::from_str::<Value>(evidence.get()).map_err(|_| Code::Format);
        match kind {
            Kind::Snp => self.verify_snp(evidence.get(), session),
            Kind::Tdx | Kind::Sgx => self.verify_quote(kind, &value()?, session),
            Kind::AzSnpVtpm | Kind::AzTdxVtpm => self.verify_azure(kind, &value()?, &session.binding, session.now),
            Kind::Tpm => {
                let nonce = session.binding.get(..tpm::NONCE_LENGTH).unwrap_or_default();
                tpm::verify(&value()?, session.enrolled, nonce)
            }
            Kind::Aci => self.verify_aci(&value()?, session),
            Kind::Sample => self.verify_sample(&value()?, session),
        }
    }

    /// Verifies the devices in `additional_evidence`, whose text the CPU's evidence is bound to. `imported` are values of
    /// RIMs beside those of the collateral folder.
    pub(crate) fn verify_devices(
        &self,
        additional_evidence: &str,
        runtime: &RuntimeData,
        now: UnixTime,
        imported: &[GoldenMeasurements],
    ) -> Result<Vec<VerifiedDevice>, Code> {
        let (text, sample) = sample::devices(self.samples(), additional_evidence, runtime)?;
        let mut devices = devices::verify(&text, runtime, now, &self.revocation, self.collateral.as_deref(), imported)?;
        devices.extend(sample);
        Ok(devices)
    }

    /// Verifies a RIM of NVIDIA's, with revocation as everywhere.
    pub(crate) fn verify_rim(&self, bytes: &[u8], now: UnixTime) -> Result<GoldenMeasurements, RimError> {
        devices::verify_rim(bytes, &devices::revocation(self.collateral.as_deref(), &self.revocation), now)
    }
}

/// The bytes of a member, in base64 (standard alphabet, padding optional).
fn base64_member(evidence: &Value, name: &str, code: Code) -> Result<Vec<u8>, Code> {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    let text = evidence.get(name).and_then(Value::as_str).ok_or(code)?;
    STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).map_err(|_| code)
}
