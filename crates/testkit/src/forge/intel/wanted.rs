//! What can be wrong with a quote whose signatures hold: its level, its attributes, what is wanted.

use super::{Made, Plan, name, quote};
use crate::forge::Change::Plan as Before;
use crate::forge::{Mutator, accepted, refused};
use claims::Code;

/// On an SGX quote of version 3.
pub(super) const SGX: &[Mutator<Plan, Made>] = &[
    accepted(
        "processor-ca",
        CHAIN,
        "a platform of the processor authority",
        Before(|plan| {
            plan.authority.subject = name(PROCESSOR_CA);
            plan.pck.issuer = name(PROCESSOR_CA);
            plan.pck_list.iter_mut().for_each(|list| list.issuer = name(PROCESSOR_CA));
        }),
    ),
    accepted(
        "platform-above",
        INFO,
        "every component is above the highest level",
        Before(|plan| plan.platform.component = 12),
    ),
    refused(
        "tcb-revoked",
        INFO,
        "the platform's level is Revoked, though the rule allows it",
        (Code::DcapRevoked, "TcbRevoked"),
        Before(|plan| {
            plan.info["tcbLevels"][0]["tcbStatus"] = "Revoked".into();
            plan.set("want.also-status", "Revoked");
        }),
    ),
    refused(
        "tcb-status",
        INFO,
        "the platform meets the older level only",
        (Code::DcapTcb, "TcbStatus"),
        Before(|plan| plan.platform.component = 10),
    ),
    refused(
        "tcb-status-pce",
        INFO,
        "the provisioning enclave meets the older level only",
        (Code::DcapTcb, "TcbStatus"),
        Before(|plan| plan.platform.pce_svn = 12),
    ),
    accepted(
        "tcb-status-allowed",
        INFO,
        "the same, and the rule allows OutOfDate",
        Before(|plan| {
            plan.platform.component = 10;
            plan.set("want.also-status", "OutOfDate");
        }),
    ),
    refused(
        "advisory",
        INFO,
        "an advisory applies that the rule denies",
        (Code::DcapAdvisory, "Advisory"),
        Before(|plan| plan.set("want.not-advisory", "INTEL-SA-00001")),
    ),
    refused(
        "evaluation",
        INFO,
        "older collateral than the rule asks for",
        (Code::DcapEvaluation, "Evaluation"),
        Before(|plan| plan.set("want.evaluation", "21")),
    ),
    refused(
        "platform",
        INFO,
        "another model than the rule's",
        (Code::DcapPlatform, "Platform"),
        Before(|plan| plan.set("want.fmspc", "00906ed50000")),
    ),
    refused(
        "other-tee",
        QUOTE,
        "an enclave's quote where a trust domain is wanted",
        (Code::DcapIdentity, "OtherTee"),
        Before(|plan| plan.set("want.tee", "tdx")),
    ),
    refused(
        "debug",
        ENCLAVE,
        "the DEBUG flag is set",
        (Code::DcapDebug, "Debug"),
        Before(|plan| plan.quote.body(48, &[7])),
    ),
    refused(
        "mrenclave",
        ENCLAVE,
        "another measurement",
        (Code::DcapIdentity, "Identity"),
        Before(|plan| plan.set("want.mrenclave", [1; 32])),
    ),
    refused(
        "mrsigner",
        ENCLAVE,
        "another signer",
        (Code::DcapIdentity, "Identity"),
        Before(|plan| plan.set("want.mrsigner", [1; 32])),
    ),
    refused(
        "isv-svn",
        ENCLAVE,
        "the security version is below the floor",
        (Code::DcapIdentity, "Identity"),
        Before(|plan| plan.set("want.isv-svn", "9")),
    ),
    refused(
        "report-data",
        ENCLAVE,
        "report data of another session, signed",
        (Code::ReportData, "ReportData"),
        Before(|plan| plan.quote.body(320, &[1; 64])),
    ),
];

