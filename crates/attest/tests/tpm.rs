//! TPM quotes: form, key, signature, nonce, selection, PCRs, each with its own error.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its data must fail")]

use attest::tpm::{EnrolledKey, Expected, PcrValues, Quote, Selection, Signature, TpmError, kbs};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::bytes::Digest256;
use claims::{Allowed, Code, Refusal};
use std::collections::BTreeMap;
use std::sync::LazyLock;

const NONCE: &[u8] = b"a nonce of this session";

#[test]
fn a_quote_by_the_enrolled_key_is_verified_and_appraised() {
    for signer in [Signer::rsa(), Signer::p256()] {
        let message = message();
        let quote = Quote::parse(&message, signer.sign(&message)).unwrap();
        let appraised = quote.verify(&signer.enrolled()).unwrap().appraise(&expected(), &values()).unwrap();
        let claims = appraised.claims();
        assert_eq!(claims.nonce, hex::encode(NONCE));
        assert_eq!((claims.clock, claims.reset_count, claims.restart_count, claims.safe), (1000, 3, 1, true));
        assert_eq!(claims.firmware_version, "2020031200120003");
        assert_eq!(claims.pcrs.len(), 24);
        assert_eq!(claims.pcrs[&4], pcr(4));
        let waived: Vec<_> = appraised.waivers().iter().map(|waiver| waiver.claim).collect();
        assert_eq!(waived, ["pcrs"], "twenty-three PCRs are not compared, and that is said");
    }
}

#[test]
fn every_single_bit_of_the_message_and_of_the_signature_counts() {
    let signer = Signer::rsa();
    let message = message();
    let signature = signer.raw(&message);
    let key = signer.enrolled();
    let check = |message: &[u8], signature: &[u8]| {
        Quote::parse(message, Signature::raw_rsa(signature)?)?.verify(&key).map(|_| ())
    };
    assert_eq!(check(&message, &signature), Ok(()));
    for bit in 0..message.len() * 8 {
        let mut flipped = message.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&flipped, &signature).is_err(), "bit {bit} of the message");
    }
    for bit in 0..signature.len() * 8 {
        let mut flipped = signature.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(check(&message, &flipped), Err(TpmError::Signature), "bit {bit} of the signature");
    }
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    let message = message();
    let signature = || Signature::raw_rsa(&[1; 256]).unwrap();
    for length in 0..message.len() {
        let error = Quote::parse(&message[..length], signature()).unwrap_err();
        assert!(matches!(error, TpmError::Truncated { .. }), "{length}: {error}");
    }
    let longer = [message.as_slice(), &[0]].concat();
    let trailing = TpmError::Trailing { offset: message.len(), more: 1 };
    assert_eq!(Quote::parse(&longer, signature()), Err(trailing));
    assert_eq!(Quote::parse(&[0xff; 513], signature()), Err(TpmError::Length { got: 513 }));
}

#[test]
fn each_field_of_the_form_has_its_own_error() {
    let wrong: [(usize, u8, TpmError, Code); 8] = [
        (0, 0xfe, TpmError::Magic { got: 0xfe54_4347 }, Code::TpmFormat),
        (5, 0x17, TpmError::Kind { got: 0x8017 }, Code::TpmFormat),
        (6, 0xff, TpmError::Field { what: "qualified signer", offset: 6 }, Code::TpmFormat),
        (safe_at(), 2, TpmError::Field { what: "safe", offset: safe_at() }, Code::TpmFormat),
        (safe_at() + 12, 2, TpmError::Banks { got: 2 }, Code::TpmSelection),
        (safe_at() + 14, 4, TpmError::Bank { got: 4 }, Code::TpmSelection),
        (safe_at() + 15, 2, TpmError::SelectionSize { got: 2 }, Code::TpmSelection),
        (safe_at() + 20, 31, TpmError::Field { what: "PCR digest", offset: safe_at() + 19 }, Code::TpmFormat),
    ];
    for (at, value, error, code) in wrong {
        let mut message = message();
        message[at] = value;
        let got = Quote::parse(&message, Signature::raw_rsa(&[1; 256]).unwrap()).unwrap_err();
        assert_eq!(got, error);
        assert_eq!(got.code(), code);
    }
}

