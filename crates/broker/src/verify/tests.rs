//! Evidence that real hardware made, through the broker's own path and the shipped policies. What was recorded cannot be
//! bound to a session of ours, so that last check is asked for its refusal, and everything before it for its claims.

use super::{Appraiser, Init, Kind, Session, Verified, VerifiedDevice, Verifiers, devices, tpm};
use crate::ear::{Ear, Said};
use crate::policy::Mode;
use crate::rego::Snapshot;
use crate::rego::appraise::Status;
use crate::rego::engine::References;
use crate::settings::Revocation;
use attest::nvgpu::{HoldPolicy, RevocationInput, RevocationPolicy};
use attest::snp::CrlPolicy;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use claims::kbs::RuntimeData;
use claims::{Code, Nonce, UnixTime};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A time at which all of AMD's chains are good.
const NOW: UnixTime = UnixTime(1_762_000_000);

/// A time at which the signer of the switch's manifest is good.
const WHEN: UnixTime = UnixTime(1_790_000_000);

struct Recorded(PathBuf);

impl Recorded {
    fn open(kind: &str) -> Option<Self> {
        let folder = std::env::var_os("CONFIDE_VECTORS")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from)
            .join(kind);
        if folder.exists() {
            return Some(Self(folder));
        }
        println!("skipped: vectors are not here");
        None
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn manifest(&self) -> Value {
        serde_json::from_slice(&self.read("manifest.json")).unwrap()
    }

    /// The entry of `list` with this name.
    fn named(&self, list: &str, name: &str) -> Value {
        let manifest = self.manifest();
        let entries = manifest[list].as_array().unwrap();
        entries.iter().find(|entry| entry["name"] == name).unwrap().clone()
    }
}

fn appraiser(collateral: Option<&Path>) -> Appraiser {
    let revocation = Revocation::AbsentOk { reason: "recorded".into() };
    Appraiser::new(Mode::Production, &revocation, collateral.map(Path::to_owned), Verifiers::default())
}

/// What no evidence was made for.
fn other_session(now: UnixTime) -> Session<'static> {
    Session { binding: [7; 48], now, enrolled: &[] }
}

/// As it comes over the wire.
fn sent(evidence: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(evidence).unwrap()
}

fn runtime() -> RuntimeData {
    let key = json!({"kty": "EC", "alg": "ECDH-ES+A256KW", "crv": "P-256", "x": "AA", "y": "AA"});
    serde_json::from_value(json!({"nonce": STANDARD.encode([7; 32]), "tee-pubkey": key})).unwrap()
}

/// The status that the shipped policy gives under these reference values, and the vector of each submodule.
fn appraised(cpu: &Verified, devices: &[VerifiedDevice], references: Value) -> (bool, Value) {
    let references: References = serde_json::from_value(references).unwrap();
    let runtime = runtime();
    let said = Said { runtime_data: &runtime, additional_evidence: "", init_data: None };
    let ear = Ear::appraise(&Snapshot::of(references), None, cpu, devices, &said);
    let issue = crate::ear::Issue { issuer: "", audience: "", now: NOW, expires: 0 };
    (ear.affirming(), ear.claims(issue)["submods"].clone())
}

/// Each of these reference values is needed: without it, or with another, nothing is affirmed.
#[track_caller]
fn affirmed_by_exactly(cpu: &Verified, references: &Value) {
    let (affirming, submods) = appraised(cpu, &[], references.clone());
    assert!(affirming, "{submods}");
    for name in references.as_object().unwrap().keys() {
        let mut less = references.clone();
        less.as_object_mut().unwrap().remove(name);
        assert!(!appraised(cpu, &[], less.clone()).0, "without {name}");
        less[name] = json!(["another"]);
        assert!(!appraised(cpu, &[], less).0, "with another {name}");
    }
}

/// A quote with its collateral, the manifest's entry, and the time it is verified at.
fn quote(kind: &str, name: &str) -> Option<(Vec<u8>, tempfile::TempDir, Value, UnixTime)> {
    let recorded = Recorded::open(kind)?;
    let entry = recorded.named("vectors", name);
    let folder = tempfile::tempdir().unwrap();
    let collateral = recorded.read(&format!("{name}/collateral.json"));
    std::fs::write(folder.path().join("intel.json"), collateral).unwrap();
    let now = UnixTime(entry["expected"]["verify_at_unix"].as_u64().unwrap());
    Some((recorded.read(&format!("{name}/quote.bin")), folder, entry["expected"].clone(), now))
}

