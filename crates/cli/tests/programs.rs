//! What the two programs are and are not, from outside.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::process::{Command, Output};

fn confide(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_confide")).args(arguments).current_dir(folder.path()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn confide_holds_nothing_of_the_emulator() {
    // Texts that are in the emulator only: a name in its certificates, and two of its errors. The test reads both programs, so that
    // it would notice if the emulator stopped using them.
    let with = std::fs::read(env!("CARGO_BIN_EXE_confide-dev")).unwrap();
    let without = std::fs::read(env!("CARGO_BIN_EXE_confide")).unwrap();
    for mark in ["TEST ONLY NOT AMD", "nothing is emulated beside it", "that is no report request"] {
        let holds = |program: &[u8]| program.windows(mark.len()).any(|window| window == mark.as_bytes());
        assert!(holds(&with), "confide-dev lacks {mark}");
        assert!(!holds(&without), "confide holds {mark}");
    }
}

#[test]
fn up_without_the_hardware_names_confide_dev() {
    if std::path::Path::new("/dev/sev").exists() {
        println!("skipped: this machine has the hardware");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.yml");
    std::fs::write(
        &file,
        "compute_env: onprem_cvm\ncc_cpu_mechanism: amd_sev_snp\nrole: client\ndocker_archive: a.tar\n",
    )
    .unwrap();
    let output = confide(&["up", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("confide-dev up"), "{}", stderr(&output));
}

#[test]
fn a_development_broker_needs_confide_dev() {
    let folder = tempfile::tempdir().unwrap();
    let broker = folder.path().join("broker");
    let made = confide(&["broker", "init", "--dir", broker.to_str().unwrap()]);
    assert!(made.status.success(), "{}", stderr(&made));
    let output = confide(&["broker", "serve", "--dev", "--config", broker.join("broker.toml").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("E-EMULATED"), "{}", stderr(&output));
}

#[test]
fn a_code_is_explained_and_a_wrong_one_is_told() {
    let output = confide(&["explain", "E-SNP-DEBUG"]);
    assert!(output.status.success());
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(page.contains("debugging allowed") && page.contains("fix"), "{page}");
    let output = confide(&["explain", "E-NOT-A-CODE"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("confide explain --list"));
}

#[test]
fn a_wrong_option_is_a_usage_error() {
    assert_eq!(confide(&["build", "--colour"]).status.code(), Some(2));
    assert_eq!(confide(&["--version"]).status.code(), Some(0));
    for shell in ["bash", "zsh", "fish"] {
        let output = confide(&["completions", shell]);
        assert!(output.status.success() && output.stdout.len() > 1000, "{shell}");
    }
}

#[test]
fn a_workload_file_with_an_unknown_key_names_line_and_nearest_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.yml");
    std::fs::write(&file, "compute_env: onprem_cvm\ncc_cpu_mechanism: amd_sev_snp\nrole: client\nallowed_port: [80]\ndocker_archive: a.tar\n").unwrap();
    let output = confide(&["build", file.to_str().unwrap(), "-o", "out"]);
    assert_eq!(output.status.code(), Some(2));
    let words = stderr(&output);
    assert!(words.contains("line 4") && words.contains("allowed_port") && words.contains("allowed_ports"), "{words}");
}

#[test]
fn a_command_line_that_is_not_understood_is_an_object_for_programs_too() {
    let output = confide(&["explain", "--json", "--jsn", "E-SNP-DEBUG"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: unexpected argument '--jsn' found"), "{}", stderr(&output));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["error"], "unexpected argument '--jsn' found");
    assert_eq!(said["hints"][0], "tip: a similar argument exists: '--json'", "{said}");
    let plain = confide(&["explain", "--jsn"]);
    assert!(plain.status.code() == Some(2) && plain.stdout.is_empty());
    let help = confide(&["explain", "--json", "--help"]);
    assert!(help.status.success() && !help.stdout.starts_with(b"{"));
}

#[test]
fn a_broker_that_no_guest_could_reach_is_told_before_the_build() {
    for url in ["https://a", "https://[::1]:1", "http://a:1", "https://a:1/kbs"] {
        let build = ["build", "w.yml", "-o", "out", "--broker-url", url, "--broker-identity", &"0".repeat(64)];
        let output = confide(&build);
        assert_eq!(output.status.code(), Some(2));
        let wanted = format!("error: --broker-url `{url}` is not `https://HOST:PORT` [E-FORMAT]");
        assert!(stderr(&output).starts_with(&wanted), "{}", stderr(&output));
    }
}
