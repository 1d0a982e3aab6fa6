//! RA-TLS certificates: made and read back, the real ones of three projects, and each check by its error.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use attest::ratls::{
    Certificate, Evidence, EvidenceKind, Format, RaTlsCertificate, RaTlsError, extension, key_claims, key_report_data,
    report_data_of, self_signed,
};
use ciborium::Value;
use claims::{Allowed, Code, Refusal, ReportData, UnixTime};
use proptest::prelude::*;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData};
use std::fs;
use std::path::PathBuf;

const NOW: UnixTime = UnixTime(1_780_272_000);
const NONCE: &[u8] = b"this session";

#[test]
fn a_certificate_that_is_made_is_read_back_for_each_kind_of_evidence() {
    for kind in [EvidenceKind::SgxQuote, EvidenceKind::TdxQuote, EvidenceKind::SnpReport] {
        let key = KeyPair::generate().unwrap();
        let made = Made::new(&key, kind);
        let certificate = RaTlsCertificate::parse(&made.der(&key)).unwrap();
        assert_eq!(certificate.kind(), kind);
        let bound = certificate.verify(&nonce(), NOW).unwrap();
        assert_eq!((bound.kind, bound.format), (kind, Format::Interoperable));
        assert_eq!(bound.evidence, made.evidence);
        assert_eq!(bound.expected_report_data, report_data_of(&made.claims));
        assert_eq!(bound.spki, key.subject_public_key_info());
        assert!(bound.other_claims.is_empty() && bound.waivers.is_empty());
    }
}

#[test]
fn gramines_old_format_binds_the_key_and_no_nonce() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let quote = evidence(EvidenceKind::SgxQuote, key_report_data(&key.subject_public_key_info()));
    let content = Certificate { evidence: None, gramine_quote: Some(&quote), ..frame() };
    let certificate = RaTlsCertificate::parse(&self_signed(&key, &content).unwrap()).unwrap();
    let bound = certificate.verify(&Allowed::any("test"), NOW).unwrap();
    assert_eq!((bound.format, bound.evidence.as_slice()), (Format::Gramine, quote.as_slice()));
    assert_eq!(bound.waivers.len(), 1, "that no nonce is compared is said");
    assert_eq!(certificate.verify(&nonce(), NOW), Err(RaTlsError::Nonce { got: String::new() }));

    // With both formats in it, the interoperable one counts, and it alone.
    let made = Made::new(&key, EvidenceKind::SgxQuote);
    let both = Certificate { evidence: Some(made.content()), gramine_quote: Some(b"anything"), ..frame() };
    let certificate = RaTlsCertificate::parse(&self_signed(&key, &both).unwrap()).unwrap();
    assert_eq!(certificate.verify(&nonce(), NOW).unwrap().format, Format::Interoperable);
}

#[test]
fn each_check_has_its_own_error() {
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let verify =
        |der: &[u8], at: u64| RaTlsCertificate::parse(der).unwrap().verify(&nonce(), UnixTime(at)).unwrap_err();
    let made = Made::new(&key, EvidenceKind::SgxQuote);

    // Genuine evidence of another TEE in a certificate of one's own: the relay that RA-TLS is there to stop.
    let stolen = made.der(&other);
    let error = verify(&stolen, NOW.0);
    assert!(matches!(error, RaTlsError::Key { .. }), "{error}");
    assert_eq!(error.code(), Code::RaTlsBinding);
    assert_eq!(error.finding().unwrap().claim, "pubkey-hash");
    // The same with claims about one's own key, which that evidence does not bind.
    let claims = key_claims(&other.subject_public_key_info(), Some(NONCE)).unwrap();
    let own = Made { claims, evidence: made.evidence.clone(), kind: made.kind };
    let error = verify(&own.der(&other), NOW.0);
    let (got, wanted) = (Box::new(report_data_of(&made.claims)), Box::new(report_data_of(&own.claims)));
    assert_eq!(error, RaTlsError::Binding { got, wanted });
    // Report data that does not end in zeros.
    let mut long = report_data_of(&made.claims);
    long.0[63] = 1;
    let padded = Made { evidence: evidence(made.kind, long), claims: made.claims.clone(), kind: made.kind };
    assert!(matches!(verify(&padded.der(&key), NOW.0), RaTlsError::Binding { .. }));

    let der = made.der(&key);
    let (from, until) = (frame().from.0, frame().until.0);
    for now in [from - 1, until + 1] {
        let error = verify(&der, now);
        assert_eq!(error, RaTlsError::Validity { from, until, now });
        assert_eq!(error.code(), Code::RaTlsTime);
    }
    let wrong = RaTlsCertificate::parse(&der).unwrap().verify(&Allowed::only(b"another".to_vec()), NOW);
    assert_eq!(wrong, Err(RaTlsError::Nonce { got: hex::encode(NONCE) }));
    let without = key_claims(&key.subject_public_key_info(), None).unwrap();
    let evidence = evidence(made.kind, report_data_of(&without));
    let without = Made { claims: without, evidence, kind: made.kind };
    assert_eq!(verify(&without.der(&key), NOW.0), RaTlsError::Nonce { got: String::new() });
    // An Ed25519 key is of no kind that is taken.
    let edwards = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let error = RaTlsCertificate::parse(&made.der(&edwards)).unwrap_err();
    assert!(matches!(error, RaTlsError::Algorithm { .. }), "{error}");
    assert_eq!(error.code(), Code::RaTlsSignature);
}

