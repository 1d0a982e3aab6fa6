//! YAML as a tree with line numbers: no anchors, no tags, no merges, no second document, no duplicate keys.

use super::WorkloadError;
use saphyr_parser::{Event, Parser, ScalarStyle};
use std::borrow::Cow;

/// A value and the line it starts on (from 1).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Text as written; `plain` when without quotes, so that it may mean a number, a truth value or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) value: Node,
}

/// What a value is, in words for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Truth(bool),
    Integer,
    Decimal,
    Text,
    List,
    Map,
}

impl Found {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Truth(_) => "a truth value",
            Self::Integer => "a number",
            Self::Decimal => "a decimal number",
            Self::Text => "text",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }
}

impl Node {
    /// What the value is (YAML 1.2 core schema, numbers in decimal only).
    pub(super) fn found(&self) -> Found {
        match &self.value {
            Value::List(_) => Found::List,
            Value::Map(_) => Found::Map,
            Value::Scalar { plain: false, .. } => Found::Text,
            Value::Scalar { text, plain: true } => match text.as_str() {
                "" | "~" | "null" | "Null" | "NULL" => Found::Nothing,
                "true" | "True" | "TRUE" => Found::Truth(true),
                "false" | "False" | "FALSE" => Found::Truth(false),
                number if is_integer(number) => Found::Integer,
                number if is_decimal(number) => Found::Decimal,
                _ => Found::Text,
            },
        }
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.bytes().any(|byte| byte.is_ascii_digit())
        && unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && unsigned.parse::<f64>().is_ok()
}

/// Reads the one document of a file. An empty document is an empty map.
pub(super) fn read(text: &str) -> Result<Node, WorkloadError> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    let mut nodes = 0_usize;
    while let Some(event) = parser.next_event() {
        let (event, span) = event
            .map_err(|error| WorkloadError::Syntax { line: error.marker().line(), message: error.info().to_owned() })?;
        let line = span.start.line();
        nodes = nodes.saturating_add(1);
        if nodes > MAX_NODES || open.len() > MAX_DEPTH {
            return Err(WorkloadError::TooLarge { line });
        }
        let finished = match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_marks(line, anchor, tag.is_some())?;
                let plain = style == ScalarStyle::Plain;
                Some(Node { line, value: Value::Scalar { text: Cow::into_owned(text), plain } })
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_marks(line, anchor, tag.is_some())?;
                open.push(Open::List { line, items: Vec::new() });
                None
            }
            Event::MappingStart(anchor, tag) => {
                refuse_marks(line, anchor, tag.is_some())?;
                open.push(Open::Map { line, entries: Vec::new(), key: None });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(Open::close),
            Event::Alias(_) => return Err(WorkloadError::Alias { line }),
            Event::DocumentStart(_) if root.is_some() => return Err(WorkloadError::SecondDocument { line }),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                None
            }
        };
        let Some(node) = finished else { continue };
        match open.last_mut() {
            Some(parent) => parent.take(node)?,
            None => root = Some(node),
        }
    }
    Ok(match root {
        Some(node) if node.found() != Found::Nothing => node,
        _ => Node { line: 1, value: Value::Map(Vec::new()) },
    })
}

/// Anchors and tags make one text mean different things to different readers.
fn refuse_marks(line: usize, anchor: usize, tagged: bool) -> Result<(), WorkloadError> {
    if anchor != 0 || tagged { Err(WorkloadError::Alias { line }) } else { Ok(()) }
}

/// A list or map whose end has not come yet.
enum Open {
    List { line: usize, items: Vec<Node> },
    Map { line: usize, entries: Vec<Entry>, key: Option<(usize, String)> },
}

impl Open {
    fn take(&mut self, node: Node) -> Result<(), WorkloadError> {
        match self {
            Self::List { items, .. } => items.push(node),
            Self::Map { entries, key, .. } => match key.take() {
                Some((line, key)) => entries.push(Entry { line, key, value: node }),
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        return Err(WorkloadError::Syntax {
                            line: node.line,
                            message: "a key must be a plain word".to_owned(),
                        });
                    };
                    if let Some(first) = entries.iter().find(|entry| entry.key == text) {
                        return Err(WorkloadError::Duplicate { line: node.line, key: text, first: first.line });
                    }
                    *key = Some((node.line, text));
                }
            },
        }
        Ok(())
    }

    fn close(self) -> Node {
        match self {
            Self::List { line, items } => Node { line, value: Value::List(items) },
            Self::Map { line, entries, .. } => Node { line, value: Value::Map(entries) },
        }
    }
}

/// More values than any workload file has.
const MAX_NODES: usize = 20_000;
/// Deeper than any workload file goes.
const MAX_DEPTH: usize = 16;
