//! `GET /metrics`: section 4.7.

use super::PATH;
use super::support::guest::Guest;
use super::support::processor::Launch;
use super::support::{Broker, Folder};
use std::collections::BTreeMap;

/// Name with labels, and value, of each sample; the type of each family.
struct Page {
    samples: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
    text: String,
}

impl Page {
    async fn of(broker: &Broker) -> Self {
        let answer = broker.client().await.send("GET", "/metrics", &[], "").await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} stands there twice");
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
                assert!(samples.insert(name.to_owned(), value).is_none(), "{name} stands there twice");
            }
        }
        Self { samples, types, text }
    }

    fn at(&self, name: &str) -> f64 {
        *self.samples.get(name).unwrap_or_else(|| panic!("{name} is not there: {}", self.text))
    }
}

/// Upstream's families, and their types.
const UPSTREAM: [(&str, &str); 22] = [
    ("kbs_build_info", "gauge"),
    ("kbs_http_requests_total", "counter"),
    ("kbs_http_request_duration_seconds", "histogram"),
    ("kbs_http_request_size_bytes", "histogram"),
    ("kbs_http_response_size_bytes", "histogram"),
    ("kbs_http_active_connections", "gauge"),
    ("kbs_resource_reads_total", "counter"),
    ("kbs_resource_writes_total", "counter"),
    ("kbs_resource_deletes_total", "counter"),
    ("kbs_policy_evaluations_total", "counter"),
    ("kbs_policy_approvals_total", "counter"),
    ("kbs_policy_violations_total", "counter"),
    ("kbs_policy_errors_total", "counter"),
    ("kbs_attestation_requests_total", "counter"),
    ("kbs_attestation_errors_total", "counter"),
    ("kbs_attestation_successes_total", "counter"),
    ("kbs_attestation_failures_total", "counter"),
    ("kbs_auth_requests_total", "counter"),
    ("kbs_auth_successes_total", "counter"),
    ("kbs_auth_errors_total", "counter"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
];

#[tokio::test]
async fn upstreams_families_are_there_and_count_what_happened() {
    let folder = Folder::new();
    let broker = folder.start().await;
    let before = Page::of(&broker).await;
    for (name, kind) in UPSTREAM {
        assert_eq!(before.types.get(name).map(String::as_str), Some(kind), "{name}");
    }
    let guest = Guest::new(Launch::default());
    broker.serve_secret(PATH, b"value", &guest.launch.reference(&[PATH])).await;
    let mut client = broker.client().await;
    let (session, _) = guest.attested(&mut client).await;
    session.get(&mut client, PATH).await;
    session.get(&mut client, "example/key/2").await;
    client.send("POST", "/kbs/v0/auth", &[], "{}").await;
    client.send("POST", "/kbs/v0/attest", &[], "{}").await;
    let refused = Guest::auth(&mut client).await;
    refused.attest(&mut client, &guest.body_with(&refused, [7; 64])).await;
    let after = Page::of(&broker).await;
    for (name, wanted) in [
        ("kbs_auth_requests_total", 3.0),
        ("kbs_auth_successes_total", 2.0),
        ("kbs_auth_errors_total", 1.0),
        ("kbs_attestation_requests_total", 3.0),
        ("kbs_attestation_successes_total{tee_type=\"snp\"}", 1.0),
        ("kbs_attestation_failures_total{tee_type=\"snp\"}", 1.0),
        ("kbs_attestation_successes_total{tee_type=\"tdx\"}", 0.0),
        ("kbs_attestation_errors_total", 1.0),
        ("kbs_policy_evaluations_total", 2.0),
        ("kbs_policy_approvals_total", 1.0),
        ("kbs_policy_violations_total", 1.0),
        ("kbs_policy_errors_total", 0.0),
        ("kbs_resource_reads_total", 1.0),
        ("kbs_resource_writes_total", 1.0),
        ("kbs_resource_deletes_total", 0.0),
    ] {
        assert_eq!(after.at(name) - before.at(name), wanted, "{name}");
    }
    // The request that asks is counted when it is answered, so it is missing in its own answer.
    assert_eq!(after.at("kbs_http_requests_total") - before.at("kbs_http_requests_total"), 11.0);
    assert_eq!(after.at("kbs_http_request_duration_seconds_count"), after.at("kbs_http_requests_total"));
    assert_eq!(after.at("kbs_http_response_size_bytes_count"), after.at("kbs_http_requests_total"));
    for name in ["kbs_http_response_size_bytes_sum", "kbs_http_request_size_bytes_sum"] {
        assert!(after.at(name) > before.at(name) + 1000.0, "{name}");
    }
    assert!(after.at("kbs_http_active_connections") >= 1.0);
    assert!(after.at("process_resident_memory_bytes") > 1e6 && after.at("process_open_fds") > 3.0);
    // Who reads metrics learns no name of a secret; a label that callers choose would also grow without bound.
    assert!(!after.text.contains("example"), "{}", after.text);
    for name in ["kbs_http_request_size_bytes", "kbs_http_response_size_bytes", "kbs_http_request_duration_seconds"] {
        let classes: Vec<f64> = after
            .text
            .lines()
            .filter(|line| line.starts_with(&format!("{name}_bucket")))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
            .collect();
        assert!(classes.is_sorted() && classes.last() == Some(&after.at(&format!("{name}_count"))), "{name}");
    }
}
