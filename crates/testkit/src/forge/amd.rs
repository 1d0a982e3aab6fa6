//! AMD's shape: root, intermediate (ASK or ASVK), endorsement key with its extensions (VCEK or VLEK), revocation list,
//! report of version 2, 3 or 5. The names are AMD's own; only the root's key is another.

mod mutators;
mod wanted;

use super::keys::{KeyName, Kind};
use super::x509::{self, CertificatePlan, ListPlan};
use super::{Change, Forge, Mutator, NOW, Result};
use crate::text::{Expect, TextVector};
use attest::snp::{Fields, SIGNED};
use claims::bytes::Digest384;
use claims::snp::{GuestPolicy, PlatformInfo, Product, TcbVersion};
use claims::{ChipId, HostData, LaunchDigest, ReportData};
use std::collections::BTreeMap;
use x509_cert::der::Encode;
use x509_cert::der::asn1::Ia5StringRef;

/// Evidence before it is signed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the report says.
    pub fields: Fields,
    pub(super) root: CertificatePlan,
    pub(super) intermediate: CertificatePlan,
    pub(super) vek: CertificatePlan,
    pub(super) list: Option<ListPlan>,
    pub(super) rest: Rest,
}

/// Evidence as it is sent, with what is wanted of it.
#[derive(Debug, Clone)]
pub struct Made {
    pub(super) report: Vec<u8>,
    pub(super) vek: Vec<u8>,
    pub(super) intermediate: Vec<u8>,
    pub(super) root: Vec<u8>,
    pub(super) crl: Option<Vec<u8>>,
    pub(super) rest: Rest,
}

/// Time, anchor, and what is wanted, by the names that the vectors have.
#[derive(Debug, Clone)]
pub struct Rest {
    pub(super) now: u64,
    pub(super) settings: BTreeMap<&'static str, Vec<u8>>,
}

/// Which processor and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// Product.
    pub product: Product,
    /// Version of the report.
    pub version: u32,
    /// Signed by a VLEK instead of a VCEK.
    pub vlek: bool,
}

/// The model that the mutators spoil.
pub const BASE: Model = Model { product: Product::Genoa, version: 3, vlek: false };

/// Every mutator, on [`BASE`].
pub fn mutators() -> impl Iterator<Item = &'static Mutator<Plan, Made>> {
    mutators::MUTATORS.iter().chain(wanted::MUTATORS)
}

/// The models of the vectors that hold.
pub const MODELS: [(&str, Model); 5] = [
    ("ok-genoa-v3", BASE),
    ("ok-genoa-v5", Model { version: 5, ..BASE }),
    ("ok-milan-v2", Model { product: Product::Milan, version: 2, vlek: false }),
    ("ok-milan-v3-vlek", Model { product: Product::Milan, version: 3, vlek: true }),
    ("ok-turin-v3", Model { product: Product::Turin, version: 3, vlek: false }),
];

impl Rest {
    /// Sets a field of the vector.
    pub(super) fn set(&mut self, name: &'static str, value: impl AsRef<[u8]>) {
        self.settings.insert(name, value.as_ref().to_vec());
    }
}

