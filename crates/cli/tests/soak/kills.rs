//! SIGKILL at random points under load: nothing acknowledged is lost, no nonce is good twice, no policy is half there.

use super::process::Process;
use super::support::guest::{Guest, Session};
use super::support::processor::Launch;
use super::support::{Answer, Folder};
use super::wire::Wire;
use super::{Dice, amount, figure};
use broker::Ready;
use serde_json::{Value, json};
use std::time::Duration;

const PATH: &str = "example/key/1";
const GUESTS: usize = 3;

/// What callers were told, and what they asked without hearing more.
#[derive(Default)]
struct Told {
    /// Attestations that were answered with a token.
    attested: Vec<(Session, Value)>,
    /// One that was sent and not answered.
    unanswered: Vec<(Session, Value)>,
    /// Decisions named in releases.
    decisions: Vec<String>,
    /// The newest number of the secret that was stored for sure, and the newest tried; likewise the policy.
    secret: (u64, u64),
    policy: (u64, u64),
    changes: u64,
}

fn value(number: u64) -> String {
    format!("value {number}")
}

/// A text of some pages whose two ends say the same number.
fn policy(number: u64) -> String {
    let middle = "# a line of a policy that is long enough to be cut in two\n".repeat(200);
    format!("package policy\nimport rego.v1\n# begins {number}\n{middle}default allow := false\n# ends {number}\n")
}

async fn guest_until_the_end(ready: Ready, launch: Launch) -> Told {
    let guest = Guest::new(launch);
    let mut told = Told::default();
    let Some(mut wire) = Wire::to(&ready).await else { return told };
    loop {
        let Some(session) = wire.auth().await else { return told };
        let body = guest.body(&session);
        match wire.attest(&session, &body).await {
            Some(answer) => assert_eq!(answer.status, 200, "{answer:?}"),
            None => {
                told.unanswered.push((session, body));
                return told;
            }
        }
        let answer = wire.get(&session, PATH).await;
        told.attested.push((session, body));
        let Some(answer) = answer else { return told };
        if answer.status == 503 {
            // Policies changed three times while it was decided: asked again.
            assert_eq!(answer.refusal().1, "E-BUSY");
            continue;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        told.decisions.push(answer.headers["confide-decision"].to_str().unwrap().to_owned());
    }
}

async fn admin_until_the_end(ready: Ready, token: String, mut told: Told) -> Told {
    let bearer = format!("Bearer {token}");
    let Some(mut wire) = Wire::to(&ready).await else { return told };
    loop {
        told.secret.1 += 1;
        let path = format!("/kbs/v0/resource/{PATH}");
        let done = wire.send("POST", &path, Some(("authorization", &bearer)), value(told.secret.1)).await;
        if !acknowledged(done) {
            return told;
        }
        told.secret.0 = told.secret.1;
        told.changes += 1;
        told.policy.1 += 1;
        let body = json!({"use": "release", "for": "other", "policy": policy(told.policy.1)}).to_string();
        let done = wire.send("POST", "/confide/v0/policies/soak", Some(("authorization", &bearer)), body).await;
        if !acknowledged(done) {
            return told;
        }
        told.policy.0 = told.policy.1;
        told.changes += 1;
    }
}

fn acknowledged(answer: Option<Answer>) -> bool {
    answer.is_some_and(|answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        true
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_loses_nothing_that_it_said() {
    let rounds = amount("SOAK_KILLS", 3);
    let mut dice = Dice::new("kills");
    let folder = Folder::new();
    let launch = Launch::default();
    let mut process = Process::start(&folder);
    let guest = Guest::new(launch.clone());
    process.serve_secret(&guest, PATH, value(0).as_bytes()).await;
    let (mut secret, mut policies, mut entries) = ((0, 0), (0, 0), process.whole_log().await);
    let (mut acknowledged, mut replayed, mut late) = (0, 0, 0);
    for round in 0..rounds {
        let mut guests = Vec::new();
        for _ in 0..GUESTS {
            guests.push(tokio::spawn(guest_until_the_end(process.ready.clone(), launch.clone())));
        }
        let told = Told { secret, policy: policies, ..Told::default() };
        let admin = tokio::spawn(admin_until_the_end(process.ready.clone(), process.admin.clone(), told));
        tokio::time::sleep(Duration::from_millis(100 + dice.below(700))).await;
        process.kill();
        let mut told = admin.await.unwrap();
        for guest in guests {
            let mut more = guest.await.unwrap();
            told.attested.append(&mut more.attested);
            told.unanswered.append(&mut more.unanswered);
            told.decisions.append(&mut more.decisions);
        }
        process = Process::start(&folder);

        // The log is whole and has everything that was acknowledged, besides the new start.
        let now = process.whole_log().await;
        let answered = told.changes + (told.attested.len() + told.decisions.len()) as u64;
        assert!(now > entries + answered, "round {round}: {entries} and {answered} and a start are more than {now}");
        for decision in told.decisions.iter().rev().take(10) {
            let found = process.admin("GET", &format!("/confide/v0/decisions/{decision}"), "").await;
            assert_eq!(found.status, 200, "round {round}: decision {decision} is lost");
        }
        // A nonce that was answered is used up; one that was not is good once at most.
        let mut wire = process.wire().await;
        for (session, body) in told.attested.iter().rev().take(10) {
            let again = wire.attest(session, body).await.unwrap();
            assert_eq!(again.refusal(), (401, "E-NONCE".to_owned()), "round {round}: a nonce was good twice");
            replayed += 1;
        }
        for (session, body) in &told.unanswered {
            let first = wire.attest(session, body).await.unwrap();
            if first.status == 200 {
                late += 1;
            } else {
                assert_eq!(first.refusal(), (401, "E-NONCE".to_owned()), "round {round}");
            }
            let again = wire.attest(session, body).await.unwrap();
            assert_eq!(again.refusal(), (401, "E-NONCE".to_owned()), "round {round}: a nonce was good twice");
        }
        // What was stored last is one whole value, not older than what was acknowledged.
        let session = wire.auth().await.unwrap();
        assert_eq!(wire.attest(&session, &guest.body(&session)).await.unwrap().status, 200);
        let stored = guest.secret(&wire.get(&session, PATH).await.unwrap());
        let found = (told.secret.0..=told.secret.1).find(|number| value(*number).as_bytes() == stored);
        secret = found
            .map_or_else(|| panic!("round {round}: {stored:?} of {:?}", told.secret), |found| (found, told.secret.1));
        if told.policy.1 > 0 {
            let shown = process.admin("GET", "/confide/v0/policies/soak", "").await;
            let whole = |number: &u64| shown.status == 200 && shown.json()["policy"] == json!(policy(*number));
            let found = (told.policy.0..=told.policy.1).find(whole);
            let none = told.policy.0 == 0 && shown.status == 404;
            assert!(found.is_some() || none, "round {round}: the policy is none of {:?}", told.policy);
            policies = (found.unwrap_or_default(), told.policy.1);
        }
        acknowledged += answered;
        entries = process.whole_log().await;
    }
    figure("kills: SIGKILLs under load", rounds);
    figure("kills: acknowledged changes, attestations and releases", format!("{acknowledged}, none lost"));
    figure("kills: used nonces sent again", format!("{replayed}, none accepted"));
    figure("kills: attestations cut off and accepted afterwards, once", late);
    figure("kills: entries of the log at the end, whole each time", entries);
    assert!(acknowledged > 0, "the load did nothing");
}
