//! HTTP to the vendors' services: the only place of `confide` that asks anybody for collateral.
//!
//! *Guarantees*: HTTPS with the system's certificate authorities (plain HTTP to this machine only), no redirects, no
//! address from evidence, bounded answers, a budget of requests and of waiting per host. *Does not check* what comes:
//! that is verified before it is kept.

use crate::outcome::{self, Failure, Result};
use aws_lc_rs::rand;
use claims::Code;
use guest::broker_client::pinned_agent;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

/// Requests to one host in one run.
const MAX_REQUESTS: u32 = 64;
/// Waiting for one host in one run.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Tries of one request.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Largest answer.
const MAX_ANSWER: u64 = 8 << 20;

/// Asks hosts, within a budget for each.
pub(crate) struct Fetcher {
    https: Agent,
    local: Agent,
    spent: RefCell<HashMap<String, Spent>>,
}

/// What a host answered with success.
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    pub(crate) headers: HeaderMap,
}

#[derive(Default)]
struct Spent {
    requests: u32,
    waited: Duration,
}

impl Fetcher {
    /// Trusts the system's certificate authorities, and those in `ca` (a PCCS with its own certificate).
    pub(crate) fn new(ca: Option<&Path>) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = ca {
            for certificate in CertificateDer::pem_slice_iter(&outcome::read(path)?) {
                let added = certificate.ok().map(|certificate| roots.add(certificate));
                if !matches!(added, Some(Ok(()))) {
                    return Err(Failure::usage(format!("{} holds no certificate in PEM", path.display())));
                }
            }
        }
        let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::environment("cannot set up TLS").because(error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let local = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .new_agent();
        let https = pinned_agent(tls, crate::broker_api::resolve());
        Ok(Self { https, local, spent: RefCell::default() })
    }

    /// `POST` of an OCSP request where there is one, `GET` otherwise; none when there is no such thing (404).
    pub(crate) fn ask(&self, url: &str, request: Option<&[u8]>) -> Result<Option<Answer>> {
        let (agent, host) = self.agent(url)?;
        let mut wait = FIRST_WAIT;
        let mut last = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                self.wait(&host, wait, &last)?;
                wait = wait.saturating_mul(2);
            }
            self.count(&host)?;
            let answer = match request {
                Some(request) => agent.post(url).content_type("application/ocsp-request").send(request),
                None => agent.get(url).call(),
            };
            match answer {
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => return Ok(None),
                Ok(answer) if answer.status().is_success() => return read(answer, url).map(Some),
                Ok(answer) if worth_another_try(answer.status()) => {
                    wait = wait.max(retry_after(answer.headers()));
                    last = format!("HTTP status {}", answer.status());
                }
                Ok(answer) => {
                    return Err(failed(url, &format!("HTTP status {}", answer.status())));
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(failed(url, &format!("{last}, {TRIES} times")))
    }

    /// HTTPS, or this machine.
    fn agent(&self, url: &str) -> Result<(&Agent, String)> {
        let uri: ureq::http::Uri =
            url.parse().map_err(|error| Failure::usage(format!("`{url}` is not an address")).because(error))?;
        let host = uri.host().unwrap_or_default().to_owned();
        let local = ["127.0.0.1", "[::1]", "localhost"].contains(&host.as_str());
        match uri.scheme_str() {
            Some("https") => Ok((&self.https, host)),
            Some("http") if local => Ok((&self.local, host)),
            _ => Err(Failure::usage(format!("`{url}` does not start with https://"))
                .hint("plain http is for services on this machine only")),
        }
    }

    fn count(&self, host: &str) -> Result<()> {
        let mut spent = self.spent.borrow_mut();
        let spent = spent.entry(host.to_owned()).or_default();
        spent.requests = spent.requests.saturating_add(1);
        if spent.requests > MAX_REQUESTS {
            return Err(failed(host, &format!("more than {MAX_REQUESTS} requests in one run")));
        }
        Ok(())
    }

    fn wait(&self, host: &str, wait: Duration, last: &str) -> Result<()> {
        let mut random = [0_u8; 1];
        let _ = rand::fill(&mut random);
        // Up to a quarter more, so that a fleet does not come back in one moment.
        let wait = wait.saturating_add(wait.saturating_mul(random[0].into()) / 1024);
        {
            let mut spent = self.spent.borrow_mut();
            let spent = spent.entry(host.to_owned()).or_default();
            spent.waited = spent.waited.saturating_add(wait);
            if spent.waited > MAX_WAIT {
                return Err(failed(host, &format!("{last}; waited long enough")));
            }
        }
        std::thread::sleep(wait);
        Ok(())
    }
}

fn read(mut answer: Response<Body>, url: &str) -> Result<Answer> {
    let headers = answer.headers().clone();
    let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
    let body = body.map_err(|error| failed(url, "the answer broke off or is too large").because(error))?;
    Ok(Answer { body, headers })
}

fn worth_another_try(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT || status.is_server_error()
}

/// The header's seconds; a date is left to the own backoff.
fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

fn failed(what: &str, why: &str) -> Failure {
    Failure::environment(format!("no collateral from {what}: {why}"))
        .code(Code::CollateralFetch)
        .hint("run the same command again later: what was fetched before is kept")
        .hint("on a machine without a network, take a bundle: confide evidence fetch-collateral … --bundle FILE")
}
