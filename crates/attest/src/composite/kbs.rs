//! Composites as the KBS protocol (0.4.0, `additional_evidence`) carries them.
//!
//! The text is a JSON object of device classes, of which `nvidia` is read: `{"nvidia": {"device_evidence_list": […]}}`.
//! The CPU's report data is SHA-384 over canonical JSON of nonce, key and this text, so the devices are in it. Upstream
//! gives all devices one nonce: the first 32 bytes of SHA-384 over canonical JSON of nonce and key, because SPDM has no
//! room for more. Our guests give each device its own ([`Session::device_nonce`]).

use super::binding::Session;
use super::error::CompositeError;
use crate::nvgpu::json::{MAX_JSON, SentDevice, Trustee};
use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use claims::Nonce;
use claims::bytes::Digest256;
use claims::json::canonical;
use claims::kbs::RuntimeData;
use serde::Deserialize;

/// Which nonces the devices have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceNonces {
    /// Each its own.
    PerDevice,
    /// All the same one, as upstream's guests do it, for the reason given. Evidence of a device is then bound to
    /// session and key but not to a place; repetition is found by serial number only.
    Upstream {
        /// Why.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Classes {
    nvidia: Trustee,
}

/// The devices in the text, in their order. An empty text has none. For fuzzing, this is a plain function.
pub fn devices(additional_evidence: &str) -> Result<Vec<SentDevice>, CompositeError> {
    if additional_evidence.is_empty() {
        return Ok(Vec::new());
    }
    if additional_evidence.len() > MAX_JSON {
        return Err(CompositeError::Text { what: format!("more than {MAX_JSON} bytes") });
    }
    let classes: Classes =
        serde_json::from_str(additional_evidence).map_err(|error| CompositeError::Text { what: error.to_string() })?;
    Ok(classes.nvidia.read()?)
}

/// The one nonce that upstream's guests give to every device.
pub fn device_nonce(runtime: &RuntimeData) -> Result<Nonce, CompositeError> {
    let value = serde_json::json!({ "nonce": runtime.nonce, "tee-pubkey": runtime.tee_pubkey });
    let hash = digest::digest(&digest::SHA384, &canonical(&value)?);
    let first = hash.as_ref().first_chunk::<32>().copied();
    first.map(Nonce).ok_or(CompositeError::OtherSession)
}

impl Session {
    /// The session of runtime data: its nonce, and SHA-256 over canonical JSON of its key.
    pub fn of(runtime: &RuntimeData) -> Result<Self, CompositeError> {
        let text = |what: String| CompositeError::Text { what };
        let nonce = BASE64_STANDARD.decode(&runtime.nonce).map_err(|error| text(format!("nonce: {error}")))?;
        let nonce = Nonce::from_slice(&nonce).ok_or_else(|| text("the nonce does not have 32 bytes".to_owned()))?;
        Ok(Self { nonce, key: Digest256::of(&canonical(&runtime.tee_pubkey)?) })
    }
}
