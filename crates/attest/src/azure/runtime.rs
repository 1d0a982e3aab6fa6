//! The runtime claims: JSON with keys, settings and user data, hashed as it stands into the hardware's report.

use super::error::AzureError;
use crate::token::strict;
use crate::tpm::EnrolledKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claims::azure::VmConfiguration;
use claims::bytes::ReportData;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Runtime claims whose form is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Runtime {
    pub(super) attestation_key: EnrolledKey,
    pub(super) vm_configuration: VmConfiguration,
    pub(super) user_data: Option<ReportData>,
}

/// Members beside the known ones are ignored: the hash covers them, and newer hosts add some.
pub(super) fn parse(json: &[u8]) -> Result<Runtime, AzureError> {
    let value = strict::parse(json).map_err(|error| AzureError::Json { what: error.to_string() })?;
    let wrong = |what: &str| AzureError::Json { what: what.to_owned() };
    let configuration = value.get("vm-configuration").and_then(Value::as_object);
    let configuration = configuration.ok_or_else(|| wrong("`vm-configuration` is no object"))?;
    let user_data = match value.get("user-data") {
        None => None,
        Some(Value::String(hex)) => Some(hex.parse().map_err(|_| wrong("`user-data` is not 128 hex digits"))?),
        Some(_) => return Err(wrong("`user-data` is no text")),
    };
    Ok(Runtime {
        attestation_key: attestation_key(&value)?,
        vm_configuration: vm_configuration(configuration)?,
        user_data,
    })
}

/// The one key `HCLAkPub`: RSA 2048 with exponent 65537. No name may be there twice.
fn attestation_key(claims: &Value) -> Result<EnrolledKey, AzureError> {
    let keys = claims.get("keys").and_then(Value::as_array).ok_or(AzureError::KeyMissing)?;
    let mut seen: Vec<&str> = Vec::new();
    let mut found = None;
    for key in keys {
        let kid = key.get("kid").and_then(Value::as_str);
        let kid = kid.ok_or_else(|| AzureError::Key { what: "a key has no name".to_owned() })?;
        if seen.contains(&kid) {
            return Err(AzureError::Key { what: format!("the name `{kid}` is there twice") });
        }
        seen.push(kid);
        if kid == ATTESTATION_KEY {
            found = Some(key);
        }
    }
    let key = found.ok_or(AzureError::KeyMissing)?;
    let wrong = |what: &str| AzureError::Key { what: what.to_owned() };
    if key.get("kty").and_then(Value::as_str) != Some("RSA") {
        return Err(wrong("it is no RSA key"));
    }
    let number = |name: &str| {
        let text = key.get(name).and_then(Value::as_str).unwrap_or("");
        URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong("modulus or exponent is not base64url"))
    };
    let enrolled = EnrolledKey::from_rsa(&number("n")?, &number("e")?)
        .map_err(|error| AzureError::Key { what: error.to_string() })?;
    match enrolled.rsa_bits() {
        Some(2048) => Ok(enrolled),
        _ => Err(wrong("it has not 2048 bits")),
    }
}

fn vm_configuration(members: &Map<String, Value>) -> Result<VmConfiguration, AzureError> {
    let wrong = |name: &str, what: &str| AzureError::Json { what: format!("`vm-configuration.{name}` {what}") };
    let flag = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(_) => Err(wrong(name, "is neither true nor false")),
    };
    let needed = |name: &str| flag(name)?.ok_or_else(|| wrong(name, "is missing"));
    let text = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(Value::String(value)) => Ok(Some(value.clone())),
        Some(_) => Err(wrong(name, "is no text")),
    };
    let current_time = match members.get("current-time") {
        None => None,
        Some(value) => Some(value.as_u64().ok_or_else(|| wrong("current-time", "is no number of seconds"))?),
    };
    let other: BTreeMap<String, String> = members
        .iter()
        .filter(|(name, _)| !KNOWN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.to_string()))
        .collect();
    Ok(VmConfiguration {
        console_enabled: needed("console-enabled")?,
        secure_boot: needed("secure-boot")?,
        tpm_enabled: needed("tpm-enabled")?,
        tpm_persisted: flag("tpm-persisted")?,
        root_cert_thumbprint: text("root-cert-thumbprint")?,
        current_time,
        vm_unique_id: text("vmUniqueId")?,
        other,
    })
}

/// Name of the vTPM's attestation key.
const ATTESTATION_KEY: &str = "HCLAkPub";
const KNOWN: [&str; 7] = [
    "console-enabled",
    "secure-boot",
    "tpm-enabled",
    "tpm-persisted",
    "root-cert-thumbprint",
    "current-time",
    "vmUniqueId",
];
