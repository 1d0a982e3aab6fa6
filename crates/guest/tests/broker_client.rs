//! The client of the key broker, against a small broker over TLS.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod broker;

use attest::channel::{ChannelError, Pinned};
use broker::{Broker, Machine, SECRET, SITE_JSON};
use claims::kbs::TeeKey;
use claims::{Code, Digest256};
use guest::broker_client::{ClientError, KbsClient, Keeper, Patience};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Everything that the error says, in every way it can be printed.
fn words(error: &ClientError) -> String {
    format!("{error} {error:?} {}", error.line())
}

fn assert_silent(text: &str) {
    let forms = [
        String::from_utf8(SECRET.to_vec()).unwrap(),
        hex::encode(SECRET),
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, SECRET),
        format!("{SECRET:?}").trim_matches(['[', ']']).to_owned(),
        "header.payload.signature".into(),
    ];
    for form in forms {
        assert!(!text.contains(&form), "a secret in {text}");
    }
}

#[test]
fn a_secret_comes_after_attestation_and_prints_nowhere() {
    let broker = Broker::start();
    let session = broker.client().attest(SITE_JSON).unwrap();
    let secret = session.resource("example/key/secret").unwrap();
    secret.expose(|bytes| assert_eq!(bytes, SECRET));
    session.token().expose(|token| assert_eq!(token, "header.payload.signature"));
    assert_silent(&format!("{secret:?} {session:?} {:?}", session.token()));
}

#[test]
fn refusals_carry_the_brokers_code() {
    let broker = Broker::start();
    broker.book.lock().unwrap().refuse_attest = Some((403, "E-MEASUREMENT: the launch measurement is unknown"));
    let error = broker.client().attest(SITE_JSON).unwrap_err();
    assert!(matches!(&error, ClientError::Refused { status: 403, code: Some(Code::Measurement), .. }), "{error:?}");
    assert!(error.is_refusal() && error.code() == Code::Measurement);

    broker.book.lock().unwrap().refuse_attest = None;
    let session = broker.client().attest(SITE_JSON).unwrap();
    assert_eq!(session.resource("example/key/denied").unwrap_err().code(), Code::Denied);
    assert_eq!(session.resource("example/key/nothing").unwrap_err().code(), Code::Absent);
    assert!(matches!(session.resource("example/../secret"), Err(ClientError::Path(_))));
}

#[test]
fn another_server_in_the_brokers_place_is_not_spoken_to() {
    let broker = Broker::start();
    let wanted = Digest256([1; 32]);
    let error = broker.client_pinned(wanted).attest(SITE_JSON).unwrap_err();
    let ClientError::Identity { source } = &error else { panic!("{error:?}") };
    assert_eq!(ChannelError::of(source), Some(&ChannelError::Identity { wanted }));
    assert_eq!(error.code(), Code::Broker);
    assert!(error.to_string().contains(&wanted.to_string()), "{error}");
    assert_eq!(broker.book.lock().unwrap().attested, 0);
}

#[test]
fn a_secret_for_another_key_is_not_read() {
    let broker = Broker::start();
    let session = broker.client().attest(SITE_JSON).unwrap();
    let other = broker.client();
    other.attest(SITE_JSON).unwrap();
    // The broker now encrypts to the other guest's key.
    let error = session.resource("example/key/secret").unwrap_err();
    assert!(matches!(error, ClientError::Crypto { .. }), "{error:?}");
    assert_silent(&words(&error));
    let TeeKey::Ec { alg, .. } = broker.book.lock().unwrap().key.clone().unwrap() else { panic!("not an EC key") };
    assert_eq!(alg, "ECDH-ES+A256KW");
}

#[test]
fn malformed_answers_are_errors() {
    let broker = Broker::start();
    let attest = || broker.client().attest(SITE_JSON).unwrap_err();
    for answer in [&b"{}"[..], b"", b"[", b"{\"nonce\":7}"] {
        broker.book.lock().unwrap().auth = Some(answer.to_vec());
        assert!(matches!(attest(), ClientError::Malformed { what: "the challenge" }));
    }
    broker.book.lock().unwrap().auth = Some(vec![b' '; 9 << 20]);
    assert!(matches!(attest(), ClientError::Malformed { .. }));
    broker.book.lock().unwrap().auth = None;
    broker.book.lock().unwrap().no_cookie = true;
    assert!(matches!(attest(), ClientError::Malformed { what: "the session cookie" }));
}

