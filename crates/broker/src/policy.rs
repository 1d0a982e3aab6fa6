//! The release decision. The only place that makes a [`Permit`], and without one no secret is opened.
//!
//! *Takes* verified claims, rules, and what leases say.
//! *Guarantees* an answer for every input: a permit, or a refusal with a code; with both the trace of what was compared.
//! *Does not check* evidence: claims come from a verifier.

use crate::path::ResourcePath;
use crate::rego::release::Opinion;
use crate::store::rules::Rule;
use claims::reference::{Chips, Lease};
use claims::snp::{GuestPolicy, Product, SnpClaims, TcbVersion, Tee};
use claims::{ChipId, Code, Digest256, HostData, LaunchDigest};
use serde::{Deserialize, Serialize};

/// Rules whose comparison is kept in the audit log; the nearest ones.
const TRACED_RULES: usize = 3;
/// `REPORT_ID_MA` of a guest without a migration agent.
const NO_AGENT: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

/// What the policy asks about, out of verified claims. It is read back only from our own signed tokens and our store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Appraised {
    pub(crate) tee: Tee,
    pub(crate) product: Product,
    pub(crate) measurement: LaunchDigest,
    pub(crate) host_data: HostData,
    pub(crate) policy: GuestPolicy,
    pub(crate) vmpl: u32,
    pub(crate) reported_tcb: TcbVersion,
    pub(crate) committed_tcb: TcbVersion,
    pub(crate) current_tcb: TcbVersion,
    pub(crate) launch_tcb: TcbVersion,
    pub(crate) chip_id: ChipId,
    pub(crate) report_id: String,
    pub(crate) report_id_ma: String,
}

impl From<&SnpClaims> for Appraised {
    fn from(claims: &SnpClaims) -> Self {
        Self {
            tee: claims.tee,
            product: claims.product,
            measurement: claims.measurement,
            host_data: claims.host_data,
            policy: claims.policy,
            vmpl: claims.vmpl,
            reported_tcb: claims.reported_tcb,
            committed_tcb: claims.committed_tcb,
            current_tcb: claims.current_tcb,
            launch_tcb: claims.launch_tcb,
            chip_id: claims.chip_id,
            report_id: claims.report_id.clone(),
            report_id_ma: claims.report_id_ma.clone(),
        }
    }
}

/// Which processors a broker believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Silicon only.
    Production,
    /// Emulated ones too.
    Development,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Question<'a> {
    /// Whether any rule admits the evidence.
    Appraise,
    /// Whether this resource may go to the guest. The others are guests that hold it now.
    Release { resource: &'a ResourcePath, others: &'a [String] },
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) claim: &'static str,
    pub(crate) got: String,
    pub(crate) wanted: String,
    pub(crate) source: String,
    pub(crate) code: &'static str,
    pub(crate) passed: bool,
}

/// Everything that was compared for one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RuleTrace {
    pub(crate) rule: Digest256,
    pub(crate) name: String,
    pub(crate) site: String,
    pub(crate) host_data: HostData,
    pub(crate) admitted: bool,
    pub(crate) checks: Vec<Check>,
}

impl RuleTrace {
    fn failures(&self) -> usize {
        self.checks.iter().filter(|check| !check.passed).count()
    }
}

/// Leave to open one resource once. Its fields are private: only [`decide`] makes it.
#[derive(Debug)]
pub(crate) struct Permit {
    resource: ResourcePath,
    rule: Digest256,
    bind_chip: Option<ChipId>,
}

impl Permit {
    pub(crate) fn resource(&self) -> &ResourcePath {
        &self.resource
    }

    pub(crate) fn rule(&self) -> &Digest256 {
        &self.rule
    }

    /// The chip to bind the rule to, where this is its first use.
    pub(crate) fn bind_chip(&self) -> Option<&ChipId> {
        self.bind_chip.as_ref()
    }
}

/// The answer to a question.
#[derive(Debug)]
pub(crate) struct Decision {
    /// The admitting rule, or why there is none.
    pub(crate) outcome: Result<Digest256, Code>,
    /// Only for [`Question::Release`], and only when admitted.
    pub(crate) permit: Option<Permit>,
    /// The rules nearest to the evidence, nearest first.
    pub(crate) trace: Vec<RuleTrace>,
}

/// Decides. Total: no input makes it fail or wait.
pub(crate) fn decide(mode: Mode, rules: &[Rule], claims: &Appraised, question: Question<'_>) -> Decision {
    let mut traces: Vec<(&Rule, RuleTrace)> =
        rules.iter().map(|rule| (rule, compare(mode, rule, claims, question))).collect();
    traces.sort_by_key(|(_, trace)| trace.failures());
    let admitting = traces.first().filter(|(_, trace)| trace.admitted).map(|(rule, _)| *rule);
    let (outcome, permit) = match admitting {
        Some(rule) => (Ok(rule.id), permit(rule, claims, question)),
        None => (Err(refusal(traces.first().map(|(_, trace)| trace))), None),
    };
    let trace = traces.into_iter().take(TRACED_RULES).map(|(_, trace)| trace).collect();
    Decision { outcome, permit, trace }
}

