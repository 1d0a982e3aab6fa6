//! The reasons of a refusal, in the guest's words. They are the guest's own rules about what to say, not a trace: a
//! refusal for one reason may list others that hold as well.

use super::container::{Request, environment_ok, list, same_stdio, texts, variable_ok};
use super::version::Version;
use super::{Enforcer, FRAMEWORK, on, scratch_file_system, target_ok};
use serde_json::Value;
use std::collections::BTreeSet;

impl Enforcer<'_> {
    /// All reasons that hold for a request.
    pub(super) fn errors(&self, rule: &str, input: &Value) -> BTreeSet<String> {
        let text = |member: &str| input.get(member).and_then(Value::as_str).unwrap_or_default();
        let state = &self.state;
        let mut said = Said::default();
        match rule {
            "mount_blockdev" | "unmount_blockdev" => said.say("blockdev mounts are not supported"),
            "mount_device" => {
                said.unless(self.is_layer(text("deviceHash")), "deviceHash not found");
                said.unless(!state.is_mounted(text("target")), "device already mounted at path");
                said.unless(target_ok(input), "mountpoint invalid");
            }
            "rw_mount_device" => {
                said.unless(!state.is_mounted(text("target")), "device already mounted at path");
                said.unless(target_ok(input), "mountpoint invalid");
                let encrypted = on(input, "encrypted") || self.policy.is_on("allow_unencrypted_scratch");
                said.unless(
                    encrypted,
                    "unencrypted scratch not allowed, non-readonly mount request for SCSI disk must request encryption",
                );
                said.unless(on(input, "ensureFilesystem"), "ensureFilesystem must be set on rw device mounts");
                said.unless(scratch_file_system(input), "rw device mounts uses a filesystem that is not allowed");
            }
            "unmount_device" | "rw_unmount_device" => {
                let target = text("unmountTarget");
                let read_only = state.devices.contains_key(target);
                let writable = state.writable_devices.contains(target);
                said.unless(read_only || writable, "no device at path to unmount");
                if rule == "unmount_device" && writable && !read_only {
                    said.say("received read-only unmount request, but device provided is read-write");
                }
                if rule == "rw_unmount_device" && read_only && !writable {
                    said.say("received read-write unmount request, but device provided is read-only");
                }
            }
            "mount_overlay" => {
                let matches = self.candidates.iter().any(|container| self.layers_ok(container, input));
                said.unless(!state.matches.contains_key(text("containerID")), "overlay has already been mounted");
                said.unless(matches, "no matching containers for overlay");
            }
            "unmount_overlay" => {
                said.unless(state.overlays.contains(text("unmountTarget")), "no overlay at path to unmount");
            }
            "create_container" => self.create_errors(input, &mut said),
            "exec_in_container" => self.exec_errors(input, &mut said),
            "exec_external" => self.external_errors(input, &mut said),
            "shutdown_container" => {
                said.unless(state.started.contains_key(text("containerID")), "container not started");
            }
            "signal_container_process" => {
                said.unless(state.started.contains_key(text("containerID")), "container not started");
                let request = self.request(input);
                let allowed = state.of(text("containerID")).iter().any(|container| request.signal_ok(container));
                said.unless(allowed, "target isn't allowed to receive the signal");
            }
            "plan9_mount" => {
                said.unless(!state.shares.contains_key(text("target")), "device already mounted at path");
            }
            "plan9_unmount" => {
                said.unless(state.shares.contains_key(text("unmountTarget")), "no device at path to unmount");
            }
            "scratch_mount" => {
                said.unless(!state.scratch.contains(text("target")), "scratch already mounted at path");
                let encrypted = on(input, "encrypted") || self.policy.is_on("allow_unencrypted_scratch");
                said.unless(encrypted, "unencrypted scratch not allowed");
            }
            "scratch_unmount" => {
                said.unless(state.scratch.contains(text("unmountTarget")), "no scratch at path to unmount");
            }
            "load_fragment" => {
                let same = |member: &'static str| move |fragment: &&Value| fragment.get(member) == input.get(member);
                let issuer = self.fragments().any(|fragment| same("issuer")(&fragment));
                let feed = self.fragments().filter(same("issuer")).any(|fragment| same("feed")(&fragment));
                said.unless(issuer, "invalid fragment issuer");
                said.unless(!issuer || feed, "invalid fragment feed");
            }
            _ => {}
        }
        self.version_errors(&mut said);
        said.0
    }

    fn version_errors(&self, said: &mut Said) {
        match self.framework_version {
            None => said.say(format!("framework_version is missing. Current version: {FRAMEWORK}")),
            Some(version) if Version::parse(version) > Version::parse(FRAMEWORK) => said.say(format!(
                "framework_version is ahead of the current version: {version} is greater than {FRAMEWORK}"
            )),
            Some(_) => {}
        }
    }

    fn create_errors(&self, input: &Value, said: &mut Said) {
        let id = input.get("containerID").and_then(Value::as_str).unwrap_or_default();
        let (request, matches) = (self.request(input), self.state.of(id));
        let any = |ok: &dyn Fn(&Value) -> bool| matches.iter().any(ok);
        let started = self.state.started.contains_key(id);
        said.unless(!started, "container already started");
        said.unless(any(&|container| request.privileged_ok(container)), "privileged escalation not allowed");
        said.unless(any(&|container| request.command_ok(container)), "invalid command");
        said.unless(any(&|container| request.folder_ok(container)), "invalid working directory");
        said.unless(any(&|container| request.no_new_privileges_ok(container)), "invalid noNewPrivileges");
        said.unless(any(&|container| request.user_ok(container)), "invalid user");
        said.unless(any(&|container| request.seccomp_ok(container)), "invalid seccomp");
        said.unless(request.devices_ok(), "devices not supported");
        variables(matches, input, said);
        let bad = |mount: &&Value| !any(&|container| request.mount_ok(container, mount));
        let bad: Vec<&str> =
            list(input, "mounts").iter().filter(bad).filter_map(|mount| mount.get("destination")?.as_str()).collect();
        if !bad.is_empty() {
            said.say(format!("invalid mount list: {}", bad.join(",")));
        }
        let unknown = |container: &Value| {
            let rules = list(container, "env_rules");
            texts(input, "envList").iter().any(|given| !rules.iter().any(|rule| variable_ok(rule, given)))
        };
        let has_matches = self.state.matches.contains_key(id);
        if has_matches && matches.iter().all(|container| request.same_process(container) && unknown(container)) {
            said.say("invalid env list");
        }
        if started {
            return;
        }
        let narrowed: Vec<&Value> = matches.iter().filter(|container| request.same_process(container)).collect();
        said.unless(!lacks_required(&narrowed, input), "missing required environment variable");
        let privileged = on(input, "privileged");
        if self.request(input).drop_capabilities {
            let left = request.with_variables(&narrowed).filter(|left| !left.is_empty());
            let undecided = left.is_some_and(|left| request.capabilities_for_all(&left, privileged).is_none());
            said.unless(!undecided, "containers only distinguishable by capabilties");
        }
        let secure: Vec<&Value> = narrowed.into_iter().filter(|container| request.seccomp_ok(container)).collect();
        let left = capability_errors(&request, &secure, privileged, said);
        said.unless(left.is_empty() || same_stdio(&left), "containers only distinguishable by allow_stdio_access");
    }

    fn exec_errors(&self, input: &Value, said: &mut Said) {
        let id = input.get("containerID").and_then(Value::as_str).unwrap_or_default();
        let (request, matches) = (self.request(input), self.state.of(id));
        let any = |ok: &dyn Fn(&Value) -> bool| matches.iter().any(ok);
        let started = self.state.started.get(id).copied();
        said.unless(started.is_some(), "container not started");
        said.unless(any(&|container| request.exec_command_ok(container)), "invalid command");
        said.unless(any(&|container| request.folder_ok(container)), "invalid working directory");
        // The framework looks for these members in the process, where no policy has them.
        let process = |ok: &dyn Fn(&Value) -> bool| {
            any(&|container| {
                let processes = list(container, "exec_processes").iter();
                let mut same = processes.filter(|process| request.external_ok(process));
                same.any(ok)
            })
        };
        said.unless(process(&|process| request.no_new_privileges_ok(process)), "invalid noNewPrivileges");
        said.unless(process(&|process| request.user_ok(process)), "invalid user");
        variables(matches, input, said);
        let Some(privileged) = started else { return };
        let narrowed: Vec<&Value> = matches.iter().filter(|container| request.same_exec(container)).collect();
        said.unless(!lacks_required(&narrowed, input), "missing required environment variable");
        capability_errors(&request, &narrowed, privileged, said);
    }

    fn external_errors(&self, input: &Value, said: &mut Said) {
        let request = self.request(input);
        let processes: Vec<Value> = self.external_processes().cloned().collect();
        said.unless(processes.iter().any(|process| request.command_ok(process)), "invalid command");
        said.unless(processes.iter().any(|process| request.folder_ok(process)), "invalid working directory");
        variables(&processes, input, said);
        let narrowed: Vec<&Value> = processes.iter().filter(|process| request.external_ok(process)).collect();
        said.unless(!lacks_required(&narrowed, input), "missing required environment variable");
        let Some(kept) = request.variables_for_all(&narrowed) else { return };
        let left: Vec<&Value> = narrowed.into_iter().filter(|process| environment_ok(process, &kept)).collect();
        said.unless(
            left.is_empty() || same_stdio(&left),
            "external processes only distinguishable by allow_stdio_access",
        );
    }
}

