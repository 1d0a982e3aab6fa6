//! Reference values out of documents: signed bundles, CoRIM, NVIDIA's RIMs, our `reference.json`.
//!
//! *Takes* a document as an administrator hands it in, the keys that are pinned, and the time.
//! *Guarantees* that where a key is pinned nothing is taken that no pinned key signed, except what its vendor signed
//! (RIMs); that a document out of date is refused; and that what is not understood is named, never skipped silently.
//! *Does not check* whether the values are good: whoever signed them says so.

pub(crate) mod bundle;
mod corim;
pub(crate) mod signer;

use crate::store::references::{Entry, id_of};
use attest::nvgpu::RimError;
use claims::nvgpu::GoldenMeasurements;
use claims::reference::Reference;
use claims::{Code, Digest256, Refusal, UnixTime};
use serde_json::{Value, json};
use signer::Signer;

/// Largest document.
pub(crate) const MAX_DOCUMENT: usize = 1 << 20;
/// Most values in one document.
const MAX_VALUES: usize = 4096;
/// Largest value as JSON, and longest name.
const MAX_VALUE: usize = 64 << 10;
const MAX_NAME: usize = 256;
/// Most notes that are kept.
const MAX_NOTES: usize = 256;
/// Name under which golden measurements of RIMs are kept; the verifier of devices compares with them.
pub(crate) const GOLDEN: &str = "nvidia_golden_measurements";

/// Why a document is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IntakeError {
    #[error("the document has {got} bytes, at most {MAX_DOCUMENT} are read")]
    TooLong { got: usize },
    #[error("this is neither a bundle of reference values, a CoRIM, a RIM nor a reference.json")]
    Unknown,
    #[error("the document is not in its form: {what}")]
    Form { what: String },
    #[error("keys are pinned ({pinned}), and the document is not signed")]
    Unsigned { pinned: String },
    #[error("no pinned key signed the document ({pinned})")]
    Signer { pinned: String },
    #[error("the document ended at {end}, and it is {now} (seconds since 1970)")]
    Ended { end: u64, now: u64 },
    #[error("the document begins at {start}, and it is {now} (seconds since 1970)")]
    Early { start: u64, now: u64 },
    #[error("the serial {got} is not above {last}, which was imported before")]
    Rollback { got: u64, last: u64 },
    #[error("the document holds no reference value that is understood: {notes}")]
    Nothing { notes: String },
    #[error(transparent)]
    Rim(#[from] RimError),
}

impl IntakeError {
    pub(crate) fn form(what: impl Into<String>) -> Self {
        Self::Form { what: what.into() }
    }

    pub(crate) fn code(&self) -> Code {
        match self {
            Self::TooLong { .. } => Code::TooLarge,
            Self::Unknown | Self::Form { .. } | Self::Nothing { .. } => Code::Format,
            Self::Unsigned { .. } | Self::Signer { .. } => Code::Signer,
            Self::Ended { .. } | Self::Early { .. } => Code::Expired,
            Self::Rollback { .. } => Code::Rollback,
            Self::Rim(error) => error.code(),
        }
    }
}

/// What a document says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Intake {
    /// `bundle`, `corim`, `nvidia-rim` or `reference`.
    pub(crate) format: &'static str,
    /// Name of the pinned key.
    pub(crate) signed_by: Option<String>,
    /// Of a signed bundle: the next one must have a higher one.
    pub(crate) serial: Option<u64>,
    /// SHA-256 of the document.
    pub(crate) digest: Digest256,
    pub(crate) values: Vec<Entry>,
    /// Values to revoke, with the reason.
    pub(crate) revoked: Vec<(Entry, String)>,
    /// What was not understood, or does not come with the values.
    pub(crate) notes: Vec<String>,
}

/// A document and what goes with it.
pub(crate) struct Sent<'a> {
    pub(crate) document: &'a [u8],
    /// A detached JWS over the bytes of a bundle.
    pub(crate) signature: Option<&'a str>,
    /// Name that values of a CoRIM get, instead of the one that the CoRIM gives.
    pub(crate) name: Option<&'a str>,
}

/// Reads a document. `rim` verifies a RIM, with the broker's collateral.
pub(crate) fn read(
    sent: &Sent<'_>,
    signers: &[Signer],
    now: UnixTime,
    rim: impl FnOnce(&[u8]) -> Result<GoldenMeasurements, RimError>,
) -> Result<Intake, IntakeError> {
    let document = sent.document;
    if document.len() > MAX_DOCUMENT {
        return Err(IntakeError::TooLong { got: document.len() });
    }
    let mut reading = Reading::new(document, now);
    match document.trim_ascii_start().first() {
        Some(b'{') => {
            let value: Value = crate::http::protocol::strict(document)
                .map_err(|_| IntakeError::form("it is no JSON, or has a member twice"))?;
            if value.get("type").and_then(Value::as_str) == Some(bundle::TYPE) {
                bundle::read(&mut reading, value, sent.signature, signers)?;
            } else if value.get("launch_measurements").is_some() {
                only_unsigned(sent.signature, signers)?;
                reference(&mut reading, document)?;
            } else {
                return Err(IntakeError::Unknown);
            }
        }
        Some(b'<') => golden(&mut reading, rim(document)?)?,
        Some(0xd2 | 0xd9) => corim::read(&mut reading, sent.name, signers)?,
        _ => return Err(IntakeError::Unknown),
    }
    if reading.intake.values.is_empty() && reading.intake.revoked.is_empty() {
        return Err(IntakeError::Nothing { notes: reading.intake.notes.join("; ") });
    }
    Ok(reading.intake)
}

