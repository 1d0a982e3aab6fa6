//! Messages of the KBS protocol, read strictly: no member twice, bounded depth, one form per version.

use super::refusal::Refusal;
use crate::challenge::{Pending, Version};
use crate::verify::Init;
use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use axum::http::{HeaderMap, HeaderValue, header};
use claims::kbs::{self, Attestation, InitData, RuntimeData, TeeKey};
use claims::site::Site;
use claims::{Code, Digest256, UnixTime};
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// Name of the session's cookie.
const COOKIE: &str = "kbs-session-id";
/// Deepest nesting of a message.
const MAX_DEPTH: usize = 32;

/// An attestation of either version, in one form.
pub(crate) struct Message {
    pub(crate) init_data: Option<InitData>,
    pub(crate) runtime_data: RuntimeData,
    pub(crate) additional_evidence: String,
    /// As it came: most of it are numbers, which are read once, as what they stand for.
    pub(crate) evidence: Box<RawValue>,
}

/// The body of protocol 0.2.0.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct OldAttestation {
    tee_pubkey: TeeKey,
    tee_evidence: Box<RawValue>,
}

impl Message {
    /// Reads a body of the version that the challenge was made for.
    pub(crate) fn read(body: &[u8], pending: &Pending) -> Result<Self, Refusal> {
        match pending.version {
            Version::V0_4_0 => {
                let body: Attestation<Box<RawValue>> = strict(body)?;
                if body.runtime_data.nonce != pending.nonce_text() {
                    return Err(Refusal::of(Code::Nonce, "the nonce is not this session's"));
                }
                Ok(Self {
                    init_data: body.init_data,
                    runtime_data: body.runtime_data,
                    additional_evidence: body.tee_evidence.additional_evidence,
                    evidence: body.tee_evidence.primary_evidence,
                })
            }
            Version::V0_2_0 => {
                let body: OldAttestation = strict(body)?;
                Ok(Self {
                    init_data: None,
                    runtime_data: RuntimeData { nonce: pending.nonce_text(), tee_pubkey: body.tee_pubkey },
                    additional_evidence: String::new(),
                    evidence: body.tee_evidence,
                })
            }
        }
    }

    /// What the evidence must carry in the first 48 bytes of its report data.
    pub(crate) fn binding(&self, version: Version) -> Result<[u8; 48], Code> {
        match version {
            Version::V0_4_0 => {
                kbs::runtime_binding(&self.runtime_data, &self.additional_evidence).map_err(|_| Code::Format)
            }
            Version::V0_2_0 => {
                let data = claims::json::canonical(&self.runtime_data).map_err(|_| Code::Format)?;
                digest(&SHA384, &data).as_ref().try_into().map_err(|_| Code::Format)
            }
        }
    }
}

/// Compares all 64 bytes of report data: the binding, then zeros.
///
/// Evidence of another form (workload evidence carries a role tag, or a SHA-256 and zeros) is `E-REPORT-DATA`; the
/// right form with another key or nonce in it is `E-BINDING`.
pub(crate) fn check_report_data(report_data: &[u8; 64], binding: &[u8; 48]) -> Result<(), Code> {
    let (bound, tail) = report_data.split_at(48);
    let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    if !zeros(tail) || bound.get(32..).is_none_or(zeros) {
        Err(Code::ReportData)
    } else if bound != binding {
        Err(Code::Binding)
    } else {
        Ok(())
    }
}

/// Init-data whose digest is in the evidence.
pub(crate) enum VerifiedInitData {
    /// Our guests: the text of `site.json`.
    Site { site: Box<Site>, text: String },
    /// Upstream's: the files of a TOML document, as claims.
    Toml(Value),
}

#[derive(Deserialize)]
struct TomlInitData {
    algorithm: String,
    data: Map<String, Value>,
}

