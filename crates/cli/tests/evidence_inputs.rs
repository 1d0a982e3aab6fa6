//! `confide evidence verify`: what it takes and from where, what it says of things that are no evidence, and that nothing
//! that is named is passed over.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failure is the finding, and what is left out is said"
)]

mod common;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::{confide, json, vectors};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const AT: &str = "2026-09-01T00:00:00Z";
const NOW: u64 = 1_788_220_800;

#[test]
fn a_token_of_azure_is_held_to_every_value_that_is_named() {
    let service = Service::new();
    let token = |more: Value| {
        let mut claims = json!({
            "iss": "https://maa.example", "iat": NOW, "nbf": NOW, "exp": NOW + 300, "nonce": "0f0f",
            "x-ms-attestation-type": "sevsnpvm", "x-ms-compliance-status": "azure-compliant-uvm",
            "x-ms-runtime": { "keys": [{ "kid": "k" }] },
            "x-ms-sevsnpvm-launchmeasurement": "01".repeat(48), "x-ms-sevsnpvm-hostdata": "02".repeat(32),
            "x-ms-sevsnpvm-reportdata": "03".repeat(64), "x-ms-sevsnpvm-is-debuggable": false,
            "x-ms-sevsnpvm-migration-allowed": false, "x-ms-sevsnpvm-vmpl": 0, "x-ms-sevsnpvm-guestsvn": 100,
            "x-ms-sevsnpvm-bootloader-svn": 3, "x-ms-sevsnpvm-tee-svn": 0, "x-ms-sevsnpvm-snpfw-svn": 8,
            "x-ms-sevsnpvm-microcode-svn": 115,
        });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        service.file("token.jwt", &service.sign(&claims))
    };
    let right = json!({
        "issuer": ["https://maa.example"], "compliance_status": ["azure-compliant-uvm"],
        "measurement": ["01".repeat(48)], "host_data": ["02".repeat(32)], "claims": { "/x-ms-runtime/keys/0/kid": "k" },
    });
    let verify = |token: &Path, changes: Value, options: &[&str]| {
        let mut wanted = right.clone();
        wanted.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        service.verify("maa", token, &wanted, options)
    };
    let file = token(json!({}));
    let (accepted, _) = verify(&file, json!({}), &["--nonce", "0f0f", "--report-data", &"03".repeat(64)]);
    assert_eq!(accepted["verified"], true, "{accepted}");
    // What was not named is said, and nothing else.
    let left: Vec<&str> =
        accepted["not_compared"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].starts_with("aud: ") && left[1].starts_with("x-ms-policy-hash: "), "{left:?}");

    for (changes, code, claim) in [
        (json!({ "issuer": ["https://other.example"] }), "E-JWT-ISSUER", "iss"),
        (json!({ "compliance_status": ["azure-compliant-cvm"] }), "E-JWT-CLAIM", "x-ms-compliance-status"),
        (json!({ "policy_hash": ["x"] }), "E-JWT-CLAIM", "x-ms-policy-hash"),
        (json!({ "measurement": ["00".repeat(48)] }), "E-MEASUREMENT", "x-ms-sevsnpvm-launchmeasurement"),
        (json!({ "host_data": ["00".repeat(32)] }), "E-HOST-DATA", "x-ms-sevsnpvm-hostdata"),
        (json!({ "claims": { "/x-ms-runtime/keys/0/kid": "j" } }), "E-JWT-CLAIM", "/x-ms-runtime/keys/0/kid"),
        (json!({ "claims": { "/x-ms-runtime/keys/1/kid": "k" } }), "E-JWT-CLAIM", "/x-ms-runtime/keys/1/kid"),
        // Values of an enclave are wanted, and the token is about a VM.
        (
            json!({ "measurement": [], "host_data": [], "mrsigner": ["00".repeat(32)] }),
            "E-JWT-CLAIM",
            "x-ms-attestation-type",
        ),
    ] {
        let (refused, status) = verify(&file, changes.clone(), &[]);
        assert_eq!([&refused["code"], &refused["claim"]], [code, claim], "{changes}: {refused}");
        assert_eq!((status, &refused["verified"]), (Some(1), &false.into()));
        assert!(refused["wanted_from"].as_str().unwrap().ends_with("maa.json"), "{refused}");
    }
    for (nonce, data, from) in [("0f0e", "03", "--nonce"), ("0f0f", "00", "--report-data")] {
        let (refused, _) = verify(&file, json!({}), &["--nonce", nonce, "--report-data", &data.repeat(64)]);
        assert_eq!([&refused["code"], &refused["wanted_from"]], ["E-JWT-BINDING", from], "{refused}");
    }
    assert_eq!(verify(&file, json!({ "mrenclave": ["00".repeat(32)] }), &[]).1, Some(2), "values of two kinds of TEE");
    let debuggable = token(json!({ "x-ms-sevsnpvm-is-debuggable": true }));
    assert_eq!(verify(&debuggable, json!({}), &[]).0["code"], "E-JWT-DEBUG");
    // A number comes back as the number that a sidecar sent; a nonce that is wanted and not there is refused.
    let number = token(json!({ "nonce": 7 }));
    assert_eq!(verify(&number, json!({}), &["--nonce", &hex::encode("7")]).0["verified"], true);
    let without = token(json!({ "nonce": "" }));
    assert_eq!(verify(&without, json!({}), &["--nonce", "0f0f"]).0["code"], "E-JWT-BINDING");
}

