//! Which collateral some evidence needs, what it is called in the store, and where the vendor has it.
//!
//! Addresses are made of the base addresses on the command line and of plain values from the evidence (chip id, patch
//! level, product), never of an address that the evidence names.

use super::Piece;
use super::store::{Store, Stored};
use crate::appraise;
use crate::args::EvidenceKind as Kind;
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
    /// Header of the answer with the chain of certificates that signed it, URL-encoded PEM.
    pub(crate) chain: Option<&'static str>,
    /// Whether its absence is no failure: another item takes its place, or policy decides.
    pub(crate) optional: bool,
}

impl Item {
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
        Kind::Nvgpu => rims(&appraise::rim_ids(bytes), addresses.rim),
        Kind::Sgx | Kind::Tdx => intel(kind, bytes, addresses),
        // Keys are enrolled; certificates come with the evidence; key sets are the service's, and named by hand.
        Kind::Tpm | Kind::Aci | Kind::Maa | Kind::Ear | Kind::Nras => Vec::new(),
    }
}

/// What of it an earlier `fetch-collateral` has stored.
pub(crate) fn stored(kind: Kind, bytes: &[u8], store: &Store, now: UnixTime) -> Vec<Piece> {
    plan(kind, bytes, &Addresses { kds: "", rim: "", pcs: "", intel_root_crl: "" })
        .into_iter()
        .filter_map(|item| item.stored(store, now))
        .flatten()
        .map(|stored| Piece { name: stored.entry.name, bytes: stored.bytes })
        .collect()
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
            items.push(Item {
                name: format!("amd/{kind}/{product}/{what}"),
                url: format!("{base}/{what}"),
                // Without the list, --require-crl will say so.
                chain: None,
                optional: !sure || what == "crl",
            });
        }
        if report.signing_key() == SigningKey::Vcek {
            let (chip, levels) = (chip(report, product), levels(report));
            items.push(Item {
                name: format!("amd/vcek/{product}/{chip}/{levels}"),
                url: format!("{base}/{chip}?{levels}"),
                chain: None,
                optional: !sure,
            });
        }
    }
    items
}

/// Intel's TCB info, identity and lists (PCS API version 4; a PCCS has the same paths).
fn intel(kind: Kind, bytes: &[u8], addresses: &Addresses<'_>) -> Vec<Item> {
    let Some((fmspc, ca)) = appraise::intel_platform(bytes) else { return Vec::new() };
    let tee = if kind == Kind::Sgx { "sgx" } else { "tdx" };
    let base = addresses.pcs.trim_end_matches('/');
    let item = |name: String, url: String, chain| Item { name, url, chain, optional: false };
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
    let item = |id: &String| Item {
        name: format!("nvidia/rim/{id}"),
        url: format!("{}/v1/rim/{id}", rim.trim_end_matches('/')),
        chain: None,
        optional: false,
    };
    ids.iter().map(item).collect()
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
