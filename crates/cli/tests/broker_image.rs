//! The key broker's container image: the same for the same inputs, read by our reader and by others', and its program
//! runs from it and nothing else.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]

use image::archive::{Image, Opening};
use image::oci::{Content, Entry, OciError, Recipe, write};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn entry(path: &str, content: Content) -> Entry {
    Entry { path: path.into(), mode: 0o755, owner: 0, content }
}

fn example(program: &Path) -> Recipe {
    Recipe {
        name: "example:1".into(),
        entries: vec![
            entry("usr/bin/program", Content::File(program.to_owned())),
            entry("etc/passwd", Content::Bytes(b"nobody:x:65532:65532::/:/\n".to_vec())),
            entry("bin", Content::Link("usr/bin".into())),
            Entry { owner: 65532, ..entry("var/lib/example", Content::Folder) },
        ],
        config: json!({"Entrypoint": ["/usr/bin/program"], "User": "65532:65532", "ExposedPorts": {"8999/tcp": {}},
            "Labels": {"a": "b"}, "WorkingDir": "/var/lib/example"}),
        created: 1_700_000_000,
    }
}

fn opened(path: &Path, reference: &str) -> Image {
    let scratch = path.parent().unwrap();
    let opening = Opening { reference: Some(reference), scratch, limit: 1 << 31, cancelled: &|| false };
    let image = Image::open(path, &opening).unwrap();
    image.check(&|| false).unwrap();
    image
}

/// The layer as a plain tar file.
fn layer(image: &Image) -> Vec<u8> {
    let layer = &image.layers[0];
    let mut bytes = vec![0; usize::try_from(layer.length).unwrap()];
    image.read(layer.source, layer.offset, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_written_is_read_back_and_is_the_same_again() {
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("program");
    std::fs::write(&program, vec![7; 300_000]).unwrap();
    let mut recipe = example(&program);
    let (one, two) = (place.path().join("one.tar"), place.path().join("two.tar"));
    let written = write(&recipe, &one).unwrap();
    // The order in which files are listed, and their times, are not in it.
    recipe.entries.reverse();
    std::fs::write(&program, vec![7; 300_000]).unwrap();
    assert_eq!(write(&recipe, &two).unwrap(), written);
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());

    let image = opened(&one, "example:1");
    assert_eq!((image.id, image.layers.len()), (written.id, 1));
    assert_eq!(image.config.entrypoint, ["/usr/bin/program"]);
    assert_eq!(
        (image.config.user.as_str(), image.config.ports.as_slice()),
        ("65532:65532", ["8999/tcp".into()].as_slice())
    );
    assert_eq!(image.config.labels["a"], "b");
    let bytes = layer(&image);
    let mut seen = Vec::new();
    for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), 1_700_000_000);
        assert!(header.username().unwrap().unwrap_or_default().is_empty(), "no names of this machine");
        seen.push((entry.path().unwrap().display().to_string(), header.uid().unwrap(), header.mode().unwrap()));
    }
    let wanted = [
        ("bin", 0, 0o755),
        ("etc/", 0, 0o755),
        ("etc/passwd", 0, 0o755),
        ("usr/", 0, 0o755),
        ("usr/bin/", 0, 0o755),
        ("usr/bin/program", 0, 0o755),
        ("var/", 0, 0o755),
        ("var/lib/", 0, 0o755),
        ("var/lib/example/", 65532, 0o755),
    ];
    assert_eq!(seen, wanted.map(|(path, owner, mode)| (path.to_owned(), owner, mode)));
    for (kind, file) in [("oci-archive", &one), ("docker-archive", &two)] {
        let source = format!("{kind}:{}:example:1", file.display());
        let Ok(inspected) = Command::new("skopeo").args(["inspect", &source]).output() else {
            println!("skipped: skopeo is not here");
            return;
        };
        assert!(inspected.status.success(), "{}", String::from_utf8_lossy(&inspected.stderr));
        let facts: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
        if kind == "oci-archive" {
            assert_eq!(facts["Digest"], json!(format!("sha256:{}", written.manifest)));
        }
    }
}

