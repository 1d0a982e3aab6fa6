//! The digest of a seccomp profile as the guest computes it: members in the order of the runtime specification, nothing
//! else, compact JSON.

use super::CceError;
use super::text::{Layout, dump};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::Digest256;
use serde_json::{Value, json};

/// SHA-256 of the normalised profile behind base64.
pub(super) fn digest(encoded: &str, place: &str) -> Result<String, CceError> {
    let trouble = |why: String| CceError::Seccomp { place: place.to_owned(), why };
    let bytes = STANDARD.decode(encoded.trim()).map_err(|_| trouble("it is not base64".to_owned()))?;
    let profile: Value = serde_json::from_slice(&bytes).map_err(|error| trouble(error.to_string()))?;
    let text = normal(&profile, PROFILE).ok_or_else(|| trouble("it is not an object of the known form".to_owned()))?;
    Ok(Digest256::of(text.as_bytes()).to_string())
}

/// A member: name, what stands in its place where it is absent, members of its items where these are objects.
type Member = (&'static str, Option<Missing>, &'static [MemberOf]);
/// The same, one level down; two types, as a constant cannot refer to itself.
type MemberOf = (&'static str, Option<Missing>, &'static [(&'static str, Option<Missing>)]);

#[derive(Debug, Clone, Copy)]
enum Missing {
    Text,
    Zero,
    List,
}

impl Missing {
    fn value(self) -> Value {
        match self {
            Self::Text => json!(""),
            Self::Zero => json!(0),
            Self::List => json!([]),
        }
    }
}

const PROFILE: &[Member] = &[
    ("defaultAction", Some(Missing::Text), &[]),
    ("defaultErrnoRet", None, &[]),
    ("architectures", None, &[]),
    ("flags", None, &[]),
    ("listenerPath", None, &[]),
    ("listenerMetadata", None, &[]),
    (
        "syscalls",
        None,
        &[
            ("names", Some(Missing::List), &[]),
            ("action", Some(Missing::Text), &[]),
            ("errnoRet", None, &[]),
            (
                "args",
                None,
                &[
                    ("index", Some(Missing::Zero)),
                    ("value", Some(Missing::Zero)),
                    ("valueTwo", None),
                    ("op", Some(Missing::Text)),
                ],
            ),
        ],
    ),
];

fn normal(profile: &Value, members: &[Member]) -> Option<String> {
    object(profile, members.iter().map(|(name, missing, below)| (*name, *missing, !below.is_empty())), |name, value| {
        let below = members.iter().find(|(other, ..)| *other == name).map(|(.., below)| *below)?;
        list(value, |syscall| {
            object(
                syscall,
                below.iter().map(|(name, missing, deep)| (*name, *missing, !deep.is_empty())),
                |name, value| {
                    let deep = below.iter().find(|(other, ..)| *other == name).map(|(.., deep)| *deep)?;
                    list(value, |argument| {
                        object(argument, deep.iter().map(|(name, missing)| (*name, *missing, false)), |_, _| None)
                    })
                },
            )
        })
    })
}

/// The named members in their order; `below` writes those that hold objects.
fn object(
    value: &Value,
    members: impl Iterator<Item = (&'static str, Option<Missing>, bool)>,
    below: impl Fn(&str, &Value) -> Option<String>,
) -> Option<String> {
    let held = value.as_object()?;
    let mut written = Vec::new();
    for (name, missing, nested) in members {
        let Some(value) = held.get(name).cloned().or(missing.map(Missing::value)) else { continue };
        let mut text = String::new();
        match nested {
            true => text = below(name, &value)?,
            false => dump(&value, Layout::Compact, 0, &mut text),
        }
        written.push(format!("\"{name}\":{text}"));
    }
    Some(format!("{{{}}}", written.join(",")))
}

fn list(value: &Value, item: impl Fn(&Value) -> Option<String>) -> Option<String> {
    let items = value.as_array()?.iter().map(item).collect::<Option<Vec<_>>>()?;
    Some(format!("[{}]", items.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text was written by hand after the runtime specification's types; no vector of upstream's covers this.
    #[test]
    fn a_profile_is_put_in_order_and_freed_of_other_members() {
        let profile = json!({
            "comment": "no member of the specification",
            "syscalls": [{ "action": "SCMP_ACT_ALLOW", "names": ["read"], "args": [{ "op": "SCMP_CMP_EQ", "value": 3 }] }],
            "architectures": ["SCMP_ARCH_X86_64"]
        });
        let text = concat!(
            r#"{"defaultAction":"","architectures":["SCMP_ARCH_X86_64"],"syscalls":[{"names":["read"],"#,
            r#""action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":3,"op":"SCMP_CMP_EQ"}]}]}"#
        );
        assert_eq!(normal(&profile, PROFILE).as_deref(), Some(text));
        let encoded = STANDARD.encode(profile.to_string());
        assert_eq!(digest(&encoded, "here").ok(), Some(Digest256::of(text.as_bytes()).to_string()));
        assert!(digest("e30", "here").is_err());
        assert!(digest(&STANDARD.encode("[]"), "here").is_err());
    }
}
