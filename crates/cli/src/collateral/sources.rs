//! Which collateral some evidence needs, what it is called in the store, and where the vendor has it.
//!
//! Addresses are made of the base addresses on the command line and of plain values from the evidence (chip id, patch
//! level, product), never of an address that the evidence names.

use super::Piece;
use super::store::{Store, Stored};
use crate::appraise;
use crate::args::EvidenceKind as Kind;
use attest::nvgpu::{OcspQuestion, Rim};
use attest::snp::Report;
use claims::UnixTime;
use claims::snp::{Product, SigningKey};

/// Where the vendors' services are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses<'a> {
    /// AMD's key distribution service.
    pub(crate) kds: &'a str,
    /// NVIDIA's reference integrity manifests.
    pub(crate) rim: &'a str,
    /// NVIDIA's OCSP responder.
    pub(crate) ocsp: &'a str,
    /// Intel's provisioning certification service.
    pub(crate) pcs: &'a str,
    /// Intel's root revocation list.
    pub(crate) intel_root_crl: &'a str,
}

/// Something to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its name in the store.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) url: String,
    /// What is posted there, an OCSP request in DER; nothing where it is got.
    pub(crate) request: Option<Vec<u8>>,
    /// Header of the answer with the chain of certificates that signed it, URL-encoded PEM.
    pub(crate) chain: Option<&'static str>,
    /// Whether its absence is no failure: another item takes its place, or policy decides.
    pub(crate) optional: bool,
}

impl Item {
    /// Something that is got, and whose absence is a failure.
    fn got(name: String, url: String) -> Self {
        Self { name, url, request: None, chain: None, optional: false }
    }

    /// The chain that comes with it has a name of its own.
    pub(crate) fn chain_name(&self) -> Option<String> {
        self.chain.map(|_| format!("{}/chain", self.name))
    }

    /// All of it from the store; nothing where a part is missing or out of date.
    pub(crate) fn stored(&self, store: &Store, now: UnixTime) -> Option<Vec<Stored>> {
        self.chain_name().into_iter().chain([self.name.clone()]).map(|name| store.get(&name, now)).collect()
    }
}

/// What some evidence needs.
pub(crate) fn plan(kind: Kind, bytes: &[u8], addresses: &Addresses<'_>) -> Vec<Item> {
    match kind {
        Kind::Snp => appraise::read_snp(bytes).map(|(report, _)| snp(&report, addresses.kds)).unwrap_or_default(),
        Kind::AzSnpVtpm => appraise::azure_report(bytes).map(|report| snp(&report, addresses.kds)).unwrap_or_default(),
        Kind::AzTdxVtpm => {
            appraise::azure_quote(bytes).map(|quote| intel(Kind::Tdx, &quote, addresses)).unwrap_or_default()
        }
        Kind::Nvgpu => {
            let manifests = rims(&appraise::rim_ids(bytes), addresses.rim);
            manifests.into_iter().chain(states(appraise::device_questions(bytes), addresses.ocsp)).collect()
        }
        Kind::Sgx | Kind::Tdx => intel(kind, bytes, addresses),
        Kind::RaTls => {
            let inside = appraise::in_certificate(bytes);
            inside.map(|(kind, bytes)| plan(kind, &bytes, addresses)).unwrap_or_default()
        }
        // Keys are enrolled; certificates come with the evidence; key sets are the service's, and named by hand.
        Kind::Tpm | Kind::Aci | Kind::Maa | Kind::Ear | Kind::Nras => Vec::new(),
    }
}

/// What is needed beside some evidence once its manifests are there: the state of their signers.
pub(crate) fn of_manifests(kind: Kind, manifests: &[Vec<u8>], addresses: &Addresses<'_>) -> Vec<Item> {
    if kind != Kind::Nvgpu {
        return Vec::new();
    }
    let parsed = manifests.iter().filter_map(|bytes| Rim::parse(bytes).ok());
    states(parsed.flat_map(|rim| rim.ocsp_questions()).collect(), addresses.ocsp)
}

/// What of it an earlier `fetch-collateral` has stored.
pub(crate) fn stored(kind: Kind, bytes: &[u8], store: &Store, now: UnixTime) -> Vec<Piece> {
    let nowhere = Addresses { kds: "", rim: "", ocsp: "", pcs: "", intel_root_crl: "" };
    let kept = |items: Vec<Item>| -> Vec<Stored> {
        items.into_iter().filter_map(|item| item.stored(store, now)).flatten().collect()
    };
    let mut all = kept(plan(kind, bytes, &nowhere));
    let manifests: Vec<Vec<u8>> = all.iter().map(|stored| stored.bytes.clone()).collect();
    all.extend(kept(of_manifests(kind, &manifests, &nowhere)));
    all.into_iter().map(|stored| Piece { name: stored.entry.name, bytes: stored.bytes, beside: true }).collect()
}

