//! Quotes against `dcap-qvl` 0.7.1: statuses and advisories agree, over real vectors, over random damage, and over random
//! tables of patch levels under a PKI of our own. Where the two may differ is listed, with the reason.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests say what went wrong by failing")]

#[expect(dead_code, reason = "the vectors' runner uses the rest of it")]
#[path = "../../testkit/src/vectors/dcap/forge.rs"]
mod forge;

use attest::dcap::{Collateral, DcapError, Quote, UnanchoredRoot};
use claims::UnixTime;
use claims::dcap::{CollateralState, DcapClaims};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use forge::{Forge, Layout, Revoked};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Built-in policy of `dcap-qvl`, which Intel and we leave to the caller.
const POLICY: [&str; 5] = ["SEPT_VE_DISABLE", "MR service TD", "migration", "SERVTD_EXT", "Reserved bits"];

fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    if !folder.join("sgx/manifest.json").exists() {
        println!("skipped: vectors are not here");
        return None;
    }
    Some(folder)
}

/// A quote, its bundle and its time.
#[derive(Clone)]
struct Vector {
    name: String,
    quote: Vec<u8>,
    bundle: Value,
    at: u64,
}

fn load(folder: &Path) -> Vec<Vector> {
    let mut found = Vec::new();
    for kind in ["sgx", "tdx"] {
        let manifest: Value =
            serde_json::from_slice(&fs::read(folder.join(kind).join("manifest.json")).unwrap()).unwrap();
        for entry in manifest["vectors"].as_array().unwrap() {
            if entry["collateral"].is_null() || !entry["custom_root"].is_null() {
                continue;
            }
            let read = |member: &str| {
                let folder = folder.join(kind).join(entry["dir"].as_str().unwrap());
                fs::read(folder.join(entry[member].as_str().unwrap())).unwrap()
            };
            found.push(Vector {
                name: entry["name"].as_str().unwrap().to_owned(),
                quote: read("quote"),
                bundle: serde_json::from_slice(&read("collateral")).unwrap(),
                at: entry["expected"]["verify_at_unix"].as_u64().unwrap(),
            });
        }
    }
    found
}

/// A status with its advisories, or why there is none.
type Outcome = Result<(String, Vec<String>), String>;

fn theirs(quote: &[u8], bundle: &Value, at: u64, root: Option<&[u8]>) -> Outcome {
    let collateral: QuoteCollateralV3 = serde_json::from_value(bundle.clone()).map_err(|error| error.to_string())?;
    let verifier = root.map_or_else(QuoteVerifier::new_prod, |root| QuoteVerifier::new(root.to_vec()));
    let report = verifier.allow_debug(true).allow_service_td(true).verify(quote, &collateral, at);
    report.map(|report| (report.status, report.advisory_ids)).map_err(|error| format!("{error:#}"))
}

fn ours(quote: &[u8], bundle: &Value, at: u64, root: Option<&[u8]>) -> Outcome {
    let verify = || -> Result<DcapClaims, DcapError> {
        let quote = Quote::parse(quote)?;
        let mut heap = Collateral::new();
        heap.add(bundle.to_string().as_bytes())?;
        let at = UnixTime(at);
        match root {
            None => Ok(quote.verify(&heap.verify()?, at)?.claims().clone()),
            Some(root) => {
                let with = heap.check_unanchored(&UnanchoredRoot::from_der(root)?)?;
                Ok(quote.check_unanchored(&with, at)?.claims().clone())
            }
        }
    };
    let claims = verify().map_err(|error| error.to_string())?;
    // Here dates and revoked levels are results, there they are errors.
    match (claims.collateral.state, claims.tcb.status.name()) {
        (CollateralState::Current, "Revoked") => Err("revoked".to_owned()),
        (CollateralState::Current, status) => Ok((status.to_owned(), claims.tcb.advisories)),
        (state, _) => Err(format!("{state:?}")),
    }
}

#[test]
fn every_vector_has_the_status_that_the_peer_gives_it() {
    let Some(folder) = vectors() else { return };
    let mut agreed = 0;
    for Vector { name, quote, bundle, at } in load(&folder) {
        match (ours(&quote, &bundle, at, None), theirs(&quote, &bundle, at, None)) {
            (Ok(ours), Ok(theirs)) => {
                assert_eq!(ours, theirs, "{name}");
                agreed += 1;
            }
            (Ok(_), Err(error)) => {
                let policy = POLICY.iter().any(|word| error.contains(word));
                assert!(policy || error.contains("sgxtcbcomponents"), "{name}: only the peer refuses: {error}");
            }
            (Err(error), Ok(_)) => panic!("{name}: only we refuse: {error}"),
            (Err(_), Err(_)) => {}
        }
    }
    assert!(agreed >= 4, "{agreed} vectors agreed");
}

