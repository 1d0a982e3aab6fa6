//! Collateral of every kind of file, and what a rule wants: under a PKI of our own, where every field can be changed and
//! still be signed. Each refusal is the exact one.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests say what went wrong by failing")]

#[expect(dead_code, reason = "the vectors' runner uses the rest of it")]
#[path = "../../testkit/src/vectors/dcap/forge.rs"]
mod forge;

use attest::dcap::{
    Collateral, DcapError, Expected, ExpectedBody, PlatformRules, Quote, Role, Rule, SgxExpected, Staleness, TcbRules,
    TdxExpected, Tolerance, UnanchoredRoot,
};
use claims::bytes::{Digest256, Digest384};
use claims::dcap::{CollateralState, DcapBody, DcapClaims, DcapRoot, DcapTee, TcbStatus};
use claims::{Allowed, Code, Refusal, ReportData, UnixTime};
use forge::{Forge, Layout, Revoked};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const AT: UnixTime = UnixTime(1_751_000_000);
const SGX: &str = "sgx/phala_v3_00A067110000";
const TDX: &str = "tdx/phala_v4_B0C06F000000";

fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    if !folder.join("sgx").exists() {
        println!("skipped: vectors are not here");
        return None;
    }
    Some(folder)
}

/// A vector, and a PKI like its own.
struct World {
    quote: Vec<u8>,
    bundle: Value,
    forge: Forge,
}

impl World {
    fn of(folder: &Path, name: &str) -> Self {
        let quote = fs::read(folder.join(name).join("quote.bin")).unwrap();
        let bundle = serde_json::from_slice(&fs::read(folder.join(name).join("collateral.json")).unwrap()).unwrap();
        Self { forge: Forge::like(&quote).unwrap(), quote, bundle }
    }

    fn text(&self, member: &str) -> Value {
        serde_json::from_str(self.bundle[member].as_str().unwrap()).unwrap()
    }

    /// Claims, with body, TCB info and identity edited.
    fn check(
        &self,
        body: impl FnOnce(&mut [u8]),
        info: impl FnOnce(&mut Value),
        identity: impl FnOnce(&mut Value),
    ) -> Result<DcapClaims, DcapError> {
        let quote = Quote::parse(&self.forge.quote(&self.quote, body).unwrap())?;
        let (mut of_platform, mut of_enclave) = (self.text("tcb_info"), self.text("qe_identity"));
        info(&mut of_platform);
        identity(&mut of_enclave);
        let bundle = self.forge.collateral(&of_platform.to_string(), &of_enclave.to_string(), Revoked::Nothing);
        let mut heap = Collateral::new();
        heap.add(bundle.unwrap().to_string().as_bytes())?;
        let with = heap.check_unanchored(&UnanchoredRoot::from_der(&self.forge.root)?)?;
        Ok(quote.check_unanchored(&with, AT)?.claims().clone())
    }

    fn with_body(&self, body: impl FnOnce(&mut [u8])) -> DcapClaims {
        self.check(body, |_| (), |_| ()).unwrap()
    }
}

/// Puts a value into a rule.
type Edit<T> = fn(&mut TdxExpected, T);

fn any<T: PartialEq>() -> Allowed<T> {
    Allowed::any("the test asks for something else")
}

fn rule(body: ExpectedBody) -> Expected {
    let also = vec![(TcbStatus::ConfigurationAndSWHardeningNeeded, "the vector has it".to_owned())];
    Expected {
        report_data: any(),
        tcb: TcbRules { also, ..TcbRules::strict(17) },
        platform: PlatformRules::any("any machine"),
        body,
    }
}

fn sgx() -> Expected {
    rule(ExpectedBody::Sgx(Box::new(SgxExpected::strict(any(), any(), any(), 0))))
}

fn tdx() -> Expected {
    rule(ExpectedBody::Tdx(Box::new(TdxExpected::strict(any(), [any(), any(), any(), any()]))))
}

fn enclave(edit: impl FnOnce(&mut SgxExpected)) -> Expected {
    let mut expected = SgxExpected::strict(any(), any(), any(), 0);
    edit(&mut expected);
    rule(ExpectedBody::Sgx(Box::new(expected)))
}

fn domain(edit: impl FnOnce(&mut TdxExpected)) -> Expected {
    let mut expected = TdxExpected::strict(any(), [any(), any(), any(), any()]);
    edit(&mut expected);
    rule(ExpectedBody::Tdx(Box::new(expected)))
}