#[test]
fn a_result_about_gpus_is_held_to_every_value_that_is_named() {
    let service = Service::new();
    let common = json!({ "iss": "https://nras.example", "iat": NOW, "nbf": NOW, "exp": NOW + 300, "eat_nonce": "0f" });
    let with = |more: Value| {
        let mut claims = common.clone();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        service.sign(&claims)
    };
    let device = |ueid: &str, secure: bool| {
        with(json!({
            "measres": "success", "secboot": secure, "dbgstat": "disabled", "hwmodel": "GH100", "ueid": ueid,
            "x-nvidia-gpu-driver-version": "550.90.07", "x-nvidia-gpu-vbios-version": "96.00.9F.00.01",
            "x-nvidia-gpu-arch-check": true,
        }))
    };
    let eat = |secure: bool| {
        let devices = json!({ "GPU-0": device("1", true), "GPU-1": device("2", secure) });
        let digest = |name: &str| {
            let token = devices[name].as_str().unwrap();
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
            json!(["DIGEST", ["SHA-256", hex::encode(digest)]])
        };
        let submods = json!({ "GPU-0": digest("GPU-0"), "GPU-1": digest("GPU-1") });
        let overall = with(json!({ "x-nvidia-overall-att-result": true, "submods": submods, "x-nvidia-ver": "3.0" }));
        service.file("eat.json", &json!([["JWT", overall], devices]).to_string())
    };
    let right = json!({
        "issuer": ["https://nras.example"], "count": 2, "driver": ["550.90.07"], "vbios": ["96.00.9F.00.01"],
        "devices": ["1", "2"], "hardware_model": ["GH100"], "claims": { "x-nvidia-ver": "3.0" },
        "device_claims": { "x-nvidia-gpu-arch-check": true },
    });
    let verify = |file: &Path, member: &str, value: Value, options: &[&str]| {
        let mut wanted = right.clone();
        wanted[member] = value;
        service.verify("nras", file, &wanted, options).0
    };
    let file = eat(true);
    let accepted = verify(&file, "count", 2.into(), &["--nonce", "0f"]);
    assert_eq!(accepted["verified"], true, "{accepted}");
    assert_eq!(
        accepted["not_compared"].as_array().unwrap().len(),
        1,
        "the audience, which NVIDIA's service has none of"
    );
    for (member, value, code) in [
        ("count", json!(1), "E-JWT-SUBMOD"),
        ("driver", json!(["550.90.08"]), "E-JWT-CLAIM"),
        ("vbios", json!(["96.00.9F.00.02"]), "E-JWT-CLAIM"),
        ("devices", json!(["1"]), "E-JWT-CLAIM"),
        ("hardware_model", json!(["GB100"]), "E-JWT-CLAIM"),
        ("claims", json!({ "x-nvidia-ver": "2.0" }), "E-JWT-CLAIM"),
        ("device_claims", json!({ "x-nvidia-gpu-arch-check": false }), "E-JWT-CLAIM"),
        ("device_claims", json!({ "x-nvidia-other": true }), "E-JWT-CLAIM"),
    ] {
        let refused = verify(&file, member, value.clone(), &[]);
        assert_eq!(refused["code"], code, "{member}: {value}: {refused}");
    }
    assert_eq!(verify(&file, "count", 2.into(), &["--nonce", "0e"])["code"], "E-JWT-BINDING");
    assert_eq!(verify(&eat(false), "count", 2.into(), &[])["code"], "E-JWT-STATUS");
}

