//! What the guest would answer to a host's requests under a policy (section 3.11): the framework 0.5.0, for Linux
//! containers, in Rust.
//!
//! *Takes* a policy that was read and requests by name with their JSON input, in order: a request may change what the
//! next ones are compared with.
//! *Guarantees* the guest's answer and, for a refusal, the guest's set of reasons, as recorded from hcsshim's own
//! policy engine; a request that is not known is refused.
//! *Does not check* fragments beyond issuer and feed: their signatures and what they contain are not simulated, so a
//! container that only a fragment allows is refused here. Classes such as `\d` in expressions are Unicode's here and
//! ASCII's in the guest.

mod container;
mod difference;
mod errors;
mod pattern;
mod platform;
mod version;

pub use difference::FieldDifference;
pub use pattern::Pattern;
pub use platform::Platform;

use super::rego::{Document, Rule};
use container::{Request, texts};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use version::Version;

/// The version of the framework that is simulated.
pub const FRAMEWORK: &str = "0.5.0";

/// An answer of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request is allowed.
    pub allowed: bool,
    /// Why not, in the guest's words.
    pub errors: BTreeSet<String>,
}

/// A guest with a policy, and what has happened in it.
#[derive(Debug)]
pub struct Enforcer<'p> {
    policy: &'p Document,
    platform: Platform,
    framework_version: Option<&'p str>,
    /// The policy's containers with the values that the framework adds to older ones.
    candidates: Vec<Value>,
    state: State,
}

/// What has happened so far.
#[derive(Debug, Default)]
struct State {
    devices: BTreeMap<String, String>,
    writable_devices: BTreeSet<String>,
    overlays: BTreeSet<String>,
    /// Containers of the policy that a running one may still be, by its id.
    matches: BTreeMap<String, Vec<Value>>,
    /// Whether a container was started privileged, by its id.
    started: BTreeMap<String, bool>,
    shares: BTreeMap<String, String>,
    scratch: BTreeSet<String>,
}

impl<'p> Enforcer<'p> {
    /// A guest that has just started.
    pub fn new(policy: &'p Document, platform: Platform) -> Self {
        let framework_version = policy.text("framework_version").or(policy.text("framework_svn"));
        let candidates = version::candidates(policy, framework_version);
        Self { policy, platform, framework_version, candidates, state: State::default() }
    }

    /// Answers one request, and remembers what it changed.
    pub fn decide(&mut self, name: &str, input: &Value) -> Decision {
        let allowed = match self.policy.rules.get(name) {
            Some(Rule::Always { allowed }) => *allowed,
            Some(Rule::Framework) => self.framework(name, input),
            None => match self.absent(name) {
                Absent::Framework => self.framework(name, input),
                Absent::Always(allowed) => allowed,
                Absent::Unknown => {
                    return Decision { allowed: false, errors: [format!("the policy has no rule `{name}`")].into() };
                }
            },
        };
        let errors = if allowed { BTreeSet::new() } else { self.errors(name, input) };
        Decision { allowed, errors }
    }

    /// The policy's containers as the framework sees them.
    pub fn candidates(&self) -> &[Value] {
        &self.candidates
    }

    /// How a request to create a container, or to start a process in one, differs from a container of the policy.
    pub fn differences(&self, name: &str, container: &Value, input: &Value) -> Vec<FieldDifference> {
        self.request(input).differences(container, name == "exec_in_container")
    }

    /// What answers a call for which the policy has no rule: the interface's own rules for older policies.
    fn absent(&self, name: &str) -> Absent {
        let Some((_, since, answer)) = CALLS.iter().find(|(call, ..)| *call == name) else { return Absent::Unknown };
        let policy = self.policy.text("api_version").or(self.policy.text("api_svn")).and_then(Version::parse);
        match (policy, Version::parse(since)) {
            (Some(policy), Some(since)) if policy < since => *answer,
            _ => Absent::Unknown,
        }
    }

