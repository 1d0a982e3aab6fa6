//! Documents of reference values from outside: signed bundles, CoRIM, RIMs, `reference.json`; and who may sign them.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod support;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ciborium::Value as Cbor;
use coset::{CoseSign1Builder, HeaderBuilder, TaggedCborSerializable, iana};
use hyper::StatusCode;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use support::guest::Guest;
use support::processor::Launch;
use support::{Answer, Broker, Folder, now, refused};

async fn import(broker: &Broker, document: &[u8], signature: Option<&str>) -> Answer {
    import_as(broker, document, signature, None).await
}

async fn import_as(broker: &Broker, document: &[u8], signature: Option<&str>, name: Option<&str>) -> Answer {
    let body = json!({"document": STANDARD.encode(document), "signature": signature, "name": name});
    broker.admin("POST", "/confide/v0/reference-imports", body.to_string()).await
}

async fn values(broker: &Broker) -> Value {
    broker.admin("GET", "/kbs/v0/reference-value", "").await.json()
}

/// An Ed25519 key: a broker's admin key is one.
fn key(folder: &Folder) -> (Vec<u8>, String) {
    let private = std::fs::read(&folder.facts.admin_key).unwrap();
    (private, std::fs::read_to_string(folder.path().join("admin.pem")).unwrap())
}

async fn trust(broker: &Broker, name: &str, public: &str) -> Answer {
    let body = json!({"name": name, "public_key": public});
    broker.admin("POST", "/confide/v0/reference-signers", body.to_string()).await
}

fn bundle(serial: u64, values: Value) -> Value {
    json!({"type": "confide-reference-values", "version": 1, "serial": serial, "values": values})
}

