//! Puts policies into a template's text. Everything but the policies stays as it is, to the byte: formatting, comments,
//! the order of members.

use super::arm::Group;
use super::error::{CceError, bounded};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The template's text with each group's policy in its `ccePolicy`.
pub fn insert(template: &str, policies: &[(&Group, &[u8])]) -> Result<String, CceError> {
    bounded("the template", template.len())?;
    let plain = without_comments(template);
    let mut edits = Vec::new();
    for (group, policy) in policies {
        let encoded = STANDARD.encode(policy);
        edits.push(edit(&plain, group, &encoded)?);
    }
    // From the end, so that earlier places stay where they are.
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.from));
    let mut text = template.to_owned();
    for Edit { from, to, new } in edits {
        if text.get(from..to).is_some() {
            text.replace_range(from..to, &new);
        }
    }
    Ok(text)
}

struct Edit {
    from: usize,
    to: usize,
    new: String,
}

/// Where a group's policy stands, or where it has to be added.
fn edit(text: &str, group: &Group, encoded: &str) -> Result<Edit, CceError> {
    let place = |name: &str| format!("resource {}.{name}", group.resource);
    let missing = |name: &str| CceError::Field { place: place(name), wanted: "an object".to_owned() };
    let root = members(text, "the template")?;
    let resources = find(&root, "resources").ok_or(CceError::NoGroup)?;
    let resource = match resources.trim_start().starts_with('[') {
        true => list(resources)?.get(group.resource).copied(),
        // Sorted by name, as in `arm::resources`.
        false => members(resources, "resources")?.into_values().nth(group.resource).map(RawValue::get),
    };
    let resource = members(resource.ok_or(CceError::NoGroup)?, "resource")?;
    let properties = find(&resource, "properties").ok_or_else(|| missing("properties"))?;
    let held = members(properties, "properties")?;
    let Some(confidential) = find(&held, "confidentialComputeProperties") else {
        let new = format!("\"confidentialComputeProperties\":{{\"ccePolicy\":\"{encoded}\"}}");
        return Ok(first_member(text, properties, held.is_empty(), new));
    };
    let held = members(confidential, "confidentialComputeProperties")?;
    Ok(match find(&held, "ccePolicy") {
        Some(policy) => {
            let from = offset(text, policy);
            Edit { from, to: from.saturating_add(policy.len()), new: format!("\"{encoded}\"") }
        }
        None => first_member(text, confidential, held.is_empty(), format!("\"ccePolicy\":\"{encoded}\"")),
    })
}

/// Adds a member behind the brace that opens an object.
fn first_member(text: &str, object: &str, empty: bool, mut new: String) -> Edit {
    if !empty {
        new.push(',');
    }
    let at = offset(text, object).saturating_add(1);
    Edit { from: at, to: at, new }
}

/// Where a part stands in the text that it was cut from.
fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

fn members<'a>(text: &'a str, what: &str) -> Result<BTreeMap<String, &'a RawValue>, CceError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    BTreeMap::deserialize(&mut reader).map_err(|source| CceError::Json { what: what.to_owned(), source })
}

fn list(text: &str) -> Result<Vec<&str>, CceError> {
    let items: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|source| CceError::Json { what: "resources".to_owned(), source })?;
    Ok(items.into_iter().map(RawValue::get).collect())
}

fn find<'a>(members: &BTreeMap<String, &'a RawValue>, name: &str) -> Option<&'a str> {
    let exact = members.get(name);
    exact
        .or_else(|| members.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value))
        .map(|value| value.get())
}

/// The text with `//` and `/* */` comments blanked; every other byte keeps its place.
pub(super) fn without_comments(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes().peekable();
    let mut quoted = false;
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'"', _) => quoted = !quoted,
            (b'\\', Some(_)) if quoted => {
                out.push(byte);
                out.extend(bytes.next());
                continue;
            }
            (b'/', Some(b'/')) if !quoted => {
                out.push(b' ');
                while bytes.peek().is_some_and(|byte| *byte != b'\n') {
                    bytes.next();
                    out.push(b' ');
                }
                continue;
            }
            (b'/', Some(b'*')) if !quoted => {
                out.extend([b' ', b' ']);
                bytes.next();
                let mut star = false;
                for byte in bytes.by_ref() {
                    out.push(if byte == b'\n' { b'\n' } else { b' ' });
                    if star && byte == b'/' {
                        break;
                    }
                    star = byte == b'*';
                }
                continue;
            }
            _ => {}
        }
        out.push(byte);
    }
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_blanks_and_nothing_moves() {
        let text = "{ // é\n \"a\": \"//\\\"/*\", /* b\n */ \"c\": 1 }";
        let plain = without_comments(text);
        assert_eq!(plain.len(), text.len());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&plain).ok(),
            Some(serde_json::json!({"a": "//\"/*", "c": 1}))
        );
    }
}