#[test]
fn a_recorded_tdx_quote_is_verified_and_appraised() {
    let Some((bytes, folder, wanted, now)) = quote("tdx", "phala_v4_B0C06F000000") else { return };
    let appraiser = appraiser(Some(folder.path()));
    let (verified, report_data) = appraiser.quoted(Kind::Tdx, &bytes, now).unwrap();
    let body = &verified.claims["quote"]["body"];
    for (ours, theirs) in [("mr_td", "mr_td"), ("rtmr_1", "rt_mr1"), ("mr_seam", "mr_seam"), ("xfam", "xfam")] {
        assert_eq!(body[ours], wanted[theirs], "{ours}");
    }
    assert_eq!(verified.claims["tcb_status"], "UpToDate");
    assert_eq!(hex::encode(report_data.0), wanted["report_data"]);
    assert_eq!(verified.init, Init::Field(vec![0; 48]));
    affirmed_by_exactly(
        &verified,
        &json!({"mr_td": [body["mr_td"]], "rtmr_1": [body["rtmr_1"]], "rtmr_2": [body["rtmr_2"]]}),
    );
    let evidence = json!({"quote": STANDARD.encode(&bytes)});
    let refused = |kind, now| appraiser.verify(kind, &sent(&evidence), &other_session(now)).err();
    assert_eq!(refused(Kind::Tdx, now), Some(Code::ReportData));
    assert_eq!(refused(Kind::Sgx, now), Some(Code::DcapVersion));
    // Whether collateral that has ended will do is the policy's question; the shipped one says no.
    let (late, _) = appraiser.quoted(Kind::Tdx, &bytes, UnixTime(now.0 + 90 * 86_400)).unwrap();
    assert_eq!(late.claims["collateral_expiration_status"], "1");
    let values = json!({"mr_td": [body["mr_td"]], "rtmr_1": [body["rtmr_1"]], "rtmr_2": [body["rtmr_2"]]});
    assert!(appraised(&verified, &[], values.clone()).0 && !appraised(&late, &[], values).0);
}

#[test]
fn a_recorded_sgx_quote_is_verified_and_what_its_platform_lacks_is_said() {
    let Some((bytes, folder, wanted, now)) = quote("sgx", "phala_v3_00A067110000") else { return };
    let appraiser = appraiser(Some(folder.path()));
    let (verified, _) = appraiser.quoted(Kind::Sgx, &bytes, now).unwrap();
    assert_eq!(verified.claims["body"]["mr_enclave"], wanted["mr_enclave"]);
    assert_eq!(verified.claims["body"]["mr_signer"], wanted["mr_signer"]);
    assert_eq!(verified.claims["debug"], false);
    assert_eq!(verified.claims["tcb_status"], "ConfigurationAndSWHardeningNeeded");
    assert_eq!(verified.claims["advisory_ids"], json!(["INTEL-SA-00289", "INTEL-SA-00615"]));
    // The enclave is the wanted one, the platform is not up to date: no shipped policy affirms that.
    let (affirming, submods) = appraised(&verified, &[], json!({"sgx_mr_enclave": [wanted["mr_enclave"]]}));
    assert!(!affirming);
    let vector = &submods["cpu0"]["ear.trustworthiness-vector"];
    assert_eq!((&vector["executables"], &vector["hardware"]), (&json!(3), &json!(97)));
    let evidence = json!({"quote": STANDARD.encode(&bytes)});
    assert_eq!(appraiser.verify(Kind::Sgx, &sent(&evidence), &other_session(now)).err(), Some(Code::ReportData));
}