#[test]
fn a_key_that_was_not_enrolled_proves_nothing() {
    let (signer, other) = (Signer::rsa(), Signer::fresh_rsa());
    let message = message();
    let by_other = Quote::parse(&message, other.sign(&message)).unwrap();
    assert_eq!(by_other.verify(&signer.enrolled()), Err(TpmError::Signature));
    let by_curve = Quote::parse(&message, Signer::p256().sign(&message)).unwrap();
    assert_eq!(by_curve.verify(&signer.enrolled()), Err(TpmError::SignatureKind));
}

#[test]
fn nonce_selection_and_values_are_compared_in_full() {
    let refuse = |expected: &Expected, values: &PcrValues| {
        let signer = Signer::rsa();
        let message = message();
        let quote = Quote::parse(&message, signer.sign(&message)).unwrap();
        quote.verify(&signer.enrolled()).unwrap().appraise(expected, values).unwrap_err()
    };
    for nonce in [&NONCE[..NONCE.len() - 1], b"", b"a nonce of this sessioN", b"a nonce of this session\0"] {
        let error = refuse(&Expected { nonce: Allowed::only(nonce.to_vec()), ..expected() }, &values());
        assert_eq!(error, TpmError::Nonce { got: hex::encode(NONCE) });
    }
    let fewer = Selection::from_bitmap([0x10, 0, 0]);
    let error = refuse(&Expected { selection: fewer, ..expected() }, &values());
    assert_eq!(error, TpmError::Selection { got: (0..24).collect(), wanted: vec![4] });

    let missing: BTreeMap<u8, Digest256> =
        (0..24).filter(|index| *index != 9).map(|index| (index, pcr(index))).collect();
    assert_eq!(refuse(&expected(), &PcrValues::new(missing).unwrap()), TpmError::PcrMissing { index: 9 });

    let mut swapped: Vec<Digest256> = (0..24).map(pcr).collect();
    swapped.swap(8, 9);
    let error = refuse(&expected(), &PcrValues::from_zero(&swapped).unwrap());
    assert!(matches!(error, TpmError::PcrDigest { .. }), "{error}");

    let other = Expected { pcrs: BTreeMap::from([(4, Allowed::only(pcr(5)))]), ..expected() };
    let error = refuse(&other, &values());
    assert_eq!(error, TpmError::Pcr { index: 4, got: pcr(4), allowed: vec![pcr(5)] });
    let finding = error.finding().unwrap();
    assert_eq!((finding.claim.as_str(), finding.got), ("pcrs.4", pcr(4).to_string()));
}

#[test]
fn a_quote_over_few_pcrs_takes_exactly_these() {
    let signer = Signer::rsa();
    let chosen = Selection::from_bitmap([0x10, 0x08, 0]);
    let digest = Digest256::of(&[pcr(4).0, pcr(11).0].concat());
    let message = message_over(chosen, digest);
    let verify = || Quote::parse(&message, signer.sign(&message)).unwrap().verify(&signer.enrolled()).unwrap();
    let rule = Expected { selection: chosen, ..expected() };
    let exact = PcrValues::new(BTreeMap::from([(4, pcr(4)), (11, pcr(11))])).unwrap();
    assert!(verify().appraise(&rule, &exact).is_ok());
    // The attack: a quote over PCRs 4 and 23, the second listed as PCR 11. The digest fits, the selection does not.
    assert!(matches!(verify().appraise(&expected(), &values()), Err(TpmError::Selection { .. })));
    let unquoted = PcrValues::new(BTreeMap::from([(4, pcr(4)), (11, pcr(11)), (7, pcr(7))])).unwrap();
    assert_eq!(verify().appraise(&rule, &unquoted), Err(TpmError::PcrNotQuoted { index: 7 }));
    let named = Expected { pcrs: BTreeMap::from([(7, Allowed::only(pcr(7)))]), ..rule };
    assert_eq!(verify().appraise(&named, &exact), Err(TpmError::PcrNotQuoted { index: 7 }));
    assert_eq!(PcrValues::new(BTreeMap::from([(24, pcr(0))])), Err(TpmError::PcrIndex { index: 24 }));
    assert_eq!(PcrValues::from_zero(&[pcr(0); 25]), Err(TpmError::PcrIndex { index: 24 }));
}

