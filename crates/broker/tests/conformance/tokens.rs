//! Attestation results: section 2.1, and where they are believed (1.6, 2.1).

use super::support::guest::{Guest, payload};
use super::support::processor::Launch;
use super::support::{Folder, now};
use super::{PATH, error, is};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use serde_json::{Value, json};

/// What the token says that the CPU's evidence was.
pub(super) fn annotated(token: &str) -> Value {
    payload(token)["submods"]["cpu0"]["ear.veraison.annotated-evidence"].clone()
}

#[tokio::test]
async fn a_token_has_upstreams_claims_and_a_key_that_its_certificates_vouch_for() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    let (session, token) = guest.attested(&mut broker.client().await).await;
    let parts: Vec<&str> = token.split('.').collect();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
    assert_eq!((&header["typ"], &header["alg"]), (&json!("JWT"), &json!("ES256")));
    let jwk = &header["jwk"];
    assert_eq!((&jwk["kty"], &jwk["crv"], &jwk["alg"]), (&json!("EC"), &json!("P-256"), &json!("ES256")));
    // As a relying party of upstream's does it: the leaf of `x5c` has the key of `jwk` and chains to a trusted root.
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let chain: Vec<CertificateDer<'_>> = jwk["x5c"]
        .as_array()
        .unwrap()
        .iter()
        .map(|der| CertificateDer::from(STANDARD.decode(der.as_str().unwrap()).unwrap()))
        .collect();
    assert!(chain[0].windows(point.len()).any(|part| part == point), "the leaf has the key");
    let root = CertificateDer::from_pem_slice(&std::fs::read(&folder.facts.identity_certificate).unwrap()).unwrap();
    assert_eq!(chain.last(), Some(&root), "the identity vouches");
    let signed = format!("{}.{}", parts[0], parts[1]);
    let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &signature).unwrap();

    let claims = payload(&token);
    assert_eq!(claims["eat_profile"], json!("tag:github.com,2024:confidential-containers/Trustee"));
    assert!(claims["ear.verifier-id"]["developer"].is_string() && claims["ear.verifier-id"]["build"].is_string());
    let (issued, expires) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!(issued <= now().0 && expires > now().0 && expires - issued <= 300, "{issued} {expires}");
    let cpu = &claims["submods"]["cpu0"];
    assert_eq!(cpu["ear.status"], json!("contraindicated"), "nobody set a reference value");
    assert!(cpu["ear.appraisal-policy-id"].is_string());
    let vector = cpu["ear.trustworthiness-vector"].as_object().unwrap();
    let names = [
        "configuration",
        "executables",
        "file-system",
        "hardware",
        "instance-identity",
        "runtime-opaque",
        "sourced-data",
        "storage-opaque",
    ];
    assert_eq!(vector.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(), names.into());
    assert!(vector.values().all(|value| value.as_i64().is_some_and(|number| (-128..128).contains(&number))));
    let evidence = annotated(&token);
    // Clients and other servers look for the key at exactly this place.
    assert_eq!(evidence["runtime_data_claims"]["tee-pubkey"], json!(guest.key.public()));
    assert_eq!(evidence["runtime_data_claims"]["nonce"], json!(session.nonce));
    assert_eq!(evidence["runtime_data_claims"]["additional-evidence"], json!(""));
    assert_eq!(evidence["report_data"].as_str().unwrap().len(), 128);
    for name in [
        "measurement",
        "reported_tcb_bootloader",
        "reported_tcb_microcode",
        "reported_tcb_snp",
        "reported_tcb_tee",
        "policy_debug_allowed",
        "policy_migrate_ma",
        "policy_smt_allowed",
        "platform_smt_enabled",
        "platform_tsme_enabled",
        "chip_id",
    ] {
        assert!(evidence["snp"].get(name).is_some(), "{name}: {}", evidence["snp"]);
    }
}

#[tokio::test]
async fn the_tls_certificate_and_the_token_have_one_root() {
    let folder = Folder::new();
    let broker = folder.start().await;
    // `kbs-client --cert-file identity.pem`: an ordinary client that knows no pin and checks names.
    let root = CertificateDer::from_pem_slice(&std::fs::read(&folder.facts.identity_certificate).unwrap()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    for (name, good) in [("localhost", true), ("127.0.0.1", true), ("broker.example", false)] {
        let stream = tokio::net::TcpStream::connect(broker.ready.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config.clone()));
        let connected = connector.connect(name.try_into().unwrap(), stream).await;
        assert_eq!(connected.is_ok(), good, "{name}: {:?}", connected.err());
    }
    assert!(UnixTime::now().as_secs() > 0);
}

#[tokio::test]
async fn a_token_is_believed_alone_in_either_spelling_and_only_once_in_a_head() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    broker.serve_secret(PATH, b"value", &guest.launch.reference(&[PATH])).await;
    let (session, token) = guest.attested(&mut broker.client().await).await;
    let path = format!("/kbs/v0/resource/{PATH}");
    let mut client = broker.client().await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let value = format!("{scheme} {token}");
        assert_eq!(guest.secret(&client.send("GET", &path, &[("authorization", &value)], "").await), b"value");
    }
    let bearer = format!("Bearer {token}");
    let absent = is(401, "TokenNotFound", "E-SESSION");
    // Twice, of another scheme, or empty: no token.
    let twice = [("authorization", bearer.as_str()), ("authorization", bearer.as_str())];
    assert_eq!(error(&client.send("GET", &path, &twice, "").await), absent);
    for other in [format!("Basic {token}"), token.clone(), String::new()] {
        assert_eq!(error(&client.send("GET", &path, &[("authorization", &other)], "").await), absent, "{other}");
    }
    assert_eq!(error(&client.send("GET", &path, &[], "").await), absent);
    // A cookie that is nobody's does not spoil a good token, and a bad token spoils a good cookie.
    let strange = [("cookie", "kbs-session-id=00"), ("authorization", bearer.as_str())];
    assert_eq!(guest.secret(&client.send("GET", &path, &strange, "").await), b"value");
    let spoilt = [("cookie", session.cookie.as_str()), ("authorization", "Bearer x.y.z")];
    assert_eq!(error(&client.send("GET", &path, &spoilt, "").await), is(401, "AttestationError", "E-BINDING"));
    let bad = client.send("GET", &path, &[("authorization", "Bearer x.y.z")], "").await;
    assert_eq!(error(&bad), is(401, "TokenVerifierError", "E-TOKEN"));
}