/// What is damaged.
#[derive(Debug, Clone)]
enum Damage {
    Bytes(Vec<(prop::sample::Index, u8)>),
    Cut(prop::sample::Index),
    Member(usize, prop::sample::Index, u8),
    Time(i64),
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4).prop_map(Damage::Bytes);
    prop_oneof![
        4 => bytes,
        1 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        3 => (0..MEMBERS.len(), any::<prop::sample::Index>(), any::<u8>())
            .prop_map(|(member, at, byte)| Damage::Member(member, at, byte)),
        2 => (-40_000_000..40_000_000_i64).prop_map(Damage::Time),
    ]
}

const MEMBERS: [&str; 9] = [
    "pck_crl_issuer_chain",
    "root_ca_crl",
    "pck_crl",
    "tcb_info_issuer_chain",
    "tcb_info",
    "tcb_info_signature",
    "qe_identity_issuer_chain",
    "qe_identity",
    "qe_identity_signature",
];

/// Puts printable characters into a text, so that it stays one.
fn damaged(vector: &Vector, damage: &Damage) -> Vector {
    let mut damaged = vector.clone();
    match damage {
        Damage::Bytes(changes) => {
            for (at, by) in changes {
                let at = at.index(damaged.quote.len());
                if let Some(byte) = damaged.quote.get_mut(at) {
                    *byte ^= by;
                }
            }
        }
        Damage::Cut(at) => damaged.quote.truncate(at.index(vector.quote.len())),
        Damage::Member(member, at, byte) => {
            let name = MEMBERS.get(*member).unwrap();
            let mut text = vector.bundle[*name].as_str().unwrap().as_bytes().to_vec();
            let at = at.index(text.len());
            *text.get_mut(at).unwrap() = b' ' + byte % 95;
            damaged.bundle[*name] = json!(String::from_utf8(text).unwrap());
        }
        Damage::Time(seconds) => damaged.at = vector.at.saturating_add_signed(*seconds),
    }
    damaged
}

/// Whether a difference between a quote and its damaged form lies where nothing is signed and only we look: what follows
/// the quote, the outer certification type, and the text of the chain (line breaks, the root that comes along).
fn only_we_look(was: &[u8], is: &[u8]) -> bool {
    let layout = Layout::of(was).unwrap();
    let differing = was.iter().zip(is).enumerate().filter(|(_, (was, is))| was != is).map(|(at, _)| at);
    let outer = layout.outer.map_or(0..0, |outer| outer..outer + 2);
    was.len() == is.len() && differing.into_iter().all(|at| at >= layout.data.start || outer.contains(&at))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_vectors_are_judged_alike(choice in any::<prop::sample::Index>(), damage in damage()) {
        let Some(folder) = vectors() else { return Ok(()) };
        let all: Vec<Vector> = load(&folder)
            .into_iter()
            .filter(|vector| theirs(&vector.quote, &vector.bundle, vector.at, None).is_ok())
            .collect();
        let vector = all.get(choice.index(all.len())).unwrap();
        let Vector { quote, bundle, at, .. } = damaged(vector, &damage);
        match (ours(&quote, &bundle, at, None), theirs(&quote, &bundle, at, None)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs, "{}: {:?}", vector.name, damage),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(error)) => {
                prop_assert!(false, "{}: {damage:?}: only the peer refuses: {error}", vector.name);
            }
            (Err(error), Ok(_)) => {
                let explained = match &damage {
                    Damage::Bytes(_) => only_we_look(&vector.quote, &quote),
                    // Cutting off padding.
                    Damage::Cut(_) => false,
                    // The chain of the list's authority, and roots that come along, are not looked at by the peer.
                    Damage::Member(member, ..) => MEMBERS.get(*member).unwrap().ends_with("issuer_chain"),
                    Damage::Time(_) => false,
                };
                prop_assert!(explained, "{}: {damage:?}: only we refuse: {error}", vector.name);
            }
        }
    }
}

/// A table of patch levels around those of a real one.
#[derive(Debug, Clone)]
struct Table {
    levels: Vec<([i8; 4], usize, bool)>,
    modules: Vec<(i8, usize)>,
    enclave: Vec<(i8, usize)>,
}

const STATUSES: [&str; 7] = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
];
const OF_MODULE: [&str; 3] = ["UpToDate", "OutOfDate", "Revoked"];
const OF_ENCLAVE: [&str; 5] =
    ["UpToDate", "ConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded", "Revoked"];

fn table() -> impl Strategy<Value = Table> {
    let step = -1..=1_i8;
    let level = ([step.clone(), step.clone(), step.clone(), step.clone()], 0..STATUSES.len(), any::<bool>());
    let levels = prop::collection::vec(level, 1..6);
    let modules = prop::collection::vec((-2..=2_i8, 0..OF_MODULE.len()), 1..4);
    let enclave = prop::collection::vec((-1..=1_i8, 0..OF_ENCLAVE.len()), 1..4);
    (levels, modules, enclave).prop_map(|(levels, modules, enclave)| Table { levels, modules, enclave })
}

