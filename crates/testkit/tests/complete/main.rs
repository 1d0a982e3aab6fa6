//! Every code of evidence, and every variant of the verifiers' errors, has a published vector; what cannot have one has a
//! test by name, with the reason.
//!
//! Codes of the broker, the guest, builds, layers, enclaves as files and policies are other parts' and not asked for here.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot read its data must fail")]

mod named;

use claims::Code;
use named::{NAMED, Named, UNREACHABLE};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use testkit::text::{Expect, read_folder};

#[test]
fn every_code_of_evidence_has_a_vector_or_a_named_test() {
    let with_vector: BTreeSet<Code> = refusals().map(|(_, code, _)| code).collect();
    let with_test: BTreeSet<Code> = NAMED.iter().map(|named| named.code).collect();
    let missing: Vec<&Code> =
        Code::ALL.iter().filter(|code| is_of_evidence(**code)).filter(|code| !with_vector.contains(code)).collect();
    let without: Vec<_> = missing.iter().filter(|code| !with_test.contains(code)).collect();
    assert!(without.is_empty(), "neither a vector nor a named test: {without:?}");
    // What a vector can show is to be shown by one: only the binding of several devices needs live types.
    let composites = [Code::CompositeBinding, Code::CompositeDevices];
    assert!(missing.iter().all(|code| composites.contains(code)), "{missing:?}");
}

#[test]
fn every_code_is_of_evidence_or_of_another_part() {
    for code in Code::ALL {
        let other = OTHER_PARTS.iter().any(|start| code.name().starts_with(start));
        assert!(is_of_evidence(*code) != other, "{code}: say in this test whose code it is");
    }
}

#[test]
fn every_variant_of_a_verifiers_error_has_a_vector_or_a_named_test() {
    let mut with_vector: BTreeSet<(String, String)> = BTreeSet::new();
    for (kind, _, reason) in refusals() {
        // `Chain.Name` is a vector of the wrapping variant and of the wrapped one.
        let mut error = ERRORS.iter().find(|error| error.kind == kind).map_or("", |error| error.name);
        for variant in reason.split('.') {
            with_vector.insert((error.to_owned(), variant.to_owned()));
            error = WRAPPED.iter().find(|(outer, _)| *outer == variant).map_or("", |(_, inner)| inner);
        }
    }
    let named: BTreeSet<(String, String)> = NAMED
        .iter()
        .map(|named| (named.error, named.variant))
        .chain(UNREACHABLE.iter().map(|(error, variant, _)| (*error, *variant)))
        .map(|(error, variant)| (error.to_owned(), variant.to_owned()))
        .collect();
    let (mut without, mut all) = (Vec::new(), 0);
    for error in ERRORS {
        let variants = variants(error.file, error.name);
        assert!(variants.len() >= 5, "{}: only {variants:?} found in {}", error.name, error.file);
        all += variants.len();
        for variant in variants {
            let key = (error.name.to_owned(), variant);
            match (with_vector.contains(&key), named.contains(&key)) {
                (false, false) => without.push(key),
                (true, true) => panic!("{key:?} has a vector; take it out of the table of named tests"),
                _ => {}
            }
        }
    }
    assert!(without.is_empty(), "neither a vector nor a named test: {without:?}");
    assert!(with_vector.len() + named.len() >= all);
}

#[test]
fn every_named_test_is_there_and_names_its_error() {
    for Named { error, variant, file, test, why, .. } in NAMED {
        let known = ERRORS.iter().find(|known| known.name == *error);
        let listed = known.is_some_and(|known| variants(known.file, known.name).iter().any(|name| name == variant));
        assert!(listed, "{error}::{variant} is no variant any more");
        let text = fs::read_to_string(root().join("crates/attest/tests").join(file)).unwrap();
        let start = text.find(&format!("fn {test}()")).unwrap_or_else(|| panic!("{file} has no test `{test}`"));
        assert!(text[..start].trim_end().ends_with("#[test]"), "{test} of {file} is no test");
        let body = &text[start..];
        let body = &body[..body.find("\n}\n").unwrap_or(body.len())];
        assert!(body.contains(variant), "{test} of {file} does not name {variant}");
        assert!(!why.is_empty());
    }
}

/// Kind, code and reason of every published vector that is refused.
fn refusals() -> impl Iterator<Item = (String, Code, String)> {
    let vectors = read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")).unwrap();
    vectors.into_iter().map(Result::unwrap).filter_map(|vector| match vector.expect {
        Expect::Ok => None,
        Expect::Refuse { code, reason } => Some((vector.kind, code, reason)),
    })
}

