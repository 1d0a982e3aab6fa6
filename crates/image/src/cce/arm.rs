//! ARM templates of container groups (section 5). Comments are allowed, as ARM allows them.

use super::defaults::volume_types;
use super::error::{CceError, bounded};
use super::expression::Scope;
use super::inject;
use super::node::{Node, member_of};
use super::spec::Spec;
use serde_json::Value;

/// A template with its container groups.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its container groups, in their order.
    pub groups: Vec<Group>,
}

/// One container group: what becomes one confidential machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Which of the template's resources it is.
    pub(super) resource: usize,
    /// Its containers; those that run first are last, as `az confcom` has them.
    pub containers: Vec<Spec>,
    /// The policy in the template, as base64; absent where it is empty.
    pub existing: Option<String>,
    /// Whether the group says that it needs no infrastructure sidecars.
    pub zero_sidecar: bool,
}

impl Template {
    /// Reads a template and, where there is one, its parameter file. `wildcards` says whether a variable without a
    /// value may have any.
    pub fn parse(text: &str, parameters: Option<&str>, wildcards: bool) -> Result<Self, CceError> {
        let root = json("the template", text)?;
        let given = parameters.map(|text| json("the parameter file", text)).transpose()?;
        let member = |value: &Value, name| member_of(value, name).cloned().unwrap_or_default();
        let scope = Scope {
            parameters: member(&root, "parameters"),
            variables: member(&root, "variables"),
            given: given.map(|given| member(&given, "parameters")).unwrap_or_default(),
        };
        let mut groups = Vec::new();
        for (index, (place, resource)) in resources(&root).into_iter().enumerate() {
            let kind = member_of(resource, "type").and_then(Value::as_str).unwrap_or_default();
            if GROUP_TYPES.iter().any(|group| group.eq_ignore_ascii_case(kind)) {
                let node = Node::new(resource.clone(), place, Some(&scope));
                groups.push(Group::read(&node, index, wildcards)?);
            }
        }
        match groups.is_empty() {
            true => Err(CceError::NoGroup),
            false => Ok(Self { groups }),
        }
    }
}

impl Group {
    fn read(resource: &Node<'_>, index: usize, wildcards: bool) -> Result<Self, CceError> {
        // A name may depend on the deployment; nothing of the policy does.
        let name = resource.member_text("name").ok().flatten().unwrap_or_else(|| resource.place.clone());
        let properties = resource.needed("properties", "an object")?;
        let volumes = properties.list("volumes")?;
        let volume = |mount: &Node<'_>| {
            let name = mount.needed("name", "a text")?.text()?;
            for volume in &volumes {
                if volume.member_text("name")?.as_deref() == Some(&name) {
                    let kind = volume_types().find(|kind| member_of(&volume.value, kind).is_some());
                    return kind.map(str::to_owned).ok_or(CceError::Volume { place: volume.place.clone(), name });
                }
            }
            Err(CceError::Volume { place: mount.place.clone(), name })
        };
        let mut containers = Vec::new();
        for list in ["containers", "initContainers"] {
            for container in properties.list(list)? {
                containers.push(Spec::read(&container, volume, wildcards)?);
            }
        }
        if containers.is_empty() {
            return Err(CceError::Field {
                place: format!("{}.containers", properties.place),
                wanted: "a list with a container".to_owned(),
            });
        }
        let confidential = properties.member("confidentialComputeProperties")?;
        let existing = confidential.map(|node| node.member_text("ccePolicy")).transpose()?.flatten();
        let tags = resource.member("tags").ok().flatten();
        let zero_sidecar = tags.and_then(|tags| tags.member_bool("Annotate-zero-sidecar").ok().flatten());
        Ok(Self { name, resource: index, containers, existing, zero_sidecar: zero_sidecar == Some(true) })
    }
}

/// The template's resources with their paths: in their order, or sorted by their symbolic names.
pub(super) fn resources(root: &Value) -> Vec<(String, &Value)> {
    match member_of(root, "resources") {
        Some(Value::Array(items)) => {
            items.iter().enumerate().map(|(index, item)| (format!("resources[{index}]"), item)).collect()
        }
        Some(Value::Object(members)) => {
            let mut named: Vec<_> = members.iter().map(|(name, item)| (format!("resources.{name}"), item)).collect();
            named.sort_by(|(a, _), (b, _)| a.cmp(b));
            named
        }
        _ => Vec::new(),
    }
}

/// JSON whose comments were taken out.
pub(super) fn json(what: &str, text: &str) -> Result<Value, CceError> {
    bounded(what, text.len())?;
    let text = inject::without_comments(text);
    serde_json::from_str(&text).map_err(|source| CceError::Json { what: what.to_owned(), source })
}

const GROUP_TYPES: [&str; 2] =
    ["Microsoft.ContainerInstance/containerGroups", "Microsoft.ContainerInstance/containerGroupProfiles"];