/// Puts release rules and policies together (see [`crate::rego::release`]): a policy's denial refuses, else a rule that
/// admits permits, else a policy that allows.
pub(crate) fn combine(ruled: Decision, opinion: &Opinion, resource: &ResourcePath) -> Decision {
    let held = matches!(ruled.outcome, Err(Code::Lease));
    match (&ruled.outcome, opinion.allowed_by) {
        _ if opinion.denied => {
            let code = opinion.code.unwrap_or(Code::Denied);
            Decision { outcome: Err(code), permit: None, trace: ruled.trace }
        }
        (Ok(_), _) => ruled,
        // Another guest holds it exclusively: a policy does not know of that.
        (Err(_), _) if held => ruled,
        (Err(_), Some(policy)) => {
            let permit = Permit { resource: resource.clone(), rule: policy, bind_chip: None };
            Decision { outcome: Ok(policy), permit: Some(permit), trace: ruled.trace }
        }
        (Err(code), None) => {
            let outcome = Err(if *code == Code::NoRule { opinion.code.unwrap_or(*code) } else { *code });
            Decision { outcome, permit: None, trace: ruled.trace }
        }
    }
}

/// What rules say of evidence that they do not know: nothing.
pub(crate) fn unruled() -> Decision {
    Decision { outcome: Err(Code::NoRule), permit: None, trace: Vec::new() }
}

fn permit(rule: &Rule, claims: &Appraised, question: Question<'_>) -> Option<Permit> {
    let Question::Release { resource, .. } = question else { return None };
    let first_use = rule.reference.chips == Chips::FirstUse && rule.chip.is_none();
    Some(Permit { resource: resource.clone(), rule: rule.id, bind_chip: first_use.then_some(claims.chip_id) })
}

/// The code of the nearest rule's first failure; a lease counts only when nothing else is wrong.
fn refusal(nearest: Option<&RuleTrace>) -> Code {
    let Some(trace) = nearest else { return Code::NoRule };
    let failed = trace.checks.iter().find(|check| !check.passed);
    failed.and_then(|check| check.code.parse().ok()).unwrap_or(Code::Denied)
}

fn compare(mode: Mode, rule: &Rule, claims: &Appraised, question: Question<'_>) -> RuleTrace {
    let reference = &rule.reference;
    let from = |member: &str| format!("reference.json of {} at {}, {member}", reference.name, reference.site);
    let mut checks = Vec::new();
    let mut check = |code: Code, claim, got: String, wanted: String, source: String, passed| {
        checks.push(Check { claim, got, wanted, source, code: code.name(), passed });
    };

    let (tee_wanted, tee_passed) = match mode {
        Mode::Production => ("snp", claims.tee == Tee::Snp),
        Mode::Development => ("snp or emulated", true),
    };
    let tee = match claims.tee {
        Tee::Snp => "snp",
        Tee::Emulated => "emulated",
    };
    check(Code::Emulated, "tee", tee.into(), tee_wanted.into(), "how the broker was started".into(), tee_passed);
    check(
        Code::SnpDebug,
        "policy.debug",
        claims.policy.debug().to_string(),
        "false".into(),
        "always".into(),
        !claims.policy.debug(),
    );
    let migratable = claims.policy.migration() || claims.report_id_ma != NO_AGENT;
    check(Code::SnpMigration, "policy.migration", migratable.to_string(), "false".into(), "always".into(), !migratable);
    check(Code::SnpVmpl, "vmpl", claims.vmpl.to_string(), "0".into(), "always".into(), claims.vmpl == 0);
    let wanted: Vec<_> =
        reference.launch_measurements.iter().map(|entry| entry.launch_measurement.to_string()).collect();
    check(
        Code::Measurement,
        "measurement",
        claims.measurement.to_string(),
        wanted.join(" or "),
        from("launch_measurements"),
        reference.launch_measurements.iter().any(|entry| entry.launch_measurement == claims.measurement),
    );
    check(
        Code::HostData,
        "host_data",
        claims.host_data.to_string(),
        reference.host_data.to_string(),
        from("host_data"),
        claims.host_data == reference.host_data,
    );
    if let Some(floor) = &reference.tcb_floor {
        for (claim, tcb) in [
            ("reported_tcb", &claims.reported_tcb),
            ("committed_tcb", &claims.committed_tcb),
            ("current_tcb", &claims.current_tcb),
            ("launch_tcb", &claims.launch_tcb),
        ] {
            let wanted = format!("at least {floor}");
            check(Code::SnpTcbFloor, claim, tcb.to_string(), wanted, from("tcb_floor"), tcb.at_least(floor));
        }
    }
    let (chips, chip_passed) = match (&reference.chips, &rule.chip) {
        (Chips::Any, _) => ("any".into(), true),
        // A masked chip id names no chip, so it can neither be bound nor listed.
        (_, _) if claims.chip_id.is_zero() => ("a chip id that is not masked".into(), false),
        (Chips::FirstUse, None) => ("the first to ask".into(), true),
        (Chips::FirstUse, Some(chip)) => (format!("{chip}, the first that asked"), *chip == claims.chip_id),
        (Chips::List(list), _) => {
            let names: Vec<_> = list.iter().map(ChipId::to_string).collect();
            (names.join(" or "), list.contains(&claims.chip_id))
        }
    };
    check(Code::SnpChip, "chip_id", claims.chip_id.to_string(), chips, from("chips"), chip_passed);
    if let (Question::Release { others, .. }, Lease::Exclusive) = (question, reference.lease) {
        let got = if others.is_empty() { "nobody".into() } else { format!("report id {}", others.join(", ")) };
        check(Code::Lease, "held by another guest", got, "nobody".into(), from("lease"), others.is_empty());
    }
    RuleTrace {
        rule: rule.id,
        name: reference.name.clone(),
        site: reference.site.clone(),
        host_data: reference.host_data,
        admitted: checks.iter().all(|check| check.passed),
        checks,
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
