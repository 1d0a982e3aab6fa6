//! The JSON inputs of `az confcom acipolicygen` beside ARM templates (section 3.8): containers in the newer and the
//! older form, and lists of fragments.

use super::arm::json;
use super::error::CceError;
use super::model::Fragment;
use super::node::Node;
use super::spec::Spec;
use serde_json::{Map, Value};

/// Containers and fragments of a JSON input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its containers.
    pub containers: Vec<Spec>,
    /// Its fragments.
    pub fragments: Vec<Fragment>,
}

impl Input {
    /// Reads the newer form or, where a container has `containerImage`, the older one.
    pub fn parse(text: &str) -> Result<Self, CceError> {
        let root = Node::new(json("the input", text)?, "", None);
        let mut containers = Vec::new();
        for container in root.list("containers")? {
            let container = match container.member("containerImage")? {
                Some(_) => Node::new(converted(&container)?, container.place.clone(), None),
                None => container,
            };
            let kind = |mount: &Node<'_>| mount.needed("mountType", "a text")?.text();
            containers.push(Spec::read(&container, kind, false)?);
        }
        let fragments = root.list("fragments")?.iter().map(fragment).collect::<Result<_, _>>()?;
        match containers.is_empty() {
            true => {
                Err(CceError::Field { place: "containers".to_owned(), wanted: "a list with a container".to_owned() })
            }
            false => Ok(Self { containers, fragments }),
        }
    }
}

/// Containers about which only the images are known.
pub fn image_list(images: &[String]) -> Vec<Spec> {
    images.iter().map(|image| Spec::of_image(image)).collect()
}

/// Reads a list of fragments, or an object with one.
pub fn fragments(text: &str) -> Result<Vec<Fragment>, CceError> {
    let root = Node::new(json("the fragments", text)?, "fragments", None);
    let list = if root.value.is_array() { root.items()? } else { root.list("fragments")? };
    list.iter().map(fragment).collect()
}

fn fragment(node: &Node<'_>) -> Result<Fragment, CceError> {
    let minimum_svn = match node.member_text("minimum_svn")? {
        Some(svn) => svn,
        None => node.needed("minimumSvn", "a text")?.text()?,
    };
    Ok(Fragment {
        feed: node.needed("feed", "a text")?.text()?,
        includes: node.member_texts("includes")?,
        issuer: node.needed("issuer", "a text")?.text()?,
        minimum_svn,
    })
}

/// A container of the older form in the newer one.
fn converted(old: &Node<'_>) -> Result<Value, CceError> {
    let mut properties = Map::new();
    for (from, to) in [
        ("containerImage", "image"),
        ("command", "command"),
        ("workingDir", "workingDir"),
        ("environmentVariables", "environmentVariables"),
        ("livenessProbe", "livenessProbe"),
        ("readinessProbe", "readinessProbe"),
        ("securityContext", "securityContext"),
        ("allowStdioAccess", "allowStdioAccess"),
    ] {
        if let Some(member) = old.member(from)? {
            properties.insert(to.to_owned(), member.value);
        }
    }
    if let Some(privileged) = old.member_bool("allow_elevated")? {
        let context = properties.entry("securityContext").or_insert_with(|| Value::Object(Map::new()));
        if let Some(context) = context.as_object_mut() {
            context.insert("privileged".to_owned(), privileged.into());
        }
    }
    let mut mounts = Vec::new();
    for mount in old.list("mounts")? {
        mounts.push(serde_json::json!({
            "mountPath": mount.needed("mountPath", "a text")?.text()?,
            "mountType": mount.needed("mountType", "a text")?.text()?,
            "readOnly": mount.member_bool("readonly")?.unwrap_or(true),
        }));
    }
    properties.insert("volumeMounts".to_owned(), mounts.into());
    let name = old.member_text("name")?;
    Ok(serde_json::json!({ "name": name, "properties": properties }))
}
