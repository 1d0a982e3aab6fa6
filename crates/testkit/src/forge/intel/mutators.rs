//! What can be wrong with a quote or its collateral, in the order of the verifier's checks.

use super::{CA, CA_NAME, Made, Model, PCK, Plan, ROOT, ROOT_NAME, name, quote, wanted};
use crate::forge::Change::{Made as After, Plan as Before};
use crate::forge::keys::{KeyName, Kind};
use crate::forge::{Mutator, NOW, accepted, refused, x509};
use claims::Code;

/// Every mutator, by the model that it spoils.
pub const MUTATORS: [(Model, &[Mutator<Plan, Made>]); 4] =
    [(Model::Sgx3, SGX), (Model::Sgx3, wanted::SGX), (Model::Tdx4, wanted::TDX), (Model::Tdx5, wanted::TDX_1_5)];

const SGX: &[Mutator<Plan, Made>] = &[
    // The form of a quote.
    refused(
        "too-long",
        QUOTE,
        "zeros up to more bytes than are read",
        (Code::DcapFormat, "TooLong"),
        After(|made| made.quote.resize(65_537, 0)),
    ),
    accepted("padded", QUOTE, "zeros behind the quote", After(|made| made.quote.extend([0; 16]))),
    refused(
        "truncated",
        QUOTE,
        "a byte is missing at the end",
        (Code::DcapFormat, "Truncated"),
        After(|made| {
            made.quote.pop();
        }),
    ),
    refused(
        "surplus",
        QUOTE,
        "the signature data is a byte longer than its content",
        (Code::DcapFormat, "Surplus"),
        After(|made| {
            made.quote.push(0);
            let length = u32::try_from(made.quote.len() - 436).unwrap_or(0);
            quote::put(&mut made.quote, 432, &length.to_le_bytes());
        }),
    ),
    refused(
        "trailing",
        QUOTE,
        "a byte behind the quote is not zero",
        (Code::DcapFormat, "Trailing"),
        After(|made| made.quote.extend([0, 1])),
    ),
    refused(
        "version",
        QUOTE,
        "version 6",
        (Code::DcapVersion, "Version"),
        Before(|plan| quote::put(&mut plan.quote.header, 0, &[6])),
    ),
    refused(
        "tee-type",
        QUOTE,
        "a TDX quote of version 3",
        (Code::DcapVersion, "TeeType"),
        Before(|plan| quote::put(&mut plan.quote.header, 4, &[0x81])),
    ),
    refused(
        "key-type",
        QUOTE,
        "attestation key type 3",
        (Code::DcapVersion, "KeyType"),
        Before(|plan| quote::put(&mut plan.quote.header, 2, &[3])),
    ),
    refused(
        "vendor",
        QUOTE,
        "another vendor's quoting enclave",
        (Code::DcapVersion, "Vendor"),
        Before(|plan| quote::put(&mut plan.quote.header, 12, &[0])),
    ),
    refused(
        "certification-type",
        QUOTE,
        "certification data of type 7",
        (Code::DcapVersion, "CertificationType"),
        Before(|plan| plan.quote.inner = 7),
    ),
    refused(
        "no-chain",
        QUOTE,
        "certification data names a PPID only",
        (Code::DcapChain, "NoChain"),
        Before(|plan| plan.quote.inner = 1),
    ),
    refused(
        "pem",
        QUOTE,
        "the chain is not PEM",
        (Code::DcapChain, "Pem"),
        After(|made| {
            let at = made.quote.windows(5).position(|window| window == b"-----").unwrap_or(0);
            quote::put(&mut made.quote, at, b"+");
        }),
    ),
    // Collateral.
    refused(
        "collateral",
        "Intel PCS API v4",
        "a file of no known kind",
        (Code::DcapCollateral, "Collateral"),
        After(|made| made.collateral.push(b"{}x".to_vec())),
    ),
    refused(
        "production",
        CERTIFICATES,
        "the forged root, to production",
        (Code::DcapRoot, "RootNotPinned"),
        Before(|plan| plan.set("anchor", "production")),
    ),
    refused(
        "name",
        CERTIFICATES,
        "the PCK authority has another organisation",
        (Code::DcapChain, "Name"),
        Before(|plan| plan.authority.subject = format!("CN={CA_NAME},O=Intel")),
    ),
    refused(
        "key",
        CERTIFICATES,
        "the signer's key is on P-384",
        (Code::DcapCertificate, "Key"),
        Before(|plan| plan.signer.key = KeyName("intel large", Kind::P384)),
    ),
    refused(
        "signature-algorithm",
        CERTIFICATES,
        "the signer's certificate names SHA-384",
        (Code::DcapChain, "SignatureAlgorithm"),
        Before(|plan| plan.signer.says = Some(Kind::P384)),
    ),
    refused(
        "chain-signature",
        CERTIFICATES,
        "the signer's certificate is signed by the PCK authority",
        (Code::DcapChain, "ChainSignature"),
        Before(|plan| plan.signer.signer = CA),
    ),
    refused(
        "constraints",
        CERTIFICATES,
        "the signer is an authority",
        (Code::DcapChain, "Constraints"),
        Before(|plan| plan.signer.extensions = x509::authority(None).unwrap_or_default()),
    ),
    refused(
        "critical-extension",
        CERTIFICATES,
        "an unknown extension is critical",
        (Code::DcapChain, "CriticalExtension"),
        Before(|plan| {
            plan.signer.extensions.push(("1.3.6.1.4.1.59999.1", true, vec![5, 0]));
        }),
    ),
    refused(
        "certificate-malformed",
        CERTIFICATES,
        "the signer's certificate is cut short",
        (Code::DcapCertificate, "Certificate"),
        After(|made| {
            made.collateral.iter_mut().skip(2).take(1).for_each(|der| {
                der.pop();
            });
        }),
    ),
    refused(
        "crl-malformed",
        CRL,
        "the root's list is cut short",
        (Code::DcapCrl, "CrlMalformed"),
        After(|made| {
            made.collateral.iter_mut().skip(3).take(1).for_each(|der| {
                der.pop();
            });
        }),
    ),
    refused(
        "crl-signature",
        CRL,
        "the PCK list is signed by the root",
        (Code::DcapCrl, "CrlSignature"),
        Before(|plan| plan.pck_list.iter_mut().for_each(|list| list.signer = ROOT)),
    ),
    refused(
        "crl-missing",
        CRL,
        "the root's list is not there",
        (Code::DcapCrl, "CrlMissing"),
        Before(|plan| plan.root_list = None),
    ),
    refused(
        "crl-missing-pck",
        CRL,
        "the PCK authority's list is not there",
        (Code::DcapCrl, "CrlMissing"),
        Before(|plan| plan.pck_list = None),
    ),
    refused(
        "revoked-signer",
        CRL,
        "the root's list names the signer",
        (Code::DcapRevoked, "Revoked"),
        Before(|plan| plan.root_list.iter_mut().for_each(|list| list.serials.push(4))),
    ),
    refused(
        "revoked-authority",
        CRL,
        "the root's list names the PCK authority",
        (Code::DcapRevoked, "Revoked"),
        Before(|plan| plan.root_list.iter_mut().for_each(|list| list.serials.push(2))),
    ),
    refused(
        "revoked-pck",
        CRL,
        "the PCK list names the platform",
        (Code::DcapRevoked, "Revoked"),
        Before(|plan| plan.pck_list.iter_mut().for_each(|list| list.serials.push(3))),
    ),
    refused(
        "json-signature",
        INFO,
        "the TCB info is changed behind its signature",
        (Code::DcapCollateral, "JsonSignature"),
        After(|made| {
            made.collateral.iter_mut().skip(5).take(1).for_each(|text| {
                *text = String::from_utf8_lossy(text).replace("\"OutOfDate\"", "\"UpToDate\"").into_bytes();
            });
        }),
    ),
    refused(
        "json",
        INFO,
        "signed TCB info of version 4",
        (Code::DcapCollateral, "Json"),
        Before(|plan| plan.info["version"] = 4.into()),
    ),
    refused(
        "collateral-missing",
        INFO,
        "no TCB info",
        (Code::DcapCollateral, "CollateralMissing"),
        After(|made| {
            made.collateral.remove(5);
        }),
    ),
    refused(
        "other-platform",
        INFO,
        "TCB info of another model",
        (Code::DcapCollateral, "OtherPlatform"),
        Before(|plan| plan.info["fmspc"] = "00906ED50000".into()),
    ),
    // The chain in the quote.
    refused(
        "chain-shape",
        CERTIFICATES,
        "the platform's certificate names another authority than the chain's",
        (Code::DcapChain, "ChainShape"),
        Before(|plan| {
            plan.authority.subject = name("Intel SGX PCK Processor CA");
            plan.pck_list.iter_mut().for_each(|list| list.issuer = name("Intel SGX PCK Processor CA"));
        }),
    ),
    // Byte 12 of the DER is the version; it stands behind 16 digits of the first line.
    refused(
        "certificate",
        CERTIFICATES,
        "the PCK certificate is of version 1 by its tag",
        (Code::DcapCertificate, "Certificate"),
        After(|made| {
            let at = made.quote.windows(5).position(|window| window == b"-----").unwrap_or(0);
            quote::put(&mut made.quote, at + 28 + 17, b"A");
        }),
    ),
    refused(
        "extension",
        CERTIFICATES,
        "the PCK certificate has no SGX extension",
        (Code::DcapCertificate, "Extension"),
        Before(|plan| plan.platform.stated = false),
    ),
    refused(
        "pck-chain-signature",
        CERTIFICATES,
        "the root signed the PCK certificate",
        (Code::DcapChain, "ChainSignature"),
        Before(|plan| plan.pck.signer = ROOT),
    ),
    refused(
        "pck-issuer",
        CERTIFICATES,
        "the PCK certificate names the root as issuer",
        (Code::DcapChain, "Name"),
        Before(|plan| plan.pck.issuer = name(ROOT_NAME)),
    ),
    // The signatures.
    refused(
        "qe-report-signature",
        SIGNATURES,
        "another key signed the quoting enclave's report",
        (Code::DcapQe, "QeReportSignature"),
        Before(|plan| plan.quote.qe_signer = CA),
    ),
    refused(
        "qe-report-data",
        SIGNATURES,
        "the quoting enclave names another attestation key",
        (Code::DcapQe, "QeReportData"),
        Before(|plan| quote::put(&mut plan.quote.qe, 320, &[1])),
    ),
    refused(
        "signature",
        SIGNATURES,
        "another key signed the quote",
        (Code::DcapSignature, "Signature"),
        Before(|plan| plan.quote.signer = PCK),
    ),
    refused(
        "body-changed",
        SIGNATURES,
        "a bit of the enclave's measurement is flipped",
        (Code::DcapSignature, "Signature"),
        After(|made| {
            made.quote.iter_mut().skip(48 + 64).take(1).for_each(|byte| *byte ^= 1);
        }),
    ),
    // The quoting enclave and the platform's level.
    refused(
        "qe-identity",
        IDENTITY,
        "another signer of the quoting enclave",
        (Code::DcapQe, "QeIdentity"),
        Before(|plan| plan.identity["mrsigner"] = "11".repeat(32).into()),
    ),
    refused(
        "qe-debug",
        IDENTITY,
        "the quoting enclave may be debugged",
        (Code::DcapQe, "QeIdentity"),
        Before(|plan| quote::put(&mut plan.quote.qe, 48, &[7])),
    ),
    refused(
        "qe-level",
        IDENTITY,
        "the quoting enclave is below every level",
        (Code::DcapTcbLevel, "NoTcbLevel"),
        Before(|plan| quote::put(&mut plan.quote.qe, 258, &[7, 0])),
    ),
    refused(
        "no-level",
        INFO,
        "the platform is below every level",
        (Code::DcapTcbLevel, "NoTcbLevel"),
        Before(|plan| plan.platform.component = 8),
    ),
    refused(
        "expired",
        INFO,
        "verified after the TCB info's end",
        (Code::DcapExpired, "Expired"),
        Before(|plan| plan.now = NOW + 60 * DAY),
    ),
    refused(
        "not-yet-valid",
        INFO,
        "verified before the TCB info was issued",
        (Code::DcapExpired, "NotYetValid"),
        Before(|plan| plan.now = NOW - 60 * DAY),
    ),
];

const DAY: u64 = 86_400;

const QUOTE: &str = "Intel, ECDSA Quote Library API, appendix A";
const SIGNATURES: &str = "Intel, ECDSA Quote Library API, appendix A, ECDSA 256-bit quote signature data";
const CERTIFICATES: &str = "SGX PCK Certificate and CRL Profile Specification 1.5";
const CRL: &str = "RFC 5280, section 5; SGX PCK Certificate and CRL Profile Specification 1.5";
const INFO: &str = "Intel PCS API v4, TCB info";
const IDENTITY: &str = "Intel PCS API v4, enclave identity";
