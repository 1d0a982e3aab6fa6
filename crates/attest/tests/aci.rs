//! Confidential container groups: the real files bit by bit, and endorsements made up for each check.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what went wrong by failing")]

use attest::aci::{
    AciError, AciEvidence, Expected, HostCertificates, SvnFloor, UVM_FEED, UVM_ISSUER, UvmEndorsement,
    runtime_report_data,
};
use attest::snp::{self, BelievedVersions, CrlPolicy, PlatformRules, TcbFloor};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ciborium::Value;
use claims::aci::UvmForm;
use claims::bytes::Digest256;
use claims::{Allowed, Code, HostData, Refusal, UnixTime};
use coset::iana::{Algorithm, HeaderParameter};
use coset::{CoseSign1Builder, Header, HeaderBuilder, Label, RegisteredLabelWithPrivate, TaggedCborSerializable};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::fs;
use std::path::PathBuf;

/// 2026-06-01.
const NOW: UnixTime = UnixTime(1_780_272_000);
const SIGNED_AT: u64 = 1_770_000_000;
const PURPOSE: &str = "1.3.6.1.4.1.311.76.59.1.2";

#[test]
fn the_real_group_is_verified_and_appraised() {
    let Some(files) = Files::open() else { return };
    let evidence = files.evidence();
    let verified = evidence.verify(UVM_ISSUER, &no_list(), NOW).unwrap();
    let claims = verified.claims();
    assert_eq!((claims.uvm.svn, claims.uvm.form), (22, UvmForm::Legacy));
    assert_eq!(claims.uvm.feed, UVM_FEED);
    assert_eq!(claims.uvm.launch_measurement, claims.snp.measurement);
    let runtime = runtime_report_data(b"{\n   \"akey\" : \"avalue\"\n}\n");
    assert_eq!(claims.snp.report_data, runtime);

    let mut rule = expected(claims.snp.host_data, runtime);
    let appraised = verified.clone().appraise(&rule).unwrap();
    assert!(appraised.waivers().iter().any(|waiver| waiver.claim == "uvm.svn"));
    // Microsoft's endorsement stands for a measurement of the rule, so the rule needs none.
    assert!(!appraised.waivers().iter().any(|waiver| waiver.claim == "measurement"));

    rule.svn = Expected::strict(rule.snp.clone(), rule.policy.clone()).svn;
    let error = verified.clone().appraise(&rule).unwrap_err();
    assert_eq!(error, AciError::Svn { got: 22, wanted: 104 });
    assert_eq!(error.finding().unwrap().wanted, "at least 104");
    let refuse = |change: &dyn Fn(&mut Expected)| {
        let mut rule = expected(claims.snp.host_data, runtime);
        change(&mut rule);
        verified.clone().appraise(&rule).unwrap_err().code()
    };
    assert_eq!(refuse(&|rule| rule.feed = Allowed::only("Other".to_owned())), Code::AciIssuer);
    assert_eq!(refuse(&|rule| rule.policy = Allowed::only(HostData([0; 32]))), Code::AciPolicy);
    let other = runtime_report_data(b"other");
    assert_eq!(refuse(&|rule| rule.snp.report_data = Allowed::only(other)), Code::ReportData);
    assert_eq!(refuse(&|rule| rule.snp.versions = BelievedVersions::WithCpuid), Code::SnpVersion);
}

#[test]
fn the_parts_of_two_groups_do_not_mix() {
    let Some(files) = Files::open() else { return };
    let verify = |evidence: &AciEvidence| evidence.verify(UVM_ISSUER, &no_list(), NOW).unwrap_err();
    let mut evidence = files.evidence();
    evidence.policy.as_mut().unwrap().push(b'\n');
    let error = verify(&evidence);
    assert!(matches!(error, AciError::PolicyDigest { .. }), "one more line feed is another policy: {error}");
    assert_eq!(error.code(), Code::AciPolicy);

    let made = Endorsement::new();
    evidence.policy = None;
    evidence.uvm = UvmEndorsement::parse(&made.cose()).unwrap();
    let error = evidence.verify(&made.issuer(), &no_list(), NOW).unwrap_err();
    assert!(matches!(error, AciError::Measurement { .. }), "{error}");
    assert_eq!(error.code(), Code::AciMeasurement);
    assert_eq!(verify(&evidence).code(), Code::AciIssuer, "and its issuer is not Microsoft");

    let stale = files.certificates.replace("7308000000000003", "7308000000000002");
    evidence.certificates = HostCertificates::parse(stale.as_bytes()).unwrap();
    let error = verify(&evidence);
    let (got, wanted) = ("7308000000000002".to_owned(), "7308000000000003".to_owned());
    assert_eq!(error, AciError::Tcb { got, wanted });
    assert_eq!(error.code(), Code::AciTcb);
}

