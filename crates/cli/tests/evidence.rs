//! `confide evidence`: verification from files, the store and bundles, and fetching from a vendor's service that the
//! test plays on this machine.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failure is the finding, and what is left out is said"
)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::{confide, json, vectors};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// Inside the validity of the vectors' chains.
const AT: &str = "2026-07-17T00:00:00Z";
/// Inside the validity of the collateral of the Azure quote.
const AZURE_AT: &str = "2025-02-20T00:00:00Z";
const REPORT: &str = "reports/milan-v3-dstack.bin";

#[test]
fn collateral_is_fetched_once_verified_and_used_without_a_network() {
    let Some(snp) = vectors("snp") else { return };
    let folder = tempfile::tempdir().unwrap();
    let kds = Kds::start(&snp, 0);
    let report = snp.join(REPORT);
    let store = folder.path().join("store");
    let fetch = |more: &[&str]| {
        let mut arguments = vec!["evidence", "fetch-collateral", text(&report), "--json", "--kds", &kds.url];
        arguments.extend(["--store", text(&store)]);
        arguments.extend(more);
        confide(&arguments)
    };
    let planned = json(&fetch(&["--dry-run"]));
    assert_eq!(planned["would_fetch"].as_array().unwrap().len(), 3, "{planned}");
    assert_eq!(kds.asked(), Vec::<String>::new());

    let first = fetch(&[]);
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(String::from_utf8_lossy(&first.stderr).contains("warning"), "the list's absence is not said");
    let names = |output: &Output| -> Vec<(String, bool)> {
        let list = json(output)["collateral"].as_array().unwrap().clone();
        list.iter()
            .map(|item| (item["name"].as_str().unwrap().to_owned(), item["fetched"].as_bool().unwrap()))
            .collect()
    };
    let fetched = names(&first);
    assert_eq!(fetched.len(), 2);
    assert!(fetched.iter().all(|(_, fetched)| *fetched), "{fetched:?}");
    assert!(fetched.iter().any(|(name, _)| name == "amd/vcek/Milan/cert_chain"), "{fetched:?}");
    let asked = kds.asked().len();

    let again = names(&fetch(&[]));
    assert!(again.iter().all(|(_, fetched)| !fetched), "{again:?}");
    assert_eq!(kds.asked().len(), asked + 1, "only the missing list is asked for again");

    // From the store, with nobody to ask.
    drop(kds);
    let verify = ["evidence", "verify", text(&report), "--accept-any", "a test", "--at", AT, "--json", "--store"];
    let verdict = confide(&[&verify[..], &[text(&store)]].concat());
    assert_eq!(verdict.status.code(), Some(0), "{}", String::from_utf8_lossy(&verdict.stdout));
    assert_eq!(json(&verdict)["verified"], true);
    let empty = folder.path().join("empty");
    let refused = confide(&[&verify[..], &[text(&empty)]].concat());
    assert_eq!((refused.status.code(), json(&refused)["code"].clone()), (Some(1), "E-SNP-CHAIN".into()));
}

#[test]
fn a_service_that_is_busy_is_asked_again_and_one_that_lies_is_not_believed() {
    let Some(snp) = vectors("snp") else { return };
    let folder = tempfile::tempdir().unwrap();
    let report = snp.join(REPORT);
    let store = folder.path().join("store");
    let run = |kds: &Kds| {
        let arguments = ["evidence", "fetch-collateral", text(&report), "--json", "--kds", &kds.url, "--store"];
        confide(&[&arguments[..], &[text(&store)]].concat())
    };
    // Answers of 503 first.
    let busy = Kds::start(&snp, 2);
    assert_eq!(run(&busy).status.code(), Some(0));
    fs::remove_dir_all(&store).unwrap();

    // Another chip's certificate under this chip's address: nothing is kept.
    let lying = Kds::start(&snp, 0);
    lying.replace("/vcek/v1/Milan/", fs::read(snp.join("certs/milan-trustee.vek.der")).unwrap());
    let refused = run(&lying);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(json(&refused)["code"], "E-SNP-CHAIN", "no certificate is of this chip");
    assert!(!store.join("entries").exists(), "something was kept");

    // A redirect is not followed.
    let elsewhere = Kds::start(&snp, 0);
    elsewhere.redirect();
    let refused = run(&elsewhere);
    assert_eq!((refused.status.code(), json(&refused)["code"].clone()), (Some(3), "E-COLLATERAL-FETCH".into()));

    // Plain HTTP to elsewhere is not spoken.
    let plain = ["evidence", "fetch-collateral", text(&report), "--kds", "http://192.0.2.1", "--store", text(&store)];
    let refused = confide(&plain);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("does not start with https://"));
}