#[test]
fn stdin_is_a_file_and_what_is_no_evidence_is_not_verified() {
    let (nothing, status) = piped(b"neither", &["--json"]);
    assert_eq!((status, &nothing["verified"], &nothing["code"]), (Some(1), &false.into(), &"E-EVIDENCE".into()));
    assert_eq!(nothing["claims"], json!({}));
    let short = piped(&[0; 1183], &["--json", "--type", "snp"]).0;
    assert_eq!(
        [&short["code"], &short["verified"], &short["claims"]],
        [&json!("E-SNP-FORMAT"), &json!(false), &json!({})]
    );

    let Some(snp) = vectors("snp") else { return };
    let report = fs::read(snp.join("reports/milan-v3-dstack.bin")).unwrap();
    let (vek, roots) = (snp.join("certs/milan-v3-dstack.vek.der"), snp.join("roots"));
    let collateral = ["--json", "--at", "2026-07-17T00:00:00Z", "--collateral", text(&vek), text(&roots)];
    assert_eq!(piped(&report, &collateral).0["verified"], true);
}

#[test]
fn an_option_that_says_nothing_about_this_kind_is_not_passed_over() {
    let Some(snp) = vectors("snp") else { return };
    let report = snp.join("reports/milan-v3-dstack.bin");
    let gpu = snp.parent().unwrap().join("nvgpu/evidence-json/hopper_evidence.json");
    for (file, option) in [
        (&report, ["--nonce", "00"]),
        (&report, ["--enrolled-key", "/dev/null"]),
        (&gpu, ["--report-data", "00"]),
        (&gpu, ["--allow-debug", "why"]),
        (&gpu, ["--floors", "shipped"]),
    ] {
        let output =
            confide(&[&["evidence", "verify", text(file), "--accept-any", "a test", "--json"], &option[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{option:?}");
        let said = json(&output)["error"].as_str().unwrap().to_owned();
        assert!(said.starts_with(option[0]), "{said}");
    }
}

#[test]
fn azures_own_files_are_collateral_and_the_floor_of_the_utility_vm_says_where_it_is_from() {
    let Some(snp) = vectors("snp") else { return };
    let folder = tempfile::tempdir().unwrap();
    let report = snp.join("reports/milan-aci.bin");
    let host = snp.join("aci/uvm_host_amd_certificate.json");
    let verify =
        |options: &[&str]| json(&confide(&[&["evidence", "verify", text(&report), "--json"], options].concat()));
    // As a plain report, with the certificates in the form of Azure's service.
    assert_eq!(verify(&["--accept-any", "a test", "--collateral", text(&host)])["verified"], true);
    // As a container group: the three files of the security context folder, which have no extension there.
    let context = folder.path().join("security-context");
    fs::create_dir(&context).unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(context.join(name), bytes).unwrap();
    put("host-amd-cert-base64", STANDARD.encode(fs::read(&host).unwrap()).as_bytes());
    put(
        "reference-info-base64",
        STANDARD.encode(fs::read(snp.join("aci/body.uvm_reference_info.bin")).unwrap()).as_bytes(),
    );
    put("security-policy-base64", &fs::read(snp.join("aci/uvm_security_policy.base64")).unwrap());
    let group = ["--type", "aci", "--collateral", text(&context)];
    let accepted = verify(&[&group[..], &["--accept-any", "a test"]].concat());
    let policy = "cadd74f71ebb8fbf9782baab649612520f3c416bc5ce9ac768808ddc8d9b031c";
    assert_eq!(
        [&accepted["verified"], &accepted["claims"]["policy_sha256"]],
        [&json!(true), &json!(policy)],
        "{accepted}"
    );

    let reference = folder.path().join("aci.json");
    let by = |values: Value| {
        fs::write(&reference, values.to_string()).unwrap();
        verify(&[&group[..], &["--reference", text(&reference)]].concat())
    };
    let old = by(json!({ "version": 1, "type": "aci", "host_data": [policy] }));
    assert_eq!([&old["code"], &old["claim"], &old["wanted"]], ["E-ACI-SVN", "uvm.svn", "at least 104"], "{old}");
    let from = old["wanted_from"].as_str().unwrap();
    assert!(from.contains("Confidential_ACI_SCHEME.md") && from.contains("2026-08-20"), "{from}");
    let own = by(json!({ "version": 1, "type": "aci", "host_data": [policy], "svn": 23 }));
    assert_eq!([&own["code"], &own["wanted_from"]], ["E-ACI-SVN", text(&reference)], "{own}");
    assert_eq!(by(json!({ "version": 1, "type": "aci", "host_data": [policy], "svn": 22 }))["verified"], true);

    // Another policy than the one in HOST_DATA.
    put("security-policy-base64", STANDARD.encode("package policy\n").as_bytes());
    assert_eq!(by(json!({ "version": 1, "type": "aci", "svn": 22 }))["code"], "E-ACI-POLICY");
    fs::remove_file(context.join("reference-info-base64")).unwrap();
    let lacking = by(json!({ "version": 1, "type": "aci" }));
    assert_eq!(lacking["code"], "E-ACI-FORMAT");
    assert!(lacking["reason"].as_str().unwrap().contains("reference-info-base64"), "{lacking}");
}

#[test]
fn files_about_something_else_in_a_folder_do_no_harm() {
    let Some(tdx) = vectors("tdx") else { return };
    let folder = tempfile::tempdir().unwrap();
    let vector = tdx.join("phala_v4_B0C06F000000");
    fs::copy(vector.join("collateral.json"), folder.path().join("collateral.json")).unwrap();
    fs::write(folder.path().join("manifest.json"), r#"{"vectors":[]}"#).unwrap();
    fs::write(folder.path().join("policy.rego"), "package policy\n").unwrap();
    let quote = vector.join("quote.bin");
    let arguments = ["evidence", "verify", text(&quote), "--accept-any", "a test", "--json", "--at"];
    let arguments = [&arguments[..], &["2025-06-27T04:53:20Z", "--collateral"]].concat();
    let verdict = json(&confide(&[&arguments[..], &[text(folder.path())]].concat()));
    assert_eq!(verdict["verified"], true, "{verdict}");
    // What is named by itself has to be collateral.
    let named = folder.path().join("manifest.json");
    let output = confide(&[&arguments[..], &[text(&named)]].concat());
    assert_eq!((output.status.code(), json(&output)["code"].clone()), (Some(2), "E-DCAP-COLLATERAL".into()));
}

#[test]
fn a_reader_that_goes_away_changes_no_verdict() {
    for (what, status) in [("E-SNP-DEBUG", Some(0)), ("E-NOPE", Some(2))] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_confide"));
        let output = command.args(["explain", what, "--json"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), status, "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    // A disk that is full is another matter.
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let mut command = Command::new(env!("CARGO_BIN_EXE_confide"));
    let output = command.args(["explain", "E-SNP-DEBUG"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A service that signs tokens, and its files.
struct Service {
    key: EcdsaKeyPair,
    folder: tempfile::TempDir,
}

impl Service {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        let keys = json!({ "keys": [{ "kid": "key", "kty": "EC", "crv": "P-256", "x": x, "y": y }] });
        fs::write(folder.path().join("keys.jwks"), keys.to_string()).unwrap();
        Self { key, folder }
    }

    fn sign(&self, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&json!({ "alg": "ES256", "kid": "key" })), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The answer and the exit status, with these reference values of a kind.
    fn verify(&self, kind: &str, file: &Path, wanted: &Value, options: &[&str]) -> (Value, Option<i32>) {
        let mut reference = wanted.clone();
        reference["version"] = 1.into();
        reference["type"] = kind.into();
        let reference = self.file(&format!("{kind}.json"), &reference.to_string());
        let keys = self.folder.path().join("keys.jwks");
        let arguments = ["evidence", "verify", text(file), "--json", "--at", AT, "--reference", text(&reference)];
        let output = confide(&[&arguments[..], &["--collateral", text(&keys)], options].concat());
        (json(&output), output.status.code())
    }
}

/// The answer about what comes on stdin.
fn piped(bytes: &[u8], options: &[&str]) -> (Value, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_confide"));
    let command = command.args(["evidence", "verify", "-", "--accept-any", "a test"]).args(options);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output: Output = child.wait_with_output().unwrap();
    (json(&output), output.status.code())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
