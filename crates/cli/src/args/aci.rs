//! Confidential container groups of Azure.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Verbs of `aci`.
#[derive(Debug, Subcommand)]
pub enum AciCommand {
    /// Make the policy (CCE policy) of a container group
    ///
    /// The policy's exact bytes go to stdout, without a newline; their SHA-256 is the group's host data. Findings go to
    /// stderr. Nothing is pulled: each image of the template needs an archive (`docker save`, or an OCI layout).
    #[command(after_help = "Examples:\n  \
        confide aci policy -a template.json --image reg.example/app:1=app.tar >policy.rego\n  \
        confide aci policy -a template.json --tar images.json --in-place --strict\n  \
        confide aci policy -a template.json --tar app.tar --print-policy >policy.b64\n  \
        confide aci policy -a template.json --tar app.tar --diff\n  \
        confide aci policy --image reg.example/app:1=app.tar --json")]
    Policy(Box<AciPolicyArgs>),
    /// Say why a container group was refused: decodes `policyDecision<…>policyDecision`
    #[command(after_help = "Examples:\n  confide aci explain --file error.txt --policy template.json\n  \
        az container show … | confide aci explain -")]
    Explain(AciExplainArgs),
    /// Answer requests as the guest would under a policy
    #[command(after_help = "Example:\n  confide aci check policy.rego requests.json")]
    Check(AciCheckArgs),
}

/// Arguments of `aci policy`. Names are those of `az confcom acipolicygen`, where it has the option.
#[derive(Debug, Args)]
pub struct AciPolicyArgs {
    /// ARM template with the container groups
    #[arg(short = 'a', long, value_name = "FILE", conflicts_with = "input")]
    pub template_file: Option<PathBuf>,
    /// Parameter file of the template
    #[arg(short, long, value_name = "FILE", requires = "template_file")]
    pub parameters: Option<PathBuf>,
    /// JSON input instead of a template, in either form of `az confcom`
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// The archive of an image; without a template or input, the images are the group
    #[arg(long, value_name = "REF[=ARCHIVE]")]
    pub image: Vec<String>,
    /// Archives to look for images in, or a JSON file that maps images to archives
    #[arg(long, value_name = "FILE")]
    pub tar: Vec<PathBuf>,
    /// The container group to make the policy for, where the template has several
    #[arg(long, value_name = "NAME", requires = "template_file")]
    pub group: Option<String>,
    /// Allow shells in every container, stack dumps and logs
    #[arg(long)]
    pub debug_mode: bool,
    /// Hide the output of every container from the host
    #[arg(long)]
    pub disable_stdio: bool,
    /// Let variables without a value have any value
    #[arg(short = 'y', long)]
    pub approve_wildcards: bool,
    /// Leave the images' names out of the policy
    #[arg(long)]
    pub omit_id: bool,
    /// Let ACI set the addresses of identity services (since September 2026)
    #[arg(long)]
    pub identity_endpoints: bool,
    /// Refuse a start with unknown variables, instead of dropping them
    #[arg(long)]
    pub no_environment_dropping: bool,
    /// Lowest version of the infrastructure fragment
    #[arg(long, value_name = "SVN", conflicts_with = "exclude_default_fragments")]
    pub infrastructure_svn: Option<String>,
    /// Leave the infrastructure fragment out
    #[arg(short = 'e', long)]
    pub exclude_default_fragments: bool,
    /// JSON file with further fragments
    #[arg(short = 'j', long, value_name = "FILE")]
    pub fragments_json: Option<PathBuf>,
    /// Version of the guest's interface
    #[arg(long, value_name = "VERSION", default_value = "0.11.0", value_parser = ["0.10.0", "0.11.0"])]
    pub api_version: String,
    /// Print the policy on one line per statement (the default)
    #[arg(long)]
    pub outraw: bool,
    /// Print the policy indented: the same rules, other bytes, so another host data
    #[arg(long, conflicts_with = "outraw")]
    pub outraw_pretty_print: bool,
    /// Print the policy as base64, as `ccePolicy` has it
    #[arg(long)]
    pub print_policy: bool,
    /// Print the policy that the template has
    #[arg(long, requires = "template_file", conflicts_with_all = ["diff", "in_place", "output"])]
    pub print_existing_policy: bool,
    /// Compare with the policy that the template has; exit 1 if it does not cover the containers
    #[arg(short, long, requires = "template_file", conflicts_with_all = ["in_place", "output"])]
    pub diff: bool,
    /// Write the policies into the template itself
    #[arg(long, requires = "template_file", conflicts_with = "output")]
    pub in_place: bool,
    /// Write the template with the policies to this file
    #[arg(short, long, value_name = "FILE", requires = "template_file")]
    pub output: Option<PathBuf>,
    /// Write the policy's bytes to this file
    #[arg(short, long, value_name = "FILE")]
    pub save_to_file: Option<PathBuf>,
    /// Refuse where there is any finding
    #[arg(long)]
    pub strict: bool,
    /// Write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `aci explain`.
#[derive(Debug, Args)]
pub struct AciExplainArgs {
    /// The error message, or `-` for stdin
    #[arg(value_name = "MESSAGE", required_unless_present = "file", conflicts_with = "file")]
    pub message: Option<String>,
    /// A file with the error message
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The policy that refused: its text, its base64, or the template that it is in
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The container group, where the template has several
    #[arg(long, value_name = "NAME", requires = "policy")]
    pub group: Option<String>,
}

/// Arguments of `aci check`.
#[derive(Debug, Args)]
pub struct AciCheckArgs {
    /// The policy: its text, its base64, or the template that it is in
    pub policy: PathBuf,
    /// Requests in order: a JSON list of `{"name": …, "input": …}`
    pub requests: PathBuf,
    /// Facts of the guest, as hcsshim's policy engine simulator takes them; Azure's otherwise
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// The container group, where the template has several
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
}
