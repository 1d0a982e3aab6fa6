//! Names and spellings of claims that upstream has changed: a policy written for the older ones gets those.
//!
//! Till 2025 a launch measurement was base64, and the CPU's submodule was called `cpu`. What a policy wants is read from
//! its text once, so that it sees one form, never both: asking with each would turn `!=` and `not` into permissions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::borrow::Cow;

/// Bytes of a launch measurement.
const MEASUREMENT: usize = 48;
const EVIDENCE: &str = "ear.veraison.annotated-evidence";

/// What a release policy gets otherwise than newer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ClaimsForm {
    /// `snp.measurement` in base64.
    base64: bool,
    /// The CPU's submodule also as `cpu`.
    cpu: bool,
}

impl ClaimsForm {
    /// By the text: a measurement in base64 stands there as a text, a submodule's name as a key.
    pub(crate) fn of(text: &str) -> Self {
        let measurement = |part: &str| {
            part.bytes().any(|byte| !byte.is_ascii_hexdigit())
                && STANDARD.decode(part).is_ok_and(|bytes| bytes.len() == MEASUREMENT)
        };
        let squeezed: String = text.split_whitespace().collect();
        let keys = ["[\"cpu\"]", ".submods.cpu.", ".submods.cpu["];
        Self { base64: text.split('"').any(measurement), cpu: keys.into_iter().any(|key| squeezed.contains(key)) }
    }

    /// The claims as the policy wants them.
    pub(crate) fn apply<'a>(self, ear: &'a Value) -> Cow<'a, Value> {
        if self == Self::default() {
            return Cow::Borrowed(ear);
        }
        let mut ear = ear.clone();
        let Some(submods) = ear.get_mut("submods").and_then(Value::as_object_mut) else { return Cow::Owned(ear) };
        for submod in submods.values_mut().filter(|_| self.base64) {
            let snp = submod.get_mut(EVIDENCE).and_then(|evidence| evidence.get_mut("snp"));
            if let Some(measurement) = snp.and_then(|snp| snp.get_mut("measurement"))
                && let Some(bytes) = measurement.as_str().and_then(|text| hex::decode(text).ok())
            {
                *measurement = STANDARD.encode(bytes).into();
            }
        }
        if self.cpu
            && !submods.contains_key("cpu")
            && let Some(cpu) = submods.get("cpu0").cloned()
        {
            submods.insert("cpu".into(), cpu);
        }
        Cow::Owned(ear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_policy_sees_the_form_that_it_was_written_for() {
        let measurement = [0xfb; MEASUREMENT];
        let (base64, hex) = (STANDARD.encode(measurement), hex::encode(measurement));
        let ear = json!({"submods": {"cpu0": {EVIDENCE: {"snp": {"measurement": hex, "chip_id": "aa"}}}}});
        let seen = |text: &str| ClaimsForm::of(text).apply(&ear).into_owned();
        assert_eq!(seen(&format!("m == \"{hex}\"")), ear);
        assert_eq!(seen(&format!("host_data == \"{}\"", "ab".repeat(32))), ear, "64 hex digits are no base64 here");
        let old = json!({"submods": {"cpu0": {EVIDENCE: {"snp": {"measurement": base64, "chip_id": "aa"}}}}});
        assert_eq!(seen(&format!("m == \"{base64}\"")), old);
        let cpu = seen("input[\"submods\"][\"cpu\"]");
        assert_eq!(cpu["submods"]["cpu"], cpu["submods"]["cpu0"]);
        assert_eq!(seen("input.submods.cpu0.x"), ear);
    }
}
