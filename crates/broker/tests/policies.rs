//! Policies and reference values from outside: set, composed, tried, rolled back; and what they never do.

mod support;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::StatusCode;
use serde_json::{Value, json};
use support::guest::{Guest, payload};
use support::processor::Launch;
use support::{Answer, Broker, Folder, refused};

const ALLOW: &str = "package policy\nimport rego.v1\ndefault allow := true";
const NEVER: &str = "package policy\nimport rego.v1\ndefault allow := false";

async fn set(broker: &Broker, name: &str, prefix: &str, text: &str) -> Answer {
    let body = json!({"use": "release", "for": prefix, "policy": text});
    broker.admin("POST", &format!("/confide/v0/policies/{name}"), body.to_string()).await
}

async fn store(broker: &Broker, path: &str) {
    let put = broker.admin("POST", &format!("/kbs/v0/resource/{path}"), path.to_owned()).await;
    assert_eq!(put.status, StatusCode::OK);
}

async fn fetch(broker: &Broker, guest: &Guest, path: &str) -> Result<Vec<u8>, (u16, String)> {
    let answer = guest.get(&mut broker.client().await, path).await;
    if answer.status == StatusCode::OK { Ok(guest.secret(&answer)) } else { Err(answer.refusal()) }
}

/// Everything that the shipped policy for SNP asks for, as upstream's message.
async fn trust(broker: &Broker, guest: &Guest) {
    let (_, token) = guest.attested(&mut broker.client().await).await;
    let snp = payload(&token)["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["snp"].clone();
    let values = json!({
        "snp_launch_measurement": [snp["measurement"]],
        "snp_bootloader": [snp["reported_tcb_bootloader"]],
        "snp_microcode": [snp["reported_tcb_microcode"]],
        "snp_snp_svn": [snp["reported_tcb_snp"]],
        "snp_tee_svn": [snp["reported_tcb_tee"]],
    });
    let message = json!({"version": "0.1.0", "type": "sample", "payload": STANDARD.encode(values.to_string())});
    let sent = broker.admin("POST", "/kbs/v0/reference-value", message.to_string()).await;
    assert_eq!(sent.status, StatusCode::OK, "{sent:?}");
}

async fn status(broker: &Broker, guest: &Guest) -> Value {
    let (_, token) = guest.attested(&mut broker.client().await).await;
    payload(&token)["submods"]["cpu0"]["ear.status"].clone()
}

#[tokio::test]
async fn nothing_is_released_to_evidence_that_is_not_affirmed() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    store(&broker, "hospital/key/1").await;
    let body = json!({"policy": URL_SAFE_NO_PAD.encode(ALLOW)});
    let sent = broker.admin("POST", "/kbs/v0/resource-policy", body.to_string()).await;
    assert_eq!((sent.status, sent.body.len()), (StatusCode::OK, 0));
    let back = broker.admin("GET", "/kbs/v0/resource-policy", "").await.json();
    assert_eq!(back, json!(URL_SAFE_NO_PAD.encode(ALLOW)));

    let denied = Err(refused(403, "E-DENIED"));
    assert_eq!(status(&broker, &guest).await, json!("contraindicated"));
    assert_eq!(fetch(&broker, &guest, "hospital/key/1").await, denied);
    let last = broker.decisions().await.remove(0);
    assert_eq!(last["code"], json!("E-NOT-AFFIRMING"));
    let entry = broker.decision(last["decision"].as_str().unwrap()).await;
    assert_eq!(entry["policies"][0]["reason"], json!("cpu0: ear.status got contraindicated, wanted affirming"));

    trust(&broker, &guest).await;
    assert_eq!(status(&broker, &guest).await, json!("affirming"));
    assert_eq!(fetch(&broker, &guest, "hospital/key/1").await, Ok(b"hospital/key/1".to_vec()));
    let other = Guest::new(Launch::with_policy(0xB_0000));
    assert_eq!(fetch(&broker, &other, "hospital/key/1").await, denied, "debugging");

    // A value that is revoked does not come back, and one that expired is not in force.
    let list = broker.admin("GET", "/confide/v0/reference-values", "").await.json();
    let values = list["values"].as_array().unwrap();
    let measured = values.iter().find(|value| value["name"] == json!("snp_launch_measurement")).unwrap();
    let place = format!("/confide/v0/reference-values/{}", measured["id"].as_str().unwrap());
    let revoked = broker.admin("POST", &place, json!({"reason": "leaked key"}).to_string()).await;
    assert_eq!(revoked.status, StatusCode::OK);
    trust(&broker, &guest).await;
    assert_eq!(status(&broker, &guest).await, json!("warning"));
    assert_eq!(fetch(&broker, &guest, "hospital/key/1").await, denied);
    // Nor can a name be emptied: what a policy compares only where there is a value would lapse.
    let emptied = STANDARD.encode(json!({"snp_tee_svn": []}).to_string());
    let message = json!({"version": "0.1.0", "type": "sample", "payload": emptied}).to_string();
    let answer = broker.admin("POST", "/kbs/v0/reference-value", message).await;
    assert_eq!(answer.refusal(), refused(400, "E-FORMAT"));
    let past = json!({"name": "x", "value": 1, "expires": 5}).to_string();
    let answer = broker.admin("POST", "/confide/v0/reference-values", past).await;
    assert_eq!(answer.refusal(), refused(400, "E-FORMAT"));
}