#[test]
fn every_single_bit_of_the_real_endorsement_counts_or_is_unsigned_on_purpose() {
    let Some(files) = Files::open() else { return };
    let genuine = UvmEndorsement::parse(&files.uvm).unwrap().verify(UVM_ISSUER, NOW).unwrap();
    // The one unprotected header is a time stamp: it is not signed, and nothing is read from it. Its bytes lie between
    // the protected header and the payload; a sample of them is enough, every other bit is tried.
    let payload = files.uvm.windows(9).position(|window| window == b"{\n  \"x-ms").unwrap();
    let unsigned = 5 + 5070..payload;
    let mut benign = Vec::new();
    for bit in 0..files.uvm.len() * 8 {
        if unsigned.contains(&(bit / 8)) && bit % 331 != 0 {
            continue;
        }
        let mut flipped = files.uvm.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(verified) = UvmEndorsement::parse(&flipped).and_then(|uvm| uvm.verify(UVM_ISSUER, NOW)) {
            assert_eq!(verified, genuine, "bit {bit}: what is believed must not change");
            benign.push(bit / 8);
        }
    }
    assert!(benign.iter().all(|byte| unsigned.contains(byte)), "{benign:?}");
    assert!(!benign.is_empty());
}

#[test]
fn both_forms_and_all_algorithms_are_verified() {
    for algorithm in [Algorithm::ES256, Algorithm::ES384] {
        for transparent in [false, true] {
            let made = Endorsement { transparent, ..Endorsement::issued(PURPOSE, SIGNED_AT, algorithm) };
            let uvm = UvmEndorsement::parse(&made.cose()).unwrap();
            let claims = uvm.verify(&made.issuer(), NOW).unwrap();
            let claims = claims.claims();
            assert_eq!((claims.svn, claims.signed_at, claims.feed.as_str()), (104, UnixTime(SIGNED_AT), UVM_FEED));
            assert_eq!(claims.launch_measurement.0, [9; 48]);
            assert_eq!(claims.form == UvmForm::Transparent, transparent);
            assert_eq!(claims.receipts, if transparent { 2 } else { 0 });
        }
    }
}

#[test]
fn each_check_of_the_signer_has_its_own_error() {
    let made = Endorsement::new();
    let verify = |made: &Endorsement, issuer: &str| {
        UvmEndorsement::parse(&made.cose()).unwrap().verify(issuer, NOW).unwrap_err()
    };
    let issuer = made.issuer();
    let error = verify(&made, UVM_ISSUER);
    assert_eq!(error, AciError::Issuer { got: issuer.clone(), wanted: UVM_ISSUER.to_owned() });
    let error = verify(&made, "did:x509:0:sha256:AAAA::eku:1.2.3");
    assert_eq!(error, AciError::Did { got: "did:x509:0:sha256:AAAA::eku:1.2.3".to_owned() });

    // Somebody else's chain that claims the issuer's name.
    let forged = Endorsement { claimed_issuer: Some(issuer.clone()), ..Endorsement::new() };
    let error = verify(&forged, &issuer);
    assert!(matches!(error, AciError::Root { .. }), "{error}");
    assert_eq!(error.code(), Code::AciChain);

    // The right root at the end, which did not sign this leaf.
    let mut grafted = Endorsement::new();
    grafted.claimed_issuer = Some(issuer.clone());
    grafted.chain = Some(vec![grafted.leaf.clone(), made.root.clone()]);
    assert!(matches!(verify(&grafted, &issuer), AciError::Chain { .. }));
    let alone = Endorsement { chain: Some(vec![made.leaf.clone()]), ..made.again() };
    let short = "it has not at least a leaf and a root".to_owned();
    assert_eq!(verify(&alone, &issuer), AciError::Chain { what: short });

    // A leaf of the right root for another purpose, or out of date when it signed.
    let other = Endorsement::issued("1.3.6.1.4.1.311.76.59.1.1", SIGNED_AT, Algorithm::ES256);
    let what = format!("the leaf is not meant for {PURPOSE}");
    assert_eq!(verify(&other, &other.issuer()), AciError::Chain { what });
    let late = Endorsement { signed_at: SIGNED_AT + 400 * 86400, ..made.again() };
    assert_eq!(verify(&late, &issuer), AciError::Future { signed_at: late.signed_at, now: NOW.0 });
    let uvm = UvmEndorsement::parse(&late.cose()).unwrap();
    let error = uvm.verify(&issuer, UnixTime(late.signed_at)).unwrap_err();
    assert!(matches!(&error, AciError::Chain { what } if what.starts_with("CertExpired")), "{error}");

    let thumbprint = Endorsement { thumbprint: Some([0; 32]), ..made.again() };
    assert_eq!(verify(&thumbprint, &issuer), AciError::Thumbprint);
    let garbled = Endorsement { garble: true, ..made.again() };
    let error = verify(&garbled, &issuer);
    assert_eq!(error, AciError::Signature);
    assert_eq!(error.code(), Code::AciSignature);
    let confused = Endorsement { named_algorithm: Some(Algorithm::PS384), ..made.again() };
    let got = "Ps384 with another kind of key".to_owned();
    assert_eq!(verify(&confused, &issuer), AciError::Algorithm { got });
}