impl TomlInitData {
    /// The files as upstream's tokens and policies have them: by name at the top, settings of its guest parsed, and of a
    /// policy of Kata's agent the data at its end instead of its text.
    fn claims(mut self) -> Result<Value, Code> {
        if !self.data.values().all(Value::is_string) {
            return Err(Code::Format);
        }
        for name in ["aa.toml", "cdh.toml"] {
            let parsed = self.data.get(name).and_then(Value::as_str).and_then(|text| toml::from_str(text).ok());
            if let Some(parsed) = parsed {
                self.data.insert(name.into(), parsed);
            }
        }
        let agent = self.data.get("policy.rego").and_then(Value::as_str).and_then(policy_data);
        if let Some(agent) = agent {
            self.data.remove("policy.rego");
            self.data.insert("agent_policy_claims".into(), agent);
        }
        Ok(Value::Object(self.data))
    }
}

/// The object that ends a policy of Kata's agent.
fn policy_data(policy: &str) -> Option<Value> {
    let (_, text) = policy.split_once("policy_data := {")?;
    serde_json::from_str(&format!("{{{text}")).ok()
}

impl VerifiedInitData {
    /// Checks the digest of the text against what is signed, and only then parses it.
    pub(crate) fn check(init_data: &InitData, signed: &Init) -> Result<Self, Code> {
        match init_data.format.as_str() {
            "site" => {
                if *signed == Init::Unsigned || !signed.holds(&Digest256::of(init_data.body.as_bytes()).0) {
                    return Err(Code::HostData);
                }
                let site = Site::parse(init_data.body.as_bytes()).map_err(|_| Code::Format)?;
                Ok(Self::Site { site: Box::new(site), text: init_data.body.clone() })
            }
            "toml" => {
                // The algorithm stands in the document itself; its choice is bounded, and the digest still binds.
                let document: TomlInitData = toml::from_str(&init_data.body).map_err(|_| Code::Format)?;
                let algorithm: &Algorithm = match document.algorithm.as_str() {
                    "sha256" => &SHA256,
                    "sha384" => &SHA384,
                    "sha512" => &SHA512,
                    _ => return Err(Code::Format),
                };
                // A field holds as much of the digest as it has room for, as upstream does it.
                if !signed.holds(digest(algorithm, init_data.body.as_bytes()).as_ref()) {
                    return Err(Code::HostData);
                }
                document.claims().map(Self::Toml)
            }
            _ => Err(Code::Format),
        }
    }
}

/// The session cookie of a request.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// The header that sets it, with upstream's only attribute.
pub(crate) fn set_cookie(value: &str, expires: UnixTime) -> Option<HeaderValue> {
    let date = httpdate::fmt_http_date(UNIX_EPOCH.checked_add(Duration::from_secs(expires.0))?);
    HeaderValue::from_str(&format!("{COOKIE}={value}; Expires={date}")).ok()
}

/// Parses a JSON object in which no object has a member twice, at any depth.
pub(crate) fn strict<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Refusal> {
    let malformed = |_| Refusal::of(Code::Format, "the body is not the JSON wanted");
    // Members without names, in order, would be read as well.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::of(Code::Format, "the body is not a JSON object"));
    }
    let mut walk = serde_json::Deserializer::from_slice(body);
    Unique { depth: 0 }.deserialize(&mut walk).map_err(malformed)?;
    serde_json::from_slice(body).map_err(malformed)
}

/// Walks a document and refuses doubled members and depth; keeps nothing.
struct Unique {
    depth: usize,
}

