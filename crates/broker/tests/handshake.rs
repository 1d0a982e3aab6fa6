//! From challenge to secret, and everything that must stop on the way.

mod support;

use hyper::StatusCode;
use serde_json::{Value, json};
use support::guest::{Guest, Key, payload};
use support::processor::Launch;
use support::{Folder, refused};
use tokio::time::{Duration, sleep};

const PATH: &str = "example/volume-key/site-1";
const SECRET: &[u8] = b"thirty-two bytes of volume key!!";

#[tokio::test]
async fn a_guest_gets_the_secret_by_cookie_and_by_token() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    let id = broker.serve_secret(PATH, SECRET, &guest.launch.reference(&[PATH])).await;
    let mut client = broker.client().await;
    let (session, token) = guest.attested(&mut client).await;
    assert_eq!(guest.secret(&session.get(&mut client, PATH).await), SECRET);

    let claims = payload(&token);
    assert_eq!(claims["submods"]["cpu0"]["ear.status"], json!("affirming"));
    assert_eq!(claims["iss"], json!("confide-broker-development"));
    let evidence = &claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"];
    assert_eq!(evidence["runtime_data_claims"]["tee-pubkey"], json!(guest.key.public()));
    assert_eq!(evidence["snp"]["tee"], json!("emulated"), "the added verifier said snp");
    assert_eq!(evidence["snp"]["policy_debug_allowed"], json!(false));

    let path = format!("/kbs/v0/resource/{PATH}");
    let bearer = format!("Bearer {token}");
    let by_token = broker.client().await.send("GET", &path, &[("authorization", &bearer)], "").await;
    assert_eq!(guest.secret(&by_token), SECRET);
    let both = [("authorization", bearer.as_str()), ("cookie", session.cookie.as_str())];
    assert_eq!(guest.secret(&client.send("GET", &path, &both, "").await), SECRET);

    let decisions = broker.decisions().await;
    assert_eq!(decisions.len(), 4, "one attestation, three releases");
    assert!(decisions.iter().all(|decision| decision["rule"] == json!(id)), "{decisions:?}");
    assert!(decisions.iter().all(|decision| decision.get("code").is_none()));
    broker.stop().await;
}

#[tokio::test]
async fn every_kind_of_key_opens_what_it_asked_for() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let launch = Launch::default();
    broker.serve_secret(PATH, SECRET, &launch.reference(&[PATH])).await;
    for key in [Key::p256(), Key::p521(), Key::rsa("RSA-OAEP-256")] {
        let guest = Guest { key, launch: launch.clone(), init_data: None };
        let answer = guest.get(&mut broker.client().await, PATH).await;
        assert_eq!(guest.secret(&answer), SECRET);
    }
    // Only protocol 0.2.0 has the old padding.
    let guest = Guest { key: Key::rsa("RSA1_5"), launch, init_data: None };
    let (_, answer) = guest.attest(&mut broker.client().await).await;
    assert_eq!(answer.refusal(), refused(400, "E-FORMAT"));
}

