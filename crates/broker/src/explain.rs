//! What to tell the operator beside the trace: which settings of a `site.json` differ.
//!
//! The guest's own words count only when their digest is the signed host data; the other side is a text that the store
//! keeps under its digest.

use crate::policy::RuleTrace;
use crate::store::db::Connection;
use crate::store::{StoreError, rules};
use claims::HostData;
use serde::Serialize;
use serde_json::Value;

/// Differences that are listed.
const MAX_CHANGES: usize = 32;
/// Characters of a value that are shown.
const MAX_TEXT: usize = 200;

/// One setting that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// JSON pointer.
    pub(crate) setting: String,
    pub(crate) got: Option<String>,
    pub(crate) wanted: Option<String>,
}

/// Compares the verified text of the guest's `site.json` with that of the nearest rule, where it is known.
pub(crate) fn site_changes(
    connection: &Connection,
    trace: &[RuleTrace],
    host_data: &HostData,
    verified_text: Option<&str>,
) -> Result<Vec<Change>, StoreError> {
    let Some(nearest) = trace.first().filter(|trace| trace.host_data != *host_data) else { return Ok(Vec::new()) };
    let got = match verified_text {
        Some(text) => Some(text.to_owned()),
        // Seen before, with this very digest.
        None => rules::site(connection, host_data)?,
    };
    let wanted = rules::site(connection, &nearest.host_data)?;
    let (Some(got), Some(wanted)) = (got, wanted) else { return Ok(Vec::new()) };
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let mut changes = Vec::new();
    differ("", Some(&parse(&got)), Some(&parse(&wanted)), &mut changes);
    Ok(changes)
}

fn differ(pointer: &str, got: Option<&Value>, wanted: Option<&Value>, changes: &mut Vec<Change>) {
    if got == wanted || changes.len() >= MAX_CHANGES {
        return;
    }
    if let (Some(Value::Object(left)), Some(Value::Object(right))) = (got, wanted) {
        let mut names: Vec<_> = left.keys().chain(right.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            differ(&format!("{pointer}/{name}"), left.get(name), right.get(name), changes);
        }
        return;
    }
    let show = |value: &Value| value.to_string().chars().take(MAX_TEXT).collect();
    changes.push(Change { setting: pointer.to_owned(), got: got.map(show), wanted: wanted.map(show) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_settings_that_differ_are_listed() {
        let mut changes = Vec::new();
        let got = json!({"broker": {"url": "a", "identity": "x"}, "ports": [1], "new": true});
        let wanted = json!({"broker": {"url": "b", "identity": "x"}, "ports": [1]});
        differ("", Some(&got), Some(&wanted), &mut changes);
        assert_eq!(
            changes,
            [
                Change { setting: "/broker/url".into(), got: Some("\"a\"".into()), wanted: Some("\"b\"".into()) },
                Change { setting: "/new".into(), got: Some("true".into()), wanted: None },
            ]
        );
    }
}
