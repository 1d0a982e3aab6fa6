//! Counters, under upstream's names where they fit. No labels that a peer can choose: upstream's `resource_path` would
//! tell every reader of the metrics how secrets are called, and grows without bound.

use crate::verify::Kind;
use claims::UnixTime;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

macro_rules! counters {
    ($($field:ident = $name:literal, $help:literal;)*) => {
        /// What is counted.
        #[derive(Default)]
        pub(crate) struct Metrics {
            $(pub(crate) $field: Counter,)*
            /// Attestations that made a session.
            pub(crate) attestation_successes: PerKind,
            /// Attestations whose evidence was refused.
            pub(crate) attestation_failures: PerKind,
            /// Connections that are open.
            pub(crate) connections: Gauge,
            /// How long requests took.
            pub(crate) durations: Durations,
            /// Bytes of the request bodies that were read.
            pub(crate) request_sizes: Sizes,
            /// Bytes of the answers' bodies.
            pub(crate) response_sizes: Sizes,
        }

        impl Metrics {
            /// Prometheus text.
            pub(crate) fn text(&self, started: UnixTime) -> String {
                let mut out = String::new();
                $(write_counter(&mut out, $name, $help, &self.$field);)*
                self.attestation_successes.write(&mut out, SUCCESSES, "Attestations that made a session");
                self.attestation_failures.write(&mut out, FAILURES, "Attestations whose evidence was refused");
                self.connections.write(&mut out);
                self.durations.write(&mut out);
                self.request_sizes.write(&mut out, "kbs_http_request_size_bytes", "Bodies of requests that were read");
                self.response_sizes.write(&mut out, "kbs_http_response_size_bytes", "Bodies of answers");
                write_process(&mut out, started);
                let _ = writeln!(out, "# HELP kbs_build_info The broker's version");
                let _ = writeln!(out, "# TYPE kbs_build_info gauge");
                let _ = writeln!(out, "kbs_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
                out
            }

            /// Name and value of each.
            pub(crate) fn values(&self) -> Vec<(&'static str, u64)> {
                let mut values = vec![$(($name, self.$field.value()),)*];
                values.extend([(SUCCESSES, self.attestation_successes.sum()), (FAILURES, self.attestation_failures.sum())]);
                values
            }
        }
    };
}

counters! {
    requests = "kbs_http_requests_total", "HTTP requests";
    connections_refused = "kbs_connections_refused_total", "Connections over the limit";
    connections_limited = "kbs_connections_limited_total", "Connections closed unread, over the rate of their address";
    connections_evicted = "kbs_connections_evicted_total", "Connections without a request that made room for others";
    rate_refusals = "kbs_rate_refusals_total", "Requests over an address's rate";
    auth_requests = "kbs_auth_requests_total", "Requests for a challenge";
    auth_successes = "kbs_auth_successes_total", "Challenges given";
    auth_errors = "kbs_auth_errors_total", "Requests for a challenge that were refused";
    attestation_requests = "kbs_attestation_requests_total", "Attestations";
    attestation_errors = "kbs_attestation_errors_total", "Attestations that did not come to a verdict on evidence";
    policy_evaluations = "kbs_policy_evaluations_total", "Release decisions";
    policy_approvals = "kbs_policy_approvals_total", "Release decisions that admitted";
    policy_violations = "kbs_policy_violations_total", "Release decisions that refused";
    policy_errors = "kbs_policy_errors_total", "Release decisions that could not be made";
    resource_reads = "kbs_resource_reads_total", "Secrets released";
    resource_writes = "kbs_resource_writes_total", "Secrets stored";
    resource_deletes = "kbs_resource_deletes_total", "Secrets deleted";
}

const SUCCESSES: &str = "kbs_attestation_successes_total";
const FAILURES: &str = "kbs_attestation_failures_total";

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

/// A number that grows, for each kind of evidence.
#[derive(Default)]
pub(crate) struct PerKind([Counter; Kind::ALL.len()]);

impl PerKind {
    pub(crate) fn add(&self, kind: Kind) {
        for (known, counter) in Kind::ALL.iter().zip(&self.0) {
            if *known == kind {
                counter.add();
            }
        }
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(Counter::value).fold(0, u64::saturating_add)
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for (kind, counter) in Kind::ALL.iter().zip(&self.0) {
            let _ = writeln!(out, "{name}{{tee_type=\"{}\"}} {}", kind.name(), counter.value());
        }
    }
}

/// A number that goes up and down.
#[derive(Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    /// Counts until the value is dropped.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Held(&self.0)
    }

    fn write(&self, out: &mut String) {
        let name = "kbs_http_active_connections";
        let value = self.0.load(Ordering::Relaxed);
        let _ = writeln!(out, "# HELP {name} Open connections\n# TYPE {name} gauge\n{name} {value}");
    }
}

