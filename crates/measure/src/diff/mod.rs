//! Why two measurements differ, in words; and which small change would explain a reported digest.
//!
//! *Takes* two measurements as trees of what went into them, or one launch and a digest that was reported for it.
//! *Guarantees* that equal trees have no difference, that what differs is named by its innermost part, and that an
//! explanation of a reported digest reproduces that very digest.
//! *Does not check* that the explanation is the only one.

mod explain;
mod reference;

pub use explain::{Explanation, Neighbourhood, explain};
pub use reference::reference_tree;

use std::collections::BTreeSet;
use std::fmt;

/// Most differences that a summary names.
const NAMED: usize = 8;

/// Something that was measured: what it is, its digest or value, where it came from, and what it consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is; no two children of a node have the same name.
    pub component: String,
    /// Its digest, or the value itself.
    pub digest: Value,
    /// Where it came from.
    pub source: String,
    /// Its parts, in the order they are measured.
    pub children: Vec<Node>,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A digest, or a value that is as it is.
    Exact(String),
    /// A text whose words may be compared.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Exact(value) | Self::Text(value)) = self;
        out.write_str(value)
    }
}

impl Node {
    /// Something without parts.
    pub fn leaf(component: impl Into<String>, digest: impl ToString, source: impl Into<String>) -> Self {
        let (component, source) = (component.into(), source.into());
        Self { component, digest: Value::Exact(digest.to_string()), source, children: Vec::new() }
    }

    /// A text without parts.
    pub fn text(component: impl Into<String>, text: impl Into<String>, source: impl Into<String>) -> Self {
        let (component, source) = (component.into(), source.into());
        Self { component, digest: Value::Text(text.into()), source, children: Vec::new() }
    }

    /// The same with parts.
    pub fn with(mut self, children: Vec<Self>) -> Self {
        self.children = children;
        self
    }
}

/// A component that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is, with what it is part of.
    pub name: String,
    /// Value in the first, or `absent`.
    pub first: String,
    /// Value in the second, or `absent`.
    pub second: String,
    /// The difference in words.
    pub words: String,
}

/// How two trees relate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The innermost components that differ, in the order they are measured.
    pub differences: Vec<Difference>,
    /// Names of the outermost components that are equal.
    pub equal: Vec<String>,
}

impl Comparison {
    /// One sentence that names what differs first.
    pub fn summary(&self) -> String {
        if self.differences.is_empty() {
            return "all components are equal".to_owned();
        }
        let mut words: Vec<String> =
            self.differences.iter().take(NAMED).map(|difference| difference.words.clone()).collect();
        match self.differences.len().saturating_sub(NAMED) {
            0 => {}
            1 => words.push("and one more difference".to_owned()),
            more => words.push(format!("and {more} more differences")),
        }
        let rest = if self.equal.is_empty() { "nothing else is equal" } else { "all else equal" };
        format!("{}; {rest}", words.join("; "))
    }
}

/// Compares two trees of the same kind.
pub fn compare(first: &Node, second: &Node) -> Comparison {
    let mut comparison = Comparison { differences: Vec::new(), equal: Vec::new() };
    let before = comparison.differences.len();
    parts(first, second, "", &mut comparison);
    // The whole differs though no part does: then the whole is all that can be named.
    if first.digest != second.digest && comparison.differences.len() == before {
        comparison.differences.push(differs(&first.component, &first.digest, &second.digest));
    }
    comparison
}

/// Compares the parts of two nodes.
fn parts(first: &Node, second: &Node, within: &str, into: &mut Comparison) {
    let mut seen = BTreeSet::new();
    let names = first.children.iter().chain(&second.children).map(|child| child.component.as_str());
    for name in names.filter(|name| seen.insert(*name)) {
        let path = if within.is_empty() { name.to_owned() } else { format!("{within}, {name}") };
        let find = |node: &'_ Node| node.children.iter().position(|child| child.component == name);
        let pair =
            (find(first).and_then(|at| first.children.get(at)), find(second).and_then(|at| second.children.get(at)));
        match pair {
            (Some(a), Some(b)) if same(a, b) => into.equal.push(path),
            (Some(a), Some(b)) => {
                let before = into.differences.len();
                parts(a, b, &path, into);
                if into.differences.len() == before {
                    into.differences.push(differs(&path, &a.digest, &b.digest));
                }
            }
            (a, b) => into.differences.extend(only_one(&path, a, b)),
        }
    }
}

/// Whether two nodes and all their parts are equal; where they came from does not count.
fn same(first: &Node, second: &Node) -> bool {
    first.component == second.component
        && first.digest == second.digest
        && first.children.len() == second.children.len()
        && first.children.iter().zip(&second.children).all(|(a, b)| same(a, b))
}

