//! Reference values for evidence that no bundle of ours made: what `--reference` names for it.
//!
//! One JSON object per file, with `version` (1) and `type` (as `--type` names it); every other member is one expectation.
//! What a file does not name is not compared, and the result says so.

use crate::bytes::{Digest256, Digest384};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Longest file that is read.
pub const MAX_LENGTH: usize = 1 << 20;

/// Reference values of one kind, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedValues {
    kind: String,
    values: Map<String, Value>,
}

/// A file that holds no reference values.
#[derive(Debug, thiserror::Error)]
pub enum WantedError {
    /// Too long.
    #[error("{got} bytes, at most {MAX_LENGTH} are read")]
    Length {
        /// Bytes found.
        got: usize,
    },
    /// Not the JSON wanted.
    #[error("not the reference values of this kind of evidence")]
    Json(#[from] serde_json::Error),
    /// `version` is not 1.
    #[error("`version` is not 1")]
    Version,
    /// For another kind.
    #[error("these are reference values for `{got}`, the evidence is `{wanted}`")]
    Kind {
        /// Kind of the file.
        got: String,
        /// Kind of the evidence.
        wanted: String,
    },
}

/// Of an SGX enclave.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgxWanted {
    /// Enclave measurements.
    pub mrenclave: Vec<Digest256>,
    /// Signers.
    pub mrsigner: Vec<Digest256>,
    /// Product ids.
    pub isv_prod_id: Vec<u16>,
    /// Least security version.
    pub isv_svn: Option<u16>,
    /// TCB and its collateral.
    pub tcb: IntelTcbWanted,
}

/// Of a trust domain.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TdxWanted {
    /// Build-time measurements.
    pub mr_td: Vec<Digest384>,
    /// Run-time measurements.
    pub rtmr0: Vec<Digest384>,
    /// The same, register 1.
    pub rtmr1: Vec<Digest384>,
    /// The same, register 2.
    pub rtmr2: Vec<Digest384>,
    /// The same, register 3.
    pub rtmr3: Vec<Digest384>,
    /// `MRCONFIGID`.
    pub mr_config_id: Vec<Digest384>,
    /// `MROWNER`.
    pub mr_owner: Vec<Digest384>,
    /// `MROWNERCONFIG`.
    pub mr_owner_config: Vec<Digest384>,
    /// TCB and its collateral.
    pub tcb: IntelTcbWanted,
}

/// Of an Intel platform. What is not named is strict: `UpToDate` only.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntelTcbWanted {
    /// TCB statuses, as Intel spells them; `UpToDate` where none is named.
    pub statuses: Vec<String>,
    /// Advisories that are accepted; any where none is named.
    pub advisories: Vec<String>,
    /// Least `tcbEvaluationDataNumber`.
    pub evaluation_data_number: Option<u32>,
}

/// Of an Azure confidential VM.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzureWanted {
    /// Launch measurements of the paravisor, hex.
    pub measurement: Vec<String>,
    /// PCR values of the SHA-256 bank, by index.
    pub pcrs: BTreeMap<u8, Vec<Digest256>>,
    /// Whether Secure Boot must be on; it must where this is not named.
    pub secure_boot: Option<bool>,
    /// Whether a console may be attached; it may where this is not named, as Azure's images have one.
    pub console: Option<bool>,
}

/// Of an Azure confidential VM with TDX: the same, and the patch level of Intel's platform.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzureTdxWanted {
    /// Build-time measurements of the paravisor.
    pub mr_td: Vec<Digest384>,
    /// TCB and its collateral.
    pub tcb: IntelTcbWanted,
    /// PCR values of the SHA-256 bank, by index.
    pub pcrs: BTreeMap<u8, Vec<Digest256>>,
    /// Whether Secure Boot must be on; it must where this is not named.
    pub secure_boot: Option<bool>,
    /// Whether a console may be attached; it may where this is not named, as Azure's images have one.
    pub console: Option<bool>,
}

/// Of a TPM with an enrolled key.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TpmWanted {
    /// PCR values of the SHA-256 bank, by index.
    pub pcrs: BTreeMap<u8, Vec<Digest256>>,
}

/// Of confidential containers on Azure.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AciWanted {
    /// SHA-256 of CCE policies.
    pub host_data: Vec<Digest256>,
    /// Who signs the utility VM, as `did:x509`.
    pub issuer: Option<String>,
    /// Feed of the utility VM.
    pub feed: Vec<String>,
    /// Least security version of the utility VM.
    pub svn: Option<u64>,
}

/// Of NVIDIA GPUs and switches.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuWanted {
    /// Drivers.
    pub driver: Vec<String>,
    /// Least driver.
    pub driver_at_least: Option<String>,
    /// VBIOS versions.
    pub vbios: Vec<String>,
    /// Least VBIOS, within one generation.
    pub vbios_at_least: Option<String>,
    /// Devices, by serial number of the boot ROM's certificate.
    pub devices: Vec<String>,
    /// Number of devices.
    pub count: Option<usize>,
}

