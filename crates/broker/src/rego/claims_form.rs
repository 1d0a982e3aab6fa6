//! Names and spellings of claims that upstream has changed: a policy written for the older ones gets those.
//!
//! Till 2025 a launch measurement was base64, and the CPU's submodule was called `cpu`; after August 2026 the report's
//! members stand one level deeper, in `snp.evidence`. What a policy wants is read from its text once, so that it sees one form, never both: asking with each would turn `!=` and `not` into permissions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
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
    /// The report's members also in `snp.evidence`.
    nested: bool,
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
        let nested = [".snp.evidence.", "[\"snp\"].evidence.", ".snp[\"evidence\"]", "[\"snp\"][\"evidence\"]"];
        Self {
            base64: text.split('"').any(measurement),
            cpu: keys.into_iter().any(|key| squeezed.contains(key)),
            nested: nested.into_iter().any(|key| squeezed.contains(key)),
        }
    }

    /// Evidence as an appraisal policy wants it.
    pub(crate) fn apply_to_evidence<'a>(self, evidence: &'a Value) -> Cow<'a, Value> {
        if !self.nested {
            return Cow::Borrowed(evidence);
        }
        let mut evidence = evidence.clone();
        if let Some(snp) = evidence.get_mut("snp").and_then(Value::as_object_mut) {
            nest(snp);
        }
        Cow::Owned(evidence)
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
        for submod in submods.values_mut().filter(|_| self.nested) {
            let snp = submod.get_mut(EVIDENCE).and_then(|evidence| evidence.get_mut("snp"));
            snp.and_then(Value::as_object_mut).into_iter().for_each(nest);
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

/// Puts the report where upstream's newest verifier puts it, with policy and platform as objects.
fn nest(snp: &mut Map<String, Value>) {
    let mut evidence = snp.clone();
    let flat = |name: &str| snp.get(name).cloned().unwrap_or_default();
    let policy = json!({
        "abi_major": flat("policy_abi_major"),
        "abi_minor": flat("policy_abi_minor"),
        "smt_allowed": flat("policy_smt_allowed"),
        "migrate_ma_allowed": flat("policy_migrate_ma"),
        "debug_allowed": flat("policy_debug_allowed"),
        "single_socket_required": flat("policy_single_socket"),
    });
    let platform = json!({"smt_enabled": flat("platform_smt_enabled"), "tsme_enabled": flat("platform_tsme_enabled")});
    evidence.insert("policy".into(), policy);
    evidence.insert("plat_info".into(), platform);
    snp.insert("evidence".into(), evidence.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_for_the_newest_names_finds_the_report_one_level_deeper() {
        let snp = json!({"measurement": "aa", "policy_debug_allowed": false, "platform_smt_enabled": true,
            "reported_tcb": {"bootloader": 4}});
        let evidence = json!({"snp": snp, "report_data": "bb"});
        let new = ClaimsForm::of("executables := 3 if input.snp.evidence.measurement in query_reference_value(\"m\")");
        let seen = new.apply_to_evidence(&evidence);
        assert_eq!(seen["snp"]["evidence"]["policy"]["debug_allowed"], json!(false));
        assert_eq!(seen["snp"]["evidence"]["plat_info"]["smt_enabled"], json!(true));
        assert_eq!(seen["snp"]["evidence"]["reported_tcb"]["bootloader"], json!(4));
        assert_eq!((&seen["snp"]["measurement"], &seen["report_data"]), (&json!("aa"), &json!("bb")));
        let ear = json!({"submods": {"cpu0": {EVIDENCE: evidence}}});
        assert_eq!(new.apply(&ear)["submods"]["cpu0"][EVIDENCE], *seen);
        let old = ClaimsForm::of("executables := 3 if input.snp.measurement == \"aa\"");
        assert_eq!((old.apply_to_evidence(&evidence).as_ref(), old.apply(&ear).as_ref()), (&evidence, &ear));
    }

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