fn put(at: usize, bytes: &[u8]) -> impl FnOnce(&mut [u8]) {
    let bytes = bytes.to_vec();
    move |body| body.get_mut(at..at + bytes.len()).unwrap().copy_from_slice(&bytes)
}

fn refused(expected: &Expected, claims: &DcapClaims, code: Code) -> DcapError {
    let error = expected.admit(claims).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.finding().is_some(), "{error} compares nothing");
    error
}

#[test]
fn what_is_not_intels_says_so_and_never_becomes_verified() {
    let Some(folder) = vectors() else { return };
    let world = World::of(&folder, SGX);
    let claims = world.with_body(|_| ());
    assert_eq!(claims.root, DcapRoot::Unanchored);
    assert_eq!(claims.tcb.status, TcbStatus::ConfigurationAndSWHardeningNeeded);
    assert_eq!(claims.collateral.state, CollateralState::Current);
    let waivers = sgx().admit(&claims).unwrap();
    assert!(waivers.iter().any(|waiver| waiver.claim == "tcb.status" && waiver.reason.contains("the vector has it")));
    assert!(waivers.iter().any(|waiver| waiver.claim == "tcb.advisories"));
    let forged = world.forge.quote(&world.quote, |_| ()).unwrap();
    let signed = Quote::parse(&forged).unwrap().check_signatures();
    assert_eq!(signed.unwrap_err().code(), Code::DcapRoot);
}

#[test]
fn an_enclave_must_be_the_one_wanted() {
    let Some(folder) = vectors() else { return };
    let world = World::of(&folder, SGX);
    let claims = world.with_body(|_| ());
    let DcapBody::Sgx(found) = &claims.body else { return };
    let other = || Allowed::only(Digest256([1; 32]));
    for (expected, claim) in [
        (enclave(|rule| rule.mrenclave = other()), "mrenclave"),
        (enclave(|rule| rule.mrsigner = other()), "mrsigner"),
        (enclave(|rule| rule.isv_prod_id = Allowed::only(7)), "isv_prod_id"),
        (enclave(|rule| rule.isv_svn_floor = 1), "isv_svn"),
        (enclave(|rule| rule.config_id = Allowed::only("ff".to_owned())), "config_id"),
        (enclave(|rule| rule.config_svn_floor = 1), "config_svn"),
    ] {
        let error = refused(&expected, &claims, Code::DcapIdentity);
        assert!(matches!(error, DcapError::Identity { claim: got, .. } if got == claim), "{error}");
    }
    let exact = enclave(|rule| {
        rule.mrenclave = Allowed::only(found.mrenclave);
        rule.mrsigner = Allowed::only(found.mrsigner);
        rule.isv_prod_id = Allowed::only(0);
    });
    assert!(exact.admit(&claims).is_ok());
    let error = refused(&tdx(), &claims, Code::DcapIdentity);
    assert_eq!(error, DcapError::OtherTee { got: DcapTee::Sgx, wanted: DcapTee::Tdx });
    let mut bound = sgx();
    bound.report_data = Allowed::only(ReportData([9; 64]));
    refused(&bound, &claims, Code::ReportData);
    bound.report_data = Allowed::only(found.report_data);
    assert!(bound.admit(&claims).is_ok());
}

#[test]
fn debugging_is_refused_unless_tolerated_with_a_reason() {
    let Some(folder) = vectors() else { return };
    let world = World::of(&folder, SGX);
    let claims = world.with_body(put(48, &[7]));
    assert_eq!(refused(&sgx(), &claims, Code::DcapDebug), DcapError::Debug { attributes: 7 });
    let reason = || "a laboratory".to_owned();
    let tolerant = enclave(|rule| rule.debugging = Tolerance::Tolerated { reason: reason() });
    let waivers = tolerant.admit(&claims).unwrap();
    assert!(waivers.iter().any(|waiver| waiver.claim == "flags.debug" && waiver.reason == reason()));
    // Each bit of the TD-under-debug group.
    let world = World::of(&folder, TDX);
    for bit in 0..8 {
        let claims = world.with_body(put(120, &[1 << bit]));
        refused(&tdx(), &claims, Code::DcapDebug);
    }
}

