//! Evidence and refusals.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Verbs of `evidence`.
#[derive(Debug, Subcommand)]
pub enum EvidenceCommand {
    /// Get evidence from this TEE
    #[command(after_help = "Example:\n  confide evidence get --report-data 00…00 --json")]
    Get(EvidenceGetArgs),
    /// Verify evidence in a file
    #[command(after_help = "Examples:\n  confide evidence verify report.bin --collateral vcek.der ask.pem ark.pem \
        --reference reference.json\n  confide evidence verify report.bin --collateral certs --accept-any \"first look\"")]
    Verify(EvidenceVerifyArgs),
    /// Fetch the vendors' certificates, lists and reference data for some evidence
    #[command(after_help = "Examples:\n  confide evidence fetch-collateral report.bin\n  confide evidence \
        fetch-collateral *.bin --bundle collateral.bundle --sign-key collateral.key")]
    FetchCollateral(EvidenceFetchArgs),
    /// Print what evidence claims, without believing it
    Show(EvidenceShowArgs),
}

/// Kinds of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EvidenceKind {
    /// AMD SEV-SNP report: raw, or the KBS JSON form
    Snp,
    /// Intel SGX quote, version 3 or 4
    Sgx,
    /// Intel TDX quote, version 4 or 5
    Tdx,
    /// Azure confidential VM with SNP: HCL report, vTPM quote and PCRs in Trustee's JSON form
    AzSnpVtpm,
    /// The same with TDX: the TD's quote comes with it
    AzTdxVtpm,
    /// Azure confidential container group: the sidecar's /attest/combined; the policy (.rego) comes as collateral
    Aci,
    /// TPM 2.0 quote in Trustee's JSON form, by a key that was enrolled
    Tpm,
    /// NVIDIA GPUs and switches: JSON of nvattest, NRAS or Trustee, or a raw report
    Nvgpu,
    /// RA-TLS certificate (PEM or DER) with SGX, TDX or SNP evidence in it, which is bound to the certificate's key
    RaTls,
    /// Token of Microsoft Azure Attestation; its key set (JWKS) comes as collateral, as for the next two
    Maa,
    /// EAR token, as Trustee or Veraison issues
    Ear,
    /// Detached EAT of NVIDIA's remote attestation service
    Nras,
}

impl EvidenceKind {
    /// As `--type` names it.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Arguments of `evidence get`.
#[derive(Debug, Args)]
pub struct EvidenceGetArgs {
    /// 64 bytes to be signed, as hex; shorter is padded with zeros
    #[arg(long, value_name = "HEX")]
    pub report_data: String,
    /// HOST_DATA of the emulated guest (confide-dev only)
    #[arg(long, value_name = "HEX")]
    pub host_data: Option<String>,
    /// Launch measurement of the emulated guest (confide-dev only)
    #[arg(long, value_name = "HEX")]
    pub measurement: Option<String>,
    /// Where confide-dev keeps its development roots
    #[arg(long, value_name = "DIR", default_value = ".confide", env = "CONFIDE_WORKSPACE")]
    pub workspace: PathBuf,
}

/// Arguments of `evidence verify`.
#[derive(Debug, Args)]
pub struct EvidenceVerifyArgs {
    /// Evidence, in any of the forms of --type; - is stdin
    pub file: PathBuf,
    /// Kind of evidence; found out otherwise
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<EvidenceKind>,
    /// Certificates, revocation lists and other collateral (files, folders, bundles); otherwise what
    /// fetch-collateral has stored. No socket is opened either way
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub collateral: Vec<PathBuf>,
    /// Public key (Ed25519, PEM) of whoever signs collateral bundles
    #[arg(long, value_name = "FILE")]
    pub bundle_key: Option<PathBuf>,
    /// Where fetch-collateral stored it; a folder of the user's own otherwise
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Verify as of this time (RFC 3339); now otherwise
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Reference values to compare with
    #[arg(long, value_name = "FILE", required_unless_present = "accept_any", conflicts_with = "accept_any")]
    pub reference: Option<PathBuf>,
    /// Compare with nothing, for this reason
    #[arg(long, value_name = "REASON")]
    pub accept_any: Option<String>,
    /// Report data wanted, as hex; not compared otherwise, which is said in the result
    #[arg(long, value_name = "HEX")]
    pub report_data: Option<String>,
    /// Nonce wanted, as hex; not compared otherwise, which is said in the result
    #[arg(long, value_name = "HEX")]
    pub nonce: Option<String>,
    /// Attestation keys (PEM) that were enrolled; a key that only the evidence brings is never used
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub enrolled_key: Vec<PathBuf>,
    /// Refuse when no revocation list is among the collateral
    #[arg(long)]
    pub require_crl: bool,
    /// Let a TEE pass that its host can debug, for this reason (snp, sgx, tdx, ra-tls)
    #[arg(long, value_name = "REASON")]
    pub allow_debug: Option<String>,
    /// Refuse patch levels below the vendors' bulletins: the shipped table, or a newer one
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "shipped")]
    pub floors: Option<String>,
}

/// Arguments of `evidence fetch-collateral`.
#[derive(Debug, Args)]
pub struct EvidenceFetchArgs {
    /// Evidence to fetch for; nothing in it is used as an address
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Kind of evidence; found out otherwise
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<EvidenceKind>,
    /// Where to keep it; a folder of the user's own otherwise
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Also write everything into one signed file, for machines without a network
    #[arg(long, value_name = "FILE", requires = "sign_key")]
    pub bundle: Option<PathBuf>,
    /// Ed25519 private key (PKCS #8 PEM) that signs the bundle
    #[arg(long, value_name = "FILE", requires = "bundle")]
    pub sign_key: Option<PathBuf>,
    /// AMD's key distribution service, or a mirror
    #[arg(long, value_name = "URL", default_value = "https://kdsintf.amd.com", env = "CONFIDE_KDS")]
    pub kds: String,
    /// Intel's provisioning certification service, or a PCCS
    #[arg(long, value_name = "URL", default_value = "https://api.trustedservices.intel.com", env = "CONFIDE_PCS")]
    pub pcs: String,
    /// Intel's root revocation list
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
        env = "CONFIDE_INTEL_ROOT_CRL"
    )]
    pub intel_root_crl: String,
    /// NVIDIA's reference integrity manifests
    #[arg(long, value_name = "URL", default_value = "https://rim.attestation.nvidia.com", env = "CONFIDE_RIM")]
    pub rim: String,
    /// NVIDIA's OCSP responder
    #[arg(long, value_name = "URL", default_value = "https://ocsp.ndis.nvidia.com", env = "CONFIDE_OCSP")]
    pub ocsp: String,
    /// Also trust this certificate authority (PEM) for HTTPS
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Say what would be fetched, and fetch nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `evidence show`.
#[derive(Debug, Args)]
pub struct EvidenceShowArgs {
    /// Evidence, in any of the forms of --type; - is stdin
    pub file: PathBuf,
    /// Kind of evidence; found out otherwise
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<EvidenceKind>,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  confide explain E-SNP-DEBUG\n  confide explain last\n  confide explain --list")]
pub struct ExplainArgs {
    /// A code, the id of a broker's decision, or `last` for its newest refusal
    #[arg(value_name = "CODE|DECISION", required_unless_present = "list")]
    pub what: Option<String>,
    /// Print every code
    #[arg(long)]
    pub list: bool,
    /// Which broker
    #[command(flatten)]
    pub broker: super::BrokerLocation,
}
