//! What the broker says of its API is what it does: schemathesis, from outside, over TLS, as administrator and as guest.
//! `scripts/api-test.sh` brings the tool and names it in `SCHEMATHESIS`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::path::Path;
use std::process::Stdio;
use support::guest::Guest;
use support::processor::Launch;
use support::{Broker, Folder};

/// One seed, so that a failure comes again.
const SEED: &str = "20261122";
/// Seconds for the administrator's run, and for the guest's.
const BUDGETS: [&str; 2] = ["35", "10"];
/// What is left out: a request that fits the document may still be refused (a policy must be Rego), more in a query than
/// the document has is ignored, and a POST with `dry_run` makes nothing that could be found afterwards.
const LEFT_OUT: &str =
    "positive_data_acceptance,negative_data_rejection,missing_required_header,ensure_resource_availability";

const PATH: &str = "example/key/1";

/// Runs the tool with one header; the secret in it goes by the environment, never by an argument.
async fn run(tool: &Path, folder: &Folder, broker: &Broker, header: (&str, &str), budget: &str, only: &[&str]) -> bool {
    let settings = folder.place.path().join("schemathesis.toml");
    std::fs::write(&settings, format!("[headers]\n{} = \"${{SECRET_HEADER}}\"\n", header.0)).unwrap();
    let mut command = tokio::process::Command::new(tool);
    command
        .current_dir(folder.place.path())
        .env("SECRET_HEADER", header.1)
        .env("NO_COLOR", "1")
        .args(["run", "--seed", SEED, "--max-time", budget, "--no-shrink", "--suppress-health-check", "all"])
        .args(["--exclude-checks", LEFT_OUT, "--warnings", "off", "--continue-on-failure", "--tls-verify"])
        .arg(&folder.facts.identity_certificate)
        .args(only)
        .arg(format!("https://127.0.0.1:{}/openapi.json", broker.ready.address.port()))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(300), command.status()).await;
    ended.unwrap().unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_answers_as_its_document_says() {
    let Some(tool) = std::env::var_os("SCHEMATHESIS") else {
        println!("skipped: schemathesis is not here; scripts/api-test.sh brings it");
        return;
    };
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    broker.serve_secret(PATH, b"value", &guest.launch.reference(&[PATH])).await;
    let bearer = format!("Bearer {}", broker.admin);
    let as_admin = run(Path::new(&tool), &folder, &broker, ("Authorization", &bearer), BUDGETS[0], &[]).await;
    assert!(as_admin, "as an administrator");
    let (session, _) = guest.attested(&mut broker.client().await).await;
    let only = ["--include-path-regex", "/kbs/v0/(resource/|attest$|auth$)|receipts", "--exclude-method", "DELETE"];
    let as_guest = run(Path::new(&tool), &folder, &broker, ("Cookie", &session.cookie), BUDGETS[1], &only).await;
    assert!(as_guest, "as a guest");
    // Both got past the gates, or nothing was tested.
    let counters = &broker.admin("GET", "/confide/v0/status", "").await.json()["counters"];
    let count = |name: &str| counters[name].as_u64().unwrap();
    assert!(count("kbs_resource_writes_total") > 1 && count("kbs_policy_violations_total") > 0, "{counters}");
    // Nobody of them broke anything: the log is whole, and an honest guest is served.
    let verdict = broker.admin("GET", "/confide/v0/audit/verify", "").await.json();
    assert_eq!(verdict["ok"], serde_json::json!(true), "{verdict}");
    let put = broker.admin("POST", &format!("/kbs/v0/resource/{PATH}"), "value").await;
    assert_eq!(put.status, 200);
    broker.add(&guest.launch.reference(&[PATH])).await;
    assert_eq!(guest.secret(&guest.get(&mut broker.client().await, PATH).await), b"value");
}
