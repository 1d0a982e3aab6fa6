//! Evidence and requests that must get nothing, and what the operator then reads.

mod support;

use attest::snp::kbs::to_json;
use attest::snp::{CertificateTable, Entry, Report};
use claims::site::{self, Site};
use claims::{ChipId, LaunchDigest};
use hyper::StatusCode;
use serde_json::{Value, json};
use support::guest::{Guest, payload};
use support::processor::{Launch, verifier};
use support::{Folder, refused};

const PATH: &str = "example/volume-key/site-1";
const SECRET: &[u8] = b"thirty-two bytes of volume key!!";

/// Puts the secret there with the rule of a default launch, changed as wanted.
async fn with_rule(change: impl FnOnce(&mut Value)) -> (Folder, support::Broker) {
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut reference = Launch::default().reference(&[PATH]);
    change(&mut reference);
    broker.serve_secret(PATH, SECRET, &reference).await;
    (folder, broker)
}

#[tokio::test]
async fn a_release_broker_refuses_emulated_evidence_even_if_it_is_given_the_verifier() {
    let folder = Folder::new();
    let settings = broker::Settings { dev: false, ..folder.settings() };
    let broker = folder.start_with(settings, verifier()).await;
    let guest = Guest::new(Launch::default());
    broker.serve_secret(PATH, SECRET, &guest.launch.reference(&[PATH])).await;
    let mut client = broker.client().await;
    let (session, answer) = guest.attest(&mut client).await;
    assert_eq!(answer.refusal(), refused(403, "E-EMULATED"));
    assert_eq!(session.get(&mut client, PATH).await.refusal(), refused(401, "E-SESSION"));
    assert_eq!(broker.decision(&answer.decision()).await["code"], json!("E-EMULATED"));
    broker.stop().await;

    // Nor does a release broker believe a token that a development broker of the same folder signed.
    let development = folder.start().await;
    let (session, token) = guest.attested(&mut development.client().await).await;
    development.stop().await;
    let settings = broker::Settings { dev: false, ..folder.settings() };
    let broker = folder.start_with(settings, verifier()).await;
    let mut client = broker.client().await;
    let bearer = format!("Bearer {token}");
    let path = format!("/kbs/v0/resource/{PATH}");
    let answer = client.send("GET", &path, &[("authorization", &bearer)], "").await;
    assert_eq!(answer.refusal(), refused(401, "E-TOKEN"));
    assert_eq!(session.get(&mut client, PATH).await.refusal(), refused(403, "E-DENIED"));
}

#[tokio::test]
async fn what_differs_is_refused_and_explained_to_the_operator_only() {
    let (_folder, broker) = with_rule(|_| ()).await;
    let mut measured = Launch::default();
    measured.guest.measurement = LaunchDigest([0x77; 48]);
    let cases = [
        ("E-MEASUREMENT", "measurement", measured),
        ("E-HOST-DATA", "host_data", Launch::with_host_data(claims::HostData([0x77; 32]))),
        ("E-SNP-DEBUG", "policy.debug", Launch::with_policy(0xb_0000)),
        ("E-SNP-MIGRATION", "policy.migration", Launch::with_policy(0x7_0000)),
        ("E-SNP-VMPL", "vmpl", Launch { vmpl: 1, ..Launch::default() }),
    ];
    for (code, claim, launch) in cases {
        let guest = Guest::new(launch);
        let mut client = broker.client().await;
        let (session, token) = guest.attested(&mut client).await;
        assert_eq!(payload(&token)["submods"]["cpu0"]["ear.status"], json!("contraindicated"), "{code}");
        let answer = session.get(&mut client, PATH).await;
        assert_eq!(answer.refusal(), refused(403, "E-DENIED"), "{code}");
        let decision = broker.decision(&answer.decision()).await;
        assert_eq!(decision["code"], json!(code));
        let checks = decision["trace"][0]["checks"].as_array().unwrap();
        let failed: Vec<_> = checks.iter().filter(|check| check["passed"] == json!(false)).collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert_eq!(failed[0]["claim"], json!(claim));
        assert_ne!(failed[0]["got"], failed[0]["wanted"]);
    }
}