#[test]
fn every_single_bit_of_a_certificate_counts() {
    let key = KeyPair::generate().unwrap();
    let der = Made::new(&key, EvidenceKind::SnpReport).der(&key);
    let mut unread = 0;
    for bit in 0..der.len() * 8 {
        let mut flipped = der.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match RaTlsCertificate::parse(&flipped).and_then(|certificate| certificate.verify(&nonce(), NOW)) {
            Ok(_) => unread += 1,
            Err(error) => drop(error),
        }
    }
    assert_eq!(unread, 0, "everything is signed, and the signature has one form");
}

#[test]
fn each_form_has_its_own_error() {
    let key = KeyPair::generate().unwrap();
    let with = |extensions: Vec<CustomExtension>| {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.custom_extensions = extensions;
        RaTlsCertificate::parse(params.self_signed(&key).unwrap().der()).unwrap_err()
    };
    let dice = |value: Vec<u8>| CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 9], value);
    let cbor = |what| RaTlsError::Cbor { what };
    assert_eq!(with(vec![]), RaTlsError::NoEvidence);
    let made = Made::new(&key, EvidenceKind::SgxQuote);
    let value = extension(&made.content()).unwrap();
    let twice = with(vec![dice(value.clone()), dice(value.clone())]);
    assert_eq!(twice, RaTlsError::Doubled { oid: "2.23.133.5.4.9".to_owned() });
    assert_eq!(with(vec![dice(vec![0xff])]), cbor("this is no CBOR"));
    assert_eq!(with(vec![dice([value.as_slice(), &[0]].concat())]), cbor("bytes follow the CBOR value"));
    assert_eq!(with(vec![dice(vec![0x80])]), cbor("the evidence has no tag"));

    let bytes = |value: &[u8]| Value::Bytes(value.to_vec());
    let tagged = |tag: u64, content: Value| with(vec![dice(encode(&Value::Tag(tag, Box::new(content))))]);
    let pair = |claims: &[u8]| Value::Array(vec![bytes(&made.evidence), bytes(claims)]);
    assert_eq!(tagged(60000, Value::Null), cbor("the evidence is no array"));
    let what = "the evidence is not `[evidence, claims]` in byte strings";
    assert_eq!(tagged(60000, Value::Array(vec![Value::Null])), cbor(what));
    assert_eq!(tagged(60002, pair(&made.claims)), RaTlsError::Tag { tag: 60002 });
    let short = Value::Array(vec![bytes(&[3, 0]), bytes(&made.claims)]);
    assert_eq!(tagged(60000, short), cbor("the evidence is too short"));
    let mut other = made.evidence.clone();
    other[0] = 9;
    let unknown = Value::Array(vec![bytes(&other), bytes(&made.claims)]);
    assert_eq!(tagged(60000, unknown), RaTlsError::Quote { version: 9, tee: 0 });

    let hash = encode(&Value::Array(vec![1.into(), bytes(&[0; 32])]));
    let claims = |members: Vec<(Value, Value)>| tagged(60000, pair(&encode(&Value::Map(members))));
    let named = || ("pubkey-hash".into(), bytes(&hash));
    assert_eq!(tagged(60000, pair(&[0x80])), cbor("the claims are no map"));
    assert_eq!(claims(vec![]), cbor("the claims name no key"));
    assert_eq!(claims(vec![named(), named()]), cbor("a claim is there twice"));
    assert_eq!(claims(vec![named(), ("nonce".into(), 1.into())]), cbor("a claim is no byte string"));
    assert_eq!(claims(vec![(1.into(), Value::Null)]), cbor("a claim's name is no text"));
    let form = ("pubkey-hash".into(), bytes(&encode(&Value::Array(vec![1.into()]))));
    assert_eq!(claims(vec![form]), cbor("the key's hash is not `[algorithm, hash]`"));

    let odd =
        encode(&Value::Map(vec![("pubkey-hash".into(), bytes(&encode(&Value::Array(vec![2.into(), bytes(&[])]))))]));
    let odd = Made { evidence: evidence(EvidenceKind::SgxQuote, report_data_of(&odd)), claims: odd, kind: made.kind };
    let error = RaTlsCertificate::parse(&odd.der(&key)).unwrap().verify(&Allowed::any("test"), NOW);
    assert_eq!(error, Err(cbor("the key's hash is none of SHA-256, SHA-384, SHA-512")));
    assert_eq!(RaTlsCertificate::parse(&vec![0; 65537]), Err(RaTlsError::Length { got: 65537 }));
    assert_eq!(RaTlsCertificate::parse(b"\x30\x00").unwrap_err().code(), Code::RaTlsFormat);
    assert_eq!(RaTlsCertificate::parse_pem(b"no PEM").unwrap_err().code(), Code::RaTlsFormat);
    assert!(matches!(
        self_signed(&key, &Certificate { until: UnixTime(u64::MAX), ..frame() }),
        Err(RaTlsError::Encode { .. })
    ));
}

