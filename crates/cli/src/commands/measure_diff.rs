//! `confide measure diff`: why are two measurements not the same?

use super::measure::{cannot_measure, parse, vcpu_type};
use super::measure_layers;
use super::measure_sgx::{self, Kind};
use crate::Context;
use crate::args::{DiffArgs, LayoutArgs};
use crate::outcome::{self, Failure, Outcome, Result};
use crate::qemu::Bundle;
use claims::reference::Reference;
use claims::{Code, Digest256, LaunchDigest, Refusal};
use image::bundle::names;
use image::cce::Document;
use measure::diff::{self, Comparison, Neighbourhood, Node};
use measure::snp::{self, GuestFeatures, HashedFiles, KernelHashes, Launch, Ovmf, Vmm};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// `confide measure diff`.
pub(super) fn diff(args: &DiffArgs, context: &Context) -> Result {
    if let Some(reported) = &args.reported {
        let reported: LaunchDigest = reported
            .parse()
            .map_err(|error| Failure::usage("--reported is not a launch digest").because(error).code(Code::Format))?;
        return explain(&Measured::read(&args.a)?, reported, context);
    }
    let Some(second) = &args.b else {
        return Err(Failure::usage("name a second bundle or file, or --reported DIGEST"));
    };
    let ((kind, a), (other, b)) = (tree(&args.a, &args.layout)?, tree(second, &args.layout)?);
    if kind != other {
        let what = format!("{} is {kind}, {} is {other}", args.a.display(), second.display());
        return Err(Failure::usage(what).hint("compare two of the same kind"));
    }
    let comparison = diff::compare(&a, &b);
    let differences: Vec<_> = comparison
        .differences
        .iter()
        .map(|one| json!({ "name": one.name, "first": one.first, "second": one.second, "words": one.words }))
        .collect();
    let answer = json!({
        "kind": kind, "first": a.digest.to_string(), "second": b.digest.to_string(),
        "equal": comparison.differences.is_empty(), "summary": comparison.summary(), "differences": differences,
        "same": comparison.equal, "trees": [as_json(&a), as_json(&b)],
    });
    context.printer.data(&answer, || {
        let mut lines = vec![comparison.summary(), format!("  {:<22} {}", args.a.display(), a.digest)];
        lines.push(format!("  {:<22} {}", second.display(), b.digest));
        marked(&a, "", &comparison, &mut lines);
        lines.join("\n")
    });
    Ok(if comparison.differences.is_empty() { Outcome::Done } else { Outcome::Refused })
}

fn as_json(node: &Node) -> Value {
    let children: Vec<Value> = node.children.iter().map(as_json).collect();
    json!({ "component": node.component, "digest": node.digest.to_string(), "source": node.source, "children": children })
}

/// A line for each part, down to where nothing differs.
fn marked(node: &Node, within: &str, comparison: &Comparison, lines: &mut Vec<String>) {
    for part in &node.children {
        let path = if within.is_empty() { part.component.clone() } else { format!("{within}, {}", part.component) };
        let mark = if comparison.equal.contains(&path) { "same   " } else { "DIFFERS" };
        lines.push(format!("  {mark} {path:<20} {}", part.source));
        let deeper = format!("{path}, ");
        if comparison.differences.iter().any(|difference| difference.name.starts_with(&deeper)) {
            marked(part, &path, comparison, lines);
        }
    }
}

/// What a file or folder is, and what it consists of.
fn tree(path: &Path, layout: &LayoutArgs) -> Result<(&'static str, Node)> {
    if measure_layers::is_image(path)? {
        return Ok(("an image", measure_layers::tree(path)?));
    }
    if path.is_dir() {
        return Ok(("a bundle", Measured::read(path)?.tree()?));
    }
    let bytes = outcome::read(path)?;
    let source = path.display().to_string();
    if let Some(kind) = Kind::of(&bytes) {
        return Ok((kind.name(), measure_sgx::tree(kind, &bytes, path, layout)?));
    }
    if let Ok(reference) = Reference::parse(&bytes) {
        return Ok(("reference values", diff::reference_tree(&reference, &source)));
    }
    if let Some(policy) = std::str::from_utf8(&bytes).ok().filter(|text| text.trim_start().starts_with("package ")) {
        return Ok(("a CCE policy", policy_tree(policy, path)?));
    }
    Err(Failure::usage(format!("{source} is nothing that can be compared")).hint(
        "bundles, image archives, SGXS streams, ELF enclaves, SIGSTRUCTs, CCE policies and reference.json can be",
    ))
}