#[test]
fn only_keys_that_an_attestation_key_can_be_are_enrolled() {
    let modulus = [0xc1; 256];
    let refused = |what| Err(TpmError::KeyForm { what });
    assert_eq!(EnrolledKey::from_rsa(&modulus, &[3]), refused("an RSA exponent other than 65537"));
    let short = refused("an RSA modulus that has not 2048 to 4096 bits");
    assert_eq!(EnrolledKey::from_rsa(&modulus[..128], &[1, 0, 1]), short);
    let mut even = modulus;
    even[255] = 2;
    assert_eq!(EnrolledKey::from_rsa(&even, &[1, 0, 1]), refused("an even RSA modulus"));
    assert_eq!(EnrolledKey::from_p256(&[4; 65]), refused("not an uncompressed point on P-256"));
    assert_eq!(EnrolledKey::from_spki(b"\x30\x00"), refused("not a SubjectPublicKeyInfo"));
    assert_eq!(EnrolledKey::from_spki(&[0; 1025]), refused("too long"));
    assert_eq!(EnrolledKey::from_pem(b"nothing"), refused("not PEM"));
    // The same key, whichever way it came, has one name.
    let signer = Signer::p256();
    let again = EnrolledKey::from_spki(&signer.spki()).unwrap();
    assert_eq!(again.digest(), signer.enrolled().digest());
    assert_eq!(again.digest(), Digest256::of(&signer.spki()));
    let rsa = Signer::rsa();
    assert_eq!(EnrolledKey::from_spki(&rsa.spki()).unwrap().digest(), Digest256::of(&rsa.spki()));
}

#[test]
fn signatures_have_two_forms_and_nothing_else() {
    let form = |what, got| Err(TpmError::SignatureForm { what, got });
    assert_eq!(Signature::raw_rsa(&[0; 255]), form("an RSA signature has 256 to 512 bytes", 255));
    assert_eq!(Signature::from_tpmt(&[0, 0x14, 0, 4]), form("the hash is not SHA-256", 4));
    assert_eq!(Signature::from_tpmt(&[0, 0x16, 0, 0xb]), form("neither RSASSA (0x14) nor ECDSA (0x18)", 0x16));
    assert_eq!(Signature::from_tpmt(&[0, 0x18, 0, 0xb, 0, 33]), Err(TpmError::Field { what: "signature", offset: 4 }));
    let short = [&[0, 0x18, 0, 0xb, 0, 1, 7, 0, 1, 9][..], &[0]].concat();
    assert_eq!(Signature::from_tpmt(&short), Err(TpmError::Trailing { offset: 10, more: 1 }));
    let Signature::Ecdsa(both) = Signature::from_tpmt(&short[..10]).unwrap() else { panic!("not ECDSA") };
    assert_eq!((both[31], both[63], both[0]), (7, 9, 0), "short integers are right-aligned");
}

