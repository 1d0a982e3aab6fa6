//! What a remote caller learns of a refusal: a status, upstream's error name, a stable code, a few fixed words.

use crate::vault::VaultError;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use claims::Code;
use claims::kbs::ErrorInformation;

/// A request that is not fulfilled. The words are fixed texts of this crate: nothing of the request, nothing secret. Only
/// administrators are told more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    code: Code,
    words: &'static str,
    decision: Option<String>,
    detail: Option<String>,
    status: StatusCode,
}

impl Refusal {
    pub(crate) fn of(code: Code, words: &'static str) -> Self {
        Self { code, words, decision: None, detail: None, status: status(code) }
    }

    /// Names the decision, under which the operator finds the explanation.
    pub(crate) fn decided(mut self, decision: &str) -> Self {
        self.decision = Some(decision.to_owned());
        self
    }

    /// Tells an administrator what is wrong with what he sent.
    pub(super) fn explained(mut self, detail: String) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Whether it says something of what was sent, rather than of the broker.
    pub(crate) fn is_verdict(&self) -> bool {
        self.status.is_client_error()
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl From<crate::store::StoreError> for Refusal {
    fn from(error: crate::store::StoreError) -> Self {
        tracing::error!(error = crate::store::with_causes(&error), "the store refused");
        match error {
            crate::store::StoreError::Busy => Self::of(Code::Busy, "the store is busy"),
            _ => Self::of(Code::Store, "the store does not answer"),
        }
    }
}

impl From<VaultError> for Refusal {
    /// For administrators: whoever may write and delete may know why Vault does not. (Who asks for a release is told less.)
    fn from(error: VaultError) -> Self {
        match &error {
            VaultError::Busy => Self::of(Code::Busy, error.name()),
            VaultError::Conflict | VaultError::OtherMembers { .. } => {
                Self::of(Code::Store, error.name()).with_status(StatusCode::CONFLICT).explained(error.to_string())
            }
            VaultError::NoVersions => Self::of(Code::Format, error.name()),
            _ => Self::of(Code::Store, error.name()).explained(error.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let detail = match (&self.decision, &self.detail) {
            (Some(decision), _) => format!("{}: {} (decision {decision})", self.code, self.words),
            (None, Some(detail)) => format!("{}: {}: {detail}", self.code, self.words),
            (None, None) => format!("{}: {}", self.code, self.words),
        };
        let kind = format!("https://github.com/confidential-containers/kbs/errors/{}", variant(self.code));
        let body = serde_json::to_vec(&ErrorInformation { kind, detail }).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.code == Code::Busy {
            // A bucket fills, and a store's lock is free again, within a second.
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.code == Code::Admin {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// 401 says "attest (or authenticate) again", and nothing else does: upstream clients start over on it.
fn status(code: Code) -> StatusCode {
    match code {
        Code::Nonce | Code::Session | Code::Token | Code::Binding | Code::Admin => StatusCode::UNAUTHORIZED,
        Code::Format | Code::Version | Code::TeeUnsupported | Code::Path => StatusCode::BAD_REQUEST,
        Code::Unsupported => StatusCode::BAD_REQUEST,
        Code::Policy | Code::PolicyCases | Code::PolicyBudget => StatusCode::BAD_REQUEST,
        Code::Absent | Code::Route => StatusCode::NOT_FOUND,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Busy | Code::Store => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    }
}

/// Upstream's name of the error, where it has one.
fn variant(code: Code) -> &'static str {
    match code {
        Code::Session => "TokenNotFound",
        Code::Token => "TokenVerifierError",
        Code::Admin => "AdminAuthAccess",
        Code::Format => "SerdeError",
        Code::Path => "InvalidRequestPath",
        Code::Absent => "ResourceNotFound",
        Code::Route => "PluginNotFound",
        Code::TooLarge => "PayloadTooLarge",
        Code::Busy | Code::Store => "PluginInternalError",
        Code::Policy | Code::PolicyCases => "ParsePolicyError",
        Code::Unsupported | Code::PolicyBudget => "PolicyEngineError",
        Code::Denied | Code::NotAffirming | Code::NoRule | Code::Lease | Code::Revoked => "PolicyDeny",
        _ => "AttestationError",
    }
}
