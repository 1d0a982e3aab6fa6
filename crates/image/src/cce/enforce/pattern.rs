//! Regular expressions of policies.

use regex::Regex;

/// A regular expression of a policy.
#[derive(Debug)]
pub struct Pattern;

impl Pattern {
    /// Whether the expression matches the whole text, as guests since late 2025 have it (older ones search).
    /// An expression that is malformed matches nothing.
    pub fn matches(pattern: &str, text: &str) -> bool {
        let start = if pattern.starts_with('^') { "" } else { "^" };
        let end = if pattern.ends_with('$') { "" } else { "$" };
        Regex::new(&format!("{start}{pattern}{end}")).is_ok_and(|regex| regex.is_match(text))
    }

    /// Whether the expression can be used at all.
    pub fn is_valid(pattern: &str) -> bool {
        Regex::new(pattern).is_ok()
    }
}
