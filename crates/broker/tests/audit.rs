//! The audit log: what is found when it was edited, what receipts and exports prove, and to whom.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use broker::ledger::{LedgerError, Receipt, Verdict, verify_export};
use broker::{LogError, StoreError, StoredLog};
use hyper::StatusCode;
use rusqlite::Connection;
use serde_json::{Value, json};
use support::guest::Guest;
use support::processor::Launch;
use support::{Broker, Folder, refused};

const PATH: &str = "example/key/1";

fn stored(folder: &Folder) -> StoredLog {
    StoredLog::open(folder.path(), folder.facts.identity).unwrap()
}

fn edit(folder: &Folder, statements: &str) {
    Connection::open(folder.path().join("broker.sqlite")).unwrap().execute_batch(statements).unwrap();
}

/// A log of one start and `puts` changes, of a broker that has ended.
async fn log_of(puts: u32) -> Folder {
    let folder = Folder::new();
    let broker = folder.start().await;
    put(&broker, puts).await;
    broker.stop().await;
    folder
}

async fn put(broker: &Broker, count: u32) {
    for _ in 0..count {
        broker.admin("POST", &format!("/kbs/v0/resource/{PATH}"), "x").await;
    }
}

fn bad(verdict: &Verdict) -> (u64, u64, &'static str) {
    let bad = verdict.bad.as_ref().unwrap();
    assert!(!verdict.ok);
    (bad.sequence, bad.through, bad.problem)
}

