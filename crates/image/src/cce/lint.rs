//! What will go wrong with a policy, or is weaker than it looks, before anyone deploys it.

use super::defaults::IDENTITY_ENDPOINTS;
use super::enforce::Pattern;
use super::generate::Images;
use super::model::{Container, Policy, Strategy};
use super::spec::Spec;
use claims::Code;

/// One finding. What it risks and what to do is on the code's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// Which kind.
    pub code: Code,
    /// The container, or `the group`.
    pub place: String,
    /// What was found.
    pub what: String,
}

/// Findings about a policy and what it was made from, group first, then by container.
pub fn lint(policy: &Policy, specs: &[Spec], images: &Images) -> Vec<Lint> {
    let mut found = Vec::new();
    group(policy, &mut found);
    for spec in specs {
        let mut tell = |code, what: String| found.push(Lint { code, place: spec.name.clone(), what });
        if !spec.image.contains("@sha256:") {
            tell(Code::CceUnpinned, format!("image `{}` is named by a tag, which can move", spec.image));
        }
        for variable in &spec.variables {
            if variable.secret && variable.strategy == Strategy::String {
                tell(
                    Code::CceSecret,
                    format!("the secret value of `{}` stands in the policy as plain text", variable.name),
                );
            }
            if variable.strategy == Strategy::Re2 && matches!(variable.value.as_str(), ".*" | ".+") {
                tell(Code::CceWildcard, format!("`{}` may have any value", variable.name));
            }
        }
        for what in images.get(&spec.image).map(|facts| facts.layer_findings.as_slice()).unwrap_or_default() {
            tell(Code::CceLayer, what.clone());
        }
    }
    for (index, container) in policy.containers.iter().enumerate() {
        let place = container.name.clone().or(container.id.clone()).unwrap_or_else(|| format!("container {index}"));
        let mut tell = |code, what: &str| found.push(Lint { code, place: place.clone(), what: what.to_owned() });
        if container.command.is_none() {
            tell(
                Code::CceNullCommand,
                "neither the template nor the image has a command: `\"command\":null` matches nothing",
            );
        }
        if container.layers.is_empty() {
            tell(Code::CceNoLayers, "it has no layers");
        }
        let others = policy.containers.iter().take(index);
        if others.into_iter().any(|other| same_but_stdio(other, container)) {
            tell(Code::CceAmbiguous, "it differs from an earlier container only in its access to output");
        }
    }
    found
}

fn group(policy: &Policy, found: &mut Vec<Lint>) {
    let mut tell = |code, what: String| found.push(Lint { code, place: "the group".to_owned(), what });
    if policy.allow.dump_stacks || policy.allow.runtime_logging {
        tell(Code::CceDebug, "debug mode: shells, stacks and logs are open to the host".to_owned());
    }
    let unlisted: Vec<&str> = IDENTITY_ENDPOINTS.into_iter().filter(|name| !listed(policy, name)).collect();
    if !unlisted.is_empty() {
        let names = unlisted.join(", ");
        match policy.allow.environment_variable_dropping {
            true => {
                tell(Code::CceEnvDropped, format!("{names}: set by ACI, without a rule, so dropped without a word"))
            }
            false => tell(Code::CceEnvStrict, format!("{names}: set by ACI, without a rule, and dropping is off")),
        }
    }
}

/// Whether every container but the pause container lets ACI set this variable.
fn listed(policy: &Policy, name: &str) -> bool {
    let sample = format!("{name}=http://169.254.0.1/x");
    let mut workloads = policy
        .containers
        .iter()
        .filter(|container| container.id.is_some() || container.name.as_deref() != Some("pause-container"));
    workloads.all(|container| {
        container
            .env_rules
            .iter()
            .any(|rule| rule.strategy == Strategy::Re2 && Pattern::matches(&rule.pattern, &sample))
    })
}

/// Whether the guest could tell two containers apart by nothing but their access to output.
fn same_but_stdio(a: &Container, b: &Container) -> bool {
    let plain =
        |container: &Container| Container { allow_stdio_access: true, id: None, name: None, ..container.clone() };
    a.allow_stdio_access != b.allow_stdio_access && plain(a) == plain(b)
}
