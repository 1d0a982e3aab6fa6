//! A `reference.json` as a tree.

use super::Node;
use claims::reference::Reference;

/// What a build says about itself, value by value.
pub fn reference_tree(reference: &Reference, source: &str) -> Node {
    let exact = |name: &str, value: String| Node::leaf(name, value, source);
    let mut parts = vec![
        exact("name", reference.name.clone()),
        exact("site", reference.site.clone()),
        exact("substrate", reference.substrate.clone()),
        exact("HOST_DATA", reference.host_data.to_string()),
        exact("root hash", reference.root_hash.to_string()),
        Node::text("kernel command line", reference.command_line.clone(), source),
        Node::text("resources", reference.resources.join(" "), source),
        exact("TCB floor", format!("{:?}", reference.tcb_floor)),
        exact("chips", format!("{:?}", reference.chips)),
        exact("lease", format!("{:?}", reference.lease)),
    ];
    parts
        .extend(reference.inputs.iter().map(|input| exact(&format!("input {}", input.name), input.sha256.to_string())));
    parts.extend(reference.launch_measurements.iter().map(|launch| {
        let name = format!(
            "launch measurement ({} x {}, features {:#x})",
            launch.vcpus, launch.vcpu_type, launch.guest_features
        );
        exact(&name, launch.launch_measurement.to_string())
    }));
    let whole = claims::Digest256::of(format!("{reference:?}").as_bytes());
    Node::leaf("reference values", whole, source).with(parts)
}
