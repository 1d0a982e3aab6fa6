//! Intel's shape: root, PCK authority, PCK certificate with its SGX extension, TCB signer; revocation lists, TCB info,
//! identity of the quoting enclave; quotes of version 3 (SGX), 4 and 5 (TDX). The names are Intel's own.

mod mutators;
mod quote;
mod signed;
mod wanted;

use super::keys::{KeyName, Kind};
use super::x509::{self, CertificatePlan, ListPlan};
use super::{Change, Forge, NOW, Result};
use crate::text::{Expect, TextVector};
pub(super) use quote::put;
use quote::{Body, QuotePlan};
use serde_json::Value;
use signed::Platform;
use std::collections::BTreeMap;

pub use mutators::MUTATORS;

/// Evidence before it is signed.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) quote: QuotePlan,
    pub(super) root: CertificatePlan,
    pub(super) authority: CertificatePlan,
    pub(super) pck: CertificatePlan,
    pub(super) signer: CertificatePlan,
    pub(super) platform: Platform,
    pub(super) root_list: Option<ListPlan>,
    pub(super) pck_list: Option<ListPlan>,
    pub(super) info: Value,
    pub(super) identity: Value,
    pub(super) now: u64,
    pub(super) settings: BTreeMap<&'static str, Vec<u8>>,
}

/// Evidence as it is sent, with what is wanted of it.
#[derive(Debug, Clone)]
pub struct Made {
    pub(super) quote: Vec<u8>,
    /// Certificates, lists and signed texts, in the order of [`PIECES`].
    pub(super) collateral: Vec<Vec<u8>>,
    pub(super) now: u64,
    pub(super) settings: BTreeMap<&'static str, Vec<u8>>,
}

/// Which quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// An enclave's, version 3.
    Sgx3,
    /// A trust domain's, version 4.
    Tdx4,
    /// A trust domain's of TDX 1.5, version 5.
    Tdx5,
}

/// The models, with the names of the vectors that hold.
pub const MODELS: [(&str, Model); 3] =
    [("ok-sgx-v3", Model::Sgx3), ("ok-tdx-v4", Model::Tdx4), ("ok-tdx-v5", Model::Tdx5)];

/// Order of the collateral's pieces.
pub const PIECES: [&str; 7] =
    ["root", "PCK authority", "TCB signer", "root's list", "PCK list", "TCB info", "QE identity"];

impl Plan {
    pub(super) fn set(&mut self, name: &'static str, value: impl AsRef<[u8]>) {
        self.settings.insert(name, value.as_ref().to_vec());
    }
}

