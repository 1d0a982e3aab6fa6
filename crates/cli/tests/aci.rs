//! `confide aci`, from outside: archives in, exact bytes out.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder with an image archive and a template that names the image.
struct Work {
    folder: TempDir,
}

impl Work {
    fn new() -> Self {
        let work = Self { folder: tempfile::tempdir().unwrap() };
        let layer = tar(&[("run", b"#!/bin/sh\n")]);
        let digest = claims::Digest256::of(&layer);
        let config = json!({
            "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
            "config": { "Env": ["PATH=/bin"], "Entrypoint": ["/run"], "WorkingDir": "/w" }
        });
        let config = config.to_string();
        let name = format!("{}.json", claims::Digest256::of(config.as_bytes()));
        let manifest = json!([{ "Config": name, "RepoTags": ["reg.example/app:1"], "Layers": ["l/layer.tar"] }]);
        let manifest = manifest.to_string();
        let files =
            [("manifest.json", manifest.as_bytes()), (name.as_str(), config.as_bytes()), ("l/layer.tar", &layer)];
        std::fs::write(work.path("app.tar"), tar(&files)).unwrap();
        work.template(&json!({ "image": "reg.example/app:1" }));
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn template(&self, properties: &Value) {
        let text = serde_json::to_string_pretty(&json!({ "resources": [{
            "type": "Microsoft.ContainerInstance/containerGroups", "name": "group1", "properties": {
                "confidentialComputeProperties": { "ccePolicy": "" },
                "containers": [{ "name": "app", "properties": properties }]
            }
        }] }));
        std::fs::write(self.path("template.json"), text.unwrap()).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_confide"));
        command.arg("aci").args(arguments).current_dir(self.folder.path());
        command
    }

    /// Makes the policy of the template.
    fn policy(&self, options: &[&str]) -> Output {
        let mut arguments = vec!["policy", "-a", "template.json", "--tar", "app.tar"];
        arguments.extend(options);
        self.run(&arguments)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

/// A tar file of regular files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000755\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte: &u8| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.extend([0; 1024]);
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_exact_bytes_go_out_and_their_digest_is_the_host_data() {
    let work = Work::new();
    let output = work.policy(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let policy = text(&output.stdout);
    assert!(policy.starts_with("package policy\n\nimport") && policy.ends_with("data.framework.errors}"));
    assert!(policy.contains("\"command\":[\"/run\"]") && policy.contains("\"working_dir\":\"/w\""), "{policy}");
    let digest = claims::Digest256::of(policy.as_bytes()).to_string();
    assert!(text(&output.stderr).contains(&digest), "{}", text(&output.stderr));

    let output = work.run(&["policy", "-a", "template.json", "--image", "reg.example/app:1=app.tar", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["policy"].as_str(), Some(policy.as_str()));
    assert_eq!(answer["host_data"].as_str(), Some(digest.as_str()));
    assert_eq!(answer["cce_policy"].as_str(), Some(STANDARD.encode(&policy).as_str()));
    assert_eq!(answer["containers"][0]["layers"].as_array().map(Vec::len), Some(1));
    let codes: Vec<&str> =
        answer["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["E-CCE-ENV-DROPPED", "E-CCE-UNPINNED"]);

    let output = work.policy(&["--print-policy"]);
    assert_eq!(text(&output.stdout).trim_end(), STANDARD.encode(&policy));
    let mut measure = Command::new(env!("CARGO_BIN_EXE_confide"));
    let layer = text(&measure.args(["measure", "layers"]).arg(work.path("app.tar")).output().unwrap().stdout);
    assert!(policy.contains(layer.trim()), "{layer} is not in {policy}");
}

#[test]
fn an_image_without_an_archive_is_named() {
    let work = Work::new();
    work.template(&json!({ "image": "reg.example/other:2" }));
    let output = work.policy(&[]);
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stderr);
    assert!(words.contains("`reg.example/other:2`") && words.contains("E-CCE-IMAGE"), "{words}");
    assert!(output.stdout.is_empty());
    assert_eq!(work.run(&["policy"]).status.code(), Some(2));
}

#[test]
fn strict_refuses_findings_before_anything_is_written() {
    let work = Work::new();
    let before = work.read("template.json");
    let output = work.policy(&["--strict", "--in-place"]);
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stderr);
    assert!(words.contains("E-CCE-FINDINGS") && words.contains("E-CCE-ENV-DROPPED"), "{words}");
    assert_eq!(work.read("template.json"), before);
    assert!(work.policy(&["--in-place", "--dry-run"]).status.success());
    assert_eq!(work.read("template.json"), before);
}

#[test]
fn a_policy_in_the_template_is_compared_and_printed() {
    let work = Work::new();
    let output = work.policy(&["--diff"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("E-CCE-ALLOW-ALL"), "{}", text(&output.stdout));
    let before = work.read("template.json");
    let policy = text(&work.policy(&[]).stdout);
    assert!(work.policy(&["--in-place"]).status.success());
    let with = work.read("template.json");
    assert_eq!(
        with,
        before.replace("\"ccePolicy\": \"\"", &format!("\"ccePolicy\": \"{}\"", STANDARD.encode(&policy)))
    );
    assert!(work.policy(&["--diff"]).status.success());
    let printed = work.policy(&["--print-existing-policy"]);
    assert_eq!(text(&printed.stdout), policy);

    std::fs::write(
        work.path("template.json"),
        with.replace("reg.example/app:1\"", "reg.example/app:1\", \"command\": [\"/x\"]"),
    )
    .unwrap();
    let output = work.policy(&["--diff", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["code"], json!("E-CCE-DIFF"));
    let wanted = json!([{
        "group": "group1", "container": "app", "field": "command", "got": "[\"/x\"]", "wanted": "[\"/run\"]"
    }]);
    assert_eq!(answer["differences"], wanted);
}

#[test]
fn a_refusal_is_explained_and_requests_are_checked() {
    let work = Work::new();
    assert!(work.policy(&["--in-place"]).status.success());
    let request = json!({
        "containerID": "c", "argList": ["/bin/sh"], "envList": [], "workingDir": "/w", "mounts": [], "devices": [],
        "privileged": false, "noNewPrivileges": false, "user": { "id": "0", "name": "root" }, "groups": [],
        "umask": "0022", "capabilities": "[unprivileged]", "seccompProfileSHA256": "", "sandboxDir": "/s"
    });
    let decision = json!({ "decision": "deny", "input": request, "reason": { "errors": ["invalid command"] } });
    let message = format!("Failed: policyDecision< {} >policyDecision", STANDARD.encode(decision.to_string()));
    let mut child = work
        .command(&["explain", "-", "--policy", "template.json", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["rule"], json!("create_container"));
    let wanted = json!({ "container": "app", "differences": [
        { "field": "command", "got": "[\"/bin/sh\"]", "wanted": "[\"/run\"]" }
    ] });
    assert_eq!(answer["nearest"], wanted);
    let output = work.run(&["explain", "no decision"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("E-ACI-DECISION"));

    let requests = json!([{ "name": "get_properties", "input": {} }, { "name": "dump_stacks", "input": {} }]);
    std::fs::write(work.path("requests.json"), requests.to_string()).unwrap();
    let output = work.run(&["check", "template.json", "requests.json", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["decisions"][0]["allowed"], json!(true));
    assert_eq!((&answer["denied"], &answer["code"]), (&json!(1), &json!("E-CCE-DENIED")));
}

/// Every case of the vectors through the program, where they are.
#[test]
fn the_vectors_decisions_come_out_of_the_program() {
    let named = std::env::var_os("CONFIDE_VECTORS").map(PathBuf::from);
    let folder = named
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"))
        .join("cce/cases");
    let Ok(folder) = folder.canonicalize() else {
        println!("skipped: vectors are not here");
        return;
    };
    let file = |name: &str| folder.join(name).display().to_string();
    let work = Work::new();
    let output =
        work.run(&["check", &file("01-happy.rego"), &file("01-happy.commands.json"), "--data", &file("data.json")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains("DENY  signal_container_process  target isn't allowed to receive the signal")
    );
}
