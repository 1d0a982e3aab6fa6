//! Opening archives: every packaging of one image is the same image, and a wrong one is refused by name.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use claims::Code;
use image::archive::{ArchiveError, Image, Opening, any_document};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

#[path = "archive_support/mod.rs"]
mod archive_support;
use archive_support::{Parts, Stored, Tar, add_oci, config, gzip, index, legacy, oci, sha256, vectors, zstd};

fn layers() -> Vec<Vec<u8>> {
    vec![Tar::new().file("a", &[7; 70_000]).bytes(), Tar::new().file("b", b"2").bytes()]
}

fn open_path(path: &Path, reference: Option<&str>) -> Result<Image, ArchiveError> {
    let scratch = tempfile::tempdir().unwrap();
    let opening = Opening { reference, scratch: scratch.path(), limit: 10 << 20, cancelled: &|| false };
    let image = Image::open(path, &opening);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "the scratch file has a name");
    let image = image?;
    image.check(&|| false)?;
    Ok(image)
}

fn open_as(bytes: &[u8], reference: Option<&str>) -> Result<Image, ArchiveError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    std::fs::write(&path, bytes).unwrap();
    open_path(&path, reference)
}

fn open(bytes: &[u8]) -> Result<Image, ArchiveError> {
    open_as(bytes, None)
}

fn refused(parts: &Parts) -> ArchiveError {
    let error = open(&parts.tar()).unwrap_err();
    // However it is wrapped, the refusal is the same.
    let wrapped = open(&gzip(&parts.tar())).unwrap_err();
    assert_eq!(error.code(), wrapped.code());
    if !matches!(error, ArchiveError::NotAnArchive { .. }) {
        assert_eq!(error.to_string(), wrapped.to_string());
    }
    error
}

fn contents(image: &Image) -> Vec<Vec<u8>> {
    let read = |layer: &image::archive::Layer| {
        let mut bytes = vec![0; layer.length as usize];
        image.read(layer.source, layer.offset, &mut bytes).unwrap();
        bytes
    };
    image.layers.iter().map(read).collect()
}

#[test]
fn the_first_name_that_an_archive_knows_is_opened_and_the_only_image_else() {
    let (layers, settings) = (layers(), config(&layers()));
    let mut several = oci(&layers, &settings, Stored::Plain, "hello:1");
    let second = vec![Tar::new().file("c", b"3").bytes()];
    let manifests = [
        add_oci(&mut several, &layers, &settings, Stored::Plain, "hello:1"),
        add_oci(&mut several, &second, &config(&second), Stored::Plain, "hello:2"),
    ];
    several.put("index.json", &index(&manifests));
    let single = oci(&layers, &settings, Stored::Gzip, "hello:1");
    let folder = tempfile::tempdir().unwrap();
    let open = |parts: &Parts, names: &[&str]| {
        let path = folder.path().join("image.tar");
        std::fs::write(&path, parts.tar()).unwrap();
        let opening = Opening { reference: None, scratch: folder.path(), limit: 10 << 20, cancelled: &|| false };
        Image::open_first(&path, &opening, names).map(|(image, known)| (contents(&image), known))
    };
    assert_eq!(open(&several, &["sha256:0", "hello:2", "hello:1"]).unwrap(), (second, true));
    assert_eq!(open(&several, &["hello:1"]).unwrap(), (layers.clone(), true));
    assert_eq!(open(&single, &["other:1"]).unwrap(), (layers, false));
    assert!(matches!(open(&several, &["other:1"]), Err(ArchiveError::Ambiguous { .. })));
}

