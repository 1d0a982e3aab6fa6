//! Versions of secrets, a new master key, backup and restore.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use broker::{Backup, MasterSource, Rotated, StoreError, UpkeepError, backup, restore, rotate_master};
use hyper::StatusCode;
use rusqlite::Connection;
use serde_json::json;
use std::path::Path;
use support::guest::Guest;
use support::processor::{Launch, verifier};
use support::{Broker, Folder, now, refused};

const PATH: &str = "example/key/1";

/// Whether an error is the one wanted.
type Wanted = fn(&UpkeepError) -> bool;

fn sql(folder: &Path, statements: &str) {
    Connection::open(folder.join("broker.sqlite")).unwrap().execute_batch(statements).unwrap();
}

fn count(folder: &Path, query: &str) -> i64 {
    Connection::open(folder.join("broker.sqlite")).unwrap().query_row(query, [], |row| row.get(0)).unwrap()
}

async fn put(broker: &Broker, value: &str) -> String {
    let put = broker.admin("POST", &format!("/kbs/v0/resource/{PATH}"), value.to_owned()).await;
    assert_eq!((put.status, put.body.len()), (StatusCode::OK, 0));
    put.headers["confide-version"].to_str().unwrap().to_owned()
}

/// What a guest gets for a path, with a query.
async fn got(broker: &Broker, guest: &Guest, query: &str) -> Result<Vec<u8>, (u16, String)> {
    let mut client = broker.client().await;
    let answer = guest.get(&mut client, &format!("{PATH}{query}")).await;
    if answer.status == StatusCode::OK { Ok(guest.secret(&answer)) } else { Err(answer.refusal()) }
}

#[tokio::test]
async fn versions_are_kept_asked_for_and_deleted_one_by_one() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    broker.add(&guest.launch.reference(&[PATH])).await;
    for (version, value) in [("1", "first"), ("2", "second"), ("3", "third")] {
        assert_eq!(put(&broker, value).await, version);
    }
    assert_eq!(got(&broker, &guest, "").await, Ok(b"third".to_vec()));
    assert_eq!(got(&broker, &guest, "?version=1").await, Ok(b"first".to_vec()));
    assert_eq!(got(&broker, &guest, "?version=4").await, Err(refused(404, "E-ABSENT")));
    assert_eq!(got(&broker, &guest, "?version=x").await, Err(refused(400, "E-FORMAT")));

    let path = format!("/kbs/v0/resource/{PATH}");
    assert_eq!(broker.admin("DELETE", &format!("{path}?version=3"), "").await.status, StatusCode::OK);
    assert_eq!(broker.admin("DELETE", &format!("{path}?version=3"), "").await.refusal(), refused(404, "E-ABSENT"));
    assert_eq!(got(&broker, &guest, "").await, Ok(b"second".to_vec()), "the newest that is left");
    assert_eq!(got(&broker, &guest, "?version=3").await, Err(refused(404, "E-ABSENT")));
    let listed = broker.admin("GET", &format!("/confide/v0/resources/{PATH}"), "").await.json();
    let versions = listed["versions"].as_array().unwrap();
    let seen: Vec<_> = versions.iter().map(|entry| (entry["version"].clone(), entry["deleted"].is_null())).collect();
    assert_eq!(seen, [(json!(1), true), (json!(2), true), (json!(3), false)], "a deleted version leaves a stone");
    let list = broker.admin("GET", "/confide/v0/resources", "").await.json();
    assert_eq!((&list["resources"][0]["version"], &list["resources"][0]["versions"]), (&json!(2), &json!(2)));

    assert_eq!(broker.admin("DELETE", &path, "").await.status, StatusCode::OK);
    assert_eq!(got(&broker, &guest, "").await, Err(refused(404, "E-ABSENT")));
    assert_eq!(put(&broker, "fourth").await, "4");
    let absent = broker.admin("GET", "/confide/v0/resources/example/key/none", "").await;
    assert_eq!(absent.refusal(), refused(404, "E-ABSENT"));
    let released = broker.decisions().await.into_iter().find(|entry| entry["kind"] == "release").unwrap();
    assert_eq!(released["resource"], json!(PATH));
    broker.stop().await;
    let left = "SELECT count(*) FROM secrets WHERE deleted IS NOT NULL AND (sealed IS NOT NULL OR wrapped IS NOT NULL)";
    assert_eq!(count(folder.path(), left), 0, "a deleted value is gone, and so is its key");
}

