//! The VM is booted for real: once as it was built, then after each thing the host can change.
//!
//! One test, because all of it shares one broker and one bundle, and two virtual CPUs are all there is. Beside it runs
//! the boot that has no broker: two minutes of waiting, and hardly any work.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test says what went wrong by failing")]

#[path = "common/house.rs"]
mod house;

use house::{House, words};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A house, and the example's workload file.
fn open() -> Option<(House, PathBuf)> {
    let example = repository().join("examples/hello");
    if !example.join("hello.tar").exists() {
        println!("skipped: examples/hello/hello.tar is not there; scripts/build.sh makes it");
        return None;
    }
    House::open().map(|house| (house, example.join("workload.yml")))
}

/// What is booted here, and how it must end.
impl House {
    /// A copy of the bundle that `change` has been let at.
    fn changed(&self, name: &str, change: impl FnOnce(&Path)) -> PathBuf {
        let copy = self.path(name);
        let status = Command::new("cp").arg("-r").arg(self.path("workspace/bundle")).arg(&copy).status().unwrap();
        assert!(status.success());
        change(&copy);
        copy
    }

    /// Starts a bundle that must be refused; returns what the launcher said.
    fn refused(&self, bundle: &Path, code: &str) -> String {
        let output = self.run(&["launch", bundle.to_str().unwrap(), "--publish", "8080:0"]);
        let words = words(&output);
        assert_eq!(output.status.code(), Some(1), "{code}\n{words}");
        assert!(words.contains(&format!("confide: halt code={code} ")), "{code}\n{words}");
        assert!(!words.contains("step=container"), "{code}\n{words}");
        words
    }

    fn last_decision(&self, code: &str) -> Value {
        let list = self.json(&["audit", "show", "--json", "--last", "100"]);
        let entries = list["entries"].as_array().unwrap();
        entries
            .iter()
            .rev()
            .find(|entry| entry["code"] == code)
            .unwrap_or_else(|| panic!("no {code} in {list}"))
            .clone()
    }
}

fn edit(path: &Path, from: &str, to: &str) {
    let before = std::fs::read_to_string(path).unwrap();
    let after = before.replacen(from, to, 1);
    assert_ne!(before, after, "{from} is not in {}", path.display());
    std::fs::write(path, after).unwrap();
}