#[tokio::test]
async fn bundles_are_taken_from_a_pinned_signer_only_and_never_go_back() {
    let (folder, other) = (Folder::new(), Folder::new());
    let broker = folder.start().await;
    let (private, public) = key(&folder);
    let sign = |document: &str| broker::sign_references(&private, document.as_bytes()).unwrap();
    let one = |serial| bundle(serial, json!([{"name": "a", "value": serial}])).to_string();

    // Nothing is pinned: unsigned is taken, and a signature that nobody can check is not.
    let taken = import(&broker, one(9).as_bytes(), None).await;
    assert_eq!((taken.status, &taken.json()["added"]), (StatusCode::OK, &json!(1)));
    assert_eq!(taken.json()["signed_by"], Value::Null);
    let answer = import(&broker, one(9).as_bytes(), Some(&sign(&one(9)))).await;
    assert_eq!(answer.refusal(), refused(403, "E-SIGNER"));

    assert_eq!(trust(&broker, "builder", &public).await.status, StatusCode::OK);
    assert_eq!(trust(&broker, "builder", &public).await.status, StatusCode::OK, "the same key again");
    assert_eq!(trust(&broker, "builder", &key(&other).1).await.refusal(), refused(400, "E-FORMAT"));
    assert_eq!(trust(&broker, "x", "no key").await.refusal(), refused(400, "E-FORMAT"));
    assert_eq!(import(&broker, one(9).as_bytes(), None).await.refusal(), refused(403, "E-SIGNER"));
    let foreign = broker::sign_references(&key(&other).0, one(9).as_bytes()).unwrap();
    assert_eq!(import(&broker, one(9).as_bytes(), Some(&foreign)).await.refusal(), refused(403, "E-SIGNER"));
    let moved = import(&broker, one(8).as_bytes(), Some(&sign(&one(9)))).await;
    assert_eq!(moved.refusal(), refused(403, "E-SIGNER"), "the signature of another document");
    for signature in ["", "a.b.c", "e30..AAAA"] {
        let answer = import(&broker, one(9).as_bytes(), Some(signature)).await;
        assert_eq!(answer.refusal(), refused(400, "E-FORMAT"), "{signature}");
    }
    let token = broker.admin.split('.').collect::<Vec<_>>();
    let confused = import(&broker, one(9).as_bytes(), Some(&format!("{}..{}", token[0], token[2]))).await;
    assert_eq!(confused.refusal(), refused(400, "E-FORMAT"), "a token's header is another type");

    let taken = import(&broker, one(7).as_bytes(), Some(&sign(&one(7)))).await.json();
    assert_eq!((&taken["signed_by"], &taken["serial"], &taken["added"]), (&json!("builder"), &json!(7), &json!(1)));
    let again = import(&broker, one(7).as_bytes(), Some(&sign(&one(7)))).await.json();
    assert_eq!(again["added"], json!(0), "the same document again changes nothing");
    let twice = bundle(7, json!([{"name": "a", "value": "other"}])).to_string();
    for older in [one(6), twice] {
        let answer = import(&broker, older.as_bytes(), Some(&sign(&older))).await;
        assert_eq!(answer.refusal(), refused(403, "E-ROLLBACK"));
    }
    assert_eq!(values(&broker).await, json!({"a": [9, 7]}));

    let mut ended = bundle(8, json!([{"name": "b", "value": 1}]));
    ended["expires"] = json!("2026-01-01T00:00:00Z");
    let answer = import(&broker, ended.to_string().as_bytes(), Some(&sign(&ended.to_string()))).await;
    assert_eq!(answer.refusal(), refused(403, "E-EXPIRED"));
    let mut withdrawing = bundle(8, json!([{"name": "b", "value": 1, "expires": now().0 + 3600}]));
    withdrawing["revoked"] = json!([
        {"name": "a", "value": 7, "reason": "a bad build"}, {"name": "a", "value": 5, "reason": "never let it in"}]);
    let text = withdrawing.to_string();
    let taken = import(&broker, text.as_bytes(), Some(&sign(&text))).await.json();
    assert_eq!((&taken["values"], &taken["revoked"]), (&json!(1), &json!(2)));
    assert_eq!(values(&broker).await, json!({"a": [9], "b": [1]}));
    let later = bundle(9, json!([{"name": "a", "value": 5}])).to_string();
    assert_eq!(import(&broker, later.as_bytes(), Some(&sign(&later))).await.status, StatusCode::OK);
    assert_eq!(values(&broker).await, json!({"a": [9], "b": [1]}), "what was revoked does not come back");

    // One bad value, and nothing is taken.
    let half = bundle(10, json!([{"name": "c", "value": 1}, {"name": "", "value": 1}])).to_string();
    assert_eq!(import(&broker, half.as_bytes(), Some(&sign(&half))).await.refusal(), refused(400, "E-FORMAT"));
    assert_eq!(values(&broker).await.get("c"), None);
    let listed = broker.admin("GET", "/confide/v0/reference-signers", "").await.json();
    assert_eq!((&listed["signers"][0]["name"], &listed["signers"][0]["serial"]), (&json!("builder"), &json!(9)));

    for status in [StatusCode::OK, StatusCode::NOT_FOUND] {
        assert_eq!(broker.admin("DELETE", "/confide/v0/reference-signers/builder", "").await.status, status);
    }
    assert_eq!(import(&broker, one(1).as_bytes(), None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_value_ends_when_it_is_told_to() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let body = json!({"name": "a", "value": "x"}).to_string();
    let id = broker.admin("POST", "/confide/v0/reference-values", body).await.json()["id"].clone();
    let place = format!("/confide/v0/reference-values/{}", id.as_str().unwrap());
    let end = now().0 + 3600;
    let answer = broker.admin("POST", &place, json!({"expires": end}).to_string()).await;
    assert_eq!(answer.json(), json!({"id": id, "expires": end}));
    assert_eq!(values(&broker).await, json!({"a": ["x"]}));
    assert!(
        broker.admin("POST", &place, r#"{"expires": 0}"#).await.json()["expires"].as_u64().unwrap() >= now().0 - 60
    );
    assert_eq!(values(&broker).await, json!({"a": []}));
    for body in ["{}", r#"{"expires": 0, "reason": "x"}"#] {
        assert_eq!(broker.admin("POST", &place, body).await.refusal(), refused(400, "E-FORMAT"));
    }
    let absent = format!("/confide/v0/reference-values/{}", "0".repeat(64));
    assert_eq!(broker.admin("POST", &absent, r#"{"expires": 0}"#).await.refusal(), refused(404, "E-ABSENT"));
}

#[tokio::test]
async fn what_is_no_document_is_refused_by_name() {
    let folder = Folder::new();
    let broker = folder.start().await;
    for (document, refusal) in [
        (b"".as_slice(), refused(400, "E-FORMAT")),
        (b"hello", refused(400, "E-FORMAT")),
        (b"{}", refused(400, "E-FORMAT")),
        (br#"{"type": "confide-reference-values", "version": 2, "serial": 1, "values": []}"#, refused(400, "E-FORMAT")),
        (br#"{"type": "confide-reference-values", "version": 1, "serial": 1, "values": []}"#, refused(400, "E-FORMAT")),
        (br#"{"a": 1, "a": 2}"#, refused(400, "E-FORMAT")),
        (b"<SoftwareIdentity/>", refused(403, "E-RIM-PROFILE")),
        (b"<a", refused(403, "E-RIM-FORMAT")),
        (b"\xd2\x80", refused(400, "E-FORMAT")),
        (b"\xd9\x01\xf5\xa0", refused(400, "E-FORMAT")),
    ] {
        let answer = import(&broker, document, None).await;
        assert_eq!(answer.refusal(), refusal, "{document:?}");
    }
    let large = vec![b' '; (1 << 20) + 1];
    assert_eq!(import(&broker, &large, None).await.refusal(), refused(413, "E-TOO-LARGE"));

    let guest = Guest::new(Launch::default());
    let reference = guest.launch.reference(&["a/b/c"]);
    let taken = import(&broker, reference.to_string().as_bytes(), None).await.json();
    assert_eq!((&taken["format"], &taken["added"]), (&json!("reference"), &json!(2)));
    let (measurement, host_data) = (guest.launch.guest.measurement, guest.launch.guest.host_data);
    assert_eq!(values(&broker).await, json!({"snp_launch_measurement": [measurement], "snp_host_data": [host_data]}));
}

fn map(members: Vec<(i64, Cbor)>) -> Cbor {
    Cbor::Map(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

fn tag(number: u64, value: Cbor) -> Cbor {
    Cbor::Tag(number, Box::new(value))
}

fn bytes(value: &Cbor) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

/// A CoRIM with one CoMID of these triples (draft-ietf-rats-corim-10, section 4 and 5).
fn corim(triples: Cbor, validity: Option<Cbor>) -> Cbor {
    let comid = map(vec![(1, map(vec![(0, "comid-1".into())])), (4, triples)]);
    let mut members = vec![(0, "corim-1".into()), (1, Cbor::Array(vec![tag(506, bytes(&comid).into())]))];
    members.extend(validity.map(|validity| (4, validity)));
    tag(501, map(members))
}

fn triples() -> Cbor {
    let uuid = tag(
        37,
        vec![0x31, 0xfb, 0x5a, 0xbf, 2, 0x3e, 0x49, 0x92, 0xaa, 0x4e, 0x95, 0xf9, 0xc1, 0x50, 0x3b, 0xfa].into(),
    );
    let class = map(vec![(1, "ACME".into()), (2, "RoadRunner".into())]);
    let digest = |algorithm: i64, length: usize| Cbor::Array(vec![algorithm.into(), vec![0xab; length].into()]);
    let values = map(vec![
        (1, tag(552, 3.into())),
        (2, Cbor::Array(vec![digest(1, 32), digest(7, 48), digest(99, 20)])),
        (3, map(vec![(0, true.into())])),
        (4, tag(560, vec![1, 2].into())),
    ]);
    let measurement = map(vec![(0, uuid), (1, values)]);
    let reference = |environment: Cbor| Cbor::Array(vec![environment, Cbor::Array(vec![measurement.clone()])]);
    let all = reference(map(vec![(0, class.clone())]));
    let instance = reference(map(vec![(0, class), (1, tag(560, vec![9].into()))]));
    map(vec![(0, Cbor::Array(vec![all, instance])), (2, Cbor::Array(vec![]))])
}

#[tokio::test]
async fn corim_gives_what_it_says_and_names_what_it_does_not() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let unsigned = bytes(&corim(triples(), None));
    let taken = import(&broker, &unsigned, None).await;
    assert_eq!(taken.status, StatusCode::OK, "{taken:?}");
    let place = "ACME/RoadRunner/31fb5abf-023e-4992-aa4e-95f9c1503bfa";
    assert_eq!(
        taken.json()["notes"],
        json!([
            "identity triples are not reference values",
            format!("{place}: flags is not taken"),
            format!("{place}: a digest of an algorithm that is not known"),
            "a reference triple for one instance only is not read",
        ])
    );
    let wanted = json!({
        format!("{place}/digests"): ["ab".repeat(32), "ab".repeat(48)],
        format!("{place}/raw_bytes"): ["0102"],
        format!("{place}/svn"): [3],
    });
    assert_eq!(values(&broker).await, wanted);

    // Under the name that an appraisal policy asks for; within its validity.
    let time = |seconds: u64| tag(1, seconds.into());
    let validity = |start: u64, end: u64| Some(map(vec![(0, time(start)), (1, time(end))]));
    let dated = |start, end| bytes(&corim(triples(), validity(start, end)));
    assert_eq!(import(&broker, &dated(0, now().0 - 1), None).await.refusal(), refused(403, "E-EXPIRED"));
    assert_eq!(import(&broker, &dated(now().0 + 900, now().0 + 999), None).await.refusal(), refused(403, "E-EXPIRED"));
    let end = now().0 + 3600;
    let named = import_as(&broker, &dated(0, end), None, Some("snp_launch_measurement")).await;
    assert_eq!(named.status, StatusCode::OK, "{named:?}");
    let listed = broker.admin("GET", "/confide/v0/reference-values", "").await.json();
    let rows = listed["values"].as_array().unwrap();
    let ours: Vec<_> = rows.iter().filter(|row| row["name"] == json!("snp_launch_measurement")).collect();
    assert!(ours.len() == 4 && ours.iter().all(|row| row["expires"] == json!(end)), "{ours:?}");

    // Signed with COSE_Sign1: by the pinned key, and by nobody else.
    let (private, public) = key(&folder);
    let signed = |private: &[u8], document: &Cbor| {
        let der = PrivatePkcs8KeyDer::from_pem_slice(private).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
        let header = HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).build();
        let builder = CoseSign1Builder::new().protected(header).payload(bytes(document));
        let sign = |message: &[u8]| pair.sign(message).as_ref().to_vec();
        builder.create_signature(&[], sign).build().to_tagged_vec().unwrap()
    };
    let document = corim(triples(), validity(0, end));
    let good = signed(&private, &document);
    assert_eq!(import(&broker, &good, None).await.refusal(), refused(403, "E-SIGNER"), "no key is pinned");
    assert_eq!(trust(&broker, "acme", &public).await.status, StatusCode::OK);
    let taken = import(&broker, &good, None).await.json();
    assert_eq!((&taken["signed_by"], &taken["format"]), (&json!("acme"), &json!("corim")));
    assert_eq!(import(&broker, &unsigned, None).await.refusal(), refused(403, "E-SIGNER"));
    let foreign = signed(&key(&Folder::new()).0, &document);
    assert_eq!(import(&broker, &foreign, None).await.refusal(), refused(403, "E-SIGNER"));

    // No bit of it can change unseen, and none makes the reader fail otherwise than by refusing.
    let mut client = broker.client().await;
    let bearer = format!("Bearer {}", broker.admin);
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1 << (place % 8);
        let body = json!({"document": STANDARD.encode(&bad), "dry_run": true}).to_string();
        let headers = [("authorization", bearer.as_str())];
        let (status, code) = client.send("POST", "/confide/v0/reference-imports", &headers, body).await.refusal();
        assert!(matches!((status, code.as_str()), (400, "E-FORMAT") | (403, "E-SIGNER")), "{place}: {status} {code}");
    }
}