#[tokio::test]
async fn neither_value_nor_key_opens_under_another_version() {
    let swaps = [
        "sealed = (SELECT sealed FROM secrets WHERE version = 1)",
        "wrapped = (SELECT wrapped FROM secrets WHERE version = 1)",
        "sealed = (SELECT sealed FROM secrets WHERE version = 1), wrapped = (SELECT wrapped FROM secrets WHERE version = 1)",
        "epoch = 2",
        "version = 3",
    ];
    for swap in swaps {
        let folder = Folder::new();
        let broker = folder.start().await;
        let guest = Guest::new(Launch::default());
        broker.add(&guest.launch.reference(&[PATH])).await;
        put(&broker, "old").await;
        put(&broker, "new").await;
        sql(folder.path(), &format!("UPDATE secrets SET {swap} WHERE version = 2"));
        assert_eq!(got(&broker, &guest, "").await, Err(refused(503, "E-STORE")), "{swap}");
        assert_eq!(got(&broker, &guest, "?version=1").await, Ok(b"old".to_vec()), "{swap}");
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_new_master_key_wraps_every_data_key_again_and_values_stay() {
    let folder = Folder::new();
    let guest = Guest::new(Launch::default());
    let broker = folder.start().await;
    broker.add(&guest.launch.reference(&[PATH])).await;
    put(&broker, "first").await;
    put(&broker, "second").await;
    let running = rotate_master(folder.path(), now(), None);
    assert!(matches!(running, Err(UpkeepError::InUse { .. })), "{running:?}");
    broker.stop().await;
    let master = folder.path().join("master.key");
    let old = std::fs::read(&master).unwrap();
    let sealed = "SELECT sum(length(sealed)) FROM secrets";
    let before = count(folder.path(), sealed);
    assert_eq!(rotate_master(folder.path(), now(), None).unwrap(), Rotated { epoch: Some(2), data_keys: 2 });
    assert_ne!(std::fs::read(&master).unwrap(), old);
    assert_eq!(count(folder.path(), sealed), before);
    assert_eq!(count(folder.path(), "SELECT count(*) FROM secrets WHERE epoch = 2"), 2);
    let broker = folder.start().await;
    assert_eq!(got(&broker, &guest, "?version=1").await, Ok(b"first".to_vec()));
    assert_eq!(got(&broker, &guest, "").await, Ok(b"second".to_vec()));
    let log = broker.admin("GET", "/confide/v0/audit/verify", "").await.json();
    assert_eq!(log["ok"], json!(true));
    let entries = broker.admin("GET", "/confide/v0/audit", "").await.json();
    let bodies = entries["entries"].as_array().unwrap().iter().map(|entry| entry["body"].as_str().unwrap());
    assert_eq!(bodies.filter(|body| body.contains("rotate master key")).count(), 1);
    broker.stop().await;

    std::fs::write(&master, &old).unwrap();
    let served = broker::serve(folder.settings(), broker::Verifiers::default(), |_| (), async {}).await;
    assert!(matches!(served, Err(broker::ServeError::Store(StoreError::MasterKey))), "{served:?}");
    let stranger = rotate_master(folder.path(), now(), None);
    assert!(matches!(stranger, Err(UpkeepError::Store(StoreError::MasterKey))), "{stranger:?}");
}

#[tokio::test]
async fn a_rotation_that_was_cut_short_is_brought_to_its_end() {
    let folder = Folder::new();
    let guest = Guest::new(Launch::default());
    let broker = folder.start().await;
    broker.add(&guest.launch.reference(&[PATH])).await;
    put(&broker, "value").await;
    broker.stop().await;
    let (master, next) = (folder.path().join("master.key"), folder.path().join("master.key.next"));
    let old = std::fs::read(&master).unwrap();
    // Cut before the store changed: the next key may even be half a file.
    std::fs::write(&next, [1; 16]).unwrap();
    assert_eq!(rotate_master(folder.path(), now(), None).unwrap(), Rotated { epoch: Some(2), data_keys: 1 });
    // Cut after the store changed, before the file was moved.
    std::fs::rename(&master, &next).unwrap();
    std::fs::write(&master, old).unwrap();
    assert_eq!(rotate_master(folder.path(), now(), None).unwrap(), Rotated { epoch: None, data_keys: 0 });
    assert!(!next.exists());
    let broker = folder.start().await;
    assert_eq!(got(&broker, &guest, "").await, Ok(b"value".to_vec()));
    broker.stop().await;
}

#[tokio::test]
async fn the_master_key_may_come_from_a_descriptor() {
    use std::os::fd::AsRawFd;
    let folder = Folder::new();
    let guest = Guest::new(Launch::default());
    let master = folder.path().join("master.key");
    let elsewhere = folder.place.path().join("elsewhere");
    std::fs::rename(&master, &elsewhere).unwrap();
    let file = std::fs::File::open(&elsewhere).unwrap();
    let source = MasterSource::Descriptor { number: file.as_raw_fd().cast_unsigned() };
    let settings = broker::Settings { master: source.clone(), ..folder.settings() };
    let broker = folder.start_with(settings, verifier()).await;
    broker.add(&guest.launch.reference(&[PATH])).await;
    put(&broker, "value").await;
    assert_eq!(got(&broker, &guest, "").await, Ok(b"value".to_vec()));
    broker.stop().await;
    let text = std::fs::read_to_string(&folder.facts.settings).unwrap();
    let text = text.replace("[revocation]", "[master]\nsource = \"descriptor\"\nnumber = 3\n\n[revocation]");
    std::fs::write(&folder.facts.settings, text).unwrap();
    assert_eq!(folder.settings().master, MasterSource::Descriptor { number: 3 });
    assert!(matches!(rotate_master(folder.path(), now(), None), Err(UpkeepError::Source)));
}

#[tokio::test]
async fn a_backup_of_a_running_broker_comes_back_whole() {
    let folder = Folder::new();
    let guest = Guest::new(Launch::default());
    let broker = folder.start().await;
    broker.add(&guest.launch.reference(&[PATH])).await;
    put(&broker, "value").await;
    let (whole, sealed) = (folder.place.path().join("whole"), folder.place.path().join("sealed"));
    backup(folder.path(), &whole, Backup::WithKeys).unwrap();
    backup(folder.path(), &sealed, Backup::WithoutKeys).unwrap();
    let again = backup(folder.path(), &whole, Backup::WithKeys);
    assert!(matches!(again, Err(UpkeepError::Exists { .. })), "{again:?}");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&whole).unwrap().permissions().mode() & 0o777, 0o600);
    put(&broker, "younger than the copy").await;
    let (session, _) = guest.attested(&mut broker.client().await).await;
    broker.stop().await;

    let master = std::fs::read(folder.path().join("master.key")).unwrap();
    let holds =
        |path: &Path, needle: &[u8]| std::fs::read(path).unwrap().windows(needle.len()).any(|part| part == needle);
    assert!(holds(&whole, &master));
    assert!(!holds(&sealed, &master) && !holds(&sealed, b"PRIVATE KEY"), "no key is in a backup without keys");

    let place = folder.place.path().join("restored");
    let restored = restore(&whole, &place, now()).unwrap();
    assert_eq!((restored.identity, restored.entries), (folder.facts.identity, 4));
    let over = restore(&whole, &place, now());
    assert!(matches!(over, Err(UpkeepError::Exists { .. })), "{over:?}");
    let settings = broker::Settings { dev: true, ..broker::Settings::load(&place.join("broker.toml")).unwrap() };
    let broker = folder.start_with(settings, verifier()).await;
    assert_eq!(got(&broker, &guest, "").await, Ok(b"value".to_vec()));
    assert_eq!(broker.admin("GET", "/confide/v0/audit/verify", "").await.json()["ok"], json!(true));
    let mut client = broker.client().await;
    assert_eq!(session.get(&mut client, PATH).await.refusal(), refused(401, "E-SESSION"));
    let again = session.attest(&mut client, &guest.body(&session)).await;
    assert_eq!(again.refusal(), refused(401, "E-NONCE"), "a challenge of before is not good again");
    drop(client);
    broker.stop().await;

    let place = folder.place.path().join("sealed-restored");
    let bare = restore(&sealed, &place, now());
    assert!(matches!(bare, Err(UpkeepError::KeyMissing { .. })), "{bare:?}");
    for name in ["tls-key.pem", "token-key.pem", "audit-key.pem", "master.key"] {
        std::fs::copy(folder.path().join(name), place.join(name)).unwrap();
    }
    assert_eq!(restore(&sealed, &place, now()).unwrap().entries, 4);
}

