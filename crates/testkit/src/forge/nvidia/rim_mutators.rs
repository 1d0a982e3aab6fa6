//! What can be wrong with a manifest.

use super::ocsp::Said;
use super::rim::L3;
use super::{RimPlan, name};
use crate::forge::Change::{Made as After, Plan as Before};
use crate::forge::{Mutator, NOW, Sent, accepted, refused};
use claims::Code;

/// Every mutator.
pub const MUTATORS: &[Mutator<RimPlan, Sent>] = &[
    accepted("ok", RIM, "nothing changed", Before(|_| ())),
    accepted(
        "ok-revocation",
        OCSP,
        "good responses about every certificate",
        Before(|plan| {
            plan.said = Some(Said::Good);
            plan.sent.set("revocation", "required");
        }),
    ),
    refused(
        "xml",
        RIM,
        "it is cut short",
        (Code::RimFormat, "Xml"),
        After(|sent| sent.edit("rim", |rim| rim.truncate(rim.len() / 2))),
    ),
    refused(
        "construct",
        RIM,
        "a comment",
        (Code::RimProfile, "Construct"),
        After(|sent| replace(sent, "<ns0:Payload>", "<!-- --><ns0:Payload>")),
    ),
    refused(
        "profile",
        DSIG,
        "a signature algorithm that is not taken",
        (Code::RimProfile, "Profile"),
        Before(|plan| plan.manifest.algorithm = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"),
    ),
    refused(
        "content",
        RIM,
        "a resource of another size",
        (Code::RimFormat, "Content"),
        After(|sent| replace(sent, "size=\"48\"", "size=\"32\"")),
    ),
    refused(
        "root",
        CHAIN,
        "the manifest's root is another",
        (Code::RimRoot, "Chain.RootNotPinned"),
        Before(|plan| plan.sent.set("anchor-rim", [1; 48])),
    ),
    refused(
        "production",
        CHAIN,
        "the forged root, to production",
        (Code::RimRoot, "Chain.RootNotPinned"),
        Before(|plan| plan.sent.set("anchor", "production")),
    ),
    refused(
        "chain",
        CHAIN,
        "the signer's issuer has another name",
        (Code::RimChain, "Chain.Name"),
        Before(|plan| {
            plan.manifest.chain.iter_mut().take(1).for_each(|signer| signer.issuer = name("Somebody"));
        }),
    ),
    refused(
        "expired",
        CHAIN,
        "the signer's certificate has ended",
        (Code::RimExpired, "Chain.Time"),
        Before(|plan| {
            plan.manifest.chain.iter_mut().take(1).for_each(|signer| signer.valid.1 = NOW - 1);
        }),
    ),
    refused(
        "revoked",
        OCSP,
        "the signer is revoked",
        (Code::GpuRevoked, "Revocation.Revoked"),
        Before(|plan| plan.said = Some(Said::Revoked)),
    ),
    refused(
        "signature",
        DSIG,
        "another key signed",
        (Code::RimSignature, "Signature"),
        Before(|plan| plan.manifest.signer = L3),
    ),
    refused(
        "digest",
        DSIG,
        "a reference value is changed behind the signature",
        (Code::RimSignature, "Digest"),
        After(|sent| replace(sent, "=\"0808", "=\"0809")),
    ),
];

fn replace(sent: &mut Sent, from: &str, to: &str) {
    sent.edit("rim", |rim| *rim = String::from_utf8_lossy(rim).replacen(from, to, 1).into_bytes());
}

const RIM: &str = "TCG Reference Integrity Manifest Information Model; ISO/IEC 19770-2";
const DSIG: &str = "XML Signature Syntax and Processing 1.1, section 4; Canonical XML 1.1";
const CHAIN: &str = "NVIDIA Attestation SDK, RIM certificate chain";
const OCSP: &str = "RFC 6960, section 4.2";
