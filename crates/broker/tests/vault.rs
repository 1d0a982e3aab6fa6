//! Secrets in Vault's key-value store and the master key under its transit engine, against a server that follows the
//! published HTTP API (`support/vault.rs`): no Vault and no OpenBao run here.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use broker::{
    InitOptions, KeptInVault, KeysError, KvEncoding, KvVersion, MasterSource, Rotated, ServeError, Settings,
    UpkeepError, VaultAuth, VaultError, VaultSettings, Verifiers, init, rewrap_master, rotate_master, serve,
};
use claims::LaunchDigest;
use serde_json::{Value, json};
use std::future::Future;
use std::io::Write;
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};
use support::guest::Guest;
use support::processor::Launch;
use support::vault::{Entry, FakeVault, Mood, ROLE, SECRET_ID};
use support::{Broker, Folder, now, refused};

const ONE: &str = "one/key/site-1";
const TWO: &str = "two/key/site-1";
const SECRET: &[u8] = b"a volume key nobody may see 0123";

fn approle(vault: &FakeVault) -> VaultSettings {
    VaultSettings {
        address: vault.url(),
        ca_file: Some(vault.file("ca.pem")),
        namespace: None,
        seconds: 60,
        auth: VaultAuth::Approle {
            role_id: ROLE.into(),
            secret_id_file: vault.file("secret-id"),
            mount: "approle".into(),
        },
    }
}

fn kept(prefix: &str, mount: &str, version: KvVersion) -> KeptInVault {
    KeptInVault {
        prefix: prefix.into(),
        mount: mount.into(),
        version,
        folder: String::new(),
        field: "data".into(),
        encoding: KvEncoding::Text,
    }
}

fn settings(folder: &Folder, vault: VaultSettings) -> Settings {
    Settings {
        vault: Some(vault),
        secrets: vec![kept("one", "kv", KvVersion::One), kept("two", "secret", KvVersion::Two)],
        ..folder.settings()
    }
}

async fn start(folder: &Folder, vault: VaultSettings) -> Broker {
    folder.start_with(settings(folder, vault), support::processor::verifier()).await
}