#[test]
fn intels_collateral_comes_with_the_chains_in_its_headers() {
    let Some(tdx) = vectors("tdx") else { return };
    let folder = tempfile::tempdir().unwrap();
    let quote = tdx.join("phala_v4_B0C06F000000/quote.bin");
    let bundle: Value =
        serde_json::from_slice(&fs::read(tdx.join("phala_v4_B0C06F000000/collateral.json")).unwrap()).unwrap();
    let member = |name: &str| bundle[name].as_str().unwrap();
    let signed = |what: &str, text: &str, signature: &str| {
        format!("{{\"{what}\":{},\"signature\":\"{}\"}}", member(text), member(signature)).into_bytes()
    };
    let list = |name: &str| hex::decode(member(name)).unwrap();
    let escaped = |name: &str| member(name).replace('%', "%25").replace('\n', "%0A").replace(' ', "%20");
    let pcs = Kds::serve(HashMap::from([
        (
            "/tdx/certification/v4/tcb?fmspc=b0c06f000000".to_owned(),
            Answer {
                body: signed("tcbInfo", "tcb_info", "tcb_info_signature"),
                header: format!("TCB-Info-Issuer-Chain: {}\r\n", escaped("tcb_info_issuer_chain")),
            },
        ),
        (
            "/tdx/certification/v4/qe/identity".to_owned(),
            Answer {
                body: signed("enclaveIdentity", "qe_identity", "qe_identity_signature"),
                header: format!("SGX-Enclave-Identity-Issuer-Chain: {}\r\n", escaped("qe_identity_issuer_chain")),
            },
        ),
        (
            "/sgx/certification/v4/pckcrl?ca=platform&encoding=der".to_owned(),
            Answer {
                body: list("pck_crl"),
                header: format!("SGX-PCK-CRL-Issuer-Chain: {}\r\n", escaped("pck_crl_issuer_chain")),
            },
        ),
        ("/root.crl".to_owned(), Answer { body: list("root_ca_crl"), header: String::new() }),
    ]));
    let store = folder.path().join("store");
    let root_crl = format!("{}/root.crl", pcs.url);
    let arguments =
        ["evidence", "fetch-collateral", text(&quote), "--json", "--pcs", &pcs.url, "--store", text(&store)];
    let fetched = confide(&[&arguments[..], &["--intel-root-crl", &root_crl]].concat());
    assert_eq!(fetched.status.code(), Some(0), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert_eq!(json(&fetched)["collateral"].as_array().unwrap().len(), 7, "four items, three chains");
    drop(pcs);
    let arguments = ["evidence", "verify", text(&quote), "--accept-any", "a test", "--json", "--store", text(&store)];
    let verified = json(&confide(&[&arguments[..], &["--at", "2025-06-27T04:53:20Z"]].concat()));
    assert_eq!((&verified["verified"], &verified["tcb_status"]), (&true.into(), &"UpToDate".into()), "{verified}");
    // Today, nothing of it is in date.
    let refused = json(&confide(&arguments));
    assert_eq!(refused["verified"], false, "{refused}");
}

#[test]
fn nvidias_responder_is_asked_about_each_certificate() {
    let Some(nvgpu) = vectors("nvgpu") else { return };
    let folder = tempfile::tempdir().unwrap();
    let evidence = nvgpu.join("evidence-json/hopper_evidence.json");
    let rim = fs::read(nvgpu.join("rims/1010_0200_882_96005E0001_PROD.swidtag")).unwrap();
    let body = serde_json::json!({ "rim": STANDARD.encode(rim) }).to_string().into_bytes();
    let answer = |body| Answer { body, header: String::new() };
    let service =
        Kds::serve(HashMap::from([("/v1/rim/".to_owned(), answer(body)), ("/ocsp".to_owned(), answer(b"0".to_vec()))]));
    let (store, ocsp) = (folder.path().join("store"), format!("{}/ocsp", service.url));
    let arguments = ["evidence", "fetch-collateral", text(&evidence), "--json", "--rim", &service.url, "--ocsp", &ocsp];
    let planned = json(&confide(&[&arguments[..], &["--dry-run"]].concat()));
    let urls = planned["would_fetch"].as_array().unwrap().iter().map(|item| item["url"].as_str().unwrap());
    assert_eq!(urls.filter(|url| **url == *ocsp).count(), 3, "boot ROM, intermediate, chip: {planned}");

    let refused = confide(&[&arguments[..], &["--store", text(&store)]].concat());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("E-RIM-EXPIRED"), "the vector's signer is out of date: {said}");
    assert_eq!(refused.status.code(), Some(1));
    let asked = service.state.lock().unwrap().posted.clone();
    // The manifest's signer and its authorities, too.
    assert!(asked.len() > 3, "{}", asked.len());
    assert!(asked.iter().all(|request| request.starts_with(&[0x30]) && request.len() < 400));
    let kept = fs::read_dir(&store).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!(kept, 0, "nothing is kept that does not verify");
}