#[test]
fn places_that_are_none_are_refused_and_nothing_is_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("program");
    std::fs::write(&program, b"x").unwrap();
    let out = place.path().join("image.tar");
    let long = "a".repeat(101);
    for bad in ["", "/etc/x", "../x", "a/../b", "a//b", "a/", ".", &long, "bin/x", "etc/passwd"] {
        let mut recipe = example(&program);
        recipe.entries.push(entry(bad, Content::Bytes(Vec::new())));
        assert!(matches!(write(&recipe, &out), Err(OciError::Path { .. })), "{bad}");
    }
    let mut absent = example(&program);
    absent.entries.push(entry("x", Content::File(place.path().join("absent"))));
    assert!(matches!(write(&absent, &out), Err(OciError::Read { .. })));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left behind");
    write(&example(&program), &out).unwrap();
    let before = std::fs::read(&out).unwrap();
    assert!(matches!(write(&example(&program), &out), Err(OciError::Write { .. })));
    assert_eq!(std::fs::read(&out).unwrap(), before);
}

/// Runs `scripts/make-image.sh` with the programs of this build; the digest that it prints.
fn make(out: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let programs = Path::new(env!("CARGO_BIN_EXE_confide")).parent().unwrap();
    let made = Command::new(root.join("scripts/make-image.sh")).arg(out).env("BINARIES", programs).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_brokers_image_holds_the_program_and_runs_without_root_or_shell() {
    let place = tempfile::tempdir().unwrap();
    let (one, two) = (place.path().join("one.tar"), place.path().join("two.tar"));
    let digest = make(&one);
    assert_eq!(make(&two), digest);
    assert!(std::fs::read(&one).unwrap() == std::fs::read(&two).unwrap(), "made twice, the bytes differ");
    std::fs::remove_file(&two).unwrap();
    let image = opened(&one, concat!("confide-broker:", env!("CARGO_PKG_VERSION")));
    assert_eq!(image.config.entrypoint, ["/usr/bin/confide"]);
    let serve = ["broker", "serve", "--config", "/var/lib/confide-broker/broker/broker.toml"];
    assert_eq!(image.config.command, serve);
    assert_eq!((image.config.user.as_str(), image.config.ports[0].as_str()), ("65532:65532", "8999/tcp"));
    let root = place.path().join("root");
    std::fs::create_dir(&root).unwrap();
    unpack(&layer(&image), &root);
    let mut names: Vec<String> = Vec::new();
    list(&root, &root, &mut names);
    // Libraries besides, which this machine names.
    let ours: Vec<_> = names.iter().filter(|name| !name.starts_with("lib") && !name.starts_with("usr/lib")).collect();
    assert_eq!(ours, ["etc/group", "etc/nsswitch.conf", "etc/passwd", "usr/bin/confide"]);
    assert!(names.len() < 20, "{names:?}");

    let Some(inside) = inside(&root) else {
        println!("skipped: a program cannot be run in another root folder here");
        return;
    };
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&inside[0]);
        command
            .args(&inside[1..])
            .arg("/usr/bin/confide")
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/bin");
        command
    };
    let made = run(&["broker", "init", "--dir", "/var/lib/confide-broker/broker"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut child = run(&[&serve[..], &["--listen", "127.0.0.1:0"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_confide"))
        .args(["broker", "status", "--json", "--url", &format!("https://{}", address.trim()), "--broker-dir"])
        .arg(root.join("var/lib/confide-broker/broker"))
        .output()
        .unwrap();
    let _ = child.kill();
    let _ = child.wait();
    assert!(status.status.success(), "{address} {}", String::from_utf8_lossy(&status.stderr));
    assert!(!root.join("bin/sh").exists() && !root.join("usr/bin/sh").exists());
}

/// How a program is run with another root folder, as the image's user where that can be.
fn inside(root: &Path) -> Option<Vec<String>> {
    let root = root.display().to_string();
    let ways = [
        vec!["chroot".to_owned(), "--userspec=65532:65532".to_owned(), root.clone()],
        vec!["unshare".to_owned(), "--map-root-user".to_owned(), format!("--root={root}")],
    ];
    ways.into_iter().find(|way| {
        let tried = Command::new(&way[0]).args(&way[1..]).args(["/usr/bin/confide", "--version"]).output();
        tried.is_ok_and(|tried| tried.status.success())
    })
}

/// Unpacks with the system's tar, which keeps owners where it may.
fn unpack(layer: &[u8], root: &Path) {
    let mut tar = Command::new("tar")
        .args(["-x", "--numeric-owner", "-C"])
        .arg(root)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("tar: {error}"));
    tar.stdin.take().unwrap().write_all(layer).unwrap();
    assert!(tar.wait().unwrap().success());
}

fn list(root: &Path, folder: &Path, names: &mut Vec<String>) {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            list(root, &path, names);
        } else {
            names.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
}