impl Forge {
    /// What a processor of this model would be made to say.
    pub fn amd_plan(&self, model: Model) -> Result<Plan> {
        let Model { product, version, vlek } = model;
        let fmc = (product == Product::Turin).then_some(1);
        let tcb = TcbVersion { fmc, bootloader: 10, tee: 0, snp: 23, microcode: 84 };
        let mut chip: [u8; 64] = self.keys.bytes("amd chip")?;
        let id_length = if product == Product::Turin { 8 } else { 64 };
        chip.iter_mut().skip(id_length).for_each(|byte| *byte = 0);
        let fields = Fields {
            version,
            guest_svn: 0,
            policy: GuestPolicy::PLAIN,
            family_id: [0; 16],
            image_id: [0; 16],
            vmpl: 0,
            current_tcb: tcb,
            // SMT on, memory aliasing checked.
            platform_info: PlatformInfo(if version == 2 { 1 } else { 1 | 1 << 5 }),
            key_info: u32::from(vlek) << 2,
            report_data: ReportData(self.keys.bytes("amd report data")?),
            measurement: LaunchDigest(self.keys.bytes("amd measurement")?),
            host_data: HostData(self.keys.bytes("amd host data")?),
            id_key_digest: Digest384([0; 48]),
            author_key_digest: Digest384([0; 48]),
            report_id: self.keys.bytes("amd report id")?,
            report_id_ma: [0xFF; 32],
            reported_tcb: tcb,
            cpuid: match (version, product) {
                (2, _) => None,
                (_, Product::Milan) => Some((0x19, 0x01, 0x01)),
                (_, Product::Genoa) => Some((0x19, 0x11, 0x01)),
                (_, Product::Turin) => Some((0x1A, 0x02, 0x01)),
            },
            chip_id: ChipId(chip),
            committed_tcb: tcb,
            firmware_current: (1, 55, 40),
            firmware_committed: (1, 55, 40),
            launch_tcb: tcb,
            mitigations: (version >= 5).then_some((3, 3)),
        };
        let root_name = name(&format!("ARK-{product}"));
        let over = name(&if vlek { format!("SEV-VLEK-{product}") } else { format!("SEV-{product}") });
        let plan = |serial, subject: &str, issuer: &str, key, signer, extensions| CertificatePlan {
            serial,
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
            valid: VALID,
            key,
            signer,
            says: None,
            extensions,
        };
        let id = chip.get(..id_length).unwrap_or_default();
        let mut rest = Rest { now: NOW, settings: BTreeMap::new() };
        rest.set("anchor", aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, &self.keys.spki(ROOT)?));
        rest.set("anchor-product", product.to_string());
        rest.set("crl-policy", "required");
        rest.set("want.report-data", fields.report_data.as_bytes());
        rest.set("want.measurement", fields.measurement.as_bytes());
        rest.set("want.host-data", fields.host_data.as_bytes());
        if version == 2 {
            rest.set("want.version-2", "accepted");
        }
        let vek_name = name(if vlek { "SEV-VLEK" } else { "SEV-VCEK" });
        Ok(Plan {
            fields,
            root: plan(1, &root_name, &root_name, ROOT, ROOT, x509::authority(None)?),
            intermediate: plan(2, &over, &root_name, INTERMEDIATE, ROOT, x509::authority(Some(0))?),
            vek: plan(0, &vek_name, &over, VEK, INTERMEDIATE, vek_extensions(model, &tcb, id)?),
            list: Some(ListPlan { issuer: root_name, valid: VALID, signer: ROOT, serials: vec![77] }),
            rest,
        })
    }

    /// Signs everything.
    pub fn amd_make(&self, plan: &Plan) -> Result<Made> {
        let unsigned = plan.fields.encode(&[0; 144]);
        let signature = self.keys.sign_fixed(VEK, unsigned.get(SIGNED).ok_or("no signed part")?)?;
        let mut both = [0; 144];
        for (half, place) in signature.chunks_exact(48).zip(both.chunks_exact_mut(72)) {
            for (from, to) in half.iter().rev().zip(place) {
                *to = *from;
            }
        }
        Ok(Made {
            report: plan.fields.encode(&both).to_vec(),
            vek: plan.vek.make(&self.keys)?,
            intermediate: plan.intermediate.make(&self.keys)?,
            root: plan.root.make(&self.keys)?,
            crl: plan.list.as_ref().map(|list| list.make(&self.keys)).transpose()?,
            rest: plan.rest.clone(),
        })
    }

    /// Every vector of SNP reports: those that hold, and each mutator's.
    pub fn amd_vectors(&self) -> Result<Vec<TextVector>> {
        let mut vectors = Vec::new();
        for (name, model) in MODELS {
            let made = self.amd_make(&self.amd_plan(model)?)?;
            let about = format!("{} report of version {}, nothing changed", model.product, model.version);
            vectors.push(made.vector(name, "SNP ABI 1.58, table 23", &about, Expect::Ok));
        }
        for mutator in mutators() {
            let mut plan = self.amd_plan(BASE)?;
            if let Change::Plan(change) = mutator.change {
                change(&mut plan);
            }
            let mut made = self.amd_make(&plan)?;
            if let Change::Made(change) = mutator.change {
                change(&mut made);
            }
            vectors.push(made.vector(mutator.name, mutator.spec, mutator.about, mutator.expect()));
        }
        Ok(vectors)
    }
}