#[tokio::test]
async fn our_guest_is_refused_at_once_and_the_changed_setting_is_named() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let site: Site = serde_json::from_value(json!({
        "version": 1, "site": "site-1", "project": "example",
        "broker": {"url": "https://10.0.2.2:8999", "identity": folder.facts.identity},
        "network": {"mode": "dhcp"}, "ports": {"inbound": [8080], "outbound": []}, "hosts": {},
        "volume_key": PATH, "user_config": null, "resources": [],
        "attestation": {"check_frequency": 120, "grace": 300}, "issuers": [],
    }))
    .unwrap();
    let bytes = site.to_bytes().unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let launch = Launch::with_host_data(site::host_data(&bytes));
    broker.serve_secret(PATH, SECRET, &launch.reference(&[PATH])).await;
    assert_eq!(broker.admin("POST", "/confide/v0/sites", bytes).await.status, StatusCode::OK);
    let guest = Guest { init_data: Some(("site".into(), text.clone())), ..Guest::new(launch.clone()) };
    let mut client = broker.client().await;
    assert_eq!(guest.secret(&guest.get(&mut client, PATH).await), SECRET);

    // The host changed a port in site.json: HOST_DATA follows, and the digest proves the text.
    let changed = text.replacen("8080", "2222", 1);
    let mut moved = launch.clone();
    moved.guest.host_data = site::host_data(changed.as_bytes());
    let guest = Guest { init_data: Some(("site".into(), changed.clone())), ..Guest::new(moved) };
    let (_, answer) = guest.attest(&mut client).await;
    assert_eq!(answer.refusal(), refused(403, "E-HOST-DATA"));
    let decision = broker.decision(&answer.decision()).await;
    assert_eq!(decision["site_changes"], json!([{"setting": "/ports/inbound", "got": "[2222]", "wanted": "[8080]"}]));

    // The guest tells another text than the one whose digest is signed: refused, and its words are not shown.
    let guest = Guest { init_data: Some(("site".into(), changed)), ..Guest::new(launch) };
    let (_, answer) = guest.attest(&mut client).await;
    assert_eq!(answer.refusal(), refused(403, "E-HOST-DATA"));
    let decision = broker.decision(&answer.decision()).await;
    assert_eq!(decision.get("site_changes"), None);
}