/// One of what a [`Gauge`] counts.
pub(crate) struct Held<'a>(&'a AtomicU64);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Upper ends of the histogram's classes, milliseconds.
const CLASSES: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 30_000];

/// A histogram of times.
#[derive(Default)]
pub(crate) struct Durations {
    classes: [AtomicU64; CLASSES.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Durations {
    pub(crate) fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        // Each class counts what is at or below its end, as Prometheus has it.
        for (end, class) in CLASSES.iter().zip(&self.classes) {
            if micros <= end.saturating_mul(1_000) {
                class.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn write(&self, out: &mut String) {
        let name = "kbs_http_request_duration_seconds";
        let _ = writeln!(out, "# HELP {name} Time until a request was answered\n# TYPE {name} histogram");
        for (end, class) in CLASSES.iter().zip(&self.classes) {
            let end = Duration::from_millis(*end).as_secs_f64();
            let _ = writeln!(out, "{name}_bucket{{le=\"{end}\"}} {}", class.load(Ordering::Relaxed));
        }
        let count = self.count.load(Ordering::Relaxed);
        let sum = Duration::from_micros(self.micros.load(Ordering::Relaxed)).as_secs_f64();
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
    }
}

/// Upper ends of the classes of sizes, bytes: upstream's, and what else a body may have.
const SIZES: [u64; 9] = [32, 128, 512, 2_048, 8_192, 32_768, 131_072, 524_288, 2_097_152];

/// A histogram of sizes.
#[derive(Default)]
pub(crate) struct Sizes {
    classes: [AtomicU64; SIZES.len()],
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Sizes {
    pub(crate) fn add(&self, bytes: u64) {
        for (end, class) in SIZES.iter().zip(&self.classes) {
            if bytes <= *end {
                class.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (end, class) in SIZES.iter().zip(&self.classes) {
            let _ = writeln!(out, "{name}_bucket{{le=\"{end}\"}} {}", class.load(Ordering::Relaxed));
        }
        let (count, sum) = (self.count.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
    }
}

/// What Prometheus' own libraries say of a process; what the system does not tell is left out.
fn write_process(out: &mut String, started: UnixTime) {
    let mut gauge = |name: &str, help: &str, value: u64| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    };
    gauge("process_start_time_seconds", "When the broker started, seconds since 1970", started.0);
    if let Some(bytes) = resident() {
        gauge("process_resident_memory_bytes", "Memory in use", bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        gauge("process_open_fds", "Open file descriptors", u64::try_from(open.count()).unwrap_or(u64::MAX));
    }
}

fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn write_counter(out: &mut String, name: &str, help: &str, counter: &Counter) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}", counter.value());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_every_class_that_holds_them() {
        let metrics = Metrics::default();
        metrics.durations.add(Duration::from_millis(2));
        metrics.durations.add(Duration::from_millis(40_000));
        let held = metrics.connections.hold();
        let text = metrics.text(UnixTime(1));
        for line in [
            "kbs_http_request_duration_seconds_bucket{le=\"0.001\"} 0",
            "kbs_http_request_duration_seconds_bucket{le=\"0.002\"} 1",
            "kbs_http_request_duration_seconds_bucket{le=\"30\"} 1",
            "kbs_http_request_duration_seconds_bucket{le=\"+Inf\"} 2",
            "kbs_http_request_duration_seconds_sum 40.002",
            "kbs_http_request_duration_seconds_count 2",
            "kbs_http_active_connections 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        drop(held);
        assert!(metrics.text(UnixTime(1)).contains("kbs_http_active_connections 0\n"));
    }
}
