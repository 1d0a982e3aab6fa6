//! Every endpoint and every error of the KBS protocol as upstream's real server and client have it
//! (shared/reference/trustee.md, sections 1, 2 and 4), against a served broker. What `handshake.rs`, `refusals.rs`,
//! `administration.rs` and `policies.rs` show is not repeated here; where this broker answers otherwise than upstream on
//! purpose, the test says so.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

#[path = "../support/mod.rs"]
mod support;

mod administrators;
mod clients;
mod evidence;
mod http;
mod metrics;
mod release;
mod tokens;

use hyper::body::Bytes;
use support::guest::{Guest, Session};
use support::{Answer, Client};

const PATH: &str = "example/key/1";

/// Status, upstream's name of the error, and our code; checks that the form is what real clients parse.
#[track_caller]
fn error(answer: &Answer) -> (u16, String, String) {
    let (status, code) = answer.refusal();
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
    assert_eq!(answer.headers["content-type"], "application/json", "{answer:?}");
    assert_eq!(answer.headers["content-length"], answer.body.len().to_string().as_str());
    let kind = body["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    (status, kind, code)
}

fn is(status: u16, kind: &str, code: &str) -> (u16, String, String) {
    (status, kind.to_owned(), code.to_owned())
}

async fn post(client: &mut Client, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    client.send("POST", path, headers, body).await
}

/// A session by the older protocol, whose challenge has no nonce in the message.
async fn old_session(client: &mut Client) -> Session {
    let answer = post(client, "/kbs/v0/auth", &[], r#"{"version":"0.2.0","tee":"snp","extra-params":""}"#).await;
    let nonce = answer.json()["nonce"].as_str().unwrap().to_owned();
    Session { cookie: answer.cookie(), nonce }
}

/// The message of protocol 0.2.0, bound as that protocol binds: SHA-384 over nonce and key.
fn old_body(guest: &Guest, session: &Session) -> serde_json::Value {
    use aws_lc_rs::digest::{SHA384, digest};
    let bound = serde_json::json!({"nonce": session.nonce, "tee-pubkey": guest.key.public()});
    let mut report_data = [0; 64];
    report_data[..48].copy_from_slice(digest(&SHA384, &support::guest::canonical(&bound)).as_ref());
    serde_json::json!({"tee-pubkey": guest.key.public(), "tee-evidence": guest.launch.evidence(report_data)})
}