#[tokio::test]
async fn one_policy_is_changed_without_touching_another() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    trust(&broker, &guest).await;
    for path in ["hospital/key/1", "bank/key/1"] {
        store(&broker, path).await;
    }
    let denied = Err(refused(403, "E-DENIED"));
    assert_eq!(fetch(&broker, &guest, "bank/key/1").await, denied, "no policy, no rule");
    assert_eq!(set(&broker, "bank", "bank", ALLOW).await.json()["version"], json!(1));
    assert_eq!(set(&broker, "hospital", "hospital/key", ALLOW).await.json()["version"], json!(1));
    for path in ["hospital/key/1", "bank/key/1"] {
        assert_eq!(fetch(&broker, &guest, path).await, Ok(path.as_bytes().to_vec()));
    }

    // Tried first: it says what would change, and nothing does.
    let trial = json!({"name": "bank", "for": "bank", "policy": NEVER}).to_string();
    let report = broker.admin("POST", "/confide/v0/policies/try", trial).await.json();
    assert_eq!((&report["replayed"], &report["skipped"]), (&json!(3), &json!(0)), "{report}");
    let flips: Vec<_> = report["flips"].as_array().unwrap().iter().map(|flip| &flip["resource"]).collect();
    assert_eq!(flips, [&json!("bank/key/1")], "{report}");
    assert_eq!(fetch(&broker, &guest, "bank/key/1").await, Ok(b"bank/key/1".to_vec()));

    assert_eq!(set(&broker, "bank", "bank", NEVER).await.json()["version"], json!(2));
    assert_eq!(fetch(&broker, &guest, "bank/key/1").await, denied);
    assert_eq!(fetch(&broker, &guest, "hospital/key/1").await, Ok(b"hospital/key/1".to_vec()));
    let back = broker.admin("POST", "/confide/v0/policies/bank", json!({"version": 1}).to_string()).await;
    assert_eq!(back.json()["version"], json!(3));
    assert_eq!(fetch(&broker, &guest, "bank/key/1").await, Ok(b"bank/key/1".to_vec()));
    let removed = broker.admin("DELETE", "/confide/v0/policies/bank", "").await;
    assert_eq!(removed.status, StatusCode::OK);
    assert_eq!(fetch(&broker, &guest, "bank/key/1").await, denied);
    let list = broker.admin("GET", "/confide/v0/policies", "").await.json();
    let names: Vec<_> = list["policies"].as_array().unwrap().iter().map(|policy| &policy["name"]).collect();
    assert_eq!(names, [&json!("hospital")]);
    let shown = broker.admin("GET", "/confide/v0/policies/bank", "").await.json();
    assert_eq!((shown["versions"].as_array().unwrap().len(), &shown["in_force"]), (3, &Value::Null));
    assert_eq!(broker.admin("GET", "/confide/v0/audit/verify", "").await.json()["ok"], json!(true));

    // Policies outlive the process.
    broker.stop().await;
    let broker = folder.start().await;
    assert_eq!(fetch(&broker, &guest, "hospital/key/1").await, Ok(b"hospital/key/1".to_vec()));
}