impl Made {
    /// As a text vector.
    pub fn vector(&self, name: &str, spec: &str, about: &str, expect: Expect) -> TextVector {
        let pieces = [
            ("report", Some(&self.report)),
            ("vek", Some(&self.vek)),
            ("intermediate", Some(&self.intermediate)),
            ("root", Some(&self.root)),
            ("crl", self.crl.as_ref()),
        ];
        let pieces = pieces.into_iter().filter_map(|(name, bytes)| Some((name.to_owned(), bytes?.clone())));
        let settings = self.rest.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        TextVector {
            name: name.to_owned(),
            kind: "snp".to_owned(),
            spec: spec.to_owned(),
            about: about.to_owned(),
            expect,
            now: self.rest.now,
            fields: pieces.chain(settings).collect(),
        }
    }
}

/// Extensions of an endorsement certificate (VCEK specification 57230, table 10).
fn vek_extensions(model: Model, tcb: &TcbVersion, id: &[u8]) -> Result<Vec<(&'static str, bool, Vec<u8>)>> {
    let (version, product) = match model.product {
        Product::Milan => (0u8, "Milan-B0"),
        Product::Genoa => (0, "Genoa"),
        Product::Turin => (1, "Turin"),
    };
    let text = |value: &str| -> Result<Vec<u8>> { Ok(Ia5StringRef::new(value)?.to_der()?) };
    let mut extensions = vec![
        (STRUCT_VERSION, version.to_der()?),
        (PRODUCT_NAME, text(product)?),
        (BOOTLOADER, tcb.bootloader.to_der()?),
        (TEE, tcb.tee.to_der()?),
        (SNP, tcb.snp.to_der()?),
        (MICROCODE, tcb.microcode.to_der()?),
        match model.vlek {
            true => (CSP_ID, text("forge.example")?),
            false => (HARDWARE_ID, id.to_vec()),
        },
    ];
    if let Some(fmc) = tcb.fmc {
        extensions.push((FMC, fmc.to_der()?));
    }
    Ok(extensions.into_iter().map(|(oid, value)| (oid, false, value)).collect())
}

fn name(common: &str) -> String {
    format!("CN={common},O=Advanced Micro Devices,OU=Engineering,C=US")
}

const ROOT: KeyName = KeyName("amd-root", Kind::Pss384);
const INTERMEDIATE: KeyName = KeyName("amd-intermediate", Kind::Pss384);
const VEK: KeyName = KeyName("amd vek", Kind::P384);

/// 2024-01-01 to 2044-01-01.
const VALID: (u64, u64) = (1_704_067_200, 2_335_219_200);

const STRUCT_VERSION: &str = "1.3.6.1.4.1.3704.1.1";
const PRODUCT_NAME: &str = "1.3.6.1.4.1.3704.1.2";
const BOOTLOADER: &str = "1.3.6.1.4.1.3704.1.3.1";
const TEE: &str = "1.3.6.1.4.1.3704.1.3.2";
const SNP: &str = "1.3.6.1.4.1.3704.1.3.3";
const MICROCODE: &str = "1.3.6.1.4.1.3704.1.3.8";
const FMC: &str = "1.3.6.1.4.1.3704.1.3.9";
const HARDWARE_ID: &str = "1.3.6.1.4.1.3704.1.4";
const CSP_ID: &str = "1.3.6.1.4.1.3704.1.5";