#[test]
fn a_bundle_is_one_signed_file_and_opens_no_socket() {
    let Some(snp) = vectors("snp") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (key, public, other) = (path("key.pem"), path("public.pem"), path("other.pem"));
    for (private, public) in [(&key, &public), (&path("key2.pem"), &other)] {
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", text(private)]);
        openssl(&["pkey", "-in", text(private), "-pubout", "-out", text(public)]);
    }
    let kds = Kds::start(&snp, 0);
    let (report, bundle, store) = (snp.join(REPORT), path("collateral.bundle"), path("store"));
    let arguments = [
        ["evidence", "fetch-collateral", text(&report), "--json"],
        ["--kds", &kds.url, "--store", text(&store)],
        ["--bundle", text(&bundle), "--sign-key", text(&key)],
    ];
    assert_eq!(confide(&arguments.concat()).status.code(), Some(0));
    drop(kds);

    let verify = |bundle: &Path, key: &Path| {
        let arguments = [
            ["evidence", "verify", text(&report), "--json", "--accept-any", "a test"],
            ["--at", AT, "--collateral", text(bundle), "--bundle-key", text(key)],
        ];
        arguments.concat().into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let strings = |words: &[String]| words.iter().map(String::as_str).collect::<Vec<_>>().join("\u{1f}");
    let run = |words: &[String]| {
        let joined = strings(words);
        confide(&joined.split('\u{1f}').collect::<Vec<_>>())
    };
    assert_eq!(json(&run(&verify(&bundle, &public)))["verified"], true);
    let code = |output: &Output| (output.status.code(), json(output)["code"].clone());
    assert_eq!(code(&run(&verify(&bundle, &other))), (Some(1), "E-COLLATERAL-BUNDLE".into()));

    let mut changed: Value = serde_json::from_slice(&fs::read(&bundle).unwrap()).unwrap();
    changed["items"].as_array_mut().unwrap().pop();
    let thinned = path("thinned.bundle");
    fs::write(&thinned, changed.to_string()).unwrap();
    assert_eq!(code(&run(&verify(&thinned, &public))), (Some(1), "E-COLLATERAL-BUNDLE".into()));
    changed.as_object_mut().unwrap().remove("signature");
    fs::write(&thinned, changed.to_string()).unwrap();
    assert_eq!(code(&run(&verify(&thinned, &public))), (Some(1), "E-COLLATERAL-BUNDLE".into()));

    // Every system call of the verification is looked at: none makes a socket.
    let log = path("calls");
    let traced = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=network", "-o", text(&log), env!("CARGO_BIN_EXE_confide")])
        .args(verify(&bundle, &public))
        .output();
    match traced {
        Ok(output) if output.status.success() => {
            let calls = fs::read_to_string(&log).unwrap();
            assert!(!calls.contains("socket(") && !calls.contains("connect("), "{calls}");
        }
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("strace, which scripts/setup.sh installs, cannot be run: {error}"),
    }
}

#[test]
fn a_refusal_names_claim_got_wanted_and_source() {
    let Some(snp) = vectors("snp") else { return };
    let folder = tempfile::tempdir().unwrap();
    let roots =
        [snp.join("roots/ARK-Milan.pem"), snp.join("roots/SEV-Milan.pem"), snp.join("certs/milan-v3-dstack.vek.der")];
    let report = snp.join(REPORT);
    let verify = |more: &[&str]| {
        let mut arguments = vec!["evidence", "verify", text(&report), "--json", "--at", AT, "--collateral"];
        arguments.extend(roots.iter().map(|path| text(path)));
        arguments.extend(more);
        confide(&arguments)
    };
    let accepted = json(&verify(&["--accept-any", "a test"]));
    let measurement = accepted["claims"]["measurement"].as_str().unwrap().to_owned();
    assert!(accepted["warnings"][0].as_str().unwrap().contains("AMD-SB-3019"), "{accepted}");
    assert_eq!(json(&verify(&["--accept-any", "a test", "--floors"]))["code"], "E-SNP-TCB-FLOOR");

    let wanted = "00".repeat(48);
    let reference = folder.path().join("reference.json");
    fs::write(&reference, self::reference(&wanted)).unwrap();
    let refused = json(&verify(&["--reference", text(&reference)]));
    assert_eq!(
        [&refused["code"], &refused["claim"], &refused["got"], &refused["wanted"]],
        [&Value::from("E-MEASUREMENT"), &"measurement".into(), &measurement.as_str().into(), &wanted.as_str().into()]
    );
    assert_eq!(refused["wanted_from"], format!("{}, launch_measurements", reference.display()));
    assert!(refused["next"][0].as_str().unwrap().starts_with("see which component differs: confide measure diff"));
    let bound = json(&verify(&["--accept-any", "a test", "--report-data", "aa"]));
    assert_eq!([&bound["code"], &bound["wanted_from"]], ["E-REPORT-DATA", "--report-data"]);
}

#[test]
fn every_kind_is_found_out_and_verified_or_refused_with_its_code() {
    let Some(snp) = vectors("snp") else { return };
    let all = snp.parent().unwrap();
    let debug = "--allow-debug=a vector";
    let sgx = ["sgx/trustee_occlum/quote.bin", "sgx/trustee_occlum/collateral.json"];
    let tdx = ["tdx/phala_v4_B0C06F000000/quote.bin", "tdx/phala_v4_B0C06F000000/collateral.json"];
    let gpu = ["nvgpu/evidence/hopper-nvat.report.bin", "nvgpu/evidence/hopper-nvat.certs.pem"];
    let ratls = "sgx/ratls/gramine-cert.pem";
    let right = "nvgpu/rims/1010_0200_882_96005E0001_PROD.swidtag";
    let wrong = "nvgpu/rims/neg-NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml";
    let cases: [(&[&str], &str, &str, &str, &str); 13] = [
        (&sgx, "2025-02-19T21:20:00Z", debug, "sgx", ""),
        (&sgx, "2025-02-19T21:20:00Z", "--quiet", "sgx", "E-DCAP-DEBUG"),
        (&tdx, "2025-06-27T04:53:20Z", "--quiet", "tdx", ""),
        (&tdx, "2027-06-27T04:53:20Z", "--quiet", "tdx", "E-DCAP-EXPIRED"),
        (&["nvgpu/evidence-json/multi_gpu_hopper.json"], "2025-06-01T00:00:00Z", "--quiet", "nvgpu", ""),
        (&[gpu[0], gpu[1], right], "2024-06-01T00:00:00Z", "--quiet", "nvgpu", ""),
        (&[gpu[0], gpu[1], wrong], "2024-06-01T00:00:00Z", "--quiet", "nvgpu", "E-GPU-MEASUREMENT"),
        (&["nvgpu/tokens/hopperClaimsv3_detached_eat.json"], "2025-06-11T00:40:00Z", "--quiet", "nras", "E-JWT-KEY"),
        // A certificate that Gramine made: its quote holds and binds its key; the enclave may be debugged.
        (&[ratls, sgx[1]], "2025-02-19T21:20:00Z", "--quiet", "ra-tls", "E-DCAP-DEBUG"),
        (&[ratls, sgx[1]], "2025-02-19T21:20:00Z", debug, "ra-tls", ""),
        (&[ratls], "2025-02-19T21:20:00Z", "--quiet", "ra-tls", "E-DCAP-CRL"),
        (&[ratls], "2025-02-19T21:20:00Z", "--nonce=00", "ra-tls", "E-RATLS-BINDING"),
        (&[ratls], "1999-02-19T21:20:00Z", "--quiet", "ra-tls", "E-RATLS-TIME"),
    ];
    for (files, at, option, kind, code) in cases {
        let paths: Vec<PathBuf> = files.iter().map(|file| all.join(file)).collect();
        let mut arguments = vec!["evidence", "verify", text(&paths[0]), "--accept-any", "a test", "--json", "--at", at];
        arguments.push(option);
        if paths.len() > 1 {
            arguments.push("--collateral");
            arguments.extend(paths[1..].iter().map(|path| text(path)));
        }
        let output = confide(&arguments);
        let answer = json(&output);
        assert_eq!(answer["type"], kind, "{files:?}: {answer}");
        assert_eq!(answer["verified"], code.is_empty(), "{files:?}: {answer}");
        assert_eq!(answer["code"].as_str().unwrap_or_default(), code, "{files:?}: {answer}");
        assert_eq!(output.status.code(), Some(i32::from(!code.is_empty())), "{files:?}");
    }
}

#[test]
fn an_azure_vm_with_tdx_is_held_to_its_own_quote() {
    let Some(azure) = vectors("azvtpm") else { return };
    let tdx = azure.parent().unwrap().join("tdx/trustee_azure_td_quote");
    let folder = tempfile::tempdir().unwrap();
    let read = |path: &str| fs::read(azure.join(path)).unwrap();
    let manifest: Value = serde_json::from_slice(&read("manifest.json")).unwrap();
    let vectors = manifest["vectors"].as_array().unwrap();
    let quote = vectors.iter().find(|vector| vector["name"] == "quote-kinvolk").unwrap();
    let evidence = |td: &Path| {
        serde_json::json!({
            "version": 1,
            "tpm_quote": {
                "signature": hex::encode(read("quote-kinvolk/quote.sig")),
                "message": hex::encode(read("quote-kinvolk/quote.msg")),
                "pcrs": quote["pcrs_sha256"],
            },
            "hcl_report": URL_SAFE_NO_PAD.encode(read("tdx-kinvolk/hcl_report.bin")),
            "td_quote": URL_SAFE_NO_PAD.encode(fs::read(td).unwrap()),
        })
    };
    let file = folder.path().join("evidence.json");
    fs::write(&file, evidence(&tdx.join("quote.bin")).to_string()).unwrap();
    let arguments = ["evidence", "verify", text(&file), "--accept-any", "a test", "--json", "--at", AZURE_AT];
    let bare = json(&confide(&arguments));
    assert_eq!([&bare["type"], &bare["code"]], ["az-tdx-vtpm", "E-DCAP-CRL"], "{bare}");
    assert!(bare["next"][0].as_str().unwrap().starts_with("fetch it: confide evidence fetch-collateral"), "{bare}");
    let collateral = tdx.join("collateral.json");
    let other = json(&confide(&[&arguments[..], &["--collateral", text(&collateral)]].concat()));
    // The quote is genuine, and another machine's.
    assert_eq!(other["code"], "E-AZ-TD", "{other}");
}

fn reference(measurement: &str) -> String {
    serde_json::json!({
        "version": 1, "name": "x", "site": "x", "substrate": "cvm",
        "launch_measurements": [{
            "vcpu_type": "EPYC-v4", "vcpus": 1, "guest_features": 1, "launch_measurement": measurement,
        }],
        "host_data": "00".repeat(32), "root_hash": "00".repeat(32), "resources": [], "tcb_floor": null,
        "chips": "any", "lease": "shared", "inputs": [], "command_line": "",
    })
    .to_string()
}

/// What a path is answered with.
#[derive(Clone)]
struct Answer {
    body: Vec<u8>,
    /// Lines of the head, each with its end.
    header: String,
}

/// A vendor's service, as far as one piece of evidence needs it.
struct Kds {
    url: String,
    state: Arc<Mutex<State>>,
    address: std::net::SocketAddr,
}

#[derive(Default)]
struct State {
    asked: Vec<String>,
    busy: u32,
    redirect: bool,
    ended: bool,
    /// Bodies of requests.
    posted: Vec<Vec<u8>>,
    /// By the start of the path.
    answers: HashMap<String, Answer>,
}

impl Kds {
    fn start(snp: &Path, busy: u32) -> Self {
        let chain = ["SEV-Milan", "ARK-Milan"].map(|name| fs::read(snp.join(format!("roots/{name}.pem"))).unwrap());
        let answer = |body| Answer { body, header: String::new() };
        let kds = Self::serve(HashMap::from([
            ("/vcek/v1/Milan/cert_chain".to_owned(), answer(chain.concat())),
            ("/vcek/v1/Milan/".to_owned(), answer(fs::read(snp.join("certs/milan-v3-dstack.vek.der")).unwrap())),
        ]));
        kds.state.lock().unwrap().busy = busy;
        kds
    }

    /// Answers by the start of the path.
    fn serve(answers: HashMap<String, Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { answers, ..State::default() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().unwrap().ended {
                    return;
                }
                serve(stream.unwrap(), &shared);
            }
        });
        Self { url: format!("http://{address}"), state, address }
    }

    fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    fn replace(&self, start: &str, answer: Vec<u8>) {
        self.state.lock().unwrap().answers.insert(start.to_owned(), Answer { body: answer, header: String::new() });
    }

    fn redirect(&self) {
        self.state.lock().unwrap().redirect = true;
    }
}