/// AMD's certificates and list (VCEK specification 57230, chapter 4). A VLEK comes from the cloud provider only. A version 2
/// report does not say which product it is from, so both are asked for.
fn snp(report: &Report, kds: &str) -> Vec<Item> {
    let products = match report.product() {
        Some(product) => vec![product],
        None => vec![Product::Milan, Product::Genoa],
    };
    let sure = products.len() == 1;
    let kind = match report.signing_key() {
        SigningKey::Vcek => "vcek",
        SigningKey::Vlek => "vlek",
    };
    let mut items = Vec::new();
    for product in products {
        let base = format!("{}/{kind}/v1/{product}", kds.trim_end_matches('/'));
        for what in ["cert_chain", "crl"] {
            let item = Item::got(format!("amd/{kind}/{product}/{what}"), format!("{base}/{what}"));
            // Without the list, --require-crl will say so.
            items.push(Item { optional: !sure || what == "crl", ..item });
        }
        if report.signing_key() == SigningKey::Vcek {
            let (chip, levels) = (chip(report, product), levels(report));
            let item = Item::got(format!("amd/vcek/{product}/{chip}/{levels}"), format!("{base}/{chip}?{levels}"));
            items.push(Item { optional: !sure, ..item });
        }
    }
    items
}

/// Intel's TCB info, identity and lists (PCS API version 4; a PCCS has the same paths).
fn intel(kind: Kind, bytes: &[u8], addresses: &Addresses<'_>) -> Vec<Item> {
    let Some((fmspc, ca)) = appraise::intel_platform(bytes) else { return Vec::new() };
    let tee = if kind == Kind::Sgx { "sgx" } else { "tdx" };
    let base = addresses.pcs.trim_end_matches('/');
    let item = |name: String, url: String, chain| Item { chain, ..Item::got(name, url) };
    vec![
        item(
            format!("intel/tcb/{tee}/{fmspc}"),
            format!("{base}/{tee}/certification/v4/tcb?fmspc={fmspc}"),
            Some("tcb-info-issuer-chain"),
        ),
        item(
            format!("intel/identity/{tee}"),
            format!("{base}/{tee}/certification/v4/qe/identity"),
            Some("sgx-enclave-identity-issuer-chain"),
        ),
        item(
            format!("intel/pckcrl/{ca}"),
            format!("{base}/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"),
            Some("sgx-pck-crl-issuer-chain"),
        ),
        item("intel/rootcacrl".to_owned(), addresses.intel_root_crl.to_owned(), None),
    ]
}

/// NVIDIA's RIMs of the driver and the VBIOS that the devices say they run.
fn rims(ids: &[String], rim: &str) -> Vec<Item> {
    let item =
        |id: &String| Item::got(format!("nvidia/rim/{id}"), format!("{}/v1/rim/{id}", rim.trim_end_matches('/')));
    ids.iter().map(item).collect()
}

/// The state of certificates, as NVIDIA's responder says it. Without it, --require-crl will say so.
fn states(mut questions: Vec<OcspQuestion>, ocsp: &str) -> Vec<Item> {
    // The devices of one machine share authorities.
    questions.sort_by_key(|question| question.certificate.0);
    questions.dedup();
    let item = |question: OcspQuestion| Item {
        request: Some(question.request),
        optional: true,
        ..Item::got(format!("nvidia/ocsp/{}", question.certificate), ocsp.to_owned())
    };
    questions.into_iter().map(item).collect()
}

/// The hardware id: all of the chip id, of Turin its first 8 bytes.
fn chip(report: &Report, product: Product) -> String {
    let id = report.claimed().chip_id;
    let length = if product == Product::Turin { 8 } else { 64 };
    hex::encode(id.as_bytes().get(..length).unwrap_or_default())
}

fn levels(report: &Report) -> String {
    let tcb = report.claimed().reported_tcb;
    let fmc = tcb.fmc.map(|fmc| format!("fmcSPL={fmc:02}&")).unwrap_or_default();
    let (bootloader, tee, snp, microcode) = (tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode);
    format!("{fmc}blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}")
}