    fn framework(&mut self, name: &str, input: &Value) -> bool {
        let text = |member: &str| input.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        let state = &self.state;
        match name {
            "mount_device" => {
                let (target, hash) = (text("target"), text("deviceHash"));
                let allowed = !state.is_mounted(&target) && self.is_layer(&hash) && target_ok(input);
                allowed && self.state.devices.insert(target, hash).is_none()
            }
            "rw_mount_device" => {
                let target = text("target");
                let encrypted = on(input, "encrypted") || self.policy.is_on("allow_unencrypted_scratch");
                let file_system = on(input, "ensureFilesystem") && scratch_file_system(input);
                let allowed = !state.is_mounted(&target) && encrypted && file_system && target_ok(input);
                allowed && self.state.writable_devices.insert(target)
            }
            "unmount_device" => self.state.devices.remove(&text("unmountTarget")).is_some(),
            "rw_unmount_device" => self.state.writable_devices.remove(&text("unmountTarget")),
            "mount_overlay" => self.mount_overlay(text("containerID"), text("target"), input),
            "unmount_overlay" => self.state.overlays.remove(&text("unmountTarget")),
            "create_container" => self.create(&text("containerID"), input),
            "exec_in_container" => self.exec(&text("containerID"), input),
            "exec_external" => self.exec_external(input),
            "shutdown_container" => {
                let id = text("containerID");
                state.started.contains_key(&id) && {
                    self.state.matches.remove(&id);
                    true
                }
            }
            "signal_container_process" => self.signal(&text("containerID"), input),
            "plan9_mount" => {
                let target = text("target");
                let owner = self.share_owner(input).filter(|_| !state.shares.contains_key(&target));
                owner.map(|owner| self.state.shares.insert(target, owner)).is_some()
            }
            "plan9_unmount" => self.state.shares.remove(&text("unmountTarget")).is_some(),
            "scratch_mount" => {
                let unencrypted = self.policy.is_on("allow_unencrypted_scratch");
                (unencrypted || on(input, "encrypted")) && self.state.scratch.insert(text("target"))
            }
            "scratch_unmount" => self.state.scratch.remove(&text("unmountTarget")),
            "get_properties" => self.policy.is_on("allow_properties_access"),
            "dump_stacks" => self.policy.is_on("allow_dump_stacks"),
            "runtime_logging" => self.policy.is_on("allow_runtime_logging"),
            "load_fragment" => self
                .fragments()
                .any(|fragment| ["issuer", "feed"].iter().all(|member| fragment.get(member) == input.get(member))),
            // A request without a rule of its own is never allowed.
            _ => false,
        }
    }

    fn mount_overlay(&mut self, id: String, target: String, input: &Value) -> bool {
        let matching: Vec<Value> =
            self.candidates.iter().filter(|container| self.layers_ok(container, input)).cloned().collect();
        let allowed =
            !self.state.matches.contains_key(&id) && !self.state.overlays.contains(&target) && !matching.is_empty();
        if allowed {
            self.state.matches.insert(id, matching);
            self.state.overlays.insert(target);
        }
        allowed
    }

    fn create(&mut self, id: &str, input: &Value) -> bool {
        if self.state.started.contains_key(id) {
            return false;
        }
        let request = self.request(input);
        let Some(containers) = request.created(self.state.of(id)) else { return false };
        let containers: Vec<Value> = containers.into_iter().cloned().collect();
        self.state.matches.insert(id.to_owned(), containers);
        self.state.started.insert(id.to_owned(), on(input, "privileged"));
        true
    }

    fn exec(&mut self, id: &str, input: &Value) -> bool {
        let Some(privileged) = self.state.started.get(id).copied() else { return false };
        let containers = self.request(input).executed(self.state.of(id), privileged);
        let containers: Vec<Value> = containers.into_iter().cloned().collect();
        self.keep(id, containers)
    }

    fn exec_external(&self, input: &Value) -> bool {
        let request = self.request(input);
        let processes: Vec<&Value> = self.external_processes().filter(|process| request.external_ok(process)).collect();
        let Some(variables) = request.variables_for_all(&processes) else { return false };
        let processes: Vec<&Value> =
            processes.into_iter().filter(|process| container::environment_ok(process, &variables)).collect();
        container::same_stdio(&processes)
    }

    fn signal(&mut self, id: &str, input: &Value) -> bool {
        let request = self.request(input);
        let may = |container: &&Value| request.signal_ok(container);
        let containers: Vec<Value> = self.state.of(id).iter().filter(may).cloned().collect();
        self.state.started.contains_key(id) && self.keep(id, containers)
    }