#[test]
fn attributes_of_a_trust_domain_are_policy_with_a_default() {
    let Some(folder) = vectors() else { return };
    let world = World::of(&folder, TDX);
    assert!(tdx().admit(&world.with_body(|_| ())).is_ok());
    let tolerated = || Tolerance::Tolerated { reason: "known".to_owned() };
    // Byte 123 holds bits 24 to 31: SEPT_VE_DISABLE is 28, MIGRATABLE is 29; byte 127 holds PERFMON, bit 63.
    let cases: [(usize, u8, &str, Edit<Tolerance>); 4] = [
        (123, 0x00, "SEPT_VE_DISABLE is off", |rule, value| rule.sept_ve = value),
        (123, 0x30, "migration is allowed", |rule, value| rule.migration = value),
        (127, 0x80, "performance monitoring is allowed", |rule, value| rule.perfmon = value),
        (124, 0x01, "reserved attributes are set", |rule, value| rule.reserved = value),
    ];
    for (at, byte, wanted, loosen) in cases {
        let claims = world.with_body(put(at, &[byte]));
        let error = refused(&tdx(), &claims, Code::DcapAttributes);
        assert!(matches!(error, DcapError::Attribute { what, .. } if what == wanted), "{error}");
        assert!(domain(|rule| loosen(rule, tolerated())).admit(&claims).is_ok(), "{wanted}");
    }
}

#[test]
fn a_trust_domain_must_be_the_one_wanted() {
    let Some(folder) = vectors() else { return };
    let claims = World::of(&folder, TDX).with_body(|_| ());
    let other = || Allowed::only(Digest384([1; 48]));
    let cases: [(&str, Edit<Allowed<Digest384>>); 9] = [
        ("mrtd", |rule, value| rule.mrtd = value),
        ("rtmr0", |rule, value| rule.rtmr = [value, any(), any(), any()]),
        ("rtmr1", |rule, value| rule.rtmr = [any(), value, any(), any()]),
        ("rtmr2", |rule, value| rule.rtmr = [any(), any(), value, any()]),
        ("rtmr3", |rule, value| rule.rtmr = [any(), any(), any(), value]),
        ("mr_config_id", |rule, value| rule.mr_config_id = value),
        ("mr_owner", |rule, value| rule.mr_owner = value),
        ("mr_owner_config", |rule, value| rule.mr_owner_config = value),
        ("mr_seam", |rule, value| rule.mr_seam = value),
    ];
    for (claim, ask) in cases {
        let error = refused(&domain(|rule| ask(rule, other())), &claims, Code::DcapIdentity);
        assert!(matches!(error, DcapError::Identity { claim: got, .. } if got == claim), "{error}");
    }
    let error = refused(&domain(|rule| rule.xfam = Allowed::only(3)), &claims, Code::DcapIdentity);
    assert!(matches!(error, DcapError::Identity { claim: "xfam", .. }), "{error}");
}

#[test]
fn service_tds_are_refused_unless_listed() {
    let Some(folder) = vectors() else { return };
    let world = World::of(&folder, "tdx/phala_v5_outdated_90C06F000000");
    // Its platform is below every level: take the levels down to it.
    let lowest = |info: &mut Value| {
        for level in info["tcbLevels"].as_array_mut().unwrap() {
            for list in ["sgxtcbcomponents", "tdxtcbcomponents"] {
                for component in level["tcb"][list].as_array_mut().unwrap() {
                    component["svn"] = json!(0);
                }
            }
            level["tcb"]["pcesvn"] = json!(0);
            level["tcbStatus"] = json!("UpToDate");
        }
        info["issueDate"] = json!("2025-01-01T00:00:00Z");
    };
    let issued = |identity: &mut Value| identity["issueDate"] = json!("2025-01-01T00:00:00Z");
    let claims = world.check(put(600, &[5; 48]), lowest, issued).unwrap();
    let got = Digest384([5; 48]);
    assert_eq!(refused(&tdx(), &claims, Code::DcapAttributes), DcapError::ServiceTd { got });
    let mut listed = domain(|rule| rule.mr_service_td = Allowed::OneOf(vec![Digest384([0; 48]), got]));
    listed.tcb.staleness = Staleness::Grace { seconds: u64::MAX, reason: "the vector is old".to_owned() };
    listed.tcb.also = TcbStatus::ALL.iter().map(|status| (*status, "the vector".to_owned())).collect();
    assert!(listed.admit(&claims).is_ok());
}