#[test]
fn every_packaging_is_the_same_image() {
    let (layers, settings) = (layers(), config(&layers()));
    let mut docker25 = oci(&layers, &settings, Stored::Plain, "hello:1");
    let names: Vec<String> = layers.iter().map(|layer| format!("blobs/sha256/{}", sha256(layer))).collect();
    let config_name = format!("blobs/sha256/{}", sha256(settings.to_string().as_bytes()));
    let manifest = json!([{"Config": config_name, "RepoTags": ["hello:1"], "Layers": names}]);
    docker25.put("manifest.json", manifest.to_string().as_bytes());
    let mut docker_only = docker25.clone();
    docker_only.remove("index.json");
    let packagings = [
        legacy(&layers, &settings, "hello:1"),
        docker25,
        docker_only,
        oci(&layers, &settings, Stored::Gzip, "hello:1"),
        oci(&layers, &settings, Stored::Zstd, "hello:1"),
    ];
    for parts in packagings {
        let folder = tempfile::tempdir().unwrap();
        parts.write_folder(folder.path());
        let plain = parts.tar();
        let several = [gzip(&plain[..600]), gzip(&plain[600..])].concat();
        let mut images = vec![open_path(folder.path(), None)];
        images.extend([&plain, &gzip(&plain), &zstd(&plain), &several].map(|bytes| open_as(bytes, Some("hello:1"))));
        for image in images {
            let image = image.unwrap();
            assert_eq!(image.id.to_string(), sha256(settings.to_string().as_bytes()));
            assert!(contents(&image) == layers);
            assert_eq!((image.config.entrypoint.clone(), image.config.command.len()), (vec!["/start".to_owned()], 0));
            assert_eq!((image.config.user.as_str(), image.config.stop_signal.as_str()), ("1000:2000", "SIGINT"));
            assert_eq!((image.config.folder.as_str(), &image.config.ports), ("/w", &vec!["80/tcp".to_owned()]));
        }
    }
}

#[test]
fn vector_images_open() {
    let Some(vectors) = vectors() else { return };
    let mut ids = Vec::new();
    for name in
        ["img3-legacy", "img3-docker25", "img3-oci-gzip", "imgempty-legacy", "imgempty-docker25", "imgempty-oci-gzip"]
    {
        let image = open_path(&vectors.join(format!("layers/images/{name}.tar")), None);
        let image = image.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(image.layers.len(), 3, "{name}");
        ids.push(image.id);
    }
    assert!(ids[..3].iter().all(|id| *id == ids[0]) && ids[3..].iter().all(|id| *id == ids[3]));
}

#[test]
fn layers_that_are_links_to_other_layers() {
    let layer = layers().remove(0);
    let parts = legacy(&[layer.clone(), layer.clone()], &config(&[layer.clone(), layer.clone()]), "a:1");
    let mut tar = Tar::new();
    for (name, bytes) in &parts.0 {
        tar = if name == "l1/layer.tar" { tar.symlink(name, "../l0/layer.tar") } else { tar.file(name, bytes) };
    }
    assert_eq!(contents(&open(&tar.bytes()).unwrap()).len(), 2);
    let circle = Tar::new().symlink("manifest.json", "x").symlink("x", "manifest.json").bytes();
    assert!(matches!(open(&circle), Err(ArchiveError::NotAnArchive { .. })));
}

#[test]
fn truncated_archives_are_refused() {
    let parts = legacy(&layers(), &config(&layers()), "a:1");
    let whole = parts.tar();
    for cut in [0, 100, 512, 30_000, whole.len() - 1024, whole.len() - 1600] {
        let error = open(&whole[..cut]).unwrap_err();
        assert_eq!(error.code(), Some(Code::Image), "{cut}: {error}");
        let error = open(&gzip(&whole[..cut])).unwrap_err();
        assert_eq!(error.code(), Some(Code::Image), "{cut}: {error}");
    }
    for packed in [gzip(&whole), zstd(&whole)] {
        for cut in [packed.len() - 1, packed.len() / 2, 12] {
            let error = open(&packed[..cut]).unwrap_err();
            assert!(matches!(error, ArchiveError::Damaged { .. }), "{cut}: {error}");
            assert_eq!(error.code(), Some(Code::Image));
        }
    }
    let mut damaged = gzip(&whole);
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    assert!(matches!(open(&damaged), Err(ArchiveError::Damaged { .. })), "CRC");
}