#[test]
fn a_forgotten_session_is_renewed_once() {
    let broker = Broker::start();
    let keeper = Keeper::new(broker.client(), SITE_JSON.into());
    keeper.resource("example/key/secret").unwrap();
    broker.book.lock().unwrap().forget = 1;
    keeper.resource("example/key/secret").unwrap().expose(|bytes| assert_eq!(bytes, SECRET));
    assert_eq!(broker.book.lock().unwrap().attested, 2);
    broker.book.lock().unwrap().forget = 5;
    let error = keeper.resource("example/key/secret").unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 401, .. }), "{error:?}");
    assert_eq!(broker.book.lock().unwrap().attested, 3);
}

#[test]
fn an_unreachable_broker_is_tried_for_a_while_and_named() {
    let resolve = Arc::new(|_: &str, _: u16| Ok(vec!["127.0.0.1:1".parse().unwrap()]));
    let client = KbsClient::new("https://broker.test", Pinned::new(Digest256([0; 32])), resolve, Arc::new(Machine));
    let keeper = Keeper::new(client.unwrap(), SITE_JSON.into());
    let millis = Duration::from_millis;
    let patience = Patience { total: millis(250), first: millis(20), longest: millis(100) };
    let mut waits = Vec::new();
    let error = keeper
        .patiently(
            patience,
            &mut |error, wait| {
                assert_eq!(error.to_string(), "the broker cannot be reached");
                waits.push(wait);
            },
            Keeper::attest,
        )
        .unwrap_err();
    assert!(matches!(&error, ClientError::GaveUp { last, .. } if last.may_pass()), "{error:?}");
    assert_eq!(error.code(), Code::Broker);
    assert!(error.source().is_some());
    assert!((3..=6).contains(&waits.len()), "{waits:?}");
    assert_eq!(waits[..3], [20, 40, 80].map(millis), "each wait is twice the one before");

    let plain = KbsClient::new(
        "http://broker.test",
        Pinned::new(Digest256([0; 32])),
        Arc::new(|_, _| Ok(vec![])),
        Arc::new(Machine),
    );
    assert!(matches!(plain, Err(ClientError::Address)));
}

#[test]
fn a_refusal_is_not_retried_but_a_busy_broker_is() {
    let broker = Broker::start();
    let keeper = Keeper::new(broker.client(), SITE_JSON.into());
    let millis = Duration::from_millis;
    let patience = Patience { total: millis(200), first: millis(50), longest: millis(50) };
    broker.book.lock().unwrap().refuse_attest = Some((403, "E-HOST-DATA"));
    assert_eq!(keeper.patiently(patience, &mut |_, _| (), Keeper::attest).unwrap_err().code(), Code::HostData);
    assert_eq!(broker.book.lock().unwrap().attested, 1);
    broker.book.lock().unwrap().refuse_attest = Some((503, "E-BUSY"));
    let error = keeper.patiently(patience, &mut |_, _| (), Keeper::attest).unwrap_err();
    assert!(matches!(error, ClientError::GaveUp { .. }), "{error:?}");
    assert!(broker.book.lock().unwrap().attested > 2);

    // The same goes for the key after the attestation; a no is final there as well.
    broker.book.lock().unwrap().refuse_attest = None;
    keeper.attest().unwrap();
    broker.book.lock().unwrap().refuse_resource = vec![(503, "E-BUSY"), (503, "E-STORE")];
    let mut told = Vec::new();
    let mut tell = |error: &ClientError, _| told.push(error.code());
    let secret = keeper.patiently(patience, &mut tell, |keeper| keeper.resource("example/key/secret")).unwrap();
    secret.expose(|bytes| assert_eq!(bytes, SECRET));
    let error = keeper.patiently(patience, &mut tell, |keeper| keeper.resource("example/key/denied")).unwrap_err();
    assert_eq!(error.code(), Code::Denied);
    assert_eq!(told, [Code::Store, Code::Busy]);
}