#[test]
fn each_check_of_the_form_has_its_own_error() {
    let parse = |made: &Endorsement| UvmEndorsement::parse(&made.cose()).unwrap_err();
    let what = |made: &Endorsement| match parse(made) {
        AciError::Cose { what } => what,
        other => panic!("{other}"),
    };
    let made = Endorsement::new();
    let critical = Endorsement { critical: true, ..made.again() };
    assert_eq!(parse(&critical), AciError::Critical);
    let error = parse(&Endorsement { named_algorithm: Some(Algorithm::HMAC_256_256), ..made.again() });
    assert_eq!(error.code(), Code::AciFormat);
    assert!(matches!(error, AciError::Algorithm { .. }), "{error}");
    for (payload, text) in [
        ("{}", "the payload has no launch measurement"),
        ("{\"a\":1,\"a\":2}", "the payload is not JSON: member `a` is there twice at line 1 column 10"),
    ] {
        let found = what(&Endorsement { payload: Some(payload.to_owned()), ..made.again() });
        assert!(found.contains(text) || found.contains("no security version"), "{found}");
    }
    let measurement = "09".repeat(48);
    let two = format!(
        "{{\"x-ms-sevsnpvm-guestsvn\":\"1\",\"x-ms-sevsnpvm-guestsvn-int\":2,\"x-ms-sevsnpvm-launchmeasurement\":\"{measurement}\"}}"
    );
    let found = what(&Endorsement { payload: Some(two), ..made.again() });
    assert_eq!(found, "the payload has two security versions");
    let short = Endorsement { transparent: true, payload: Some("short".to_owned()), ..made.again() };
    assert_eq!(what(&short), "the payload is no SHA-384");

    let bytes = made.cose();
    for length in 0..bytes.len() {
        assert_eq!(UvmEndorsement::parse(&bytes[..length]).unwrap_err().code(), Code::AciFormat, "{length}");
    }
    assert!(UvmEndorsement::parse(&[bytes.as_slice(), &[0]].concat()).is_err(), "a byte behind");
    assert!(UvmEndorsement::parse(&bytes[1..]).is_err(), "without its tag");
    let long = UvmEndorsement::parse(&vec![0; 128 * 1024 + 1]).unwrap_err();
    assert_eq!(long, AciError::Length { file: "the UVM endorsement", got: 131_073, most: 131_072 });
    assert!(UvmEndorsement::parse(&[0x81; 100_000]).is_err(), "deeply nested arrays end the parser, not the stack");
}

