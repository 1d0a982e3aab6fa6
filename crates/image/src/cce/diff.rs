//! Whether one policy lets the containers of another one start, and where not, in words.

use super::enforce::Pattern;
use super::rego::Document;
use serde_json::Value;

/// One thing that the policy in a template does not cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The container's name.
    pub container: String,
    /// The member that differs; empty where the container itself is not there.
    pub field: String,
    /// What would be deployed.
    pub got: String,
    /// What the policy has.
    pub wanted: String,
}

/// What `now` needs and `existing` does not allow. Containers are paired by `id`, then by `name`.
pub fn compare(existing: &Document, now: &Document) -> Vec<Difference> {
    if existing.allows_all() {
        return Vec::new();
    }
    let mut differences = Vec::new();
    for container in now.containers() {
        let name = name_of(container);
        match partner(existing, container) {
            Some(held) => container_differences(&name, held, container, &mut differences),
            None => differences.push(Difference {
                container: name,
                field: String::new(),
                got: "a container".to_owned(),
                wanted: "no container with this image or name".to_owned(),
            }),
        }
    }
    for fragment in list(now.values.get("fragments")) {
        let same = |held: &&Value| ["feed", "issuer"].iter().all(|member| held.get(member) == fragment.get(member));
        let held = list(existing.values.get("fragments")).find(same);
        if held.and_then(|held| held.get("minimum_svn")) != fragment.get("minimum_svn") {
            differences.push(Difference {
                container: "fragments".to_owned(),
                field: fragment.get("feed").map(shown).unwrap_or_default(),
                got: fragment.get("minimum_svn").map(|svn| format!("minimum_svn {}", shown(svn))).unwrap_or_default(),
                wanted: held.and_then(|held| held.get("minimum_svn")).map_or("no such fragment".to_owned(), shown),
            });
        }
    }
    for (name, value) in now.values.iter().filter(|(name, _)| name.starts_with("allow_")) {
        let held = existing.values.get(name).unwrap_or(&Value::Bool(false));
        if held != value {
            let (container, field) = ("the group".to_owned(), name.clone());
            differences.push(Difference { container, field, got: shown(value), wanted: shown(held) });
        }
    }
    differences
}

fn container_differences(name: &str, held: &Value, now: &Value, differences: &mut Vec<Difference>) {
    let mut tell = |field: &str, got: String, wanted: String| {
        differences.push(Difference { container: name.to_owned(), field: field.to_owned(), got, wanted });
    };
    let members = now.as_object().into_iter().flatten();
    for (field, value) in members.filter(|(field, _)| !matches!(field.as_str(), "id" | "name")) {
        let other = held.get(field);
        match (field.as_str(), value, other) {
            (_, value, Some(other)) if value == other => {}
            ("env_rules", ..) => {
                for rule in list(Some(value)).filter(|rule| !rule_covered(rule, other)) {
                    tell(
                        field,
                        rule.get("pattern").map(shown).unwrap_or_default(),
                        "no rule that allows it".to_owned(),
                    );
                }
            }
            ("mounts" | "exec_processes", ..) => {
                for item in list(Some(value)).filter(|item| !list(other).any(|held| held == *item)) {
                    tell(field, shown(item), "no such entry".to_owned());
                }
            }
            ("layers", ..) => {
                let (got, wanted): (Vec<_>, Vec<_>) = (list(Some(value)).collect(), list(other).collect());
                let first = got.iter().zip(&wanted).position(|(a, b)| a != b).unwrap_or(got.len().min(wanted.len()));
                let one = |layers: &[&Value]| {
                    layers.get(first).map_or_else(
                        || format!("no layer {first}"),
                        |layer| format!("layer {first} is {}", shown(layer)),
                    )
                };
                let more = |count: usize| format!("{count} layers");
                match got.len() == wanted.len() {
                    true => tell(field, one(&got), one(&wanted)),
                    false => tell(
                        field,
                        format!("{}, {}", more(got.len()), one(&got)),
                        format!("{}, {}", more(wanted.len()), one(&wanted)),
                    ),
                }
            }
            (_, value, other) => tell(field, shown(value), other.map_or_else(|| "nothing".to_owned(), shown)),
        }
    }
}

/// Whether a rule, or the variable that it stands for, is allowed by one of the rules.
fn rule_covered(rule: &Value, held: Option<&Value>) -> bool {
    let pattern = rule.get("pattern").and_then(Value::as_str).unwrap_or_default();
    let literal = rule.get("strategy").and_then(Value::as_str) == Some("string");
    list(held).any(|held| {
        let same = held.get("pattern") == rule.get("pattern") && held.get("strategy") == rule.get("strategy");
        let expression = held.get("strategy").and_then(Value::as_str) == Some("re2");
        same || literal
            && expression
            && held.get("pattern").and_then(Value::as_str).is_some_and(|held| Pattern::matches(held, pattern))
    })
}

fn partner<'a>(existing: &'a Document, container: &Value) -> Option<&'a Value> {
    let by = |member: &str| {
        let wanted = container.get(member)?;
        existing.containers().find(|held| held.get(member) == Some(wanted))
    };
    by("id").or_else(|| by("name"))
}

pub(super) fn name_of(container: &Value) -> String {
    let text = |member: &str| container.get(member).and_then(Value::as_str).map(str::to_owned);
    text("name").or_else(|| text("id")).unwrap_or_else(|| "a container without a name".to_owned())
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// A value for people, not longer than a line.
pub(super) fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}