fn is_of_evidence(code: Code) -> bool {
    let name = code.name();
    let alone = [Code::Measurement, Code::HostData, Code::ReportData, Code::Emulated];
    let whole = Code::AciDecision;
    code != whole && (alone.contains(&code) || OF_EVIDENCE.iter().any(|start| name.starts_with(start)))
}

/// The variants of an error, by its source: unit, tuple and struct variants stand at one depth.
fn variants(file: &str, error: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("crates/attest/src").join(file)).unwrap();
    let head = format!("pub enum {error} {{\n");
    let start = text.find(&head).unwrap_or_else(|| panic!("{file} has no `{error}`")) + head.len();
    let body = &text[start..];
    let body = &body[..body.find("\n}\n").unwrap()];
    let mut found: BTreeMap<&str, ()> = BTreeMap::new();
    for line in body.lines() {
        let Some(line) = line.strip_prefix("    ").filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        else {
            continue;
        };
        let end = line.find(|c: char| !c.is_alphanumeric()).unwrap_or(line.len());
        found.insert(&line[..end], ());
    }
    found.into_keys().map(str::to_owned).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// An error type, where it stands, and the kind of vector that shows it.
struct ErrorType {
    name: &'static str,
    file: &'static str,
    kind: &'static str,
}

const ERRORS: &[ErrorType] = &[
    ErrorType { name: "SnpError", file: "snp/error.rs", kind: "snp" },
    ErrorType { name: "DcapError", file: "dcap/error.rs", kind: "dcap" },
    ErrorType { name: "AzureError", file: "azure/error.rs", kind: "azure" },
    ErrorType { name: "TpmError", file: "tpm/error.rs", kind: "tpm" },
    ErrorType { name: "AciError", file: "aci/error.rs", kind: "aci" },
    ErrorType { name: "TokenError", file: "token/error.rs", kind: "token" },
    ErrorType { name: "RaTlsError", file: "ratls/error.rs", kind: "ratls" },
    ErrorType { name: "GpuError", file: "nvgpu/error.rs", kind: "gpu" },
    ErrorType { name: "RimError", file: "nvgpu/rim/mod.rs", kind: "rim" },
    // Wrapped by the two above.
    ErrorType { name: "ChainError", file: "nvgpu/certificate.rs", kind: "" },
    ErrorType { name: "RevocationError", file: "nvgpu/revocation.rs", kind: "" },
    // Needs several devices: no kind of its own.
    ErrorType { name: "CompositeError", file: "composite/error.rs", kind: "" },
];

/// Which error a variant wraps.
const WRAPPED: &[(&str, &str)] =
    &[("Chain", "ChainError"), ("Revocation", "RevocationError"), ("Snp", "SnpError"), ("Quote", "TpmError")];

const OF_EVIDENCE: &[&str] =
    &["E-SNP-", "E-DCAP-", "E-AZ-", "E-TPM-", "E-ACI-", "E-JWT-", "E-RATLS-", "E-GPU-", "E-RIM-", "E-COMPOSITE-"];

/// Codes of the broker, the guest, builds, layers, enclaves as files, policies, and of the command line.
const OTHER_PARTS: &[&str] = &[
    "E-CCE-",
    "E-SGX-",
    "E-LAYER",
    "E-COLLATERAL-",
    "E-ABSENT",
    "E-ACI-DECISION",
    "E-ADMIN",
    "E-BINDING",
    "E-BROKER",
    "E-BUSY",
    "E-CMDLINE",
    "E-DENIED",
    "E-DIGEST",
    "E-DISK",
    "E-DRIVE",
    "E-EVIDENCE",
    "E-FIRMWARE",
    "E-FORMAT",
    "E-GUEST",
    "E-HARDWARE",
    "E-IGVM",
    "E-IMAGE",
    "E-KERNEL",
    "E-KEY",
    "E-LEASE",
    "E-LUKS-PROFILE",
    "E-NETWORK",
    "E-NO-RULE",
    "E-NONCE",
    "E-NOT-AFFIRMING",
    "E-PATH",
    "E-PIN",
    "E-POLICY",
    "E-ROOT",
    "E-EXPIRED",
    "E-REVOKED",
    "E-ROLLBACK",
    "E-ROUTE",
    "E-SELECTOR",
    "E-SIGNER",
    "E-SESSION",
    "E-SITE",
    "E-STORE",
    "E-TDX-FIRMWARE",
    "E-TEE",
    "E-TOKEN",
    "E-TOO-LARGE",
    "E-UNSUPPORTED",
    "E-VERSION",
    "E-WORKLOAD",
];