#[tokio::test]
async fn who_is_not_admitted_cannot_tell_what_exists() {
    let (_folder, broker) = with_rule(|_| ()).await;
    let mut client = broker.client().await;
    let mut launch = Launch::default();
    launch.guest.measurement = LaunchDigest([0x77; 48]);
    let stranger = Guest::new(launch);
    let (session, _) = stranger.attested(&mut client).await;
    // There with a rule; there without; neither.
    let put = broker.admin("POST", "/kbs/v0/resource/example/other/1", "x").await;
    assert_eq!(put.status, StatusCode::OK);
    let mut bodies = Vec::new();
    for path in [PATH, "example/other/1", "no/such/thing"] {
        let answer = session.get(&mut client, path).await;
        assert_eq!(answer.refusal(), refused(403, "E-DENIED"), "{path}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        bodies.push(detail.replace(&answer.decision(), "…"));
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    // Permitted and absent is the one case that says so.
    let deleted = broker.admin("DELETE", &format!("/kbs/v0/resource/{PATH}"), "").await;
    assert_eq!(deleted.status, StatusCode::OK);
    let answer = Guest::new(Launch::default()).get(&mut client, PATH).await;
    assert_eq!(answer.refusal(), refused(404, "E-ABSENT"));
}

#[tokio::test]
async fn without_rule_or_after_its_removal_nothing_is_released() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    let mut client = broker.client().await;
    broker.admin("POST", &format!("/kbs/v0/resource/{PATH}"), SECRET).await;
    let (session, token) = guest.attested(&mut client).await;
    assert_eq!(payload(&token)["submods"]["cpu0"]["ear.status"], json!("contraindicated"));
    assert_eq!(session.get(&mut client, PATH).await.refusal(), refused(403, "E-DENIED"));
    // The rule counts for the session that is there, and so does its removal.
    let id = broker.add(&guest.launch.reference(&[PATH])).await;
    assert_eq!(guest.secret(&session.get(&mut client, PATH).await), SECRET);
    let removed = broker.admin("DELETE", &format!("/confide/v0/references/{id}"), "").await;
    assert_eq!(removed.status, StatusCode::OK);
    assert_eq!(session.get(&mut client, PATH).await.refusal(), refused(403, "E-DENIED"));
}

#[tokio::test]
async fn an_exclusive_lease_holds_until_it_ends_and_its_holder_renews_it() {
    let folder = Folder::new();
    let mut settings = folder.settings();
    settings.lease_seconds = 2;
    let broker = folder.start_with(settings, verifier()).await;
    let mut reference = Launch::default().reference(&[PATH]);
    reference["lease"] = json!("exclusive");
    broker.serve_secret(PATH, SECRET, &reference).await;
    let mut client = broker.client().await;
    let (first, second) = (Guest::new(Launch::default()), Guest::new(Launch::default()));
    assert_eq!(first.secret(&first.get(&mut client, PATH).await), SECRET);
    assert_eq!(second.get(&mut client, PATH).await.refusal(), refused(403, "E-LEASE"));
    // The holder itself may ask again, and attesting again renews.
    assert_eq!(first.secret(&first.get(&mut client, PATH).await), SECRET);
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    first.attested(&mut client).await;
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    assert_eq!(second.get(&mut client, PATH).await.refusal(), refused(403, "E-LEASE"));
    tokio::time::sleep(std::time::Duration::from_millis(3100)).await;
    assert_eq!(second.secret(&second.get(&mut client, PATH).await), SECRET);
    assert_eq!(first.get(&mut client, PATH).await.refusal(), refused(403, "E-LEASE"));
}

#[tokio::test]
async fn a_second_guest_on_a_shared_lease_is_served_and_flagged() {
    let (_folder, broker) = with_rule(|_| ()).await;
    let mut client = broker.client().await;
    for flagged in [false, true] {
        let guest = Guest::new(Launch::default());
        assert_eq!(guest.secret(&guest.get(&mut client, PATH).await), SECRET);
        assert_eq!(broker.decisions().await[0]["concurrent"], json!(flagged));
    }
}

#[tokio::test]
async fn first_use_binds_the_chip_across_restarts() {
    let (folder, broker) = with_rule(|reference| reference["chips"] = json!("first-use")).await;
    let (here, there) = (Guest::new(Launch::on(0)), Guest::new(Launch::on(1)));
    let mut client = broker.client().await;
    assert_eq!(here.secret(&here.get(&mut client, PATH).await), SECRET);
    assert_eq!(there.get(&mut client, PATH).await.refusal(), refused(403, "E-DENIED"));
    broker.stop().await;
    let broker = folder.start().await;
    let mut client = broker.client().await;
    let answer = there.get(&mut client, PATH).await;
    assert_eq!(broker.decision(&answer.decision()).await["code"], json!("E-SNP-CHIP"));
    assert_eq!(here.secret(&here.get(&mut client, PATH).await), SECRET);
    let rules = broker.admin("GET", "/confide/v0/references", "").await.json();
    assert_eq!(rules["references"][0]["first_use_chip"], json!(here.launch.chip_id()));
}

#[tokio::test]
async fn listed_chips_and_tcb_floors_are_compared() {
    let listed = vec![Launch::on(1).chip_id(), ChipId([9; 64])];
    let (_folder, broker) = with_rule(|reference| reference["chips"] = json!({"list": listed})).await;
    let mut client = broker.client().await;
    let there = Guest::new(Launch::on(1));
    assert_eq!(there.secret(&there.get(&mut client, PATH).await), SECRET);
    let answer = Guest::new(Launch::on(0)).get(&mut client, PATH).await;
    assert_eq!(broker.decision(&answer.decision()).await["code"], json!("E-SNP-CHIP"));

    let floor = json!({"bootloader": 255, "tee": 0, "snp": 0, "microcode": 0});
    let (_folder, broker) = with_rule(|reference| reference["tcb_floor"] = floor).await;
    let answer = Guest::new(Launch::default()).get(&mut broker.client().await, PATH).await;
    assert_eq!(broker.decision(&answer.decision()).await["code"], json!("E-SNP-TCB-FLOOR"));
}

#[tokio::test]
async fn evidence_that_was_touched_is_refused() {
    let (_folder, broker) = with_rule(|_| ()).await;
    let guest = Guest::new(Launch::default());
    let mut client = broker.client().await;
    let session = Guest::auth(&mut client).await;
    let good = guest.body(&session);
    let report = "/tee-evidence/primary_evidence/attestation_report";
    let cases: [(&str, Value, u16, &str); 7] = [
        ("/measurement/0", json!(0x55), 403, "E-SNP-SIGNATURE"),
        ("/version", json!(4), 403, "E-SNP-VERSION"),
        ("/chip_id/5", json!(0), 403, "E-SNP-CHIP"),
        ("/measurement", json!([1, 2]), 400, "E-FORMAT"),
        ("/policy", json!("196608"), 400, "E-FORMAT"),
        ("/vmpl", json!(0.5), 400, "E-FORMAT"),
        ("/signature/r", json!([]), 400, "E-FORMAT"),
    ];
    for (place, value, status, code) in cases {
        let mut body = good.clone();
        *body.pointer_mut(&format!("{report}{place}")).unwrap() = value;
        assert_eq!(session.attest(&mut client, &body).await.refusal(), refused(status, code), "{place}");
    }
    // Members that are doubled, unknown evidence beside it, or another claim that looks like one.
    let doubled = good.to_string().replacen("\"vmpl\":0", "\"vmpl\":0,\"vmpl\":0", 1);
    let sent = client.send("POST", "/kbs/v0/attest", &[("cookie", &session.cookie)], doubled).await;
    assert_eq!(sent.refusal(), refused(400, "E-FORMAT"));
    let mut extra = good.clone();
    extra["tee-evidence"]["primary_evidence"]["attestation_report"]["Measurement"] = json!([]);
    assert_eq!(session.attest(&mut client, &extra).await.refusal(), refused(400, "E-FORMAT"));
    let mut devices = good.clone();
    devices["tee-evidence"]["additional_evidence"] = json!("{\"sampledevice\":{\"svn\":\"2\"}}");
    assert_eq!(session.attest(&mut client, &devices).await.refusal(), refused(401, "E-BINDING"));
    // None of these used the challenge up.
    assert_eq!(session.attest(&mut client, &good).await.status, StatusCode::OK);
}

#[tokio::test]
async fn real_silicon_evidence_of_another_use_is_verified_and_refused_for_its_report_data() {
    let vectors = std::env::var_os("CONFIDE_VECTORS").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        std::path::PathBuf::from,
    );
    let Ok(report) = std::fs::read(vectors.join("snp/reports/genoa-v3-trustee-e2e.bin")) else {
        println!("skipped: vectors are not here");
        return;
    };
    let vek = std::fs::read(vectors.join("snp/certs/genoa-v3-trustee-e2e.vek.der")).unwrap();
    let evidence = to_json(&Report::parse(&report).unwrap(), &CertificateTable::of(vec![(Entry::Vcek, vek)]));
    let folder = Folder::new();
    let collateral = folder.path().join("collateral");
    std::fs::create_dir(&collateral).unwrap();
    for name in ["ARK-Genoa.pem", "SEV-Genoa.pem"] {
        std::fs::copy(vectors.join("snp/roots").join(name), collateral.join(name)).unwrap();
    }
    let settings = broker::Settings { dev: false, collateral: Some(collateral), ..folder.settings() };
    let broker = folder.start_with(settings, None).await;
    let mut client = broker.client().await;
    let guest = Guest::new(Launch::default());
    let session = Guest::auth(&mut client).await;
    let mut body = guest.body(&session);
    body["tee-evidence"]["primary_evidence"] = evidence;
    let answer = session.attest(&mut client, &body).await;
    assert_eq!(answer.refusal(), refused(403, "E-REPORT-DATA"), "AMD's chain holds, but the evidence is not ours");
    // A flipped bit is found before that.
    body["tee-evidence"]["primary_evidence"]["attestation_report"]["measurement"][0] = json!(1);
    assert_eq!(session.attest(&mut client, &body).await.refusal(), refused(403, "E-SNP-SIGNATURE"));
}

