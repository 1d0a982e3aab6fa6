//! Revocation from outside: it holds for sessions that are there, for new ones, in the log, and until it is lifted.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use serde_json::{Value, json};
use support::guest::{Guest, Session, payload};
use support::processor::Launch;
use support::{Answer, Broker, Folder, refused};

const PATH: &str = "hello/key/1";
const ALLOW: &str = "package policy\nimport rego.v1\ndefault allow := true";

async fn revoke(broker: &Broker, what: &str, subject: &str) -> Answer {
    let body = json!({"what": what, "subject": subject, "reason": "leaked on Tuesday"});
    broker.admin("POST", "/confide/v0/revocations", body.to_string()).await
}

async fn lift(broker: &Broker, id: &Value) -> StatusCode {
    let path = format!("/confide/v0/revocations/{}", id.as_str().unwrap());
    broker.admin("POST", &path, json!({"reason": "it was another"}).to_string()).await.status
}

async fn get(broker: &Broker, session: &Session) -> Answer {
    session.get(&mut broker.client().await, PATH).await
}

async fn policy(broker: &Broker, name: &str, body: Value) -> Answer {
    broker.admin("POST", &format!("/confide/v0/policies/{name}"), body.to_string()).await
}

/// A session that gets its secret, until `subject` is revoked, and again after that is lifted.
async fn takes_effect(broker: &Broker, guest: &Guest, what: &str, subject: &str) {
    let (session, token) = guest.attested(&mut broker.client().await).await;
    assert_eq!(guest.secret(&get(broker, &session).await), b"value", "{what}");
    let answer = revoke(broker, what, subject).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{what}: {answer:?}");
    let id = answer.json()["id"].clone();

    let answer = get(broker, &session).await;
    assert_eq!(answer.refusal(), refused(403, "E-REVOKED"), "{what}: a live session");
    let entry = broker.decision(&answer.decision()).await;
    let said = (&entry["code"], &entry["revoked"]["what"], &entry["revoked"]["subject"], &entry["revoked"]["reason"]);
    assert_eq!(said, (&json!("E-REVOKED"), &json!(what), &json!(subject), &json!("leaked on Tuesday")));
    let bearer = format!("Bearer {token}");
    let path = format!("/kbs/v0/resource/{PATH}");
    let by_token = broker.client().await.send("GET", &path, &[("authorization", &bearer)], "").await;
    assert_eq!(by_token.refusal(), refused(403, "E-REVOKED"), "{what}: a live token");

    let (_, again) = guest.attest(&mut broker.client().await).await;
    if what == "key" {
        assert_eq!(again.status, StatusCode::OK, "the guest itself is as good as before");
    } else {
        assert_eq!(again.refusal(), refused(403, "E-REVOKED"), "{what}: a new session");
        let entry = broker.decision(&again.decision()).await;
        assert_eq!((&entry["kind"], &entry["revoked"]["what"]), (&json!("attest"), &json!(what)));
    }

    assert_eq!(lift(broker, &id).await, StatusCode::OK);
    assert_eq!(lift(broker, &id).await, StatusCode::NOT_FOUND);
    assert_eq!(guest.secret(&get(broker, &session).await), b"value", "{what} is lifted");
    let listed = broker.admin("GET", "/confide/v0/revocations", "").await.json();
    let row = listed["revocations"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone();
    assert!(row["lifted"].is_u64() && row["reason"] == json!("leaked on Tuesday"), "{row}");
}

#[tokio::test]
async fn images_sites_chips_rules_and_keys() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    let rule = broker.serve_secret(PATH, b"value", &guest.launch.reference(&[PATH])).await;
    takes_effect(&broker, &guest, "image", &guest.launch.guest.measurement.to_string()).await;
    takes_effect(&broker, &guest, "site", &guest.launch.guest.host_data.to_string()).await;
    takes_effect(&broker, &guest, "site", "site-1").await;
    takes_effect(&broker, &guest, "chip", &guest.launch.chip_id().to_string()).await;
    takes_effect(&broker, &guest, "rule", &rule).await;
    takes_effect(&broker, &guest, "key", PATH).await;
    takes_effect(&broker, &guest, "key", "hello").await;
    takes_effect(&broker, &guest, "key", "hello/key").await;

    // A second rule for the same guest stands by itself.
    let mut other = guest.launch.reference(&[PATH]);
    other["name"] = json!("second");
    broker.add(&other).await;
    assert_eq!(revoke(&broker, "rule", &rule).await.status, StatusCode::CREATED);
    assert_eq!(guest.secret(&guest.get(&mut broker.client().await, PATH).await), b"value");

    // What is not admitted anyhow learns nothing of a revoked key.
    assert_eq!(revoke(&broker, "key", PATH).await.status, StatusCode::CREATED);
    let stranger = Guest::new(Launch::with_policy(0xB_0000));
    let answer = stranger.get(&mut broker.client().await, PATH).await;
    assert_eq!(answer.refusal(), refused(403, "E-DENIED"));

    // In force for another broker on the same store, too.
    broker.stop().await;
    let broker = folder.start().await;
    let (session, _) = guest.attested(&mut broker.client().await).await;
    assert_eq!(get(&broker, &session).await.refusal(), refused(403, "E-REVOKED"));
    broker.stop().await;
}