#[test]
fn patch_levels_are_refused_by_status_advisory_and_evaluation() {
    let Some(folder) = vectors() else { return };
    let claims = World::of(&folder, SGX).with_body(|_| ());
    let mut strict = sgx();
    strict.tcb = TcbRules::strict(17);
    let got = TcbStatus::ConfigurationAndSWHardeningNeeded;
    let error = refused(&strict, &claims, Code::DcapTcb);
    assert_eq!(error, DcapError::TcbStatus { got, allowed: vec![TcbStatus::UpToDate] });
    let mut denied = sgx();
    denied.tcb.denied_advisories = vec!["INTEL-SA-00615".to_owned()];
    refused(&denied, &claims, Code::DcapAdvisory);
    let mut listed = sgx();
    listed.tcb.advisories = Allowed::only("INTEL-SA-00289".to_owned());
    assert_eq!(refused(&listed, &claims, Code::DcapAdvisory), DcapError::Advisory { id: "INTEL-SA-00615".to_owned() });
    let mut later = sgx();
    later.tcb.evaluation_floor = 18;
    assert_eq!(refused(&later, &claims, Code::DcapEvaluation), DcapError::Evaluation { got: 17, wanted: 18 });
}

#[test]
fn a_revoked_level_cannot_be_allowed() {
    let Some(folder) = vectors() else { return };
    let revoke = |info: &mut Value| {
        for level in info["tcbLevels"].as_array_mut().unwrap() {
            level["tcbStatus"] = json!("Revoked");
        }
    };
    let claims = World::of(&folder, SGX).check(|_| (), revoke, |_| ()).unwrap();
    let mut all = sgx();
    all.tcb.also = TcbStatus::ALL.iter().map(|status| (*status, "everything".to_owned())).collect();
    assert_eq!(refused(&all, &claims, Code::DcapRevoked), DcapError::TcbRevoked);
}

#[test]
fn dates_are_an_axis_of_their_own() {
    let Some(folder) = vectors() else { return };
    let claims = World::of(&folder, SGX).with_body(|_| ());
    let mut late = claims.clone();
    late.collateral.checked_at = claims.collateral.until + 10;
    late.collateral.state = CollateralState::Expired;
    let error = refused(&sgx(), &late, Code::DcapExpired);
    assert!(matches!(error, DcapError::Expired { what: "QE identity", .. }), "{error}");
    let mut graceful = sgx();
    graceful.tcb.staleness = Staleness::Grace { seconds: 10, reason: "Intel is late".to_owned() };
    assert!(graceful.admit(&late).unwrap().iter().any(|waiver| waiver.claim == "collateral.until"));
    late.collateral.checked_at += 1;
    refused(&graceful, &late, Code::DcapExpired);
    let mut early = claims.clone();
    early.collateral.state = CollateralState::NotYetValid;
    assert!(matches!(refused(&graceful, &early, Code::DcapExpired), DcapError::NotYetValid { .. }));
}

#[test]
fn platforms_can_be_listed() {
    let Some(folder) = vectors() else { return };
    let claims = World::of(&folder, TDX).with_body(|_| ());
    let only = |edit: fn(&mut PlatformRules)| {
        let mut expected = tdx();
        edit(&mut expected.platform);
        expected
    };
    for (expected, claim) in [
        (only(|rule| rule.ppids = Allowed::only("00".to_owned())), "ppid"),
        (only(|rule| rule.instances = Allowed::only("00".to_owned())), "platform_instance_id"),
        (only(|rule| rule.models = Allowed::only("00".to_owned())), "fmspc"),
        (only(|rule| rule.no_smt = Rule::Required), "smt_enabled"),
    ] {
        let error = refused(&expected, &claims, Code::DcapPlatform);
        assert!(matches!(error, DcapError::Platform { claim: got, .. } if got == claim), "{error}");
    }
    let mut exact = tdx();
    exact.platform.ppids = Allowed::only(claims.platform.ppid.clone());
    exact.platform.models = Allowed::only("b0c06f000000".to_owned());
    assert!(exact.admit(&claims).is_ok());
}