/// Around what the platform has: SGX component 1, PCE, TDX component 3, module.
fn tcb_info(real: &Value, claims: &DcapClaims, quote: &[u8], table: &Table) -> String {
    let mut info = real.clone();
    let first = real["tcbLevels"][0].clone();
    let layout = Layout::of(quote).unwrap();
    let svn = quote.get(layout.body..layout.body + 16).unwrap();
    let cpu = hex::decode(&claims.platform.cpu_svn).unwrap();
    let around = |value: u8, step: i8| value.saturating_add_signed(step);
    let mut levels = Vec::new();
    for (number, (steps, status, advisory)) in table.levels.iter().enumerate() {
        let mut level = first.clone();
        let [sgx, pce, tdx, zero] = *steps;
        for (component, own) in level["tcb"]["sgxtcbcomponents"].as_array_mut().unwrap().iter_mut().zip(&cpu) {
            component["svn"] = json!(own);
        }
        level["tcb"]["sgxtcbcomponents"][0]["svn"] = json!(around(*cpu.first().unwrap(), sgx));
        level["tcb"]["pcesvn"] = json!(claims.platform.pce_svn.saturating_add_signed(pce.into()));
        if let Some(components) = level["tcb"]["tdxtcbcomponents"].as_array_mut() {
            for (component, own) in components.iter_mut().zip(svn) {
                component["svn"] = json!(own);
            }
            level["tcb"]["tdxtcbcomponents"][2]["svn"] = json!(around(*svn.get(2).unwrap(), tdx));
            level["tcb"]["tdxtcbcomponents"][0]["svn"] = json!(around(*svn.first().unwrap(), zero));
        }
        level["tcbStatus"] = json!(STATUSES.get(*status).unwrap());
        level["advisoryIDs"] =
            if *advisory { json!([format!("INTEL-SA-{number:05}"), "INTEL-SA-99999"]) } else { json!([]) };
        levels.push(level);
    }
    info["tcbLevels"] = json!(levels);
    if let Some(identities) = info["tdxModuleIdentities"].as_array_mut() {
        for identity in identities {
            let of_module = table.modules.iter().map(|(step, status)| {
                json!({
                    "tcb": {"isvsvn": around(*svn.first().unwrap(), *step)},
                    "tcbDate": "2024-03-13T00:00:00Z",
                    "tcbStatus": OF_MODULE.get(*status).unwrap(),
                    "advisoryIDs": ["INTEL-SA-77777", "INTEL-SA-99999"],
                })
            });
            identity["tcbLevels"] = json!(descending(of_module.collect()));
        }
    }
    info.to_string()
}

fn identity(real: &Value, quote: &[u8], table: &Table) -> String {
    let mut identity = real.clone();
    let at = Layout::of(quote).unwrap().qe + 258;
    let own = i32::from(u16::from_le_bytes(quote.get(at..at + 2).unwrap().try_into().unwrap()));
    let levels = table.enclave.iter().map(|(step, status)| {
        json!({
            "tcb": {"isvsvn": (own + i32::from(*step)).max(0)},
            "tcbDate": "2024-03-13T00:00:00Z",
            "tcbStatus": OF_ENCLAVE.get(*status).unwrap(),
            "advisoryIDs": ["INTEL-SA-88888"],
        })
    });
    identity["tcbLevels"] = json!(descending(levels.collect()));
    identity.to_string()
}

/// Intel lists levels from the highest down and its library sorts them, as we do; the peer takes the order given.
fn descending(mut levels: Vec<Value>) -> Vec<Value> {
    levels.sort_by_key(|level| std::cmp::Reverse(level["tcb"]["isvsvn"].as_u64()));
    levels
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_of_patch_levels_are_read_alike(choice in any::<prop::sample::Index>(), table in table()) {
        let Some(folder) = vectors() else { return Ok(()) };
        let all: Vec<Vector> = load(&folder)
            .into_iter()
            .filter(|vector| theirs(&vector.quote, &vector.bundle, vector.at, None).is_ok())
            .collect();
        let Vector { name, quote, bundle, at } = all.get(choice.index(all.len())).unwrap();
        let mut heap = Collateral::new();
        heap.add(bundle.to_string().as_bytes()).unwrap();
        let verified = Quote::parse(quote).unwrap().verify(&heap.verify().unwrap(), UnixTime(*at)).unwrap();
        let forge = Forge::like(quote).expect("a PKI");
        let forged = forge.quote(quote, |_| ()).expect("a quote");
        let real = |member: &str| serde_json::from_str::<Value>(bundle[member].as_str().unwrap()).unwrap();
        // Components are those of the PCK certificate; the raw CPU SVN equals them on these platforms.
        let info = tcb_info(&real("tcb_info"), verified.claims(), quote, &table);
        let identity = identity(&real("qe_identity"), quote, &table);
        let bundle = forge.collateral(&info, &identity, Revoked::Nothing).expect("a bundle");
        let ours = ours(&forged, &bundle, *at, Some(&forge.root));
        let theirs = theirs(&forged, &bundle, *at, Some(&forge.root));
        match (&ours, &theirs) {
            (Err(_), Err(_)) => {}
            _ => prop_assert_eq!(ours, theirs, "{}: {:?}", name, table),
        }
    }
}
