//! Attestation tokens: form, keys, algorithm, signature, time, issuer, audience, and the claims of three services.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its data must fail")]

use attest::token::{Audience, KeySet, Rules, Token, TokenError, VerifiedToken, ear, maa, nras};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use claims::bytes::Digest256;
use claims::token::{MaaTee, Tier};
use claims::{Allowed, Code, HostData, LaunchDigest, Refusal, ReportData, UnixTime};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::LazyLock;

const NOW: UnixTime = UnixTime(1_780_272_000);
const ISSUER: &str = "https://sharedeus.eus.attest.azure.net";

static RSA: LazyLock<Vec<u8>> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap().as_ref().to_vec());

#[test]
fn a_token_by_each_kind_of_key_is_verified() {
    for algorithm in [Algorithm::RS256, Algorithm::PS384, Algorithm::ES256, Algorithm::ES384] {
        let service = Service::new(algorithm);
        let token = Token::parse(&service.sign(&plain())).unwrap();
        assert_eq!(token.kid(), Some("key 1"));
        let verified = token.verify(&service.keys(), &rules(), NOW).unwrap();
        assert_eq!(verified.expires(), NOW.0 + 300);
        assert_eq!(verified.claims()["iss"], ISSUER);
        assert!(verified.waivers().is_empty());
    }
}

#[test]
fn every_single_bit_of_a_token_counts() {
    let service = Service::new(Algorithm::ES384);
    let keys = service.keys();
    let text = service.sign(&plain());
    let check = |text: &str| Token::parse(text)?.verify(&keys, &rules(), NOW).map(|_| ());
    assert_eq!(check(&text), Ok(()));
    for bit in 0..text.len() * 8 {
        let mut flipped = text.clone().into_bytes();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(flipped) = String::from_utf8(flipped) {
            assert!(check(&flipped).is_err(), "bit {bit}");
        }
    }
    for length in 0..text.len() {
        assert!(check(&text[..length]).is_err(), "{length}");
    }
}

#[test]
fn the_key_says_the_algorithm_and_the_header_nothing() {
    let service = Service::new(Algorithm::ES256);
    let keys = service.keys();
    let payload = URL_SAFE_NO_PAD.encode(plain().to_string());
    let with = |header: Value| {
        let text = format!("{}.{payload}.AAAA", URL_SAFE_NO_PAD.encode(header.to_string()));
        Token::parse(&text).and_then(|token| token.verify(&keys, &rules(), NOW)).unwrap_err()
    };
    for algorithm in ["none", "None", "HS256", "HS384", "EdDSA", "ES256K", ""] {
        let error = with(json!({"alg": algorithm, "kid": "key 1"}));
        assert_eq!(error, TokenError::AlgorithmRefused { got: algorithm.to_owned() });
        assert_eq!(error.code(), Code::JwtAlgorithm);
    }
    let error = with(json!({"alg": "RS256", "kid": "key 1"}));
    assert_eq!(error, TokenError::AlgorithmMismatch { token: "RS256".to_owned(), key: "ES256".to_owned() });
    for header in [json!({"alg": "ES256", "crit": []}), json!({"alg": "ES256", "b64": false})] {
        assert_eq!(with(header), TokenError::Critical);
    }
    assert_eq!(with(json!({"alg": "ES256", "kid": "key 1"})), TokenError::Signature);
    // An HMAC with the public key as its secret: the classic confusion.
    let secret = EncodingKey::from_secret(&service.public());
    let confused = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &plain(), &secret).unwrap();
    assert_eq!(Token::parse(&confused), Err(TokenError::AlgorithmRefused { got: "HS256".to_owned() }));
}

