//! Counters, under upstream's names where they fit. No labels that a peer can choose.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($field:ident = $name:literal, $help:literal;)*) => {
        /// What is counted.
        #[derive(Default)]
        pub(crate) struct Metrics { $(pub(crate) $field: Counter,)* }

        impl Metrics {
            /// Prometheus text.
            pub(crate) fn text(&self) -> String {
                let mut out = String::new();
                $(write_counter(&mut out, $name, $help, &self.$field);)*
                let _ = writeln!(out, "# HELP kbs_build_info The broker's version");
                let _ = writeln!(out, "# TYPE kbs_build_info gauge");
                let _ = writeln!(out, "kbs_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
                out
            }

            /// Name and value of each.
            pub(crate) fn values(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field.value()),)*]
            }
        }
    };
}

counters! {
    requests = "kbs_http_requests_total", "HTTP requests";
    connections_refused = "kbs_connections_refused_total", "Connections over the limit";
    rate_refusals = "kbs_rate_refusals_total", "Requests over an address's rate";
    auth_requests = "kbs_auth_requests_total", "Requests for a challenge";
    auth_successes = "kbs_auth_successes_total", "Challenges given";
    auth_errors = "kbs_auth_errors_total", "Requests for a challenge that were refused";
    attestation_requests = "kbs_attestation_requests_total", "Attestations";
    attestation_successes = "kbs_attestation_successes_total", "Attestations that made a session";
    attestation_failures = "kbs_attestation_failures_total", "Attestations refused";
    policy_evaluations = "kbs_policy_evaluations_total", "Release decisions";
    policy_approvals = "kbs_policy_approvals_total", "Release decisions that admitted";
    policy_violations = "kbs_policy_violations_total", "Release decisions that refused";
    resource_reads = "kbs_resource_reads_total", "Secrets released";
    resource_writes = "kbs_resource_writes_total", "Secrets stored";
    resource_deletes = "kbs_resource_deletes_total", "Secrets deleted";
}

/// A number that grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn write_counter(out: &mut String, name: &str, help: &str, counter: &Counter) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}", counter.value());
}