#[test]
fn files_and_combined_evidence_are_read_strictly() {
    let Some(files) = Files::open() else { return };
    let combined = |change: &dyn Fn(&mut serde_json::Value)| {
        let host: serde_json::Value = serde_json::from_str(&files.certificates).unwrap();
        let pem = format!("{}{}", host["vcekCert"].as_str().unwrap(), host["certificateChain"].as_str().unwrap());
        let mut json = serde_json::json!({
            "evidence": STANDARD.encode(&files.report),
            "endorsements": STANDARD.encode(pem),
            "uvm_endorsements": STANDARD.encode(&files.uvm),
            // The sidecar's sample has the bytes in this order.
            "endorsed_tcb": "0300000000000873",
        });
        change(&mut json);
        AciEvidence::from_combined(json.to_string().as_bytes())
    };
    assert!(combined(&|_| {}).unwrap().verify(UVM_ISSUER, &no_list(), NOW).is_ok());
    let file = "the combined evidence";
    let wrong = |what: &str| AciError::File { file, what: what.to_owned() };
    let error = combined(&|json| json["evidence"] = 1.into()).unwrap_err();
    assert_eq!(error, wrong("`evidence` is missing or not base64"));
    for tcb in ["", "xyz", "+1", "00000000000000001"] {
        assert_eq!(combined(&|json| json["endorsed_tcb"] = tcb.into()).unwrap_err(), wrong("the TCB is no hex number"));
    }
    assert!(matches!(AciEvidence::from_combined(b"[]"), Err(AciError::File { .. })));
    let doubled = AciEvidence::from_combined(b"{\"evidence\":\"\",\"evidence\":\"\"}").unwrap_err();
    assert!(doubled.to_string().contains("there twice"), "{doubled}");
    assert!(matches!(AciEvidence::from_combined(&vec![b' '; 1 << 21]), Err(AciError::Length { .. })));
    let error = AciEvidence::from_files(&files.report, b"?", b"", b"").unwrap_err();
    assert_eq!(error, AciError::File { file: "host-amd-cert-base64", what: "not base64".to_owned() });
}

/// An endorsement made up for a test.
struct Endorsement {
    root: Vec<u8>,
    leaf: Vec<u8>,
    key: Vec<u8>,
    algorithm: Algorithm,
    transparent: bool,
    signed_at: u64,
    claimed_issuer: Option<String>,
    named_algorithm: Option<Algorithm>,
    chain: Option<Vec<Vec<u8>>>,
    thumbprint: Option<[u8; 32]>,
    payload: Option<String>,
    critical: bool,
    garble: bool,
}

impl Endorsement {
    fn new() -> Self {
        Self::issued(PURPOSE, SIGNED_AT, Algorithm::ES256)
    }