/// A document in the course of being read.
pub(crate) struct Reading<'a> {
    bytes: &'a [u8],
    now: UnixTime,
    intake: Intake,
}

impl<'a> Reading<'a> {
    fn new(bytes: &'a [u8], now: UnixTime) -> Self {
        let intake = Intake {
            format: "",
            signed_by: None,
            serial: None,
            digest: Digest256::of(bytes),
            values: Vec::new(),
            revoked: Vec::new(),
            notes: Vec::new(),
        };
        Self { bytes, now, intake }
    }

    /// Refuses a document that is out of date.
    fn in_date(&self, start: Option<u64>, end: Option<u64>) -> Result<(), IntakeError> {
        let now = self.now.0;
        if let Some(end) = end.filter(|end| *end <= now) {
            return Err(IntakeError::Ended { end, now });
        }
        match start.filter(|start| *start > now) {
            Some(start) => Err(IntakeError::Early { start, now }),
            None => Ok(()),
        }
    }

    fn note(&mut self, words: impl Into<String>) {
        let words = words.into();
        if self.intake.notes.len() < MAX_NOTES && !self.intake.notes.contains(&words) {
            self.intake.notes.push(words);
        }
    }

    fn add(&mut self, name: &str, value: Value, single: bool, expires: Option<u64>) -> Result<(), IntakeError> {
        let entry = self.entry(name, value, single, expires)?;
        if self.intake.values.len() >= MAX_VALUES {
            return Err(IntakeError::form("it has more than 4096 values"));
        }
        self.intake.values.push(entry);
        Ok(())
    }

    fn revoke(&mut self, name: &str, value: Value, reason: String) -> Result<(), IntakeError> {
        let entry = self.entry(name, value, false, None)?;
        self.intake.revoked.push((entry, reason));
        Ok(())
    }

    fn entry(&self, name: &str, value: Value, single: bool, expires: Option<u64>) -> Result<Entry, IntakeError> {
        entry(name, value, single, self.now, expires).map_err(|what| IntakeError::form(format!("`{name}`: {what}")))
    }
}

/// A value of a name, checked.
pub(crate) fn entry(
    name: &str,
    value: Value,
    single: bool,
    added: UnixTime,
    expires: Option<u64>,
) -> Result<Entry, &'static str> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err("a reference value's name has 1 to 256 bytes");
    }
    if value.to_string().len() > MAX_VALUE {
        return Err("a reference value has at most 65536 bytes");
    }
    let id = id_of(name, &value).ok_or("the value has no canonical form")?;
    Ok(Entry { id, name: name.to_owned(), value, single, added: added.0, expires, revoked: None, reason: None })
}

/// Seconds since 1970 of a time in RFC 3339.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let time = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp()).ok()
}

/// What has no signature of its own is taken only where none is asked for, and given.
fn only_unsigned(signature: Option<&str>, signers: &[Signer]) -> Result<(), IntakeError> {
    if signature.is_some() {
        return Err(IntakeError::form("a signature goes with a bundle only"));
    }
    if signers.is_empty() { Ok(()) } else { Err(IntakeError::Unsigned { pinned: signer::names(signers) }) }
}

/// A bundle's `reference.json`, as values for appraisal policies.
fn reference(reading: &mut Reading<'_>, bytes: &[u8]) -> Result<(), IntakeError> {
    reading.intake.format = "reference";
    let reference = Reference::parse(bytes).map_err(|error| IntakeError::form(error.to_string()))?;
    for entry in &reference.launch_measurements {
        reading.add("snp_launch_measurement", json!(entry.launch_measurement), false, None)?;
    }
    reading.add("snp_host_data", json!(reference.host_data), false, None)?;
    if reference.tcb_floor.is_some() {
        reading
            .note("tcb_floor: appraisal policies compare for equality; add snp_bootloader and so on, or make a rule");
    }
    reading.note("resources, chips, lease: these are of release rules; `confide reference add FILE` makes one");
    Ok(())
}

/// A RIM that NVIDIA signed: its measurements, and its version among those allowed.
fn golden(reading: &mut Reading<'_>, golden: GoldenMeasurements) -> Result<(), IntakeError> {
    reading.intake.format = "nvidia-rim";
    reading.intake.signed_by = Some("NVIDIA".to_owned());
    let version = golden.colloquial_version.clone();
    let name = if is_bios(&version) { "allowed_vbios_versions" } else { "allowed_driver_versions" };
    reading.add(name, version.into(), false, None)?;
    reading.add(GOLDEN, json!(golden), false, None)
}

/// A BIOS has five groups of two hex digits (`96.00.5E.00.01`), a driver has decimal ones (`550.144.03`). The tag of a RIM
/// does not tell: newer ones are digests.
fn is_bios(version: &str) -> bool {
    let two = |group: &str| group.len() == 2 && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    version.split('.').count() == 5 && version.split('.').all(two)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_says_what_it_is_of() {
        assert!(is_bios("96.00.5E.00.01") && is_bios("96.10.55.00.01"));
        assert!(!is_bios("550.144.03") && !is_bios("535.86.05"));
    }
}
