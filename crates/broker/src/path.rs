//! Resource paths: three segments, one spelling, checked before anything is looked up.

use claims::Code;
use std::fmt;

/// Longest segment.
const MAX_SEGMENT: usize = 128;

/// `REPOSITORY/TYPE/TAG`, in its only spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ResourcePath(String);

impl ResourcePath {
    /// Takes the text as it stands in the request: escapes are not undone, so `%2e` is simply not a letter.
    pub(crate) fn parse(text: &str) -> Result<Self, Code> {
        let mut segments = text.split('/');
        let three = [segments.next(), segments.next(), segments.next()];
        let sound = three.iter().all(|segment| segment.is_some_and(is_segment)) && segments.next().is_none();
        if sound { Ok(Self(text.to_owned())) } else { Err(Code::Path) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourcePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// `[a-zA-Z0-9_-]+[a-zA-Z0-9_.-]*`, as upstream has it.
fn is_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    text.len() <= MAX_SEGMENT
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|byte| plain(byte) || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_plain_segments_are_a_path() {
        assert_eq!(ResourcePath::parse("a/b-1/c.2_x").map(|path| path.to_string()), Ok("a/b-1/c.2_x".into()));
        let long = format!("a/b/{}", "c".repeat(10_000));
        for bad in [
            "",
            "a/b",
            "a/b/c/d",
            "a//c",
            "/a/b/c",
            "a/b/c/",
            "../b/c",
            "a/../c",
            "a/b/..",
            "%2e%2e/b/c",
            "a/b/.c",
            "a/b/c\0",
            "a/b/ç",
            "a/b/c d",
            "a\\b/c/d",
            &long,
        ] {
            assert_eq!(ResourcePath::parse(bad), Err(Code::Path), "{bad}");
        }
    }
}