#[tokio::test]
async fn a_backup_that_was_touched_is_not_restored() {
    let folder = Folder::new();
    let broker = folder.start().await;
    put(&broker, "value").await;
    broker.stop().await;
    let other = Folder::new();
    let edits: [(&str, Wanted); 4] = [
        ("UPDATE audit SET body = replace(body, 'put', 'get') WHERE sequence = 2", |error| {
            matches!(error, UpkeepError::Log { sequence: 2, .. })
        }),
        ("INSERT INTO backup_files VALUES ('../escape', x'00')", |error| matches!(error, UpkeepError::Stranger { .. })),
        ("DROP TABLE backup_files", |error| matches!(error, UpkeepError::Store(StoreError::Damaged { .. }))),
        ("PRAGMA user_version = 9", |error| {
            matches!(error, UpkeepError::Store(StoreError::Schema { got: 9, wanted: 2 }))
        }),
    ];
    for (number, (edit, wanted)) in edits.into_iter().enumerate() {
        let file = folder.place.path().join(format!("backup-{number}"));
        backup(folder.path(), &file, Backup::WithKeys).unwrap();
        Connection::open(&file).unwrap().execute_batch(edit).unwrap();
        let place = folder.place.path().join(format!("restored-{number}"));
        let error = restore(&file, &place, now()).unwrap_err();
        assert!(wanted(&error), "{edit}: {error:?}");
        assert!(!place.join("broker.sqlite").exists() && !place.join("broker.toml").exists(), "{edit}");
    }
    let file = folder.place.path().join("good");
    backup(folder.path(), &file, Backup::WithKeys).unwrap();
    let over = restore(&file, other.path(), now());
    assert!(matches!(over, Err(UpkeepError::Exists { path }) if path.starts_with(other.path())));
}
