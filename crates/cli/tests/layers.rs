//! `confide measure layers` and `measure diff` of images, from outside, on the images of the vectors.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failure is the finding, and what is left out is said"
)]

mod common;

use common::{confide, json, vectors};
use serde_json::Value;
use std::process::Command;

#[test]
fn root_hashes_come_base_first_and_a_layer_is_repacked() {
    let Some(layers) = vectors("layers") else { return };
    let manifest: Value = serde_json::from_slice(&std::fs::read(layers.join("manifest.json")).unwrap()).unwrap();
    for image in manifest["images"].as_array().unwrap() {
        let path = layers.join(image["image"].as_str().unwrap());
        let output = confide(&["measure", "layers", path.to_str().unwrap(), "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(json(&output)["layers"], image["layers"], "{}", path.display());
    }
    let folder = tempfile::tempdir().unwrap();
    let (repacked, ext4) = (folder.path().join("layer.tar"), folder.path().join("layer.ext4"));
    let layer = layers.join("tars/02-files.tar");
    let layer = layer.to_str().unwrap();
    let plain = json(&confide(&["measure", "layers", "--layer", layer, "--json", "--output", ext4.to_str().unwrap()]));
    let again = confide(&["measure", "layers", "--layer", layer, "--json", "--repack", repacked.to_str().unwrap()]);
    assert_eq!(json(&again)["layers"], plain["layers"]);
    let checked = Command::new("/usr/sbin/e2fsck").args(["-fn", ext4.to_str().unwrap()]).output().unwrap();
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    // hcsshim leaves the padding of the inode bitmap unset, and so do we; nothing else may be wrong.
    let wrong = told.lines().filter(|line| line.contains("? no"));
    assert!(wrong.into_iter().all(|line| line.contains("inode bitmap is not set")), "{told}");
}

#[test]
fn two_images_are_compared_layer_by_layer() {
    let Some(layers) = vectors("layers") else { return };
    let (a, b) = (layers.join("images/img3-docker25.tar"), layers.join("images/imgempty-docker25.tar"));
    let output = confide(&["measure", "diff", a.to_str().unwrap(), b.to_str().unwrap(), "--json"]);
    let answer = json(&output);
    assert_eq!(answer["kind"], "an image", "{answer}");
    let names: Vec<&str> =
        answer["differences"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"layer 1"), "{answer}");
    let bundle = confide(&["measure", "diff", a.to_str().unwrap(), layers.join("tars/02-files.tar").to_str().unwrap()]);
    assert_eq!(bundle.status.code(), Some(1), "a layer is no image");
}