#[tokio::test]
async fn a_policy_that_cannot_protect_is_not_taken() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let bad_case = format!(
        "{ALLOW}\nconfide_cases := [{{\"name\": \"stranger\", \"resource\": \"a/b/c\", \
         \"input\": {{\"submods\": {{\"cpu0\": {{\"ear.status\": \"affirming\"}}}}}}, \"allow\": false}}]"
    );
    for (prefix, text, code) in [
        ("", "allow if", "E-POLICY"),
        ("", "package other\nallow := true", "E-POLICY"),
        ("", "package policy\nimport rego.v1\nf(x) := f(x)\nallow if f(1)", "E-POLICY"),
        ("", bad_case.as_str(), "E-POLICY-CASES"),
        ("a//b", ALLOW, "E-PATH"),
        ("../a", ALLOW, "E-PATH"),
        ("a/b/c/d", ALLOW, "E-PATH"),
    ] {
        assert_eq!(set(&broker, "p", prefix, text).await.refusal(), refused(400, code), "{prefix} {text}");
    }
    assert_eq!(broker.admin("GET", "/confide/v0/policies/p", "").await.refusal(), refused(404, "E-ABSENT"));
    let unread = json!({"policy_id": "mine", "policy": URL_SAFE_NO_PAD.encode("package policy")}).to_string();
    let answer = broker.admin("POST", "/kbs/v0/attestation-policy", unread).await;
    assert_eq!(answer.refusal(), refused(400, "E-POLICY"));
    // Either alphabet, with or without padding; version 0 of the language.
    let old = "package policy\nexecutables = 3 { true }\nhardware = 2 { true }\nconfiguration = 2 { true }";
    for text in [STANDARD.encode(old), URL_SAFE_NO_PAD.encode(old)] {
        let body = json!({"type": "rego", "policy_id": "default_cpu", "policy": text}).to_string();
        assert_eq!(broker.admin("POST", "/kbs/v0/attestation-policy", body).await.status, StatusCode::OK);
    }
    let guest = Guest::new(Launch::default());
    let (_, token) = guest.attested(&mut broker.client().await).await;
    let cpu = &payload(&token)["submods"]["cpu0"];
    assert_eq!((&cpu["ear.status"], &cpu["ear.appraisal-policy-id"]), (&json!("affirming"), &json!("default_cpu")));
}

#[tokio::test]
async fn a_release_rule_stands_above_wider_policies_and_below_denials() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let (ours, stranger) = (Guest::new(Launch::default()), Guest::new(Launch::with_policy(0xB_0000)));
    broker.serve_secret("hospital/key/1", b"value", &ours.launch.reference(&["hospital/key/1"])).await;
    let open = format!("{ALLOW}\naccepted_statuses := {{\"warning\", \"contraindicated\"}}");
    assert_eq!(set(&broker, "wide", "", &open).await.status, StatusCode::OK);
    store(&broker, "other/key/1").await;
    assert_eq!(fetch(&broker, &stranger, "other/key/1").await, Ok(b"other/key/1".to_vec()), "the status is named");
    assert_eq!(fetch(&broker, &stranger, "hospital/key/1").await, Err(refused(403, "E-DENIED")));
    assert_eq!(fetch(&broker, &ours, "hospital/key/1").await, Ok(b"value".to_vec()));
    let closed =
        "package policy\nimport rego.v1\ndeny contains \"closed\" if data[\"resource-path\"][0] == \"hospital\"";
    assert_eq!(set(&broker, "closed", "", closed).await.status, StatusCode::OK);
    assert_eq!(fetch(&broker, &ours, "hospital/key/1").await, Err(refused(403, "E-DENIED")));
    assert_eq!(fetch(&broker, &stranger, "other/key/1").await, Ok(b"other/key/1".to_vec()));
}

#[tokio::test]
async fn other_kinds_are_challenged_and_refused_by_their_own_verifiers() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    let guest = Guest::new(Launch::default());
    for (tee, evidence, code) in [
        ("tdx", json!({"quote": STANDARD.encode([4, 0, 2, 0])}), "E-DCAP-FORMAT"),
        ("sgx", json!({"quote": "?"}), "E-DCAP-FORMAT"),
        ("az-snp-vtpm", json!({"version": 9}), "E-AZ-FORMAT"),
        ("az-tdx-vtpm", json!({}), "E-AZ-FORMAT"),
        ("tpm", json!({"ak_public": "x"}), "E-TPM-FORMAT"),
        ("aci", json!({"evidence": ""}), "E-ACI-FORMAT"),
    ] {
        let body = json!({"version": "0.4.0", "tee": tee, "extra-params": ""}).to_string();
        let answer = client.send("POST", "/kbs/v0/auth", &[], body).await;
        let nonce = answer.json()["nonce"].as_str().unwrap().to_owned();
        let session = support::guest::Session { cookie: answer.cookie(), nonce };
        let mut body = guest.body(&session);
        body["tee-evidence"]["primary_evidence"] = evidence;
        assert_eq!(session.attest(&mut client, &body).await.refusal(), refused(403, code), "{tee}");
        // SNP evidence does not pass as another kind.
        let answer = session.attest(&mut client, &guest.body(&session)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{tee}: {answer:?}");
    }
    for tee in ["nvidia", "sample", "SNP", ""] {
        let body = json!({"version": "0.4.0", "tee": tee, "extra-params": ""}).to_string();
        assert_eq!(client.send("POST", "/kbs/v0/auth", &[], body).await.refusal(), refused(400, "E-TEE"), "{tee}");
    }
    let keys = client.send("GET", "/.well-known/jwks.json", &[], "").await.json();
    let (_, token) = guest.attested(&mut client).await;
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    assert_eq!(keys["keys"][0]["kid"], header["kid"]);
    assert_eq!(header["jwk"]["x5c"].as_array().unwrap().len(), 2);
}
