//! What can be wrong with a device's evidence, in the order of the verifier's checks.

use super::evidence::NVDEC0;
use super::ocsp::Said;
use super::{COMPOSITE_DEVICE_ID, FIRMWARE_NAME, ICA, IDENTITY, Plan, ROM, name};
use crate::forge::Change::{Made as After, Plan as Before};
use crate::forge::keys::{KeyName, Kind};
use crate::forge::x509::CertificatePlan;
use crate::forge::{Mutator, NOW, Sent, accepted, refused, shorten};
use claims::Code;

/// Every mutator, on a Hopper GPU.
pub const MUTATORS: &[Mutator<Plan, Sent>] = &[
    accepted("ok", SPDM, "nothing changed", Before(|_| ())),
    accepted(
        "ok-revocation",
        OCSP,
        "good responses about every certificate that has a responder",
        Before(|plan| {
            plan.said = Some(Said::Good);
            plan.sent.set("revocation", "required");
        }),
    ),
    accepted(
        "ok-blackwell",
        CHAIN,
        "a Blackwell GPU, which says its chip itself",
        Before(|plan| {
            rename(plan, "GB102 A01 GSP FMC LF", "GB102 A01 GSP BROM");
            plan.transcript.set(35, Some(b"GB100"));
            (plan.driver.product, plan.vbios.product) = ("GB100", "GB100");
        }),
    ),
    accepted(
        "ok-switch",
        CHAIN,
        "an NVSwitch, which has no driver",
        Before(|plan| {
            rename(plan, "LS_10 A01 GSP FMC LF", "LS_10 A01 GSP BROM");
            plan.transcript.set(3, None);
            plan.transcript.set(6, Some(b"96.10.55.00.01"));
            (plan.vbios.product, plan.vbios.edition, plan.vbios.version) = ("LS10", "SWITCH", "96.10.55.00.01");
        }),
    ),
    // The transcript's form.
    refused(
        "too-long",
        SPDM,
        "more bytes than are read",
        (Code::GpuFormat, "TooLong"),
        After(|sent| sent.edit("evidence", |bytes| bytes.resize(65_537, 0))),
    ),
    refused(
        "short",
        SPDM,
        "a byte is missing at the end",
        (Code::GpuFormat, "Short"),
        After(|sent| sent.edit("evidence", shorten)),
    ),
    refused(
        "field",
        SPDM,
        "the request is no GET_MEASUREMENTS",
        (Code::GpuFormat, "Field"),
        After(|sent| sent.edit("evidence", |bytes| bytes.iter_mut().skip(1).take(1).for_each(|byte| *byte = 0xE1))),
    ),
    refused(
        "measurement-length",
        SPDM,
        "a measurement of 47 bytes",
        (Code::GpuFormat, "MeasurementLength"),
        Before(|plan| drop(plan.transcript.blocks.insert(7, vec![7; 47]))),
    ),
    refused(
        "block-count",
        SPDM,
        "fewer measurements than the response says",
        (Code::GpuFormat, "BlockCount"),
        Before(|plan| plan.transcript.count = Some(65)),
    ),
    refused(
        "trailing",
        SPDM,
        "a byte behind the signature",
        (Code::GpuFormat, "Trailing"),
        After(|sent| sent.edit("evidence", |bytes| bytes.extend([0, 1]))),
    ),
    accepted(
        "padded",
        SPDM,
        "one NUL behind the signature, as a text library leaves it",
        After(|sent| sent.edit("evidence", |bytes| bytes.push(0))),
    ),
    refused(
        "opaque",
        SPDM,
        "a status that is neither on nor off",
        (Code::GpuFormat, "Opaque"),
        Before(|plan| plan.transcript.set(NVDEC0, Some(&[0x5A]))),
    ),
    // The chain.
    refused(
        "chain-length",
        CHAIN,
        "the chain lacks an authority",
        (Code::GpuChain, "Chain.Length"),
        Before(|plan| drop(plan.chain.remove(3))),
    ),
    refused(
        "chain-malformed",
        CHAIN,
        "a certificate is cut short",
        (Code::GpuChain, "Chain.Malformed"),
        After(|sent| sent.edit("certificate", shorten)),
    ),
    refused(
        "chain-root",
        CHAIN,
        "the root is another",
        (Code::GpuRoot, "Chain.RootNotPinned"),
        Before(|plan| plan.sent.set("anchor-device", [1; 48])),
    ),
    refused(
        "chain-algorithm",
        CHAIN,
        "a certificate names SHA-256",
        (Code::GpuChain, "Chain.Algorithm"),
        Before(|plan| leaf(plan).for_each(|leaf| leaf.says = Some(Kind::P256))),
    ),
    refused(
        "chain-key",
        CHAIN,
        "the firmware's key is on P-256",
        (Code::GpuChain, "Chain.Key"),
        Before(|plan| leaf(plan).for_each(|leaf| leaf.key = KeyName("nvidia small", Kind::P256))),
    ),
    refused(
        "chain-name",
        CHAIN,
        "the firmware's issuer has another name",
        (Code::GpuChain, "Chain.Name"),
        Before(|plan| leaf(plan).for_each(|leaf| leaf.issuer = name("GH100 A02 GSP BROM"))),
    ),
    refused(
        "chain-signature",
        CHAIN,
        "another device's boot ROM signed",
        (Code::GpuChain, "Chain.Signature"),
        Before(|plan| leaf(plan).for_each(|leaf| leaf.signer = ICA)),
    ),
    refused(
        "chain-constraints",
        CHAIN,
        "the boot ROM is no authority",
        (Code::GpuChain, "Chain.Constraints"),
        Before(|plan| rom(plan).for_each(|rom| rom.extensions.clear())),
    ),
    refused(
        "chain-critical",
        CHAIN,
        "an unknown extension is critical",
        (Code::GpuChain, "Chain.CriticalExtension"),
        Before(|plan| {
            rom(plan).for_each(|rom| rom.extensions.push(("1.3.6.1.4.1.59999.1", true, vec![5, 0])));
        }),
    ),
    refused(
        "expired",
        CHAIN,
        "the boot ROM's certificate has ended",
        (Code::GpuExpired, "Chain.Time"),
        Before(|plan| rom(plan).for_each(|rom| rom.valid.1 = NOW - 1)),
    ),
    refused(
        "unknown-chip",
        CHAIN,
        "a chip that is not known",
        (Code::GpuArchitecture, "UnknownChip"),
        Before(|plan| leaf(plan).for_each(|leaf| leaf.subject = name("GA100 A01 GSP FMC LF"))),
    ),
    // Revocation.
    refused(
        "ocsp-missing",
        OCSP,
        "responses are asked for, and there is none",
        (Code::GpuRevocation, "Revocation.Missing"),
        Before(|plan| plan.sent.set("revocation", "required")),
    ),
    refused(
        "ocsp-malformed",
        OCSP,
        "a response is cut short",
        (Code::GpuRevocation, "Revocation.Malformed"),
        Before(|plan| plan.sent.add("ocsp", [0x30, 0x03, 0x0A])),
    ),
    refused(
        "ocsp-signature",
        OCSP,
        "another authority signed the responses",
        (Code::GpuRevocation, "Revocation.Signature"),
        Before(|plan| {
            plan.said = Some(Said::Good);
            plan.responder = Some(ROM);
        }),
    ),
    refused(
        "ocsp-stale",
        OCSP,
        "the responses have ended",
        (Code::GpuRevocation, "Revocation.Stale"),
        Before(|plan| plan.said = Some(Said::Stale)),
    ),
    refused(
        "ocsp-unknown",
        OCSP,
        "the responder does not know the certificate",
        (Code::GpuRevocation, "Revocation.Unknown"),
        Before(|plan| plan.said = Some(Said::Unknown)),
    ),
    refused(
        "ocsp-revoked",
        OCSP,
        "the certificate is revoked",
        (Code::GpuRevoked, "Revocation.Revoked"),
        Before(|plan| plan.said = Some(Said::Revoked)),
    ),
    refused(
        "ocsp-hold",
        OCSP,
        "the certificate is on hold",
        (Code::GpuRevoked, "Revocation.Hold"),
        Before(|plan| plan.said = Some(Said::Hold)),
    ),
    // The evidence under its chain.
    refused(
        "production",
        CHAIN,
        "the forged root, to production",
        (Code::GpuRoot, "Chain.RootNotPinned"),
        After(|sent| {
            sent.set("anchor", "production");
            sent.remove("rim-driver");
            sent.remove("rim-vbios");
        }),
    ),
    refused(
        "signature",
        SPDM,
        "another key signed the transcript",
        (Code::GpuSignature, "Signature"),
        Before(|plan| plan.signer = IDENTITY),
    ),
    refused(
        "fwid",
        FWID,
        "another firmware id than the certificate's",
        (Code::GpuFwid, "Fwid"),
        Before(|plan| plan.transcript.set(20, Some(&[1; 48]))),
    ),
    refused(
        "fwid-missing",
        FWID,
        "the certificate has no firmware id",
        (Code::GpuFwid, "FwidMissing"),
        Before(|plan| leaf(plan).for_each(|leaf| leaf.set(COMPOSITE_DEVICE_ID, None))),
    ),
    refused(
        "kind",
        CHAIN,
        "a GPU's certificates, evidence without a driver",
        (Code::GpuArchitecture, "Kind"),
        Before(|plan| {
            plan.transcript.set(3, None);
            plan.transcript.set(6, Some(b"96.10.55.00.01"));
        }),
    ),
    refused(
        "chip",
        CHAIN,
        "the evidence is of another chip",
        (Code::GpuArchitecture, "Chip"),
        Before(|plan| plan.transcript.set(35, Some(b"GB100"))),
    ),
    refused(
        "architecture-sent",
        CHAIN,
        "sent as another architecture",
        (Code::GpuArchitecture, "ArchitectureSent"),
        Before(|plan| plan.sent.set("sent-as", "BLACKWELL")),
    ),
    // What is wanted.
    refused(
        "nonce",
        SPDM,
        "the nonce of another session, signed",
        (Code::GpuNonce, "Nonce"),
        Before(|plan| plan.transcript.nonce = [1; 32]),
    ),
    refused(
        "architecture",
        CHAIN,
        "another architecture than wanted",
        (Code::GpuArchitecture, "Architecture"),
        Before(|plan| plan.sent.set("want.architecture", "BLACKWELL")),
    ),
    refused(
        "device",
        CHAIN,
        "another device than wanted",
        (Code::GpuDevice, "Device"),
        Before(|plan| plan.sent.set("want.device", "ff")),
    ),
    refused(
        "mode",
        SPDM,
        "a mode is wanted, none is stated",
        (Code::GpuMode, "Mode"),
        Before(|plan| plan.sent.set("want.mode", "SPT")),
    ),
    refused(
        "driver",
        SPDM,
        "an older driver than wanted",
        (Code::GpuVersion, "Version"),
        Before(|plan| plan.sent.set("want.driver", "550.90.08")),
    ),
    refused(
        "vbios",
        SPDM,
        "an older VBIOS than wanted",
        (Code::GpuVersion, "Version"),
        Before(|plan| plan.sent.set("want.vbios", "96.00.A0.00.01")),
    ),
    refused(
        "golden-missing",
        RIM,
        "reference values of another driver",
        (Code::GpuGolden, "GoldenMissing"),
        Before(|plan| plan.driver.version = "550.90.08"),
    ),
    refused(
        "golden-conflict",
        RIM,
        "both manifests have values at one index",
        (Code::GpuGolden, "GoldenConflict"),
        Before(|plan| plan.vbios.active = vec![7]),
    ),
    refused(
        "nvdec0",
        RIM,
        "NVDEC0 is to be compared, and its state is not stated",
        (Code::GpuGolden, "Nvdec0"),
        Before(|plan| plan.transcript.set(NVDEC0, None)),
    ),
    refused(
        "measurement",
        RIM,
        "a measurement is not the reference value",
        (Code::GpuMeasurement, "Measurements"),
        Before(|plan| drop(plan.transcript.blocks.insert(8, vec![9; 48]))),
    ),
    refused(
        "measurement-alternative",
        RIM,
        "the manifest has other values",
        (Code::GpuMeasurement, "Measurements"),
        Before(|plan| plan.driver.alternative_only = true),
    ),
];

fn leaf(plan: &mut Plan) -> impl Iterator<Item = &mut CertificatePlan> {
    plan.chain.iter_mut().filter(|certificate| certificate.subject == name(FIRMWARE_NAME))
}

/// Gives firmware and boot ROM other names.
fn rename(plan: &mut Plan, firmware: &str, boot_rom: &str) {
    rom(plan).for_each(|rom| rom.subject = name(boot_rom));
    leaf(plan).for_each(|leaf| {
        leaf.issuer = name(boot_rom);
        leaf.subject = name(firmware);
    });
}

fn rom(plan: &mut Plan) -> impl Iterator<Item = &mut CertificatePlan> {
    plan.chain.iter_mut().skip(1).take(1)
}

const SPDM: &str = "DMTF DSP0274 1.1, table 30; NVIDIA Attestation SDK, opaque data";
const CHAIN: &str = "NVIDIA Attestation SDK, device certificate chain";
const FWID: &str = "TCG DICE Attestation Architecture, FWID";
const OCSP: &str = "RFC 6960, section 4.2";
const RIM: &str = "NVIDIA Attestation SDK, comparison of measurements";
