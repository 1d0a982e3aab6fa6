//! A request to create a container, or to start a process in one, against containers of a policy.

use super::Platform;
use super::pattern::Pattern;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A request with what it is compared under.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) input: &'a Value,
    pub(super) platform: &'a Platform,
    pub(super) shares: &'a BTreeMap<String, String>,
    pub(super) drop_variables: bool,
    pub(super) drop_capabilities: bool,
}

pub(super) type Set<'a> = BTreeSet<&'a str>;

impl<'a> Request<'a> {
    /// The containers that the new one may be; `None` is a refusal.
    pub(super) fn created<'c>(&self, containers: &'c [Value]) -> Option<Vec<&'c Value>> {
        let narrowed: Vec<&Value> = containers
            .iter()
            .filter(|container| self.same_process(container) && self.seccomp_ok(container) && self.devices_ok())
            .collect();
        let privileged = super::on(self.input, "privileged");
        let containers = self.with_capabilities(&self.with_variables(&narrowed)?, privileged)?;
        same_stdio(&containers).then_some(containers)
    }

    /// The containers that a running one may still be, if it starts this process.
    pub(super) fn executed<'c>(&self, containers: &'c [Value], privileged: bool) -> Vec<&'c Value> {
        let narrowed: Vec<&Value> = containers.iter().filter(|container| self.same_exec(container)).collect();
        let found = self.with_variables(&narrowed).and_then(|left| self.with_capabilities(&left, privileged));
        found.unwrap_or_default()
    }

    /// What narrows first: everything but seccomp, devices, variables and capabilities.
    pub(super) fn same_process(&self, container: &Value) -> bool {
        self.no_new_privileges_ok(container)
            && self.user_ok(container)
            && self.privileged_ok(container)
            && self.folder_ok(container)
            && self.command_ok(container)
            && self.mounts_ok(container)
    }

    /// The same for a process in a running container.
    pub(super) fn same_exec(&self, container: &Value) -> bool {
        self.folder_ok(container)
            && self.no_new_privileges_ok(container)
            && self.user_ok(container)
            && self.exec_command_ok(container)
    }

    pub(super) fn with_variables<'c>(&self, containers: &[&'c Value]) -> Option<Vec<&'c Value>> {
        let variables = self.variables_for_all(containers)?;
        Some(containers.iter().copied().filter(|container| environment_ok(container, &variables)).collect())
    }

    /// The variables that are kept: with dropping, the largest set that one container allows, if all containers that
    /// allow as many allow the same.
    pub(super) fn variables_for_all(&self, containers: &[&Value]) -> Option<Vec<&'a str>> {
        let given = texts(self.input, "envList");
        if !self.drop_variables {
            return Some(given);
        }
        let allowed = containers.iter().map(|container| {
            let rules = list(container, "env_rules");
            given.iter().copied().filter(|variable| rules.iter().any(|rule| variable_ok(rule, variable))).collect()
        });
        let largest = largest(allowed.collect(), Set::len)?;
        Some(largest.into_iter().collect())
    }

    pub(super) fn with_capabilities<'c>(&self, containers: &[&'c Value], privileged: bool) -> Option<Vec<&'c Value>> {
        if containers.is_empty() {
            return None;
        }
        let kept = match self.drop_capabilities {
            true => self.capabilities_for_all(containers, privileged)?,
            false => self.asked_capabilities().map(|set| set.into_iter().collect()),
        };
        let counts = if self.drop_capabilities {
            kept.each_ref().map(Set::len)
        } else {
            self.asked_capabilities().map(|set| set.len())
        };
        let ok = |container: &&Value| {
            let Some(allowed) = self.capabilities(container, privileged) else { return false };
            let pairs = allowed.iter().zip(&kept).zip(counts);
            pairs.into_iter().all(|((allowed, kept), count)| {
                allowed.len() == count && allowed.iter().map(String::as_str).collect::<Set<'_>>() == *kept
            })
        };
        let containers: Vec<&Value> = containers.iter().copied().filter(ok).collect();
        (!containers.is_empty()).then_some(containers)
    }

    /// With dropping: the largest sets that one container allows, if all that allow as many allow the same.
    pub(super) fn capabilities_for_all(&self, containers: &[&Value], privileged: bool) -> Option<[Set<'a>; 5]> {
        let asked = self.asked_capabilities();
        let filtered = containers.iter().filter_map(|container| {
            let allowed = self.capabilities(container, privileged)?;
            let kept = |index: usize| -> Set<'a> {
                let (asked, allowed) = (asked.get(index), allowed.get(index));
                let pairs = asked.zip(allowed).into_iter();
                pairs
                    .flat_map(|(asked, allowed)| {
                        asked.iter().copied().filter(|name| allowed.iter().any(|one| one == name))
                    })
                    .collect()
            };
            Some([kept(0), kept(1), kept(2), kept(3), kept(4)])
        });
        largest(filtered.collect(), |sets| sets.iter().map(Set::len).sum())
    }

    /// A container's capabilities; where an older policy has none, the usual ones.
    pub(super) fn capabilities(&self, container: &Value, privileged: bool) -> Option<[Vec<String>; 5]> {
        let capabilities = container.get("capabilities")?;
        if !capabilities.is_null() {
            return Some(SETS.map(|set| texts(capabilities, set).into_iter().map(str::to_owned).collect()));
        }
        let elevated = privileged && super::on(container, "allow_elevated");
        let usual =
            if elevated { &self.platform.privileged_capabilities } else { &self.platform.unprivileged_capabilities };
        Some(SETS.map(|set| match set {
            "ambient" => Vec::new(),
            "inheritable" if !elevated => Vec::new(),
            _ => usual.clone(),
        }))
    }

    pub(super) fn asked_capabilities(&self) -> [Vec<&'a str>; 5] {
        let asked = self.input.get("capabilities").unwrap_or(&Value::Null);
        SETS.map(|set| texts(asked, set))
    }

    pub(super) fn command_ok(&self, container: &Value) -> bool {
        self.input.get("argList").is_some()
            && container.get("command").filter(|command| command.is_array()) == self.input.get("argList")
    }

    pub(super) fn exec_command_ok(&self, container: &Value) -> bool {
        list(container, "exec_processes").iter().any(|process| self.command_ok(process))
    }

    pub(super) fn folder_ok(&self, container: &Value) -> bool {
        let folder = self.input.get("workingDir");
        folder.is_some() && folder == container.get("working_dir")
    }

    pub(super) fn privileged_ok(&self, container: &Value) -> bool {
        let Some(elevated) = container.get("allow_elevated") else { return false };
        !super::on(self.input, "privileged") || *elevated == Value::Bool(true)
    }

    pub(super) fn no_new_privileges_ok(&self, container: &Value) -> bool {
        let Some(wanted) = container.get("no_new_privileges") else { return false };
        *wanted != Value::Bool(true) || super::on(self.input, "noNewPrivileges")
    }

    pub(super) fn user_ok(&self, container: &Value) -> bool {
        let Some(user) = container.get("user") else { return false };
        let umask = user.get("umask").is_some() && user.get("umask") == self.input.get("umask");
        let same = |rule: Option<&Value>, value: &Value| rule.is_some_and(|rule| id_name_ok(rule, value));
        let groups = self.input.get("groups").and_then(Value::as_array);
        umask
            && same(user.get("user_idname"), self.input.get("user").unwrap_or(&Value::Null))
            && groups.is_some_and(|groups| {
                groups.iter().all(|group| list(user, "group_idnames").iter().any(|rule| id_name_ok(rule, group)))
            })
    }

    pub(super) fn seccomp_ok(&self, container: &Value) -> bool {
        let profile = self.input.get("seccompProfileSHA256");
        profile.is_some() && profile == container.get("seccomp_profile_sha256")
    }

    pub(super) fn devices_ok(&self) -> bool {
        self.input.get("devices").and_then(Value::as_array).is_some_and(Vec::is_empty)
    }

    pub(super) fn mounts_ok(&self, container: &Value) -> bool {
        let mounts = self.input.get("mounts").and_then(Value::as_array);
        mounts.is_some_and(|mounts| mounts.iter().all(|mount| self.mount_ok(container, mount)))
    }

    pub(super) fn mount_ok(&self, container: &Value, mount: &Value) -> bool {
        let elevated = super::on(container, "allow_elevated");
        let privileged = self.platform.privileged_mounts.iter().filter(|_| elevated);
        let rules = list(container, "mounts").iter().chain(&self.platform.default_mounts).chain(privileged);
        rules.into_iter().any(|rule| self.same_mount(rule, mount)) || self.sandbox_sysfs(mount)
    }

    fn same_mount(&self, rule: &Value, mount: &Value) -> bool {
        let same = |member: &str| mount.get(member).is_some() && mount.get(member) == rule.get(member);
        let destination = mount.get("destination").and_then(Value::as_str).is_some_and(|path| !path.is_empty());
        let source = rule.get("source").and_then(Value::as_str).zip(mount.get("source").and_then(Value::as_str));
        same("type")
            && destination
            && same("destination")
            && same_set(&texts(rule, "options"), &texts(mount, "options"))
            && source.is_some_and(|(rule, source)| self.source_ok(rule, source))
    }

    fn source_ok(&self, rule: &str, source: &str) -> bool {
        let below = |prefix: &str, folder: &str| {
            let folder = self.input.get(folder).and_then(Value::as_str);
            let inside = !prefix.is_empty() && rule.starts_with(prefix);
            inside && folder.is_some_and(|folder| Pattern::matches(&rule.replace(prefix, folder), source))
        };
        let platform = self.platform;
        let shared = !platform.plan9_prefix.is_empty() && rule.starts_with(&platform.plan9_prefix);
        let owner = self.shares.get(source).map(String::as_str);
        rule == source
            || below(&platform.sandbox_prefix, "sandboxDir")
            || below(&platform.huge_pages_prefix, "hugePagesDir")
            || shared && owner.is_some() && owner == self.input.get("containerID").and_then(Value::as_str)
    }

    /// The pause container of a privileged group has a writable /sys.
    fn sandbox_sysfs(&self, mount: &Value) -> bool {
        let is = |member: &str, wanted: &str| mount.get(member).and_then(Value::as_str) == Some(wanted);
        super::on(self.input, "isSandboxContainer")
            && is("type", "sysfs")
            && is("source", "sysfs")
            && is("destination", "/sys")
            && same_set(&texts(mount, "options"), &["nosuid", "noexec", "nodev", "rw"])
    }

    pub(super) fn signal_ok(&self, container: &Value) -> bool {
        let in_list = |holder: &Value| {
            let signal = self.input.get("signal");
            list(holder, "signals").iter().any(|allowed| Some(allowed) == signal)
        };
        if super::on(self.input, "isInitProcess") {
            return in_list(container);
        }
        list(container, "exec_processes").iter().any(|process| self.command_ok(process) && in_list(process))
    }

    pub(super) fn external_ok(&self, process: &Value) -> bool {
        self.folder_ok(process) && self.command_ok(process)
    }
}

