//! What administrators' tools send: sections 1.2, 1.8, 2.3 and 2.5.

use super::support::{Broker, Folder, now};
use super::{Answer, PATH, error, is};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use hyper::body::Bytes;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

const ALLOW: &str = "package policy\nimport rego.v1\ndefault allow := true";

/// Every route of upstream's that is for administrators.
const ROUTES: [(&str, &str); 9] = [
    ("POST", "/kbs/v0/resource/example/key/1"),
    ("DELETE", "/kbs/v0/resource/example/key/1"),
    ("POST", "/kbs/v0/attestation-policy"),
    ("POST", "/kbs/v0/resource-policy"),
    ("GET", "/kbs/v0/resource-policy"),
    ("POST", "/kbs/v0/reference-value"),
    ("GET", "/kbs/v0/reference-value"),
    ("GET", "/kbs/v0/reference-value/svn"),
    ("GET", "/confide/v0/status"),
];

fn signed(folder: &Folder, claims: &Value) -> String {
    let key = PrivatePkcs8KeyDer::from_pem_slice(&std::fs::read(&folder.facts.admin_key).unwrap()).unwrap();
    let key = EncodingKey::from_ed_der(key.secret_pkcs8_der());
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &key).unwrap()
}

async fn call(broker: &Broker, token: &str, method: &str, path: &str, body: impl Into<Bytes>) -> Answer {
    let bearer = format!("Bearer {token}");
    broker.client().await.send(method, path, &[("authorization", &bearer)], body).await
}

#[tokio::test]
async fn tokens_of_three_generations_are_administrators() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let now = now().0;
    let good = [
        // `kbs-client --auth-private-key` of up to v0.20: no role, two hours.
        json!({"iat": now, "exp": now + 7200}),
        json!({"iat": now, "nbf": now, "exp": now + 7200}),
        // From v0.21 on: a role, and what issuers add.
        json!({"iat": now, "exp": now + 600, "role": "admin", "iss": "x", "aud": "y", "sub": "somebody"}),
        // Upstream asks for `exp` and `role` only, and times may have a fraction (RFC 7519, section 2).
        json!({"exp": now + 600, "role": "admin"}),
        json!({"iat": now as f64 + 0.25, "exp": now as f64 + 600.75, "role": "admin"}),
        // A clock that is half a minute ahead.
        json!({"iat": now + 30, "nbf": now + 30, "exp": now + 600}),
    ];
    for claims in good {
        let token = signed(&folder, &claims);
        let put = call(&broker, &token, "POST", "/kbs/v0/resource/example/key/1", "value").await;
        assert_eq!((put.status.as_u16(), put.body.len()), (200, 0), "{claims}");
        assert_eq!(put.headers["content-type"], "text/xml");
    }
    let bad = [
        json!({"exp": now + 600}),
        json!({"exp": now + 10 * 365 * 86_400, "role": "admin"}),
        json!({"exp": 1e300, "role": "admin"}),
        json!({"exp": -1.5, "role": "admin"}),
        json!({"iat": now}),
        json!({"iat": now, "exp": now}),
        json!({"iat": now - 7300, "exp": now - 100}),
        json!({"iat": now, "exp": now + 7201}),
        json!({"iat": now, "exp": now + 600, "role": "guest"}),
        json!({"iat": now, "exp": now + 600, "role": ""}),
        json!({"iat": now, "exp": now + 600, "role": ["admin"]}),
        json!({"iat": now + 3600, "exp": now + 7200}),
        json!({"iat": now, "nbf": now + 3600, "exp": now + 7200}),
        json!({"iat": now.to_string(), "exp": now + 600}),
    ];
    for claims in bad {
        let token = signed(&folder, &claims);
        for (method, path) in ROUTES {
            let answer = call(&broker, &token, method, path, "").await;
            assert_eq!(error(&answer), is(401, "AdminAuthAccess", "E-ADMIN"), "{claims} {method} {path}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
    // The gate comes before the body and the path are looked at, and an auditor only looks.
    let auditor = folder.token("auditor");
    for (method, path) in ROUTES {
        let answer = call(&broker, &auditor, method, path, "not json").await;
        let refused = answer.status.as_u16() == 401;
        assert_eq!(refused, method != "GET", "{method} {path}");
    }
    let answer = broker.client().await.send("POST", "/kbs/v0/resource/../x", &[], "value").await;
    assert_eq!(error(&answer), is(401, "AdminAuthAccess", "E-ADMIN"));
}

#[test]
fn upstreams_client_reads_the_admin_key() {
    // ed25519-compact, by which `kbs-client --auth-private-key` reads keys, knows this form only: PKCS #8 of version 1, as
    // `openssl genpkey -algorithm ed25519` writes it.
    const HEAD: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
    let folder = Folder::new();
    for name in ["admin-key.pem", "audit-key.pem"] {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        let inner = text.strip_prefix("-----BEGIN PRIVATE KEY-----\n").unwrap();
        let inner = inner.strip_suffix("\n-----END PRIVATE KEY-----\n").unwrap();
        let der = STANDARD.decode(inner).unwrap();
        assert_eq!((der.len(), der.first_chunk()), (48, Some(&HEAD)), "{name}");
    }
}

#[tokio::test]
async fn secrets_are_stored_and_deleted_whatever_type_they_say_they_have() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let path = format!("/kbs/v0/resource/{PATH}");
    let bearer = format!("Bearer {}", broker.admin);
    for (number, kind) in ["application/octet-stream", "text/plain", "application/json", ""].into_iter().enumerate() {
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        let put = broker.client().await.send("POST", &path, &headers, "{not json").await;
        assert_eq!((put.status.as_u16(), put.body.len()), (200, 0), "{kind}");
        assert_eq!(put.headers["confide-version"], (number + 1).to_string().as_str());
    }
    for bad in ["a/b", "a/b/c/d", "a//c", ".a/b/c", "a/b/%2e", "a/b/c%20d", "ä/b/c", "a/b/c/", "a%2Fb/c"] {
        let escaped = bad.replace('ä', "%C3%A4");
        let answer = broker.admin("POST", &format!("/kbs/v0/resource/{escaped}"), "x").await;
        assert_eq!(error(&answer), is(400, "InvalidRequestPath", "E-PATH"), "{bad}");
        let answer = broker.admin("DELETE", &format!("/kbs/v0/resource/{escaped}"), "").await;
        assert_eq!(error(&answer), is(400, "InvalidRequestPath", "E-PATH"), "{bad}");
    }
    let gone = broker.admin("DELETE", &path, "").await;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (200, 0));
    assert_eq!(error(&broker.admin("DELETE", &path, "").await), is(404, "ResourceNotFound", "E-ABSENT"));
    // Upstream's PUT is for plugins, of which there are none here.
    assert_eq!(error(&broker.admin("PUT", &path, "x").await), is(405, "PluginNotFound", "E-ROUTE"));
}

