//! `confide measure` from outside: what it prints, how it ends, and what it says about two of a kind.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test says what went wrong by failing")]

use claims::Digest256;
use measure::sgx::sgxs::{PageFlags, Record, measure};
use measure::sgx::signing::{BuildDate, Content, PublicKeys, SigningKey};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../measure/tests/data").join(name);
    path.to_str().unwrap().to_owned()
}

fn confide(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_confide")).args(["--json", "measure"]).args(arguments).output().unwrap()
}

/// What a command printed, and its exit code.
fn answer(arguments: &[&str]) -> (Value, i32) {
    let output = confide(arguments);
    let stdout = serde_json::from_slice(&output.stdout);
    let answer = stdout.unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (answer, output.status.code().unwrap())
}

fn failure(arguments: &[&str]) -> (String, i32) {
    let output = confide(arguments);
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code().unwrap())
}

/// An enclave of two pages with this byte, and its SIGSTRUCT.
fn enclave(folder: &Path, name: &str, byte: u8) -> (PathBuf, PathBuf, Digest256) {
    let mut records = vec![Record::Create { ssa_frame_pages: 1, size: 0x4000 }];
    for (page, byte) in [(0, 1), (0x1000, byte)] {
        records.push(Record::Add { offset: page, flags: PageFlags::READ_WRITE });
        records.extend((0..16).map(|chunk| Record::Extend { offset: page + chunk * 256, data: [byte; 256] }));
    }
    records.push(Record::Add { offset: 0x2000, flags: PageFlags::TCS });
    let stream: Vec<u8> = records.iter().flat_map(Record::encode).collect();
    let mrenclave = measure(&stream).unwrap().mrenclave;
    let key = SigningKey::from_der(&std::fs::read(data("test-only-signer.p8.der")).unwrap()).unwrap();
    let content = Content::production(mrenclave, 770, u16::from(byte), BuildDate::new(2026, 11, 22).unwrap());
    let signed = key.sign(&content, &PublicKeys::Refused).unwrap();
    let paths = (folder.join(format!("{name}.sgxs")), folder.join(format!("{name}.sig")));
    std::fs::write(&paths.0, stream).unwrap();
    std::fs::write(&paths.1, signed.bytes()).unwrap();
    (paths.0, paths.1, mrenclave)
}

#[test]
fn enclaves_and_sigstructs_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let (stream, sigstruct, mrenclave) = enclave(folder.path(), "a", 2);
    let (_, other, _) = enclave(folder.path(), "b", 3);
    let (stream, sigstruct, other) = (stream.to_str().unwrap(), sigstruct.to_str().unwrap(), other.to_str().unwrap());
    let (printed, code) = answer(&["sgx", stream, "--sigstruct", sigstruct]);
    assert_eq!(code, 0);
    assert_eq!(printed["mrenclave"], mrenclave.to_string());
    assert_eq!((&printed["kind"], &printed["threads"]), (&"sgxs".into(), &1.into()));
    assert_eq!(printed["sigstruct"]["isvsvn"], 2);
    let (printed, code) = answer(&["sgx", sigstruct]);
    assert_eq!(code, 0);
    assert_eq!((&printed["mrenclave"], &printed["isvprodid"]), (&mrenclave.to_string().into(), &770.into()));
    assert_eq!((&printed["debug"], &printed["attributes"]["flags"]), (&false.into(), &"0x4".into()));
    let (words, code) = failure(&["sgx", stream, "--sigstruct", other]);
    assert_eq!(code, 1);
    assert!(words.contains("E-SGX-SIGSTRUCT-ENCLAVE"), "{words}");
    let mut bytes = std::fs::read(sigstruct).unwrap();
    bytes[1030] = 1;
    std::fs::write(sigstruct, bytes).unwrap();
    let (words, code) = failure(&["sgx", sigstruct]);
    assert_eq!((code, words.contains("E-SGX-SIGSTRUCT")), (1, true), "{words}");
}

#[test]
fn an_elf_enclave_needs_its_layout() {
    let file = data("minimal-edp.elf");
    let (words, code) = failure(&["sgx", &file]);
    assert_eq!((code, words.contains("--heap-size")), (2, true), "{words}");
    let (printed, code) = answer(&["sgx", &file, "--heap-size", "0x10000", "--stack-size", "8192"]);
    assert_eq!(code, 0);
    assert_eq!(printed["mrenclave"], "c26a8e7cd4976e6c9b812696861b318c414cd3dfa824db02f3eb4b0d14e52dd1");
}

#[test]
fn an_igvm_file_is_measured_and_a_firmware_without_metadata_is_not() {
    let (printed, code) = answer(&["snp", "--igvm", &data("small.igvm")]);
    assert_eq!((code, &printed["measured_pages"]), (0, &2.into()));
    assert!(printed["launch_digest"].as_str().unwrap().starts_with("10156e1b02ed2eed"));
    let (words, code) = failure(&["snp", "--igvm", &data("minimal-edp.elf")]);
    assert_eq!((code, words.contains("E-IGVM")), (1, true), "{words}");
    let (words, code) = failure(&["tdx", &data("small.igvm")]);
    assert_eq!((code, words.contains("E-TDX-FIRMWARE")), (1, true), "{words}");
    let (words, code) = failure(&["snp", "--igvm", "x", "--vcpus", "2"]);
    assert_eq!((code, words.contains("cannot be used with")), (2, true), "{words}");
}

