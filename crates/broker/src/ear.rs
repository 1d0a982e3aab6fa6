//! Entity attestation results (draft-ietf-rats-ear, with upstream's claim names): what a session's evidence was and is
//! worth, one submodule for the CPU and one for each device.

use crate::rego::appraise::{Appraisal, Status, Vector};
use crate::rego::{Snapshot, appraise};
use crate::store::revocations::version_name;
use crate::verify::{Verified, VerifiedDevice};
use claims::UnixTime;
use claims::kbs::RuntimeData;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const PROFILE: &str = "tag:github.com,2024:confidential-containers/Trustee";
/// Policy id of evidence that a release rule (`reference.json`) admits.
const RULES: &str = "release-rules";

/// A result in the making.
#[derive(Debug, Clone)]
pub(crate) struct Ear {
    submods: Vec<Submodule>,
}

#[derive(Debug, Clone)]
struct Submodule {
    name: String,
    evidence: Value,
    appraisal: Appraisal,
}

/// What stands in a result beside verified claims.
pub(crate) struct Said<'a> {
    pub(crate) runtime_data: &'a RuntimeData,
    pub(crate) additional_evidence: &'a str,
    /// Of init-data whose digest is in the evidence.
    pub(crate) init_data: Option<Value>,
}

/// Who signs a result, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Issue {
    pub(crate) issuer: &'static str,
    pub(crate) audience: &'static str,
    pub(crate) now: UnixTime,
    pub(crate) expires: u64,
}

impl Ear {
    /// Appraises every submodule. Evaluates policies: not for an async thread.
    pub(crate) fn appraise(
        snapshot: &Snapshot,
        selector: Option<&str>,
        cpu: &Verified,
        devices: &[VerifiedDevice],
        said: &Said<'_>,
    ) -> Self {
        let evidence = cpu_evidence(cpu, said);
        let appraisal = appraise::appraise(snapshot.for_kind(cpu.kind, selector), &evidence, &snapshot.references);
        let mut submods = vec![Submodule { name: "cpu0".into(), evidence, appraisal }];
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for device in devices {
            let index = counts.entry(device.class).or_default();
            let evidence = json!({
                device.name: device.claims,
                "report_data": device.claims.get("eat_nonce"),
            });
            let chosen = snapshot.for_device(device.class, selector);
            let appraisal = appraise::appraise(chosen, &evidence, &snapshot.references);
            submods.push(Submodule { name: format!("{}{index}", device.class), evidence, appraisal });
            *index = index.saturating_add(1);
        }
        Self { submods }
    }

    /// Says that a release rule admits the CPU's evidence: it names measurement and host data, so nothing is left open.
    pub(crate) fn admit_cpu(&mut self) {
        if let Some(cpu) = self.submods.first_mut() {
            cpu.appraisal.vector = Vector::admitted();
            cpu.appraisal.policy = RULES.into();
            cpu.appraisal.version = None;
        }
    }

    /// The administrator's policies that this rests on, each with its version.
    pub(crate) fn appraised_by(&self) -> Vec<String> {
        let named = |appraisal: &Appraisal| Some(version_name(&appraisal.policy, appraisal.version?));
        self.submods.iter().filter_map(|submod| named(&submod.appraisal)).collect()
    }

    /// The worst of all submodules.
    pub(crate) fn affirming(&self) -> bool {
        self.submods.iter().all(|submod| submod.appraisal.vector.status() == Status::Affirming)
    }

    /// The claims of a token.
    pub(crate) fn claims(&self, issue: Issue) -> Value {
        let submods: Map<String, Value> =
            self.submods.iter().map(|submod| (submod.name.clone(), submod.json())).collect();
        json!({
            "eat_profile": PROFILE,
            "iat": issue.now.0,
            "exp": issue.expires,
            "iss": issue.issuer,
            "aud": issue.audience,
            "ear.verifier-id": {"developer": "confide", "build": concat!("broker ", env!("CARGO_PKG_VERSION"))},
            "submods": submods,
        })
    }
}

impl Submodule {
    fn json(&self) -> Value {
        let mut members = self.appraisal.extensions.clone();
        members.insert("ear.status".into(), self.appraisal.vector.status().name().into());
        members.insert("ear.trustworthiness-vector".into(), self.appraisal.vector.json());
        members.insert("ear.appraisal-policy-id".into(), self.appraisal.policy.clone().into());
        members.insert("ear.veraison.annotated-evidence".into(), self.evidence.clone());
        Value::Object(members)
    }
}

/// What an appraisal policy has as input, and a token as annotated evidence.
pub(crate) fn cpu_evidence(cpu: &Verified, said: &Said<'_>) -> Value {
    let mut members = Map::new();
    members.insert(cpu.kind.name().into(), cpu.claims.clone());
    members.insert("report_data".into(), cpu.report_data.clone().into());
    members.insert(
        "runtime_data_claims".into(),
        json!({
            "nonce": said.runtime_data.nonce,
            "tee-pubkey": said.runtime_data.tee_pubkey,
            "additional-evidence": said.additional_evidence,
        }),
    );
    if let Some(init_data) = cpu.init.hex() {
        members.insert("init_data".into(), init_data.into());
    }
    if let Some(claims) = &said.init_data {
        members.insert("init_data_claims".into(), claims.clone());
    }
    Value::Object(members)
}