#[test]
fn trustees_json_names_a_key_and_does_not_enrol_it() {
    let signer = Signer::p256();
    let message = message();
    let Signature::Ecdsa(both) = signer.sign(&message) else { panic!("not ECDSA") };
    let tpmt = [&[0, 0x18, 0, 0xb, 0, 32][..], &both[..32], &[0, 32], &both[32..]].concat();
    let pcrs: Vec<String> = (0..24).map(|index| pcr(index).to_string()).collect();
    let json = serde_json::json!({
        "ak_public": STANDARD.encode(signer.spki()),
        "tpm_quote": {"signature": STANDARD.encode(tpmt), "message": STANDARD.encode(&message), "pcrs": pcrs},
    });
    let evidence = kbs::parse(json.to_string().as_bytes()).unwrap();
    assert_eq!(evidence.claimed_key, signer.enrolled().digest());
    let verified = evidence.quote.clone().verify(&signer.enrolled()).unwrap();
    assert!(verified.appraise(&expected(), &evidence.pcrs).is_ok());
    assert_eq!(evidence.quote.verify(&Signer::fresh_rsa().enrolled()), Err(TpmError::SignatureKind));
    let twice = json.to_string().replacen('{', "{\"ak_public\":\"\",", 1);
    assert!(matches!(kbs::parse(twice.as_bytes()), Err(TpmError::Json { .. })), "a member twice");
    assert_eq!(kbs::parse(&vec![b' '; kbs::MAX_JSON + 1]), Err(TpmError::Json { what: "too long".to_owned() }));
}

/// A TPM's attestation key.
enum Signer {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
}

impl Signer {
    /// One key for all tests: making one takes a while.
    fn rsa() -> Self {
        static KEY: LazyLock<Vec<u8>> = LazyLock::new(Signer::pkcs8);
        Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(&KEY).unwrap()))
    }

    fn fresh_rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(&Self::pkcs8()).unwrap()))
    }

    fn pkcs8() -> Vec<u8> {
        RsaKeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap().as_ref().to_vec()
    }

    fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn raw(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            Self::P256(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
        }
    }

    fn sign(&self, message: &[u8]) -> Signature {
        let raw = self.raw(message);
        match self {
            Self::Rsa(_) => Signature::raw_rsa(&raw).unwrap(),
            Self::P256(_) => Signature::Ecdsa(Box::new(raw.try_into().unwrap())),
        }
    }

    fn enrolled(&self) -> EnrolledKey {
        match self {
            Self::Rsa(key) => {
                let parts: RsaPublicKeyComponents<Vec<u8>> = key.public_key().into();
                EnrolledKey::from_rsa(&parts.n, &parts.e).unwrap()
            }
            Self::P256(key) => EnrolledKey::from_p256(key.public_key().as_ref()).unwrap(),
        }
    }

    fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Rsa(key) => key.public_key().as_der().unwrap(),
            Self::P256(key) => key.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }
}

fn pcr(index: u8) -> Digest256 {
    Digest256::of(&[index])
}

fn values() -> PcrValues {
    let values: Vec<Digest256> = (0..24).map(pcr).collect();
    PcrValues::from_zero(&values).unwrap()
}

fn expected() -> Expected {
    Expected {
        nonce: Allowed::only(NONCE.to_vec()),
        selection: Selection::ALL,
        pcrs: BTreeMap::from([(4, Allowed::only(pcr(4)))]),
        others: "this test names PCR 4 only".to_owned(),
    }
}

fn message() -> Vec<u8> {
    let joined: Vec<u8> = (0..24).flat_map(|index| pcr(index).0).collect();
    message_over(Selection::ALL, Digest256::of(&joined))
}

fn message_over(selection: Selection, digest: Digest256) -> Vec<u8> {
    let mut message = b"\xff\x54\x43\x47\x80\x18\x00\x22\x00\x0b".to_vec();
    message.extend([7; 32]);
    message.extend([0, u8::try_from(NONCE.len()).unwrap()]);
    message.extend(NONCE);
    message.extend(1000u64.to_be_bytes());
    message.extend(3u32.to_be_bytes());
    message.extend(1u32.to_be_bytes());
    message.push(1);
    message.extend(0x2020_0312_0012_0003u64.to_be_bytes());
    message.extend([0, 0, 0, 1, 0, 0x0b, 3]);
    message.extend(selection.bitmap());
    message.extend([0, 32]);
    message.extend(digest.0);
    message
}

/// Offset of `safe`.
fn safe_at() -> usize {
    10 + 32 + 2 + NONCE.len() + 16
}