#[tokio::test]
async fn a_log_that_was_edited_cut_or_reordered_names_the_first_bad_entry() {
    let edits: [(&str, (u64, u64, &str)); 8] = [
        (
            "UPDATE audit SET body = replace(body, 'admin', 'nobody') WHERE sequence = 3",
            (3, 3, "the entry was changed"),
        ),
        ("UPDATE audit SET kind = 'start' WHERE sequence = 2", (2, 2, "the entry's columns differ from its body")),
        ("DELETE FROM audit WHERE sequence = 2", (2, 2, "the entry is missing")),
        ("DELETE FROM audit WHERE sequence >= 4", (4, 4, "the entry is missing")),
        (
            "UPDATE audit SET sequence = CASE sequence WHEN 2 THEN -3 WHEN 3 THEN -2 END WHERE sequence IN (2, 3);
             UPDATE audit SET sequence = -sequence WHERE sequence < 0",
            (2, 2, "another entry stands in its place"),
        ),
        ("UPDATE audit_heads SET root = zeroblob(32) WHERE size = 3", (3, 3, "the log differs from its signed head")),
        (
            "UPDATE audit_heads SET signature = zeroblob(64) WHERE size = 3",
            (3, 3, "the head of the log up to here is not signed by the audit key"),
        ),
        // Entry and digest changed together: only heads tell, and they tell between which sizes.
        (
            "UPDATE audit SET body = (SELECT body FROM audit WHERE sequence = 4),
                 leaf = (SELECT leaf FROM audit WHERE sequence = 4) WHERE sequence = 3",
            (3, 3, "another entry stands in its place"),
        ),
    ];
    for (statements, wanted) in edits {
        let folder = log_of(4).await;
        let good = stored(&folder).verify(&[]).unwrap();
        assert_eq!((good.ok, good.entries, good.bad), (true, 5, None));
        edit(&folder, statements);
        // A broker that starts again on such a log goes on from its signed head, and hides nothing.
        let broker = folder.start().await;
        let answer = broker.admin("GET", "/confide/v0/audit/verify", "").await.json();
        let seen = (answer["ok"].clone(), answer["bad"]["sequence"].clone(), answer["bad"]["problem"].clone());
        assert_eq!(seen, (json!(false), json!(wanted.0), json!(wanted.2)), "{statements}");
        assert_eq!(bad(&stored(&folder).verify(&[]).unwrap()), wanted, "{statements}");
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_log_that_was_written_anew_is_not_signed() {
    // Whoever rewrites entries must take the heads away as well; the broker then has no head to go on from.
    let folder = log_of(2).await;
    edit(&folder, "DELETE FROM audit_heads");
    let settings = folder.settings();
    let served = broker::serve(settings.clone(), broker::Verifiers::default(), |_| (), async {}).await;
    let missing = StoreError::Damaged { what: "audit head" };
    assert!(matches!(served, Err(broker::ServeError::Store(error)) if error.to_string() == missing.to_string()));
    let folder = log_of(2).await;
    edit(&folder, "DELETE FROM audit_heads WHERE size = 3");
    let served = broker::serve(folder.settings(), broker::Verifiers::default(), |_| (), async {}).await;
    let differs = "a stored audit log: it differs from its signed head is damaged";
    assert!(matches!(served, Err(broker::ServeError::Store(error)) if error.to_string() == differs));
}

#[tokio::test]
async fn a_folder_that_went_back_to_an_earlier_day_does_not_extend_a_kept_head() {
    let folder = Folder::new();
    let broker = folder.start().await;
    put(&broker, 1).await;
    broker.stop().await;
    let earlier = folder.place.path().join("earlier.sqlite");
    edit(&folder, &format!("VACUUM INTO '{}'", earlier.display()));
    let broker = folder.start().await;
    put(&broker, 3).await;
    let kept = broker.admin("GET", "/confide/v0/audit/head", "").await.json()["head"].as_str().unwrap().to_owned();
    broker.stop().await;
    assert!(stored(&folder).verify(std::slice::from_ref(&kept)).unwrap().ok);
    for name in ["broker.sqlite", "broker.sqlite-wal", "broker.sqlite-shm"] {
        let _ = std::fs::remove_file(folder.path().join(name));
    }
    std::fs::copy(earlier, folder.path().join("broker.sqlite")).unwrap();
    let short = "the log is shorter than a head that was kept: it was rolled back";
    assert_eq!(bad(&stored(&folder).verify(std::slice::from_ref(&kept)).unwrap()), (3, 6, short));
    assert!(stored(&folder).verify(&[]).unwrap().ok, "only the kept head tells");
    let broker = folder.start().await;
    put(&broker, 6).await;
    let forked = "the log is not the one that a kept head is of";
    assert_eq!(bad(&stored(&folder).verify(std::slice::from_ref(&kept)).unwrap()), (1, 6, forked));
    broker.stop().await;
    let foreign = stored(&folder).verify(&[kept.replace(&folder.facts.identity.to_string(), &"2".repeat(64))]);
    assert!(matches!(foreign, Err(LogError::Ledger(LedgerError::Origin { .. }))), "{foreign:?}");
}

#[tokio::test]
async fn heads_are_consistent_and_a_group_of_entries_has_one() {
    use broker::ledger::merkle::extends;
    let folder = Folder::new();
    let broker = folder.start().await;
    let head = async |from: u64| broker.admin("GET", &format!("/confide/v0/audit/head?from={from}"), "").await.json();
    put(&broker, 2).await;
    let authority = {
        let chain = rustls_chain(&head(0).await);
        broker::ledger::Authority::attested(folder.facts.identity, &chain).unwrap()
    };
    let old = authority.verify(head(0).await["head"].as_str().unwrap()).unwrap();
    assert_eq!(old.size, 3);
    put(&broker, 9).await;
    let answer = head(3).await;
    let new = authority.verify(answer["head"].as_str().unwrap()).unwrap();
    let proof: Vec<claims::Digest256> = serde_json::from_value(answer["consistency"].clone()).unwrap();
    assert_eq!(new.size, 12);
    assert!(extends((old.size, &old.root), (new.size, &new.root), &proof));
    assert!(!extends((old.size, &new.root), (new.size, &new.root), &proof));
    broker.stop().await;
}

fn rustls_chain(answer: &Value) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use base64::Engine;
    let texts = answer["certificates"].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
    texts.map(|text| base64::engine::general_purpose::STANDARD.decode(text).unwrap().into()).collect()
}

#[tokio::test]
async fn each_release_has_a_receipt_that_needs_only_the_identity() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    broker.serve_secret(PATH, b"value", &guest.launch.reference(&[PATH])).await;
    let mut client = broker.client().await;
    let (session, _) = guest.attested(&mut client).await;
    let answer = session.get(&mut client, PATH).await;
    assert_eq!(guest.secret(&answer), b"value");
    let decision = answer.headers["confide-decision"].to_str().unwrap().to_owned();

    let own = format!("/confide/v0/receipts/{decision}");
    let given = client.send("GET", &own, &[("cookie", &session.cookie)], "").await;
    assert_eq!(given.status, StatusCode::OK);
    let facts = Receipt::parse(&given.body).unwrap().verify(folder.facts.identity).unwrap();
    assert_eq!((facts.decision, facts.entry), (None, None), "a guest learns no rule");
    assert_eq!(given.json()["decision"], json!(decision));

    let kept = broker.admin("GET", &format!("/confide/v0/audit/receipts/{decision}"), "").await;
    let receipt = Receipt::parse(&kept.body).unwrap();
    let whole = receipt.verify(folder.facts.identity).unwrap();
    assert_eq!(
        (whole.decision.as_deref(), whole.leaf, whole.index),
        (Some(decision.as_str()), facts.leaf, facts.index)
    );
    let entry: Value = serde_json::from_str(&whole.entry.unwrap()).unwrap();
    assert_eq!((&entry["resource"], &entry["kind"]), (&json!(PATH), &json!("release")));

    // Another broker's identity, and a key that this identity certified for something else.
    let other = Folder::new();
    let foreign = receipt.verify(other.facts.identity);
    assert!(matches!(foreign, Err(LedgerError::Identity(_))), "{foreign:?}");
    let mut as_token: Value = kept.json();
    let token = std::fs::read_to_string(folder.path().join("token.pem")).unwrap();
    as_token["certificates"][0] = json!(token.lines().filter(|line| !line.starts_with('-')).collect::<String>());
    let role = Receipt::parse(as_token.to_string().as_bytes()).unwrap().verify(folder.facts.identity);
    assert!(matches!(role, Err(LedgerError::HeadSignature | LedgerError::Identity(_))), "{role:?}");

    // Another session, a refusal, an attestation and a change by an administrator have none for a guest.
    let second = Guest::new(Launch::default());
    let (stranger, _) = second.attested(&mut client).await;
    let denied = session.get(&mut client, "example/key/2").await.decision();
    let attested = broker.decisions().await.iter().find(|entry| entry["kind"] == "attest").unwrap()["decision"].clone();
    for (id, cookie) in [
        (decision.as_str(), &stranger.cookie),
        (denied.as_str(), &session.cookie),
        (attested.as_str().unwrap(), &session.cookie),
        ("", &session.cookie),
    ] {
        let answer = client.send("GET", &format!("/confide/v0/receipts/{id}"), &[("cookie", cookie)], "").await;
        let route = if id.is_empty() { "E-ROUTE" } else { "E-ABSENT" };
        assert_eq!(answer.refusal(), refused(404, route), "{id}");
    }
    assert_eq!(client.send("GET", &own, &[], "").await.refusal(), refused(401, "E-SESSION"));
    drop(client);
    broker.stop().await;
    let offline = stored(&folder).receipt(&decision).unwrap().unwrap();
    assert_eq!(offline.verify(folder.facts.identity).unwrap().leaf, facts.leaf);
    assert_eq!(stored(&folder).receipt("").unwrap(), None);
}