#[tokio::test]
async fn paths_have_one_spelling() {
    let (_folder, broker) = with_rule(|_| ()).await;
    let guest = Guest::new(Launch::default());
    let mut client = broker.client().await;
    let (session, _) = guest.attested(&mut client).await;
    let long = format!("example/volume-key/{}", "a".repeat(10_000));
    for path in [
        "../volume-key/site-1",
        "example/../volume-key/site-1",
        "%2e%2e/volume-key/site-1",
        "example//volume-key/site-1",
        "example/volume-key/site-1/",
        "example/volume-key",
        "example/volume-key/site-1/x",
        "example/volume-key/site-1%00",
        "example/volume%2dkey/site-1",
        "example/volume-key/.site-1",
        "/example/volume-key/site-1",
        long.as_str(),
    ] {
        assert_eq!(session.get(&mut client, path).await.refusal(), refused(400, "E-PATH"), "{path}");
    }
    // Another case is another path, for which there is no rule.
    assert_eq!(session.get(&mut client, "Example/Volume-Key/Site-1").await.refusal(), refused(403, "E-DENIED"));
}

#[tokio::test]
async fn upstream_init_data_is_bound_and_shown() {
    let text = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"aa.toml\" = \"x = 1\"\n";
    let launch = Launch::with_host_data(site::host_data(text.as_bytes()));
    let (_folder, broker) = with_rule(|_| ()).await;
    broker.add(&launch.reference(&[PATH])).await;
    let mut client = broker.client().await;
    let guest = Guest { init_data: Some(("toml".into(), text.into())), ..Guest::new(launch) };
    let (_, token) = guest.attested(&mut client).await;
    let claims = &payload(&token)["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["init_data_claims"];
    assert_eq!(claims, &json!({"aa.toml": {"x": 1}}));
    for (format, body, status, code) in
        [("toml", "x = 1", 400, "E-FORMAT"), ("json", "{}", 400, "E-FORMAT"), ("site", "{}", 403, "E-HOST-DATA")]
    {
        let guest = Guest { init_data: Some((format.into(), body.into())), ..Guest::new(Launch::default()) };
        let (_, answer) = guest.attest(&mut client).await;
        assert_eq!(answer.refusal(), refused(status, code), "{format}");
    }
}
