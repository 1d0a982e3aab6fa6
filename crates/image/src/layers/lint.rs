//! What makes a layer's hash depend on the version of hcsshim, and what else is worth knowing before a deployment.

use serde::Serialize;
use std::fmt;

/// Paths given as examples.
const EXAMPLES: usize = 5;

/// A finding about a layer: it has a root hash, but something about it is risky.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lint {
    /// What was found.
    pub kind: LintKind,
    /// How often.
    pub count: u64,
    /// The first paths.
    pub examples: Vec<String>,
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LintKind {
    /// A folder without an entry of its own.
    ImplicitParents,
    /// A PAX global header, which becomes a file.
    GlobalHeader,
    /// More attributes in a block than Go's sort orders the same way in every version.
    ManyXattrs,
    /// A file of 340 extents or more.
    ManyExtents,
    /// A path that has contents and more than one entry.
    DoubledPaths,
}

impl LintKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::ImplicitParents, Self::GlobalHeader, Self::ManyXattrs, Self::ManyExtents, Self::DoubledPaths];

    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImplicitParents => "implicit-parents",
            Self::GlobalHeader => "global-header",
            Self::ManyXattrs => "many-xattrs",
            Self::ManyExtents => "many-extents",
            Self::DoubledPaths => "doubled-paths",
        }
    }

    /// What it means, and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::ImplicitParents => {
                "folders without an entry of their own: a host with hcsshim from before 2024-09-25 gives them the time \
                 of day, and then refuses the layer (deviceHash not found); repack the layer with the entries inserted"
            }
            Self::GlobalHeader => "a PAX global header becomes an empty file in the layer; build the layer without it",
            Self::ManyXattrs => {
                "more than 12 extended attributes in one block: their order depends on the Go version of the host"
            }
            Self::ManyExtents => {
                "a file of 42.5 GiB or more: hcsshim writes a wrong extent tree for it, so that it cannot be read in full"
            }
            Self::DoubledPaths => {
                "a path has more than one entry; only the last one is seen, earlier contents stay in the image"
            }
        }
    }
}

/// Count, kind, advice, examples in one line.
impl fmt::Display for Lint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}: {} ({} found: {}",
            self.kind.name(),
            self.kind.advice(),
            self.count,
            self.examples.join(", ")
        )?;
        let more = self.count > self.examples.len() as u64;
        out.write_str(if more { ", …)" } else { ")" })
    }
}

/// Findings while they are gathered.
#[derive(Debug, Default)]
pub(super) struct Lints(Vec<Lint>);

impl Lints {
    pub(super) fn add(&mut self, kind: LintKind, path: &[u8]) {
        let lint = match self.0.iter().position(|lint| lint.kind == kind) {
            Some(at) => self.0.get_mut(at),
            None => {
                self.0.push(Lint { kind, count: 0, examples: Vec::new() });
                self.0.last_mut()
            }
        };
        let Some(lint) = lint else { return };
        lint.count = lint.count.saturating_add(1);
        if lint.examples.len() < EXAMPLES {
            lint.examples.push(shown(path));
        }
    }

    pub(super) fn finish(mut self) -> Vec<Lint> {
        self.0.sort_by_key(|lint| lint.kind);
        self.0
    }
}

/// A path for people: control characters and bytes that are no UTF-8 are escaped, long ones are cut.
pub(super) fn shown(path: &[u8]) -> String {
    const LONGEST: usize = 300;
    let mut text = String::new();
    for chunk in path.get(..LONGEST).unwrap_or(path).utf8_chunks() {
        for character in chunk.valid().chars() {
            match character.is_control() {
                true => text.extend(character.escape_default()),
                false => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if path.len() > LONGEST {
        text.push('…');
    }
    text
}
