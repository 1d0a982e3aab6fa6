//! What a RIM says: product, version, and a table of measurements (ISO 19770-2 SWID tag, TCG RIM Information Model).
//!
//! *Takes* the canonical form: the bytes that are digested. *Guarantees* one form of everything that is used: one
//! `Meta`, one `Payload`, every index once, as many values as it says, each a SHA-384 digest. *Does not check* truth.

use super::RimError;
use super::canonical;
use claims::bytes::Digest384;
use claims::nvgpu::Golden;
use roxmltree::Node;

const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const HASH: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
/// Most alternatives of one measurement; real RIMs have up to four.
const MAX_ALTERNATIVES: usize = 64;

/// The parts of a RIM that are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its unique name.
    pub tag_id: String,
    /// Version of driver, VBIOS or BIOS.
    pub colloquial_version: String,
    /// Chip.
    pub product: String,
    /// `GPU` or `SWITCH`.
    pub edition: String,
    /// Measurements, sorted by index.
    pub resources: Vec<Resource>,
}

/// A measurement and the values that it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Index, from 0.
    pub index: u8,
    /// Whether it is to be compared.
    pub active: bool,
    /// Alternatives.
    pub values: Vec<Digest384>,
}

impl Document {
    pub(super) fn read(canonical: &str) -> Result<Self, RimError> {
        let source = canonical::parse(canonical)?;
        let root = source.root_element();
        if !root.has_tag_name((SWID, "SoftwareIdentity")) {
            return refuse("it is not a SoftwareIdentity");
        }
        for (attribute, wanted) in [("corpus", "false"), ("patch", "false"), ("supplemental", "false")] {
            if root.attribute(attribute).unwrap_or(wanted) != wanted {
                return refuse(format!("{attribute} is not {wanted}"));
            }
        }
        let meta = only(root, "Meta")?;
        let mut resources =
            only(root, "Payload")?.children().filter(Node::is_element).map(resource).collect::<Result<Vec<_>, _>>()?;
        resources.sort_by_key(|resource| resource.index);
        if !resources.is_sorted_by(|one, next| one.index < next.index) {
            return refuse("an index is there twice");
        }
        if !resources.iter().any(|resource| resource.active) {
            return refuse("no measurement is active");
        }
        Ok(Self {
            tag_id: needed(root, "tagId")?.to_owned(),
            colloquial_version: needed(meta, "colloquialVersion")?.to_owned(),
            product: needed(meta, "product")?.to_owned(),
            edition: needed(meta, "edition")?.to_owned(),
            resources,
        })
    }

    /// The active measurements.
    pub(super) fn golden(&self) -> Vec<Golden> {
        let active = self.resources.iter().filter(|resource| resource.active);
        active.map(|resource| Golden { index: resource.index, values: resource.values.clone() }).collect()
    }
}

fn resource(node: Node<'_, '_>) -> Result<Resource, RimError> {
    if !node.has_tag_name((SWID, "Resource")) || node.attribute("type") != Some("Measurement") {
        return refuse(format!("the payload holds {} that is no measurement", node.tag_name().name()));
    }
    if node.attribute("size") != Some("48") {
        return refuse("a measurement has another size than 48");
    }
    let active = match needed(node, "active")? {
        "True" => true,
        "False" => false,
        other => return refuse(format!("a measurement is `{other}`, neither True nor False")),
    };
    let index: u8 = number(node, "index")?;
    let alternatives: usize = number(node, "alternatives")?;
    let stated = node.attributes().filter(|attribute| attribute.namespace() == Some(HASH)).count();
    if !(1..=MAX_ALTERNATIVES).contains(&alternatives) || stated != alternatives {
        return refuse(format!("measurement {index} says {alternatives} values and has {stated}"));
    }
    let value = |place: usize| {
        let text = node.attribute((HASH, format!("Hash{place}").as_str())).unwrap_or("");
        text.parse()
            .map_err(|_| RimError::Content { what: format!("value {place} of measurement {index} is no digest") })
    };
    Ok(Resource { index, active, values: (0..alternatives).map(value).collect::<Result<_, _>>()? })
}

/// The one child of this name.
fn only<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Result<Node<'a, 'input>, RimError> {
    let mut found = node.children().filter(|child| child.has_tag_name((SWID, name)));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        _ => refuse(format!("there is not exactly one {name}")),
    }
}

fn needed<'a>(node: Node<'a, '_>, name: &str) -> Result<&'a str, RimError> {
    let value = node.attribute(name).filter(|value| !value.is_empty());
    value.ok_or_else(|| RimError::Content { what: format!("{} has no {name}", node.tag_name().name()) })
}

/// A number in its one decimal form.
fn number<T: std::str::FromStr + ToString>(node: Node<'_, '_>, name: &str) -> Result<T, RimError> {
    let text = needed(node, name)?;
    let value = text.parse::<T>().ok().filter(|value| value.to_string() == text);
    value.ok_or_else(|| RimError::Content { what: format!("{name} is `{text}`, not a number in range") })
}

fn refuse<T>(what: impl Into<String>) -> Result<T, RimError> {
    Err(RimError::Content { what: what.into() })
}