    /// Keeps the containers that this one may still be; none is a refusal.
    fn keep(&mut self, id: &str, containers: Vec<Value>) -> bool {
        let some = !containers.is_empty();
        if some {
            self.state.matches.insert(id.to_owned(), containers);
        }
        some
    }

    fn request<'a>(&'a self, input: &'a Value) -> Request<'a> {
        Request {
            input,
            platform: &self.platform,
            shares: &self.state.shares,
            drop_variables: self.policy.is_on("allow_environment_variable_dropping"),
            drop_capabilities: self.policy.is_on("allow_capability_dropping")
                && self.framework_version.and_then(Version::parse) >= Version::parse("0.2.2"),
        }
    }

    fn is_layer(&self, hash: &str) -> bool {
        self.policy.containers().any(|container| texts(container, "layers").contains(&hash))
    }

    /// The guest lists an overlay's layers from the top, a policy from the bottom.
    fn layers_ok(&self, container: &Value, input: &Value) -> bool {
        let mounted = texts(input, "layerPaths");
        let mounted = mounted.iter().rev().map(|path| self.state.devices.get(*path).map(String::as_str));
        mounted.eq(texts(container, "layers").into_iter().map(Some))
    }

    fn share_owner(&self, input: &Value) -> Option<String> {
        let text = |member: &str| input.get(member).and_then(Value::as_str);
        let (root, path, target) = (text("rootPrefix")?, text("mountPathPrefix")?, text("target")?);
        let owns = |id: &&String| Pattern::matches(&format!("^{root}/{id}{path}$"), target);
        self.state.matches.keys().find(owns).cloned()
    }

    fn fragments(&self) -> impl Iterator<Item = &Value> {
        self.policy.values.get("fragments").and_then(Value::as_array).into_iter().flatten()
    }

    fn external_processes(&self) -> impl Iterator<Item = &Value> {
        self.policy.values.get("external_processes").and_then(Value::as_array).into_iter().flatten()
    }
}

impl State {
    fn is_mounted(&self, target: &str) -> bool {
        self.devices.contains_key(target) || self.writable_devices.contains(target)
    }

    fn of(&self, id: &str) -> &[Value] {
        self.matches.get(id).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Who answers a call for which an older policy has no rule.
#[derive(Debug, Clone, Copy)]
enum Absent {
    Framework,
    Always(bool),
    Unknown,
}

/// Calls of the interface: name, since when, and what answers for an older policy.
const CALLS: &[(&str, &str, Absent)] = &[
    ("mount_device", "0.1.0", Absent::Always(false)),
    ("mount_overlay", "0.1.0", Absent::Always(false)),
    ("create_container", "0.1.0", Absent::Always(false)),
    ("unmount_device", "0.2.0", Absent::Always(true)),
    ("exec_in_container", "0.2.0", Absent::Always(true)),
    ("exec_external", "0.3.0", Absent::Always(true)),
    ("shutdown_container", "0.4.0", Absent::Always(true)),
    ("signal_container_process", "0.5.0", Absent::Always(true)),
    ("unmount_overlay", "0.6.0", Absent::Always(true)),
    ("plan9_mount", "0.6.0", Absent::Always(true)),
    ("plan9_unmount", "0.6.0", Absent::Always(true)),
    ("get_properties", "0.7.0", Absent::Always(true)),
    ("dump_stacks", "0.7.0", Absent::Always(true)),
    ("runtime_logging", "0.8.0", Absent::Always(true)),
    ("load_fragment", "0.9.0", Absent::Always(false)),
    ("scratch_mount", "0.10.0", Absent::Always(true)),
    ("scratch_unmount", "0.10.0", Absent::Always(true)),
    ("rw_mount_device", "0.11.0", Absent::Framework),
    ("rw_unmount_device", "0.11.0", Absent::Framework),
];

fn on(input: &Value, member: &str) -> bool {
    input.get(member) == Some(&Value::Bool(true))
}

fn target_ok(input: &Value) -> bool {
    let text = |member: &str| input.get(member).and_then(Value::as_str);
    text("mountPathRegex").zip(text("target")).is_some_and(|(pattern, target)| Pattern::matches(pattern, target))
}

fn scratch_file_system(input: &Value) -> bool {
    matches!(input.get("filesystem").and_then(Value::as_str), Some("ext4" | "xfs"))
}