#[tokio::test]
async fn a_typing_error_is_found_and_nothing_else_revokes() {
    let folder = Folder::new();
    let broker = folder.start().await;
    for (what, subject, refusal) in [
        ("image", "hello", refused(400, "E-FORMAT")),
        ("site", "", refused(400, "E-FORMAT")),
        ("chip", "a-b", refused(400, "E-FORMAT")),
        ("rule", "a", refused(400, "E-FORMAT")),
        ("key", "../x", refused(400, "E-PATH")),
        ("key", "a/b/c/d", refused(400, "E-PATH")),
        ("policy", "resource-policy", refused(400, "E-FORMAT")),
        ("policy", "resource-policy@01", refused(400, "E-FORMAT")),
        ("policy", "resource-policy@1", refused(404, "E-ABSENT")),
        ("nothing", "x", refused(400, "E-FORMAT")),
    ] {
        assert_eq!(revoke(&broker, what, subject).await.refusal(), refusal, "{what} {subject}");
    }
    let known = |answer: Answer| answer.json()["known"].clone();
    assert_eq!(known(revoke(&broker, "image", &"ab".repeat(48)).await), json!(false));
    assert_eq!(known(revoke(&broker, "chip", &"ab".repeat(64)).await), Value::Null);
    let body = |reason: &str| json!({"what": "key", "subject": "a", "reason": reason}).to_string();
    let answer = broker.admin("POST", "/confide/v0/revocations", body(" ")).await;
    assert_eq!(answer.refusal(), refused(400, "E-FORMAT"));
    let bearer = format!("Bearer {}", folder.token("auditor"));
    let headers = [("authorization", bearer.as_str())];
    let answer = broker.client().await.send("POST", "/confide/v0/revocations", &headers, body("why")).await;
    assert_eq!(answer.refusal(), refused(401, "E-ADMIN"));
    let listed = broker.admin("GET", "/confide/v0/revocations", "").await.json();
    assert_eq!(listed["revocations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_revoked_release_policy_denies_until_another_takes_its_place() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    broker.serve_secret(PATH, b"value", &guest.launch.reference(&[PATH])).await;
    let text = |allow: &str| json!({"for": "hello", "policy": allow});
    assert_eq!(policy(&broker, "ours", text(ALLOW)).await.status, StatusCode::OK);
    let (session, _) = guest.attested(&mut broker.client().await).await;
    assert_eq!(guest.secret(&get(&broker, &session).await), b"value");

    assert_eq!(revoke(&broker, "policy", "ours@1").await.json()["known"], json!(true));
    let answer = get(&broker, &session).await;
    assert_eq!(answer.refusal(), refused(403, "E-DENIED"), "who asks is not told");
    let entry = broker.decision(&answer.decision()).await;
    assert_eq!(entry["code"], json!("E-REVOKED"));
    assert_eq!(entry["policies"][0]["reason"], json!("this version of the policy is revoked: leaked on Tuesday"));

    // Neither the version nor its text comes back.
    for body in [json!({"version": 1}), text(ALLOW), json!({"version": 1, "dry_run": true})] {
        assert_eq!(policy(&broker, "ours", body).await.refusal(), refused(403, "E-REVOKED"));
    }
    assert_eq!(policy(&broker, "ours", text(&format!("{ALLOW}\n# reviewed"))).await.status, StatusCode::OK);
    assert_eq!(guest.secret(&get(&broker, &session).await), b"value");
    assert_eq!(policy(&broker, "ours", json!({"version": 1})).await.refusal(), refused(403, "E-REVOKED"));
    let listed = broker.admin("GET", "/confide/v0/revocations", "").await.json();
    assert_eq!(lift(&broker, &listed["revocations"][0]["id"]).await, StatusCode::OK);
    assert_eq!(policy(&broker, "ours", json!({"version": 1})).await.json()["version"], json!(3));
}

#[tokio::test]
async fn a_revoked_appraisal_policy_affirms_nobody_and_ends_whom_it_affirmed() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    let put = broker.admin("POST", &format!("/kbs/v0/resource/{PATH}"), "value").await;
    assert_eq!(put.status, StatusCode::OK);
    let text = "package policy\nimport rego.v1\n\
                trust_claims := {\"executables\": 3, \"hardware\": 2, \"configuration\": 2}";
    let appraisal = |text: &str| json!({"use": "appraisal", "policy": text});
    assert_eq!(policy(&broker, "default_cpu", appraisal(text)).await.status, StatusCode::OK);
    assert_eq!(policy(&broker, "all", json!({"policy": ALLOW})).await.status, StatusCode::OK);
    let (session, _) = guest.attested(&mut broker.client().await).await;
    assert_eq!(guest.secret(&get(&broker, &session).await), b"value");

    assert_eq!(revoke(&broker, "policy", "default_cpu@1").await.status, StatusCode::CREATED);
    assert_eq!(get(&broker, &session).await.refusal(), refused(403, "E-REVOKED"), "it was affirmed by that version");
    let (_, again) = guest.attest(&mut broker.client().await).await;
    assert_eq!(again.refusal(), refused(403, "E-REVOKED"), "the shipped policy does not step in");

    assert_eq!(policy(&broker, "default_cpu", appraisal(&format!("{text}\n# 2"))).await.status, StatusCode::OK);
    assert_eq!(guest.secret(&guest.get(&mut broker.client().await, PATH).await), b"value");
    assert_eq!(get(&broker, &session).await.refusal(), refused(403, "E-REVOKED"), "the old session stays ended");
}

async fn auth(broker: &Broker, extra: Value) -> Answer {
    let body = json!({"version": "0.4.0", "tee": "snp", "extra-params": extra}).to_string();
    broker.client().await.send("POST", "/kbs/v0/auth", &[], body).await
}

#[tokio::test]
async fn a_guest_selects_an_appraisal_policy_by_name() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    let select = |name: &str| json!({"attestation-policy-selector": name, "another-member": [1]});
    for (extra, refusal) in [
        (select("alice"), refused(403, "E-SELECTOR")),
        (select("confide"), refused(403, "E-SELECTOR")),
        (select("a/b"), refused(400, "E-FORMAT")),
        (select(&"a".repeat(65)), refused(400, "E-FORMAT")),
        (json!({"attestation-policy-selector": 1}), refused(400, "E-FORMAT")),
    ] {
        assert_eq!(auth(&broker, extra.clone()).await.refusal(), refusal, "{extra}");
    }
    for extra in [json!(""), json!({}), select(""), select("default"), json!({"id": "alice"})] {
        assert_eq!(auth(&broker, extra.clone()).await.status, StatusCode::OK, "{extra}");
    }

    let text = "package policy\nimport rego.v1\n\
                trust_claims := {\"executables\": 3, \"hardware\": 2, \"configuration\": 2}";
    let body = json!({"policy_id": "alice_cpu", "policy": STANDARD.encode(text)});
    let sent = broker.admin("POST", "/kbs/v0/attestation-policy", body.to_string()).await;
    assert_eq!(sent.status, StatusCode::OK, "{sent:?}");
    let appraised = async |extra: Value| {
        let challenge = auth(&broker, extra).await;
        let nonce = challenge.json()["nonce"].as_str().unwrap().to_owned();
        let session = Session { cookie: challenge.cookie(), nonce };
        let answer = session.attest(&mut broker.client().await, &guest.body(&session)).await;
        let cpu = payload(answer.json()["token"].as_str().unwrap())["submods"]["cpu0"].clone();
        (cpu["ear.appraisal-policy-id"].clone(), cpu["ear.status"].clone())
    };
    assert_eq!(appraised(select("alice")).await, (json!("alice_cpu"), json!("affirming")));
    let last = broker.decisions().await.remove(0);
    let entry = broker.decision(last["decision"].as_str().unwrap()).await;
    assert_eq!(entry["selector"], json!("alice"));
    assert_eq!(appraised(json!({})).await, (json!("confide/snp"), json!("contraindicated")));

    // The selector is part of the challenge: it can't be taken off or changed, and must still stand when it is used.
    let challenge = auth(&broker, select("alice")).await;
    let nonce = challenge.json()["nonce"].as_str().unwrap().to_owned();
    let cookie = challenge.cookie();
    let bare = cookie.split_once('.').unwrap().0.to_owned();
    for cookie in [bare.clone(), format!("{bare}.default")] {
        let session = Session { cookie, nonce: nonce.clone() };
        let answer = session.attest(&mut broker.client().await, &guest.body(&session)).await;
        assert_eq!(answer.refusal(), refused(401, "E-NONCE"));
    }
    let removed = broker.admin("DELETE", "/confide/v0/policies/alice_cpu", "").await;
    assert_eq!(removed.status, StatusCode::OK);
    let session = Session { cookie, nonce };
    let answer = session.attest(&mut broker.client().await, &guest.body(&session)).await;
    assert_eq!(answer.refusal(), refused(403, "E-SELECTOR"));
    let entry = broker.decision(&answer.decision()).await;
    assert_eq!((&entry["code"], &entry["selector"]), (&json!("E-SELECTOR"), &json!("alice")));
}