#[test]
fn missing_and_changed_parts_are_named() {
    let (layers, settings) = (layers(), config(&layers()));
    for name in ["l1/layer.tar", "manifest.json"] {
        let mut parts = legacy(&layers, &settings, "a:1");
        parts.remove(name);
        let error = refused(&parts);
        assert_eq!(error.code(), Some(Code::Image), "{error}");
        assert!(
            name != "l1/layer.tar" || matches!(&error, ArchiveError::Missing { name, .. } if name == "l1/layer.tar")
        );
    }
    let mut changed = layers.clone();
    changed[1][512] ^= 1;
    let digest = |bytes: &[u8]| sha256(bytes).parse().unwrap();
    for parts in [legacy(&changed, &settings, "a:1"), oci(&changed, &settings, Stored::Gzip, "a:1")] {
        match refused(&parts) {
            ArchiveError::Digest { what, got, wanted } => {
                assert!(what.starts_with("layer 2 (sha256:"), "{what}");
                assert_eq!((got, wanted), (digest(&changed[1]), digest(&layers[1])));
            }
            other => panic!("{other}"),
        }
    }
    // A blob under another blob's name.
    for stored in [Stored::Plain, Stored::Gzip] {
        let mut parts = oci(&layers, &settings, stored, "a:1");
        for part in &mut parts.0 {
            let mut bytes = part.1.clone();
            bytes[20] ^= 1;
            if part.0.starts_with("blobs/") {
                let whole = std::mem::replace(&mut part.1, bytes);
                let wrong = Parts(vec![part.clone()]);
                part.1 = whole;
                let mut parts = oci(&layers, &settings, stored, "a:1");
                parts.put(&wrong.0[0].0, &wrong.0[0].1);
                let error = open(&parts.tar()).unwrap_err();
                assert_eq!(error.code(), Some(Code::Digest), "{}: {error}", part.0);
            }
        }
    }
}