/// Names the variables that no rule allows.
fn variables(holders: &[Value], input: &Value, said: &mut Said) {
    let known = |given: &str| {
        holders.iter().any(|holder| list(holder, "env_rules").iter().any(|rule| variable_ok(rule, given)))
    };
    let bad: Vec<&str> = texts(input, "envList")
        .into_iter()
        .filter(|given| !known(given))
        .map(|given| given.split('=').next().unwrap_or_default())
        .collect();
    if !bad.is_empty() {
        said.say(format!("invalid env list: {}", bad.join(",")));
    }
}

fn lacks_required(holders: &[&Value], input: &Value) -> bool {
    let given = texts(input, "envList");
    holders.iter().any(|holder| {
        let mut required = list(holder, "env_rules").iter().filter(|rule| on(rule, "required"));
        required.any(|rule| !given.iter().any(|variable| variable_ok(rule, variable)))
    })
}

/// Says that capabilities are what is wrong; gives the containers that are left.
fn capability_errors<'c>(
    request: &Request<'_>,
    narrowed: &[&'c Value],
    privileged: bool,
    said: &mut Said,
) -> Vec<&'c Value> {
    let Some(left) = request.with_variables(narrowed).filter(|left| !left.is_empty()) else { return Vec::new() };
    let decided = !request.drop_capabilities || request.capabilities_for_all(&left, privileged).is_some();
    let left = request.with_capabilities(&left, privileged);
    said.unless(!decided || left.is_some(), "capabilities don't match");
    left.unwrap_or_default()
}

#[derive(Default)]
struct Said(BTreeSet<String>);

impl Said {
    fn say(&mut self, words: impl Into<String>) {
        self.0.insert(words.into());
    }

    fn unless(&mut self, holds: bool, words: &str) {
        if !holds {
            self.say(words);
        }
    }
}
