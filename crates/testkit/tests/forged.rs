//! The published text vectors are what the forge makes of their seed, and the verifiers say what each expects.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its data must fail")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use testkit::forge::{Forge, PUBLISHED_SEED};
use testkit::judge::agrees;
use testkit::text::{Expect, TextVector, files, read_folder};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn published() -> Vec<TextVector> {
    read_folder(&folder()).unwrap().into_iter().map(Result::unwrap).collect()
}

#[test]
fn every_published_vector_gives_exactly_its_verdict() {
    let vectors = published();
    let differing: Vec<String> = vectors.iter().filter_map(|vector| agrees(vector).err()).collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    for kind in testkit::judge::KINDS {
        let of_kind = || vectors.iter().filter(|vector| vector.kind == *kind);
        assert!(of_kind().any(|vector| vector.expect == Expect::Ok), "{kind}: nothing is accepted");
        assert!(of_kind().any(|vector| vector.expect != Expect::Ok), "{kind}: nothing is refused");
    }
    let names: BTreeSet<(&str, &str)> = vectors.iter().map(|one| (one.kind.as_str(), one.name.as_str())).collect();
    assert_eq!(names.len(), vectors.len(), "a name is there twice");
}

#[test]
fn the_forge_makes_the_published_files_again() {
    let made = files(&Forge::new(PUBLISHED_SEED).vectors().unwrap());
    for (path, bytes) in &made {
        let found = std::fs::read(folder().join(path)).unwrap_or_default();
        assert!(
            found == *bytes,
            "{} is stale: cargo run -p testkit --bin forge -- --out crates/testkit/vectors",
            path.display()
        );
    }
    let size: usize = made.values().map(Vec::len).sum();
    assert!(size < 3 << 20, "the vectors have {size} bytes");
}

#[test]
fn another_seed_makes_other_evidence_with_the_same_verdicts() {
    let (one, other) = (Forge::new(PUBLISHED_SEED).vectors().unwrap(), Forge::new(2).vectors().unwrap());
    let differing: Vec<String> = other.iter().filter_map(|vector| agrees(vector).err()).collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(&other) {
        assert_eq!((&one.name, &one.expect), (&other.name, &other.expect));
        assert_ne!(one.fields, other.fields, "{}/{} does not follow from the seed", one.kind, one.name);
    }
}
