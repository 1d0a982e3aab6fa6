//! Reads the text of a policy that a tool wrote: `name := value` statements whose values are JSON literals or references
//! to the guest's framework. It is no Rego interpreter: a policy with rules of its own is refused.

use super::error::{CceError, bounded};
use serde_json::Value;
use std::collections::BTreeMap;

/// A policy as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Values: `api_version`, `containers`, `fragments`, `allow_…`, and so on.
    pub values: BTreeMap<String, Value>,
    /// Answers to the guest's calls.
    pub rules: BTreeMap<String, Rule>,
}

/// What answers a call of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The guest's framework, over the policy's values.
    Framework,
    /// The same answer to everything.
    Always {
        /// Which one.
        allowed: bool,
    },
}

impl Document {
    /// Reads a policy or a fragment.
    pub fn parse(text: &str) -> Result<Self, CceError> {
        bounded("the policy", text.len())?;
        let plain = without_comments(text);
        let mut reader = Reader { text: &plain, at: 0 };
        let mut document = Self { values: BTreeMap::new(), rules: BTreeMap::new() };
        reader.blanks();
        if !reader.word().eq("package") {
            return Err(reader.error("it does not begin with `package`"));
        }
        reader.line();
        loop {
            reader.blanks();
            if reader.rest().is_empty() {
                return Ok(document);
            }
            let start = reader.at;
            let name = reader.word().to_owned();
            match name.as_str() {
                "" => return Err(reader.error("a statement begins with something else than a name")),
                "import" => reader.line(),
                _ => document.statement(&mut reader, name, start)?,
            }
        }
    }

    /// The containers, as they are written.
    pub fn containers(&self) -> impl Iterator<Item = &Value> {
        self.values.get("containers").and_then(Value::as_array).into_iter().flatten()
    }

    /// A value that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str()
    }

    /// Whether a switch is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.values.get(name) == Some(&Value::Bool(true))
    }

    /// Whether any container may be created, whatever it is.
    pub fn allows_all(&self) -> bool {
        self.rules.get("create_container") == Some(&Rule::Always { allowed: true })
    }

    fn statement(&mut self, reader: &mut Reader<'_>, name: String, start: usize) -> Result<(), CceError> {
        let fail = |reader: &mut Reader<'_>, why: &str| {
            reader.at = start;
            reader.error(why)
        };
        reader.blanks();
        if !reader.eat(":=") && !reader.eat("=") {
            return Err(fail(reader, &format!("`{name}` is not followed by `:=` and a value")));
        }
        reader.blanks();
        if reader.rest().starts_with("data.framework.") {
            let called = reader.word();
            let same = called.strip_prefix("data.framework.") == Some(name.as_str());
            if !same {
                return Err(fail(reader, &format!("`{name}` refers to `{called}`")));
            }
            self.rules.insert(name, Rule::Framework);
            return Ok(());
        }
        let mut values = serde_json::Deserializer::from_str(reader.rest()).into_iter::<Value>();
        let value = values.next();
        let length = values.byte_offset();
        let value = match value {
            Some(Ok(value)) => value,
            // What it says about denials is the framework's, too; it decides nothing.
            _ if name == "reason" => return reader.balanced(),
            _ => return Err(fail(reader, &format!("the value of `{name}` is not a JSON literal"))),
        };
        reader.at = reader.at.saturating_add(length);
        let known = match &value {
            Value::Object(members) if members.contains_key("allowed") => {
                let allowed = members.get("allowed") == Some(&Value::Bool(true));
                self.rules.insert(name, Rule::Always { allowed }).is_some()
            }
            _ => self.values.insert(name, value).is_some(),
        };
        if known { Err(fail(reader, "this name has a value already")) } else { Ok(()) }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.skip(rest.len().saturating_sub(rest.trim_start().len()));
    }

    fn line(&mut self) {
        let rest = self.rest();
        self.skip(rest.find('\n').unwrap_or(rest.len()));
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let inside = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.';
        let end = rest.find(|letter| !inside(letter)).unwrap_or(rest.len());
        self.skip(end);
        rest.get(..end).unwrap_or_default()
    }

    fn eat(&mut self, token: &str) -> bool {
        let eaten = self.rest().starts_with(token);
        self.skip(if eaten { token.len() } else { 0 });
        eaten
    }

    /// Goes behind the bracket that closes the one here.
    fn balanced(&mut self) -> Result<(), CceError> {
        let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
        for (at, byte) in self.rest().bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' | b'[' | b'(' if !quoted => depth = depth.saturating_add(1),
                b'}' | b']' | b')' if !quoted => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        self.skip(at.saturating_add(1));
                        return Ok(());
                    }
                }
                _ if depth == 0 => break,
                _ => {}
            }
        }
        Err(self.error("a bracket has no partner"))
    }

    fn error(&self, why: &str) -> CceError {
        let before = self.text.get(..self.at).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1);
        CceError::Policy { line, why: why.chars().take(200).collect() }
    }
}

/// Blanks comments and the commas before closing brackets, which Rego allows and JSON does not.
fn without_comments(text: &str) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let (mut quoted, mut escaped, mut comment) = (false, false, false);
    let mut comma = None;
    for byte in text.bytes() {
        if comment && byte != b'\n' {
            out.push(b' ');
            continue;
        }
        comment = false;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => {
                comment = true;
                out.push(b' ');
                continue;
            }
            b'}' | b']' if !quoted => {
                if let Some(comma) = comma.and_then(|at: usize| out.get_mut(at)) {
                    *comma = b' ';
                }
            }
            _ => {}
        }
        match byte {
            b',' if !quoted => comma = Some(out.len()),
            byte if byte.is_ascii_whitespace() => {}
            _ => comma = None,
        }
        out.push(byte);
    }
    String::from_utf8(out).unwrap_or_default()
}