#[test]
fn the_quoting_enclave_and_the_module_must_be_intels() {
    let Some(folder) = vectors() else { return };
    let world = World::of(&folder, TDX);
    for (member, value, wanted) in [
        ("mrsigner", json!("00".repeat(32)), "mrsigner"),
        ("isvprodid", json!(9), "isv_prod_id"),
        ("miscselect", json!("00000001"), "misc_select"),
        ("attributes", json!("13000000000000000000000000000000"), "attributes"),
    ] {
        let edit = |identity: &mut Value| identity[member] = value.clone();
        let error = world.check(|_| (), |_| (), edit).unwrap_err();
        assert!(matches!(error, DcapError::QeIdentity { claim, .. } if claim == wanted), "{error}");
        assert_eq!(error.code(), Code::DcapQe);
    }
    // A bit that is not in the identity's mask does not count.
    let unmasked = |identity: &mut Value| identity["attributes"] = json!("15000000000000000000000000000000");
    assert!(world.check(|_| (), |_| (), unmasked).is_ok());
    let too_new = |identity: &mut Value| identity["tcbLevels"][0]["tcb"]["isvsvn"] = json!(999);
    let error = world.check(|_| (), |_| (), too_new).unwrap_err();
    assert_eq!(error, DcapError::NoTcbLevel { what: "quoting enclave" });
    assert_eq!(error.code(), Code::DcapTcbLevel);
    let signer = |body: &mut [u8]| put(64, &[1])(body);
    let error = world.check(signer, |_| (), |_| ()).unwrap_err();
    assert!(matches!(error, DcapError::Module { claim: "signer", .. }), "{error}");
    assert_eq!(error.code(), Code::DcapModule);
    let error = world.check(put(112, &[1]), |_| (), |_| ()).unwrap_err();
    assert!(matches!(error, DcapError::Module { claim: "attributes", .. }), "{error}");
    let error = world.check(put(1, &[9]), |_| (), |_| ()).unwrap_err();
    assert!(matches!(error, DcapError::Module { claim: "version", .. }), "{error}");
}

#[test]
fn signed_texts_must_be_in_their_form() {
    let Some(folder) = vectors() else { return };
    let world = World::of(&folder, TDX);
    let wrong: [fn(&mut Value); 8] = [
        |info| info["version"] = json!(4),
        |info| info["id"] = json!("SGX"),
        |info| info["tcbType"] = json!(1),
        |info| info["fmspc"] = json!("00"),
        |info| info["issueDate"] = json!("yesterday"),
        |info| info["tcbLevels"][0]["tcbStatus"] = json!("Fine"),
        |info| info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"][3]["svn"] = json!(256),
        |info| info["tdxModuleIdentities"][0]["id"] = json!("TDX_1"),
    ];
    for (number, edit) in wrong.into_iter().enumerate() {
        let error = world.check(|_| (), edit, |_| ()).unwrap_err();
        assert!(matches!(error, DcapError::Json { what: "TCB info", .. }), "{number}: {error}");
        assert_eq!(error.code(), Code::DcapCollateral);
    }
    let other = |info: &mut Value| info["fmspc"] = json!("000000000000");
    let error = world.check(|_| (), other, |_| ()).unwrap_err();
    assert!(matches!(error, DcapError::OtherPlatform { .. }), "{error}");
    let error = world.check(|_| (), |_| (), |identity| identity["id"] = json!("QVE")).unwrap_err();
    assert!(matches!(error, DcapError::Json { what: "QE identity", .. }), "{error}");
}

