//! NVIDIA's shape: a device's chain (firmware, boot ROM, two authorities, root), its SPDM transcript, OCSP responses, and
//! signed manifests of reference values (RIM) of driver and VBIOS.

mod evidence;
mod mutators;
mod ocsp;
mod rim;
mod rim_mutators;

use super::keys::{KeyName, Kind};
use super::x509::{self, CertificatePlan};
use super::{Forge, NOW, Result, Sent};
use crate::text::TextVector;
use aws_lc_rs::digest::{SHA384, digest};
use evidence::Transcript;
use ocsp::Said;
use rim::Manifest;
use x509_cert::der::asn1::{Any, ObjectIdentifier, OctetString};
use x509_cert::der::{Encode, Tag};

pub use mutators::MUTATORS;
pub use rim_mutators::MUTATORS as RIM_MUTATORS;

/// Evidence before it is signed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Leaf first, root last.
    pub(super) chain: Vec<CertificatePlan>,
    pub(super) transcript: Transcript,
    pub(super) signer: KeyName,
    pub(super) driver: Manifest,
    pub(super) vbios: Manifest,
    /// What the responders say of the chain's places from 1 on; none is no response.
    pub(super) said: Option<Said>,
    pub(super) responder: Option<KeyName>,
    pub(super) sent: Sent,
}

/// A manifest before it is signed.
#[derive(Debug, Clone)]
pub struct RimPlan {
    pub(super) manifest: Manifest,
    pub(super) said: Option<Said>,
    pub(super) sent: Sent,
}

impl Forge {
    fn nvidia_plan(&self) -> Result<Plan> {
        let fwid = self.keys.bytes::<48>("nvidia fwid")?;
        let nonce = self.keys.bytes::<32>("nvidia nonce")?;
        let mut sent = Sent::new("gpu");
        self.nvidia_anchors(&mut sent)?;
        sent.set("revocation", "absent-ok");
        sent.set("want.nonce", nonce);
        let leaf = vec![
            (x509::KEY_USAGE, true, x509::digital_signature()?),
            (COMPOSITE_DEVICE_ID, false, composite_id(&self.keys.spki(ROM)?, &fwid)?),
        ];
        let authority = || x509::authority(None);
        Ok(Plan {
            chain: vec![
                certificate(0x41, FIRMWARE_NAME, ROM_NAME, FIRMWARE, ROM, leaf),
                certificate(0x42, ROM_NAME, ICA_NAME, ROM, ICA, authority()?),
                certificate(0x43, ICA_NAME, IDENTITY_NAME, ICA, IDENTITY, authority()?),
                certificate(0x44, IDENTITY_NAME, ROOT_NAME, IDENTITY, ROOT, authority()?),
                certificate(0x45, ROOT_NAME, ROOT_NAME, ROOT, ROOT, authority()?),
            ],
            transcript: Transcript::new(nonce, fwid),
            signer: FIRMWARE,
            driver: Manifest::new(evidence::DRIVER, &[7, 35])?,
            vbios: Manifest::new(evidence::VBIOS, &[1])?,
            said: None,
            responder: None,
            sent,
        })
    }

    fn nvidia_make(&self, plan: &Plan) -> Result<Sent> {
        let mut sent = plan.sent.clone();
        for certificate in &plan.chain {
            sent.add("certificate", certificate.make(&self.keys)?);
        }
        let transcript = plan.transcript.encode()?;
        let signature = self.keys.sign_fixed(plan.signer, &transcript)?;
        sent.add("evidence", [transcript, signature].concat());
        if let Some(said) = plan.said {
            for (subject, issuer) in plan.chain.iter().zip(plan.chain.iter().skip(1)).skip(1) {
                sent.add("ocsp", said.response(&self.keys, subject, issuer, plan.responder.unwrap_or(issuer.key))?);
            }
        }
        sent.add("rim-driver", plan.driver.signed(&self.keys)?);
        sent.add("rim-vbios", plan.vbios.signed(&self.keys)?);
        Ok(sent)
    }