#[test]
fn certificates_of_gramine_intel_and_rats_tls_are_read() {
    let folder = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from)
        .join("sgx/ratls");
    if !folder.exists() {
        println!("skipped: vectors are not here");
        return;
    }
    for (name, at, other) in [
        ("gramine-cert", NOW.0, vec![]),
        ("intel-sgxsdk-cert", NOW.0, vec![]),
        ("rats-tls-cert", 1_690_000_000, vec!["key_0", "key_1"]),
    ] {
        let pem = fs::read(folder.join(format!("{name}.pem"))).unwrap();
        let certificate = RaTlsCertificate::parse_pem(&pem).unwrap();
        let bound = certificate.verify(&Allowed::any("they have none"), UnixTime(at)).unwrap();
        assert_eq!((bound.kind, bound.format), (EvidenceKind::SgxQuote, Format::Interoperable), "{name}");
        assert_eq!(bound.other_claims.keys().collect::<Vec<_>>(), other, "{name}");
        assert_eq!(certificate.verify(&nonce(), UnixTime(at)), Err(RaTlsError::Nonce { got: String::new() }), "{name}");
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_back(
        nonce in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..64)),
        tail in proptest::collection::vec(any::<u8>(), 0..600),
        snp in any::<bool>(),
    ) {
        let key = KeyPair::generate().unwrap();
        let kind = if snp { EvidenceKind::SnpReport } else { EvidenceKind::TdxQuote };
        let claims = key_claims(&key.subject_public_key_info(), nonce.as_deref()).unwrap();
        let mut evidence = evidence(kind, report_data_of(&claims));
        evidence.extend(tail);
        let made = Made { kind, evidence, claims };
        let wanted = Allowed::only(nonce.unwrap_or_default());
        let bound = RaTlsCertificate::parse(&made.der(&key)).unwrap().verify(&wanted, NOW).unwrap();
        prop_assert_eq!(bound.evidence, made.evidence);
        prop_assert_eq!(bound.kind, kind);
    }

    #[test]
    fn no_bytes_end_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(RaTlsCertificate::parse(&bytes).is_err());
    }
}

/// Evidence and claims for a certificate.
struct Made {
    kind: EvidenceKind,
    evidence: Vec<u8>,
    claims: Vec<u8>,
}

impl Made {
    fn new(key: &KeyPair, kind: EvidenceKind) -> Self {
        let claims = key_claims(&key.subject_public_key_info(), Some(NONCE)).unwrap();
        Self { kind, evidence: evidence(kind, report_data_of(&claims)), claims }
    }

    fn content(&self) -> Evidence<'_> {
        Evidence { kind: self.kind, bytes: &self.evidence, claims: &self.claims }
    }

    fn der(&self, key: &KeyPair) -> Vec<u8> {
        self_signed(key, &Certificate { evidence: Some(self.content()), ..frame() }).unwrap()
    }
}

/// Something of the right shape, with this report data.
fn evidence(kind: EvidenceKind, data: ReportData) -> Vec<u8> {
    let (head, at): (&[u8], usize) = match kind {
        EvidenceKind::SgxQuote => (&[3, 0, 2, 0, 0, 0, 0, 0], 368),
        EvidenceKind::TdxQuote => (&[4, 0, 2, 0, 0x81, 0, 0, 0], 568),
        EvidenceKind::SnpReport => (&[3, 0, 0, 0, 0, 0, 0, 0], 0x50),
    };
    let mut bytes = vec![7; 700];
    bytes[..8].copy_from_slice(head);
    bytes[at..at + 64].copy_from_slice(data.as_bytes());
    bytes
}

fn frame() -> Certificate<'static> {
    let (from, until) = (UnixTime(NOW.0 - 3600), UnixTime(NOW.0 + 3600));
    Certificate { name: "test", from, until, evidence: None, gramine_quote: None }
}

fn nonce() -> Allowed<Vec<u8>> {
    Allowed::only(NONCE.to_vec())
}

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}
