//! A guest as upstream's client is one: keys, handshake, and a JWE reader that rebuilds the header as that client does.

use super::processor::Launch;
use super::{Answer, Client};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, Algorithm, ECDH_P256, ECDH_P521, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, Pkcs1PrivateDecryptingKey, PrivateDecryptingKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claims::kbs::{Jwe, RuntimeData, TeeKey, runtime_binding};
use claims::{Digest256, json};
use hyper::StatusCode;
use serde_json::{Value, json as object};
use std::collections::BTreeMap;

/// A key that secrets are encrypted to.
pub enum Key {
    Ec(&'static str, &'static Algorithm, PrivateKey),
    Rsa(&'static str, PrivateDecryptingKey, Vec<u8>, Vec<u8>),
}

impl Key {
    pub fn p256() -> Self {
        Self::Ec("P-256", &ECDH_P256, PrivateKey::generate(&ECDH_P256).unwrap())
    }

    pub fn p521() -> Self {
        Self::Ec("P-521", &ECDH_P521, PrivateKey::generate(&ECDH_P521).unwrap())
    }

    pub fn rsa(algorithm: &'static str) -> Self {
        use aws_lc_rs::signature::KeyPair as _;
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = pair.public_key();
        let (n, e) = (public.modulus(), public.exponent());
        let (n, e) = (n.big_endian_without_leading_zero().to_vec(), e.big_endian_without_leading_zero().to_vec());
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        Self::Rsa(algorithm, PrivateDecryptingKey::from_pkcs8(der.as_ref()).unwrap(), n, e)
    }

    pub fn public(&self) -> TeeKey {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ec(crv, _, key) => {
                let point = key.compute_public_key().unwrap();
                let (x, y) = point.as_ref()[1..].split_at((point.as_ref().len() - 1) / 2);
                TeeKey::Ec { crv: (*crv).into(), alg: "ECDH-ES+A256KW".into(), x: text(x), y: text(y) }
            }
            Self::Rsa(alg, _, n, e) => TeeKey::Rsa { alg: (*alg).into(), n: text(n), e: text(e) },
        }
    }

    /// Opens a release as upstream's client does: the additional data is the header, parsed and written again.
    pub fn open(&self, jwe: &Jwe) -> Result<Vec<u8>, String> {
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let header: Value = serde_json::from_slice(&decode(&jwe.protected)).unwrap();
        let mut rest: BTreeMap<String, Value> = serde_json::from_value(header.clone()).unwrap();
        let (alg, enc) = (rest.remove("alg").unwrap(), rest.remove("enc").unwrap());
        let mut text = format!("{{\"alg\":{alg},\"enc\":{enc}");
        for (name, value) in rest {
            text += &format!(",\"{name}\":{value}");
        }
        let aad = URL_SAFE_NO_PAD.encode(text + "}");
        let content_key = self.unwrap(&header, &decode(&jwe.encrypted_key))?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &content_key).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&decode(&jwe.iv)).unwrap();
        let mut bytes = [decode(&jwe.ciphertext), decode(&jwe.tag)].concat();
        let plain = key.open_in_place(nonce, Aad::from(aad.as_bytes()), &mut bytes);
        plain.map(|plain| plain.to_vec()).map_err(|_| "the secret does not decrypt".into())
    }

    fn unwrap(&self, header: &Value, wrapped: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Ec(crv, algorithm, key) => {
                assert_eq!((&header["alg"], &header["epk"]["crv"]), (&object!("ECDH-ES+A256KW"), &object!(crv)));
                let part = |name: &str| URL_SAFE_NO_PAD.decode(header["epk"][name].as_str().unwrap()).unwrap();
                let point = [vec![4], part("x"), part("y")].concat();
                agreement::agree(key, UnparsedPublicKey::new(algorithm, point), "no point".to_owned(), |shared| {
                    // Concat KDF by hand, RFC 7518 section 4.6.2.
                    let mut input = vec![0, 0, 0, 1];
                    input.extend_from_slice(shared);
                    input.extend([0, 0, 0, 14]);
                    input.extend(b"ECDH-ES+A256KW");
                    input.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
                    let kek = AesKek::new(&AES_256, &Digest256::of(&input).0).unwrap();
                    let mut out = [0; 32];
                    kek.unwrap(wrapped, &mut out).map(|key| key.to_vec()).map_err(|_| "another key".to_owned())
                })
            }
            Self::Rsa(algorithm, key, _, _) => {
                assert_eq!(header["alg"], object!(algorithm));
                let mut out = vec![0; key.key_size_bytes()];
                let opened = match *algorithm {
                    "RSA1_5" => {
                        let key = Pkcs1PrivateDecryptingKey::new(key.clone()).unwrap();
                        key.decrypt(wrapped, &mut out).map(|plain| plain.to_vec())
                    }
                    _ => {
                        let key = OaepPrivateDecryptingKey::new(key.clone()).unwrap();
                        key.decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut out, None).map(|plain| plain.to_vec())
                    }
                };
                opened.map_err(|_| "another key".into())
            }
        }
    }
}

