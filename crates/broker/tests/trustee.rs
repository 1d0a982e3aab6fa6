//! Taking over a Trustee's local storage: both layouts, once, whole, and said of every file.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use broker::{Imported, import_trustee};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::path::Path;
use support::guest::{Guest, payload};
use support::processor::Launch;
use support::{Folder, now, refused};

/// What NVFlare's guide to a Trustee with Vault sets, with the measurement of these tests: Rego of version 0, base64.
fn seed_policy(measurement: &[u8]) -> String {
    format!(
        "package policy\ndefault allow = false\n\nallow {{\n    \
         input[\"submods\"][\"cpu0\"][\"ear.veraison.annotated-evidence\"][\"snp\"][\"measurement\"] == \"{}\"\n}}\n",
        STANDARD.encode(measurement)
    )
}

/// An appraisal policy as older servers have it: one rule for each claim, `data.reference`.
const OLD_APPRAISAL: &str = "package policy\nimport rego.v1\ndefault executables := 33\ndefault hardware := 97\n\
    executables := 3 if input.snp.measurement in data.reference.measurement\nhardware := 2 if input.snp.vmpl == 0\n";

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn outcomes(items: &[Imported]) -> Vec<(&str, &str, &str)> {
    items.iter().map(|item| (item.kind, item.name.as_str(), item.outcome)).collect()
}

#[tokio::test]
async fn a_trustees_storage_is_taken_over_whole_and_once() {
    let (folder, source) = (Folder::new(), tempfile::tempdir().unwrap());
    let guest = Guest::new(Launch::default());
    let measurement = guest.launch.guest.measurement;
    let place = source.path();
    write(place, r"local_fs/repository/keys\x2Froot\x2Fcvm1", "first");
    write(place, "local_fs/repository/default/key/2", "second");
    write(place, r"local_fs/repository/two\x2Fparts", "third");
    write(place, r"local_fs/repository/no\x2Fvalue\x2Fhere", "");
    write(place, "local_fs/kbs/resource-policy.rego", seed_policy(&measurement.0));
    write(place, "local_fs/attestation_service_policy/default_cpu.rego", OLD_APPRAISAL);
    write(place, "local_fs/attestation_service_policy/default_dcu.rego", OLD_APPRAISAL);
    write(place, "local_fs/attestation_service_policy/broken_gpu.rego", "package policy\nallow {");
    let record = |value: Value, end: &str| json!({"version": "0.1.0", "expiration": end, "value": value}).to_string();
    write(place, "local_fs/reference_value/measurement", record(json!([measurement, "bb"]), "2099-01-01T00:00:00Z"));
    write(place, r"local_fs/reference_value/a\x2Fb", record(json!(4), "2020-01-01T00:00:00Z"));
    write(place, "local_fs/reference_value/bad", record(json!(4), "tomorrow"));
    write(place, "local_fs/kbs_protocol_session/0123", "{}");
    write(place, "kds-store/vcek.der", "x");
    std::os::unix::fs::symlink("/etc/hostname", place.join("local_fs/repository/link")).unwrap();

    let run = async |dry_run| import_trustee(folder.path(), place, now(), dry_run).await.unwrap();
    let wanted = [
        ("secret", "two/parts", "skipped"),
        ("secret", "default/key/2", "imported"),
        ("secret", "keys/root/cvm1", "imported"),
        ("secret", "no/value/here", "skipped"),
        ("policy", "broken_gpu", "skipped"),
        ("policy", "default_cpu", "imported"),
        ("policy", "default_dcu", "skipped"),
        ("policy", "resource-policy", "imported"),
        ("value", "a/b", "imported"),
        ("value", "bad", "skipped"),
        ("value", "measurement", "imported"),
        ("file", "", "skipped"),
        ("file", "", "skipped"),
        ("file", "", "skipped"),
    ];
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    let sorted = |items: &[Imported]| -> Vec<(String, String, String)> {
        let mut rows = outcomes(items);
        rows.sort_unstable();
        rows.into_iter().map(|(kind, name, outcome)| (kind.into(), name.into(), outcome.into())).collect()
    };
    let owned = |rows: &[(&str, &str, &str)]| -> Vec<(String, String, String)> {
        rows.iter().map(|(kind, name, outcome)| ((*kind).into(), (*name).into(), (*outcome).into())).collect()
    };
    assert_eq!(sorted(&run(true).await), owned(&wanted), "what it would do");
    let first = run(false).await;
    assert_eq!(sorted(&first), owned(&wanted));
    let note = |name: &str| first.iter().find(|item| item.name == name).and_then(|item| item.note.clone()).unwrap();
    assert_eq!(note("two/parts"), "its path is not REPOSITORY/TYPE/TAG");
    assert_eq!(note("bad"), "its expiration `tomorrow` is no time");
    assert_eq!(note("a/b"), "its time is over, so nothing matches it; Trustee did not look");
    assert!(note("resource-policy").starts_with("Rego version 0; "), "{}", note("resource-policy"));
    assert!(note("broken_gpu").starts_with("the policy is neither Rego of version 1"), "{}", note("broken_gpu"));
    let again = run(false).await;
    assert!(again.iter().all(|item| item.outcome != "imported"), "{again:?}");

    // It decides as it did: the old dialect appraises, the version 0 policy releases.
    let broker = folder.start().await;
    let (session, token) = guest.attested(&mut broker.client().await).await;
    let cpu = payload(&token)["submods"]["cpu0"].clone();
    assert_eq!((&cpu["ear.appraisal-policy-id"], &cpu["ear.status"]), (&json!("default_cpu"), &json!("affirming")));
    let answer = session.get(&mut broker.client().await, "keys/root/cvm1").await;
    assert_eq!(guest.secret(&answer), b"first");
    let versions = broker.admin("GET", "/confide/v0/resources/keys/root/cvm1", "").await.json();
    assert_eq!(versions["versions"].as_array().unwrap().len(), 1, "two runs made one version");
    let mut stranger = Launch::default();
    stranger.guest.measurement = claims::LaunchDigest([0x33; 48]);
    let stranger = Guest::new(stranger);
    let answer = stranger.get(&mut broker.client().await, "keys/root/cvm1").await;
    assert_eq!(answer.refusal(), refused(403, "E-DENIED"));
    let listed = broker.admin("GET", "/kbs/v0/reference-value", "").await.json();
    assert_eq!(listed, json!({"a/b": [], "measurement": [measurement, "bb"]}));
    let busy = import_trustee(folder.path(), place, now(), true).await.unwrap_err();
    assert!(matches!(busy, broker::UpkeepError::InUse { .. }), "{busy:?}");
    broker.stop().await;
}