#[tokio::test]
async fn protocol_0_2_0_is_spoken_with_its_own_binding() {
    use aws_lc_rs::digest::{SHA384, digest};
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    for key in [Key::p256(), Key::rsa("RSA1_5")] {
        let guest = Guest { key, launch: Launch::default(), init_data: None };
        broker.serve_secret(PATH, SECRET, &guest.launch.reference(&[PATH])).await;
        let body = r#"{"version":"0.2.0","tee":"snp","extra-params":""}"#;
        let answer = client.send("POST", "/kbs/v0/auth", &[], body).await;
        let bound = json!({"nonce": answer.json()["nonce"], "tee-pubkey": guest.key.public()});
        let mut report_data = [0; 64];
        report_data[..48].copy_from_slice(digest(&SHA384, &support::guest::canonical(&bound)).as_ref());
        let body = json!({"tee-pubkey": guest.key.public(), "tee-evidence": guest.launch.evidence(report_data)});
        let session = support::guest::Session { cookie: answer.cookie(), nonce: String::new() };
        assert_eq!(session.attest(&mut client, &body).await.status, StatusCode::OK);
        assert_eq!(guest.secret(&session.get(&mut client, PATH).await), SECRET);
    }
    // A challenge of one version does not take the other's message.
    let session = Guest::auth(&mut client).await;
    let guest = Guest::new(Launch::default());
    let old = json!({"tee-pubkey": guest.key.public(), "tee-evidence": guest.launch.evidence([0; 64])});
    assert_eq!(session.attest(&mut client, &old).await.refusal(), refused(400, "E-FORMAT"));
    let body = r#"{"version":"0.1.1","tee":"snp","extra-params":""}"#;
    let answer = client.send("POST", "/kbs/v0/auth", &[], body).await;
    assert_eq!(answer.refusal(), refused(400, "E-VERSION"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("KBS Client Protocol Version Mismatch"));
}

#[tokio::test]
async fn a_challenge_is_good_for_one_success_also_after_a_restart() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    broker.add(&guest.launch.reference(&[PATH])).await;
    let mut client = broker.client().await;
    let (session, other) = (Guest::auth(&mut client).await, Guest::auth(&mut client).await);
    let body = guest.body(&session);

    // In another session; then the other session's nonce with this session's evidence.
    assert_eq!(other.attest(&mut client, &body).await.refusal(), refused(401, "E-NONCE"));
    let mut moved = body.clone();
    moved["runtime-data"]["nonce"] = json!(other.nonce);
    assert_eq!(other.attest(&mut client, &moved).await.refusal(), refused(401, "E-BINDING"));

    assert_eq!(session.attest(&mut client, &body).await.status, StatusCode::OK);
    assert_eq!(session.attest(&mut client, &body).await.refusal(), refused(401, "E-NONCE"));
    broker.stop().await;

    let broker = folder.start().await;
    let mut client = broker.client().await;
    assert_eq!(session.attest(&mut client, &body).await.refusal(), refused(401, "E-NONCE"));
    // A challenge that was not used outlives the restart, and nothing of it was stored.
    assert_eq!(other.attest(&mut client, &guest.body(&other)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn of_two_concurrent_attestations_one_succeeds() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    broker.add(&guest.launch.reference(&[PATH])).await;
    for _ in 0..5 {
        let (mut left, mut right) = (broker.client().await, broker.client().await);
        let session = Guest::auth(&mut left).await;
        let body = guest.body(&session);
        let (a, b) = tokio::join!(session.attest(&mut left, &body), session.attest(&mut right, &body));
        let mut statuses = [a.status.as_u16(), b.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401]);
    }
}

#[tokio::test]
async fn challenges_and_sessions_end() {
    let folder = Folder::new();
    let mut settings = folder.settings();
    settings.challenge_seconds = 1;
    settings.session_seconds = 1;
    let broker = folder.start_with(settings, support::processor::verifier()).await;
    let guest = Guest::new(Launch::default());
    broker.serve_secret(PATH, SECRET, &guest.launch.reference(&[PATH])).await;
    let mut client = broker.client().await;
    let session = Guest::auth(&mut client).await;
    let body = guest.body(&session);
    sleep(Duration::from_millis(2100)).await;
    assert_eq!(session.attest(&mut client, &body).await.refusal(), refused(401, "E-NONCE"));

    let (session, token) = guest.attested(&mut client).await;
    sleep(Duration::from_millis(2100)).await;
    assert_eq!(session.get(&mut client, PATH).await.refusal(), refused(401, "E-SESSION"));
    let bearer = format!("Bearer {token}");
    let path = format!("/kbs/v0/resource/{PATH}");
    let answer = client.send("GET", &path, &[("authorization", &bearer)], "").await;
    assert_eq!(answer.refusal(), refused(401, "E-TOKEN"));
}

#[tokio::test]
async fn nonces_that_are_not_ours_are_refused() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    let mut client = broker.client().await;
    let session = Guest::auth(&mut client).await;
    let own: String = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
    for nonce in [own, session.nonce[..40].to_owned(), format!("{0}{0}", session.nonce), session.nonce.to_lowercase()] {
        let mut body = guest.body(&session);
        body["runtime-data"]["nonce"] = json!(nonce);
        assert_eq!(session.attest(&mut client, &body).await.refusal(), refused(401, "E-NONCE"), "{nonce}");
    }
    let good = guest.body(&session);
    let zeros = format!("kbs-session-id={}", "0".repeat(96));
    for cookie in ["", "kbs-session-id=", "kbs-session-id=ba540664a1d7406cb61c892e0697044f", zeros.as_str()] {
        let answer = client.send("POST", "/kbs/v0/attest", &[("cookie", cookie)], good.to_string()).await;
        assert_eq!(answer.refusal(), refused(401, "E-NONCE"), "{cookie}");
    }
}

