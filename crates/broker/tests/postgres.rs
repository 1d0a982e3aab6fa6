//! Several brokers on one PostgreSQL database: one log, one truth; the loss of a broker; the loss of the database.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on ends, and says why it did not begin"
)]

#[path = "support/postgres.rs"]
mod postgres;
mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use broker::{
    Backup, Postgres, Rotated, ServeError, StoreError, StoredLog, UpkeepError, Verifiers, backup, rotate_master,
};
use claims::HostData;
use hyper::StatusCode;
use postgres::{Server, copy, folder, plain, start};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::guest::Guest;
use support::processor::Launch;
use support::{Answer, Broker, Client, Folder, now, refused};
use tokio::task::JoinSet;

const PATH: &str = "example/key/1";
const VALUE: &[u8] = b"the value";
/// How long anything may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Three folders with the same keys, and their brokers, started at once on whatever is in the database.
async fn three(server: &Server) -> ([Folder; 3], [Broker; 3]) {
    let first = folder(server.on_socket("a"));
    let folders = [copy(&first, server.on_socket("b")), copy(&first, server.on_socket("c"))];
    let [second, third] = folders;
    let brokers = tokio::join!(start(&first), start(&second), start(&third));
    ([first, second, third], [brokers.0, brokers.1, brokers.2])
}

async fn whole(broker: &Broker) -> u64 {
    let verdict = broker.admin("GET", "/confide/v0/audit/verify", "").await.json();
    assert_eq!((&verdict["ok"], &verdict["bad"]), (&json!(true), &Value::Null), "{verdict}");
    verdict["entries"].as_u64().unwrap()
}