#[tokio::test]
async fn json_files_and_the_records_of_before_are_read_too() {
    let (folder, source) = (Folder::new(), tempfile::tempdir().unwrap());
    let place = source.path();
    let encoded = |text: &str| URL_SAFE.encode(text);
    write(place, "json/repository", json!({"a/b/c": encoded("value"), "d/e/f": "*"}).to_string());
    write(place, "json/kbs", json!({"resource-policy.rego": encoded("package policy\nallow = true")}).to_string());
    let old =
        json!([{"name": "x", "expired": "2099-01-01T00:00:00Z", "hash-value": [{"alg": "sha384", "value": "aa"}]}]);
    write(place, "attestation-service/reference_values.json", old.to_string());
    write(place, "attestation-service/opa/default.rego", OLD_APPRAISAL);
    let items = import_trustee(folder.path(), place, now(), false).await.unwrap();
    assert_eq!(
        outcomes(&items),
        [
            ("secret", "a/b/c", "imported"),
            ("policy", "default_cpu", "imported"),
            ("policy", "resource-policy", "imported"),
            ("value", "x", "imported"),
            ("file", "", "skipped"),
        ]
    );
    let nowhere = import_trustee(folder.path(), &place.join("nowhere"), now(), true).await.unwrap_err();
    assert!(matches!(nowhere, broker::UpkeepError::File { .. }), "{nowhere:?}");
}

