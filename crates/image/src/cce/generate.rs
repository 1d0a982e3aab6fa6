//! From what is said about containers and what their images say about themselves to a policy.

use super::defaults::{
    FRAMEWORK_VERSION, INFRASTRUCTURE_SVN, PRIVILEGED, SIGNALS, UNPRIVILEGED, anyone, infrastructure_fragment,
    pause_container, platform_variables, resolver_mount,
};
use super::error::CceError;
use super::model::{
    Allow, ApiVersion, Capabilities, Container, EnvRule, ExecProcess, Fragment, IdName, Mount, Policy, Strategy, User,
};
use super::spec::Spec;
use std::collections::{BTreeMap, BTreeSet};

/// What an image says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFacts {
    /// dm-verity root hashes of its layers, lowest first, in lower-case hex.
    pub layers: Vec<String>,
    /// Start of its command line.
    pub entrypoint: Vec<String>,
    /// Rest of its command line.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// Its working folder; empty is `/`.
    pub folder: String,
    /// Its user; empty is any.
    pub user: String,
    /// The signal that stops it; empty is the usual one.
    pub stop_signal: String,
    /// What makes the hash of a layer depend on who computes it, in words.
    pub layer_findings: Vec<String>,
}

/// Facts by the name that a template has for the image.
pub type Images = BTreeMap<String, ImageFacts>;

/// How a policy is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Shells may be started in every container, stacks dumped, logs switched on.
    pub debug: bool,
    /// The host may see output; `false` forbids it for every container.
    pub stdio: bool,
    /// The image is named in each container.
    pub id: bool,
    /// Variables without a rule are dropped; otherwise they deny the start.
    pub drop_environment: bool,
    /// The three variables with the addresses of identity services have rules.
    pub identity_endpoints: bool,
    /// Lowest version of the infrastructure fragment; `None` leaves the fragment out.
    pub infrastructure_svn: Option<String>,
    /// Further fragments.
    pub fragments: Vec<Fragment>,
    /// Which calls of the guest the policy answers.
    pub api_version: ApiVersion,
}

impl Options {
    /// What `az confcom acipolicygen` does without options.
    pub fn confcom() -> Self {
        Self {
            debug: false,
            stdio: true,
            id: true,
            drop_environment: true,
            identity_endpoints: false,
            infrastructure_svn: Some(INFRASTRUCTURE_SVN.to_owned()),
            fragments: Vec::new(),
            api_version: ApiVersion::V0_11,
        }
    }
}

/// The policy of a container group. The pause container is added.
pub fn policy(specs: &[Spec], images: &Images, options: &Options) -> Result<Policy, CceError> {
    let mut containers = Vec::new();
    for spec in specs {
        let facts = images.get(&spec.image);
        let missing = || CceError::Image { container: spec.name.clone(), image: spec.image.clone() };
        containers.push(container(spec, facts.ok_or_else(missing)?, options));
    }
    containers.push(pause_container());
    for container in containers.iter_mut().filter(|_| !options.stdio) {
        container.allow_stdio_access = false;
    }
    let infrastructure = options.infrastructure_svn.as_deref().map(infrastructure_fragment);
    Ok(Policy {
        api_version: options.api_version,
        framework_version: FRAMEWORK_VERSION.to_owned(),
        fragments: infrastructure.into_iter().chain(options.fragments.iter().cloned()).collect(),
        containers,
        allow: Allow {
            properties_access: true,
            dump_stacks: options.debug,
            runtime_logging: options.debug,
            environment_variable_dropping: options.drop_environment,
            unencrypted_scratch: false,
            capability_dropping: true,
        },
    })
}