impl Unique {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH { Err(E::custom("too deep")) } else { Ok(Self { depth: self.depth + 1 }) }
    }
}

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON without doubled members")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.deeper()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if !seen.insert(name) {
                return Err(serde::de::Error::custom("a member stands there twice"));
            }
            members.next_value_seed(self.deeper()?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn doubled_members_and_depth_are_refused() {
        assert!(strict::<Value>(br#"{"a":[{"b":1},{"b":2}]}"#).is_ok());
        assert!(strict::<Value>(br#"{"a":{"b":1,"b":2}}"#).is_err());
        assert!(strict::<Value>(br#"{"a":1,"\u0061":2}"#).is_err(), "escaped spelling of the same name");
        assert!(strict::<Value>(b"[]").is_err() && strict::<Value>(b"").is_err() && strict::<Value>(b" \n{}").is_ok());
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(strict::<Value>(nested(31).as_bytes()).is_ok());
        assert!(strict::<Value>(nested(33).as_bytes()).is_err());
        assert!(strict::<Value>(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn report_data_of_workloads_is_another_refusal_than_another_key() {
        let binding = [7; 48];
        let with = |bound: [u8; 48], tail: [u8; 16]| {
            let mut data = [0; 64];
            data[..48].copy_from_slice(&bound);
            data[48..].copy_from_slice(&tail);
            check_report_data(&data, &binding)
        };
        assert_eq!(with([7; 48], [0; 16]), Ok(()));
        assert_eq!(with([8; 48], [0; 16]), Err(Code::Binding));
        assert_eq!(with([7; 48], *b"confide workload"), Err(Code::ReportData));
        let mut released = [9; 48];
        released[32..].fill(0);
        assert_eq!(with(released, [0; 16]), Err(Code::ReportData));
    }

    #[test]
    fn init_data_becomes_the_claims_that_upstreams_policies_read() {
        let claims = |data: Value| {
            let body = toml::to_string(&json!({"version": "0.1.0", "algorithm": "sha256", "data": data})).unwrap();
            let signed = Init::Field(Digest256::of(body.as_bytes()).0.to_vec());
            match VerifiedInitData::check(&InitData { format: "toml".into(), body }, &signed) {
                Ok(VerifiedInitData::Toml(claims)) => Ok(claims),
                Ok(VerifiedInitData::Site { .. }) => panic!("not a site file"),
                Err(code) => Err(code),
            }
        };
        // trustee `attestation-service/src/lib.rs`, `parse_init_data`.
        let settings = "[token_configs.kbs]\nurl = \"https://kbs\"\n";
        let policy =
            "package agent_policy\ndefault X := false\npolicy_data := {\n  \"containers\": [{\"OCI\": 1}]\n}\n";
        assert_eq!(
            claims(
                json!({"aa.toml": settings, "cdh.toml": "not = = toml", "policy.rego": policy, "other.toml": "x = 1"})
            ),
            Ok(json!({
                "aa.toml": {"token_configs": {"kbs": {"url": "https://kbs"}}},
                "cdh.toml": "not = = toml",
                "agent_policy_claims": {"containers": [{"OCI": 1}]},
                "other.toml": "x = 1",
            }))
        );
        for text in ["package agent_policy", "policy_data := {\"a\": 1}\nallow := true", "policy_data := {"] {
            assert_eq!(claims(json!({"policy.rego": text})), Ok(json!({"policy.rego": text})), "{text}");
        }
        let deep = format!("policy_data := {{\"a\": {}", "[".repeat(100_000));
        assert_eq!(claims(json!({"policy.rego": deep})), Ok(json!({"policy.rego": deep})));
        assert_eq!(claims(json!({"aa.toml": 1})), Err(Code::Format), "files are texts");
    }

    #[test]
    fn toml_init_data_is_bound_by_its_own_algorithm_cut_to_32_bytes() {
        for (name, algorithm) in [("sha256", &SHA256), ("sha384", &SHA384), ("sha512", &SHA512)] {
            let body = format!("version = \"0.1.0\"\nalgorithm = \"{name}\"\n[data]\n\"aa.toml\" = \"x\"\n");
            let host_data = digest(algorithm, body.as_bytes()).as_ref()[..32].to_vec();
            let mut longer = digest(algorithm, body.as_bytes()).as_ref().to_vec();
            longer.resize(48, 0);
            let init_data = InitData { format: "toml".into(), body };
            assert!(VerifiedInitData::check(&init_data, &Init::Field(host_data)).is_ok());
            assert!(VerifiedInitData::check(&init_data, &Init::Field(longer)).is_ok());
            let other = [Init::Field(vec![1; 32]), Init::Pcr8(Digest256([0; 32])), Init::None, Init::Field(vec![])];
            for signed in other {
                assert_eq!(VerifiedInitData::check(&init_data, &signed).err(), Some(Code::HostData), "{signed:?}");
            }
        }
    }
}
