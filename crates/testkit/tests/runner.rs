//! The vectors' runner from outside: exit status, output that nobody reads, and manifests that differ from the published
//! ones in what they hold.
#![expect(clippy::unwrap_used, reason = "what a test is about is asserted; the rest may fail as it likes")]

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn run(folder: &Path) -> (Output, Vec<Value>) {
    let output = Command::new(env!("CARGO_BIN_EXE_vectors")).arg(folder).arg("--json").output().unwrap();
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    (output, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn nothing_run_is_no_success_and_neither_is_a_disagreement() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("deep/er/manifest.json");
    fs::create_dir_all(manifest.parent().unwrap()).unwrap();
    let sum = |verified, refused, disagree, skipped| json!({ "verified": verified, "refused_as_expected": refused, "disagree": disagree, "skipped": skipped });
    let status = |content: Option<&str>| {
        if let Some(content) = content {
            fs::write(&manifest, content).unwrap();
        }
        let (output, lines) = run(folder.path());
        (output.status.code(), lines.last().cloned().unwrap_or_default())
    };
    assert_eq!(status(None), (Some(3), sum(0, 0, 0, 0)));
    assert_eq!(status(Some(r#"{"format":1}"#)), (Some(3), sum(0, 0, 0, 1)), "a kind that is not known");
    assert_eq!(status(Some("{")), (Some(1), sum(0, 0, 1, 0)));
    let missing = r#"{"vectors":[{"name":"x","dir":"x","quote":"quote.bin","expected":{}}]}"#;
    assert_eq!(status(Some(missing)), (Some(1), sum(0, 0, 1, 0)));
    let wrong = json!({ "layers": [{ "id": "x", "tar": "x.tar", "root_hash": "00" }] });
    fs::write(manifest.with_file_name("x.tar"), []).unwrap();
    assert_eq!(status(Some(&wrong.to_string())), (Some(1), sum(0, 0, 1, 0)));
    let right = json!({ "layers": [{ "id": "x", "tar": "x.tar", "ext4_size": 57_344 }] });
    assert_eq!(status(Some(&right.to_string())), (Some(0), sum(1, 0, 0, 0)));
}

#[test]
fn a_reader_that_goes_away_ends_the_run_without_a_word() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_vectors"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let output = command.arg(folder).arg("--json").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(3), ""));
}

#[test]
fn quotes_that_only_an_independent_check_vouches_for_are_judged_by_what_it_saw() {
    let published = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    let Ok(manifest) = fs::read(published.join("sgx/manifest.json")) else {
        return eprintln!("skipped: vectors are not here");
    };
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let entry = |name: &str, without: &[&str]| {
        let all = manifest["vectors"].as_array().unwrap();
        let entry = all.iter().find(|entry| entry["name"] == name).unwrap().clone();
        let (from, to) = (published.join("sgx").join(name), folder.path().join(name));
        fs::create_dir_all(&to).unwrap();
        fs::copy(from.join("quote.bin"), to.join("quote.bin")).unwrap();
        if let Ok(collateral) = fs::read(from.join("collateral.json")) {
            let mut collateral: Value = serde_json::from_slice(&collateral).unwrap();
            collateral.as_object_mut().unwrap().retain(|member, _| !without.contains(&member.as_str()));
            fs::write(to.join("collateral.json"), collateral.to_string()).unwrap();
        }
        entry
    };
    // Its collateral lacks both lists; they are lent by the other vector, whose platform is another.
    let mut listless = entry("mobilecoin_v3_00906ED50000", &["root_ca_crl", "pck_crl"]);
    listless["expected"]["dcap_qvl_0_7_1"]["error"] = "missing field `root_ca_crl`".into();
    let vectors = json!({ "vectors": [listless, entry("phala_v3_00A067110000", &[])] });
    fs::write(folder.path().join("manifest.json"), vectors.to_string()).unwrap();
    let (output, lines) = run(folder.path());
    assert_eq!(output.status.code(), Some(0), "{lines:#?}");
    let got = |name: &str| lines.iter().find(|line| line["name"] == name).map(|line| line["got"].clone());
    let name = "mobilecoin_v3_00906ED50000";
    assert_eq!(got(&format!("{name} (no revocation list)")), Some("refuse".into()));
    assert_eq!([got(name), got(&format!("{name} (strict)"))], [Some("accept".into()), Some("refuse".into())]);

    // No collateral anywhere: the signatures are what is judged.
    let alone = json!({ "vectors": [entry("openenclave_qvetest", &[])] });
    fs::write(folder.path().join("manifest.json"), alone.to_string()).unwrap();
    let (output, lines) = run(folder.path());
    assert_eq!(output.status.code(), Some(0), "{lines:#?}");
    assert!(lines.iter().any(|line| line["name"] == "openenclave_qvetest (signatures)" && line["got"] == "accept"));
}
