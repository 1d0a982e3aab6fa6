//! The text of a policy, byte for byte as `az confcom` 2.0 writes it (section 3.1): the template's blank lines, JSON as
//! Python's `json.dumps(sort_keys=True)` writes it, no newline at the end.

use super::model::{ApiVersion, Policy};
use serde_json::Value;
use std::fmt::Write;

/// How the containers are written. The fragments are always indented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Everything on one line (`--outraw`, the default).
    #[default]
    Compact,
    /// Indented by two (`--outraw-pretty-print`). Other bytes, so another host data.
    Pretty,
}

impl Policy {
    /// The policy's text. Its bytes, as they are, are what HOST_DATA is the digest of.
    pub fn text(&self, layout: Layout) -> String {
        let json = |value: serde_json::Result<Value>, layout| {
            let mut out = String::new();
            dump(&value.unwrap_or_default(), layout, 0, &mut out);
            out
        };
        let allow = &self.allow;
        let mut text = format!(
            "package policy\n\nimport future.keywords.every\nimport future.keywords.in\n\n\
             api_version := \"{}\"\nframework_version := \"{}\"\n\nfragments := {}\n\ncontainers := {}\n\n",
            self.api_version.text(),
            self.framework_version,
            json(serde_json::to_value(&self.fragments), Layout::Pretty),
            json(serde_json::to_value(&self.containers), layout),
        );
        for (name, value) in [
            ("properties_access", allow.properties_access),
            ("dump_stacks", allow.dump_stacks),
            ("runtime_logging", allow.runtime_logging),
            ("environment_variable_dropping", allow.environment_variable_dropping),
            ("unencrypted_scratch", allow.unencrypted_scratch),
            ("capability_dropping", allow.capability_dropping),
        ] {
            let _ = writeln!(text, "allow_{name} := {value}");
        }
        text.push('\n');
        for rule in RULES {
            if *rule != WRITABLE || self.api_version != ApiVersion::V0_10 {
                let _ = writeln!(text, "{rule} := data.framework.{rule}");
            }
        }
        text.push_str("\nreason := {\"errors\": data.framework.errors}");
        text
    }
}

/// The rules of a policy, in their order.
const RULES: &[&str] = &[
    "mount_device",
    "unmount_device",
    "mount_overlay",
    "unmount_overlay",
    "create_container",
    "exec_in_container",
    "exec_external",
    "shutdown_container",
    "signal_container_process",
    "plan9_mount",
    "plan9_unmount",
    "get_properties",
    "dump_stacks",
    "runtime_logging",
    "load_fragment",
    "scratch_mount",
    "scratch_unmount",
    WRITABLE,
];
const WRITABLE: &str = "rw_mount_device";

/// JSON as Python writes it: sorted keys, ASCII only.
pub(super) fn dump(value: &Value, layout: Layout, depth: usize, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(value) => out.push_str(&value.to_string()),
        Value::String(text) => string(text, out),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                next(index, layout, depth, out);
                dump(item, layout, depth.saturating_add(1), out);
            }
            line(layout, depth, out);
            out.push(']');
        }
        Value::Object(members) if members.is_empty() => out.push_str("{}"),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                next(index, layout, depth, out);
                string(name, out);
                out.push_str(if layout == Layout::Pretty { ": " } else { ":" });
                dump(member, layout, depth.saturating_add(1), out);
            }
            line(layout, depth, out);
            out.push('}');
        }
    }
}

fn next(index: usize, layout: Layout, depth: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
    line(layout, depth.saturating_add(1), out);
}

fn line(layout: Layout, depth: usize, out: &mut String) {
    if layout == Layout::Pretty {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    }
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(letter),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn dumped(value: &Value, layout: Layout) -> String {
        let mut out = String::new();
        dump(value, layout, 0, &mut out);
        out
    }

    /// What Python 3 prints for the same values.
    #[test]
    fn json_is_written_as_python_writes_it() {
        let value = json!({ "b": [1, [], {}], "a": "é\u{1f600}\u{7f}\"\\\n\u{1}", "B": null });
        assert_eq!(
            dumped(&value, Layout::Compact),
            r#"{"B":null,"a":"\u00e9\ud83d\ude00\u007f\"\\\n\u0001","b":[1,[],{}]}"#
        );
        assert_eq!(dumped(&json!({ "x": [true] }), Layout::Pretty), "{\n  \"x\": [\n    true\n  ]\n}");
    }
}