fn only_one(name: &str, first: Option<&Node>, second: Option<&Node>) -> Option<Difference> {
    let (node, which) = match (first, second) {
        (Some(node), None) => (node, "first"),
        (None, Some(node)) => (node, "second"),
        _ => return None,
    };
    let value = |node: Option<&Node>| node.map_or_else(|| "absent".to_owned(), |node| node.digest.to_string());
    let words = format!("{name} is only in the {which}: {}", node.digest);
    Some(Difference { name: name.to_owned(), first: value(first), second: value(second), words })
}

fn differs(name: &str, first: &Value, second: &Value) -> Difference {
    let words = match (first, second) {
        (Value::Text(first), Value::Text(second)) => words_between(name, first, second),
        _ => format!("{name} differs: {first} became {second}"),
    };
    Difference { name: name.to_owned(), first: first.to_string(), second: second.to_string(), words }
}

/// Which words of a text were added and removed; falls back to blanks and order, which count too.
fn words_between(name: &str, first: &str, second: &str) -> String {
    let missing = |from: &str, other: &str| -> Vec<String> {
        let mut pool: Vec<&str> = other.split(' ').filter(|word| !word.is_empty()).collect();
        from.split(' ')
            .filter(|word| !word.is_empty())
            .filter(|word| match pool.iter().position(|candidate| candidate == word) {
                Some(index) => {
                    pool.swap_remove(index);
                    false
                }
                None => true,
            })
            .map(|word| format!("`{word}`"))
            .collect()
    };
    let (removed, added) = (missing(first, second), missing(second, first));
    let mut parts = Vec::new();
    if !added.is_empty() {
        parts.push(format!("{} added", added.join(" ")));
    }
    if !removed.is_empty() {
        parts.push(format!("{} removed", removed.join(" ")));
    }
    if parts.is_empty() {
        let same_words = first.split_whitespace().eq(second.split_whitespace());
        parts.push(if same_words { "only blanks differ".into() } else { "the same words in another order".into() });
    }
    format!("{name}: {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(command_line: &str, kernel: &str) -> Node {
        Node::leaf("launch digest", format!("{kernel}{command_line}"), "test")
            .with(vec![Node::leaf("kernel", kernel, "test"), Node::text("kernel command line", command_line, "test")])
    }

    #[test]
    fn an_added_word_is_named() {
        let comparison = compare(&tree("quiet a=1", "k"), &tree("console=ttyS0 quiet a=1", "k"));
        assert_eq!(comparison.summary(), "kernel command line: `console=ttyS0` added; all else equal");
        assert_eq!(comparison.equal, ["kernel"]);
    }

    #[test]
    fn blanks_and_order_are_told_apart() {
        assert_eq!(
            compare(&tree("a b", "k"), &tree("a  b", "k")).summary(),
            "kernel command line: only blanks differ; all else equal"
        );
        assert_eq!(
            compare(&tree("a b", "k"), &tree("b a", "k")).summary(),
            "kernel command line: the same words in another order; all else equal"
        );
    }

    #[test]
    fn equal_trees_have_no_difference() {
        assert_eq!(compare(&tree("a", "k"), &tree("a", "k")).summary(), "all components are equal");
    }

    #[test]
    fn the_innermost_part_is_named_and_the_rest_is_not() {
        let layers = |third: &str, extra: bool| {
            let layer = |name: &str, file: &str| {
                Node::leaf(name, format!("hash of {file}"), "test").with(vec![Node::leaf("file", file, "test")])
            };
            let mut layers = vec![layer("layer 1", "a"), layer("layer 2", third)];
            layers.extend(extra.then(|| layer("layer 3", "c")));
            Node::leaf("image", format!("{third}{extra}"), "test").with(layers)
        };
        let comparison = compare(&layers("b", false), &layers("B", true));
        assert_eq!(
            comparison.summary(),
            "layer 2, file differs: b became B; layer 3 is only in the second: hash of c; all else equal"
        );
        assert_eq!(comparison.equal, ["layer 1"]);
    }

    #[test]
    fn a_whole_that_differs_without_a_part_is_named_itself() {
        let whole = |digest: &str| Node::leaf("image", digest, "test").with(vec![Node::leaf("part", "p", "test")]);
        assert_eq!(compare(&whole("a"), &whole("b")).summary(), "image differs: a became b; all else equal");
    }

    #[test]
    fn a_summary_names_eight_differences() {
        let many = |value: &str| {
            let parts = (0..20).map(|number| Node::leaf(format!("p{number}"), value, "test")).collect();
            Node::leaf("whole", value, "test").with(parts)
        };
        let comparison = compare(&many("a"), &many("b"));
        assert_eq!(comparison.differences.len(), 20);
        assert!(
            comparison.summary().ends_with("p7 differs: a became b; and 12 more differences; nothing else is equal")
        );
    }
}