/// On a TDX quote of version 4.
pub(super) const TDX: &[Mutator<Plan, Made>] = &[
    refused(
        "tdx-outer-type",
        QUOTE,
        "outer certification data of type 5",
        (Code::DcapVersion, "CertificationType"),
        Before(|plan| plan.quote.outer = 5),
    ),
    refused(
        "tdx-module-signer",
        MODULE,
        "another signer of the TDX module",
        (Code::DcapModule, "Module"),
        Before(|plan| plan.quote.body(64, &[1])),
    ),
    refused(
        "tdx-module-attributes",
        MODULE,
        "an attribute of the TDX module is set",
        (Code::DcapModule, "Module"),
        Before(|plan| plan.quote.body(112, &[1])),
    ),
    refused(
        "tdx-module-version",
        MODULE,
        "a version of the TDX module without identity",
        (Code::DcapModule, "Module"),
        Before(|plan| plan.quote.body(1, &[2])),
    ),
    refused(
        "tdx-module-level",
        MODULE,
        "the TDX module is below every level",
        (Code::DcapTcbLevel, "NoTcbLevel"),
        Before(|plan| plan.quote.body(0, &[2])),
    ),
    refused(
        "tdx-module-old",
        MODULE,
        "the TDX module meets the older level only",
        (Code::DcapTcb, "TcbStatus"),
        Before(|plan| plan.quote.body(0, &[4])),
    ),
    refused(
        "tdx-identity-missing",
        INFO,
        "the identity is of the other quoting enclave",
        (Code::DcapCollateral, "CollateralMissing"),
        Before(|plan| plan.identity["id"] = "QE".into()),
    ),
    refused(
        "tdx-debug",
        DOMAIN,
        "the DEBUG attribute is set",
        (Code::DcapDebug, "Debug"),
        Before(|plan| plan.quote.body(120, &[1])),
    ),
    refused(
        "tdx-sept-ve",
        DOMAIN,
        "SEPT_VE_DISABLE is off",
        (Code::DcapAttributes, "Attribute"),
        Before(|plan| plan.quote.body(120, &[0; 8])),
    ),
    refused(
        "tdx-migratable",
        DOMAIN,
        "migration is allowed",
        (Code::DcapAttributes, "Attribute"),
        Before(|plan| plan.quote.body(123, &[0x30])),
    ),
    refused(
        "tdx-perfmon",
        DOMAIN,
        "performance monitoring is allowed",
        (Code::DcapAttributes, "Attribute"),
        Before(|plan| plan.quote.body(127, &[0x80])),
    ),
    refused(
        "tdx-mrtd",
        DOMAIN,
        "another launch measurement",
        (Code::DcapIdentity, "Identity"),
        Before(|plan| plan.set("want.mrtd", [1; 48])),
    ),
    refused(
        "tdx-rtmr",
        DOMAIN,
        "another run-time measurement",
        (Code::DcapIdentity, "Identity"),
        Before(|plan| plan.set("want.rtmr0", [1; 48])),
    ),
    refused(
        "tdx-report-data",
        DOMAIN,
        "report data of another session, signed",
        (Code::ReportData, "ReportData"),
        Before(|plan| plan.quote.body(520, &[1; 64])),
    ),
];

/// On a TDX quote of version 5.
pub(super) const TDX_1_5: &[Mutator<Plan, Made>] = &[
    refused(
        "tdx15-body",
        QUOTE,
        "a body type that is not defined",
        (Code::DcapVersion, "Body"),
        Before(|plan| plan.quote.descriptor = Some((9, 648))),
    ),
    refused(
        "tdx15-service-td",
        DOMAIN,
        "a service TD is bound",
        (Code::DcapAttributes, "ServiceTd"),
        Before(|plan| plan.quote.body(600, &[1; 48])),
    ),
    refused(
        "tdx15-relaunch",
        MODULE,
        "launched on an older module that was updated since",
        (Code::DcapTcb, "TcbStatus"),
        Before(|plan| plan.quote.body(0, &[4])),
    ),
    refused(
        "tdx15-now",
        MODULE,
        "the module as it runs now is below every level",
        (Code::DcapTcbLevel, "NoTcbLevel"),
        Before(|plan| {
            quote::put(&mut plan.quote.body, 584, &[2]);
        }),
    ),
];

const PROCESSOR_CA: &str = "Intel SGX PCK Processor CA";
const CHAIN: &str = "SGX PCK Certificate and CRL Profile Specification 1.5";
const QUOTE: &str = "Intel, ECDSA Quote Library API, appendix A";
const INFO: &str = "Intel PCS API v4, TCB info";
const MODULE: &str = "Intel PCS API v4, TCB info, TDX module identities";
const ENCLAVE: &str = "Intel SDM volume 3D, table 38-21 (REPORT)";
const DOMAIN: &str = "Intel TDX module 1.5 ABI, TDINFO";
