//! Results of NVIDIA's remote attestation service: a detached EAT (RFC 9711), one signed token over the digests of one
//! signed token per device.
//!
//! *Takes* the detached EAT and the service's keys. *Guarantees* that every device's token is the one whose digest is
//! signed, is itself signed by the service, and is of the same nonce. *Does not check* that the devices are this
//! machine's: bind the nonce to the CPU's evidence.

use super::error::TokenError;
use super::jwt::{MAX_TOKEN, Token, VerifiedToken};
use super::keys::KeySet;
use super::rules::Rules;
use super::strict;
use super::value::{compare, differs, flag, optional_text, text, wrong};
use crate::snp::Waiver;
use claims::bytes::Digest256;
use claims::token::{NrasClaims, NrasDevice};
use claims::{Allowed, Code, UnixTime};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Longest detached EAT that is read: a token for each device, and one over all.
pub const MAX_EAT: usize = 1024 * 1024;

/// A detached EAT whose form is right: every device's token hashes to the digest in the overall one. Nothing in it is
/// true before [`DetachedEat::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachedEat {
    overall: Token,
    devices: BTreeMap<String, Token>,
}

/// A detached EAT that the service signed, in all its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEat {
    claims: NrasClaims,
    overall: Map<String, Value>,
    devices: BTreeMap<String, Map<String, Value>>,
    waivers: Vec<Waiver>,
}

/// What the result must state. The overall result must be true, measurements golden, Secure Boot on, debugging off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The nonce of the request, hex.
    pub nonce: Allowed<String>,
    /// How many devices there must be.
    pub devices: Allowed<usize>,
    /// Which devices, by `ueid`.
    pub ueids: Allowed<String>,
    /// `hwmodel` of the devices.
    pub models: Allowed<String>,
    /// Driver versions that are accepted; empty stands for none (switches).
    pub drivers: Allowed<String>,
    /// VBIOS versions that are accepted.
    pub vbios: Allowed<String>,
}

/// A result whose claims are the wanted ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraised {
    /// What the service says.
    pub claims: NrasClaims,
    /// What was not compared, and why.
    pub waivers: Vec<Waiver>,
}

impl DetachedEat {
    /// Parses `[["JWT", overall], {device: token, …}]` and compares the digests.
    pub fn parse(json: &[u8]) -> Result<Self, TokenError> {
        if json.len() > MAX_EAT {
            return Err(TokenError::Length { got: json.len(), most: MAX_EAT });
        }
        let form = |what: &str| TokenError::Form { what: what.to_owned() };
        let value = strict::parse(json).map_err(|error| form(&error.to_string()))?;
        let (Some([overall, devices]), true) = (value.as_array().map(Vec::as_slice), value.is_array()) else {
            return Err(form("it is no detached EAT of two parts"));
        };
        let overall = match overall.as_array().map(Vec::as_slice) {
            Some([Value::String(kind), Value::String(token)]) if kind == "JWT" => Token::parse(token)?,
            _ => return Err(form("its first part is not `[\"JWT\", token]`")),
        };
        let devices = devices.as_object().ok_or_else(|| form("its second part is no object"))?;
        let digests = digests(overall.claimed())?;
        if let Some(name) = digests.keys().find(|name| !devices.contains_key(*name)) {
            return Err(TokenError::Submod { name: name.clone(), what: "is missing" });
        }
        let mut tokens = BTreeMap::new();
        for (name, token) in devices {
            let submod = |what| TokenError::Submod { name: name.clone(), what };
            let digest = digests.get(name).ok_or_else(|| submod("is in no signed digest"))?;
            let token = token.as_str().filter(|token| token.len() <= MAX_TOKEN).ok_or_else(|| submod("is no token"))?;
            if Digest256::of(token.as_bytes()) != *digest {
                return Err(submod("does not hash to the signed digest"));
            }
            tokens.insert(name.clone(), Token::parse(token)?);
        }
        Ok(Self { overall, devices: tokens })
    }

    /// The overall token: not verified.
    pub fn overall(&self) -> &Token {
        &self.overall
    }

    /// The devices' tokens: not verified.
    pub fn devices(&self) -> &BTreeMap<String, Token> {
        &self.devices
    }

    /// Verifies the overall token and each device's, and that all have one nonce.
    pub fn verify(self, keys: &KeySet, rules: &Rules, now: UnixTime) -> Result<VerifiedEat, TokenError> {
        self.attested(keys, rules, now)
    }