#[test]
fn other_platforms_are_refused_and_amd64_is_picked() {
    let (layers, mut arm) = (layers(), config(&layers()));
    arm["architecture"] = json!("arm64");
    let error = refused(&legacy(&layers, &arm, "a:1"));
    assert!(matches!(&error, ArchiveError::Platform { platforms } if platforms == &["linux/arm64"]), "{error}");
    assert_eq!(error.code(), Some(Code::Pin));

    let mut parts = Parts(Vec::new());
    let with = |mut descriptor: Value, architecture: &str| {
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        descriptor
    };
    let amd64 = add_oci(&mut parts, &layers, &config(&layers), Stored::Plain, "a:1");
    let arm64 = add_oci(&mut parts, &layers, &arm, Stored::Plain, "a:1");
    let mut proof = with(amd64.clone(), "unknown");
    proof["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    // Nested, as engines with an image store save it.
    let inner = index(&[with(arm64.clone(), "arm64"), with(amd64.clone(), "amd64"), proof]);
    let name = parts.blob(&inner);
    let outer = json!({"mediaType": "application/vnd.oci.image.index.v1+json", "size": inner.len(),
        "digest": format!("sha256:{}", name.rsplit('/').next().unwrap())});
    parts.put("index.json", &index(&[outer]));
    assert_eq!(open(&parts.tar()).unwrap().id.to_string(), sha256(config(&layers).to_string().as_bytes()));

    parts.put("index.json", &index(&[with(arm64.clone(), "arm64")]));
    assert!(matches!(refused(&parts), ArchiveError::Platform { .. }));
    // The index says amd64, the image's own configuration says otherwise.
    parts.put("index.json", &index(&[with(arm64, "amd64")]));
    assert!(matches!(refused(&parts), ArchiveError::Platform { platforms } if platforms == ["linux/arm64"]));
}

#[test]
fn several_images_need_a_name() {
    let layers = layers();
    let mut parts = Parts(Vec::new());
    let one = add_oci(&mut parts, &layers, &config(&layers), Stored::Plain, "one:1");
    let two = add_oci(&mut parts, &layers[..1], &config(&layers[..1]), Stored::Plain, "two:latest");
    parts.put("index.json", &index(&[one, two]));
    let error = refused(&parts);
    let wanted = ["docker.io/library/one:1", "docker.io/library/two:latest"];
    assert!(matches!(&error, ArchiveError::Ambiguous { names } if *names == wanted), "{error}");
    assert_eq!(error.code(), Some(Code::Pin));
    assert_eq!(open_as(&parts.tar(), Some("two")).unwrap().layers.len(), 1);
    assert_eq!(open_as(&parts.tar(), Some("one:1")).unwrap().layers.len(), 2);
    let error = open_as(&parts.tar(), Some("one")).unwrap_err();
    assert!(matches!(&error, ArchiveError::NoSuchImage { wanted, .. } if wanted == "one"), "{error}");
    assert_eq!(error.code(), Some(Code::Pin));

    let mut parts = legacy(&layers, &config(&layers), "one:1");
    let manifest: Value = serde_json::from_slice(&parts.0.last().unwrap().1).unwrap();
    let mut other = manifest[0].clone();
    other["RepoTags"] = json!(["two:1"]);
    parts.put("manifest.json", json!([manifest[0], other]).to_string().as_bytes());
    assert!(matches!(refused(&parts), ArchiveError::Ambiguous { .. }));
    assert_eq!(open_as(&parts.tar(), Some("docker.io/library/two:1")).unwrap().names, ["two:1"]);
}

/// Changes the manifest of a one-image layout and sets all digests right again.
fn with_manifest(stored: Stored, edit: impl Fn(&mut Value)) -> Parts {
    let layers = layers();
    let mut parts = oci(&layers, &config(&layers), stored, "a:1");
    let index_bytes = parts.0.iter().find(|(name, _)| name == "index.json").unwrap().1.clone();
    let mut document: Value = serde_json::from_slice(&index_bytes).unwrap();
    let digest = document["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let manifest = parts.0.iter().find(|(name, _)| *name == digest).unwrap().1.clone();
    let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
    edit(&mut manifest);
    let manifest = manifest.to_string().into_bytes();
    parts.blob(&manifest);
    document["manifests"][0]["digest"] = json!(format!("sha256:{}", sha256(&manifest)));
    document["manifests"][0]["size"] = json!(manifest.len());
    parts.put("index.json", document.to_string().as_bytes());
    parts
}

#[test]
fn media_types_must_be_true() {
    let set =
        |media_type: &'static str| move |manifest: &mut Value| manifest["layers"][0]["mediaType"] = json!(media_type);
    let plain = "application/vnd.oci.image.layer.v1.tar";
    for (stored, media_type) in [
        (Stored::Gzip, plain),
        (Stored::Plain, "application/vnd.oci.image.layer.v1.tar+gzip"),
        (Stored::Zstd, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    ] {
        let error = refused(&with_manifest(stored, set(media_type)));
        assert!(matches!(error, ArchiveError::Confusion { .. }), "{error}");
        assert_eq!(error.code(), Some(Code::Image));
    }
    let error = refused(&with_manifest(Stored::Gzip, set("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")));
    assert!(matches!(error, ArchiveError::Encrypted { .. }), "{error}");
    let error = refused(&with_manifest(Stored::Gzip, set("application/vnd.wasm.content.layer.v1+wasm")));
    assert!(matches!(error, ArchiveError::MediaType { .. }), "{error}");
    assert!(open(&with_manifest(Stored::Gzip, set("application/vnd.docker.image.rootfs.diff.tar.gzip")).tar()).is_ok());
}

#[test]
fn documents_that_contradict_each_other_are_refused() {
    let both = refused(&with_manifest(Stored::Plain, |manifest| manifest["manifests"] = json!([])));
    assert!(matches!(both, ArchiveError::Contradiction { .. }), "{both}");
    let type_differs = refused(&with_manifest(Stored::Plain, |manifest| manifest["mediaType"] = json!("text/plain")));
    assert!(matches!(type_differs, ArchiveError::Contradiction { .. }), "{type_differs}");
    let fewer = refused(&with_manifest(Stored::Plain, |manifest| {
        manifest["layers"].as_array_mut().unwrap().pop();
    }));
    assert!(matches!(fewer, ArchiveError::Contradiction { .. }), "{fewer}");
    let length = refused(&with_manifest(Stored::Plain, |manifest| manifest["layers"][0]["size"] = json!(1)));
    assert!(matches!(length, ArchiveError::Length { wanted: 1, .. }), "{length}");
    let algorithm =
        refused(&with_manifest(Stored::Plain, |manifest| manifest["layers"][0]["digest"] = json!("md5:00")));
    assert!(matches!(algorithm, ArchiveError::Algorithm { .. }), "{algorithm}");
    let swapped =
        refused(&with_manifest(Stored::Plain, |manifest| manifest["layers"].as_array_mut().unwrap().reverse()));
    assert!(matches!(swapped, ArchiveError::Digest { .. }), "{swapped}");

    let layers = layers();
    let mut parts = oci(&layers, &config(&layers), Stored::Plain, "a:1");
    let name = format!("blobs/sha256/{}", sha256(config(&layers).to_string().as_bytes()));
    parts.put("manifest.json", json!([{"Config": name, "RepoTags": null, "Layers": []}]).to_string().as_bytes());
    assert!(matches!(refused(&parts), ArchiveError::Contradiction { .. }));

    let doubled = Tar::new().file("manifest.json", b"[]").file("./manifest.json", b"[]").bytes();
    assert!(matches!(open(&doubled), Err(ArchiveError::Doubled { name }) if name == "manifest.json"));
}

#[test]
fn indexes_are_not_nested_without_end() {
    let mut parts = Parts(Vec::new());
    let mut inner = index(&[]);
    for _ in 0..6 {
        let name = parts.blob(&inner).replace("blobs/sha256/", "sha256:");
        inner = index(&[
            json!({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": name, "size": inner.len()}),
        ]);
    }
    parts.put("index.json", &inner);
    assert!(matches!(refused(&parts), ArchiveError::Depth { .. }));
}

#[test]
fn bombs_and_other_compression_are_refused() {
    let zeros = gzip(&Tar::new().file("zeros", &vec![0; 11 << 20]).bytes());
    assert!(zeros.len() < 100_000);
    assert!(matches!(open(&zeros), Err(ArchiveError::Bomb { limit }) if limit == 10 << 20));
    let layer = vec![Tar::new().file("zeros", &vec![0; 11 << 20]).bytes()];
    let error = open(&oci(&layer, &config(&layer), Stored::Zstd, "a:1").tar()).unwrap_err();
    assert!(matches!(error, ArchiveError::Bomb { .. }), "{error}");
    let xz = [0xfd, b'7', b'z', b'X', b'Z', 0, 0, 0];
    assert!(matches!(open(&xz), Err(ArchiveError::Compression { with: "xz", .. })));
    assert!(matches!(open(b"just some text, and no archive at all"), Err(ArchiveError::NotAnArchive { .. })));
    assert_eq!(open(b"").unwrap_err().code(), Some(Code::Image));
}

#[test]
fn cancelling_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar.gz");
    std::fs::write(&path, gzip(&legacy(&layers(), &config(&layers()), "a:1").tar())).unwrap();
    let opening = Opening { reference: None, scratch: folder.path(), limit: 1 << 30, cancelled: &|| true };
    assert!(matches!(Image::open(&path, &opening), Err(ArchiveError::Cancelled)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

proptest! {
    #[test]
    fn any_document_is_read_or_refused(text in "\\PC{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        any_document(text.as_bytes());
        any_document(&bytes);
    }

    #[test]
    fn any_damage_is_refused_or_harmless(edits in proptest::collection::vec((0..8_000_usize, any::<u8>()), 1..4)) {
        let layers = vec![Tar::new().file("a", b"1").bytes()];
        let parts = oci(&layers, &config(&layers), Stored::Plain, "a:1");
        let mut bytes = parts.tar();
        let length = bytes.len();
        for (at, value) in edits {
            bytes[at % length] = value;
        }
        // What still opens is the same image: nothing that counts escapes the digests.
        if let Ok(image) = open(&bytes) {
            prop_assert!(contents(&image) == layers);
        }
    }
}