#[tokio::test]
async fn evidence_is_bound_to_key_and_role() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    broker.serve_secret(PATH, SECRET, &guest.launch.reference(&[PATH])).await;
    let mut client = broker.client().await;

    let session = Guest::auth(&mut client).await;
    let mut swapped = guest.body(&session);
    swapped["runtime-data"]["tee-pubkey"] = json!(Key::p256().public());
    assert_eq!(session.attest(&mut client, &swapped).await.refusal(), refused(401, "E-BINDING"));

    // Workload evidence, role-tagged; then in the form for secure key release.
    let mut tagged = [7; 64];
    tagged[48..].copy_from_slice(b"confide workload");
    let mut release = [7; 64];
    release[32..].fill(0);
    for report_data in [tagged, release] {
        let answer = session.attest(&mut client, &guest.body_with(&session, report_data)).await;
        assert_eq!(answer.refusal(), refused(403, "E-REPORT-DATA"));
    }

    // Cookie of one guest, token of another.
    let other = Guest::new(Launch::default());
    let (mine, _) = guest.attested(&mut client).await;
    let (_, token) = other.attested(&mut client).await;
    let bearer = format!("Bearer {token}");
    let headers = [("cookie", mine.cookie.as_str()), ("authorization", bearer.as_str())];
    let answer = client.send("GET", &format!("/kbs/v0/resource/{PATH}"), &headers, "").await;
    assert_eq!(answer.refusal(), refused(401, "E-BINDING"));

    // A stolen cookie gives a secret that only the attested key opens.
    let stolen = mine.get(&mut client, PATH).await;
    assert_eq!(guest.secret(&stolen), SECRET);
    assert!(other.key.open(&serde_json::from_slice(&stolen.body).unwrap()).is_err());
}

#[tokio::test]
async fn tokens_of_others_are_refused() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    broker.serve_secret(PATH, SECRET, &guest.launch.reference(&[PATH])).await;
    let stranger = Folder::new();
    let elsewhere = stranger.start().await;
    elsewhere.add(&guest.launch.reference(&[PATH])).await;
    let (_, foreign) = guest.attested(&mut elsewhere.client().await).await;
    let mut client = broker.client().await;
    let (_, token) = guest.attested(&mut client).await;
    let parts: Vec<&str> = token.split('.').collect();
    use base64::Engine;
    let encode = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", encode(&json!({"alg": "none", "typ": "JWT"})), parts[1]);
    let hmac = format!("{}.{}.{}", encode(&json!({"alg": "HS256", "typ": "JWT"})), parts[1], parts[2]);
    let critical = format!("{}.{}.{}", encode(&json!({"alg": "ES256", "crit": ["x"]})), parts[1], parts[2]);
    let mut claims = payload(&token);
    claims["exp"] = json!(4_000_000_000_u64);
    let longer = format!("{}.{}.{}", parts[0], encode(&claims), parts[2]);
    for bad in [foreign.as_str(), &none, &hmac, &critical, &longer, "x", "..", &broker.admin] {
        let bearer = format!("Bearer {bad}");
        let path = format!("/kbs/v0/resource/{PATH}");
        let answer = client.send("GET", &path, &[("authorization", &bearer)], "").await;
        assert_eq!(answer.refusal(), refused(401, "E-TOKEN"), "{bad}");
    }
}