/// One container of a policy.
pub fn container(spec: &Spec, facts: &ImageFacts, options: &Options) -> Container {
    let of_image: Vec<String> = facts.entrypoint.iter().chain(&facts.command).cloned().collect();
    let mut exec_processes = spec.processes.clone();
    for shell in ["/bin/sh", "/bin/bash"].into_iter().filter(|_| options.debug) {
        exec_processes.push(ExecProcess { command: vec![shell.to_owned()], signals: Vec::new() });
    }
    let named = Some(spec.name.clone()).filter(|name| options.id || *name != spec.image);
    let folder = Some(&facts.folder).filter(|folder| !folder.is_empty());
    let folder = spec.working_dir.as_ref().or(folder).map_or("/", String::as_str);
    Container {
        allow_elevated: spec.privileged,
        allow_stdio_access: spec.stdio,
        capabilities: capabilities(spec),
        command: spec.command.clone().or(Some(of_image).filter(|words| !words.is_empty())),
        env_rules: env_rules(spec, facts, options),
        exec_processes,
        id: options.id.then(|| spec.image.clone()),
        layers: facts.layers.clone(),
        mounts: mounts(spec),
        name: named,
        no_new_privileges: spec.no_new_privileges,
        seccomp_profile_sha256: spec.seccomp_profile_sha256.clone(),
        signals: spec.signals.clone().or_else(|| stop_signal(&facts.stop_signal)).unwrap_or_else(|| SIGNALS.to_vec()),
        user: user(spec, facts),
        working_dir: folder.to_owned(),
    }
}

/// The author's mounts, then the platform's, unless the author mounts something there.
fn mounts(spec: &Spec) -> Vec<Mount> {
    let resolver =
        Some(resolver_mount()).filter(|usual| spec.mounts.iter().all(|own| own.destination != usual.destination));
    spec.mounts.iter().cloned().chain(resolver).collect()
}

/// The author's variables, then the image's, then the platform's; the first of a name wins.
fn env_rules(spec: &Spec, facts: &ImageFacts, options: &Options) -> Vec<EnvRule> {
    let mut rules: Vec<EnvRule> = Vec::new();
    for variable in &spec.variables {
        let pattern = format!("{}={}", variable.name, variable.value);
        rules.push(EnvRule { pattern, required: false, strategy: variable.strategy });
    }
    let mut names: BTreeSet<String> = rules.iter().map(|rule| rule.name().to_owned()).collect();
    for entry in &facts.environment {
        let name = entry.split('=').next().unwrap_or_default();
        if names.insert(name.to_owned()) {
            rules.push(EnvRule { pattern: entry.clone(), required: false, strategy: Strategy::String });
        }
    }
    let platform = platform_variables(options.identity_endpoints);
    rules.extend(platform.into_iter().filter(|(name, _)| !names.contains(*name)).map(|(_, rule)| rule));
    rules
}

fn capabilities(spec: &Spec) -> Capabilities {
    let usual: &[&str] = if spec.privileged { &PRIVILEGED } else { &UNPRIVILEGED };
    let usual: BTreeSet<String> = usual.iter().map(|name| format!("CAP_{name}")).collect();
    let all: BTreeSet<String> = usual.into_iter().chain(spec.add.iter().cloned()).collect();
    let set: Vec<String> = all.into_iter().filter(|name| !spec.drop.contains(name)).collect();
    Capabilities {
        ambient: Vec::new(),
        bounding: set.clone(),
        effective: set.clone(),
        inheritable: if spec.privileged { set.clone() } else { Vec::new() },
        permitted: set,
    }
}

fn user(spec: &Spec, facts: &ImageFacts) -> User {
    let (name, group) = facts.user.split_once(':').unwrap_or((&facts.user, ""));
    let of_image = |text: &str| Some(text).filter(|text| !text.is_empty()).map(IdName::of);
    let number = |id: Option<u64>| id.map(|id| IdName { pattern: id.to_string(), strategy: Strategy::Id });
    let mut user = anyone();
    user.user_idname = number(spec.run_as_user).or(of_image(name)).unwrap_or_else(IdName::any);
    user.group_idnames = vec![number(spec.run_as_group).or(of_image(group)).unwrap_or_else(IdName::any)];
    user
}

/// The signal that stops an image, by name or number. The guest adds SIGKILL and SIGTERM itself.
fn stop_signal(text: &str) -> Option<Vec<i64>> {
    let number = text.parse::<i64>().ok().filter(|number| (1..=64).contains(number)).or_else(|| {
        let name = text.trim_start_matches("SIG");
        SIGNAL_NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, number)| *number)
    })?;
    Some(vec![number])
}

/// Signals of Linux on x86-64 that images name.
const SIGNAL_NAMES: [(&str, i64); 14] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
    ("WINCH", 28),
    ("PWR", 30),
];