#[tokio::test]
async fn the_policy_of_the_guide_is_accepted_as_it_stands_and_decides_as_it_says() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    let put = broker.admin("POST", "/kbs/v0/resource/keys/root/cvm1", "passphrase").await;
    assert_eq!(put.status, StatusCode::OK);
    // As the guide's kbs-client sends it, with the broker's admin key as its private.key.
    let text = seed_policy(&guest.launch.guest.measurement.0);
    let body = json!({"policy": base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&text)});
    let sent = broker.admin("POST", "/kbs/v0/resource-policy", body.to_string()).await;
    assert_eq!(sent.status, StatusCode::OK, "{sent:?}");
    let trusting = "package policy\nimport rego.v1\n\
                    trust_claims := {\"executables\": 3, \"hardware\": 2, \"configuration\": 2}";
    let appraisal = json!({"use": "appraisal", "policy": trusting});
    let set = broker.admin("POST", "/confide/v0/policies/default_cpu", appraisal.to_string()).await;
    assert_eq!(set.status, StatusCode::OK, "{set:?}");
    let answer = guest.get(&mut broker.client().await, "keys/root/cvm1").await;
    assert_eq!(guest.secret(&answer), b"passphrase");
    let mut other = Launch::default();
    other.guest.measurement = claims::LaunchDigest([0x33; 48]);
    let answer = Guest::new(other).get(&mut broker.client().await, "keys/root/cvm1").await;
    assert_eq!(answer.refusal(), refused(403, "E-DENIED"), "one more measurement is one more block");

    // The block that the guide's script appends for a further machine; `cpu` is what older servers call the submodule.
    let more = format!(
        "{text}\nallow {{\n    input[\"submods\"][\"cpu\"][\"ear.veraison.annotated-evidence\"][\"snp\"][\"measurement\"] == \"{}\"\n}}\n",
        STANDARD.encode([0x33; 48])
    );
    let body = json!({"policy": base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&more)});
    assert_eq!(broker.admin("POST", "/kbs/v0/resource-policy", body.to_string()).await.status, StatusCode::OK);
    for measurement in [[0x11; 48], [0x33; 48]] {
        let mut launch = Launch::default();
        launch.guest.measurement = claims::LaunchDigest(measurement);
        let guest = Guest::new(launch);
        let answer = guest.get(&mut broker.client().await, "keys/root/cvm1").await;
        assert_eq!(guest.secret(&answer), b"passphrase");
    }
}

#[tokio::test]
async fn a_new_token_key_leaves_tokens_of_the_old_one_good() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    broker.serve_secret("a/b/c", b"value", &guest.launch.reference(&["a/b/c"])).await;
    let (_, token) = guest.attested(&mut broker.client().await).await;
    broker::rotate_token_key(folder.path(), None).unwrap();
    let keys = async |broker: &support::Broker| -> Vec<Value> {
        let set = broker.client().await.send("GET", "/.well-known/jwks.json", &[], "").await.json();
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect()
    };
    let before = keys(&broker).await;
    assert_eq!(before.len(), 1, "not before the next start");
    broker.stop().await;
    let broker = folder.start().await;
    let after = keys(&broker).await;
    assert!(after.len() == 2 && after[1] == before[0] && after[0] != before[0], "{before:?} {after:?}");
    let headers = [("authorization", format!("Bearer {token}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = broker.client().await.send("GET", "/kbs/v0/resource/a/b/c", &headers, "").await;
    assert_eq!(guest.secret(&answer), b"value");

    // A crash between the two steps leaves the new key with the old certificate; the next start ends it. A certificate
    // that waits with its key, as after a full disk, was never in use.
    broker.stop().await;
    let place = |name: &str| folder.path().join(name);
    let old = std::fs::read(place("token.pem")).unwrap();
    broker::rotate_token_key(folder.path(), None).unwrap();
    let new = std::fs::read(place("token.pem")).unwrap();
    std::fs::rename(place("token.pem"), place("token.pem.new")).unwrap();
    std::fs::write(place("token.pem"), &old).unwrap();
    for name in ["tls-key.pem.new", "tls.pem.new"] {
        std::fs::write(place(name), "half of").unwrap();
    }
    let broker = folder.start().await;
    assert_eq!(std::fs::read(place("token.pem")).unwrap(), new);
    assert!(!place("token.pem.new").exists() && place("tls.pem.new").exists());
    let (_, token) = guest.attested(&mut broker.client().await).await;
    let bearer = format!("Bearer {token}");
    let answer = broker.client().await.send("GET", "/kbs/v0/resource/a/b/c", &[("authorization", &bearer)], "").await;
    assert_eq!(guest.secret(&answer), b"value");

    // Another broker's identity issues nothing here, and the names of the TLS certificate stay.
    let other = Folder::new();
    let foreign = other.facts.identity_key.as_path();
    let refused = broker::rotate_token_key(folder.path(), Some(foreign)).unwrap_err();
    assert!(matches!(refused, broker::RenewalError::Identity { .. }), "{refused:?}");
    broker::renew_leaf(folder.path(), &["broker.example".into()], None).unwrap();
    let moved = other.place.path().join("offline.pem");
    std::fs::rename(&folder.facts.identity_key, &moved).unwrap();
    let names = broker::renew_leaf(folder.path(), &[], Some(&moved)).unwrap();
    assert!(names.contains(&"broker.example".to_owned()), "{names:?}");
    assert!(broker::renew_leaf(folder.path(), &[], None).is_err(), "the key is elsewhere");
    broker.stop().await;
}