/// Of a token of Microsoft Azure Attestation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaaWanted {
    /// Issuers.
    pub issuer: Vec<String>,
    /// Audiences.
    pub audience: Vec<String>,
    /// Other claims: see [`claim_difference`].
    pub claims: BTreeMap<String, Value>,
    /// `x-ms-compliance-status`.
    pub compliance_status: Vec<String>,
    /// `x-ms-policy-hash`: which policy the service applied.
    pub policy_hash: Vec<String>,
    /// `x-ms-sevsnpvm-launchmeasurement`.
    pub measurement: Vec<Digest384>,
    /// `x-ms-sevsnpvm-hostdata`: of a container group the SHA-256 of its policy.
    pub host_data: Vec<Digest256>,
    /// `x-ms-sgx-mrenclave`.
    pub mrenclave: Vec<Digest256>,
    /// `x-ms-sgx-mrsigner`.
    pub mrsigner: Vec<Digest256>,
    /// `x-ms-sgx-product-id`.
    pub product_id: Vec<u64>,
    /// Least `x-ms-sgx-svn`.
    pub svn: Option<u64>,
    /// `x-ms-sgx-ehd`: base64url of what the session binds.
    pub enclave_held_data: Vec<String>,
    /// `tdx_mrtd`.
    pub mr_td: Vec<Digest384>,
    /// `attester_tcb_status`.
    pub tcb_status: Vec<String>,
}

/// Of an EAR token.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EarWanted {
    /// Issuers.
    pub issuer: Vec<String>,
    /// Audiences.
    pub audience: Vec<String>,
    /// Other claims: see [`claim_difference`].
    pub claims: BTreeMap<String, Value>,
    /// `eat_profile`.
    pub profile: Vec<String>,
    /// Exactly these submodules.
    pub submods: Vec<String>,
    /// `ear.appraisal-policy-id` of every submodule.
    pub policies: Vec<String>,
}

/// Of a detached EAT of NVIDIA's remote attestation service. Whatever a file names, the overall result must be true, and
/// of every device the measurements golden, Secure Boot on and debugging off.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NrasWanted {
    /// Issuers.
    pub issuer: Vec<String>,
    /// Audiences.
    pub audience: Vec<String>,
    /// Other claims of the token over all devices: see [`claim_difference`].
    pub claims: BTreeMap<String, Value>,
    /// Other claims of every device's token, in the same way.
    pub device_claims: BTreeMap<String, Value>,
    /// Drivers.
    pub driver: Vec<String>,
    /// VBIOS versions.
    pub vbios: Vec<String>,
    /// Devices, by `ueid`.
    pub devices: Vec<String>,
    /// `hwmodel`.
    pub hardware_model: Vec<String>,
    /// Number of devices.
    pub count: Option<usize>,
}

/// The first claim that is not as wanted: its name, what it is (null when it is missing), and what is wanted. Values are
/// compared as JSON. A name that starts with `/` is a JSON pointer (RFC 6901) into the claims.
pub fn claim_difference<'a>(
    wanted: &'a BTreeMap<String, Value>,
    claims: &Map<String, Value>,
) -> Option<(&'a str, Value, &'a Value)> {
    wanted.iter().find_map(|(name, value)| {
        let got = match name.starts_with('/') {
            true => Value::Object(claims.clone()).pointer(name).cloned(),
            false => claims.get(name).cloned(),
        };
        let got = got.unwrap_or(Value::Null);
        (got != *value).then_some((name.as_str(), got, value))
    })
}

impl WantedValues {
    /// Parses a file; what it means is decided by [`WantedValues::of`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WantedError> {
        if bytes.len() > MAX_LENGTH {
            return Err(WantedError::Length { got: bytes.len() });
        }
        let mut values: Map<String, Value> = serde_json::from_slice(bytes)?;
        if values.remove("version") != Some(Value::from(1)) {
            return Err(WantedError::Version);
        }
        let kind = values.remove("type").and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
        Ok(Self { kind, values })
    }

    /// Reads the values as those of one kind.
    pub fn of<T: DeserializeOwned>(&self, kind: &str) -> Result<T, WantedError> {
        if self.kind != kind {
            return Err(WantedError::Kind { got: self.kind.clone(), wanted: kind.to_owned() });
        }
        Ok(serde_json::from_value(Value::Object(self.values.clone()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_for_one_kind_and_holds_nothing_unknown() {
        let digest = "11".repeat(32);
        let text = format!(r#"{{"version":1,"type":"sgx","mrsigner":["{digest}"],"isv_svn":3}}"#);
        let values = WantedValues::parse(text.as_bytes()).unwrap();
        let sgx: SgxWanted = values.of("sgx").unwrap();
        assert_eq!((sgx.mrsigner.len(), sgx.isv_svn, sgx.mrenclave.len()), (1, Some(3), 0));
        let other = values.of::<TdxWanted>("tdx");
        assert!(matches!(other, Err(WantedError::Kind { got, wanted }) if got == "sgx" && wanted == "tdx"));

        let unknown = WantedValues::parse(br#"{"version":1,"type":"sgx","mrsinger":[]}"#).unwrap();
        assert!(matches!(unknown.of::<SgxWanted>("sgx"), Err(WantedError::Json(_))));
        assert!(matches!(WantedValues::parse(br#"{"type":"sgx"}"#), Err(WantedError::Version)));
        assert!(matches!(WantedValues::parse(b"[]"), Err(WantedError::Json(_))));
    }

    #[test]
    fn a_claim_is_named_or_pointed_at() {
        let claims = serde_json::json!({ "a/b": 1, "x": { "~y": [true] } });
        let claims = claims.as_object().unwrap();
        let differs = |name: &str, value: Value| {
            let wanted = BTreeMap::from([(name.to_owned(), value)]);
            claim_difference(&wanted, claims).map(|(_, got, _)| got)
        };
        assert_eq!(differs("a/b", 1.into()), None);
        assert_eq!(differs("/a~1b", 1.into()), None);
        assert_eq!(differs("/x/~0y/0", true.into()), None);
        assert_eq!(differs("/x/~0y/0", false.into()), Some(true.into()));
        assert_eq!(differs("/x/z", 1.into()), Some(Value::Null));
        assert_eq!(differs("/", 1.into()), Some(Value::Null));
        assert_eq!(differs("y", 1.into()), Some(Value::Null));
    }
}