async fn put(broker: &Broker, path: &str, value: &[u8]) -> Option<String> {
    let answer = broker.admin("POST", &format!("/kbs/v0/resource/{path}"), value.to_vec()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.headers.get("confide-version").map(|version| version.to_str().unwrap().to_owned())
}

async fn get(broker: &Broker, guest: &Guest, path: &str) -> support::Answer {
    // The processors make their keys when they are first used: longer than a connection may be idle, on a busy machine.
    guest.launch.chip_id();
    guest.get(&mut broker.client().await, path).await
}

async fn ready(broker: &Broker) -> (u16, String) {
    let answer = broker.client().await.send("GET", "/readyz", &[], "").await;
    match answer.status.as_u16() {
        200 => (200, String::new()),
        status => (status, answer.json()["detail"].as_str().unwrap().to_owned()),
    }
}

/// Waits for something that happens by itself.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn holds(place: &[u8], needle: &[u8]) -> bool {
    place.windows(needle.len()).any(|window| window == needle)
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The log of every test in this program.
fn log() -> Captured {
    static ONCE: Once = Once::new();
    static LOG: Mutex<Option<Captured>> = Mutex::new(None);
    ONCE.call_once(|| {
        let captured = Captured::default();
        let writer = captured.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .init();
        *LOG.lock().unwrap() = Some(captured);
    });
    LOG.lock().unwrap().clone().unwrap()
}

#[tokio::test]
async fn secrets_are_kept_in_vault_and_released_from_there() {
    let (vault, folder) = (FakeVault::start(), Folder::new());
    let log = log();
    let broker = start(&folder, approle(&vault)).await;
    let guest = Guest::new(Launch::default());
    let (array, odd) = ("one/key/array", "one/key/odd");
    broker.add(&guest.launch.reference(&[ONE, TWO, array, odd])).await;
    assert_eq!(put(&broker, ONE, SECRET).await, None, "KV version 1 has no versions");
    assert_eq!(vault.state().v1[ONE], json!({"data": String::from_utf8_lossy(SECRET)}));
    assert_eq!(put(&broker, TWO, b"first").await.as_deref(), Some("1"));
    assert_eq!(put(&broker, TWO, SECRET).await.as_deref(), Some("2"));
    // Not a text: an array of bytes, as upstream's Vault backend writes each value.
    put(&broker, odd, b"\xff\x00\x01").await;
    assert_eq!(vault.state().v1[odd], json!({"data": [255, 0, 1]}));
    vault.state().v1.insert(array.into(), json!({"data": [1, 2, 3], "note": "by hand"}));

    let one = get(&broker, &guest, ONE).await;
    assert_eq!(guest.secret(&one), SECRET);
    let two = get(&broker, &guest, TWO).await;
    assert_eq!(guest.secret(&two), SECRET);
    assert_eq!(guest.secret(&get(&broker, &guest, &format!("{TWO}?version=1")).await), b"first");
    assert_eq!(get(&broker, &guest, &format!("{TWO}?version=3")).await.refusal(), refused(404, "E-ABSENT"));
    assert_eq!(get(&broker, &guest, &format!("{ONE}?version=1")).await.refusal(), refused(404, "E-ABSENT"));
    assert_eq!(guest.secret(&get(&broker, &guest, array).await), [1, 2, 3]);
    assert_eq!(guest.secret(&get(&broker, &guest, odd).await), [255, 0, 1]);
    let decision = |answer: &support::Answer| answer.headers["confide-decision"].to_str().unwrap().to_owned();
    let entry = broker.decision(&decision(&two)).await;
    assert_eq!((&entry["version"], &entry["kept_in"], &entry["code"]), (&json!(2), &json!("vault"), &Value::Null));
    let entry = broker.decision(&decision(&one)).await;
    assert_eq!((&entry["version"], &entry["kept_in"]), (&Value::Null, &json!("vault")));

    let list = broker.admin("GET", "/confide/v0/resources", "").await.json();
    assert_eq!(list["resources"], json!([]), "nothing is copied into the broker's own store");
    assert_eq!(list["elsewhere"][1], json!({"prefix": "two", "kept_in": "vault", "mount": "secret", "version": 2}));
    let listed = broker.admin("GET", &format!("/confide/v0/resources/{TWO}"), "").await.json();
    let added = 1_795_341_600; // 2026-11-22T10:00:00Z
    assert_eq!(listed["versions"][1], json!({"version": 2, "added": added, "deleted": null}));
    let absent = broker.admin("GET", "/confide/v0/resources/two/key/none", "").await;
    assert_eq!(absent.refusal(), refused(404, "E-ABSENT"));

    // Members that the broker knows nothing of are not lost.
    let other = broker.admin("POST", &format!("/kbs/v0/resource/{array}"), "x").await;
    assert_eq!((other.status.as_u16(), vault.state().v1[array]["note"].clone()), (409, json!("by hand")));
    let delete = async |path: &str| broker.admin("DELETE", &format!("/kbs/v0/resource/{path}"), "").await;
    assert_eq!(delete(&format!("{ONE}?version=1")).await.refusal(), refused(400, "E-FORMAT"));
    assert_eq!(delete(&format!("{TWO}?version=2")).await.status, 200);
    assert!(vault.state().v2[TWO][1].data.is_none(), "destroyed, not hidden");
    assert_eq!(get(&broker, &guest, TWO).await.refusal(), refused(404, "E-ABSENT"));
    vault.state().v2.get_mut(TWO).unwrap()[0].deleted = true;
    assert_eq!(get(&broker, &guest, &format!("{TWO}?version=1")).await.refusal(), refused(404, "E-ABSENT"));
    assert_eq!(delete(TWO).await.status, 200);
    assert_eq!(delete(TWO).await.refusal(), refused(404, "E-ABSENT"));
    assert_eq!(delete(ONE).await.status, 200);
    assert_eq!(delete(ONE).await.refusal(), refused(404, "E-ABSENT"));
    assert_eq!(vault.state().v1.get(ONE), None);
    assert_eq!(put(&broker, TWO, SECRET).await.as_deref(), Some("3"));
    let audit = broker.admin("GET", "/confide/v0/audit?limit=500", "").await.body;
    assert!(holds(&audit, b"put secret in Vault") && holds(&audit, b"delete secret in Vault"));
    broker.stop().await;

    let mut places = vec![audit.to_vec(), log.0.lock().unwrap().clone()];
    assert!(holds(&places[1], b"logged in to Vault"), "the log is captured");
    // The database's side files go when its last connection is closed.
    let files = std::fs::read_dir(folder.path()).unwrap();
    places.extend(files.filter_map(|entry| std::fs::read(entry.unwrap().path()).ok()));
    for secret in [SECRET, SECRET_ID.as_bytes(), b"hvs.token", hex::encode(SECRET).as_bytes()] {
        assert!(!places.iter().any(|place| holds(place, secret)), "{} leaked", String::from_utf8_lossy(secret));
    }
}

#[tokio::test]
async fn a_field_and_an_encoding_of_ones_own() {
    let (vault, folder) = (FakeVault::start(), Folder::new());
    let mut own = settings(&folder, approle(&vault));
    own.secrets.push(KeptInVault {
        folder: "confide/keys".into(),
        field: "value".into(),
        encoding: KvEncoding::Base64,
        ..kept("two/key", "secret", KvVersion::Two)
    });
    let broker = folder.start_with(own, support::processor::verifier()).await;
    let guest = Guest::new(Launch::default());
    broker.add(&guest.launch.reference(&[TWO])).await;
    put(&broker, TWO, b"\xff\x00\x01").await;
    let path = format!("confide/keys/{TWO}");
    assert_eq!(vault.state().v2[&path][0].data, Some(json!({"value": "/wAB"})), "the longest prefix counts");
    assert_eq!(guest.secret(&get(&broker, &guest, TWO).await), [255, 0, 1]);
    vault.state().v2.insert(path, vec![Entry { data: Some(json!({"value": "not base64!"})), deleted: false }]);
    let spoilt = get(&broker, &guest, TWO).await;
    assert_eq!(spoilt.refusal(), refused(503, "E-STORE"));
    broker.stop().await;
}

#[tokio::test]
async fn vault_hears_nothing_of_what_is_refused() {
    let (vault, folder) = (FakeVault::start(), Folder::new());
    let broker = start(&folder, approle(&vault)).await;
    let guest = Guest::new(Launch::default());
    vault.state().v1.insert(ONE.into(), json!({"data": "x"}));
    until("the login", async || ready(&broker).await.0 == 200).await;
    vault.requests();
    for path in [ONE, "one/key/none"] {
        assert_eq!(get(&broker, &guest, path).await.refusal(), refused(403, "E-DENIED"), "no rule");
    }
    broker.add(&guest.launch.reference(&[ONE, "one/key/none"])).await;
    let mut other = Launch::default();
    other.guest.measurement = LaunchDigest([9; 48]);
    for path in [ONE, "one/key/none"] {
        let answer = get(&broker, &Guest::new(other.clone()), path).await;
        assert_eq!(answer.refusal(), refused(403, "E-DENIED"), "another guest");
    }
    assert_eq!(vault.requests(), Vec::<String>::new());
    assert_eq!(get(&broker, &guest, "one/key/none").await.refusal(), refused(404, "E-ABSENT"));
    assert_eq!(get(&broker, &guest, ONE).await.status, 200);
    assert_eq!(vault.requests(), ["GET kv/one/key/none", "GET kv/one/key/site-1"]);
    broker.stop().await;
}

#[tokio::test]
async fn logins_are_renewed_and_replaced() {
    let (vault, folder) = (FakeVault::start(), Folder::new());
    vault.state().lease = 2;
    let broker = start(&folder, approle(&vault)).await;
    let guest = Guest::new(Launch::default());
    broker.add(&guest.launch.reference(&[ONE])).await;
    put(&broker, ONE, SECRET).await;
    until("a renewal", async || vault.state().renewals >= 3).await;
    assert_eq!(guest.secret(&get(&broker, &guest, ONE).await), SECRET);
    vault.state().lease = 3600;
    let asked = || {
        let state = vault.state();
        state.renewals + state.logins
    };
    until("a long lease", async || {
        let before = asked();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        asked() == before
    })
    .await;
    let logins = vault.state().logins;
    vault.revoke();
    assert_eq!(guest.secret(&get(&broker, &guest, ONE).await), SECRET, "a dead token is replaced in the same request");
    assert_eq!(vault.state().logins, logins + 1);
    broker.stop().await;

    // A token from a file: refused, put right, replaced.
    let file = vault.file("token");
    std::fs::write(&file, "hvs.unknown\n").unwrap();
    let auth = VaultAuth::Token { token_file: file.clone() };
    let broker = start(&folder, VaultSettings { auth, ..approle(&vault) }).await;
    let refusal = (503, "E-STORE: Vault refuses the broker's login".to_owned());
    until("the refusal", async || ready(&broker).await == refusal).await;
    assert_eq!(get(&broker, &guest, ONE).await.refusal(), refused(503, "E-STORE"));
    std::fs::write(&file, vault.token()).unwrap();
    until("the new token", async || ready(&broker).await.0 == 200).await;
    assert_eq!(guest.secret(&get(&broker, &guest, ONE).await), SECRET);
    broker.stop().await;
}

#[tokio::test]
async fn vault_goes_and_comes_back() {
    let (mut vault, folder) = (FakeVault::start(), Folder::new());
    let broker = start(&folder, approle(&vault)).await;
    let guest = Guest::new(Launch::default());
    broker.add(&guest.launch.reference(&[ONE])).await;
    put(&broker, ONE, SECRET).await;
    let told = async |words: &str| {
        let answer = get(&broker, &guest, ONE).await;
        assert_eq!(answer.refusal(), refused(503, "E-STORE"));
        let entry = broker.decision(&answer.decision()).await;
        assert_eq!((&entry["code"], &entry["problem"]), (&json!("E-STORE"), &json!(words)));
        assert_eq!(ready(&broker).await, (503, format!("E-STORE: {words}")));
        assert_eq!(broker.admin("GET", "/confide/v0/status", "").await.json()["vault"], json!(words));
    };
    vault.die();
    told("Vault does not answer").await;
    let write = broker.admin("POST", &format!("/kbs/v0/resource/{ONE}"), "x").await;
    assert_eq!(write.refusal(), refused(503, "E-STORE"));
    // What the broker keeps itself is not touched by it.
    broker.serve_secret("own/key/1", b"own", &guest.launch.reference(&[ONE, "own/key/1"])).await;
    assert_eq!(guest.secret(&get(&broker, &guest, "own/key/1").await), b"own");
    vault.go_on();
    assert_eq!(guest.secret(&get(&broker, &guest, ONE).await), SECRET);
    assert_eq!(ready(&broker).await.0, 200);
    vault.state().mood = Mood::Sealed;
    told("Vault is sealed, or not ready").await;
    vault.state().mood = Mood::Well;
    until("readiness", async || ready(&broker).await.0 == 200).await;
    assert_eq!(guest.secret(&get(&broker, &guest, ONE).await), SECRET);
    broker.stop().await;
}

#[tokio::test]
async fn hostile_answers_release_nothing() {
    let (vault, folder, elsewhere) = (FakeVault::start(), Folder::new(), FakeVault::start());
    let log = log();
    vault.state().elsewhere = elsewhere.url();
    let broker = start(&folder, approle(&vault)).await;
    let guest = Guest::new(Launch::default());
    broker.add(&guest.launch.reference(&[ONE, TWO])).await;
    put(&broker, TWO, SECRET).await;
    let unusable = "Vault gives an answer that cannot be used";
    for (mood, path) in [
        (Mood::Redirects, ONE),
        (Mood::Huge, ONE),
        (Mood::Deep, ONE),
        (Mood::WrongTypes, TWO),
        (Mood::NotJson, ONE),
        (Mood::OtherVersion, "two/key/site-1?version=1"),
        (Mood::EchoesToken, ONE),
    ] {
        vault.state().mood = mood;
        let answer = get(&broker, &guest, path).await;
        assert_eq!(answer.refusal(), refused(503, "E-STORE"), "{mood:?}");
        assert_eq!(broker.decision(&answer.decision()).await["problem"], json!(unusable), "{mood:?}");
    }
    assert_eq!(elsewhere.requests(), Vec::<String>::new(), "a redirect takes the token nowhere");
    vault.state().mood = Mood::Well;
    // A mount that is not there is no absent secret.
    let mut wrong = settings(&folder, approle(&vault));
    broker.stop().await;
    wrong.secrets = vec![kept("two", "nowhere", KvVersion::Two)];
    wrong.vault = Some(VaultSettings { seconds: 1, ..approle(&vault) });
    let broker = folder.start_with(wrong, support::processor::verifier()).await;
    assert_eq!(get(&broker, &guest, TWO).await.refusal(), refused(503, "E-STORE"));
    vault.state().mood = Mood::Slow;
    let slow = get(&broker, &guest, TWO).await;
    assert_eq!(broker.decision(&slow.decision()).await["problem"], json!("Vault does not answer"));
    broker.stop().await;
    let logged = log.0.lock().unwrap().clone();
    assert!(!holds(&logged, b"hvs.token") && !holds(&logged, b"a value nobody may see"), "nothing of it is in the log");
}

#[tokio::test]
async fn only_the_named_authority_is_believed() {
    let (vault, folder, other) = (FakeVault::start(), Folder::new(), FakeVault::start());
    let mut wrong = approle(&vault);
    wrong.ca_file = Some(other.file("ca.pem"));
    let broker = start(&folder, wrong).await;
    let guest = Guest::new(Launch::default());
    broker.add(&guest.launch.reference(&[ONE])).await;
    assert_eq!(get(&broker, &guest, ONE).await.refusal(), refused(503, "E-STORE"));
    assert_eq!(vault.requests(), Vec::<String>::new(), "neither role nor secret id were sent");
    broker.stop().await;

    let none = Verifiers { extra: None };
    let run = async |vault: VaultSettings, dev: bool| {
        let settings = Settings { dev, ..settings(&folder, vault) };
        let none = Verifiers { extra: none.extra.clone() };
        serve(settings, none, |_| {}, std::future::ready(())).await.map_err(|error| match error {
            ServeError::Settings(error) => error.to_string(),
            ServeError::Vault(error) => error.to_string(),
            other => other.to_string(),
        })
    };
    let plain = VaultSettings { address: "http://127.0.0.1:1".into(), ca_file: None, ..approle(&vault) };
    assert_eq!(run(plain.clone(), true).await, Ok(()), "a development broker, on this machine");
    let wanted = "`vault.address` is http://127.0.0.1:1, wanted https (plain HTTP is for development brokers)";
    assert_eq!(run(plain, false).await, Err(wanted.into()));
    let without = VaultSettings { ca_file: None, ..approle(&vault) };
    let wanted = "`vault.ca_file` is absent, wanted a PEM file with the authorities to trust, for an https address";
    assert_eq!(run(without, true).await, Err(wanted.into()));
    for address in ["http://vault.example.com", "https://user@vault", "https://vault/v1", "vault:8200", "https://"] {
        let refused = run(VaultSettings { address: address.into(), ..approle(&vault) }, true).await;
        assert!(refused.is_err_and(|text| text.starts_with("`vault.address` is ")), "{address}");
    }
    let empty = vault.file("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let refused = run(VaultSettings { ca_file: Some(empty.clone()), ..approle(&vault) }, true).await;
    assert_eq!(refused, Err(format!("{} does not hold certificates in PEM", empty.display())));
}

#[test]
fn settings_with_a_vault_are_read_strictly() {
    let folder = Folder::new();
    let base = std::fs::read_to_string(&folder.facts.settings).unwrap();
    let load = |more: &str| {
        std::fs::write(&folder.facts.settings, format!("{base}\n{more}")).unwrap();
        Settings::load(&folder.facts.settings).map_err(|error| match error {
            broker::SettingsError::Toml { source, .. } => source.message().to_owned(),
            other => other.to_string(),
        })
    };
    let vault = "[vault]\naddress = \"https://vault:8200\"\nca_file = \"ca.pem\"\n\
                 auth = { method = \"approle\", role_id = \"r\", secret_id_file = \"secret-id\" }\n";
    let secrets = "[[secrets]]\nprefix = \"example/key\"\nmount = \"kv\"\nversion = 1\n";
    let read = load(&format!("{vault}{secrets}")).unwrap();
    assert_eq!(read.secrets, [kept("example/key", "kv", KvVersion::One)]);
    assert_eq!(read.vault.as_ref().unwrap().ca_file, Some(folder.path().join("ca.pem")), "beside broker.toml");
    let again = read.to_toml().unwrap();
    assert!(again.contains("secret_id_file") && !again.contains(SECRET_ID), "{again}");
    for (more, wanted) in [
        (secrets.to_owned(), "`secrets` is without a `[vault]`, wanted a `[vault]` beside it"),
        (format!("{vault}{secrets}{secrets}"), "`secrets.prefix` is example/key, wanted a prefix that stands once"),
        (format!("{vault}{secrets}password = \"x\"\n"), "unknown field `password`"),
        (format!("{vault}{}", secrets.replace("= 1", "= 3")), "the version of a KV engine is 1 or 2"),
        (format!("{vault}{}", secrets.replace("\"kv\"", "\"../sys\"")), "`secrets.mount` is ../sys"),
        (vault.replace("secret_id_file", "secret_id"), "unknown field `secret_id`"),
        ("[master]\nsource = \"vault-transit\"\nkey = \"k\"\n".into(), "`master.source` is vault-transit"),
    ] {
        let error = load(&more).unwrap_err();
        assert!(error.starts_with(wanted), "{error}\nwanted {wanted}");
    }
}

fn transit_options(vault: &FakeVault) -> InitOptions {
    InitOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        crl_absent_reason: Some("a test".into()),
        master: MasterSource::VaultTransit { mount: "transit".into(), key: "confide".into() },
        vault: Some(approle(vault)),
        ..InitOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_key_is_under_transit() {
    let mut vault = FakeVault::start();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("broker");
    let facts = init(&path, &transit_options(&vault)).unwrap();
    let folder = Folder { facts, place };
    let wrapped = || std::fs::read_to_string(path.join("master.wrapped")).unwrap();
    assert!(wrapped().starts_with("vault:v1:") && !path.join("master.key").exists());
    assert_eq!(
        vault.requests(),
        ["POST auth/approle/login", "POST transit/encrypt/confide", "POST auth/token/revoke-self"]
    );
    let guest = Guest::new(Launch::default());
    let broker = folder.start().await;
    broker.serve_secret("own/key/1", SECRET, &guest.launch.reference(&["own/key/1"])).await;
    broker.stop().await;
    assert_eq!(
        vault.requests(),
        ["POST auth/approle/login", "POST transit/decrypt/confide", "POST auth/token/revoke-self"]
    );

    assert_eq!(rotate_master(&path, now(), None).unwrap(), Rotated { epoch: Some(2), data_keys: 1 });
    vault.state().transit = 2;
    let before = wrapped();
    rewrap_master(&path).unwrap();
    assert!(before.starts_with("vault:v1:") && wrapped().starts_with("vault:v2:"));
    let broker = folder.start().await;
    assert_eq!(guest.secret(&get(&broker, &guest, "own/key/1").await), SECRET);
    broker.stop().await;

    // A backup holds the wrapped key; a restore opens it with the same Vault.
    let copy = folder.place.path().join("copy");
    broker::backup(&path, &copy, broker::Backup::WithKeys).unwrap();
    let restored = broker::restore(&copy, &folder.place.path().join("restored"), now()).unwrap();
    assert_eq!(restored.identity, folder.facts.identity);

    std::fs::write(path.join("master.wrapped"), "x").unwrap();
    let keys = |outcome: Result<Rotated, UpkeepError>| match outcome {
        Err(UpkeepError::Keys(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(keys(rotate_master(&path, now(), None)), KeysError::Content { .. }));
    std::fs::write(path.join("master.wrapped"), before).unwrap();
    vault.state().mood = Mood::Sealed;
    assert!(matches!(keys(rotate_master(&path, now(), None)), KeysError::Vault(VaultError::Sealed { .. })));
    vault.die();
    let refused = serve(folder.settings(), Verifiers { extra: None }, |_| {}, std::future::ready(())).await;
    assert!(matches!(refused, Err(ServeError::Keys(KeysError::Vault(VaultError::Unreachable { .. })))), "{refused:?}");
    let other = folder.place.path().join("other");
    assert!(init(&other, &transit_options(&vault)).is_err());
    assert!(!other.join("identity-key.pem").exists(), "nothing is made where Vault does not answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_key_moves_from_a_file_to_vault() {
    let (vault, folder) = (FakeVault::start(), Folder::new());
    let guest = Guest::new(Launch::default());
    let broker = folder.start().await;
    broker.serve_secret("own/key/1", SECRET, &guest.launch.reference(&["own/key/1"])).await;
    broker.stop().await;
    let text = std::fs::read_to_string(&folder.facts.settings).unwrap();
    let more = format!(
        "[master]\nsource = \"vault-transit\"\nkey = \"confide\"\n[vault]\naddress = \"{}\"\nca_file = {:?}\nseconds = 60\n\
         auth = {{ method = \"token\", token_file = \"vault-token\" }}\n",
        vault.url(),
        vault.file("ca.pem")
    );
    std::fs::write(&folder.facts.settings, format!("{text}{more}")).unwrap();
    std::fs::write(folder.path().join("vault-token"), vault.token()).unwrap();
    let old = folder.path().join("master.key");
    assert_eq!(rotate_master(folder.path(), now(), Some(&old)).unwrap(), Rotated { epoch: Some(2), data_keys: 1 });
    let again = rotate_master(folder.path(), now(), Some(&old));
    assert!(matches!(again, Err(UpkeepError::Exists { .. })), "{again:?}");
    std::fs::remove_file(&old).unwrap();
    let broker = folder.start().await;
    assert_eq!(guest.secret(&get(&broker, &guest, "own/key/1").await), SECRET);
    broker.stop().await;
}