    fn attested(self, keys: &KeySet, rules: &Rules, now: UnixTime) -> Result<VerifiedEat, TokenError> {
        let overall = self.overall.verify(keys, rules, now)?;
        let nonce = text(overall.claims(), "eat_nonce")?;
        let (mut devices, mut raw) = (BTreeMap::new(), BTreeMap::new());
        for (name, token) in self.devices {
            let verified = token.verify(keys, rules, now)?;
            let own = text(verified.claims(), "eat_nonce")?;
            if own != nonce {
                return Err(differs(&format!("{name}.eat_nonce"), own, nonce, Code::JwtBinding));
            }
            raw.insert(name.clone(), verified.claims().clone());
            devices.insert(name, device(&verified)?);
        }
        let claims = NrasClaims {
            issuer: optional_text(overall.claims(), "iss")?.unwrap_or_default(),
            expires: overall.expires(),
            nonce,
            overall_result: flag(overall.claims(), "x-nvidia-overall-att-result")?,
            devices,
        };
        let waivers = overall.waivers().to_vec();
        Ok(VerifiedEat { claims, overall: overall.claims().clone(), devices: raw, waivers })
    }
}

impl VerifiedEat {
    /// What the service says.
    pub fn claims(&self) -> &NrasClaims {
        &self.claims
    }

    /// Every claim of the token over all devices, as the service wrote it.
    pub fn overall(&self) -> &Map<String, Value> {
        &self.overall
    }

    /// Every claim of each device's token, as the service wrote it.
    pub fn devices(&self) -> &BTreeMap<String, Map<String, Value>> {
        &self.devices
    }

    /// Compares the result with what is wanted.
    pub fn appraise(self, expected: &Expected) -> Result<Appraised, TokenError> {
        let Self { claims, mut waivers, .. } = self;
        compare(&mut waivers, "eat_nonce", Code::JwtBinding, &expected.nonce, &claims.nonce)?;
        if !claims.overall_result {
            return Err(differs("x-nvidia-overall-att-result", false, true, Code::JwtStatus));
        }
        compare(&mut waivers, "submods", Code::JwtSubmod, &expected.devices, &claims.devices.len())?;
        let mut seen = Vec::new();
        for (name, device) in &claims.devices {
            let must = |claim: &str, got: &str, wanted: &str, code| match got == wanted {
                true => Ok(()),
                false => Err(differs(&format!("{name}.{claim}"), got, wanted, code)),
            };
            must("measres", &device.measurement_result, "success", Code::JwtStatus)?;
            must("dbgstat", &device.debug_status, "disabled", Code::JwtDebug)?;
            must("secboot", &device.secure_boot.to_string(), "true", Code::JwtStatus)?;
            if seen.contains(&&device.ueid) {
                return Err(TokenError::Submod { name: name.clone(), what: "is a device that is there already" });
            }
            seen.push(&device.ueid);
            compare(&mut waivers, "ueid", Code::JwtClaim, &expected.ueids, &device.ueid)?;
            compare(&mut waivers, "hwmodel", Code::JwtClaim, &expected.models, &device.hardware_model)?;
            let driver = device.driver_version.clone().unwrap_or_default();
            compare(&mut waivers, "x-nvidia-gpu-driver-version", Code::JwtClaim, &expected.drivers, &driver)?;
            let vbios = device.vbios_version.clone().unwrap_or_default();
            compare(&mut waivers, "x-nvidia-gpu-vbios-version", Code::JwtClaim, &expected.vbios, &vbios)?;
        }
        Ok(Appraised { claims, waivers })
    }
}

/// `submods` of the overall token: `{name: ["DIGEST", ["SHA-256", hex]]}`.
fn digests(claims: &Map<String, Value>) -> Result<BTreeMap<String, Digest256>, TokenError> {
    let submods = claims.get("submods").and_then(Value::as_object).ok_or_else(|| wrong("submods", "is no object"))?;
    let digest = |value: &Value| {
        let [Value::String(kind), Value::Array(parts)] = value.as_array()?.as_slice() else { return None };
        let [Value::String(hash), Value::String(hex)] = parts.as_slice() else { return None };
        (kind == "DIGEST" && hash == "SHA-256").then(|| hex.parse().ok())?
    };
    submods
        .iter()
        .map(|(name, value)| {
            let digest = digest(value).ok_or_else(|| TokenError::Submod {
                name: name.clone(),
                what: "is not `[\"DIGEST\", [\"SHA-256\", hex]]`",
            })?;
            Ok((name.clone(), digest))
        })
        .collect()
}

fn device(token: &VerifiedToken) -> Result<NrasDevice, TokenError> {
    let claims = token.claims();
    let vbios = optional_text(claims, "x-nvidia-gpu-vbios-version")?;
    Ok(NrasDevice {
        measurement_result: text(claims, "measres")?,
        secure_boot: flag(claims, "secboot")?,
        debug_status: text(claims, "dbgstat")?,
        hardware_model: text(claims, "hwmodel")?,
        ueid: text(claims, "ueid")?,
        driver_version: optional_text(claims, "x-nvidia-gpu-driver-version")?,
        vbios_version: match vbios {
            Some(version) => Some(version),
            None => optional_text(claims, "x-nvidia-switch-bios-version")?,
        },
    })
}
