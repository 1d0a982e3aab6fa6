//! What can be wrong with an SNP report and its chain, in the order of the verifier's checks.

use super::super::{Mutator, accepted, refused, x509};
use super::{INTERMEDIATE, Made, Plan, ROOT, VALID, name};
use crate::forge::Change::{Made as After, Plan as Before};
use crate::forge::keys::{KeyName, Kind};
use claims::{ChipId, Code};

pub(super) const MUTATORS: &[Mutator<Plan, Made>] = &[
    // The form of a report.
    refused(
        "length",
        TABLE,
        "a byte is missing at the end",
        (Code::SnpFormat, "Length"),
        After(|made| {
            made.report.pop();
        }),
    ),
    refused("version", TABLE, "version 6", (Code::SnpVersion, "Version"), After(|made| put(made, 0, 6))),
    refused(
        "algorithm",
        TABLE,
        "SIGNATURE_ALGO 2",
        (Code::SnpAlgorithm, "SignatureAlgorithm"),
        After(|made| put(made, 0x34, 2)),
    ),
    refused(
        "reserved",
        TABLE,
        "a reserved byte is set",
        (Code::SnpReserved, "Reserved"),
        After(|made| put(made, 0x210, 1)),
    ),
    refused(
        "reserved-tcb",
        TABLE,
        "a reserved byte of a TCB is set",
        (Code::SnpReserved, "Reserved"),
        After(|made| put(made, 0x182, 1)),
    ),
    refused(
        "unsigned-tail",
        TABLE,
        "a byte behind the signature is set",
        (Code::SnpReserved, "UnsignedTail"),
        After(|made| put(made, 0x49F, 1)),
    ),
    refused(
        "signature-padding",
        "SNP ABI 1.58, table 137",
        "the upper bytes of R are not zero",
        (Code::SnpReserved, "SignaturePadding"),
        After(|made| put(made, 0x2D0, 1)),
    ),
    refused(
        "signature-zero",
        "SNP ABI 1.58, table 137",
        "R is zero",
        (Code::SnpSignature, "SignatureRange"),
        After(|made| {
            (0x2A0..0x2D0).for_each(|at| put(made, at, 0));
        }),
    ),
    refused(
        "key-info-reserved",
        TABLE,
        "a reserved bit of KEY_INFO is set",
        (Code::SnpReserved, "KeyInfoReserved"),
        Before(|plan| plan.fields.key_info |= 1 << 5),
    ),
    refused(
        "signing-key-none",
        TABLE,
        "SIGNING_KEY 7: nothing signed it",
        (Code::SnpSigningKey, "SigningKeyKind"),
        Before(|plan| plan.fields.key_info = 7 << 2),
    ),
    refused(
        "masked-chip-key",
        TABLE,
        "MASK_CHIP_KEY is set",
        (Code::SnpSigningKey, "MaskedChipKey"),
        Before(|plan| plan.fields.key_info |= 2),
    ),
    refused(
        "policy-reserved",
        POLICY,
        "a reserved bit of the guest policy is set",
        (Code::SnpPolicy, "PolicyReserved"),
        Before(|plan| plan.fields.policy.0 |= 1 << 40),
    ),
    refused(
        "unknown-product",
        TABLE,
        "CPUID of no published product",
        (Code::SnpProduct, "UnknownProduct"),
        Before(|plan| plan.fields.cpuid = Some((0x1B, 0, 0))),
    ),
    // The chain.
    refused(
        "emulated",
        "SPECIFICATION.md",
        "the chip id of an emulated processor, to production",
        (Code::Emulated, "Emulated"),
        Before(|plan| {
            let mut chip = *plan.fields.chip_id.as_bytes();
            for (place, byte) in chip.iter_mut().zip(*b"EMUL") {
                *place = byte;
            }
            plan.fields.chip_id = ChipId(chip);
            plan.rest.set("anchor", "production");
        }),
    ),
    refused(
        "production",
        CERTIFICATES,
        "the forged root, to production",
        (Code::SnpRoot, "RootNotPinned"),
        Before(|plan| plan.rest.set("anchor", "production")),
    ),
    refused(
        "other-root",
        CERTIFICATES,
        "the root has the right name and another key",
        (Code::SnpRoot, "RootNotPinned"),
        Before(|plan| {
            plan.root.key = INTERMEDIATE;
            plan.root.signer = INTERMEDIATE;
        }),
    ),
    refused(
        "missing",
        CERTIFICATES,
        "the endorsement certificate is not there",
        (Code::SnpChain, "Missing"),
        After(|made| made.vek.clear()),
    ),
    refused(
        "certificate",
        CERTIFICATES,
        "the endorsement certificate is cut short",
        (Code::SnpCertificate, "Certificate"),
        After(|made| {
            made.vek.pop();
        }),
    ),
    refused(
        "certificate-key",
        CERTIFICATES,
        "the endorsement key is on P-256",
        (Code::SnpCertificate, "Key"),
        Before(|plan| plan.vek.key = KeyName("amd small", Kind::P256)),
    ),
    refused(
        "signature-parameters",
        CERTIFICATES,
        "the endorsement certificate names PKCS #1 v1.5",
        (Code::SnpChain, "SignatureParameters"),
        Before(|plan| plan.vek.says = Some(Kind::Pkcs1)),
    ),
    refused(
        "chain-signature",
        CERTIFICATES,
        "the root signed the endorsement certificate",
        (Code::SnpChain, "ChainSignature"),
        Before(|plan| plan.vek.signer = ROOT),
    ),
    refused(
        "name",
        CERTIFICATES,
        "the endorsement certificate has another name",
        (Code::SnpChain, "Name"),
        Before(|plan| plan.vek.subject = name("SEV-XCEK")),
    ),
    refused(
        "constraints",
        CERTIFICATES,
        "the intermediate is no authority",
        (Code::SnpChain, "Constraints"),
        Before(|plan| {
            plan.intermediate.extensions = x509::signer().unwrap_or_default();
        }),
    ),
    refused(
        "critical-extension",
        CERTIFICATES,
        "an unknown extension is critical",
        (Code::SnpChain, "CriticalExtension"),
        Before(|plan| {
            plan.vek.extensions.push(("1.3.6.1.4.1.59999.1", true, vec![5, 0]));
        }),
    ),
    refused(
        "not-yet-valid",
        CERTIFICATES,
        "verified before the certificates begin",
        (Code::SnpExpired, "NotYetValid"),
        Before(|plan| plan.rest.now = VALID.0 - 1),
    ),
    refused(
        "expired",
        CERTIFICATES,
        "the endorsement certificate has ended",
        (Code::SnpExpired, "Expired"),
        Before(|plan| plan.vek.valid.1 = plan.rest.now - 1),
    ),
    accepted(
        "last-second",
        CERTIFICATES,
        "verified in the last second of the endorsement certificate",
        Before(|plan| plan.vek.valid.1 = plan.rest.now),
    ),
    // Revocation.
    refused(
        "crl-missing",
        CRL,
        "the policy asks for a list, and there is none",
        (Code::SnpCrl, "CrlMissing"),
        Before(|plan| plan.list = None),
    ),
    accepted(
        "crl-waived",
        CRL,
        "the policy does without a list",
        Before(|plan| {
            plan.list = None;
            plan.rest.set("crl-policy", "absent-ok");
        }),
    ),
    refused(
        "crl-malformed",
        CRL,
        "the list is cut short",
        (Code::SnpCrl, "CrlMalformed"),
        After(|made| {
            made.crl.iter_mut().for_each(|list| {
                list.pop();
            });
        }),
    ),
    refused(
        "crl-signature",
        CRL,
        "the intermediate signed the list",
        (Code::SnpCrl, "CrlSignature"),
        Before(|plan| {
            plan.list.iter_mut().for_each(|list| list.signer = INTERMEDIATE);
        }),
    ),
    refused(
        "crl-stale",
        CRL,
        "the list has ended, though the policy does without one",
        (Code::SnpCrl, "CrlStale"),
        Before(|plan| {
            plan.list.iter_mut().for_each(|list| list.valid.1 = plan.rest.now - 1);
            plan.rest.set("crl-policy", "absent-ok");
        }),
    ),
    refused(
        "revoked",
        CRL,
        "the list names the intermediate",
        (Code::SnpRevoked, "Revoked"),
        Before(|plan| {
            plan.list.iter_mut().for_each(|list| list.serials.push(plan.intermediate.serial));
        }),
    ),
];

fn put(made: &mut Made, at: usize, value: u8) {
    made.report.iter_mut().skip(at).take(1).for_each(|byte| *byte = value);
}

const TABLE: &str = "SNP ABI 1.58, table 23";
const POLICY: &str = "SNP ABI 1.58, table 9";
const CERTIFICATES: &str = "VCEK specification 57230, section 3";
const CRL: &str = "RFC 5280, section 5; VCEK specification 57230, section 4.1";