#[test]
fn a_chain_has_one_order_and_no_strangers() {
    let Some(folder) = vectors() else { return };
    let world = World::of(&folder, SGX);
    let genuine = world.forge.quote(&world.quote, |_| ()).unwrap();
    let root = UnanchoredRoot::from_der(&world.forge.root).unwrap();
    let layout = Layout::of(&genuine).unwrap();
    let [pck, authority, root_pem] = world.forge.chain();
    let with = |chain: &[&str]| {
        let quote = layout.with_data(&genuine, chain.concat().as_bytes()).unwrap();
        Quote::parse(&quote).unwrap().check_unanchored_signatures(&root).map(|_| ())
    };
    assert_eq!(with(&[pck, authority, root_pem]), Ok(()));
    assert_eq!(with(&[pck, authority]), Ok(()));
    assert_eq!(with(&[pck]), Err(DcapError::ChainShape { what: "lacks the authority" }));
    assert_eq!(
        with(&[pck, authority, root_pem, root_pem]),
        Err(DcapError::ChainShape { what: "has more than three certificates" })
    );
    for (chain, role) in [
        ([authority, pck, root_pem], Role::PckCa),
        ([pck, root_pem, authority], Role::Root),
        ([root_pem, authority, pck], Role::Root),
    ] {
        let error = with(&chain).unwrap_err();
        assert!(matches!(error, DcapError::Name { role: got, .. } if got == role || role == Role::Root), "{error}");
    }
    let stranger = Forge::like(&world.quote).unwrap();
    let [other_pck, other_authority, other_root] = stranger.chain();
    assert_eq!(with(&[other_pck, authority, root_pem]), Err(DcapError::ChainSignature { role: Role::Pck }));
    assert_eq!(with(&[pck, other_authority, root_pem]), Err(DcapError::ChainSignature { role: Role::PckCa }));
    assert!(matches!(with(&[pck, authority, other_root]), Err(DcapError::RootNotPinned { .. })));
    assert!(matches!(with(&["text"]), Err(DcapError::Pem { .. })));
}

#[test]
fn missing_pieces_are_named() {
    let Some(folder) = vectors() else { return };
    let world = World::of(&folder, SGX);
    let quote = Quote::parse(&world.quote).unwrap();
    let without = |members: &[&str]| {
        let mut bundle = world.bundle.clone();
        for member in members {
            bundle.as_object_mut().unwrap().remove(*member);
        }
        let mut heap = Collateral::new();
        heap.add(bundle.to_string().as_bytes())?;
        quote.verify(&heap.verify()?, AT).map(|_| ())
    };
    assert_eq!(without(&[]), Ok(()));
    let missing = |what| Err(DcapError::CollateralMissing { what, tee: DcapTee::Sgx });
    assert_eq!(without(&["tcb_info"]), missing("TCB info"));
    assert_eq!(without(&["qe_identity"]), missing("QE identity"));
    let list = |issuer: &str| Err(DcapError::CrlMissing { issuer: issuer.to_owned() });
    assert_eq!(without(&["root_ca_crl"]), list("Intel SGX Root CA"));
    assert_eq!(without(&["pck_crl"]), list("Intel SGX PCK Processor CA"));
    let issuer = "Intel SGX PCK Processor CA".to_owned();
    assert_eq!(without(&["pck_crl_issuer_chain"]), Err(DcapError::CrlSignature { issuer }));
    let chains = ["tcb_info_issuer_chain", "qe_identity_issuer_chain"];
    assert_eq!(without(&chains), Err(DcapError::JsonSignature { what: "TCB info" }));
    assert!(matches!(without(&["tcb_info_signature"]), Err(DcapError::Collateral { .. })));
}

#[test]
fn files_of_every_kind_make_the_same_heap_as_a_bundle() {
    let Some(folder) = vectors() else { return };
    // A bundle, and the answers of Intel's service with chains and lists as files.
    let folder = folder.join("sgx/mobilecoin_v3_00906ED50000");
    let mut files = Collateral::new();
    for name in [
        "tcb_signer.pem",
        "root_ca.pem",
        "processor_ca.pem",
        "root_crl.der",
        "processor_crl.der",
        "fmspc_00906ED50000_2023_07_12.json",
        "qe_identity.json",
    ] {
        files.add(&fs::read(folder.join("orig").join(name)).unwrap()).unwrap();
    }
    let mut bundle = Collateral::new();
    bundle.add(&fs::read(folder.join("collateral.json")).unwrap()).unwrap();
    let quote = Quote::parse(&fs::read(folder.join("quote.bin")).unwrap()).unwrap();
    let of =
        |heap: &Collateral| quote.verify(&heap.verify().unwrap(), UnixTime(1_690_000_000)).unwrap().claims().clone();
    let claims = of(&files);
    assert_eq!(claims.tcb, of(&bundle).tcb);
    assert_eq!(claims.tcb.status, TcbStatus::SWHardeningNeeded);
    // Its list expired before its TCB info began: genuine, and out of date.
    assert_eq!(claims.collateral.state, CollateralState::Expired);
    assert_ne!(files.digest(), bundle.digest());
    assert_eq!(files.digest(), files.clone().digest());
    let with = files.verify().unwrap();
    assert_eq!(with.platforms(), [(DcapTee::Sgx, "00906ed50000".to_owned(), 15)]);
    assert_eq!(with.items().len(), 8);
    for junk in [&b"hello"[..], b"{}", b"", b"-----BEGIN X-----\nAAAA\n-----END X-----\n", b"\x30\x82\x00\x01\x00"] {
        assert!(Collateral::new().add(junk).is_err(), "{junk:?}");
    }
}

