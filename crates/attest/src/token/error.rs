//! Why a token is refused: one variant per check.

use claims::{Code, Finding, Refusal};

/// Why a token was refused. The remote caller gets the code only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Too long.
    #[error("the token has {got} bytes, at most {most} are read")]
    Length {
        /// Bytes found.
        got: usize,
        /// Bytes read at most.
        most: usize,
    },
    /// Not a JWS in compact form, or a part is not readable.
    #[error("the token is malformed: {what}")]
    Form {
        /// What is wrong.
        what: String,
    },
    /// The header lists critical members.
    #[error("the token's header has critical members, none are understood")]
    Critical,
    /// `none`, HMAC, or something unknown.
    #[error("the token names algorithm `{got}`, which is never taken")]
    AlgorithmRefused {
        /// What the header says.
        got: String,
    },
    /// The header's algorithm is not the key's.
    #[error("the token names algorithm {token}, its key is for {key}")]
    AlgorithmMismatch {
        /// What the header says.
        token: String,
        /// What the key is for.
        key: String,
    },
    /// The key set is not readable.
    #[error("the key set is refused: {what}")]
    KeySet {
        /// What is wrong.
        what: String,
    },
    /// A certificate of the key set does not lead to a given root.
    #[error("the certificate of a key is refused: {what}")]
    Chain {
        /// Why.
        what: String,
    },
    /// No key has this id.
    #[error("no key of the set has the id `{kid}`")]
    KeyUnknown {
        /// The token's `kid`; empty when it has none and there is more than one key.
        kid: String,
    },
    /// The key did not sign it.
    #[error("the signature of the token is wrong")]
    Signature,
    /// After `exp`.
    #[error("the token expired at {expires} (seconds since 1970), the time given is {now}")]
    Expired {
        /// `exp`.
        expires: u64,
        /// Verification time.
        now: u64,
    },
    /// Before `nbf` or `iat`.
    #[error("the token's {claim} is {from} (seconds since 1970), the time given is {now}")]
    NotYetValid {
        /// `nbf` or `iat`.
        claim: &'static str,
        /// Its value.
        from: u64,
        /// Verification time.
        now: u64,
    },
    /// It does not say until when it is valid.
    #[error("the token does not say until when it is valid (`exp`)")]
    NoExpiry,
    /// Another issuer.
    #[error("the token is by `{got}`, wanted is {wanted}")]
    Issuer {
        /// `iss`; empty when it is missing.
        got: String,
        /// Wanted.
        wanted: String,
    },
    /// Another audience.
    #[error("the token is for {got:?}, wanted is {wanted}")]
    Audience {
        /// `aud`.
        got: Vec<String>,
        /// Wanted.
        wanted: String,
    },
    /// A claim is missing or of the wrong form.
    #[error("the token's claim `{claim}` {what}")]
    Claim {
        /// Which.
        claim: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A claim has another value than wanted.
    #[error("the token's claim `{claim}` is `{got}`, wanted is {wanted}")]
    Differs {
        /// Which.
        claim: String,
        /// Found.
        got: String,
        /// Wanted.
        wanted: String,
        /// Code of this kind of difference.
        code: Code,
    },
    /// A detached submodule is not the one in the signed token.
    #[error("submodule `{name}` {what}")]
    Submod {
        /// Which.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
}

impl TokenError {
    /// The stable code of this refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Length { .. } | Self::Form { .. } | Self::Claim { .. } => Code::JwtFormat,
            Self::Critical | Self::AlgorithmRefused { .. } | Self::AlgorithmMismatch { .. } => Code::JwtAlgorithm,
            Self::KeySet { .. } | Self::Chain { .. } | Self::KeyUnknown { .. } => Code::JwtKey,
            Self::Signature => Code::JwtSignature,
            Self::Expired { .. } | Self::NotYetValid { .. } | Self::NoExpiry => Code::JwtTime,
            Self::Issuer { .. } => Code::JwtIssuer,
            Self::Audience { .. } => Code::JwtAudience,
            Self::Differs { code, .. } => *code,
            Self::Submod { .. } => Code::JwtSubmod,
        }
    }
}

impl Refusal for TokenError {
    fn code(&self) -> Code {
        Self::code(self)
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::AlgorithmMismatch { token, key } => Some(Finding::new("alg", token, key)),
            Self::Expired { expires, now } => Some(Finding::new("exp", expires, format!("at least {now}"))),
            Self::NotYetValid { claim, from, now } => Some(Finding::new(*claim, from, format!("at most {now}"))),
            Self::Issuer { got, wanted } => Some(Finding::new("iss", got, wanted)),
            Self::Audience { got, wanted } => Some(Finding::new("aud", got.join(", "), wanted)),
            Self::Differs { claim, got, wanted, .. } => Some(Finding::new(claim.clone(), got, wanted)),
            _ => None,
        }
    }
}
