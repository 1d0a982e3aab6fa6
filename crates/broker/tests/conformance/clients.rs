//! What upstream's unmodified clients do, step by step (guest-components `kbs_protocol`, `rcar_client.rs` and
//! `token_client.rs`; trustee `tools/kbs-client`), with the types that they parse answers with (kbs-types 0.18) written
//! down here, and their sample attester, the only one that works without a TEE.

use super::support::guest::{Key, payload};
use super::support::processor::{verifier, verifier_with_samples};
use super::support::{Answer, Broker, Client, Folder, refused};
use aws_lc_rs::digest::{SHA384, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use broker::Settings;
use claims::json::canonical;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

const PATH: &str = "/kbs/v0/resource/default/key/1";
const SECRET: &[u8] = b"my-secret-0123";
/// What `kbs-client config set-resource-policy --allow-all` sends.
const ALLOW: &str =
    "package policy\n\ndefault allow = false\n\nplugin = data.plugin\n\nallow if {\n\tplugin == \"resource\"\n}\n";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Challenge {
    nonce: String,
    #[serde(rename = "extra-params")]
    extra_params: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttestationResponse {
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorInformation {
    #[serde(rename = "type")]
    error_type: String,
    detail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    #[serde(deserialize_with = "header")]
    protected: ProtectedHeader,
    #[serde(deserialize_with = "bytes")]
    encrypted_key: Vec<u8>,
    /// A text where it is there at all; `null` does not parse.
    #[serde(default, deserialize_with = "text")]
    aad: Option<String>,
    #[serde(deserialize_with = "bytes")]
    iv: Vec<u8>,
    #[serde(deserialize_with = "bytes")]
    ciphertext: Vec<u8>,
    #[serde(deserialize_with = "bytes")]
    tag: Vec<u8>,
}

#[derive(Deserialize)]
struct ProtectedHeader {
    alg: String,
    enc: String,
    #[serde(flatten)]
    other_fields: Map<String, Value>,
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    URL_SAFE_NO_PAD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

fn header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ProtectedHeader, D::Error> {
    serde_json::from_slice(&bytes(deserializer)?).map_err(serde::de::Error::custom)
}

fn parsed<T: for<'de> Deserialize<'de>>(answer: &Answer) -> T {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// One process of a client: a key, a cookie store, and no TEE.
struct Sample {
    client: Client,
    key: Key,
    cookie: Option<String>,
    device: bool,
    init_data: Option<&'static str>,
    requests: usize,
}

impl Sample {
    async fn new(broker: &Broker, key: Key) -> Self {
        Self { client: broker.client().await, key, cookie: None, device: false, init_data: None, requests: 0 }
    }

    async fn send(&mut self, method: &str, path: &str, body: String) -> Answer {
        self.requests += 1;
        let cookie = self.cookie.clone();
        let mut headers = vec![("user-agent", "attestation-agent-kbs-client/0.1.0"), ("accept", "*/*")];
        headers.extend(cookie.as_deref().map(|cookie| ("cookie", cookie)));
        if method == "POST" {
            headers.push(("content-type", "application/json"));
        }
        let answer = self.client.send(method, path, &headers, body).await;
        if answer.headers.contains_key("set-cookie") {
            self.cookie = Some(answer.cookie());
        }
        answer
    }

    /// `rcar_handshake`; the token, or what the client could read of the error.
    async fn handshake(&mut self) -> Result<String, ErrorInformation> {
        let request = json!({"version": "0.4.0", "tee": "sample",
            "extra-params": {"supported-hash-algorithms": ["sha256", "sha384", "sha512", "sm3"]}});
        let answer = self.send("POST", "/kbs/v0/auth", request.to_string()).await;
        if answer.status != 200 {
            return Err(parsed(&answer));
        }
        let challenge: Challenge = parsed(&answer);
        // An object with another algorithm would be obeyed.
        assert!(challenge.extra_params.get("selected-hash-algorithm").is_none());
        let runtime = json!({"nonce": challenge.nonce, "tee-pubkey": self.key.public()});
        let hash = |value: &Value| STANDARD.encode(digest(&SHA384, &canonical(value).unwrap()));
        let mut additional = String::new();
        if self.device {
            additional = json!({"sampledevice": {"svn": "2", "report_data": hash(&runtime)}}).to_string();
        }
        let bound =
            json!({"tee-pubkey": self.key.public(), "nonce": challenge.nonce, "additional-evidence": additional});
        let attestation = json!({
            "init-data": self.init_data.map(|body| json!({"format": "toml", "body": body})),
            "runtime-data": runtime,
            "tee-evidence": {
                "primary_evidence": {"svn": "1", "report_data": hash(&bound)},
                "additional_evidence": additional,
            },
        });
        let answer = self.send("POST", "/kbs/v0/attest", attestation.to_string()).await;
        match answer.status.as_u16() {
            200 => Ok(parsed::<AttestationResponse>(&answer).token),
            _ => Err(parsed(&answer)),
        }
    }

    /// `get_resource`: three attempts, a handshake after each 401, and an end at every other refusal.
    async fn get(&mut self) -> Result<Vec<u8>, String> {
        for _ in 0..3 {
            let answer = self.send("GET", PATH, String::new()).await;
            match answer.status.as_u16() {
                200 => return Ok(self.open(&answer)),
                401 => {
                    parsed::<ErrorInformation>(&answer);
                    self.handshake().await.map_err(|error| error.detail)?;
                }
                _ => return Err(parsed::<ErrorInformation>(&answer).error_type),
            }
        }
        Err("unauthorized".into())
    }

    fn open(&self, answer: &Answer) -> Vec<u8> {
        let response: Response = parsed(answer);
        assert_eq!((response.aad, response.iv.len(), response.tag.len()), (None, 12, 16));
        assert_eq!(response.protected.enc, "A256GCM");
        let members = usize::from(response.protected.alg == "ECDH-ES+A256KW");
        assert_eq!(response.protected.other_fields.len(), members, "only `epk`, and only with EC keys");
        assert!(response.encrypted_key.len() >= 40 && response.ciphertext.len() == SECRET.len());
        self.key.open(&parsed(answer)).unwrap()
    }
}

/// A development broker that takes sample evidence, with a secret and the policy that allows everything.
async fn with_secret(folder: &Folder) -> Broker {
    let broker = folder.start_with(folder.settings(), verifier_with_samples()).await;
    for (path, body) in [(PATH, SECRET.to_vec()), ("/kbs/v0/resource-policy", policy(None, ALLOW))] {
        let answer = broker.admin("POST", path, body).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0), "{path}: {answer:?}");
    }
    broker
}

fn policy(id: Option<&str>, text: &str) -> Vec<u8> {
    let policy = URL_SAFE_NO_PAD.encode(text);
    let body = id.map_or(json!({"policy": policy}), |id| json!({"type": "rego", "policy_id": id, "policy": policy}));
    body.to_string().into_bytes()
}

/// `kbs-client config set-sample-reference-value NAME VALUE`.
async fn set_reference(broker: &Broker, name: &str, value: Value) {
    let payload = STANDARD.encode(json!({ name: value }).to_string());
    let message = json!({"version": "0.1.0", "type": "sample", "payload": payload}).to_string();
    let answer = broker.admin("POST", "/kbs/v0/reference-value", message).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let kept = broker.admin("GET", &format!("/kbs/v0/reference-value/{name}"), "").await;
    assert_eq!(kept.json(), value, "{name}");
}

async fn trust_samples(broker: &Broker) {
    set_reference(broker, "launch_digest", json!(["abcde"])).await;
    set_reference(broker, "svn", json!(["1"])).await;
    // With and without `--as-single-value`.
    set_reference(broker, "major_version", json!(1)).await;
    set_reference(broker, "minimum_minor_version", json!([4])).await;
}

fn status(token: &str, submodule: &str) -> Value {
    payload(token)["submods"][submodule]["ear.status"].clone()
}

#[tokio::test]
async fn a_client_without_a_tee_is_served_only_where_values_and_policy_say_so() {
    let folder = Folder::new();
    let broker = with_secret(&folder).await;
    let mut first = Sample::new(&broker, Key::p256()).await;
    // Everything is allowed, and nothing is known of what the evidence should be.
    let denied = "https://github.com/confidential-containers/kbs/errors/PolicyDeny";
    assert_eq!(first.get().await, Err(denied.into()));
    assert_eq!(first.requests, 4, "a denial is final, and costs no second attestation");
    trust_samples(&broker).await;
    assert_eq!(first.get().await, Err(denied.into()), "an attestation result stays what it was");
    for key in [Key::p256(), Key::p521(), Key::rsa("RSA-OAEP-256")] {
        let mut client = Sample::new(&broker, key).await;
        assert_eq!(client.get().await.as_deref(), Ok(SECRET));
        assert_eq!(client.requests, 4);
        // `attest`, then `get-resource --attestation-token`: another process, with the token and no cookie.
        let token = client.handshake().await.unwrap_or_else(|error| panic!("{}", error.detail));
        assert_eq!(status(&token, "cpu0"), "affirming");
        let bearer = format!("Bearer {token}");
        let answer = broker.client().await.send("GET", PATH, &[("authorization", &bearer)], "").await;
        assert_eq!(client.open(&answer), SECRET);
    }
    for (name, value) in [("svn", json!(["2"])), ("minimum_minor_version", json!(5)), ("launch_digest", json!("x"))] {
        set_reference(&broker, name, value).await;
        let mut client = Sample::new(&broker, Key::p256()).await;
        assert_eq!(client.get().await, Err(denied.into()), "{name}");
        trust_samples(&broker).await;
    }
}

#[tokio::test]
async fn devices_and_init_data_of_a_client_without_a_tee_are_read() {
    let folder = Folder::new();
    let broker = with_secret(&folder).await;
    trust_samples(&broker).await;
    let mut client = Sample::new(&broker, Key::p256()).await;
    client.init_data = Some("version = \"0.1.0\"\nalgorithm = \"sha384\"\n[data]\n\"aa.toml\" = \"x = 1\"");
    let token = client.handshake().await.unwrap_or_else(|error| panic!("{}", error.detail));
    let evidence = payload(&token)["submods"]["cpu0"]["ear.veraison.annotated-evidence"].clone();
    assert_eq!(evidence["init_data_claims"], json!({"aa.toml": {"x": 1}}));
    assert_eq!(evidence.get("init_data"), None, "nobody signed it");
    assert_eq!(evidence["sample"]["launch_digest"], "abcde");
    // The device has no policy yet, so the whole is not affirmed.
    let mut client = Sample::new(&broker, Key::p256()).await;
    client.device = true;
    let token = client.handshake().await.unwrap_or_else(|error| panic!("{}", error.detail));
    assert_eq!((status(&token, "cpu0"), status(&token, "gpu0")), (json!("affirming"), json!("contraindicated")));
    assert!(client.get().await.is_err());
    let text = "package policy\nimport rego.v1\ndefault hardware := 97\nhardware := 2 if input.sampledevice.svn == \"2\"\n\
        trust_claims := {\"hardware\": hardware}";
    let set = broker.admin("POST", "/kbs/v0/attestation-policy", policy(Some("default_gpu"), text)).await;
    assert_eq!(set.status, 200, "{set:?}");
    let mut client = Sample::new(&broker, Key::p256()).await;
    client.device = true;
    assert_eq!(client.get().await.as_deref(), Ok(SECRET));
}

#[tokio::test]
async fn sample_evidence_is_bound_and_is_taken_by_no_other_broker() {
    let folder = Folder::new();
    let broker = with_secret(&folder).await;
    let shipped = |list: Value| list["shipped"].as_array().unwrap().iter().any(|one| one["name"] == "confide/sample");
    assert!(shipped(broker.admin("GET", "/confide/v0/policies", "").await.json()));
    let mut client = Sample::new(&broker, Key::p256()).await;
    let request = json!({"version": "0.4.0", "tee": "sample", "extra-params": {}}).to_string();
    let challenge: Challenge = parsed(&client.send("POST", "/kbs/v0/auth", request.clone()).await);
    let public = client.key.public();
    let attest = |report_data: String, init_data: Value| {
        json!({"init-data": init_data, "runtime-data": {"nonce": challenge.nonce, "tee-pubkey": public},
            "tee-evidence": {"primary_evidence": {"svn": "1", "report_data": report_data}, "additional_evidence": ""}})
        .to_string()
    };
    let bound = json!({"additional-evidence": "", "nonce": challenge.nonce, "tee-pubkey": public});
    let right = STANDARD.encode(digest(&SHA384, &canonical(&bound).unwrap()));
    for (report_data, init_data, status, code) in [
        (STANDARD.encode([7; 48]), Value::Null, 401, "E-BINDING"),
        (String::new(), Value::Null, 401, "E-BINDING"),
        ("?".into(), Value::Null, 400, "E-FORMAT"),
        (right.clone(), json!({"format": "site", "body": "{}"}), 403, "E-HOST-DATA"),
        (right.clone(), json!({"format": "toml", "body": "x = 1"}), 400, "E-FORMAT"),
    ] {
        let answer = client.send("POST", "/kbs/v0/attest", attest(report_data, init_data)).await;
        assert_eq!(answer.refusal(), refused(status, code));
    }
    assert_eq!(client.send("POST", "/kbs/v0/attest", attest(right, Value::Null)).await.status, 200);
    broker.stop().await;
    // Neither a broker whose program has no reader for it, nor one that is not for development.
    let release = Settings { dev: false, ..folder.settings() };
    for (settings, verifiers) in [(folder.settings(), verifier()), (release, verifier_with_samples())] {
        let broker = folder.start_with(settings, verifiers).await;
        let answer = broker.client().await.send("POST", "/kbs/v0/auth", &[], request.clone()).await;
        assert_eq!(answer.refusal(), refused(400, "E-TEE"));
        assert!(!shipped(broker.admin("GET", "/confide/v0/policies", "").await.json()));
        broker.stop().await;
    }
}