#[test]
fn the_recorded_evidence_of_an_azure_machine_is_verified_and_appraised() {
    let Some(recorded) = Recorded::open("azvtpm") else { return };
    let entry = recorded.named("vectors", "snp-milan-v1");
    let part = |name: &str| recorded.read(&format!("snp-milan-v1/{name}"));
    let evidence = json!({
        "version": 1,
        "tpm_quote": {
            "signature": hex::encode(part("quote.sig")),
            "message": hex::encode(part("quote.msg")),
            "pcrs": entry["pcrs_sha256"],
        },
        "hcl_report": URL_SAFE.encode(part("hcl_report.bin")),
        "vcek": URL_SAFE.encode(part("vcek.der")),
    });
    let roots = Recorded::open("snp").unwrap().0.join("roots");
    let appraiser = appraiser(Some(&roots));
    let nonce = hex::decode(entry["nonce"].as_str().unwrap()).unwrap();
    let verified = appraiser.verify_azure(Kind::AzSnpVtpm, &evidence, &nonce, NOW).unwrap();
    let claims = &verified.claims;
    assert_eq!(claims["measurement_hex"], entry["snp_fields"]["measurement"]);
    assert_eq!(claims["tpm"]["pcr04"], entry["pcrs_sha256"][4]);
    assert_eq!(verified.instance.as_deref(), entry["snp_fields"]["report_id"].as_str());
    let tcb = &entry["snp_fields"]["reported_tcb"];
    let text = |name: &str| json!([tcb[name].to_string()]);
    affirmed_by_exactly(
        &verified,
        &json!({
            "measurement": [claims["measurement"]], "snp_pcr11": [claims["tpm"]["pcr11"]],
            "tcb_bootloader": text("bootloader"), "tcb_microcode": text("microcode"),
            "tcb_snp": text("snp"), "tcb_tee": text("tee"),
        }),
    );
    let refused = |kind, evidence: &Value| appraiser.verify(kind, &sent(evidence), &other_session(NOW)).err();
    assert_eq!(refused(Kind::AzSnpVtpm, &evidence), Some(Code::TpmNonce));
    assert_eq!(refused(Kind::AzTdxVtpm, &evidence), Some(Code::AzureFormat));
}

#[test]
fn a_recorded_tpm_quote_counts_by_an_enrolled_key_only() {
    let Some(recorded) = Recorded::open("azvtpm") else { return };
    let entry = recorded.named("vectors", "quote-kinvolk");
    let pem = String::from_utf8(recorded.read("quote-kinvolk/akpub.pem")).unwrap();
    let key = x509_cert::der::pem::decode_vec(pem.as_bytes()).unwrap().1;
    // TPMT_SIGNATURE (TPM 2.0 Library part 2, 11.3.4): RSASSA, SHA-256, the size, the signature.
    let raw = recorded.read("quote-kinvolk/quote.sig");
    let signature = [&[0x00, 0x14, 0x00, 0x0b][..], &u16::try_from(raw.len()).unwrap().to_be_bytes(), &raw].concat();
    let evidence = json!({
        "ak_public": STANDARD.encode(&key),
        "tpm_quote": {
            "signature": STANDARD.encode(&signature),
            "message": STANDARD.encode(recorded.read("quote-kinvolk/quote.msg")),
            "pcrs": entry["pcrs_sha256"],
        },
    });
    let nonce = hex::decode(entry["nonce"].as_str().unwrap()).unwrap();
    assert_eq!(tpm::verify(&evidence, &[], &nonce).err(), Some(Code::TpmKey));
    let enrolled = [key.clone()];
    assert_eq!(tpm::verify(&evidence, &enrolled, &[7; 32]).err(), Some(Code::TpmNonce));
    let verified = tpm::verify(&evidence, &enrolled, &nonce).unwrap();
    assert_eq!(verified.claims["pcr07"], entry["pcrs_sha256"][7]);
    affirmed_by_exactly(
        &verified,
        &json!({"trusted_aks": [STANDARD.encode(&key)], "tpm_pcr11": [verified.claims["pcr11"]]}),
    );
}