    fn rim_plan(&self) -> Result<RimPlan> {
        let mut sent = Sent::new("rim");
        self.nvidia_anchors(&mut sent)?;
        sent.set("revocation", "absent-ok");
        Ok(RimPlan { manifest: Manifest::new(evidence::DRIVER, &[7, 35])?, said: None, sent })
    }

    fn rim_make(&self, plan: &RimPlan) -> Result<Sent> {
        let mut sent = plan.sent.clone();
        sent.add("rim", plan.manifest.signed(&self.keys)?);
        if let Some(said) = plan.said {
            for (subject, issuer) in plan.manifest.chain.iter().zip(plan.manifest.chain.iter().skip(1)) {
                sent.add("ocsp", said.response(&self.keys, subject, issuer, issuer.key)?);
            }
        }
        Ok(sent)
    }

    /// The pins of both roots.
    fn nvidia_anchors(&self, sent: &mut Sent) -> Result<()> {
        sent.set("anchor-device", digest(&SHA384, &self.keys.spki(ROOT)?));
        sent.set("anchor-rim", digest(&SHA384, &self.keys.spki(rim::ROOT)?));
        Ok(())
    }

    /// Every vector of devices and of manifests.
    pub fn nvidia_vectors(&self) -> Result<Vec<TextVector>> {
        let mut vectors = self.spoil(MUTATORS, Self::nvidia_plan, Self::nvidia_make)?;
        vectors.extend(self.spoil(RIM_MUTATORS, Self::rim_plan, Self::rim_make)?);
        Ok(vectors)
    }
}

fn certificate(
    serial: u64,
    subject: &str,
    issuer: &str,
    key: KeyName,
    signer: KeyName,
    extensions: Vec<(&'static str, bool, Vec<u8>)>,
) -> CertificatePlan {
    CertificatePlan {
        serial,
        subject: name(subject),
        issuer: name(issuer),
        valid: VALID,
        key,
        signer,
        says: None,
        extensions,
    }
}

fn name(common: &str) -> String {
    format!("CN={common},O=NVIDIA Corporation")
}

/// `SEQUENCE { version INTEGER, deviceID SubjectPublicKeyInfo, fwid FWID }` (TCG DICE Attestation Architecture).
fn composite_id(spki: &[u8], fwid: &[u8; 48]) -> Result<Vec<u8>> {
    let sha384 = ObjectIdentifier::new("2.16.840.1.101.3.4.2.2")?.to_der()?;
    let fwid = [sha384, OctetString::new(fwid.as_slice())?.to_der()?].concat();
    let fwid = Any::new(Tag::Sequence, fwid)?.to_der()?;
    let body = [1u8.to_der()?.as_slice(), spki, &fwid].concat();
    Ok(Any::new(Tag::Sequence, body)?.to_der()?)
}

/// 2024-01-01 to 2044-01-01.
const VALID: (u64, u64) = (1_704_067_200, 2_335_219_200);
const COMPOSITE_DEVICE_ID: &str = "2.23.133.5.4.1";
const FIRMWARE_NAME: &str = "GH100 A01 GSP FMC LF";
const ROM_NAME: &str = "GH100 A01 GSP BROM";
const ICA_NAME: &str = "NVIDIA GH100 Provisioner ICA 1";
const IDENTITY_NAME: &str = "NVIDIA GH100 Identity";
const ROOT_NAME: &str = "NVIDIA Device Identity CA";
const FIRMWARE: KeyName = KeyName("nvidia firmware", Kind::P384);
const ROM: KeyName = KeyName("nvidia boot rom", Kind::P384);
const ICA: KeyName = KeyName("nvidia provisioner", Kind::P384);
const IDENTITY: KeyName = KeyName("nvidia identity", Kind::P384);
const ROOT: KeyName = KeyName("nvidia root", Kind::P384);

/// A time that lies within every certificate.
const _: () = assert!(VALID.0 < NOW && NOW < VALID.1);