#[tokio::test]
async fn policies_come_in_every_base64_and_their_faults_are_named() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let set = async |body: Value| broker.admin("POST", "/kbs/v0/resource-policy", body.to_string()).await;
    let absent = broker.admin("GET", "/kbs/v0/resource-policy", "").await;
    assert_eq!(error(&absent), is(404, "ResourceNotFound", "E-ABSENT"));
    // A comment whose bytes need the two letters in which the alphabets differ.
    let text = format!("{ALLOW}\n# ~~~???>>>ÿÿÿ");
    let forms =
        [URL_SAFE_NO_PAD.encode(&text), URL_SAFE.encode(&text), STANDARD.encode(&text), STANDARD_NO_PAD.encode(&text)];
    assert_ne!(forms[0], forms[3], "the alphabets differ");
    for form in forms {
        assert_eq!(set(json!({"policy": form})).await.status, 200, "{form}");
        // What servers up to v0.18 answered; later ones answer a list of names by mistake.
        let back = broker.admin("GET", "/kbs/v0/resource-policy", "").await;
        assert_eq!(back.json(), json!(URL_SAFE_NO_PAD.encode(&text)));
    }
    let encoded = |text: &str| json!({"policy": URL_SAFE_NO_PAD.encode(text)});
    assert_eq!(set(encoded("package policy\ndefault allow = false\nallow { true }")).await.status, 200, "Rego v0");
    for (body, kind, code) in [
        (json!({"policy": "not base64!"}), "SerdeError", "E-FORMAT"),
        (json!({"policy": STANDARD.encode([0xff, 0xfe])}), "SerdeError", "E-FORMAT"),
        (json!({}), "SerdeError", "E-FORMAT"),
        (json!({"policy": 1}), "SerdeError", "E-FORMAT"),
        (encoded("allow if"), "ParsePolicyError", "E-POLICY"),
        (encoded("package other"), "ParsePolicyError", "E-POLICY"),
    ] {
        assert_eq!(error(&set(body.clone()).await), is(400, kind, code), "{body}");
    }
    let appraisal = "package policy\nimport rego.v1\ntrust_claims := {\"executables\": 3, \"hardware\": 2}";
    for name in [json!("default_cpu"), json!("default"), json!("default_gpu"), Value::Null] {
        let mut body = json!({"type": "rego", "policy": URL_SAFE_NO_PAD.encode(appraisal)});
        if !name.is_null() {
            body["policy_id"] = name.clone();
        }
        let answer = broker.admin("POST", "/kbs/v0/attestation-policy", body.to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0), "{name}");
    }
    for name in ["../default_cpu", "default_cpu/x", "", ".cpu", "a b_cpu"] {
        let body = json!({"type": "rego", "policy_id": name, "policy": URL_SAFE_NO_PAD.encode(appraisal)}).to_string();
        let answer = broker.admin("POST", "/kbs/v0/attestation-policy", body).await;
        assert_eq!(error(&answer), is(400, "SerdeError", "E-FORMAT"), "{name}");
    }
}