#[tokio::test]
async fn an_exported_log_is_checked_anywhere() {
    let folder = log_of(6).await;
    let log = stored(&folder);
    let mut file = Vec::new();
    log.export(|line| {
        file.extend_from_slice(line.as_bytes());
        file.push(b'\n');
        Ok::<(), LogError>(())
    })
    .unwrap();
    let identity = folder.facts.identity;
    let good = verify_export(file.as_slice(), identity, &[log.head().unwrap()]).unwrap();
    assert_eq!((good.ok, good.entries), (true, 7));
    let text = String::from_utf8(file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let file_of = |lines: &[&str]| lines.join("\n") + "\n";
    let verdict = |text: &str| bad(&verify_export(text.as_bytes(), identity, &[]).unwrap());
    let differs = "the log differs from its signed head";
    assert_eq!(verdict(&text.replacen("put secret", "get secret", 1)), (1, 7, differs));
    assert_eq!(verdict(&file_of(&lines[..7])), (7, 7, "entries from here to the signed head are missing"));
    let mut swapped = lines.clone();
    swapped.swap(3, 4);
    assert_eq!(verdict(&file_of(&swapped)), (3, 3, "another entry stands in its place"));
    assert_eq!(verdict(&file_of(&[&lines[..4], &lines[5..]].concat())), (4, 4, "another entry stands in its place"));
    let refused = |text: &str| verify_export(text.as_bytes(), identity, &[]).unwrap_err();
    let line = "it has no end, or is longer than 4 MiB";
    assert_eq!(refused(text.trim_end()), LedgerError::ExportText { line: 8, what: line });
    let first = "it is not the first line of an exported audit log";
    assert_eq!(refused(&file_of(&lines[1..])), LedgerError::ExportText { line: 1, what: first });
    assert_eq!(refused(""), LedgerError::ExportText { line: 1, what: first });
    let foreign = verify_export(text.as_bytes(), Folder::new().facts.identity, &[]);
    assert!(matches!(foreign, Err(LedgerError::Identity(_))), "{foreign:?}");
}

#[test]
fn a_store_of_another_schema_is_named() {
    let folder = Folder::new();
    edit(&folder, "PRAGMA user_version = 1");
    let opened = StoredLog::open(folder.path(), folder.facts.identity).map(|_| ());
    let wanted = "the database has schema 1, this program reads schema 2: use the program that made it";
    assert!(matches!(opened, Err(LogError::Store(error)) if error.to_string() == wanted));
}