    /// A chain of the shape of Microsoft's, with a leaf for this purpose that is valid around this time.
    fn issued(purpose: &str, around: u64, algorithm: Algorithm) -> Self {
        let at = |seconds: u64| time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap();
        let root_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let mut root = CertificateParams::new(vec![]).unwrap();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = root.self_signed(&root_key).unwrap();
        let issuer = Issuer::new(root, root_key);
        let kind = match algorithm {
            Algorithm::ES384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            _ => &rcgen::PKCS_ECDSA_P256_SHA256,
        };
        let key = KeyPair::generate_for(kind).unwrap();
        let mut leaf = CertificateParams::new(vec![]).unwrap();
        let arcs = purpose.split('.').map(|arc| arc.parse().unwrap()).collect();
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(arcs)];
        leaf.not_before = at(around - 86400);
        leaf.not_after = at(around + 86400);
        let mut made = Self {
            root: certificate.der().to_vec(),
            leaf: leaf.signed_by(&key, &issuer).unwrap().der().to_vec(),
            key: key.serialize_der(),
            algorithm,
            transparent: false,
            signed_at: around,
            claimed_issuer: None,
            named_algorithm: None,
            chain: None,
            thumbprint: None,
            payload: None,
            critical: false,
            garble: false,
        };
        made.thumbprint = Some(Digest256::of(&made.leaf).0);
        made
    }

    /// The same chain.
    fn again(&self) -> Self {
        Self {
            root: self.root.clone(),
            leaf: self.leaf.clone(),
            key: self.key.clone(),
            claimed_issuer: None,
            chain: None,
            payload: None,
            ..*self
        }
    }

    fn issuer(&self) -> String {
        format!("did:x509:0:sha256:{}::eku:{PURPOSE}", URL_SAFE_NO_PAD.encode(Digest256::of(&self.root).0))
    }

    fn header(&self) -> Header {
        let issuer = self.claimed_issuer.clone().unwrap_or_else(|| self.issuer());
        let chain = self.chain.clone().unwrap_or_else(|| vec![self.leaf.clone(), self.root.clone()]);
        let chain = Value::Array(chain.into_iter().map(Value::Bytes).collect());
        let mut header =
            HeaderBuilder::new().algorithm(self.named_algorithm.unwrap_or(self.algorithm)).value(33, chain);
        if let Some(thumbprint) = self.thumbprint {
            header = header.value(34, Value::Array(vec![(-16).into(), Value::Bytes(thumbprint.to_vec())]));
        }
        if self.transparent {
            let claims = vec![
                (1.into(), issuer.into()),
                (2.into(), UVM_FEED.into()),
                (6.into(), Value::Tag(1, Box::new(self.signed_at.into()))),
                ("svn".into(), 104.into()),
            ];
            header = header.value(15, Value::Map(claims)).value(258, (-43).into());
        } else {
            header = header
                .text_value("iss".to_owned(), issuer.into())
                .text_value("feed".to_owned(), UVM_FEED.into())
                .text_value("signingtime".to_owned(), Value::Tag(1, Box::new(self.signed_at.into())));
        }
        let mut header = header.build();
        if self.critical {
            header.crit.push(RegisteredLabelWithPrivate::Text("feed".to_owned()));
        } else {
            header.crit.push(RegisteredLabelWithPrivate::Assigned(HeaderParameter::Alg));
        }
        header
    }

    fn cose(&self) -> Vec<u8> {
        let algorithm: &'static EcdsaSigningAlgorithm = match self.algorithm {
            Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            _ => &ECDSA_P256_SHA256_FIXED_SIGNING,
        };
        let payload = match (&self.payload, self.transparent) {
            (Some(payload), _) => payload.clone().into_bytes(),
            (None, true) => vec![9; 48],
            (None, false) => serde_json::json!({
                "x-ms-sevsnpvm-guestsvn": "104",
                "x-ms-sevsnpvm-guestsvn-int": 104,
                "x-ms-sevsnpvm-launchmeasurement": "09".repeat(48),
            })
            .to_string()
            .into_bytes(),
        };
        let mut unprotected = Header::default();
        unprotected.rest.push((Label::Int(394), Value::Array(vec![Value::Null, Value::Null])));
        let key = EcdsaKeyPair::from_pkcs8(algorithm, &self.key).unwrap();
        CoseSign1Builder::new()
            .protected(self.header())
            .unprotected(unprotected)
            .payload(payload)
            .create_signature(&[], |message| {
                let mut signature = key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
                if self.garble {
                    signature[5] ^= 1;
                }
                signature
            })
            .build()
            .to_tagged_vec()
            .unwrap()
    }
}

fn expected(policy: HostData, report_data: claims::ReportData) -> Expected {
    let mut snp = snp::Expected::strict(
        Allowed::only(report_data),
        Allowed::OneOf(vec![]),
        Allowed::OneOf(vec![]),
        TcbFloor::None { reason: "the report is of 2022".to_owned() },
        Allowed::any("test"),
    );
    snp.versions = BelievedVersions::AlsoVersion2 { reason: "the report is of 2022".to_owned() };
    snp.platform = PlatformRules::NONE;
    let mut expected = Expected::strict(snp, Allowed::only(policy));
    expected.svn = SvnFloor::None { reason: "the endorsement is of 2023".to_owned() };
    expected
}

fn no_list() -> CrlPolicy {
    CrlPolicy::AbsentOk { reason: "test".to_owned() }
}

struct Files {
    report: Vec<u8>,
    certificates: String,
    policy: Vec<u8>,
    uvm: Vec<u8>,
}

impl Files {
    fn open() -> Option<Self> {
        let folder = std::env::var_os("CONFIDE_VECTORS")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from)
            .join("snp");
        if !folder.join("aci").exists() {
            println!("skipped: vectors are not here");
            return None;
        }
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        Some(Self {
            report: read("reports/milan-aci.bin"),
            certificates: String::from_utf8(read("aci/uvm_host_amd_certificate.json")).unwrap(),
            policy: read("aci/uvm_security_policy.base64"),
            uvm: read("aci/body.uvm_reference_info.bin"),
        })
    }

    fn evidence(&self) -> AciEvidence {
        let certificates = STANDARD.encode(&self.certificates);
        let uvm = STANDARD.encode(&self.uvm);
        AciEvidence::from_files(&self.report, certificates.as_bytes(), &self.policy, uvm.as_bytes()).unwrap()
    }
}
