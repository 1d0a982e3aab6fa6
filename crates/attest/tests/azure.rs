//! Evidence of Azure confidential VMs: the real vectors bit by bit, and what only a made-up report can show.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what went wrong by failing")]

use attest::azure::{
    AzureError, AzureEvidence, Console, Expected, ExpectedHardware, Hardware, HclReport, TD_BODY_LENGTH,
    VerifiedTdBody, VmRules, kbs,
};
use attest::snp::{self, CrlPolicy, Endorsements, TcbFloor};
use attest::tpm::{self, PcrValues, Quote, Selection, Signature, TpmError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use claims::azure::AzureHardware;
use claims::bytes::Digest256;
use claims::{Allowed, Code, Refusal, UnixTime};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// 2026-06-01.
const NOW: UnixTime = UnixTime(1_780_272_000);
const CLAIMS: usize = 0x4D4;

#[test]
fn a_real_vm_is_verified_appraised_and_says_what_was_waived() {
    let Some(vectors) = Vectors::open() else { return };
    let vm = vectors.vm("snp-live-attestation-rs");
    let verified = vm.evidence().verify_snp(&vm.with, &no_list(), NOW).unwrap();
    let appraised = verified.clone().appraise(&vm.expected()).unwrap();
    let claims = appraised.claims();
    assert!(claims.vm_configuration.secure_boot && claims.vm_configuration.tpm_enabled);
    assert!(!claims.vm_configuration.other.contains_key("secure-boot"), "what has a field of its own");
    let AzureHardware::Snp(snp) = &claims.hardware else { panic!("not SNP") };
    assert_eq!(snp.vmpl, 0);
    assert_eq!(snp.report_data.as_bytes()[..32], claims.runtime_data_hash.0);
    assert_eq!(appraised.quote().nonce, hex::encode("attestation-test-fixture"));
    let waived: Vec<_> = appraised.waivers().iter().map(|waiver| waiver.claim).collect();
    assert!(waived.contains(&"vm-configuration.console-enabled") && waived.contains(&"pcrs"), "{waived:?}");

    let refuse = |change: &dyn Fn(&mut Expected)| {
        let mut expected = vm.expected();
        change(&mut expected);
        verified.clone().appraise(&expected).unwrap_err()
    };
    let error = refuse(&|expected| expected.vm = VmRules::strict());
    assert_eq!(error.code(), Code::AzureVm, "Azure's images enable a console, and that is not accepted unsaid");
    assert_eq!(error.finding().unwrap().claim, "vm-configuration.console-enabled");
    let error = refuse(&|expected| expected.user_data = Allowed::only(None));
    assert_eq!(error, AzureError::UserData { got: claims.user_data });
    let error = refuse(&|expected| expected.quote.nonce = Allowed::only(b"another".to_vec()));
    assert_eq!(error.code(), Code::TpmNonce);
    let error = refuse(&|expected| {
        expected.quote.pcrs.insert(7, Allowed::only(Digest256([0; 32])));
    });
    assert_eq!(error.code(), Code::TpmPcr);
    let error = refuse(&|expected| expected.hardware = ExpectedHardware::Tdx { mr_td: Allowed::any("test") });
    assert_eq!(error, AzureError::Hardware { wanted: "TDX" });
    let error = refuse(&|expected| {
        let ExpectedHardware::Snp(rule) = &mut expected.hardware else { return };
        rule.vmpl = Allowed::only(1);
    });
    assert_eq!(error.code(), Code::SnpVmpl);
}

#[test]
fn evidence_of_two_vms_does_not_mix() {
    let Some(vectors) = Vectors::open() else { return };
    let (one, other) = (vectors.vm("snp-live-attestation-rs"), vectors.vm("snp-milan-v3-report"));
    let mixed = AzureEvidence { quote: other.quote(), ..one.evidence() };
    let error = mixed.verify_snp(&one.with, &no_list(), NOW).unwrap_err();
    assert_eq!(error, AzureError::Quote(TpmError::Signature));
    assert_eq!(error.code(), Code::TpmSignature);
    let error = one.evidence().verify_snp(&other.with, &no_list(), NOW).unwrap_err();
    assert_eq!(error.code(), Code::SnpChip);
    let error = one.hcl().verify_tdx(&VerifiedTdBody::assertion([0; TD_BODY_LENGTH])).unwrap_err();
    assert_eq!(error, AzureError::Hardware { wanted: "TDX" });
}

#[test]
fn every_single_bit_of_an_hcl_report_counts() {
    let Some(vectors) = Vectors::open() else { return };
    let vm = vectors.vm("snp-live-attestation-rs");
    assert!(vm.hcl().verify_snp(&vm.with, &no_list(), NOW).is_ok());
    for bit in 0..vm.bytes.len() * 8 {
        let mut flipped = vm.bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // Form and binding first: they are cheap. Where both hold, the signature must not.
        let error = HclReport::parse(&flipped).and_then(|report| {
            if let Hardware::Snp(inside) = report.hardware() {
                report.check_binding(&inside.claimed().report_data)?;
            }
            report.verify_snp(&vm.with, &no_list(), NOW)
        });
        // No bit is benign: header, sizes and padding have one value, the rest is signed or hashed.
        assert!(error.is_err(), "bit {bit} (byte {:#x})", bit / 8);
    }
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    let Some(vectors) = Vectors::open() else { return };
    let vm = vectors.vm("snp-live-attestation-rs");
    let end = 2346;
    for length in 0..end {
        let error = HclReport::parse(&vm.bytes[..length]).unwrap_err();
        assert_eq!(error.code(), Code::AzureFormat, "{length}: {error}");
    }
    assert!(HclReport::parse(&vm.bytes[..end]).is_ok(), "the zeros behind the claims are padding of the NV index");
    let junk = [vm.bytes.as_slice(), b"1"].concat();
    assert_eq!(HclReport::parse(&junk), Err(AzureError::Padding { offset: vm.bytes.len() }));
    assert_eq!(HclReport::parse(&vec![0; 16385]), Err(AzureError::Length { got: 16385 }));
}

#[test]
fn each_header_field_and_each_claim_has_its_own_error() {
    let Some(vectors) = Vectors::open() else { return };
    let vm = vectors.vm("snp-live-attestation-rs");
    let field = |name, got| AzureError::Field { name, got };
    for (at, value, error) in [
        (0, 0u32, AzureError::Magic),
        (4, 3, field("version", 3)),
        (8, 9, field("report_size", 9)),
        (12, 1, field("request_type", 1)),
        (16, 7, field("status", 7)),
        (24, 1, AzureError::Padding { offset: 24 }),
        (0x4C0, 5, field("data_size", 5)),
        (0x4C4, 2, field("request data version", 2)),
        (0x4C8, 3, field("report_type", 3)),
        (0x4CC, 2, AzureError::HashType { got: 2 }),
        (0x4D0, u32::MAX, AzureError::ClaimSize { got: u32::MAX }),
    ] {
        let mut bytes = vm.bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert_eq!(HclReport::parse(&bytes), Err(error));
    }
    let json = |what: &str| AzureError::Json { what: what.to_owned() };
    let key = |what: &str| AzureError::Key { what: what.to_owned() };
    let short = URL_SAFE.encode([0xc1; 255]).trim_end_matches('=').to_owned();
    for (pointer, value, error) in [
        ("/keys", Value::Null, AzureError::KeyMissing),
        ("/keys/0/kid", "Other".into(), AzureError::KeyMissing),
        ("/keys/0/kid", 1.into(), key("a key has no name")),
        ("/keys/1/kid", "HCLAkPub".into(), key("the name `HCLAkPub` is there twice")),
        ("/keys/0/kty", "EC".into(), key("it is no RSA key")),
        ("/keys/0/n", "?".into(), key("modulus or exponent is not base64url")),
        ("/keys/0/e", "Aw".into(), key("the attestation key is refused: an RSA exponent other than 65537")),
        (
            "/keys/0/n",
            short.into(),
            key("the attestation key is refused: an RSA modulus that has not 2048 to 4096 bits"),
        ),
        ("/vm-configuration", Value::Null, json("`vm-configuration` is no object")),
        ("/vm-configuration/secure-boot", 1.into(), json("`vm-configuration.secure-boot` is neither true nor false")),
        ("/user-data", "00".into(), json("`user-data` is not 128 hex digits")),
    ] {
        let mut claims: Value = serde_json::from_slice(&vm.bytes[CLAIMS..2346]).unwrap();
        *claims.pointer_mut(pointer).unwrap() = value;
        assert_eq!(HclReport::parse(&vm.with_claims(claims.to_string().as_bytes())), Err(error), "{pointer}");
    }
    // A member twice: the reader and the signer might see different keys.
    let text = std::str::from_utf8(&vm.bytes[CLAIMS..2346]).unwrap();
    let twice = text.replacen("{\"keys\"", "{\"keys\":[],\"keys\"", 1);
    let error = HclReport::parse(&vm.with_claims(twice.as_bytes())).unwrap_err();
    assert!(error.to_string().contains("member `keys` is there twice"), "{error}");
}

#[test]
fn a_td_report_counts_only_as_the_one_that_was_quoted() {
    let Some(vectors) = Vectors::open() else { return };
    let bytes = fs::read(vectors.folder.join("tdx-kinvolk/hcl_report.bin")).unwrap();
    let report = HclReport::parse(&bytes).unwrap();
    let body = body_of(&bytes[0x20..0x20 + 1024]);
    let verified = report.verify_tdx(&VerifiedTdBody::assertion(body)).unwrap();
    let AzureHardware::Tdx(td) = &verified.claims().hardware else { panic!("not TDX") };
    assert_eq!(td.mr_td, hex::encode(&body[136..184]));
    assert!(!verified.claims().vm_configuration.secure_boot);
    // Each field of the quote counts.
    for (name, at) in
        [("tee_tcb_svn", 0), ("mr_seam", 16), ("seam_attributes", 112), ("rtmr_3", 472), ("report_data", 520)]
    {
        let mut other = body;
        other[at] ^= 1;
        let error = report.verify_tdx(&VerifiedTdBody::assertion(other)).unwrap_err();
        assert!(matches!(&error, AzureError::TdMismatch { name: field, .. } if *field == name), "{name}: {error}");
        assert_eq!(error.code(), Code::AzureTd);
    }
    let error = report.verify_snp(
        &Endorsements { vek: vec![], intermediate: vec![], root: vec![], crl: None },
        &no_list(),
        NOW,
    );
    assert_eq!(error, Err(AzureError::Hardware { wanted: "SNP" }));

    // Every bit of the TD report, with the genuine quote: refused but for the fields that only the processor reads.
    let mut benign = Vec::new();
    for bit in 0..1184 * 8 {
        let mut flipped = bytes.clone();
        flipped[0x20 + bit / 8] ^= 1 << (bit % 8);
        let checked = HclReport::parse(&flipped).and_then(|report| report.verify_tdx(&VerifiedTdBody::assertion(body)));
        if let Ok(accepted) = checked {
            assert_eq!(accepted, verified, "bit {bit}: what is believed must not change");
            benign.push(bit / 8);
        }
    }
    benign.dedup();
    // TYPE.version is 0 or 1; CPUSVN and MAC are for the processor that made the report: nothing is read from them.
    let expected: Vec<usize> = std::iter::once(2).chain(16..32).chain(224..256).collect();
    assert_eq!(benign, expected);
}

#[test]
fn trustees_json_is_read() {
    let Some(vectors) = Vectors::open() else { return };
    let vm = vectors.vm("snp-live-attestation-rs");
    let json = serde_json::json!({
        "version": 2,
        "tpm_quote": {
            "signature": hex::encode(&vm.signature),
            "message": hex::encode(&vm.message),
            "pcrs": vm.pcrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "hcl_report": URL_SAFE.encode(&vm.bytes),
        "vcek": URL_SAFE.encode(&vm.with.vek),
    });
    let envelope = kbs::parse(json.to_string().as_bytes()).unwrap();
    assert_eq!(envelope.evidence, vm.evidence());
    assert_eq!(envelope.vcek, Some(vm.with.vek.clone()));
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut json = json.clone();
        change(&mut json);
        kbs::parse(json.to_string().as_bytes()).unwrap_err()
    };
    let form = |what: &str| AzureError::Envelope { what: what.to_owned() };
    assert_eq!(wrong(&|json| json["version"] = 3.into()), form("the version is neither 1 nor 2"));
    assert_eq!(wrong(&|json| json["hcl_report"] = "?".into()), form("a part is not base64url"));
    assert_eq!(wrong(&|json| json["tpm_quote"]["message"] = "xy".into()), form("the quote is not hex"));
    assert!(matches!(wrong(&|json| json["more"] = 1.into()), AzureError::Envelope { .. }));
    let mut longest = json.to_string().into_bytes();
    longest.resize(kbs::MAX_JSON, b' ');
    assert!(kbs::parse(&longest).is_ok());
    longest.push(b' ');
    assert_eq!(kbs::parse(&longest), Err(form("too long")));
}

/// The body of a quote over this TD report.
fn body_of(td: &[u8]) -> [u8; TD_BODY_LENGTH] {
    [&td[264..384], &td[512..912], &td[128..192]].concat().try_into().unwrap()
}

struct Vectors {
    folder: PathBuf,
    manifest: Value,
}

struct Vm {
    bytes: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    pcrs: Vec<Digest256>,
    with: Endorsements,
}

impl Vectors {
    fn open() -> Option<Self> {
        let folder = std::env::var_os("CONFIDE_VECTORS")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from)
            .join("azvtpm");
        let Ok(bytes) = fs::read(folder.join("manifest.json")) else {
            println!("skipped: vectors are not here");
            return None;
        };
        Some(Self { folder, manifest: serde_json::from_slice(&bytes).unwrap() })
    }

    fn vm(&self, name: &str) -> Vm {
        let case = self.manifest["vectors"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
        let read = |file: &str| fs::read(self.folder.join(name).join(file)).unwrap();
        let root = |file: &str| {
            let pem = fs::read(self.folder.join("../snp/roots").join(file)).unwrap();
            x509_cert::der::pem::decode_vec(&pem).unwrap().1
        };
        let pcrs = case["pcrs_sha256"].as_array().unwrap();
        Vm {
            bytes: read("hcl_report.bin"),
            message: read("quote.msg"),
            signature: read("quote.sig"),
            pcrs: pcrs.iter().map(|value| value.as_str().unwrap().parse().unwrap()).collect(),
            with: Endorsements {
                vek: read("vcek.der"),
                intermediate: root("SEV-Milan.pem"),
                root: root("ARK-Milan.pem"),
                crl: None,
            },
        }
    }
}

impl Vm {
    fn hcl(&self) -> HclReport {
        HclReport::parse(&self.bytes).unwrap()
    }

    fn quote(&self) -> Quote {
        Quote::parse(&self.message, Signature::raw_rsa(&self.signature).unwrap()).unwrap()
    }

    fn evidence(&self) -> AzureEvidence {
        let pcrs = PcrValues::from_zero(&self.pcrs).unwrap();
        AzureEvidence { hcl: self.hcl(), quote: self.quote(), pcrs }
    }

    /// The same report with other claims and the sizes that fit; the hash does not.
    fn with_claims(&self, claims: &[u8]) -> Vec<u8> {
        let size = u32::try_from(claims.len()).unwrap();
        let mut bytes = [&self.bytes[..CLAIMS], claims].concat();
        bytes[8..12].copy_from_slice(&(size + 0x4D4).to_le_bytes());
        bytes[0x4C0..0x4C4].copy_from_slice(&(size + 20).to_le_bytes());
        bytes[0x4D0..0x4D4].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    fn expected(&self) -> Expected {
        Expected {
            hardware: ExpectedHardware::Snp(Box::new(snp::Expected::strict(
                Allowed::any("replaced by the binding"),
                Allowed::any("test"),
                Allowed::any("test"),
                TcbFloor::None { reason: "test".to_owned() },
                Allowed::any("test"),
            ))),
            quote: tpm::Expected {
                nonce: Allowed::only(b"attestation-test-fixture".to_vec()),
                selection: Selection::ALL,
                pcrs: BTreeMap::new(),
                others: "test".to_owned(),
            },
            vm: VmRules { console: Console::Allowed { reason: "test".to_owned() }, ..VmRules::strict() },
            user_data: Allowed::any("test"),
        }
    }
}

fn no_list() -> CrlPolicy {
    CrlPolicy::AbsentOk { reason: "test".to_owned() }
}
