//! Evidence of every kind, asked one question: is it genuine, and is it the one wanted?
//!
//! One file per kind turns the command line's files and values into what its verifier in `attest` takes, and the
//! verifier's answer into an [`Accepted`] or a [`Refused`]. No socket is opened here.

mod aci;
mod azure;
mod dcap;
mod nvgpu;
mod ratls;
mod snp;
mod token;
mod tpm;

pub(crate) use azure::{azure_quote, azure_report};
pub(crate) use dcap::platform as intel_platform;
pub(crate) use nvgpu::{device_questions, rim_ids};
pub(crate) use ratls::inside as in_certificate;
pub(crate) use snp::{read as read_snp, stale as stale_floors};

use crate::args::EvidenceKind as Kind;
use crate::collateral::Pieces;
use crate::outcome::{Failure, Result};
use attest::floors::Floors;
use attest::snp::Waiver;
use claims::wanted::WantedValues;
use claims::{Allowed, Code, Finding, Refusal, ReportData, UnixTime};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What is asked about some evidence.
pub(crate) struct Question<'a> {
    /// The evidence.
    pub(crate) bytes: &'a [u8],
    /// Where it was read, for messages.
    pub(crate) file: &'a Path,
    /// What it is verified with.
    pub(crate) pieces: &'a Pieces,
    /// The time to verify at.
    pub(crate) at: UnixTime,
    /// What it is compared with.
    pub(crate) wanted: Wanted,
    /// Report data wanted.
    pub(crate) report_data: Option<ReportData>,
    /// Nonce wanted, of the kinds that have one beside report data.
    pub(crate) nonce: Option<Vec<u8>>,
    /// Attestation keys that were enrolled.
    pub(crate) enrolled: Vec<PathBuf>,
    /// Refuse without a revocation list.
    pub(crate) require_crl: bool,
    /// Why a TEE that the host can debug is let pass; it is refused otherwise.
    pub(crate) allow_debug: Option<String>,
    /// Refuse below these patch levels.
    pub(crate) floors: Option<Floors>,
}

/// What evidence is compared with.
pub(crate) enum Wanted {
    /// A file of reference values.
    Reference {
        /// Its path, for messages.
        path: PathBuf,
        /// Its contents: a bundle's `reference.json`, or values by name ([`WantedValues`]).
        bytes: Vec<u8>,
    },
    /// Nothing, for this reason.
    Any {
        /// Why.
        reason: String,
    },
}

/// Evidence that is genuine and as wanted.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// What it states.
    pub(crate) claims: Value,
    /// What was not compared, and why.
    pub(crate) not_compared: Vec<String>,
    /// What else is to be known: state of collateral, status, revocation. A JSON object.
    pub(crate) facts: Value,
    /// What the user should know though nothing was refused.
    pub(crate) warnings: Vec<String>,
}

/// Evidence that is not.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The stable code.
    pub(crate) code: Code,
    /// Message of the check that refused, with its causes.
    pub(crate) reason: String,
    /// What was compared.
    pub(crate) finding: Option<Finding>,
    /// Where the wanted value comes from.
    pub(crate) wanted_from: Option<String>,
    /// What to run or do next.
    pub(crate) next: Vec<String>,
    /// What the evidence states, unverified.
    pub(crate) claims: Value,
    /// Whether it is genuine, and only not the one wanted.
    pub(crate) genuine: bool,
}

/// Accepted, or refused with a reason. A [`Failure`] is neither: a file that cannot be read, an option that is wrong.
pub(crate) type Verdict = std::result::Result<Accepted, Box<Refused>>;

impl Wanted {
    /// Reads `--reference` or takes `--accept-any`.
    pub(crate) fn read(reference: Option<&Path>, accept_any: Option<&str>) -> Result<Self> {
        match (reference, accept_any) {
            (Some(path), _) => Ok(Self::Reference { path: path.to_owned(), bytes: crate::outcome::read(path)? }),
            (None, Some(reason)) if !reason.trim().is_empty() => Ok(Self::Any { reason: reason.to_owned() }),
            _ => Err(Failure::usage("say what to compare with: --reference FILE, or --accept-any \"why\"")),
        }
    }

    /// The values wanted of one kind of evidence; none are wanted with `--accept-any`.
    pub(crate) fn values<T: DeserializeOwned + Default>(&self, kind: Kind) -> Result<T> {
        match self {
            Self::Any { .. } => Ok(T::default()),
            Self::Reference { path, bytes } => {
                WantedValues::parse(bytes).and_then(|values| values.of(&kind.name())).map_err(|error| {
                    Failure::usage(format!("{} holds no reference values for this evidence", path.display()))
                        .because(error)
                        .hint("the manual's page on reference values shows the members of each kind")
                })
            }
        }
    }

