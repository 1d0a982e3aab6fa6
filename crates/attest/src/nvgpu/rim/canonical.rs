//! Canonical XML 1.1, inclusive, without comments (W3C, 2008), for the documents that RIMs are.
//!
//! *Guarantees* the canonical form of what `roxmltree` read. What a RIM has no use for is refused instead of handled:
//! document types and entities of one's own, comments, processing instructions, CDATA, attributes of `xml:*`, undeclared
//! default namespaces. *Does not check* signatures.

use super::RimError;
use roxmltree::{Document, Node, NodeType, ParsingOptions};
use std::fmt::Write;

const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// Deepest nesting; a RIM has six levels.
const MAX_DEPTH: usize = 16;
/// Most nodes; a RIM has less than 200.
const MAX_NODES: u32 = 20_000;
/// Most equals signs, and so attributes; a RIM has less than 2,000. The parser compares each with each.
const MAX_ATTRIBUTES: usize = 8_192;
/// Most namespace declarations; a RIM has five. The parser compares each with each, at each element.
const MAX_NAMESPACES: usize = 64;

/// Parses a document and refuses what the profile does not have.
pub(super) fn parse(text: &str) -> Result<Document<'_>, RimError> {
    refuse_constructs(text)?;
    if text.matches('=').count() > MAX_ATTRIBUTES || text.matches("xmlns").count() > MAX_NAMESPACES {
        return Err(RimError::Construct { what: "too many attributes" });
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document =
        Document::parse_with_options(text, options).map_err(|error| RimError::Xml { what: error.to_string() })?;
    refuse_depth(&document)?;
    Ok(document)
}

/// Nodes come in document order, so that a parent's depth is known before its children's.
fn refuse_depth(document: &Document<'_>) -> Result<(), RimError> {
    let mut depths: Vec<usize> = Vec::new();
    for node in document.descendants() {
        let above = node.parent().and_then(|parent| depths.get(parent.id().get_usize()).copied());
        let depth = above.map_or(0, |depth| depth.saturating_add(1));
        if depth > MAX_DEPTH {
            return Err(RimError::Construct { what: "deep nesting" });
        }
        depths.push(depth);
    }
    Ok(())
}

/// Text can hold `<!` and `<?` only as markup: a plain `<` must be escaped everywhere in XML.
fn refuse_constructs(text: &str) -> Result<(), RimError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rest = match text.strip_prefix("<?xml ").and_then(|rest| rest.split_once("?>")) {
        Some((declaration, _)) if declaration.contains('<') => text,
        Some((_, rest)) => rest,
        None => text,
    };
    let found = [
        ("<!DOCTYPE", "a document type"),
        ("<!--", "a comment"),
        ("<![CDATA[", "a CDATA section"),
        ("<!", "a declaration"),
        ("<?", "a processing instruction"),
    ];
    match found.into_iter().find(|(mark, _)| rest.contains(mark)) {
        Some((_, what)) => Err(RimError::Construct { what }),
        None => Ok(()),
    }
}

/// The canonical form of the whole document without one element.
pub(super) fn document(source: &Document<'_>, without: Node<'_, '_>) -> Result<String, RimError> {
    let mut out = String::with_capacity(source.input_text().len());
    element(source.root_element(), None, Some(without), &mut out)?;
    Ok(out)
}

/// The canonical form of an element with everything in it. Namespaces from above are written with it.
pub(super) fn subset(apex: Node<'_, '_>) -> Result<String, RimError> {
    let mut out = String::new();
    element(apex, None, None, &mut out)?;
    Ok(out)
}

/// Recursion is as deep as the document, which [`parse`] bounds.
fn element(
    node: Node<'_, '_>,
    parent: Option<Node<'_, '_>>,
    without: Option<Node<'_, '_>>,
    out: &mut String,
) -> Result<(), RimError> {
    let name = qualified_name(node)?;
    out.push('<');
    out.push_str(name);
    namespaces(node, parent, out)?;
    attributes(node, out)?;
    out.push('>');
    for child in node.children() {
        match child.node_type() {
            NodeType::Element if Some(child) == without => {}
            NodeType::Element => element(child, Some(node), without, out)?,
            NodeType::Text => escape(child.text().unwrap_or(""), Place::Text, out),
            _ => return Err(RimError::Construct { what: "a comment or processing instruction" }),
        }
    }
    out.push_str("</");
    out.push_str(name);
    out.push('>');
    Ok(())
}

/// The name as it was written, with its prefix, which the tree does not keep.
fn qualified_name<'a>(node: Node<'_, 'a>) -> Result<&'a str, RimError> {
    let tag = node.document().input_text().get(node.range()).and_then(|text| text.strip_prefix('<'));
    let end = |byte: char| byte.is_ascii_whitespace() || byte == '>' || byte == '/';
    let name = tag.and_then(|tag| tag.split(end).next()).unwrap_or("");
    let local = name.rsplit(':').next().unwrap_or("");
    match !local.is_empty() && local == node.tag_name().name() {
        true => Ok(name),
        false => Err(RimError::Xml { what: format!("an element's name `{name}` is not what was parsed") }),
    }
}

/// Declarations that the parent's output does not have already, by prefix; the default one comes first.
fn namespaces(node: Node<'_, '_>, parent: Option<Node<'_, '_>>, out: &mut String) -> Result<(), RimError> {
    let above: Vec<_> = parent.iter().flat_map(Node::namespaces).map(|one| (one.name(), one.uri())).collect();
    let mut new: Vec<_> = node
        .namespaces()
        .map(|one| (one.name(), one.uri()))
        .filter(|(name, uri)| *name != Some("xml") && !above.contains(&(*name, *uri)))
        .collect();
    new.sort_unstable();
    for (name, uri) in new {
        if uri.is_empty() {
            return Err(RimError::Construct { what: "an empty namespace" });
        }
        match name {
            None => out.push_str(" xmlns=\""),
            // Writing to a string cannot fail.
            Some(name) => drop(write!(out, " xmlns:{name}=\"")),
        }
        escape(uri, Place::Attribute, out);
        out.push('"');
    }
    Ok(())
}

/// By namespace, then by local name; those without a namespace come first.
fn attributes(node: Node<'_, '_>, out: &mut String) -> Result<(), RimError> {
    let source = node.document().input_text();
    let mut sorted: Vec<_> = node.attributes().collect();
    sorted.sort_by_key(|attribute| (attribute.namespace().unwrap_or(""), attribute.name()));
    for attribute in sorted {
        if attribute.namespace() == Some(XML) {
            return Err(RimError::Construct { what: "an attribute of xml:*" });
        }
        let name = source.get(attribute.range_qname()).unwrap_or("");
        if name.rsplit(':').next() != Some(attribute.name()) {
            return Err(RimError::Xml { what: format!("an attribute's name `{name}` is not what was parsed") });
        }
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        escape(attribute.value(), Place::Attribute, out);
        out.push('"');
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Text,
    Attribute,
}

fn escape(text: &str, place: Place, out: &mut String) {
    for character in text.chars() {
        match (character, place) {
            ('&', _) => out.push_str("&amp;"),
            ('<', _) => out.push_str("&lt;"),
            ('>', Place::Text) => out.push_str("&gt;"),
            ('"', Place::Attribute) => out.push_str("&quot;"),
            ('\t', Place::Attribute) => out.push_str("&#x9;"),
            ('\n', Place::Attribute) => out.push_str("&#xA;"),
            ('\r', _) => out.push_str("&#xD;"),
            (other, _) => out.push(other),
        }
    }
}