/// A CCE policy: its values, its containers by name and member, and what its rules answer.
fn policy_tree(text: &str, path: &Path) -> Result<Node> {
    let source = path.display().to_string();
    let document = Document::parse(text).map_err(|error| {
        let code = error.code();
        Failure::refused(format!("{source} cannot be compared")).because(error).code(code)
    })?;
    let values = document.values.iter().map(|(name, value)| member(name, value, &source));
    let rules =
        document.rules.iter().map(|(name, rule)| Node::leaf(format!("rule {name}"), format!("{rule:?}"), &source));
    let parts = values.chain(rules).collect();
    // HOST_DATA: SHA-256 of the exact bytes.
    Ok(Node::leaf("HOST_DATA", Digest256::of(text.as_bytes()), &source).with(parts))
}

/// A value with its members or elements; elements are named by their id or name where each has its own.
fn member(name: &str, value: &Value, source: &str) -> Node {
    let parts: Vec<Node> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| member(name, value, source)).collect(),
        Value::Array(elements) => {
            let names = ["name", "id", "feed", "pattern"].iter().find_map(|key| unique(elements, key));
            let names = names.unwrap_or_else(|| (1..=elements.len()).map(|number| number.to_string()).collect());
            names.iter().zip(elements).map(|(name, element)| member(name, element, source)).collect()
        }
        _ => Vec::new(),
    };
    if parts.is_empty() {
        return Node::leaf(name, value, source);
    }
    Node::leaf(name, Digest256::of(value.to_string().as_bytes()), source).with(parts)
}

/// The text under `key` of each element, if all have one and no two the same.
fn unique(elements: &[Value], key: &str) -> Option<Vec<String>> {
    let names: Option<Vec<String>> =
        elements.iter().map(|element| element.get(key)?.as_str().map(str::to_owned)).collect();
    let names = names.filter(|names| !names.is_empty())?;
    let different: BTreeSet<&String> = names.iter().collect();
    (different.len() == names.len()).then_some(names)
}

/// What a reported digest was, if a launch near the bundle's reproduces it.
fn explain(measured: &Measured, reported: LaunchDigest, context: &Context) -> Result {
    let ovmf = parse(&measured.firmware, &measured.bundle.file(names::FIRMWARE))?;
    let launch = measured.launch(&ovmf)?;
    let meant = Neighbourhood { launch, command_line: Some(&measured.bundle.manifest.command_line) };
    let found = diff::explain(&meant, reported);
    let words = match &found {
        Some(found) if found.words.is_empty() => "this is the bundle as it was built".to_owned(),
        Some(found) => format!("reproduced with: {}", found.words.join(", ")),
        None => "no launch near this bundle's has this digest; another firmware, kernel, initrd or command line was measured".to_owned(),
    };
    let answer = json!({
        "reported": reported, "explained": found.is_some(), "words": words,
        "changes": found.as_ref().map(|found| found.words.clone()), "tried": found.as_ref().map(|found| found.tried),
    });
    context.printer.data(&answer, || words.clone());
    Ok(if found.is_some() { Outcome::Done } else { Outcome::Refused })
}

/// A bundle with the files that are measured.
struct Measured {
    bundle: Bundle,
    firmware: Vec<u8>,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
}

impl Measured {
    fn read(folder: &Path) -> Result<Self> {
        let bundle = Bundle::open(folder)?;
        let read = |name| outcome::read(&bundle.file(name));
        Ok(Self {
            firmware: read(names::FIRMWARE)?,
            kernel: read(names::KERNEL)?,
            initrd: read(names::INITRD)?,
            bundle,
        })
    }

    fn launch<'a>(&self, ovmf: &'a Ovmf<'a>) -> Result<Launch<'a>> {
        let manifest = &self.bundle.manifest;
        let files = HashedFiles {
            kernel: &self.kernel,
            initrd: Some(&self.initrd),
            command_line: Some(&manifest.command_line),
        };
        Ok(Launch {
            ovmf,
            kernel: Some(KernelHashes::of(&files)),
            vcpus: manifest.vcpus,
            vcpu_type: vcpu_type(&manifest.vcpu_type)?,
            guest_features: GuestFeatures::SNP,
            vmm: Vmm::Qemu,
        })
    }

    fn tree(&self) -> Result<Node> {
        let manifest = &self.bundle.manifest;
        let firmware = self.bundle.file(names::FIRMWARE);
        let ovmf = parse(&self.firmware, &firmware)?;
        let digest = snp::measure(&self.launch(&ovmf)?).map_err(|error| cannot_measure(error, &firmware))?;
        let file = |name: &str, file: &str, bytes: &[u8]| {
            Node::leaf(name, Digest256::of(bytes), self.bundle.file(file).display().to_string())
        };
        let source = "manifest.json";
        Ok(Node::leaf("launch digest", digest, self.bundle.folder.display().to_string()).with(vec![
            file("firmware", names::FIRMWARE, &self.firmware),
            file("kernel", names::KERNEL, &self.kernel),
            file("initrd", names::INITRD, &self.initrd),
            Node::text("kernel command line", manifest.command_line.clone(), source),
            Node::leaf("virtual CPUs", manifest.vcpus, source),
            Node::leaf("virtual CPU type", &manifest.vcpu_type, source),
        ]))
    }
}
