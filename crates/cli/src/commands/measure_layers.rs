//! `confide measure layers`: the root hashes that a CCE policy names, and what may make a host see others.

use crate::Context;
use crate::args::LayersArgs;
use crate::images;
use crate::outcome::{Failure, Outcome, Result};
use claims::Digest256;
use image::layers::{self, Layer};
use measure::diff::Node;
use sealed::FileDevice;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::Path;

/// `confide measure layers`.
pub(super) fn run(args: &LayersArgs, context: &Context) -> Result {
    if (args.output.is_some() || args.repack.is_some()) && args.images.len() > 1 {
        return Err(Failure::usage("--output and --repack are for one layer").hint("name one file"));
    }
    let mut answers = Vec::new();
    for path in &args.images {
        let layers = if args.layer { one(path, args)? } else { all(path, args.image.as_deref())? };
        for (number, finding) in findings(&layers) {
            context.printer.warn(format!("{}: layer {number}: {finding}", path.display()));
        }
        answers.push(answer(path, &layers));
    }
    let text = || {
        let hashes = |answer: &Value| lines(answer, answers.len() > 1);
        answers.iter().map(hashes).collect::<Vec<_>>().join("\n")
    };
    match answers.as_slice() {
        [answer] => context.printer.data(answer, text),
        several => context.printer.data(&json!({ "images": several }), text),
    }
    Ok(Outcome::Done)
}

/// Whether this is an OCI layout, or a file that starts like an archive: tar, gzip or zstd.
pub(super) fn is_image(path: &Path) -> Result<bool> {
    if path.is_dir() {
        return Ok(path.join("oci-layout").is_file());
    }
    let mut start = Vec::new();
    open(path)?
        .take(512)
        .read_to_end(&mut start)
        .map_err(|error| Failure::environment(format!("cannot read {}", path.display())).because(error))?;
    let tar = start.get(257..262) == Some(b"ustar");
    Ok(tar || start.starts_with(&[0x1f, 0x8b]) || start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]))
}

/// An image as a tree: a part for each layer, base first.
pub(super) fn tree(path: &Path) -> Result<Node> {
    let layers = all(path, None)?;
    let source = path.display().to_string();
    let hashes: Vec<String> = layers.iter().map(|layer| layer.root_hash.to_string()).collect();
    let parts = hashes.iter().zip(1..).map(|(hash, number)| Node::leaf(format!("layer {number}"), hash, &source));
    Ok(Node::leaf("layers", Digest256::of(hashes.concat().as_bytes()), &source).with(parts.collect()))
}

/// The layers of an image.
fn all(path: &Path, reference: Option<&str>) -> Result<Vec<Layer>> {
    let image = images::open(path, reference).map_err(|error| images::unusable(path, error))?;
    images::layers(path, &image)
}

/// A layer that is a file.
fn one(path: &Path, args: &LayersArgs) -> Result<Vec<Layer>> {
    let create = |out: &Path| {
        File::create(out)
            .map_err(|error| Failure::environment(format!("cannot write {}", out.display())).because(error))
    };
    let mut input = open(path)?;
    if let Some(out) = &args.repack {
        layers::repack(input, BufWriter::new(create(out)?)).map_err(|error| images::no_hashes(path, error))?;
        input = open(out)?;
    }
    let layer = match &args.output {
        Some(out) => {
            let cannot =
                |error: std::io::Error| Failure::environment(format!("cannot write {}", out.display())).because(error);
            let device = FileDevice::new(create(out)?).map_err(cannot)?;
            let layer = layers::write_image(input, &device, &images::options())
                .map_err(|error| images::no_hashes(path, error))?;
            device.file().set_len(layer.ext4_size).map_err(cannot)?;
            layer
        }
        None => layers::root_hash(input, &images::options()).map_err(|error| images::no_hashes(path, error))?,
    };
    Ok(vec![layer])
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| Failure::environment(format!("cannot read {}", path.display())).because(error))
}

fn findings(layers: &[Layer]) -> impl Iterator<Item = (usize, &layers::Lint)> {
    layers.iter().zip(1..).flat_map(|(layer, number)| layer.findings.iter().map(move |finding| (number, finding)))
}

fn answer(path: &Path, layers: &[Layer]) -> Value {
    let findings: Vec<Value> = findings(layers)
        .map(|(number, finding)| {
            json!({
                "layer": number, "kind": finding.kind, "count": finding.count,
                "examples": finding.examples, "advice": finding.kind.advice(),
            })
        })
        .collect();
    let hashes: Vec<String> = layers.iter().map(|layer| layer.root_hash.to_string()).collect();
    json!({ "image": path.display().to_string(), "layers": hashes, "findings": findings })
}

/// A hash a line; with several images each line names its own.
fn lines(answer: &Value, named: bool) -> String {
    let hashes = answer["layers"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let name = answer["image"].as_str().filter(|_| named);
    let line = |hash: &str| name.map_or_else(|| hash.to_owned(), |name| format!("{hash}  {name}"));
    hashes.map(line).collect::<Vec<_>>().join("\n")
}