#[test]
fn keys_are_found_by_their_id_and_never_in_the_token() {
    let (service, other) = (Service::new(Algorithm::ES256), Service::new(Algorithm::ES256));
    let verify = |text: &str, keys: &KeySet| Token::parse(text).unwrap().verify(keys, &rules(), NOW);
    let unknown = |kid: &str| Err(TokenError::KeyUnknown { kid: kid.to_owned() });
    let two = json!({"keys": [service.jwk(), {"kid": "key 2", "kty": "EC", "crv": "P-256",
        "x": other.jwk()["x"], "y": other.jwk()["y"]}]});
    let two = KeySet::parse(two.to_string().as_bytes()).unwrap();
    assert!(verify(&service.sign(&plain()), &two).is_ok());
    assert_eq!(verify(&service.sign_as(&plain(), Some("key 2")), &two), Err(TokenError::Signature));
    assert_eq!(verify(&service.sign_as(&plain(), Some("key 3")), &two), unknown("key 3"));
    assert_eq!(verify(&service.sign_as(&plain(), None), &two), unknown(""), "which of two?");
    assert!(verify(&service.sign_as(&plain(), None), &service.keys()).is_ok(), "the only one");
    // A token that brings its own key, in every way there is.
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("key 1".to_owned());
    header.jku = Some("https://evil.example/keys".to_owned());
    header.x5u = Some("https://evil.example/chain".to_owned());
    header.jwk = serde_json::from_value(other.jwk()).unwrap();
    let embedded = jsonwebtoken::encode(&header, &plain(), &other.encoding).unwrap();
    assert_eq!(verify(&embedded, &service.keys()), Err(TokenError::Signature));
}

