//! What of a request is not as a container of the policy has it, in words.

use super::container::{Request, SETS, Set, list, texts, variable_ok};
use super::on;
use crate::cce::diff::shown;
use serde_json::Value;

/// What of a request is not as a container of the policy has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDifference {
    /// The member of the policy's container.
    pub field: &'static str,
    /// What was asked for.
    pub got: String,
    /// What the policy has.
    pub wanted: String,
}

impl Request<'_> {
    /// What differs, in words; `exec` is for a process in a running container.
    pub(super) fn differences(&self, container: &Value, exec: bool) -> Vec<FieldDifference> {
        let asked = |member: &str| self.input.get(member).map_or_else(|| "nothing".to_owned(), shown);
        let held = |member: &str| container.get(member).map_or_else(|| "nothing".to_owned(), shown);
        let user = format!("user {}, groups {}, umask {}", asked("user"), asked("groups"), asked("umask"));
        let no_new_privileges = self.no_new_privileges_ok(container);
        let mut found: Vec<FieldDifference> = [
            (self.folder_ok(container), "working_dir", asked("workingDir")),
            (no_new_privileges, "no_new_privileges", asked("noNewPrivileges")),
            (self.user_ok(container), "user", user),
            (!exec || self.exec_command_ok(container), "exec_processes", asked("argList")),
            (exec || self.command_ok(container), "command", asked("argList")),
            (exec || self.privileged_ok(container), "allow_elevated", asked("privileged")),
            (exec || self.seccomp_ok(container), "seccomp_profile_sha256", asked("seccompProfileSHA256")),
            (exec || self.devices_ok(), "devices", asked("devices")),
        ]
        .into_iter()
        .filter(|(ok, ..)| !ok)
        .map(|(_, field, got)| FieldDifference { field, got, wanted: held(field) })
        .collect();
        if !exec {
            found.extend(self.mount_differences(container));
            found.extend(self.capability_differences(container));
        }
        found.extend(self.variable_differences(container));
        found
    }

    fn mount_differences<'r>(&'r self, container: &'r Value) -> impl Iterator<Item = FieldDifference> + 'r {
        let bad = list(self.input, "mounts").iter().filter(|mount| !self.mount_ok(container, mount));
        bad.map(|mount| {
            let path = mount.get("destination");
            let rule = list(container, "mounts").iter().find(|rule| rule.get("destination") == path);
            let wanted = rule.map_or_else(|| "no mount at this path".to_owned(), shown);
            FieldDifference { field: "mounts", got: shown(mount), wanted }
        })
    }

    /// Variables without a rule, unless they may be dropped; then rules without a variable. The guest does not tell the
    /// values in its messages, so there a name is all that can be compared.
    fn variable_differences(&self, container: &Value) -> Vec<FieldDifference> {
        let rules = list(container, "env_rules");
        let given = texts(self.input, "envList");
        let pattern = |rule: &Value| rule.get("pattern").map(shown).unwrap_or_default();
        let same_name = |rule: &Value, variable: &str| pattern(rule).split('=').next() == variable.split('=').next();
        let fits = |rule: &Value, variable: &str| {
            variable_ok(rule, variable) || variable.ends_with(REDACTED) && same_name(rule, variable)
        };
        let mut found = Vec::new();
        let bad = |variable: &&&str| !self.drop_variables && !rules.iter().any(|rule| fits(rule, variable));
        for variable in given.iter().filter(bad) {
            let rule = rules.iter().find(|rule| same_name(rule, variable));
            let wanted = rule.map_or_else(|| "no rule for this variable".to_owned(), pattern);
            found.push(FieldDifference { field: "env_rules", got: (*variable).to_owned(), wanted });
        }
        let required = rules.iter().filter(|rule| on(rule, "required"));
        for rule in required.filter(|rule| !given.iter().any(|variable| fits(rule, variable))) {
            found.push(FieldDifference { field: "env_rules", got: "not set".to_owned(), wanted: pattern(rule) });
        }
        found
    }

    fn capability_differences(&self, container: &Value) -> Vec<FieldDifference> {
        let told = self.input.get("capabilities").is_some_and(Value::is_object);
        let allowed = self.capabilities(container, on(self.input, "privileged")).filter(|_| told);
        let sets = SETS.iter().zip(self.asked_capabilities()).zip(allowed.into_iter().flatten());
        let differ = |((set, asked), allowed): ((&&str, Vec<&str>), Vec<String>)| {
            let (asked, allowed): (Set<'_>, Set<'_>) =
                (asked.into_iter().collect(), allowed.iter().map(String::as_str).collect());
            let words = |names: Vec<&str>, word: &str| match names.is_empty() {
                true => String::new(),
                false => format!(" {word} {}", names.join(" ")),
            };
            let lacking = words(allowed.difference(&asked).copied().collect(), "without");
            let extra = asked.difference(&allowed).copied().filter(|_| !self.drop_capabilities);
            let got = format!("{}{lacking}", words(extra.collect(), "with"));
            let wanted = format!("{set} with exactly the {} of the policy", allowed.len());
            (!got.is_empty()).then(|| FieldDifference { field: "capabilities", got: format!("{set}{got}"), wanted })
        };
        sets.filter_map(differ).collect()
    }
}

/// What the guest writes in place of a variable's value.
const REDACTED: &str = "=<<redacted>>";