#[test]
fn of_several_evaluations_the_latest_valid_one_counts() {
    let Some(folder) = vectors() else { return };
    let corpus = folder.join("sgx/collateral_corpus");
    let read = |name: &str| fs::read(corpus.join(name)).unwrap();
    let mut heap = Collateral::new();
    for name in ["platform.crl", "processor.crl", "IntelSGXRootCA.crl", "IntelSGXRootCA.der"] {
        heap.add(&read(name)).unwrap();
    }
    let quote = Quote::parse(&fs::read(folder.join("sgx/trustee_occlum/quote.bin")).unwrap()).unwrap();
    heap.add_chain_of(&quote).unwrap();
    // 2025-06-20: inside of the windows of all three.
    let at = UnixTime(1_750_377_600);
    for (number, advisories) in [(17, 10), (18, 12), (19, 13)] {
        heap.add(&read(&format!("00606a000000-{number}.tcb"))).unwrap();
        heap.add(&read(&format!("qe3_identity-{number}.id"))).unwrap();
        let verified = quote.verify(&heap.verify().unwrap(), at).unwrap();
        let tcb = &verified.claims().tcb;
        assert_eq!((tcb.evaluation_number, tcb.advisories.len()), (number, advisories));
        assert_eq!(tcb.status, TcbStatus::OutOfDate);
    }
    // This one has no signature.
    assert!(heap.add(&read("00606a000000-14.tcb")).is_err());
    // Answers without their signer's chain take the chain of the others.
    let before = heap.verify().unwrap().platforms().len();
    for name in ["tcb-sgx.json", "tcb-tdx.json", "tcb-tdx-2.json"] {
        heap.add(&read(name)).unwrap();
    }
    assert_eq!(heap.verify().unwrap().platforms().len(), before + 3);
}

/// The vectors hold no quotes of these two kinds, so they are made of others, and signed again.
#[test]
fn sgx_quotes_of_version_4_and_extended_reports_are_read() {
    let Some(folder) = vectors() else { return };
    // Version 4 puts what certifies the attestation key into a container of its own.
    let world = World::of(&folder, SGX);
    let layout = Layout::of(&world.quote).unwrap();
    let (head, rest) = world.quote.split_at(layout.signed + 4 + 128);
    let outer = [6_u16.to_le_bytes().as_slice(), &u32::try_from(rest.len()).unwrap().to_le_bytes()].concat();
    let mut quote = [head, &outer, rest].concat();
    quote.splice(0..2, [4, 0]);
    let world = World { quote, ..world };
    let claims = world.with_body(|_| ());
    assert_eq!((claims.quote_version, claims.tee), (4, DcapTee::Sgx));
    assert_eq!(claims.tcb.status, TcbStatus::ConfigurationAndSWHardeningNeeded);

    let world = World::of(&folder, "tdx/google_v5_sample");
    let layout = Layout::of(&world.quote).unwrap();
    let (head, rest) = world.quote.split_at(layout.signed);
    let more: Vec<u8> = (0..237).map(|number| u8::try_from(number).unwrap()).collect();
    let mut quote = [head, &more, rest].concat();
    quote.splice(48..54, [4, 0, 0x75, 3, 0, 0]);
    let world = World { quote, ..world };
    let issued = |text: &mut Value| text["issueDate"] = json!("2025-01-01T00:00:00Z");
    let claims = world.check(|_| (), issued, issued).unwrap();
    assert_eq!(claims.tcb.status, TcbStatus::UpToDate);
    let DcapBody::Tdx(body) = &claims.body else { panic!("a trust domain") };
    let extended = body.extended.as_ref().unwrap();
    assert_eq!((body.report, extended.vm_id), ("1.5-ex", 0));
    assert_eq!(extended.td_id, hex::encode(more.get(1..33).unwrap()));
    assert_eq!(extended.current_service_td_attributes, hex::encode(more.get(229..237).unwrap()));
    // A service TD that is bound now counts, whatever was bound at creation.
    refused(&tdx(), &claims, Code::DcapAttributes);
}