#[test]
fn the_recorded_evidence_of_a_container_group_is_verified_and_appraised() {
    let Some(recorded) = Recorded::open("snp") else { return };
    let host: Value = serde_json::from_slice(&recorded.read("aci/uvm_host_amd_certificate.json")).unwrap();
    let chain = format!("{}{}", host["vcekCert"].as_str().unwrap(), host["certificateChain"].as_str().unwrap());
    let policy = recorded.read("aci/uvm_security_policy.base64");
    let mut evidence = json!({
        "evidence": STANDARD.encode(recorded.read("reports/milan-aci.bin")),
        "endorsements": STANDARD.encode(chain),
        "uvm_endorsements": STANDARD.encode(recorded.read("aci/body.uvm_reference_info.bin")),
        "endorsed_tcb": host["tcbm"],
        "policy": String::from_utf8(policy).unwrap().trim(),
    });
    let appraiser = appraiser(None);
    let (verified, report_data) = appraiser.container_group(&evidence, NOW).unwrap();
    assert_eq!(verified.claims["policy_sha256"], recorded.manifest()["aci_host_data_check"]["sha256_policy"]);
    assert_eq!(verified.report_data, hex::encode(report_data.0));
    let claims = &verified.claims;
    affirmed_by_exactly(
        &verified,
        &json!({
            "aci_host_data": [claims["host_data"]], "aci_uvm_svn": [claims["uvm"]["svn"]],
            "aci_bootloader": [claims["reported_tcb_bootloader"]], "aci_microcode": [claims["reported_tcb_microcode"]],
            "aci_snp_svn": [claims["reported_tcb_snp"]], "aci_tee_svn": [claims["reported_tcb_tee"]],
        }),
    );
    let refused = |evidence: &Value| appraiser.verify(Kind::Aci, &sent(evidence), &other_session(NOW)).err();
    assert_eq!(refused(&evidence), Some(Code::ReportData));
    evidence["policy"] = STANDARD.encode("package policy").into();
    assert_eq!(refused(&evidence), Some(Code::AciPolicy));
}

#[test]
fn recorded_devices_are_verified_against_manifests_and_appraised() {
    let Some(recorded) = Recorded::open("nvgpu") else { return };
    let sent: Value = serde_json::from_slice(&recorded.read("evidence-json/switch_evidence_ls10.json")).unwrap();
    let list: Vec<Value> = sent.as_array().unwrap().clone();
    let nonce: Nonce = serde_json::from_value(list[0]["nonce"].clone()).unwrap();
    let text = json!({"nvidia": {"device_evidence_list": list.iter().map(|device| json!({
        "arch": device["arch"], "evidence": device["evidence"], "certificate": device["certificate"],
    })).collect::<Vec<_>>()}})
    .to_string();
    let sent = attest::composite::kbs::devices(&text).unwrap();
    let revocation = RevocationInput {
        responses: Vec::new(),
        policy: RevocationPolicy::AbsentOk { reason: "recorded".into() },
        hold: HoldPolicy::Refused,
    };
    let folder = tempfile::tempdir().unwrap();
    let golden = || devices::golden(Some(folder.path()), &revocation, WHEN);
    let verify = |nonces: Vec<Nonce>| devices::each(&sent, |_| nonces.clone(), &golden(), &revocation, WHEN);
    assert_eq!(verify(vec![Nonce([7; 32])]).err(), Some(Code::GpuNonce));
    let unmeasured = verify(vec![nonce]).unwrap();
    assert_eq!((unmeasured[0].class, &unmeasured[0].claims["measres"]), ("switch", &json!("not-run")));
    let manifest = recorded.read("rims/NV_SWITCH_BIOS_5612_0002_890_9610550001.xml");
    std::fs::write(folder.path().join("bios.xml"), manifest).unwrap();
    assert_eq!(golden().len(), 1);
    let measured = verify(vec![nonce]).unwrap();
    assert_eq!(measured[0].claims["measres"], "success", "{}", measured[0].claims);

    // Beside a CPU whose own evidence is affirmed: a device that was not compared with anything is not.
    let Some((bytes, intel, _, now)) = quote("tdx", "phala_v4_B0C06F000000") else { return };
    let (cpu, _) = appraiser(Some(intel.path())).quoted(Kind::Tdx, &bytes, now).unwrap();
    let body = &cpu.claims["quote"]["body"];
    let values = json!({"mr_td": [body["mr_td"]], "rtmr_1": [body["rtmr_1"]], "rtmr_2": [body["rtmr_2"]]});
    let (affirming, submods) = appraised(&cpu, &unmeasured, values.clone());
    assert!(!affirming, "{submods}");
    assert_eq!(submods["switch0"]["ear.status"], Status::Contraindicated.name());
    let (affirming, submods) = appraised(&cpu, &measured, values.clone());
    assert!(affirming, "{submods}");
    let mut other = values;
    other["allowed_vbios_versions"] = json!(["another"]);
    assert!(!appraised(&cpu, &measured, other).0);
    let crl = CrlPolicy::AbsentOk { reason: "recorded".into() };
    let refused = devices::verify(&text, &runtime(), NOW, &crl, Some(folder.path()), &[]);
    assert_eq!(refused.err(), Some(Code::GpuNonce), "of another session");
}