#[test]
fn one_guest_is_believed_and_every_changed_one_is_refused() {
    let Some((house, workload)) = open() else { return };
    let up = ["up", workload.to_str().unwrap(), "--json", "--guest", house.guest()];

    println!("boot: as built");
    let answer = house.json(&up);
    assert_eq!(answer["attested"], true);
    assert_eq!(answer["emulated"], true);
    assert_eq!(answer["proof"]["right"], true);
    let explained = house.run(&["explain", answer["decision"].as_str().unwrap()]);
    assert!(words(&explained).contains("permitted"), "{}", words(&explained));

    println!("boot: a second guest beside the first is served and flagged");
    beside(&house);

    println!("boot: a changed command line");
    let bundle = house.changed("command-line", |copy| {
        edit(&copy.join("manifest.json"), "\"command_line\": \"", "\"command_line\": \"debug ");
    });
    house.refused(&bundle, "E-MEASUREMENT");
    let entry = house.last_decision("E-MEASUREMENT");
    let page = words(&house.run(&["explain", entry["decision"].as_str().unwrap()]));
    assert!(page.contains("E-MEASUREMENT") && page.contains("wanted"), "{page}");
    let difference = words(&house.run(&[
        "measure",
        "diff",
        house.path("workspace/bundle").to_str().unwrap(),
        bundle.to_str().unwrap(),
    ]));
    assert!(difference.contains("kernel command line: `debug` added; all else equal"), "{difference}");

    println!("boot: a changed site.json");
    let bundle = house.changed("site", |copy| {
        edit(&copy.join("site.json"), "\"check_frequency\": 120", "\"check_frequency\": 999");
    });
    house.refused(&bundle, "E-SITE");

    println!("boot: a changed site.json, and the host says so at launch");
    let bundle = house.changed("site-and-host-data", |copy| {
        let manifest = std::fs::read_to_string(copy.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        edit(&copy.join("site.json"), "\"check_frequency\": 120", "\"check_frequency\": 999");
        let digest = claims::site::host_data(&std::fs::read(copy.join("site.json")).unwrap());
        edit(&copy.join("manifest.json"), manifest["host_data"].as_str().unwrap(), &digest.to_string());
    });
    house.refused(&bundle, "E-HOST-DATA");

    println!("boot: a flipped block of the root volume");
    let bundle = house.changed("root", |copy| {
        let status = Command::new("qemu-io")
            .args(["-f", "qcow2", "-c", "write -q -P 0x55 16M 4k"])
            .arg(copy.join("crypt_root.qcow2"))
            .status()
            .unwrap();
        assert!(status.success());
    });
    house.refused(&bundle, "E-ROOT");

    println!("boot: a wrong volume key");
    let path = volume_key_path(&house);
    let wrong = house.path("wrong.key");
    std::fs::write(&wrong, [7; 32]).unwrap();
    house.json(&["secret", "put", &path, "--file", wrong.to_str().unwrap(), "--json"]);
    let bundle = house.changed("wrong-key", |_| {});
    house.refused(&bundle, "E-ROOT");

    let whole = house.json(&["audit", "verify", "--json"]);
    assert_eq!(whole["ok"], true, "{whole}");
    no_secret_in_any_log(&house);

    // The first guest has run all the while; it ends by itself, and its workload before it.
    assert_eq!(house.json(&["down", "--json"])["ended"], serde_json::json!(["VM", "broker"]));
    let console = std::fs::read_to_string(house.path("workspace/vm.log")).unwrap();
    let end = console.split_once("ending the VM").expect("no word of the end").1;
    assert!(end.contains("asked to stop") && end.contains("workload ended with status 0"), "{end}");
    assert!(!end.contains("it was killed"), "{end}");
    assert_eq!(house.json(&["down", "--json"])["ended"], serde_json::json!([]));
}

#[test]
fn a_guest_without_its_broker_tries_for_a_while_and_halts_with_everything_locked() {
    let Some((house, workload)) = open() else { return };
    let bundle = house.path("lonely");
    // Port 1 of the emulator's host: nobody listens there.
    let nobody = ["--broker-url", "https://10.0.2.2:1", "--broker-identity", &"0".repeat(64)];
    let build = ["build", workload.to_str().unwrap(), "-o", bundle.to_str().unwrap(), "--json", "--guest"];
    house.json(&[&build[..], &[house.guest()], &nobody[..]].concat());

    println!("boot: no broker");
    let said = house.refused(&bundle, "E-BROKER");
    let again: Vec<&str> =
        said.lines().filter_map(|line| line.split_once("trying again in ")).map(|(_, s)| s).collect();
    assert_eq!(again[..6], ["1.00 s", "2.00 s", "4.00 s", "8.00 s", "15.00 s", "15.00 s"], "{said}");
    let halt = said.lines().find(|line| line.starts_with("confide: halt ")).unwrap();
    assert!(halt.starts_with("confide: halt code=E-BROKER gave up after 1"), "{halt}");
    assert!(halt.contains("the broker cannot be reached"), "{halt}");
    assert!(said.contains("error: the guest halted: gave up after") && said.contains("[E-BROKER]"), "{said}");
    for step in ["evidence", "key", "volume", "drives"] {
        assert!(!said.contains(&format!("step={step} ")), "{said}");
    }
    let applog = house.run(&["inspect", bundle.join("applog.qcow2").to_str().unwrap(), "/boot.log"]);
    assert!(words(&applog).contains(halt), "{}", words(&applog));
}

fn volume_key_path(house: &House) -> String {
    let site: Value =
        serde_json::from_slice(&std::fs::read(house.path("workspace/bundle/site.json")).unwrap()).unwrap();
    site["volume_key"].as_str().unwrap().to_owned()
}

/// Starts the same bundle once more while the first guest runs, until its workload is up.
fn beside(house: &House) {
    use std::io::{BufRead, BufReader};
    let copy = house.changed("second", |_| {});
    let mut child = house
        .command(&["launch", copy.to_str().unwrap(), "--publish", "8080:0"])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut seen = Vec::new();
    let mut ready = false;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        ready |= line.contains("step=ready");
        seen.push(line);
        if ready {
            break;
        }
    }
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    child.wait().unwrap();
    assert!(ready, "{}", seen.join("\n"));
    let list = house.json(&["audit", "show", "--json", "--last", "100"]);
    assert!(list["entries"].as_array().unwrap().iter().any(|entry| entry["concurrent"] == true), "{list}");
}

/// Adversary 61: no secret, raw, as hex or as base64, in any log, disk in clear, or list of arguments.
fn no_secret_in_any_log(house: &House) {
    use base64::Engine;
    let workspace = house.path("workspace");
    let folder = |name: &str| std::fs::read_dir(workspace.join(name)).unwrap().flatten().map(|entry| entry.path());
    let secrets: Vec<(String, Vec<u8>)> = folder("keys")
        .chain(folder("secrets"))
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    assert_eq!(secrets.len(), 2, "one volume key and one secret of the workload");
    let mut places: Vec<(String, Vec<u8>)> = Vec::new();
    for name in [
        "vm.log",
        "broker.log",
        "running.json",
        "bundle/applog.qcow2",
        "bundle/site.json",
        "bundle/manifest.json",
        "bundle/reference.json",
    ] {
        places.push((name.to_owned(), std::fs::read(workspace.join(name)).unwrap_or_default()));
    }
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            places.push((
                format!("{}/{file}", entry.path().display()),
                std::fs::read(entry.path().join(file)).unwrap_or_default(),
            ));
        }
    }
    for (what, secret) in secrets {
        assert_eq!(secret.len(), 32, "{what}");
        let forms = [
            secret.clone(),
            hex::encode(&secret).into_bytes(),
            hex::encode_upper(&secret).into_bytes(),
            base64::engine::general_purpose::STANDARD_NO_PAD.encode(&secret).into_bytes(),
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&secret).into_bytes(),
        ];
        for (place, bytes) in &places {
            for form in &forms {
                assert!(!bytes.windows(form.len()).any(|window| window == form), "{what} is in {place}");
            }
        }
    }
}