async fn get(broker: &Broker, guest: &Guest) -> Answer {
    guest.get(&mut broker.client().await, PATH).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_brokers_on_one_database_are_as_one() {
    let Some(server) = Server::start().await else { return };
    let (folders, brokers) = three(&server).await;
    let [a, b, c] = &brokers;
    let guest = Guest::new(Launch::default());
    a.serve_secret(PATH, VALUE, &guest.launch.reference(&[PATH])).await;
    let head = b.admin("GET", "/confide/v0/audit/head", "").await.json();

    for broker in &brokers {
        assert_eq!(guest.secret(&get(broker, &guest).await), VALUE);
    }
    // A session made on one is good on the others, by cookie and by token.
    let (session, token) = guest.attested(&mut a.client().await).await;
    let bearer = format!("Bearer {token}");
    for broker in [b, c] {
        let mut client = broker.client().await;
        assert_eq!(guest.secret(&session.get(&mut client, PATH).await), VALUE);
        let path = format!("/kbs/v0/resource/{PATH}");
        assert_eq!(guest.secret(&client.send("GET", &path, &[("authorization", &bearer)], "").await), VALUE);
    }
    // A challenge of one is answered at another, once: whoever is asked, and however many at the same time.
    for _ in 0..4 {
        let session = Guest::auth(&mut a.client().await).await;
        let body = guest.body(&session);
        let (mut one, mut two, mut three) = (a.client().await, b.client().await, c.client().await);
        let answers = tokio::join!(
            session.attest(&mut one, &body),
            session.attest(&mut two, &body),
            session.attest(&mut three, &body)
        );
        let mut outcomes = [answers.0, answers.1, answers.2].map(|answer| answer.status.as_u16());
        outcomes.sort_unstable();
        assert_eq!(outcomes, [200, 401, 401]);
        assert_eq!(session.attest(&mut one, &body).await.refusal(), refused(401, "E-NONCE"));
    }
    // What is changed at one holds at the others from the next decision on.
    let body = json!({"policy": "package policy\nimport rego.v1\ndefault allow := false\ndeny := true\n"}).to_string();
    assert_eq!(a.admin("POST", "/confide/v0/policies/closed", body).await.status, StatusCode::OK);
    assert_eq!(session.get(&mut b.client().await, PATH).await.refusal(), refused(403, "E-DENIED"));
    assert_eq!(get(c, &guest).await.refusal(), refused(403, "E-DENIED"));
    assert_eq!(b.admin("DELETE", "/confide/v0/policies/closed", "").await.status, StatusCode::OK);
    assert_eq!(guest.secret(&get(c, &guest).await), VALUE);
    let text = "package policy\nexecutables = 3 { true }\nhardware = 2 { true }\nconfiguration = 2 { true }";
    let appraisal = json!({"use": "appraisal", "policy": text}).to_string();
    assert_eq!(c.admin("POST", "/confide/v0/policies/default_cpu", appraisal).await.status, StatusCode::OK);
    let unruled = Guest::new(Launch::with_host_data(HostData([0x33; 32])));
    let (_, token) = unruled.attested(&mut b.client().await).await;
    let cpu = &support::guest::payload(&token)["submods"]["cpu0"];
    assert_eq!((&cpu["ear.status"], &cpu["ear.appraisal-policy-id"]), (&json!("affirming"), &json!("default_cpu")));
    assert_eq!(a.admin("DELETE", "/confide/v0/policies/default_cpu", "").await.status, StatusCode::OK);
    let value = json!({"name": "colour", "value": "blue"}).to_string();
    assert_eq!(a.admin("POST", "/confide/v0/reference-values", value).await.status, StatusCode::CREATED);
    for broker in [b, c] {
        let values = broker.admin("GET", "/kbs/v0/reference-value", "").await.json();
        assert_eq!(values["colour"], json!(["blue"]));
    }
    let put = c.admin("POST", &format!("/kbs/v0/resource/{PATH}"), "newer").await;
    assert_eq!(put.headers["confide-version"], "2");
    let listed = a.admin("GET", "/confide/v0/resources", "").await.json();
    assert_eq!((&listed["resources"][0]["version"], &listed["resources"][0]["versions"]), (&json!(2), &json!(2)));
    assert_eq!(guest.secret(&get(b, &guest).await), b"newer");
    let path = format!("/kbs/v0/resource/{PATH}");
    assert_eq!(b.admin("DELETE", &format!("{path}?version=2"), "").await.status, StatusCode::OK);
    assert_eq!(guest.secret(&get(a, &guest).await), VALUE);

    // One log, which extends what was seen before, with a start of each broker in it.
    let entries = whole(a).await;
    assert_eq!(whole(b).await, entries);
    let stored = StoredLog::open(folders[2].path(), folders[0].facts.identity).unwrap();
    let kept = head["head"].as_str().unwrap().to_owned();
    let verdict = stored.verify(&[kept]).unwrap();
    assert_eq!((verdict.ok, verdict.entries, verdict.bad), (true, entries, None));
    let mut lines = 0;
    stored
        .export(|_| -> Result<(), broker::LogError> {
            lines += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(lines, entries + 1);
    assert_eq!(server.number("SELECT count(*) FROM audit WHERE kind = 'start'").await, 3);

    rules_of_one_hold_at_the_other(a, b).await;
    everything_is_shown(a, b, &guest).await;
    upkeep(&server, folders, brokers, &guest).await;
}

/// Leases and chips that were bound.
async fn rules_of_one_hold_at_the_other(a: &Broker, b: &Broker) {
    let (here, there) = (Guest::new(Launch::on(0)), Guest::new(Launch::on(1)));
    for (path, member, value, codes) in [
        ("rules/chip/1", "chips", "first-use", ("E-DENIED", "E-SNP-CHIP")),
        ("rules/lease/1", "lease", "exclusive", ("E-LEASE", "E-LEASE")),
    ] {
        let mut reference = here.launch.reference(&[path]);
        reference[member] = json!(value);
        let id = a.serve_secret(path, VALUE, &reference).await;
        assert_eq!(here.secret(&here.get(&mut a.client().await, path).await), VALUE);
        let refusal = there.get(&mut b.client().await, path).await;
        assert_eq!(refusal.refusal(), refused(403, codes.0));
        assert_eq!(a.decision(&refusal.decision()).await["code"], json!(codes.1));
        assert_eq!(here.secret(&here.get(&mut b.client().await, path).await), VALUE);
        let path = format!("/confide/v0/references/{id}");
        assert_eq!(b.admin("GET", &path, "").await.status, StatusCode::OK);
        assert_eq!(b.admin("DELETE", &path, "").await.status, StatusCode::OK);
        assert_eq!(a.admin("DELETE", &path, "").await.refusal(), refused(404, "E-ABSENT"));
    }
}

/// What else administrators ask for, so that no statement is left that only SQLite reads.
async fn everything_is_shown(a: &Broker, b: &Broker, guest: &Guest) {
    let released = get(a, guest).await;
    let decision = released.headers["confide-decision"].to_str().unwrap().to_owned();
    let receipt = b.admin("GET", &format!("/confide/v0/audit/receipts/{decision}"), "").await;
    let receipt = broker::ledger::Receipt::parse(&receipt.body).unwrap();
    receipt.verify(a.ready.identity).unwrap();
    let policy = "package policy\nimport rego.v1\ndefault allow := false\n";
    let trial = json!({"name": "trial", "policy": policy}).to_string();
    let report = b.admin("POST", "/confide/v0/policies/try", trial).await;
    assert!(report.json()["replayed"].as_u64().unwrap() > 0, "{report:?}");
    for _ in 0..2 {
        let body = json!({"use": "release", "for": "elsewhere", "policy": policy}).to_string();
        assert_eq!(a.admin("POST", "/confide/v0/policies/trial", body).await.status, StatusCode::OK);
    }
    let back = a.admin("POST", "/confide/v0/policies/trial", json!({"version": 1}).to_string()).await;
    assert_eq!(back.json()["version"], json!(3));
    let shown = b.admin("GET", "/confide/v0/policies/trial", "").await.json();
    assert_eq!((&shown["in_force"], shown["versions"].as_array().unwrap().len()), (&json!(3), 3));

    let values = b.admin("GET", "/confide/v0/reference-values", "").await.json();
    let blue = format!("/confide/v0/reference-values/{}", values["values"][0]["id"].as_str().unwrap());
    assert_eq!(b.admin("POST", &blue, json!({"reason": "faded"}).to_string()).await.status, StatusCode::OK);
    assert_eq!(a.admin("GET", "/kbs/v0/reference-value", "").await.json()["colour"], json!([]));
    assert_eq!(a.admin("DELETE", &blue, "").await.status, StatusCode::OK);
    let message = STANDARD.encode(json!({"colour": ["red"]}).to_string());
    let message = json!({"version": "0.1.0", "type": "sample", "payload": message}).to_string();
    assert_eq!(a.admin("POST", "/kbs/v0/reference-value", message).await.status, StatusCode::OK);
    assert_eq!(b.admin("GET", "/kbs/v0/reference-value", "").await.json()["colour"], json!(["red"]));
    for path in [
        "/confide/v0/status",
        "/confide/v0/audit?from=2&limit=3",
        "/confide/v0/audit/head?from=2",
        "/confide/v0/policies",
        "/confide/v0/references",
        "/confide/v0/resources/example/key/1",
        "/kbs/v0/reference-value/colour",
        "/.well-known/jwks.json",
        "/readyz",
    ] {
        let answer = b.admin("GET", path, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
    }
    assert!(!b.decisions().await.is_empty());
}

/// What is done to the keys of a database that several brokers use.
async fn upkeep(server: &Server, folders: [Folder; 3], brokers: [Broker; 3], guest: &Guest) {
    let [first, second, third] = folders;
    let target = first.place.path().join("copy");
    assert!(matches!(backup(first.path(), &target, Backup::WithoutKeys), Err(UpkeepError::Elsewhere)));
    let [a, b, c] = brokers;
    a.stop().await;
    let busy = rotate_master(first.path(), now(), None);
    assert!(matches!(busy, Err(UpkeepError::Store(StoreError::Replicas))), "{busy:?}");
    b.stop().await;
    c.stop().await;
    // A broker's sessions end when the server has read that they did.
    let begun = Instant::now();
    let rotated = loop {
        match rotate_master(first.path(), now(), None) {
            Err(UpkeepError::Store(StoreError::Replicas)) if begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => break other.unwrap(),
        }
    };
    assert_eq!(rotated, Rotated { epoch: Some(2), data_keys: 3 });
    let old = refusal(&second).await;
    assert!(matches!(old, ServeError::Store(StoreError::MasterKey)), "{old:?}");
    std::fs::copy(first.path().join("master.key"), third.path().join("master.key")).unwrap();
    server.sql("confide", "INSERT INTO challenges (nonce, expires) VALUES ('old', 1)").await;
    let (a, c) = tokio::join!(start(&first), start(&third));
    let begun = Instant::now();
    while server.number("SELECT count(*) FROM challenges WHERE nonce = 'old'").await != 0 {
        assert!(begun.elapsed() < PATIENCE, "what has expired is swept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(guest.secret(&get(&c, guest).await), VALUE);
    // A broker with keys of its own has nothing to look for here.
    let stranger = refusal(&folder(server.on_socket("stranger"))).await;
    assert!(matches!(stranger, ServeError::Store(StoreError::MasterKey)), "{stranger:?}");
    whole(&a).await;
    a.stop().await;
    c.stop().await;
}

/// Why a broker does not serve.
async fn refusal(folder: &Folder) -> ServeError {
    broker::serve(folder.settings(), Verifiers::default(), |_| (), async {}).await.unwrap_err()
}

/// Guests that attest and fetch at one broker, again and again, until told to end.
struct Load {
    workers: JoinSet<Vec<String>>,
    released: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Load {
    async fn on(broker: &Broker, launch: &Launch, guests: usize) -> Self {
        let (released, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = JoinSet::new();
        for _ in 0..guests {
            let (released, refused, stop) = (Arc::clone(&released), Arc::clone(&refused), Arc::clone(&stop));
            let (launch, mut client) = (launch.clone(), broker.client().await);
            workers.spawn(async move {
                let guest = Guest::new(launch);
                let mut decisions = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match attempt(&guest, &mut client).await {
                        Ok(decision) => {
                            decisions.push(decision);
                            released.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(refusal) => {
                            assert_eq!(refusal, (503, "E-STORE".to_owned()));
                            refused.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                    }
                }
                decisions
            });
        }
        Self { workers, released, refused, stop }
    }

    /// Waits until `more` further values were released.
    async fn releases(&self, more: usize) {
        until(&self.released, more).await;
    }

    async fn refusals(&self, more: usize) {
        until(&self.refused, more).await;
    }

    /// Ends in the middle of requests.
    async fn abandon(mut self) {
        self.workers.abort_all();
        while self.workers.join_next().await.is_some() {}
    }

    /// The decisions that guests were told of.
    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.workers.join_all().await.concat()
    }
}

async fn until(counter: &AtomicUsize, more: usize) {
    let (begun, wanted) = (Instant::now(), counter.load(Ordering::Relaxed) + more);
    while counter.load(Ordering::Relaxed) < wanted {
        assert!(begun.elapsed() < PATIENCE, "{} of {wanted}", counter.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Handshake and one resource: the decision, or the refusal.
async fn attempt(guest: &Guest, client: &mut Client) -> Result<String, (u16, String)> {
    let (session, answer) = guest.attest(client).await;
    if answer.status != StatusCode::OK {
        return Err(answer.refusal());
    }
    let answer = session.get(client, PATH).await;
    if answer.status != StatusCode::OK {
        return Err(answer.refusal());
    }
    assert_eq!(guest.secret(&answer), VALUE);
    Ok(answer.headers["confide-decision"].to_str().unwrap().to_owned())
}

/// Every decision that a guest was told of is in the log.
async fn kept(server: &Server, decisions: &[String]) {
    assert!(!decisions.is_empty());
    let list = decisions.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
    let found = server.number(&format!("SELECT count(*) FROM audit WHERE decision IN ({list})")).await;
    assert_eq!(found, i64::try_from(decisions.len()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_go_on_when_the_third_is_lost_in_the_middle_of_its_work() {
    let Some(server) = Server::start().await else { return };
    let (folders, [a, b, c]) = three(&server).await;
    let launch = Launch::default();
    a.serve_secret(PATH, VALUE, &launch.reference(&[PATH])).await;
    let (on_a, on_b, on_c) = tokio::join!(Load::on(&a, &launch, 3), Load::on(&b, &launch, 3), Load::on(&c, &launch, 3));
    tokio::join!(on_a.releases(5), on_b.releases(5), on_c.releases(5));

    // Its process ends: nobody commits or undoes what it has begun, and the server finds its connections closed.
    on_c.abandon().await;
    c.kill();
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'c'";
    server.number(ended).await;
    tokio::join!(on_a.releases(10), on_b.releases(10));
    // One that only lost its connections goes on by itself.
    server.number(&ended.replace("'c'", "'b'")).await;
    tokio::join!(on_a.releases(10), on_b.releases(10));
    let (mut decisions, of_b) = tokio::join!(on_a.end(), on_b.end());
    decisions.extend(of_b);
    kept(&server, &decisions).await;
    let entries = whole(&a).await;

    // It comes back, and the log goes on.
    let [_, _, third] = folders;
    let c = start(&copy(&third, server.on_socket("d"))).await;
    assert_eq!(whole(&c).await, entries + 1);
    for broker in [a, b, c] {
        broker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_a_broker_refuses_and_recovers_by_itself() {
    let Some(mut server) = Server::start().await else { return };
    let first = folder(server.on_socket("a"));
    let second = copy(&first, server.on_socket("b"));
    let (a, b) = tokio::join!(start(&first), start(&second));
    let launch = Launch::default();
    a.serve_secret(PATH, VALUE, &launch.reference(&[PATH])).await;
    let (on_a, on_b) = tokio::join!(Load::on(&a, &launch, 3), Load::on(&b, &launch, 3));
    for killed in [true, false] {
        tokio::join!(on_a.releases(5), on_b.releases(5));
        if killed {
            server.kill()
        } else {
            server.stop()
        }
        tokio::join!(on_a.refusals(5), on_b.refusals(5));
        for broker in [&a, &b] {
            assert_eq!(broker.admin("GET", "/readyz", "").await.refusal(), refused(503, "E-STORE"));
            assert_eq!(broker.admin("GET", "/healthz", "").await.status, StatusCode::OK);
            let put = broker.admin("POST", &format!("/kbs/v0/resource/{PATH}"), "lost").await;
            assert_eq!(put.refusal(), refused(503, "E-STORE"));
            let listed = broker.admin("GET", "/confide/v0/resources", "").await;
            assert_eq!(listed.refusal(), refused(503, "E-STORE"));
        }
        server.run().await;
        tokio::join!(on_a.releases(5), on_b.releases(5));
    }
    let (mut decisions, of_b) = tokio::join!(on_a.end(), on_b.end());
    decisions.extend(of_b);
    kept(&server, &decisions).await;
    assert_eq!(a.admin("GET", "/readyz", "").await.status, StatusCode::OK);
    whole(&b).await;

    // While brokers run, their database is put back to an earlier day: they notice, and sign nothing on top of that.
    let alone = "ALTER DATABASE confide ALLOW_CONNECTIONS false;
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'confide'";
    server.sql("postgres", alone).await;
    server
        .sql("postgres", "CREATE DATABASE earlier TEMPLATE confide;ALTER DATABASE confide ALLOW_CONNECTIONS true")
        .await;
    let begun = Instant::now();
    while a.admin("POST", &format!("/kbs/v0/resource/{PATH}"), "later").await.status != StatusCode::OK {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.sql("postgres", alone).await;
    let exchanged = "ALTER DATABASE confide RENAME TO later;ALTER DATABASE earlier RENAME TO confide;
        ALTER DATABASE confide ALLOW_CONNECTIONS true";
    server.sql("postgres", exchanged).await;
    let before = server.number("SELECT max(sequence) FROM audit").await;
    // Once it reads it has connected again, so that what it says of writing is no pause between two attempts.
    let begun = Instant::now();
    while a.admin("GET", "/confide/v0/resources", "").await.status != StatusCode::OK {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..3 {
        assert_eq!(a.admin("GET", "/readyz", "").await.refusal(), refused(503, "E-STORE"));
    }
    assert_eq!(server.number("SELECT max(sequence) FROM audit").await, before);
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_prove_itself_or_lets_nobody_in_is_named_without_the_password() {
    let Some(server) = Server::start().await else { return };
    let said = async |settings: Postgres| match refusal(&folder(settings)).await {
        ServeError::Store(StoreError::Gone { reason }) => {
            assert!(!reason.contains("quiet") && !reason.contains("a loud word"), "{reason}");
            reason
        }
        other => panic!("{other:?}"),
    };
    let wrong = said(server.over_tls("a loud word", "ca.pem")).await;
    assert!(wrong.ends_with("FATAL: password authentication failed for user \"confide\""), "{wrong}");
    let unknown = said(server.over_tls("a quiet word", "other.pem")).await;
    assert!(unknown.ends_with("invalid peer certificate: UnknownIssuer"), "{unknown}");
    let mut named = server.over_tls("a quiet word", "ca.pem");
    named.url = named.url.replace("localhost", "127.0.0.1");
    let other = said(named).await;
    assert!(other.contains("invalid peer certificate: certificate not valid for name \"127.0.0.1\""), "{other}");
    let bare = said(plain(server.over_tls("a quiet word", "ca.pem"))).await;
    assert!(bare.contains("no pg_hba.conf entry") && bare.contains("no encryption"), "{bare}");
    let mut nothing = server.over_tls("a quiet word", "ca.pem");
    nothing.password_file = Some(server.path("absent"));
    assert!(said(nothing).await.starts_with(&format!("cannot read {}", server.path("absent").display())));
    let empty = refusal(&folder(server.over_tls("a quiet word", "log"))).await;
    assert!(matches!(empty, ServeError::Store(StoreError::Authority { .. })), "{empty:?}");

    // With the right ones it serves, over TLS.
    let broker = start(&folder(server.over_tls("a quiet word", "ca.pem"))).await;
    let guest = Guest::new(Launch::default());
    broker.serve_secret(PATH, VALUE, &guest.launch.reference(&[PATH])).await;
    assert_eq!(guest.secret(&get(&broker, &guest).await), VALUE);
    let plain_sessions = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'confide-broker' AND NOT ssl";
    assert_eq!(server.number(plain_sessions).await, 0);
    broker.stop().await;

    // A database that is somebody else's is left alone.
    server.sql("postgres", "CREATE DATABASE theirs OWNER confide").await;
    server.sql("theirs", "CREATE TABLE accounts (id INT)").await;
    let mut theirs = server.on_socket("a");
    theirs.url = theirs.url.replace("/confide?", "/theirs?");
    let foreign = refusal(&folder(theirs)).await;
    assert!(matches!(foreign, ServeError::Store(StoreError::Foreign)), "{foreign:?}");
}
