//! `/auth` and `/attest`: sections 1.1, 1.3, 1.4 and 1.6.

use super::support::guest::{Guest, Key, Session};
use super::support::processor::Launch;
use super::support::{Client, Folder, now};
use super::{error, is, old_body, old_session, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::kbs::{RuntimeData, TeeKey, runtime_binding};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

const AUTH: &str = "/kbs/v0/auth";
const ATTEST: &str = "/kbs/v0/attest";

#[tokio::test]
async fn a_challenge_looks_as_clients_read_it() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    let mut nonces = std::collections::BTreeSet::new();
    // Whatever is in `extra-params`, it must only be there; unknown members of the request are ignored.
    let params = [r#""""#, "{}", "null", r#"{"supported-hash-algorithms":["sha256","sm3"]}"#, r#"{"of-2030":[{}]}"#];
    for version in ["0.2.0", "0.4.0"] {
        for extra in params {
            let body = format!(r#"{{"version":"{version}","tee":"snp","extra-params":{extra},"more":1}}"#);
            let before = now().0;
            let answer = post(&mut client, AUTH, &[], body).await;
            assert_eq!(answer.status, StatusCode::OK, "{extra}");
            assert_eq!(answer.headers["content-type"], "application/json");
            let challenge = answer.json();
            assert_eq!(challenge.as_object().unwrap().len(), 2);
            assert_eq!(challenge["extra-params"], json!(""));
            let nonce = challenge["nonce"].as_str().unwrap();
            assert_eq!((nonce.len(), STANDARD.decode(nonce).unwrap().len()), (44, 32));
            assert!(nonces.insert(nonce.to_owned()), "a nonce came twice");
            // Upstream's only attribute; a client keeps the cookie for all of /kbs/v0 (RFC 6265, 5.1.4).
            let cookie = answer.headers["set-cookie"].to_str().unwrap();
            let (pair, expires) = cookie.split_once("; Expires=").unwrap();
            assert!(pair.starts_with("kbs-session-id=") && !expires.contains(';'), "{cookie}");
            let end = httpdate::parse_http_date(expires).unwrap().duration_since(UNIX_EPOCH).unwrap();
            let wanted = before + 300..=now().0 + 301;
            assert!(wanted.contains(&end.as_secs()), "{end:?} {wanted:?}");
        }
    }
}

#[tokio::test]
async fn every_kind_of_upstreams_list_is_challenged_or_named_unsupported() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    let known = ["az-snp-vtpm", "az-tdx-vtpm", "sgx", "snp", "tdx", "tpm", "aci"];
    let other = ["nvidia", "cca", "csv", "se", "hygondcu", "nvidia-dpu", "sample", "sampledevice", "Snp", "snp ", ""];
    for tee in known {
        let body = json!({"version": "0.4.0", "tee": tee, "extra-params": ""}).to_string();
        assert_eq!(post(&mut client, AUTH, &[], body).await.status, StatusCode::OK, "{tee}");
    }
    for tee in other {
        let body = json!({"version": "0.4.0", "tee": tee, "extra-params": ""}).to_string();
        let answer = post(&mut client, AUTH, &[], body).await;
        assert_eq!(error(&answer), is(400, "AttestationError", "E-TEE"), "{tee}");
    }
}

#[tokio::test]
async fn versions_and_requests_that_are_not_spoken_are_refused_by_name() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    for version in ["0.1.0", "0.1.1", "0.3.0", "0.4", "0.4.0 ", "v0.4.0", "0.4.1", "1.0.0", ""] {
        let body = json!({"version": version, "tee": "snp", "extra-params": ""}).to_string();
        let answer = post(&mut client, AUTH, &[], body).await;
        assert_eq!(error(&answer), is(400, "AttestationError", "E-VERSION"), "{version}");
        // What the end-to-end test of guest-components looks for.
        assert!(answer.json()["detail"].as_str().unwrap().contains("KBS Client Protocol Version Mismatch"));
    }
    let good = r#"{"version":"0.4.0","tee":"snp","extra-params":""}"#;
    let bad: [&[u8]; 10] = [
        br#"{"version":"0.4.0","tee":"snp"}"#,
        br#"{"version":"0.4.0","extra-params":""}"#,
        br#"{"tee":"snp","extra-params":""}"#,
        br#"{"version":4,"tee":"snp","extra-params":""}"#,
        br#"{"version":"0.4.0","tee":["snp"],"extra-params":""}"#,
        br#"{"version":"0.4.0","version":"0.4.0","tee":"snp","extra-params":""}"#,
        br#"["0.4.0","snp",""]"#,
        b"\xff\xfe{",
        b"\x1f\x8b\x08\x00",
        br#"{"version":"0.4.0","tee":"snp","extra-params":""} x"#,
    ];
    for body in bad {
        let answer = post(&mut client, AUTH, &[], body).await;
        assert_eq!(error(&answer), is(400, "SerdeError", "E-FORMAT"), "{}", String::from_utf8_lossy(body));
    }
    // The content type is not looked at, as with upstream; neither are queries and cookies.
    let odd = [("content-type", "text/xml"), ("cookie", "kbs-session-id=ba540664a1d7406cb61c892e0697044f")];
    assert_eq!(post(&mut client, "/kbs/v0/auth?x=1&x=2", &odd, good).await.status, StatusCode::OK);
}