/// Whether all variables are allowed, and all required ones there.
pub(super) fn environment_ok(container: &Value, variables: &[&str]) -> bool {
    let rules = list(container, "env_rules");
    let required = |rule: &&Value| super::on(rule, "required");
    rules.iter().filter(required).all(|rule| variables.iter().any(|variable| variable_ok(rule, variable)))
        && variables.iter().all(|variable| rules.iter().any(|rule| variable_ok(rule, variable)))
}

/// A rule has one pattern for `NAME=value`, or one for the name and one for the value.
pub(super) fn variable_ok(rule: &Value, variable: &str) -> bool {
    let text = |member: &str| rule.get(member).and_then(Value::as_str);
    let ok = |pattern: &str, strategy: &str, value: &str| match strategy {
        "string" => pattern == value,
        "re2" => Pattern::matches(pattern, value),
        _ => false,
    };
    if text("pattern").zip(text("strategy")).is_some_and(|(pattern, strategy)| ok(pattern, strategy, variable)) {
        return true;
    }
    let Some((name, value)) = variable.split_once('=') else { return false };
    let part = |pattern: &str, strategy: &str, given: &str| {
        text(pattern).zip(text(strategy)).is_some_and(|(pattern, strategy)| ok(pattern, strategy, given))
    };
    part("name", "name_strategy", name) && part("value", "value_strategy", value)
}