#[test]
fn a_key_set_is_read_strictly() {
    let service = Service::new(Algorithm::RS256);
    let what = |jwks: Value| match KeySet::parse(jwks.to_string().as_bytes()).unwrap_err() {
        TokenError::KeySet { what } => what,
        other => panic!("{other}"),
    };
    assert_eq!(what(json!({})), "`keys` is no list");
    assert_eq!(what(json!({"keys": []})), "it has no usable key");
    let secret = json!({"kty": "oct", "kid": "key 1", "k": "AAAA", "alg": "HS256"});
    assert_eq!(what(json!({"keys": [secret]})), "it has no usable key", "a shared secret is no key");
    assert_eq!(what(json!({"keys": [service.jwk(), service.jwk()]})), "two keys have the same id");
    let change = |member: &str, value: Value| {
        let mut jwk = service.jwk();
        jwk[member] = value;
        json!({"keys": [jwk]})
    };
    assert_eq!(what(change("alg", "ES256".into())), "an RSA key is for an algorithm that is not RSA's");
    assert_eq!(what(change("n", "?".into())), "a number is not base64url");
    assert_eq!(what(change("n", Value::Null)), "an RSA key lacks a number");
    assert_eq!(what(change("x5c", "no".into())), "`x5c` is no short list");
    assert_eq!(what(change("x5c", json!(["?"]))), "`x5c` is not base64");
    assert_eq!(what(change("use", "enc".into())), "it has no usable key");
    let (_, _, chain) = certified(&KeyPair::generate().unwrap(), NOW.0);
    assert_eq!(what(change("x5c", json!([STANDARD.encode(&chain[0])]))), "a key and its certificate differ");
    let curve = json!({"keys": [{"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}]});
    assert_eq!(what(curve), "an EC key is on another curve than P-256 and P-384");
    let short = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]});
    assert_eq!(what(short), "a coordinate has the wrong length");
    let lacking = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA"}]});
    assert_eq!(what(lacking), "an EC key lacks a coordinate");
    assert_eq!(what(json!({"keys": vec![service.jwk(); 257]})), "it has too many keys");
    assert!(KeySet::parse(br#"{"keys":[],"keys":[]}"#).unwrap_err().to_string().contains("there twice"));
    assert!(matches!(KeySet::parse(&vec![b' '; 1 << 21]), Err(TokenError::KeySet { .. })));
}

#[test]
fn keys_by_certificate_lead_to_a_given_root_at_a_given_time() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let (root, other, chain) = certified(&key, NOW.0);
    let x5c: Vec<String> = chain.iter().map(|der| STANDARD.encode(der)).collect();
    // As MAA writes it: no numbers at all.
    let jwks = json!({"keys": [{"kid": "key 1", "kty": "EC", "x5c": x5c}]}).to_string();
    let read = |roots: &[&[u8]], at: u64| KeySet::certified(jwks.as_bytes(), roots, UnixTime(at));
    let keys = read(&[&other, &root], NOW.0).unwrap();
    let mut header = Header::new(Algorithm::ES384);
    header.kid = Some("key 1".to_owned());
    let encoding = EncodingKey::from_ec_der(&key.serialize_der());
    let text = jsonwebtoken::encode(&header, &plain(), &encoding).unwrap();
    assert!(Token::parse(&text).unwrap().verify(&keys, &rules(), NOW).is_ok());
    assert!(KeySet::parse(jwks.as_bytes()).is_ok(), "trusted as a whole, the chain need not lead anywhere");

    for (roots, at) in [(vec![other.as_slice()], NOW.0), (vec![], NOW.0), (vec![root.as_slice()], NOW.0 + 90_000)] {
        let error = read(&roots, at).unwrap_err();
        assert!(matches!(error, TokenError::Chain { .. }), "{error}");
        assert_eq!(error.code(), Code::JwtKey);
    }
    let bare = Service::new(Algorithm::ES256).jwks();
    assert_eq!(
        KeySet::certified(bare.as_bytes(), &[&root], NOW).unwrap_err(),
        TokenError::Chain { what: "it has none".to_owned() }
    );
}

#[test]
fn time_issuer_and_audience_are_asked_for() {
    let service = Service::new(Algorithm::ES256);
    let verify = |claims: Value, rules: &Rules, now: u64| {
        Token::parse(&service.sign(&claims)).unwrap().verify(&service.keys(), rules, UnixTime(now))
    };
    let end = NOW.0 + 300;
    assert!(verify(plain(), &rules(), end + 59).is_ok(), "within the leeway");
    let late = verify(plain(), &rules(), end + 60).unwrap_err();
    assert_eq!(late, TokenError::Expired { expires: end, now: end + 60 });
    assert_eq!(late.code(), Code::JwtTime);
    let early = verify(plain(), &rules(), NOW.0 - 61).unwrap_err();
    assert_eq!(early, TokenError::NotYetValid { claim: "nbf", from: NOW.0, now: NOW.0 - 61 });
    let without = |claim: &str| {
        let mut claims = plain();
        claims.as_object_mut().unwrap().remove(claim);
        claims
    };
    let issued = verify(without("nbf"), &rules(), NOW.0 - 61).unwrap_err();
    assert_eq!(issued, TokenError::NotYetValid { claim: "iat", from: NOW.0, now: NOW.0 - 61 });
    assert_eq!(verify(without("exp"), &rules(), NOW.0), Err(TokenError::NoExpiry));
    let mut text = plain();
    text["exp"] = "1780272300".into();
    let what = "is no whole number of seconds";
    assert_eq!(verify(text, &rules(), NOW.0), Err(TokenError::Claim { claim: "exp".to_owned(), what }));

    let issuer = |got: &str| Err(TokenError::Issuer { got: got.to_owned(), wanted: ISSUER.to_owned() });
    assert_eq!(verify(without("iss"), &rules(), NOW.0), issuer(""));
    let mut other = plain();
    other["iss"] = "https://evil.example".into();
    assert_eq!(verify(other, &rules(), NOW.0), issuer("https://evil.example"));
    let audience = |got: &[&str]| {
        let got = got.iter().map(|text| (*text).to_owned()).collect();
        Err(TokenError::Audience { got, wanted: "confide".to_owned() })
    };
    assert_eq!(verify(without("aud"), &rules(), NOW.0), audience(&[]));
    let mut several = plain();
    several["aud"] = json!(["one", "two"]);
    assert_eq!(verify(several.clone(), &rules(), NOW.0), audience(&["one", "two"]));
    several["aud"] = json!(["one", "confide"]);
    assert!(verify(several.clone(), &rules(), NOW.0).is_ok());
    several["aud"] = json!([1]);
    assert!(matches!(verify(several, &rules(), NOW.0), Err(TokenError::Claim { .. })));
    let loose = Rules {
        issuer: Allowed::any("test"),
        audience: Audience::NotUsed { reason: "test".to_owned() },
        leeway_seconds: 0,
    };
    let verified = verify(without("aud"), &loose, NOW.0).unwrap();
    assert_eq!(verified.waivers().iter().map(|waiver| waiver.claim).collect::<Vec<_>>(), ["iss", "aud"]);
}

#[test]
fn members_that_are_there_twice_are_refused() {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#);
    let parse =
        |header: &str, payload: &str| Token::parse(&format!("{header}.{}.AAAA", URL_SAFE_NO_PAD.encode(payload)));
    assert!(parse(&header, r#"{"a":1}"#).is_ok());
    for payload in [r#"{"a":1,"a":2}"#, r#"{"b":{"a":1,"\u0061":2}}"#, "[]", "{", "1"] {
        assert_eq!(parse(&header, payload).unwrap_err().code(), Code::JwtFormat, "{payload}");
    }
    let doubled = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","alg":"none"}"#);
    assert!(matches!(parse(&doubled, "{}"), Err(TokenError::Form { .. })));
    let kid = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":1}"#);
    assert_eq!(parse(&kid, "{}"), Err(TokenError::Form { what: "the header's `kid` is no text".to_owned() }));
    for text in ["", "a.b", "a.b.c.d", "a.b.c"] {
        assert_eq!(Token::parse(text).unwrap_err().code(), Code::JwtFormat, "{text}");
    }
    assert_eq!(Token::parse(&"a".repeat(262_145)), Err(TokenError::Length { got: 262_145, most: 262_144 }));
    let unsigned = format!("{header}.{}.", URL_SAFE_NO_PAD.encode("{}"));
    assert_eq!(Token::parse(&unsigned), Err(TokenError::Form { what: "it is not signed".to_owned() }));
}

#[test]
fn maa_tokens_of_containers_and_vms_are_appraised() {
    let flat = maa_snp();
    let mut nested = plain();
    nested["x-ms-attestation-type"] = "azurevm".into();
    nested["x-ms-isolation-tee"] = flat.clone();
    for token in [verified(merge(plain(), flat.clone())), verified(nested)] {
        let appraised = maa::appraise(&token, &expected_snp()).unwrap();
        let MaaTee::Snp(snp) = &appraised.claims.tee else { panic!("not SNP") };
        assert_eq!((snp.vmpl, snp.tcb), (0, [3, 0, 8, 115]));
        assert_eq!(appraised.claims.runtime, Some(json!({"keys": []})));
        let left: Vec<&str> = appraised.waivers.iter().map(|waiver| waiver.claim).collect();
        assert_eq!(left, ["x-ms-policy-hash", "nonce"], "not compared");
    }
    let refuse = |claim: &str, value: Value| {
        let mut claims = flat.clone();
        claims[claim] = value;
        maa::appraise(&verified(merge(plain(), claims)), &expected_snp()).unwrap_err()
    };
    for (claim, value, code) in [
        ("x-ms-compliance-status", "none".into(), Code::JwtClaim),
        ("x-ms-attestation-type", "sgx".into(), Code::JwtFormat),
        ("x-ms-attestation-type", "tpm".into(), Code::JwtClaim),
        ("x-ms-sevsnpvm-is-debuggable", true.into(), Code::JwtDebug),
        ("x-ms-sevsnpvm-migration-allowed", true.into(), Code::JwtDebug),
        ("x-ms-sevsnpvm-is-debuggable", "false".into(), Code::JwtFormat),
        ("x-ms-sevsnpvm-vmpl", 1.into(), Code::JwtClaim),
        ("x-ms-sevsnpvm-launchmeasurement", "00".repeat(48).into(), Code::Measurement),
        ("x-ms-sevsnpvm-hostdata", "00".repeat(32).into(), Code::HostData),
        ("x-ms-sevsnpvm-reportdata", "00".repeat(64).into(), Code::JwtBinding),
        ("x-ms-sevsnpvm-reportdata", "00".repeat(63).into(), Code::JwtFormat),
    ] {
        let error = refuse(claim, value);
        assert_eq!(error.code(), code, "{claim}: {error}");
    }
    let finding = refuse("x-ms-sevsnpvm-hostdata", "00".repeat(32).into()).finding().unwrap();
    assert_eq!((finding.claim.as_str(), finding.got), ("x-ms-sevsnpvm-hostdata", "00".repeat(32)));
}

#[test]
fn maa_tokens_of_enclaves_and_trust_domains_are_appraised() {
    let sgx = json!({
        "x-ms-attestation-type": "sgx", "x-ms-sgx-mrenclave": "AA".repeat(32), "x-ms-sgx-mrsigner": "bb".repeat(32),
        "x-ms-sgx-product-id": 770, "x-ms-sgx-svn": 2, "x-ms-sgx-is-debuggable": false, "x-ms-sgx-ehd": "cHVi",
    });
    let expected = maa::Expected {
        compliance: Allowed::any("enclaves have none"),
        policy_hash: Allowed::any("test"),
        nonce: Allowed::any("test"),
        tee: maa::ExpectedTee::Sgx {
            mrenclave: Allowed::only("aa".repeat(32)),
            mrsigner: Allowed::only("bb".repeat(32)),
            product_id: Allowed::only(770),
            svn_floor: 2,
            enclave_held_data: Allowed::only("cHVi".to_owned()),
        },
    };
    let appraise = |base: &Value, claim: &str, value: Value, expected: &maa::Expected| {
        let mut claims = base.clone();
        claims[claim] = value;
        maa::appraise(&verified(merge(plain(), claims)), expected)
    };
    assert!(appraise(&sgx, "x-ms-sgx-svn", 3.into(), &expected).is_ok());
    for (claim, value, code) in [
        ("x-ms-sgx-is-debuggable", true.into(), Code::JwtDebug),
        ("x-ms-sgx-mrenclave", "cc".repeat(32).into(), Code::Measurement),
        ("x-ms-sgx-mrenclave", "xx".repeat(32).into(), Code::JwtFormat),
        ("x-ms-sgx-mrsigner", "cc".repeat(32).into(), Code::JwtClaim),
        ("x-ms-sgx-product-id", 771.into(), Code::JwtClaim),
        ("x-ms-sgx-product-id", "770".into(), Code::JwtFormat),
        ("x-ms-sgx-svn", 1.into(), Code::JwtClaim),
        ("x-ms-sgx-ehd", "cHVj".into(), Code::JwtBinding),
    ] {
        assert_eq!(appraise(&sgx, claim, value, &expected).unwrap_err().code(), code, "{claim}");
    }
    let snp = appraise(&maa_snp(), "x", 1.into(), &expected).unwrap_err();
    assert_eq!(snp.finding().unwrap().claim, "x-ms-attestation-type");

    let register = "0a".repeat(48);
    let tdx = json!({
        "x-ms-attestation-type": "tdxvm", "tdx_mrtd": register, "tdx_rtmr0": register, "tdx_rtmr1": register,
        "tdx_rtmr2": register, "tdx_rtmr3": register, "tdx_mrconfigid": register, "tdx_report_data": "07".repeat(64),
        "tdx_td_attributes_debug": false, "attester_tcb_status": "UpToDate",
    });
    let expected = maa::Expected {
        tee: maa::ExpectedTee::Tdx {
            mr_td: Allowed::only(register),
            tcb_status: Allowed::only("UpToDate".to_owned()),
            report_data: Allowed::only(ReportData([7; 64])),
        },
        ..expected
    };
    assert!(appraise(&tdx, "x", 1.into(), &expected).is_ok());
    for (claim, value, code) in [
        ("tdx_td_attributes_debug", true.into(), Code::JwtDebug),
        ("tdx_mrtd", "0b".repeat(48).into(), Code::Measurement),
        ("attester_tcb_status", "OutOfDate".into(), Code::JwtClaim),
        ("tdx_report_data", "08".repeat(64).into(), Code::JwtBinding),
        ("tdx_rtmr3", Value::Null, Code::JwtFormat),
    ] {
        assert_eq!(appraise(&tdx, claim, value, &expected).unwrap_err().code(), code, "{claim}");
    }
}

#[test]
fn attestation_results_are_affirming_in_every_submodule_and_in_themselves() {
    let result = |change: &dyn Fn(&mut Value)| {
        let mut claims = merge(
            plain(),
            json!({
                "eat_profile": ear::TRUSTEE_PROFILE,
                "submods": {"cpu0": {
                    "ear.status": "affirming",
                    "ear.trustworthiness-vector": {"instance-identity": 0, "configuration": 2, "executables": 3, "hardware": 2},
                    "ear.appraisal-policy-id": "default",
                    "ear.veraison.annotated-evidence": {"runtime_data_claims": {"nonce": "abc"}},
                }},
            }),
        );
        change(&mut claims);
        ear::appraise(&verified(claims), &expected_ear())
    };
    let appraised = result(&|_| {}).unwrap();
    assert_eq!(appraised.claims.submods["cpu0"].status, Tier::Affirming);
    assert_eq!(appraised.claims.submods["cpu0"].trust_vector["executables"], 3);
    for (pointer, value, code) in [
        ("/eat_profile", "other".into(), Code::JwtClaim),
        ("/submods/cpu0/ear.status", "warning".into(), Code::JwtStatus),
        ("/submods/cpu0/ear.status", "none".into(), Code::JwtStatus),
        ("/submods/cpu0/ear.status", "fine".into(), Code::JwtFormat),
        ("/submods/cpu0/ear.trustworthiness-vector/executables", 33.into(), Code::JwtStatus),
        ("/submods/cpu0/ear.trustworthiness-vector/executables", 99.into(), Code::JwtStatus),
        ("/submods/cpu0/ear.trustworthiness-vector/executables", 200.into(), Code::JwtFormat),
        ("/submods/cpu0/ear.trustworthiness-vector", 1.into(), Code::JwtFormat),
        ("/submods/cpu0/ear.appraisal-policy-id", "allow-all".into(), Code::JwtClaim),
        ("/submods/cpu0/ear.veraison.annotated-evidence/runtime_data_claims/nonce", "abd".into(), Code::JwtBinding),
        ("/submods/cpu0", 1.into(), Code::JwtFormat),
        ("/submods", json!({}), Code::JwtSubmod),
        ("/submods", json!([]), Code::JwtFormat),
    ] {
        let error = result(&|claims| *claims.pointer_mut(pointer).unwrap() = value.clone()).unwrap_err();
        assert_eq!(error.code(), code, "{pointer}: {error}");
    }
    let extra = result(&|claims| claims["submods"]["cpu1"] = claims["submods"]["cpu0"].clone()).unwrap_err();
    assert_eq!(extra, TokenError::Submod { name: "cpu1".to_owned(), what: "is not expected" });
    let own = result(&|claims| claims["eat_nonce"] = "other".into()).unwrap_err();
    assert_eq!(own.code(), Code::JwtBinding, "the token's own nonce comes first");
    for (value, tier) in [
        (0, Tier::None),
        (-1, Tier::None),
        (31, Tier::Affirming),
        (-32, Tier::Affirming),
        (32, Tier::Warning),
        (-96, Tier::Warning),
        (96, Tier::Contraindicated),
        (-97, Tier::Contraindicated),
    ] {
        assert_eq!(Tier::of(value), tier, "{value}");
    }
}

#[test]
fn gpu_results_hold_for_every_device_or_not_at_all() {
    let service = Service::new(Algorithm::ES384);
    let device = |ueid: &str| {
        merge(
            plain(),
            json!({
                "eat_nonce": "0f", "measres": "success", "secboot": true, "dbgstat": "disabled", "hwmodel": "GH100",
                "ueid": ueid, "x-nvidia-gpu-driver-version": "550.90.07", "x-nvidia-gpu-vbios-version": "96.00.9F.00.01",
            }),
        )
    };
    let eat = |devices: &[(&str, Value)], overall: Value| {
        let tokens: serde_json::Map<String, Value> =
            devices.iter().map(|(name, claims)| ((*name).to_owned(), service.sign(claims).into())).collect();
        let digests: serde_json::Map<String, Value> = tokens
            .iter()
            .map(|(name, token)| {
                let digest = Digest256::of(token.as_str().unwrap().as_bytes());
                (name.clone(), json!(["DIGEST", ["SHA-256", digest]]))
            })
            .collect();
        let claims = merge(
            merge(plain(), json!({"eat_nonce": "0f", "x-nvidia-overall-att-result": true, "submods": digests})),
            overall,
        );
        json!([["JWT", service.sign(&claims)], tokens])
    };
    let expected = nras::Expected {
        nonce: Allowed::only("0f".to_owned()),
        devices: Allowed::only(2),
        ueids: Allowed::OneOf(vec!["1".to_owned(), "2".to_owned()]),
        models: Allowed::any("test"),
        drivers: Allowed::only("550.90.07".to_owned()),
        vbios: Allowed::any("test"),
    };
    let appraise = |eat: &Value| {
        let parsed = nras::DetachedEat::parse(eat.to_string().as_bytes())?;
        parsed.verify(&service.keys(), &rules(), NOW)?.appraise(&expected)
    };
    let good = eat(&[("GPU-0", device("1")), ("GPU-1", device("2"))], json!({}));
    let appraised = appraise(&good).unwrap();
    assert_eq!(appraised.claims.devices["GPU-1"].ueid, "2");

    let changed = |claim: &str, value: Value| {
        let mut second = device("2");
        second[claim] = value;
        appraise(&eat(&[("GPU-0", device("1")), ("GPU-1", second)], json!({}))).unwrap_err().code()
    };
    assert_eq!(changed("measres", "fail".into()), Code::JwtStatus);
    assert_eq!(changed("secboot", false.into()), Code::JwtStatus);
    assert_eq!(changed("dbgstat", "enabled".into()), Code::JwtDebug);
    assert_eq!(changed("eat_nonce", "10".into()), Code::JwtBinding);
    assert_eq!(changed("ueid", "1".into()), Code::JwtSubmod, "one device twice");
    assert_eq!(changed("x-nvidia-gpu-driver-version", "1".into()), Code::JwtClaim);
    assert_eq!(changed("iss", "other".into()), Code::JwtIssuer, "each device's token is verified like the first");
    let both = [("GPU-0", device("1")), ("GPU-1", device("2"))];
    assert_eq!(
        appraise(&eat(&both, json!({"x-nvidia-overall-att-result": false}))).unwrap_err().code(),
        Code::JwtStatus
    );
    assert_eq!(appraise(&eat(&both, json!({"eat_nonce": "10"}))).unwrap_err().code(), Code::JwtBinding);
    assert_eq!(appraise(&eat(&both[..1], json!({}))).unwrap_err().code(), Code::JwtSubmod, "one of two");
    assert_eq!(appraise(&eat(&both, json!({"submods": {"GPU-0": ["DIGEST"]}}))).unwrap_err().code(), Code::JwtSubmod);

    let submod = |name: &str, what| Err(TokenError::Submod { name: name.to_owned(), what });
    let mut missing = good.clone();
    missing[1].as_object_mut().unwrap().remove("GPU-1");
    assert_eq!(appraise(&missing), submod("GPU-1", "is missing"));
    let mut extra = good.clone();
    extra[1]["GPU-2"] = extra[1]["GPU-1"].clone();
    assert_eq!(appraise(&extra), submod("GPU-2", "is in no signed digest"));
    let mut swapped = good.clone();
    swapped[1]["GPU-1"] = swapped[1]["GPU-0"].clone();
    assert_eq!(appraise(&swapped), submod("GPU-1", "does not hash to the signed digest"));
    for form in [json!({}), json!([1, 2, 3]), json!([["CWT", "x"], {}]), json!([good[0], []])] {
        assert_eq!(appraise(&form).unwrap_err().code(), Code::JwtFormat, "{form}");
    }
}

/// An attestation service with one key.
struct Service {
    algorithm: Algorithm,
    encoding: EncodingKey,
    jwk: Value,
}

impl Service {
    fn new(algorithm: Algorithm) -> Self {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (encoding, jwk) = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => {
                let (kind, curve) = match algorithm {
                    Algorithm::ES256 => (&rcgen::PKCS_ECDSA_P256_SHA256, "P-256"),
                    _ => (&rcgen::PKCS_ECDSA_P384_SHA384, "P-384"),
                };
                let key = KeyPair::generate_for(kind).unwrap();
                let (x, y) = key.public_key_raw()[1..].split_at(key.public_key_raw().len() / 2);
                let jwk = json!({"kid": "key 1", "kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)});
                (EncodingKey::from_ec_der(&key.serialize_der()), jwk)
            }
            _ => {
                let key = RsaKeyPair::from_pkcs8(&RSA).unwrap();
                let parts: aws_lc_rs::signature::RsaPublicKeyComponents<Vec<u8>> = key.public_key().into();
                let jwk = json!({"kid": "key 1", "kty": "RSA", "alg": format!("{algorithm:?}"),
                    "n": b64(&parts.n), "e": b64(&parts.e)});
                (EncodingKey::from_rsa_der(&pkcs1(&RSA)), jwk)
            }
        };
        Self { algorithm, encoding, jwk }
    }

    fn jwk(&self) -> Value {
        self.jwk.clone()
    }

    fn jwks(&self) -> String {
        json!({"keys": [self.jwk]}).to_string()
    }

    fn keys(&self) -> KeySet {
        KeySet::parse(self.jwks().as_bytes()).unwrap()
    }

    fn public(&self) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(self.jwk["x"].as_str().unwrap()).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(claims, Some("key 1"))
    }

    fn sign_as(&self, claims: &Value, kid: Option<&str>) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.encoding).unwrap()
    }
}

/// The PKCS #1 key inside a PKCS #8 one.
fn pkcs1(pkcs8: &[u8]) -> Vec<u8> {
    use x509_cert::der::{Decode, Reader, SliceReader, asn1::OctetStringRef};
    let mut reader = SliceReader::new(pkcs8).unwrap();
    reader
        .sequence(|reader| {
            reader.tlv_bytes()?;
            reader.tlv_bytes()?;
            let key = OctetStringRef::decode(reader)?.as_bytes().to_vec();
            Ok(key)
        })
        .unwrap()
}

/// A root, another root, and a chain for this key (leaf, intermediate) that is valid around this time.
fn certified(key: &KeyPair, around: u64) -> (Vec<u8>, Vec<u8>, Vec<Vec<u8>>) {
    let at = |seconds: u64| time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap();
    let authority = |name: &str| {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params
    };
    let root_key = KeyPair::generate().unwrap();
    let root = authority("root").self_signed(&root_key).unwrap().der().to_vec();
    let other = authority("root").self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
    let between_key = KeyPair::generate().unwrap();
    let root_issuer = Issuer::new(authority("root"), root_key);
    let between = authority("between").signed_by(&between_key, &root_issuer).unwrap().der().to_vec();
    let mut leaf = CertificateParams::new(vec![]).unwrap();
    leaf.not_before = at(around - 86400);
    leaf.not_after = at(around + 86400);
    let leaf = leaf.signed_by(key, &Issuer::new(authority("between"), between_key)).unwrap().der().to_vec();
    (root, other, vec![leaf, between])
}

fn verified(claims: Value) -> VerifiedToken {
    static SERVICE: LazyLock<Service> = LazyLock::new(|| Service::new(Algorithm::ES256));
    Token::parse(&SERVICE.sign(&claims)).unwrap().verify(&SERVICE.keys(), &rules(), NOW).unwrap()
}

fn plain() -> Value {
    json!({"iss": ISSUER, "aud": "confide", "iat": NOW.0, "nbf": NOW.0, "exp": NOW.0 + 300})
}

fn merge(mut base: Value, more: Value) -> Value {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

fn rules() -> Rules {
    Rules {
        issuer: Allowed::only(ISSUER.to_owned()),
        audience: Audience::OneOf(vec!["confide".to_owned()]),
        leeway_seconds: 60,
    }
}

fn maa_snp() -> Value {
    json!({
        "x-ms-attestation-type": "sevsnpvm", "x-ms-compliance-status": maa::COMPLIANT_CONTAINER,
        "x-ms-runtime": {"keys": []}, "x-ms-sevsnpvm-launchmeasurement": "01".repeat(48),
        "x-ms-sevsnpvm-hostdata": "02".repeat(32), "x-ms-sevsnpvm-reportdata": "03".repeat(64),
        "x-ms-sevsnpvm-is-debuggable": false, "x-ms-sevsnpvm-migration-allowed": false, "x-ms-sevsnpvm-vmpl": 0,
        "x-ms-sevsnpvm-guestsvn": 100, "x-ms-sevsnpvm-bootloader-svn": 3, "x-ms-sevsnpvm-tee-svn": 0,
        "x-ms-sevsnpvm-snpfw-svn": 8, "x-ms-sevsnpvm-microcode-svn": 115,
    })
}

fn expected_snp() -> maa::Expected {
    maa::Expected {
        compliance: Allowed::only(maa::COMPLIANT_CONTAINER.to_owned()),
        policy_hash: Allowed::any("test"),
        nonce: Allowed::any("test"),
        tee: maa::ExpectedTee::Snp {
            measurement: Allowed::only(LaunchDigest([1; 48])),
            host_data: Allowed::only(HostData([2; 32])),
            report_data: Allowed::only(ReportData([3; 64])),
        },
    }
}

fn expected_ear() -> ear::Expected {
    ear::Expected {
        profile: Allowed::only(ear::TRUSTEE_PROFILE.to_owned()),
        submods: BTreeSet::from(["cpu0".to_owned()]),
        tiers: ear::affirming(),
        nonce: Allowed::only("abc".to_owned()),
        policies: Allowed::only("default".to_owned()),
    }
}
