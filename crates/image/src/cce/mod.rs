//! The policy of a confidential Azure container group (CCE policy): made, read, checked and explained.
//!
//! *Takes* an ARM template, the JSON input of `az confcom acipolicygen` or a list of images; what the images say about
//! themselves ([`ImageFacts`]); and, for checking, the text of a policy and the requests of a host.
//! *Guarantees* that the same inputs give the same bytes, which are those of `az confcom` 2.0; that the host data shown
//! is the SHA-256 of exactly these bytes; and that an expression, a field or an image that is not understood is an
//! error, never left out.
//! *Does not check* that a policy is what its author meant, signatures of fragments, or what fragments contain. The
//! decisions of [`enforce`] are those of the guest's framework 0.5.0 for Linux containers; the guest decides.
//!
//! Source: Microsoft's hcsshim (`pkg/securitypolicy`) and azure-cli-extensions (`confcom`), both MIT; nothing of them
//! is copied here. Section numbers in this module are those of the project's notes on confidential ACI.

mod arm;
mod defaults;
mod diff;
pub mod enforce;
mod error;
mod explain;
mod expression;
mod generate;
mod inject;
mod input;
mod lint;
mod model;
mod node;
mod rego;
mod seccomp;
mod spec;
mod text;

pub use arm::{Group, Template};
pub use defaults::{FRAMEWORK_VERSION, infrastructure_fragment, pause_container};
pub use diff::{Difference, compare};
pub use error::CceError;
pub use explain::{Advice, Denial, Nearest};
pub use generate::{ImageFacts, Images, Options, container, policy};
pub use inject::insert;
pub use input::{Input, fragments, image_list};
pub use lint::{Lint, lint};
pub use model::{
    Allow, ApiVersion, Capabilities, Container, EnvRule, ExecProcess, Fragment, IdName, Mount, Policy, Strategy, User,
};
pub use rego::{Document, Rule};
pub use spec::{Spec, Variable};
pub use text::Layout;

use claims::Digest256;

/// Longest template, input or policy that is read (ARM's own limit for a template is 4 MB).
pub const INPUT_LIMIT: usize = 16 << 20;

/// The HOST_DATA of a container group with this policy: SHA-256 of the bytes that base64 in `ccePolicy` stands for.
pub fn host_data(policy: &[u8]) -> Digest256 {
    Digest256::of(policy)
}