    /// Why something that is not named is not compared.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Any { reason } => reason.clone(),
            Self::Reference { .. } => "the reference file names none".to_owned(),
        }
    }

    /// These values, or any for [`Wanted::reason`].
    pub(crate) fn allowed<T: PartialEq>(&self, values: Vec<T>) -> Allowed<T> {
        if values.is_empty() { Allowed::any(self.reason()) } else { Allowed::OneOf(values) }
    }

    /// Where wanted values come from, for people.
    pub(crate) fn source(&self) -> Option<String> {
        match self {
            Self::Any { .. } => None,
            Self::Reference { path, .. } => Some(path.display().to_string()),
        }
    }
}

impl Refused {
    /// Of an error of a verifier.
    pub(crate) fn of(error: &dyn Refusal) -> Self {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            reason.push_str(": ");
            reason.push_str(&cause.to_string());
            source = cause.source();
        }
        let (code, finding) = (error.code(), error.finding());
        Self { code, reason, finding, wanted_from: None, next: Vec::new(), claims: Value::Null, genuine: false }
    }

    /// Bytes that are no evidence at all.
    pub(crate) fn malformed(code: Code, reason: String) -> Self {
        let (finding, wanted_from, next, claims) = (None, None, Vec::new(), Value::Null);
        Self { code, reason, finding, wanted_from, next, claims, genuine: false }
    }

    /// Adds what to do.
    pub(crate) fn next(mut self, step: impl Into<String>) -> Self {
        self.next.push(step.into());
        self
    }

    /// As a failure: the message, then claim, got, wanted, source, next steps.
    pub(crate) fn failure(&self) -> Failure {
        let cause: Box<dyn std::error::Error + Send + Sync> = self.reason.clone().into();
        let mut failure = Failure::refused("the evidence is refused").code(self.code).because(cause);
        if let Some(Finding { claim, got, wanted }) = &self.finding {
            failure = failure.hint(format!("{claim}: got {got}, wanted {wanted}"));
        }
        if let Some(source) = &self.wanted_from {
            failure = failure.hint(format!("the wanted value comes from {source}"));
        }
        self.next.iter().fold(failure, |failure, step| failure.hint(step))
    }
}

/// Whether bytes look like a kind of evidence.
type LooksLike = fn(&[u8]) -> bool;

/// The kind of some evidence, by its bytes.
pub(crate) fn detect(bytes: &[u8]) -> Option<Kind> {
    let kinds: [(Kind, LooksLike); 7] = [
        (Kind::Snp, snp::looks_like),
        (Kind::AzSnpVtpm, azure::looks_like_snp),
        (Kind::AzTdxVtpm, azure::looks_like_tdx),
        (Kind::Tpm, tpm::looks_like),
        (Kind::Nvgpu, nvgpu::looks_like),
        (Kind::Aci, aci::looks_like),
        (Kind::RaTls, ratls::looks_like),
    ];
    let found = kinds.iter().find(|(_, looks_like)| looks_like(bytes)).map(|(kind, _)| *kind);
    found.or_else(|| dcap::looks_like(bytes)).or_else(|| token::looks_like(bytes))
}

/// Asks the verifier of a kind.
pub(crate) fn verify(kind: Kind, question: &Question<'_>) -> Result<Verdict> {
    match kind {
        Kind::Snp => snp::verify(question),
        Kind::Sgx | Kind::Tdx => dcap::verify(kind, question),
        Kind::AzSnpVtpm => azure::verify_snp(question),
        Kind::AzTdxVtpm => azure::verify_tdx(question),
        Kind::Aci => aci::verify(question),
        Kind::Tpm => tpm::verify(question),
        Kind::Nvgpu => nvgpu::verify(question),
        Kind::RaTls => ratls::verify(question),
        Kind::Maa | Kind::Ear | Kind::Nras => token::verify(kind, question),
    }
}

/// What evidence states, unverified.
pub(crate) fn claimed(kind: Kind, bytes: &[u8]) -> std::result::Result<Value, Box<Refused>> {
    match kind {
        Kind::Snp => read_snp(bytes).map(|(report, _)| snp::fields(report.claimed())),
        Kind::Sgx | Kind::Tdx => dcap::claimed_of(bytes),
        Kind::AzSnpVtpm | Kind::AzTdxVtpm => azure::claimed_of(bytes),
        Kind::Aci => aci::claimed_of(bytes),
        Kind::Tpm => tpm::claimed_of(bytes),
        Kind::Nvgpu => nvgpu::claimed_of(bytes),
        Kind::RaTls => ratls::claimed_of(bytes),
        Kind::Maa | Kind::Ear | Kind::Nras => token::claimed_of(kind, bytes),
    }
}

/// What was not compared, and why, for people.
fn waived(waivers: &[Waiver]) -> Vec<String> {
    waivers.iter().map(|waiver| format!("{}: {}", waiver.claim, waiver.reason)).collect()
}
