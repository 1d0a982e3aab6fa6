//! Why no policy could be made, read or explained.

use claims::{Code, Finding, Refusal};

/// A refusal of an input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CceError {
    /// Longer than anything that is read.
    #[error("{what} has {got} bytes, at most {limit} are read")]
    Size {
        /// Which input.
        what: String,
        /// Its length.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// Not JSON.
    #[error("{what} is not JSON")]
    Json {
        /// Which input.
        what: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A member is missing or of another type.
    #[error("{place} is not {wanted}")]
    Field {
        /// Path of the member.
        place: String,
        /// What it must be.
        wanted: String,
    },
    /// The template has no container group.
    #[error("the template holds no resource of type Microsoft.ContainerInstance/containerGroups")]
    NoGroup,
    /// A template expression that is not understood.
    #[error("{place}: the expression `{text}` cannot be evaluated: {why}")]
    Expression {
        /// Path of the member.
        place: String,
        /// The expression.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A parameter without a value is used.
    #[error("{place}: parameter `{parameter}` has neither a value nor a default")]
    NoValue {
        /// Path of the member.
        place: String,
        /// The parameter.
        parameter: String,
    },
    /// A variable whose value only the deployment knows.
    #[error(
        "container `{container}`: variable `{variable}` has no value yet, so the policy would have to accept any value"
    )]
    Wildcard {
        /// The container.
        container: String,
        /// The variable.
        variable: String,
    },
    /// A mount names a volume that is not there, or one of an unknown type.
    #[error("{place}: no volume `{name}` of a type that can be mounted (azureFile, secret, emptyDir, gitRepo)")]
    Volume {
        /// Path of the mount.
        place: String,
        /// The volume or its type.
        name: String,
    },
    /// A seccomp profile that cannot be normalised.
    #[error("{place}: the seccomp profile cannot be read: {why}")]
    Seccomp {
        /// Path of the profile.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// An image about which nothing is known.
    #[error("container `{container}`: no archive was given for image `{image}`")]
    Image {
        /// The container.
        container: String,
        /// The image, as the template names it.
        image: String,
    },
    /// A text that is no policy of the known form.
    #[error("the policy is not of a form that can be read: line {line}: {why}")]
    Policy {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A text without a readable decision.
    #[error("the text holds no readable policy decision: {why}")]
    Decision {
        /// What is wrong.
        why: String,
    },
}

impl Refusal for CceError {
    fn code(&self) -> Code {
        match self {
            Self::Size { .. }
            | Self::Json { .. }
            | Self::Field { .. }
            | Self::NoGroup
            | Self::Volume { .. }
            | Self::Seccomp { .. } => Code::CceTemplate,
            Self::Expression { .. } | Self::NoValue { .. } => Code::CceExpression,
            Self::Wildcard { .. } => Code::CceWildcard,
            Self::Image { .. } => Code::CceImage,
            Self::Policy { .. } => Code::CcePolicy,
            Self::Decision { .. } => Code::AciDecision,
        }
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::Size { what, got, limit } => {
                Some(Finding::new(format!("{what}.length"), got, format!("at most {limit}")))
            }
            _ => None,
        }
    }
}

/// Refuses what is longer than anything that is read.
pub(super) fn bounded(what: &str, bytes: usize) -> Result<(), CceError> {
    match bytes <= super::INPUT_LIMIT {
        true => Ok(()),
        false => Err(CceError::Size { what: what.to_owned(), got: bytes, limit: super::INPUT_LIMIT }),
    }
}