impl Forge {
    /// What a platform would be made to say.
    pub fn intel_plan(&self, model: Model) -> Result<Plan> {
        let platform = Platform::of(&self.keys)?;
        let body = match model {
            Model::Sgx3 => Body::Sgx,
            Model::Tdx4 => Body::Td10,
            Model::Tdx5 => Body::Td15,
        };
        let certificate = |serial, subject: &str, issuer: &str, key, signer, extensions| CertificatePlan {
            serial,
            subject: name(subject),
            issuer: name(issuer),
            valid: VALID,
            key,
            signer,
            says: None,
            extensions,
        };
        let list = |issuer: &str, signer| ListPlan { issuer: name(issuer), valid: VALID, signer, serials: vec![77] };
        let tdx = model != Model::Sgx3;
        let mut plan = Plan {
            quote: QuotePlan::of(&self.keys, body)?,
            root: certificate(1, ROOT_NAME, ROOT_NAME, ROOT, ROOT, x509::authority(Some(1))?),
            authority: certificate(2, CA_NAME, ROOT_NAME, CA, ROOT, x509::authority(Some(0))?),
            pck: certificate(3, "Intel SGX PCK Certificate", CA_NAME, PCK, CA, x509::signer()?),
            signer: certificate(4, "Intel SGX TCB Signing", ROOT_NAME, SIGNER, ROOT, x509::signer()?),
            info: signed::tcb_info(&platform, tdx),
            identity: signed::qe_identity(&self.keys, tdx)?,
            platform,
            root_list: Some(list(ROOT_NAME, ROOT)),
            pck_list: Some(list(CA_NAME, CA)),
            now: NOW,
            settings: BTreeMap::new(),
        };
        plan.set("anchor", plan.root.make(&self.keys)?);
        plan.set("want.tee", if tdx { "tdx" } else { "sgx" });
        let wanted: &[(&'static str, std::ops::Range<usize>)] = match tdx {
            false => &[("want.mrenclave", 64..96), ("want.mrsigner", 128..160), ("want.report-data", 320..384)],
            true => &[("want.mrtd", 136..184), ("want.rtmr0", 328..376), ("want.report-data", 520..584)],
        };
        for (name, range) in wanted {
            let value = plan.quote.body.get(range.clone()).ok_or("no such field")?.to_vec();
            plan.set(name, value);
        }
        Ok(plan)
    }

    /// Signs everything.
    pub fn intel_make(&self, plan: &Plan) -> Result<Made> {
        let mut pck = plan.pck.clone();
        if let Some(platform) = plan.platform.encode()? {
            pck.extensions.push((signed::SGX_EXTENSION, false, platform));
        }
        let (root, authority) = (plan.root.make(&self.keys)?, plan.authority.make(&self.keys)?);
        let chain = [&pck.make(&self.keys)?, &authority, &root].map(|der| x509::pem(der));
        let chain = chain.into_iter().collect::<Result<Vec<_>>>()?.concat();
        let text = |member: &str, value: &Value| -> Result<Vec<u8>> {
            let text = String::from_utf8(claims::json::canonical(value)?)?;
            let signature = hex::encode(self.keys.sign_fixed(SIGNER, text.as_bytes())?);
            Ok(format!("{{\"{member}\":{text},\"signature\":\"{signature}\"}}").into_bytes())
        };
        let mut collateral = vec![root, authority, plan.signer.make(&self.keys)?];
        for list in [&plan.root_list, &plan.pck_list].into_iter().flatten() {
            collateral.push(list.make(&self.keys)?);
        }
        collateral.extend([text("tcbInfo", &plan.info)?, text("enclaveIdentity", &plan.identity)?]);
        Ok(Made {
            quote: plan.quote.make(&self.keys, chain.as_bytes())?,
            collateral,
            now: plan.now,
            settings: plan.settings.clone(),
        })
    }

    /// Every vector of quotes: those that hold, and each mutator's.
    pub fn intel_vectors(&self) -> Result<Vec<TextVector>> {
        let mut vectors = Vec::new();
        for (name, model) in MODELS {
            let made = self.intel_make(&self.intel_plan(model)?)?;
            let spec = "Intel, ECDSA Quote Library API, appendix A";
            vectors.push(made.vector(name, spec, "nothing changed", Expect::Ok));
        }
        for (model, mutators) in MUTATORS {
            for mutator in mutators {
                let mut plan = self.intel_plan(model)?;
                if let Change::Plan(change) = mutator.change {
                    change(&mut plan);
                }
                let mut made = self.intel_make(&plan)?;
                if let Change::Made(change) = mutator.change {
                    change(&mut made);
                }
                vectors.push(made.vector(mutator.name, mutator.spec, mutator.about, mutator.expect()));
            }
        }
        Ok(vectors)
    }
}

impl Made {
    /// As a text vector.
    pub fn vector(&self, name: &str, spec: &str, about: &str, expect: Expect) -> TextVector {
        let quote = ("quote".to_owned(), self.quote.clone());
        let collateral = self.collateral.iter().map(|bytes| ("collateral".to_owned(), bytes.clone()));
        let settings = self.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        TextVector {
            name: name.to_owned(),
            kind: "dcap".to_owned(),
            spec: spec.to_owned(),
            about: about.to_owned(),
            expect,
            now: self.now,
            fields: std::iter::once(quote).chain(collateral).chain(settings).collect(),
        }
    }
}

fn name(common: &str) -> String {
    format!("CN={common},O=Intel Corporation,L=Santa Clara,ST=CA,C=US")
}

const ROOT_NAME: &str = "Intel SGX Root CA";
const CA_NAME: &str = "Intel SGX PCK Platform CA";
const ROOT: KeyName = KeyName("intel root", Kind::P256);
const CA: KeyName = KeyName("intel platform ca", Kind::P256);
const SIGNER: KeyName = KeyName("intel tcb signing", Kind::P256);
const PCK: KeyName = KeyName("intel pck", Kind::P256);
const ATTESTATION: KeyName = KeyName("intel attestation key", Kind::P256);

/// 2024-01-01 to 2044-01-01.
const VALID: (u64, u64) = (1_704_067_200, 2_335_219_200);
