//! HTTP to Vault: bounded in size and time, no redirects, no proxy, no authority but the one in the settings.

use super::error::VaultError;
use super::settings::VaultSettings;
use claims::Secret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{HeaderValue, Method, Request};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Error};
use zeroize::Zeroizing;

/// Largest answer: a value of the largest length as a JSON array of bytes.
const MAX_ANSWER: usize = 4 << 20;
/// Longest part of Vault's words that is shown.
const MAX_WORDS: usize = 160;

/// Speaks to one server.
pub(super) struct Http {
    agent: Agent,
    address: String,
    namespace: Option<HeaderValue>,
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Zeroizing<Vec<u8>>,
    what: String,
    /// Whether Vault's words may be shown: not where it was sent something secret beside the token.
    quotable: bool,
}

/// A request's body.
pub(super) enum Body<'a> {
    None,
    /// Nothing secret is in it.
    Plain(&'a [u8]),
    /// A value or a credential is in it.
    Secret(&'a [u8]),
}

impl Http {
    pub(super) fn new(settings: &VaultSettings) -> Result<Self, VaultError> {
        let seconds = Duration::from_secs(settings.seconds);
        let mut roots = Vec::new();
        if let Some(path) = &settings.ca_file {
            let failed = |source| VaultError::File { path: path.clone(), source: Arc::new(source) };
            let pem = std::fs::read(path).map_err(failed)?;
            let content = || VaultError::Content { path: path.clone(), wanted: "certificates in PEM" };
            let mut known = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|_| content())?;
                known.add(certificate.clone()).map_err(|_| content())?;
                roots.push(Certificate::from_der(&certificate).to_owned());
            }
            if roots.is_empty() {
                return Err(content());
            }
        }
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(!settings.is_plain())
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("confide-broker/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(seconds))
            .tls_config(tls)
            .build();
        let namespace = settings.namespace.as_deref().and_then(|name| HeaderValue::from_str(name).ok());
        let address = settings.address.trim_end_matches('/').to_owned();
        Ok(Self { agent: config.new_agent(), address, namespace })
    }

    /// One request; `path` stands behind `/v1/`.
    pub(super) fn send(
        &self,
        method: &Method,
        path: &str,
        token: Option<&Secret<String>>,
        body: &Body<'_>,
    ) -> Result<Reply, VaultError> {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}/v1/{path}", self.address))
            .header("x-vault-request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace.clone());
        }
        if let Some(token) = token {
            let value = token.expose(|token| HeaderValue::from_str(token));
            let mut value = value.map_err(|_| VaultError::Login { status: 0 })?;
            value.set_sensitive(true);
            request = request.header("x-vault-token", value);
        }
        let unreachable = |error: Error| self.unreachable(error);
        let made = |error: ureq::http::Error| self.unreachable(Error::Http(error));
        let answer = match body {
            Body::None => self.agent.run(request.body(()).map_err(made)?),
            Body::Plain(bytes) | Body::Secret(bytes) => {
                self.agent.run(request.header("content-type", "application/json").body(*bytes).map_err(made)?)
            }
        };
        let mut answer = answer.map_err(unreachable)?;
        let what = format!("{method} {path}");
        let length = answer.body().content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(4096);
        // Room from the start: growing would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.clamp(512, MAX_ANSWER).saturating_add(64)));
        let limit = MAX_ANSWER.saturating_add(1);
        let mut reader = answer.body_mut().with_config().limit(limit as u64).reader();
        if let Err(error) = reader.read_to_end(&mut bytes) {
            let over = error
                .get_ref()
                .and_then(|inner| inner.downcast_ref())
                .is_some_and(|inner| matches!(inner, Error::BodyExceedsLimit(_)));
            return Err(match over {
                true => VaultError::Malformed { what, problem: "too large" },
                false => VaultError::Unreachable { address: self.address.clone(), source: Arc::new(error) },
            });
        }
        if bytes.len() > MAX_ANSWER {
            return Err(VaultError::Malformed { what, problem: "too large" });
        }
        let status = answer.status().as_u16();
        // Not initialised, sealed; or a load balancer that finds no node.
        if (501..=504).contains(&status) {
            return Err(VaultError::Sealed { address: self.address.clone() });
        }
        Ok(Reply { status, body: bytes, what, quotable: !matches!(body, Body::Secret(_)) })
    }

    fn unreachable(&self, error: Error) -> VaultError {
        VaultError::Unreachable { address: self.address.clone(), source: Arc::new(error) }
    }
}

impl Reply {
    /// The body of a success as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, VaultError> {
        // The cause is left out: it quotes what it read.
        serde_json::from_slice(&self.body).map_err(|_| self.malformed("not the JSON wanted"))
    }

    pub(super) fn malformed(&self, problem: &'static str) -> VaultError {
        VaultError::Malformed { what: self.what.clone(), problem }
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The error of an answer that nobody expected.
    pub(super) fn unexpected(&self, token: &Secret<String>) -> VaultError {
        let what = self.what.clone();
        match self.status {
            403 => VaultError::Forbidden { what },
            status => VaultError::Status { what, status, words: self.words(token) },
        }
    }

    /// Vault's list of errors; none where the body is not one.
    pub(super) fn errors(&self) -> Option<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Errors {
            errors: Vec<String>,
        }
        serde_json::from_slice::<Errors>(&self.body).ok().map(|body| body.errors)
    }

    fn words(&self, token: &Secret<String>) -> String {
        let Some(errors) = self.errors().filter(|errors| self.quotable && !errors.is_empty()) else {
            return String::new();
        };
        let plain = |letter: &char| letter.is_ascii_graphic() || *letter == ' ';
        let words: String = errors.join("; ").chars().filter(plain).take(MAX_WORDS).collect();
        // A server that sends the token back must not bring it into the log; nor a part of it.
        let echoed = token.expose(|token| {
            token.as_bytes().windows(8).any(|part| words.as_bytes().windows(8).any(|word| word == part))
        });
        if echoed { String::new() } else { format!(": {words}") }
    }
}