/// A guest with a key and a launch.
pub struct Guest {
    pub key: Key,
    pub launch: Launch,
    pub init_data: Option<(String, String)>,
}

impl Guest {
    pub fn new(launch: Launch) -> Self {
        Self { key: Key::p256(), launch, init_data: None }
    }

    pub async fn auth(client: &mut Client) -> Session {
        let body = r#"{"version":"0.4.0","tee":"snp","extra-params":{"supported-hash-algorithms":["sha384"]}}"#;
        let answer = client.send("POST", "/kbs/v0/auth", &[], body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let challenge = answer.json();
        assert_eq!(challenge["extra-params"], object!(""));
        Session { cookie: answer.cookie(), nonce: challenge["nonce"].as_str().unwrap().to_owned() }
    }

    /// The body for `/attest`, with the right binding.
    pub fn body(&self, session: &Session) -> Value {
        let data = RuntimeData { nonce: session.nonce.clone(), tee_pubkey: self.key.public() };
        let mut report_data = [0; 64];
        report_data[..48].copy_from_slice(&runtime_binding(&data, "").unwrap());
        self.body_with(session, report_data)
    }

    pub fn body_with(&self, session: &Session, report_data: [u8; 64]) -> Value {
        let init_data = self.init_data.as_ref().map(|(format, body)| object!({"format": format, "body": body}));
        object!({
            "init-data": init_data,
            "runtime-data": {"nonce": session.nonce, "tee-pubkey": self.key.public()},
            "tee-evidence": {"primary_evidence": self.launch.evidence(report_data), "additional_evidence": ""},
        })
    }

    pub async fn attest(&self, client: &mut Client) -> (Session, Answer) {
        let session = Self::auth(client).await;
        let answer = session.attest(client, &self.body(&session)).await;
        (session, answer)
    }

    /// Whole handshake; must succeed.
    pub async fn attested(&self, client: &mut Client) -> (Session, String) {
        let (session, answer) = self.attest(client).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.cookie(), session.cookie);
        (session, answer.json()["token"].as_str().unwrap().to_owned())
    }

    /// Handshake and one resource.
    pub async fn get(&self, client: &mut Client, path: &str) -> Answer {
        let (session, _) = self.attested(client).await;
        session.get(client, path).await
    }

    pub fn secret(&self, answer: &Answer) -> Vec<u8> {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        self.key.open(&serde_json::from_slice(&answer.body).unwrap()).unwrap()
    }
}

pub struct Session {
    pub cookie: String,
    pub nonce: String,
}

impl Session {
    pub async fn attest(&self, client: &mut Client, body: &Value) -> Answer {
        client.send("POST", "/kbs/v0/attest", &[("cookie", &self.cookie)], serde_json::to_vec(body).unwrap()).await
    }

    pub async fn get(&self, client: &mut Client, path: &str) -> Answer {
        let path = format!("/kbs/v0/resource/{path}");
        client.send("GET", &path, &[("cookie", &self.cookie)], "").await
    }
}

/// The claims of a token, unverified, as clients read them.
pub fn payload(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

pub fn canonical(value: &Value) -> Vec<u8> {
    json::canonical(value).unwrap()
}