#[tokio::test]
async fn attesting_sets_the_same_cookie_again_and_members_may_stand_anywhere() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    let guest = Guest::new(Launch::default());
    let session = Guest::auth(&mut client).await;
    let body = guest.body(&session);
    // Other members' order, members that nobody knows, `init-data` left out: all the same message.
    let text = format!(
        r#"{{"tee-evidence":{},"x":{{}},"runtime-data":{{"tee-pubkey":{},"nonce":"{}","y":1}}}}"#,
        body["tee-evidence"], body["runtime-data"]["tee-pubkey"], session.nonce
    );
    let cookies = format!("theme=dark; {}; other=1", session.cookie);
    let answer = post(&mut client, ATTEST, &[("cookie", &cookies)], text).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.cookie(), session.cookie);
    assert_eq!(answer.json().as_object().unwrap().keys().collect::<Vec<_>>(), ["token"]);
    // Upstream answers an attested session with its token again, whatever comes; here a challenge is good once.
    let again = session.attest(&mut client, &body).await;
    assert_eq!(error(&again), is(401, "AttestationError", "E-NONCE"));
}

#[tokio::test]
async fn a_key_is_hashed_as_upstream_writes_it_again() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    let guest = Guest::new(Launch::default());
    let public = json!(guest.key.public());
    let mut longer = public.clone();
    longer["use"] = json!("enc");
    // Unknown members of the key are dropped before hashing: the hash over the known ones is right …
    let session = Guest::auth(&mut client).await;
    let mut body = guest.body(&session);
    body["runtime-data"]["tee-pubkey"] = longer.clone();
    assert_eq!(session.attest(&mut client, &body).await.status, StatusCode::OK);
    // … and one over all of them is not.
    let session = Guest::auth(&mut client).await;
    let bound = json!({"additional-evidence": "", "nonce": session.nonce, "tee-pubkey": longer});
    let mut body = guest.body_with(&session, hashed(&bound));
    body["runtime-data"]["tee-pubkey"] = longer;
    assert_eq!(error(&session.attest(&mut client, &body).await), is(401, "AttestationError", "E-BINDING"));
    // The empty member `additional-evidence` is part of the hash in 0.4.0, and is not in 0.2.0.
    let session = Guest::auth(&mut client).await;
    let bound = json!({"nonce": session.nonce, "tee-pubkey": public});
    let body = guest.body_with(&session, hashed(&bound));
    assert_eq!(error(&session.attest(&mut client, &body).await), is(401, "AttestationError", "E-BINDING"));
}

#[test]
fn the_published_known_answer_comes_out() {
    let key = TeeKey::Ec {
        crv: "P-256".into(),
        alg: "ECDH-ES+A256KW".into(),
        x: "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4".into(),
        y: "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM".into(),
    };
    let data = RuntimeData { nonce: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into(), tee_pubkey: key };
    let hash = hex::encode(runtime_binding(&data, "").unwrap());
    assert_eq!(
        hash,
        "1341202dde83ec1a934a297c4db4ce6f906acdb7d46d1dd9a9cc7081ff62bf4351d9731d2cf253c5b69005bde4d4592f"
    );
}

