//! The agent API, as the workload sees it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod broker;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use broker::{Broker, SECRET, SITE_JSON};
use claims::ReportData;
use claims::kbs::{key_release_report_data, workload_report_data};
use claims::site::{Attestation, Network, Ports, Site};
use claims::workload::{Limits, Settings, User, UserData, WorkloadLog};
use guest::agent::{Agent, start_on};
use guest::broker_client::Keeper;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;

struct Workload {
    base: String,
    broker: Broker,
    http: ureq::Agent,
}

fn workload() -> Workload {
    let broker = Broker::start();
    let site = Site {
        version: 1,
        site: "site-1".into(),
        project: "example".into(),
        broker: None,
        network: Network::Dhcp,
        ports: Ports { inbound: vec![], outbound: vec![] },
        hosts: BTreeMap::new(),
        volume_key: "example/key/volume".into(),
        user_config: None,
        resources: ["secret", "denied", "absent", "volume"].map(|tag| format!("example/key/{tag}")).to_vec(),
        attestation: Attestation { check_frequency: 120, grace: 300 },
        issuers: vec![],
    };
    let settings = Settings {
        version: 1,
        name: "hello".into(),
        role: Some("server".into()),
        command: vec!["/bin/true".into()],
        environment: vec!["PASSWORD=not for /info".into()],
        folder: "/".into(),
        user: User { uid: 0, gid: 0, groups: vec![] },
        stop_signal: 15,
        limits: Limits { memory_bytes: None, processes: 10 },
        log: WorkloadLog::None,
        user_data: UserData::ReadOnly,
        gpu: false,
    };
    let keeper = Arc::new(Keeper::new(broker.client(), SITE_JSON.into()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    start_on(listener, Agent::new(&site, &settings, keeper)).unwrap();
    let http = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    Workload { base, broker, http }
}

impl Workload {
    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let mut answer = self.http.get(format!("{}{path}", self.base)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_vec().unwrap())
    }

    fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path);
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn code(&self, path: &str) -> (u16, String) {
        let (status, body) = self.json(path);
        (status, body["code"].as_str().unwrap().to_owned())
    }

    fn report_data(&self, path: &str) -> ReportData {
        let (status, body) = self.json(path);
        assert_eq!(status, 200);
        attest::snp::kbs::from_json(&body).unwrap().0.claimed().report_data
    }
}

#[test]
fn a_listed_resource_comes_as_it_is() {
    let workload = workload();
    assert_eq!(workload.get("/cdh/resource/example/key/secret"), (200, SECRET.to_vec()));
}

#[test]
fn other_resources_and_the_volume_key_never_come() {
    let workload = workload();
    for path in ["example/key/other", "example/key/volume", "another/key/secret"] {
        assert_eq!(workload.code(&format!("/cdh/resource/{path}")), (403, "E-DENIED".into()), "{path}");
    }
    for path in ["/cdh/resource/example/key/%2e%2e", "/cdh/resource/example/key/secret%00"] {
        assert_eq!(workload.code(path), (403, "E-DENIED".into()), "{path}");
    }
    assert_eq!(workload.code("/cdh/resource/example/key"), (404, "E-PATH".into()));
    // The broker was not even asked.
    assert_eq!(workload.broker.book.lock().unwrap().attested, 0);
}

#[test]
fn the_brokers_refusals_pass_through_as_codes() {
    let workload = workload();
    assert_eq!(workload.code("/cdh/resource/example/key/denied"), (403, "E-DENIED".into()));
    assert_eq!(workload.code("/cdh/resource/example/key/absent"), (404, "E-ABSENT".into()));
    workload.broker.book.lock().unwrap().refuse_attest = Some((503, "E-BUSY"));
    workload.broker.book.lock().unwrap().forget = 100;
    assert_eq!(workload.code("/cdh/resource/example/key/secret"), (502, "E-BUSY".into()));
}

#[test]
fn evidence_of_a_workload_carries_its_role() {
    let workload = workload();
    let asked = b"my nonce & more";
    let wanted = workload_report_data(asked);
    assert_eq!(workload.report_data("/aa/evidence?runtime_data=my%20nonce%20%26%20more"), wanted);
    let encoded = STANDARD.encode(asked).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    assert_eq!(workload.report_data(&format!("/aa/evidence?encoding=base64&runtime_data={encoded}")), wanted);
    let released = workload.report_data("/aa/evidence?form=skr&runtime_data=my%20nonce%20%26%20more");
    assert_eq!(released, key_release_report_data(asked));
    // Nobody gets 64 bytes of its own choice signed.
    let raw = "A".repeat(64);
    assert_ne!(workload.report_data(&format!("/aa/evidence?runtime_data={raw}")).0, [b'A'; 64]);
}

#[test]
fn large_and_malformed_requests_are_refused() {
    let workload = workload();
    let long = "A".repeat(5000);
    assert_eq!(workload.code(&format!("/aa/evidence?runtime_data={long}")), (413, "E-TOO-LARGE".into()));
    assert_eq!(workload.code("/aa/evidence?runtime_data=!&encoding=base64"), (400, "E-FORMAT".into()));
    assert_eq!(workload.code("/aa/evidence?runtime_data=x&encoding=rot13"), (400, "E-FORMAT".into()));
    assert_eq!(workload.code("/aa/evidence?runtime_data=x&form=raw"), (400, "E-FORMAT".into()));
    assert_eq!(workload.get("/aa/evidence").0, 400);
    assert_eq!(workload.code("/nothing"), (404, "E-PATH".into()));
    let mut posted =
        workload.http.post(format!("{}/cdh/resource/example/key/secret", workload.base)).send("x").unwrap();
    assert_eq!(posted.status().as_u16(), 405);
    assert!(!posted.body_mut().read_to_vec().unwrap().windows(SECRET.len()).any(|window| window == SECRET));
}

#[test]
fn a_token_comes_without_the_key_and_is_used_again() {
    let workload = workload();
    for _ in 0..3 {
        let (status, body) = workload.json("/aa/token?token_type=kbs");
        assert_eq!(status, 200);
        assert_eq!(body, serde_json::json!({ "token": "header.payload.signature" }));
    }
    assert_eq!(workload.broker.book.lock().unwrap().attested, 1);
}

#[test]
fn what_everybody_may_know() {
    let workload = workload();
    assert_eq!(workload.get("/healthz"), (200, b"ok\n".to_vec()));
    let (_, info) = workload.json("/info");
    assert_eq!(info["site"], "site-1");
    assert_eq!(info["emulated"], true);
    assert!(!info.to_string().contains("PASSWORD"));
}