#[tokio::test]
async fn reference_values_are_set_as_upstreams_client_sets_them() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let message = |values: &Value| {
        json!({"version": "0.1.0", "type": "sample", "payload": STANDARD.encode(values.to_string())}).to_string()
    };
    let send = async |body: String| broker.admin("POST", "/kbs/v0/reference-value", body).await;
    let get = async |name: &str| broker.admin("GET", &format!("/kbs/v0/reference-value/{name}"), "").await;
    assert_eq!(error(&get("svn").await), is(404, "ResourceNotFound", "E-ABSENT"));
    // A name as upstream recommends it has slashes and colons; others have blanks.
    let long = "rvps:///github.com/confidential-containers/snp/measurement:v0.18.0";
    let values = json!({"svn": ["1"], "single": true, "number": 7, long: ["aa", "bb"], "a name": ["x"]});
    let sent = send(message(&values)).await;
    assert_eq!((sent.status.as_u16(), sent.body.len()), (200, 0), "{sent:?}");
    assert_eq!(sent.headers["content-type"], "application/json");
    for (name, wanted) in [
        ("svn", json!(["1"])),
        ("single", json!(true)),
        ("number", json!(7)),
        (long, json!(["aa", "bb"])),
        ("rvps%3A%2F%2F%2Fgithub.com/confidential-containers/snp/measurement%3Av0.18.0", json!(["aa", "bb"])),
        ("a%20name", json!(["x"])),
    ] {
        let answer = get(name).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, wanted), "{name}");
    }
    for bad in ["%ff", "%zz", "a%"] {
        assert!(get(bad).await.status.is_client_error(), "{bad}");
    }
    // A name that is set again has the new values only; other names stay.
    send(message(&json!({"svn": ["2", "3"]}))).await;
    assert_eq!(get("svn").await.json(), json!(["2", "3"]));
    let all = broker.admin("GET", "/kbs/v0/reference-value", "").await.json();
    assert_eq!((all.as_object().unwrap().len(), &all["number"]), (5, &json!(7)));
    let wrong = [
        (message(&json!([1])), 400, "SerdeError", "E-FORMAT"),
        (json!({"version": "0.1.0", "type": "sample", "provenance": ""}).to_string(), 400, "SerdeError", "E-FORMAT"),
        (json!({"version": "9", "type": "sample", "payload": ""}).to_string(), 400, "SerdeError", "E-FORMAT"),
        (json!({"version": "0.1.0", "type": "sample", "payload": "?"}).to_string(), 400, "SerdeError", "E-FORMAT"),
        ("[]".to_owned(), 400, "SerdeError", "E-FORMAT"),
    ];
    for (body, status, kind, code) in wrong {
        assert_eq!(error(&send(body.clone()).await), is(status, kind, code), "{body}");
    }
}