fn hashed(value: &Value) -> [u8; 64] {
    use aws_lc_rs::digest::{SHA384, digest};
    let mut report_data = [0; 64];
    report_data[..48].copy_from_slice(digest(&SHA384, &super::support::guest::canonical(value)).as_ref());
    report_data
}

#[tokio::test]
async fn both_versions_take_ec_and_rsa_keys_and_no_others() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    for key in [Key::p256(), Key::p521(), Key::rsa("RSA-OAEP-256")] {
        let guest = Guest { key, ..Guest::new(Launch::default()) };
        let session = old_session(&mut client).await;
        assert_eq!(session.attest(&mut client, &old_body(&guest, &session)).await.status, StatusCode::OK);
        let session = Guest::auth(&mut client).await;
        assert_eq!(session.attest(&mut client, &guest.body(&session)).await.status, StatusCode::OK);
    }
    let good = json!(Key::p256().public());
    let changed = |member: &str, value: Value| {
        let mut key = good.clone();
        key[member] = value;
        key
    };
    let rsa = json!(Key::rsa("RSA-OAEP-256").public());
    let mut named = rsa.clone();
    named["alg"] = json!("RSA-OAEP");
    let bad = [
        changed("kty", json!("OKP")),
        changed("kty", json!("AKP")),
        changed("crv", json!("P-384")),
        changed("alg", json!("ECDH-ES")),
        changed("alg", json!("dir")),
        changed("x", json!("AA")),
        changed("x", good["y"].clone()),
        changed("y", json!("not base64!")),
        named,
        json!({"kty": "RSA", "alg": "RSA-OAEP-256", "n": "AQAB", "e": "AQAB"}),
        json!({"kty": "EC"}),
        json!("key"),
        Value::Null,
    ];
    let guest = Guest::new(Launch::default());
    let session = Guest::auth(&mut client).await;
    for key in bad {
        let mut body = guest.body(&session);
        body["runtime-data"]["tee-pubkey"] = key.clone();
        let answer = session.attest(&mut client, &body).await;
        assert_eq!(error(&answer), is(400, "SerdeError", "E-FORMAT"), "{key}");
    }
}