impl Drop for Kds {
    fn drop(&mut self) {
        self.state.lock().unwrap().ended = true;
        let _ = TcpStream::connect(self.address);
    }
}

/// One request, one answer.
fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap() == 0 || header == "\r\n" {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut posted = vec![0; length];
    reader.read_exact(&mut posted).unwrap();
    let mut state = state.lock().unwrap();
    if !posted.is_empty() {
        state.posted.push(posted);
    }
    state.asked.push(path.clone());
    let found = state.answers.iter().filter(|(start, _)| path.starts_with(start.as_str()));
    let found = found.max_by_key(|(start, _)| start.len()).map(|(_, answer)| answer.clone());
    let (head, body) = match found {
        _ if state.redirect => ("302 Found\r\nlocation: http://127.0.0.1:9/", Vec::new()),
        _ if state.busy > 0 => {
            state.busy -= 1;
            ("503 Service Unavailable", Vec::new())
        }
        // AMD has a list; this service has none, as nobody else can sign one.
        Some(_) if path.ends_with("/crl") => ("404 Not Found", Vec::new()),
        Some(Answer { body, header }) => {
            let head =
                format!("HTTP/1.1 200 OK\r\n{header}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            return;
        }
        None => ("404 Not Found", Vec::new()),
    };
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), &body].concat());
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
