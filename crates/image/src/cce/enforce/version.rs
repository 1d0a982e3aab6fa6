//! Versions, and what the framework adds to containers that were written for an older one.

use super::FRAMEWORK;
use crate::cce::rego::Document;
use serde_json::{Map, Value, json};

/// A version `x.y.z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u64, u64, u64);

impl Version {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version = Self(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    }
}

/// The containers of a policy as the framework sees them: none where the policy is for a newer framework.
pub(super) fn candidates(policy: &Document, framework_version: Option<&str>) -> Vec<Value> {
    let (Some(version), Some(framework)) = (framework_version.and_then(Version::parse), Version::parse(FRAMEWORK))
    else {
        return Vec::new();
    };
    match version.cmp(&framework) {
        std::cmp::Ordering::Greater => Vec::new(),
        std::cmp::Ordering::Equal => policy.containers().cloned().collect(),
        std::cmp::Ordering::Less => policy.containers().filter_map(|raw| completed(raw, version)).collect(),
    }
}

/// A container of an older policy with the members that its framework did not have yet; a container that lacks a
/// member that it should have is no container.
fn completed(raw: &Value, version: Version) -> Option<Value> {
    let mut members = Map::new();
    for name in [
        "command",
        "env_rules",
        "layers",
        "mounts",
        "allow_elevated",
        "working_dir",
        "exec_processes",
        "signals",
        "allow_stdio_access",
    ] {
        members.insert(name.to_owned(), raw.get(name)?.clone());
    }
    let anyone = json!({
        "umask": "0022", "user_idname": { "pattern": "", "strategy": "any" },
        "group_idnames": [{ "pattern": "", "strategy": "any" }]
    });
    for (name, since, before) in [
        ("no_new_privileges", "0.2.0", json!(false)),
        ("user", "0.2.1", anyone),
        ("capabilities", "0.2.2", Value::Null),
        ("seccomp_profile_sha256", "0.2.3", json!("")),
    ] {
        let has = Some(version) >= Version::parse(since);
        members.insert(name.to_owned(), if has { raw.get(name)?.clone() } else { before });
    }
    if Some(version) < Version::parse("0.4.1") {
        members.get_mut("signals")?.as_array_mut()?.extend([json!(9), json!(15)]);
    }
    // Not the framework's, but people's: an explanation can name the container.
    for name in ["id", "name"] {
        if let Some(value) = raw.get(name) {
            members.insert(name.to_owned(), value.clone());
        }
    }
    Some(members.into())
}
