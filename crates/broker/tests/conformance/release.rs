//! `GET /resource`: sections 1.2, 1.5 and 1.7.

use super::support::guest::{Guest, Key};
use super::support::processor::Launch;
use super::support::{Broker, Folder};
use super::{PATH, error, is, old_body, old_session};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

async fn with_secret(value: &[u8]) -> (Folder, Broker, Launch) {
    let folder = Folder::new();
    let broker = folder.start().await;
    let launch = Launch::default();
    broker.serve_secret(PATH, value, &launch.reference(&[PATH])).await;
    (folder, broker, launch)
}

fn decoded(jwe: &Value, member: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(jwe[member].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_jwe_is_flattened_and_its_header_is_byte_for_byte_what_clients_rebuild() {
    let (_folder, broker, launch) = with_secret(b"a secret value").await;
    let mut client = broker.client().await;
    let keys = [
        (Key::p256(), false, Some(("P-256", 32)), 40),
        (Key::p521(), false, Some(("P-521", 66)), 40),
        (Key::rsa("RSA-OAEP-256"), false, None, 256),
        (Key::p256(), true, Some(("P-256", 32)), 40),
        (Key::rsa("RSA-OAEP-256"), true, None, 256),
        (Key::rsa("RSA1_5"), true, None, 256),
    ];
    for (key, old, curve, wrapped) in keys {
        let name = match &key {
            Key::Ec(..) => "ECDH-ES+A256KW",
            Key::Rsa(name, ..) => name,
        };
        let guest = Guest { key, launch: launch.clone(), init_data: None };
        let session = if old { old_session(&mut client).await } else { Guest::auth(&mut client).await };
        let body = if old { old_body(&guest, &session) } else { guest.body(&session) };
        assert_eq!(session.attest(&mut client, &body).await.status, 200);
        let answer = session.get(&mut client, PATH).await;
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(guest.secret(&answer), b"a secret value");
        let jwe = answer.json();
        let members: std::collections::BTreeSet<_> = jwe.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["ciphertext", "encrypted_key", "iv", "protected", "tag"].into(), "no `aad`, no `header`");
        let header = String::from_utf8(decoded(&jwe, "protected")).unwrap();
        let parsed: Value = serde_json::from_str(&header).unwrap();
        let wanted = match curve {
            None => format!(r#"{{"alg":"{name}","enc":"A256GCM"}}"#),
            Some((curve, bytes)) => {
                let part = |name: &str| parsed["epk"][name].as_str().unwrap();
                assert_eq!(decoded(&parsed["epk"], "x").len(), bytes);
                assert_eq!(decoded(&parsed["epk"], "y").len(), bytes);
                let epk = format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, part("x"), part("y"));
                format!(r#"{{"alg":"{name}","enc":"A256GCM","epk":{epk}}}"#)
            }
        };
        assert_eq!(header, wanted, "member order and blanks count");
        let lengths = ["iv", "tag", "encrypted_key", "ciphertext"].map(|member| decoded(&jwe, member).len());
        assert_eq!(lengths, [12, 16, wrapped, 14], "{name}");
        // A fresh key each time: nothing of two answers is the same.
        let second = session.get(&mut client, PATH).await.json();
        for member in ["encrypted_key", "iv", "ciphertext", "tag"] {
            assert_ne!(second[member], jwe[member], "{member}");
        }
    }
}

#[tokio::test]
async fn secrets_of_every_length_and_byte_come_back_whole() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    broker.add(&guest.launch.reference(&[PATH])).await;
    let mut client = broker.client().await;
    let (session, _) = guest.attested(&mut client).await;
    let all: Vec<u8> = (0..=255).collect();
    for value in [vec![0], vec![10; 15], all.repeat(4), vec![0xA5; 1 << 20]] {
        let put = broker.admin("POST", &format!("/kbs/v0/resource/{PATH}"), value.clone()).await;
        assert_eq!(put.status, 200, "{} bytes", value.len());
        assert_eq!(guest.secret(&session.get(&mut client, PATH).await), value, "{} bytes", value.len());
    }
}

#[tokio::test]
async fn denied_absent_and_malformed_are_told_apart_so_that_clients_stop_at_once() {
    let (_folder, broker, launch) = with_secret(b"value").await;
    let mut client = broker.client().await;
    let guest = Guest::new(launch);
    let (session, _) = guest.attested(&mut client).await;
    // Upstream answers all of these with 401, on which clients attest two times more.
    assert_eq!(error(&session.get(&mut client, "example/key/2").await), is(403, "PolicyDeny", "E-DENIED"));
    assert_eq!(error(&session.get(&mut client, "a/b").await), is(400, "InvalidRequestPath", "E-PATH"));
    let deleted = broker.admin("DELETE", &format!("/kbs/v0/resource/{PATH}"), "").await;
    assert_eq!(deleted.status, 200);
    assert_eq!(error(&session.get(&mut client, PATH).await), is(404, "ResourceNotFound", "E-ABSENT"));
    let mut anybody = broker.client().await;
    let answer = anybody.send("GET", &format!("/kbs/v0/resource/{PATH}"), &[], "").await;
    assert_eq!(error(&answer), is(401, "TokenNotFound", "E-SESSION"));
    // A path that is none is said before anybody is asked who he is: it tells nothing.
    let answer = anybody.send("GET", "/kbs/v0/resource/a/b", &[], "").await;
    assert_eq!(error(&answer), is(400, "InvalidRequestPath", "E-PATH"));
    for path in ["/kbs/v0/resource", "/kbs/v0/resource/"] {
        let answer = session_get(&mut anybody, path, &session.cookie).await;
        assert_eq!(error(&answer), is(404, "PluginNotFound", "E-ROUTE"), "{path}");
    }
}

async fn session_get(client: &mut super::Client, path: &str, cookie: &str) -> super::Answer {
    client.send("GET", path, &[("cookie", cookie)], "").await
}

#[tokio::test]
async fn queries_are_for_policies_and_versions_and_change_no_path() {
    let (_folder, broker, launch) = with_secret(b"value").await;
    let mut client = broker.client().await;
    let guest = Guest::new(launch);
    let (session, _) = guest.attested(&mut client).await;
    let fits = [
        "?",
        "?version=1",
        "?x=1",
        "?x",
        "?=",
        "?&&",
        "?x=%2e%2e/%00",
        "?path=a/b/c",
        "?versions=7",
        "?Version=x",
        "?x=1&version=1",
    ];
    for query in fits {
        let answer = session.get(&mut client, &format!("{PATH}{query}")).await;
        assert_eq!(guest.secret(&answer), b"value", "{query}");
    }
    for query in ["?version=", "?version=%31", "?version=-1", "?version=1.0", "?version=18446744073709551616"] {
        let answer = session.get(&mut client, &format!("{PATH}{query}")).await;
        assert_eq!(error(&answer), is(400, "SerdeError", "E-FORMAT"), "{query}");
    }
    for version in ["0", "2", "9223372036854775807"] {
        let answer = session.get(&mut client, &format!("{PATH}?version={version}")).await;
        assert_eq!(error(&answer), is(404, "ResourceNotFound", "E-ABSENT"), "{version}");
    }
}

#[tokio::test]
async fn a_session_outlives_its_connection_and_a_body_on_a_get_is_ignored() {
    let (_folder, broker, launch) = with_secret(b"value").await;
    let guest = Guest::new(launch);
    let (session, _) = guest.attested(&mut broker.client().await).await;
    let path = format!("/kbs/v0/resource/{PATH}");
    let mut other = broker.client().await;
    let answer = other.send("GET", &path, &[("cookie", &session.cookie)], "a body").await;
    assert_eq!(guest.secret(&answer), b"value");
}