#[tokio::test]
async fn messages_of_every_wrong_form_leave_the_challenge_good() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    let guest = Guest::new(Launch::default());
    let session = Guest::auth(&mut client).await;
    let good = guest.body(&session);
    for member in ["/runtime-data", "/runtime-data/nonce", "/runtime-data/tee-pubkey", "/tee-evidence"] {
        for value in [Value::Null, json!(7), json!([])] {
            let mut body = good.clone();
            *body.pointer_mut(member).unwrap() = value;
            assert_eq!(error(&session.attest(&mut client, &body).await), is(400, "SerdeError", "E-FORMAT"), "{member}");
        }
    }
    // Devices' evidence is a text, because its bytes are hashed; 0.3.0 had the key at the top.
    for (member, value) in [("additional_evidence", json!({})), ("additional_evidence", Value::Null)] {
        let mut body = good.clone();
        body["tee-evidence"][member] = value;
        assert_eq!(error(&session.attest(&mut client, &body).await), is(400, "SerdeError", "E-FORMAT"));
    }
    let flat = json!({"tee-pubkey": guest.key.public(), "tee-evidence": good["tee-evidence"]});
    assert_eq!(error(&session.attest(&mut client, &flat).await), is(400, "SerdeError", "E-FORMAT"));
    let no_cookie = post(&mut client, ATTEST, &[], good.to_string()).await;
    assert_eq!(error(&no_cookie), is(401, "AttestationError", "E-NONCE"));
    // The older message does not take the newer one's form either.
    let old = old_session(&mut client).await;
    assert_eq!(error(&old.attest(&mut client, &good).await), is(400, "SerdeError", "E-FORMAT"));
    assert_eq!(session.attest(&mut client, &good).await.status, StatusCode::OK);
    assert_eq!(old.attest(&mut client, &old_body(&guest, &old)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn init_data_is_bound_by_every_algorithm_that_upstream_names() {
    use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    for (name, algorithm) in [("sha256", &SHA256), ("sha384", &SHA384), ("sha512", &SHA512)] {
        let text = format!("version = \"0.1.0\"\nalgorithm = \"{name}\"\n[data]\n\"aa.toml\" = '''\nx = 1\n'''\n");
        let mut host_data = [0; 32];
        host_data.copy_from_slice(&digest(algorithm, text.as_bytes()).as_ref()[..32]);
        let launch = Launch::with_host_data(claims::HostData(host_data));
        let guest = Guest { init_data: Some(("toml".into(), text.clone())), ..Guest::new(launch.clone()) };
        let (_, token) = guest.attested(&mut client).await;
        let evidence = super::tokens::annotated(&token);
        assert_eq!(evidence["init_data"], json!(hex::encode(host_data)), "{name}");
        assert_eq!(evidence["init_data_claims"], json!({"aa.toml": {"x": 1}}), "{name}");
        // Not sent: the field of the evidence is still a claim, its contents are none.
        let (_, token) = Guest::new(launch.clone()).attested(&mut client).await;
        let evidence = super::tokens::annotated(&token);
        assert_eq!((&evidence["init_data"], evidence.get("init_data_claims")), (&json!(hex::encode(host_data)), None));
        // One byte more is another text.
        let guest = Guest { init_data: Some(("toml".into(), text + "\n")), ..Guest::new(launch) };
        let (_, answer) = guest.attest(&mut client).await;
        assert_eq!(error(&answer), is(403, "AttestationError", "E-HOST-DATA"), "{name}");
    }
    let session = Guest::auth(&mut client).await;
    let mut body = Guest::new(Launch::default()).body(&session);
    for init_data in [json!("text"), json!({"format": "toml"}), json!({"body": ""}), json!([])] {
        body["init-data"] = init_data.clone();
        let answer = session.attest(&mut client, &body).await;
        assert_eq!(error(&answer), is(400, "SerdeError", "E-FORMAT"), "{init_data}");
    }
}

#[tokio::test]
async fn composite_evidence_is_bound_by_its_exact_text() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    let guest = Guest::new(Launch::default());
    let with = |session: &Session, signed: &str, sent: &str| {
        let data = RuntimeData { nonce: session.nonce.clone(), tee_pubkey: guest.key.public() };
        let mut report_data = [0; 64];
        report_data[..48].copy_from_slice(&runtime_binding(&data, signed).unwrap());
        let mut body = guest.body_with(session, report_data);
        body["tee-evidence"]["additional_evidence"] = json!(sent);
        body
    };
    let attest = async |client: &mut Client, signed: &str, sent: &str| {
        let session = Guest::auth(client).await;
        let body = with(&session, signed, sent);
        error(&session.attest(client, &body).await)
    };
    // The CPU signed other words, or none, or these words with another blank.
    let unbound = is(401, "AttestationError", "E-BINDING");
    assert_eq!(attest(&mut client, "", "{}").await, unbound);
    assert_eq!(attest(&mut client, "{}", "").await, unbound);
    assert_eq!(attest(&mut client, "{}", "{ }").await, unbound);
    // Bound, so that its contents count: devices that nobody verifies here, or no JSON at all.
    for text in [r#"{"sampledevice":{"svn":"2"}}"#, r#"{"nvidia":{"device_evidence_list":[{}]}}"#, "[", "x"] {
        let (status, kind, code) = attest(&mut client, text, text).await;
        assert!(matches!(status, 400 | 403), "{text}: {status} {code}");
        assert!(matches!(kind.as_str(), "AttestationError" | "SerdeError"), "{text}: {kind}");
    }
}

#[tokio::test]
async fn an_expired_cookie_is_told_from_nothing_else() {
    let folder = Folder::new();
    let settings = broker::Settings { challenge_seconds: 1, ..folder.settings() };
    let broker = folder.start_with(settings, super::support::processor::verifier()).await;
    let mut client = broker.client().await;
    let guest = Guest::new(Launch::default());
    let session = Guest::auth(&mut client).await;
    let body = guest.body(&session);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let late = session.attest(&mut client, &body).await;
    let strange = post(&mut client, ATTEST, &[("cookie", "kbs-session-id=00")], body.to_string()).await;
    assert_eq!(late.body, strange.body);
    assert_eq!(error(&late), is(401, "AttestationError", "E-NONCE"));
}
