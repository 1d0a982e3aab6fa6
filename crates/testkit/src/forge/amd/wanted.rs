//! What can be wrong with an SNP report whose chain holds: what the certificate says, the binding, what is wanted.

use super::super::{Mutator, accepted, refused};
use super::{BOOTLOADER, CSP_ID, HARDWARE_ID, MICROCODE, Made, PRODUCT_NAME, Plan, STRUCT_VERSION};
use crate::forge::Change::{Made as After, Plan as Before};
use claims::bytes::Digest384;
use claims::{ChipId, Code, ReportData};

pub(super) const MUTATORS: &[Mutator<Plan, Made>] = &[
    // What the endorsement certificate says.
    refused(
        "vek-kind",
        EXTENSIONS,
        "the report says VLEK, the certificate is a VCEK's",
        (Code::SnpSigningKey, "VekKind"),
        Before(|plan| plan.fields.key_info = 1 << 2),
    ),
    refused(
        "extension-missing",
        EXTENSIONS,
        "ucodeSPL is missing",
        (Code::SnpCertificate, "ExtensionMissing"),
        Before(|plan| plan.vek.set(MICROCODE, None)),
    ),
    refused(
        "extension-doubled",
        EXTENSIONS,
        "blSPL is there twice",
        (Code::SnpCertificate, "ExtensionDoubled"),
        Before(|plan| {
            plan.vek.extensions.push((BOOTLOADER, false, vec![2, 1, 99]));
        }),
    ),
    refused(
        "extension-unexpected",
        EXTENSIONS,
        "a VCEK names a provider",
        (Code::SnpCertificate, "ExtensionUnexpected"),
        Before(|plan| {
            plan.vek.set(CSP_ID, Some(b"\x16\x01x".to_vec()));
        }),
    ),
    refused(
        "extension-form",
        EXTENSIONS,
        "blSPL is an OCTET STRING",
        (Code::SnpCertificate, "ExtensionForm"),
        Before(|plan| {
            plan.vek.set(BOOTLOADER, Some(vec![4, 1, 10]));
        }),
    ),
    refused(
        "hardware-id-wrapped",
        EXTENSIONS,
        "hwID is wrapped in an OCTET STRING",
        (Code::SnpCertificate, "ExtensionForm"),
        Before(|plan| {
            plan.vek.set(HARDWARE_ID, Some([b"\x04\x40", plan.fields.chip_id.as_bytes().as_slice()].concat()));
        }),
    ),
    refused(
        "struct-version",
        EXTENSIONS,
        "structVersion 2",
        (Code::SnpCertificate, "StructVersion"),
        Before(|plan| plan.vek.set(STRUCT_VERSION, Some(vec![2, 1, 2]))),
    ),
    refused(
        "product-name",
        EXTENSIONS,
        "a certificate for Milan under Genoa's root",
        (Code::SnpProduct, "ProductName"),
        Before(|plan| {
            plan.vek.set(PRODUCT_NAME, Some(b"\x16\x08Milan-B0".to_vec()));
        }),
    ),
    // The binding of report and certificate.
    refused(
        "product-mismatch",
        TABLE,
        "CPUID is a Milan's, the chain is Genoa's",
        (Code::SnpProduct, "ProductMismatch"),
        Before(|plan| plan.fields.cpuid = Some((0x19, 1, 1))),
    ),
    accepted(
        "tcb-behind",
        TCB,
        "the reported TCB is behind the current one, and the certificate is for it",
        Before(|plan| {
            plan.fields.current_tcb.microcode += 1;
            plan.fields.committed_tcb = plan.fields.current_tcb;
        }),
    ),
    refused(
        "tcb-mismatch",
        TABLE,
        "the report says an older microcode than the certificate",
        (Code::SnpTcb, "TcbMismatch"),
        Before(|plan| plan.fields.reported_tcb.microcode -= 1),
    ),
    refused(
        "chip-mismatch",
        TABLE,
        "the certificate of another chip",
        (Code::SnpChip, "ChipMismatch"),
        Before(|plan| plan.fields.chip_id = ChipId([7; 64])),
    ),
    refused(
        "chip-masked",
        TABLE,
        "the chip id is masked",
        (Code::SnpChip, "ChipMasked"),
        Before(|plan| plan.fields.chip_id = ChipId([0; 64])),
    ),
    refused(
        "signature",
        "SNP ABI 1.58, section 8.15",
        "a bit of the report data is flipped",
        (Code::SnpSignature, "Signature"),
        After(|made| {
            made.report.iter_mut().skip(0x50).take(1).for_each(|byte| *byte ^= 1);
        }),
    ),
    // What is wanted.
    refused(
        "version-2",
        TABLE,
        "version 2, which the rule does not believe",
        (Code::SnpVersion, "VersionRefused"),
        Before(|plan| {
            plan.fields.version = 2;
            plan.fields.cpuid = None;
        }),
    ),
    refused(
        "debug",
        POLICY,
        "policy bit 19 is set",
        (Code::SnpDebug, "Debug"),
        Before(|plan| plan.fields.policy.0 |= 1 << 19),
    ),
    refused(
        "migration",
        POLICY,
        "policy bit 18 is set",
        (Code::SnpMigration, "Migration"),
        Before(|plan| plan.fields.policy.0 |= 1 << 18),
    ),
    refused(
        "migration-agent",
        TABLE,
        "a migration agent is associated",
        (Code::SnpMigration, "MigrationAgent"),
        Before(|plan| plan.fields.report_id_ma = [0; 32]),
    ),
    refused("vmpl", TABLE, "asked for at VMPL 1", (Code::SnpVmpl, "Vmpl"), Before(|plan| plan.fields.vmpl = 1)),
    refused(
        "vmpl-host",
        TABLE,
        "asked for by the host",
        (Code::SnpVmpl, "Vmpl"),
        Before(|plan| plan.fields.vmpl = u32::MAX),
    ),
    refused(
        "abi",
        POLICY,
        "the guest asks for ABI 2.0, the firmware is 1.55",
        (Code::SnpPolicy, "Abi"),
        Before(|plan| plan.fields.policy.0 |= 2 << 8),
    ),
    refused(
        "policy-bit",
        POLICY,
        "the rule asks for one socket",
        (Code::SnpPolicy, "PolicyBit"),
        Before(|plan| plan.rest.set("want.platform", "single-socket")),
    ),
    refused(
        "platform-bit",
        "SNP ABI 1.58, table 24",
        "the rule asks for SMT off",
        (Code::SnpPolicy, "PlatformBit"),
        Before(|plan| plan.rest.set("want.platform", "no-smt")),
    ),
    refused(
        "alias",
        "SNP ABI 1.58, table 24",
        "ALIAS_CHECK_COMPLETE is not set",
        (Code::SnpAlias, "Alias"),
        Before(|plan| plan.fields.platform_info.0 = 1),
    ),
    refused(
        "tcb-order",
        TCB,
        "the committed TCB is above the current one",
        (Code::SnpTcbFloor, "TcbOrder"),
        Before(|plan| plan.fields.committed_tcb.snp += 1),
    ),
    accepted(
        "tcb-at-floor",
        TCB,
        "every component is at the floor",
        Before(|plan| plan.rest.set("want.tcb-floor", "10.0.23.84")),
    ),
    refused(
        "tcb-floor",
        TCB,
        "one component is below the floor, others above",
        (Code::SnpTcbFloor, "TcbFloor"),
        Before(|plan| plan.rest.set("want.tcb-floor", "9.0.24.80")),
    ),
    refused(
        "tcb-floor-unknown",
        TCB,
        "the floors have no row for this product",
        (Code::SnpTcbFloor, "TcbFloorUnknown"),
        Before(|plan| {
            plan.rest.set("want.tcb-floor", "0.0.0.0");
            plan.rest.set("want.tcb-floor-product", "Turin");
        }),
    ),
    refused(
        "firmware-floor",
        TABLE,
        "the firmware's build is below the floor",
        (Code::SnpTcbFloor, "FirmwareFloor"),
        Before(|plan| plan.rest.set("want.firmware", "1.55.41")),
    ),
    refused(
        "mitigations",
        TABLE,
        "version 3 has no mitigation vector",
        (Code::SnpPolicy, "Mitigations"),
        Before(|plan| plan.rest.set("want.mitigations", "1")),
    ),
    refused(
        "author-without-key",
        TABLE,
        "an author's digest without AUTHOR_KEY_EN",
        (Code::SnpPolicy, "IdentityKey"),
        Before(|plan| plan.fields.author_key_digest = Digest384([1; 48])),
    ),
    refused(
        "identity-key",
        TABLE,
        "another ID key",
        (Code::SnpPolicy, "IdentityKey"),
        Before(|plan| plan.rest.set("want.id-key", [1; 48])),
    ),
    refused(
        "guest-svn",
        TABLE,
        "the guest's security version is below the floor",
        (Code::SnpPolicy, "GuestSvn"),
        Before(|plan| plan.rest.set("want.guest-svn", "1")),
    ),
    refused(
        "chip",
        TABLE,
        "another chip than the rule's",
        (Code::SnpChip, "Chip"),
        Before(|plan| plan.rest.set("want.chip", [1; 64])),
    ),
    refused(
        "provider",
        EXTENSIONS,
        "the rule asks for a provider, a VCEK names none",
        (Code::SnpSigningKey, "Provider"),
        Before(|plan| plan.rest.set("want.provider", "forge.example")),
    ),
    refused(
        "measurement",
        TABLE,
        "another launch measurement",
        (Code::Measurement, "Measurement"),
        Before(|plan| plan.rest.set("want.measurement", [1; 48])),
    ),
    refused(
        "host-data",
        TABLE,
        "another HOST_DATA",
        (Code::HostData, "HostData"),
        Before(|plan| plan.rest.set("want.host-data", [1; 32])),
    ),
    refused(
        "report-data",
        TABLE,
        "report data of another session, signed",
        (Code::ReportData, "ReportData"),
        Before(|plan| plan.fields.report_data = ReportData([1; 64])),
    ),
];

const TABLE: &str = "SNP ABI 1.58, table 23";
const POLICY: &str = "SNP ABI 1.58, table 9";
const TCB: &str = "SNP ABI 1.58, section 2.2";
const EXTENSIONS: &str = "VCEK specification 57230, table 10";