#[test]
fn flavours_have_their_own_number() {
    let Some(inputs) = vectors("snp/measure") else { return };
    let golden: Value = serde_json::from_slice(&std::fs::read(inputs.join("golden.json")).unwrap()).unwrap();
    for flavour in ["ec2", "gce"] {
        let case = golden["cases"].as_array().unwrap().iter().find(|case| case["vmm"] == flavour && case["vcpus"] == 4);
        let case = case.unwrap();
        let file = |name: &Value| inputs.join("inputs").join(name.as_str().unwrap()).to_str().unwrap().to_owned();
        let features = case["guest_features"].to_string();
        let ovmf = file(&case["ovmf"]);
        let mut arguments = vec!["snp", "--flavour", flavour, "--ovmf", &ovmf, "--vcpus", "4"];
        arguments.extend([
            "--guest-features",
            &features,
            "--vcpu-type",
            case["vcpu_type"].as_str().unwrap_or("EPYC-v4"),
        ]);
        let parts: Vec<(&str, String)> = [("--kernel", "kernel"), ("--initrd", "initrd")]
            .into_iter()
            .filter(|(_, member)| case[*member].is_string())
            .map(|(option, member)| (option, file(&case[member])))
            .collect();
        arguments.extend(parts.iter().flat_map(|(option, path)| [*option, path.as_str()]));
        if let Some(line) = case["append"].as_str() {
            arguments.extend(["--append", line]);
        }
        let (printed, code) = answer(&arguments);
        assert_eq!(code, 0);
        assert_eq!((&printed["launch_digest"], &printed["experimental"]), (&case["launch_digest"], &true.into()));
    }
}

#[test]
fn two_of_a_kind_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let (a, a_signed, _) = enclave(folder.path(), "a", 2);
    let (b, b_signed, _) = enclave(folder.path(), "b", 3);
    let diff = |first: &Path, second: &Path| answer(&["diff", first.to_str().unwrap(), second.to_str().unwrap()]);
    let (printed, code) = diff(&a, &b);
    assert_eq!((code, &printed["kind"]), (1, &"an SGXS stream".into()));
    let names = printed["differences"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["rw- pages from 0x0, page 0x1000"]);
    assert!(printed["summary"].as_str().unwrap().ends_with("; all else equal"), "{printed}");
    assert_eq!(printed["trees"][0]["component"], "MRENCLAVE");
    let (printed, code) = diff(&a_signed, &b_signed);
    assert_eq!(code, 1);
    let names: Vec<&str> =
        printed["differences"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["mrenclave", "isvsvn"]);
    let (printed, code) = diff(&a, &a);
    assert_eq!((code, &printed["summary"]), (0, &"all components are equal".into()));
    let (words, code) = failure(&["diff", a.to_str().unwrap(), b_signed.to_str().unwrap()]);
    assert_eq!((code, words.contains("compare two of the same kind")), (2, true), "{words}");
    let elf = data("minimal-edp.elf");
    let (printed, code) = answer(&["diff", &elf, &elf, "--heap-size", "4096", "--stack-size", "4096"]);
    assert_eq!((code, &printed["kind"]), (0, &"an ELF enclave".into()));
}

#[test]
fn policies_are_compared_by_container_and_member() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, command: &str| {
        let containers = format!(
            r#"[{{"name":"web","command":["{command}"],"layers":["aa"]}},{{"name":"pause","command":["/pause"],"layers":["bb"]}}]"#
        );
        let text = format!(
            "package policy\n\napi_version := \"0.10.0\"\ncontainers := {containers}\ncreate_container := data.framework.create_container\n"
        );
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (a, b) = (write("a.rego", "serve"), write("b.rego", "debug"));
    let (printed, code) = answer(&["diff", &a, &b]);
    assert_eq!((code, &printed["kind"]), (1, &"a CCE policy".into()));
    let summary = r#"containers, web, command, 1 differs: "serve" became "debug"; all else equal"#;
    assert_eq!(printed["summary"], summary);
    assert_eq!(printed["first"], Digest256::of(&std::fs::read(&a).unwrap()).to_string());
    let (words, code) = failure(&["diff", &a, &write_broken(folder.path())]);
    assert_eq!((code, words.contains("E-CCE-POLICY")), (1, true), "{words}");
}

fn write_broken(folder: &Path) -> String {
    let path = folder.join("broken.rego");
    std::fs::write(&path, "package policy\ncontainers := [").unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn reference_values_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, line: &str| {
        let path = folder.path().join(name);
        let text = format!(
            r#"{{"version":1,"name":"n","site":"s","substrate":"cvm","launch_measurements":[],"host_data":"{zero}",
            "root_hash":"{zero}","resources":[],"tcb_floor":null,"chips":"any","lease":"shared","inputs":[],
            "command_line":"{line}"}}"#,
            zero = "00".repeat(32)
        );
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (a, b) = (write("a.json", "quiet"), write("b.json", "console=ttyS0 quiet"));
    let (printed, code) = answer(&["diff", &a, &b]);
    assert_eq!(code, 1);
    assert_eq!(printed["summary"], "kernel command line: `console=ttyS0` added; all else equal");
}

fn vectors(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    let folder = root.join(folder);
    if folder.exists() {
        return Some(folder);
    }
    println!("skipped: vectors are not here");
    None
}
