//! Fuzz targets by name; what they do stands in `testkit::parsers`, which the ordinary tests run too.

use testkit::parsers::TARGETS;

/// Feeds bytes to the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no target {name}")).run)(bytes);
}
