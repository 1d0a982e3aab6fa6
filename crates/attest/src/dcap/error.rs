//! Why a quote is refused: one variant per check, in the order in which the checks are made.

use super::finding::names;
use claims::ReportData;
use claims::bytes::Digest384;
use claims::dcap::{DcapTee, TcbStatus};
use std::fmt;

/// Which certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Intel SGX Root CA.
    Root,
    /// Intel SGX PCK Processor CA or Platform CA.
    PckCa,
    /// The platform's certificate.
    Pck,
    /// Intel SGX TCB Signing: signs TCB info and identities.
    Signer,
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Root => "root",
            Self::PckCa => "PCK authority",
            Self::Pck => "PCK",
            Self::Signer => "TCB signing",
        })
    }
}

/// Why a quote or its collateral was refused. The remote caller gets [`DcapError::code`] only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DcapError {
    /// More bytes than any quote has.
    #[error("the quote has {got} bytes, at most {max} are read")]
    TooLong {
        /// Bytes found.
        got: usize,
        /// Bytes read.
        max: usize,
    },
    /// It ends within a field.
    #[error("the quote ends within {what}, which takes {wanted} bytes at offset {offset}")]
    Truncated {
        /// The field.
        what: &'static str,
        /// Where it starts.
        offset: usize,
        /// Its length.
        wanted: usize,
    },
    /// Bytes within a container that its content does not account for.
    #[error("{what} holds {extra} bytes more than its content")]
    Surplus {
        /// The container.
        what: &'static str,
        /// How many.
        extra: usize,
    },
    /// A byte behind the quote is not zero; nobody vouches for it.
    #[error("byte {offset} behind the quote is not zero, and nothing signs it")]
    Trailing {
        /// Where.
        offset: usize,
    },
    /// Header, `version`.
    #[error("the quote is version {got}, read are 3, 4 and 5")]
    Version {
        /// Version found.
        got: u16,
    },
    /// Header, `tee_type`.
    #[error("a quote of version {version} cannot have TEE type {got:#x}")]
    TeeType {
        /// Version.
        version: u16,
        /// Type found.
        got: u32,
    },
    /// Version 5, body descriptor.
    #[error("body type {kind} with {size} bytes is not defined for this TEE type")]
    Body {
        /// Type found.
        kind: u16,
        /// Size found.
        size: u32,
    },
    /// Header, `att_key_type`.
    #[error("the quote names attestation key type {got}, only 2 (ECDSA P-256) is supported")]
    KeyType {
        /// Type found.
        got: u16,
    },
    /// Header, `qe_vendor_id`.
    #[error("the quoting enclave's vendor is {got}, only Intel's is known")]
    Vendor {
        /// Vendor found, hex.
        got: String,
    },
    /// A type of certification data that does not belong there.
    #[error("the {place} certification data has type {got}, which does not belong there")]
    CertificationType {
        /// `outer` or `inner`.
        place: &'static str,
        /// Type found.
        got: u16,
    },
    /// The quote names its platform by PPID only, and the collateral holds no PCK certificate.
    #[error("the quote carries no PCK chain (certification data {kind}), and the collateral holds none")]
    NoChain {
        /// Type of certification data.
        kind: u16,
    },
    /// Not PEM in its one form.
    #[error("the certificate chain is not PEM in its one form: {what}")]
    Pem {
        /// What is wrong.
        what: String,
    },
    /// Not X.509 in DER, or too large.
    #[error("the {role} certificate is malformed: {what}")]
    Certificate {
        /// Which.
        role: Role,
        /// What is wrong.
        what: String,
    },
    /// Other certificates, or in another order, than leaf, authority, root.
    #[error("the PCK chain {what}")]
    ChainShape {
        /// What is wrong.
        what: &'static str,
    },
    /// The root's key is not the pinned one, whatever its name.
    #[error("the root's public key (SHA-384 {spki}) is not Intel's")]
    RootNotPinned {
        /// SHA-384 of its SubjectPublicKeyInfo.
        spki: Digest384,
    },
    /// Subject or issuer is not what this place in the chain has.
    #[error("the {role} certificate has {part} `{got}`, which does not belong there")]
    Name {
        /// Which.
        role: Role,
        /// `subject` or `issuer`.
        part: &'static str,
        /// Common name and organisation found.
        got: String,
    },
    /// Not a P-256 key.
    #[error("the {role} certificate holds another kind of key than P-256")]
    Key {
        /// Which.
        role: Role,
    },
    /// Signature algorithm is not ECDSA with SHA-256, or differs inside and outside.
    #[error("the {role} certificate is not signed with ECDSA and SHA-256")]
    SignatureAlgorithm {
        /// Which.
        role: Role,
    },
    /// The parent's key did not sign it.
    #[error("the signature of the {role} certificate is wrong")]
    ChainSignature {
        /// Which.
        role: Role,
    },
    /// Basic constraints or key usage do not fit the place in the chain.
    #[error("the {role} certificate {what}")]
    Constraints {
        /// Which.
        role: Role,
        /// What is wrong.
        what: &'static str,
    },
    /// An extension that nobody here understands is marked critical.
    #[error("the {role} certificate has the unknown critical extension {oid}")]
    CriticalExtension {
        /// Which.
        role: Role,
        /// Its object identifier.
        oid: String,
    },
    /// Intel's SGX extension of a PCK certificate is not in its one form.
    #[error("the SGX extension of the PCK certificate is wrong: {what}")]
    Extension {
        /// What is wrong.
        what: &'static str,
    },
    /// A list names it.
    #[error("the {role} certificate is revoked")]
    Revoked {
        /// Which.
        role: Role,
    },
    /// There is no list of this authority.
    #[error("there is no revocation list of `{issuer}`")]
    CrlMissing {
        /// Common name of the authority.
        issuer: String,
    },
    /// Not a CRL in DER, or too large, or with an extension that changes its scope.
    #[error("a revocation list is malformed: {what}")]
    CrlMalformed {
        /// What is wrong.
        what: String,
    },
    /// Not signed by the authority it names, or that authority's certificate is not there.
    #[error("the revocation list of `{issuer}` is not signed by it")]
    CrlSignature {
        /// Issuer found.
        issuer: String,
    },
    /// A file that is none of the kinds that are known, or too much of it.
    #[error("this is no collateral of a known kind: {what}")]
    Collateral {
        /// What is wrong.
        what: String,
    },
    /// TCB info or identity is not in its form.
    #[error("the {what} is malformed: {why}")]
    Json {
        /// `TCB info` or `QE identity`.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// No TCB signing certificate's key signed exactly these bytes.
    #[error("the signature of the {what} does not hold over its exact bytes")]
    JsonSignature {
        /// `TCB info` or `QE identity`.
        what: &'static str,
    },
    /// The collateral lacks a kind of document for this TEE.
    #[error("the collateral holds no {what} for {tee}")]
    CollateralMissing {
        /// What.
        what: &'static str,
        /// For which TEE.
        tee: DcapTee,
    },
    /// TCB info is there, but of other platform models.
    #[error("the platform is FMSPC {got}, the collateral is for {}", wanted.join(", "))]
    OtherPlatform {
        /// FMSPC and PCE id of the PCK certificate.
        got: String,
        /// Those of the TCB info there is.
        wanted: Vec<String>,
    },
    /// The PCK key did not sign the quoting enclave's report.
    #[error("the platform's key did not sign the quoting enclave's report")]
    QeReportSignature,
    /// The quoting enclave's report does not name the attestation key.
    #[error("the quoting enclave's report does not name this attestation key")]
    QeReportData,
    /// The quoting enclave is not the one of the identity.
    #[error("the quoting enclave has {claim} {got}, Intel's identity says {wanted}")]
    QeIdentity {
        /// Which field.
        claim: &'static str,
        /// Found, masked.
        got: String,
        /// Wanted, masked.
        wanted: String,
    },
    /// The attestation key did not sign the quote.
    #[error("the signature of the quote is wrong")]
    Signature,
    /// The TDX module is not the one of the TCB info.
    #[error("the TDX module has {claim} {got}, the TCB info says {wanted}")]
    Module {
        /// Which field.
        claim: &'static str,
        /// Found.
        got: String,
        /// Wanted.
        wanted: String,
    },
    /// No level is met.
    #[error("the {what} is below every level that Intel lists")]
    NoTcbLevel {
        /// `platform`, `TDX module` or `quoting enclave`, or the first two as they run now.
        what: &'static str,
    },
    /// After the end of validity of a piece of collateral.
    #[error("the {what} was valid until {until} (seconds since 1970), the time given is {now}")]
    Expired {
        /// Which piece.
        what: &'static str,
        /// End of validity.
        until: u64,
        /// Verification time.
        now: u64,
    },
    /// Before the start of validity of a piece of collateral.
    #[error("the {what} is valid from {from} (seconds since 1970), the time given is {now}")]
    NotYetValid {
        /// Which piece.
        what: &'static str,
        /// Start of validity.
        from: u64,
        /// Verification time.
        now: u64,
    },
    /// Its keys are known to be bad; no rule can allow that.
    #[error("Intel revoked this platform's TCB")]
    TcbRevoked,
    /// Not among the allowed.
    #[error("the TCB status is {got}, allowed are {}", names(allowed))]
    TcbStatus {
        /// Status found.
        got: TcbStatus,
        /// Statuses allowed.
        allowed: Vec<TcbStatus>,
    },
    /// Denied, or not among the allowed.
    #[error("advisory {id} applies")]
    Advisory {
        /// Its id.
        id: String,
    },
    /// Older collateral than the rule asks for.
    #[error("the collateral is of evaluation {got}, the floor is {wanted}")]
    Evaluation {
        /// Number found.
        got: u32,
        /// Least number.
        wanted: u32,
    },
    /// Another kind of TEE than the rule is for.
    #[error("the quote is of {got}, the rule is for {wanted}")]
    OtherTee {
        /// Kind found.
        got: DcapTee,
        /// Kind wanted.
        wanted: DcapTee,
    },
    /// The DEBUG attribute, or a bit of the TD-under-debug group.
    #[error("debugging is allowed by attributes {attributes:#x}")]
    Debug {
        /// Attributes found.
        attributes: u64,
    },
    /// An attribute is not as the rule asks.
    #[error("{what} (attributes {attributes:#x})")]
    Attribute {
        /// What is missing or too much.
        what: &'static str,
        /// Attributes found.
        attributes: u64,
    },
    /// Service TDs are bound that are not on the rule's list.
    #[error("service TDs {got} are bound")]
    ServiceTd {
        /// Their measurement.
        got: Digest384,
    },
    /// Not among the reference values.
    #[error("{claim} {got} is not allowed")]
    Identity {
        /// Which value.
        claim: &'static str,
        /// Found.
        got: String,
        /// Wanted.
        wanted: String,
    },
    /// Not what this session binds.
    #[error("report data {got} is not what this session binds")]
    ReportData {
        /// Value found.
        got: ReportData,
    },
    /// Not on the rule's list.
    #[error("the platform's {claim} {got} is not allowed")]
    Platform {
        /// Which value.
        claim: &'static str,
        /// Found.
        got: String,
        /// Wanted.
        wanted: String,
    },
}
