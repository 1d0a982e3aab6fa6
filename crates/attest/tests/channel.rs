//! The pinned channel, over whole handshakes in memory.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use attest::channel::{ChannelError, Pinned};
use claims::Digest256;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion};
use std::sync::Arc;

type Identity = CertifiedIssuer<'static, KeyPair>;

fn identity_with(shape: impl FnOnce(&mut CertificateParams)) -> Identity {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    shape(&mut params);
    CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()).unwrap()
}

fn identity() -> Identity {
    identity_with(|_| ())
}

fn pin(identity: &Identity) -> Digest256 {
    Digest256::of(&identity.key().subject_public_key_info())
}

struct Server {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

fn leaf(issuer: &Identity, shape: impl FnOnce(&mut CertificateParams)) -> Server {
    let mut params = CertificateParams::new(vec!["another.name".into()]).unwrap();
    shape(&mut params);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    Server { chain: vec![certificate.der().clone(), issuer.der().clone()], key }
}

/// Runs a handshake and says what the client thinks of it.
fn handshake_of(
    server: &Server,
    pin: Digest256,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(server.key.serialize_der()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let certified = CertifiedKey::new(server.chain.clone(), key);
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    let config = Pinned::new(pin).client_config().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from("broker").unwrap()).unwrap();
    for _ in 0..8 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
        if !client.is_handshaking() && !server.is_handshaking() {
            return Ok(());
        }
    }
    panic!("the handshake did not end");
}

fn handshake(server: &Server, pin: Digest256) -> Result<(), rustls::Error> {
    handshake_of(server, pin, rustls::ALL_VERSIONS)
}

fn reason(result: Result<(), rustls::Error>) -> ChannelError {
    let error = result.unwrap_err();
    ChannelError::of(&error).unwrap_or_else(|| panic!("not a channel error: {error}")).clone()
}

#[test]
fn a_leaf_of_the_pinned_identity_is_accepted_in_both_versions_whatever_its_name() {
    let identity = identity();
    let server = leaf(&identity, |_| ());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        assert_eq!(handshake_of(&server, pin(&identity), &[version]), Ok(()));
    }
}

#[test]
fn the_clock_decides_nothing() {
    let identity = identity();
    let long_ago = leaf(&identity, |params| {
        params.not_before = date_time_ymd(1999, 1, 1);
        params.not_after = date_time_ymd(1999, 2, 1);
    });
    assert_eq!(handshake(&long_ago, pin(&identity)), Ok(()));
    let never = leaf(&identity, |params| {
        params.not_before = date_time_ymd(2031, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
    });
    assert!(matches!(reason(handshake(&never, pin(&identity))), ChannelError::Leaf { .. }));
}

#[test]
fn another_identity_is_refused() {
    let wanted = pin(&identity());
    let server = leaf(&identity(), |_| ());
    assert_eq!(reason(handshake(&server, wanted)), ChannelError::Identity { wanted });
}

#[test]
fn a_leaf_beside_an_identity_that_did_not_issue_it_is_refused() {
    let identity = identity();
    let mut server = leaf(&self::identity(), |_| ());
    server.chain[1] = identity.der().clone();
    assert!(matches!(reason(handshake(&server, pin(&identity))), ChannelError::Leaf { .. }));
}

#[test]
fn an_identity_that_may_not_issue_is_refused() {
    for identity in [
        identity_with(|params| params.is_ca = IsCa::ExplicitNoCa),
        identity_with(|params| params.is_ca = IsCa::NoCa),
        identity_with(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
    ] {
        let server = leaf(&identity, |_| ());
        assert_eq!(reason(handshake(&server, pin(&identity))), ChannelError::NotAuthority);
    }
}

#[test]
fn the_identity_as_server_certificate_is_refused() {
    let identity = identity();
    let key = || KeyPair::try_from(identity.key().serialize_der()).unwrap();
    let alone = Server { chain: vec![identity.der().clone()], key: key() };
    let wanted = pin(&identity);
    assert_eq!(reason(handshake(&alone, wanted)), ChannelError::Identity { wanted });
    let twice = Server { chain: vec![identity.der().clone(), identity.der().clone()], key: key() };
    assert!(matches!(reason(handshake(&twice, wanted)), ChannelError::Leaf { .. }));
}

#[test]
fn a_leaf_for_clients_an_authority_as_leaf_and_a_crowd_are_refused() {
    let identity = identity();
    let client = leaf(&identity, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert!(matches!(reason(handshake(&client, pin(&identity))), ChannelError::Leaf { .. }));
    let authority = leaf(&identity, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert!(matches!(reason(handshake(&authority, pin(&identity))), ChannelError::Leaf { .. }));
    let mut crowd = leaf(&identity, |_| ());
    crowd.chain.extend(vec![identity.der().clone(); 8]);
    assert_eq!(reason(handshake(&crowd, pin(&identity))), ChannelError::TooMany { got: 10 });
}

#[test]
fn a_server_without_the_leafs_key_is_refused() {
    let identity = identity();
    let genuine = leaf(&identity, |_| ());
    let thief = Server { chain: genuine.chain, key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap() };
    let refused = rustls::Error::InvalidCertificate(CertificateError::BadSignature);
    assert_eq!(handshake(&thief, pin(&identity)), Err(refused));
}