/// Whether what cannot be told apart gives the same access to output.
pub(super) fn same_stdio(containers: &[&Value]) -> bool {
    let mut access = containers.iter().map(|container| container.get("allow_stdio_access"));
    let first = access.next().flatten();
    first.is_some() && access.all(|other| other == first)
}

fn id_name_ok(rule: &Value, value: &Value) -> bool {
    let pattern = rule.get("pattern").and_then(Value::as_str);
    let is = |member: &str| pattern.is_some() && value.get(member).and_then(Value::as_str) == pattern;
    match rule.get("strategy").and_then(Value::as_str) {
        Some("any") => true,
        Some("id") => is("id"),
        Some("name") => is("name"),
        Some("re2") => pattern
            .zip(value.get("name").and_then(Value::as_str))
            .is_some_and(|(pattern, name)| Pattern::matches(pattern, name)),
        _ => false,
    }
}

/// The largest of some sets, if all of its size are the same.
fn largest<T: PartialEq>(sets: Vec<T>, size: impl Fn(&T) -> usize) -> Option<T> {
    let most = sets.iter().map(&size).max()?;
    let mut same = sets.into_iter().filter(|set| size(set) == most);
    let first = same.next()?;
    same.all(|other| other == first).then_some(first)
}

/// Equal length, and each in the other.
fn same_set(a: &[&str], b: &[&str]) -> bool {
    a.len() == b.len() && a.iter().all(|item| b.contains(item)) && b.iter().all(|item| a.contains(item))
}

/// A member that is a list, or nothing.
pub(super) fn list<'v>(value: &'v Value, member: &str) -> &'v [Value] {
    value.get(member).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The texts of a member that is a list.
pub(super) fn texts<'v>(value: &'v Value, member: &str) -> Vec<&'v str> {
    list(value, member).iter().filter_map(Value::as_str).collect()
}

/// The five capability sets.
pub(super) const SETS: [&str; 5] = ["bounding", "effective", "inheritable", "permitted", "ambient"];
