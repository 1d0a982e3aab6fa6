//! The one XML signature of a RIM (W3C XML Signature 1.1): enveloped, over the whole document.
//!
//! *Guarantees* the shape: exactly one `Signature` in the whole document, a child of the root; its elements in their one
//! order and number; C14N 1.1, enveloped and C14N transforms, URI "", SHA-384, ECDSA with SHA-384, an X.509 chain; no
//! `Id`, no `Object`, no key by name. *Does not check* the signature itself.

use super::RimError;
use super::canonical;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use claims::bytes::Digest384;
use roxmltree::{Document, Node};

const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
const C14N: &str = "http://www.w3.org/2006/12/xml-c14n11";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#sha384";
const ECDSA_SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384";
/// Most certificates in one signature.
const MAX_CERTIFICATES: usize = 8;

/// What the signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    /// Canonical form of `SignedInfo`.
    pub(super) signed_info: String,
    /// Digest of the canonical document without the signature.
    pub(super) digest: Digest384,
    /// R then S.
    pub(super) value: Vec<u8>,
    /// DER, signer first.
    pub(super) certificates: Vec<Vec<u8>>,
}

impl Signature {
    pub(super) fn read(source: &Document<'_>) -> Result<Self, RimError> {
        let signature = find(source)?;
        plain(signature, &[])?;
        let [info, value, key_info] = children(signature, ["SignedInfo", "SignatureValue", "KeyInfo"])?;
        let (digest, signed_info) = (read_info(info)?, canonical::subset(info)?);
        plain(value, &[])?;
        let value = base64(value)?;
        if value.len() != 96 {
            return refuse(format!("the signature value has {} bytes, not 96", value.len()));
        }
        plain(key_info, &[])?;
        let [data] = children(key_info, ["X509Data"])?;
        plain(data, &[])?;
        let certificates = elements(data)?;
        if certificates.len() > MAX_CERTIFICATES {
            return refuse(format!("more than {MAX_CERTIFICATES} certificates"));
        }
        let certificates = certificates
            .into_iter()
            .map(|node| {
                named(node, "X509Certificate")?;
                plain(node, &[])?;
                base64(node)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { signed_info, digest, value, certificates })
    }
}

/// The one signature: anything of its namespace elsewhere is refused.
pub(super) fn find<'a, 'input>(source: &'a Document<'input>) -> Result<Node<'a, 'input>, RimError> {
    let mut found = None;
    for node in source.root_element().descendants().filter(|node| node.tag_name().namespace() == Some(DSIG)) {
        let inside = node.ancestors().skip(1).any(|above| Some(above) == found);
        if inside {
            continue;
        }
        if found.is_some() {
            return refuse("there are two signatures, or parts of one elsewhere");
        }
        if node.tag_name().name() != "Signature" || node.parent_element() != Some(source.root_element()) {
            return refuse("the signature is not a child of the root");
        }
        found = Some(node);
    }
    let signature = found.ok_or(RimError::Profile { what: "there is no signature".to_owned() })?;
    let inner = signature.descendants().filter(|node| node.tag_name().name() == "Signature").count();
    if inner == 1 { Ok(signature) } else { refuse("a signature is inside of another") }
}

fn read_info(info: Node<'_, '_>) -> Result<Digest384, RimError> {
    plain(info, &[])?;
    let [method, signature, reference] = children(info, ["CanonicalizationMethod", "SignatureMethod", "Reference"])?;
    algorithm(method, C14N)?;
    algorithm(signature, ECDSA_SHA384)?;
    plain(reference, &["URI"])?;
    if reference.attribute("URI") != Some("") {
        return refuse("the reference is not to the whole document");
    }
    let [transforms, digest, value] = children(reference, ["Transforms", "DigestMethod", "DigestValue"])?;
    plain(transforms, &[])?;
    let [enveloped, c14n] = children(transforms, ["Transform", "Transform"])?;
    algorithm(enveloped, ENVELOPED)?;
    algorithm(c14n, C14N)?;
    algorithm(digest, SHA384)?;
    plain(value, &[])?;
    let value = base64(value)?;
    Digest384::from_slice(&value)
        .ok_or(RimError::Profile { what: format!("the digest value has {} bytes, not 48", value.len()) })
}

/// An element with this algorithm, no other attribute, and nothing inside.
fn algorithm(node: Node<'_, '_>, wanted: &str) -> Result<(), RimError> {
    plain(node, &["Algorithm"])?;
    let name = node.tag_name().name();
    match node.attribute("Algorithm") {
        Some(found) if found == wanted && !node.has_children() => Ok(()),
        Some(found) if found == wanted => refuse(format!("{name} has content")),
        found => refuse(format!("{name} is `{}`, not `{wanted}`", found.unwrap_or("(none)"))),
    }
}

/// Exactly these attributes, none of them in a namespace.
fn plain(node: Node<'_, '_>, attributes: &[&str]) -> Result<(), RimError> {
    let known = |name: &str| attributes.contains(&name);
    if node.attributes().all(|found| found.namespace().is_none() && known(found.name()))
        && node.attributes().count() == attributes.len()
    {
        return Ok(());
    }
    refuse(format!("{} has other attributes than {attributes:?}", node.tag_name().name()))
}

/// Exactly these children, in this order.
fn children<'a, 'input, const N: usize>(
    node: Node<'a, 'input>,
    names: [&str; N],
) -> Result<[Node<'a, 'input>; N], RimError> {
    let found = elements(node)?;
    let parts: [Node<'a, 'input>; N] = found
        .try_into()
        .map_err(|_| RimError::Profile { what: format!("{} does not have {N} elements", node.tag_name().name()) })?;
    for (part, name) in parts.iter().zip(names) {
        named(*part, name)?;
    }
    Ok(parts)
}

/// Child elements; between them there is white space only.
fn elements<'a, 'input>(node: Node<'a, 'input>) -> Result<Vec<Node<'a, 'input>>, RimError> {
    let blank = |text: &str| text.bytes().all(|byte| byte.is_ascii_whitespace());
    if node.children().any(|child| child.is_text() && !blank(child.text().unwrap_or(""))) {
        return refuse(format!("{} has text between its elements", node.tag_name().name()));
    }
    Ok(node.children().filter(Node::is_element).collect())
}

fn named(node: Node<'_, '_>, name: &str) -> Result<(), RimError> {
    match node.has_tag_name((DSIG, name)) {
        true => Ok(()),
        false => refuse(format!("{} stands where {name} should", node.tag_name().name())),
    }
}

/// The text of an element without elements, as base64 with white space in it.
fn base64(node: Node<'_, '_>) -> Result<Vec<u8>, RimError> {
    if node.children().any(|child| !child.is_text()) {
        return refuse(format!("{} has more than text", node.tag_name().name()));
    }
    let text: String = node.children().filter_map(|child| child.text()).collect();
    let text: String = text.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    BASE64_STANDARD
        .decode(text)
        .map_err(|error| RimError::Profile { what: format!("{}: {error}", node.tag_name().name()) })
}

fn refuse<T>(what: impl Into<String>) -> Result<T, RimError> {
    Err(RimError::Profile { what: what.into() })
}
