//! The real and forged reports of the shared vectors, each with its own reason.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what went wrong by failing")]

use attest::snp::{
    CertificateTable, Collateral, CrlPolicy, CrlStatus, Endorsements, Entry, Expected, Report, Role, SnpError,
    TcbFloor, UnanchoredRoot, VekCache, kbs,
};
use claims::bytes::Digest384;
use claims::snp::{Product, SigningKey, Tee};
use claims::{Allowed, Code, UnixTime};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A store holds a chip's keys of before and after an update; a host hands over an old one.
#[test]
fn the_key_of_the_reported_tcb_is_chosen_wherever_it_lies() {
    let Some(vectors) = Vectors::open() else { return };
    let case = |list: &str, name: &str| {
        let cases = vectors.manifest[list].as_array().unwrap();
        cases.iter().find(|case| case["name"] == name).unwrap().clone()
    };
    let report = Report::parse(&vectors.read("reports/milan-v3-dstack.bin")).unwrap();
    let right = vectors.endorsements(&case("reports", "milan-v3-dstack"));
    // The same chip at an older TCB.
    let old = vectors.endorsements(&case("negatives", "n40-tcb-substitution")).vek;
    let heap = |veks: [&[u8]; 2]| {
        let mut collateral = Collateral::new();
        for der in veks.into_iter().chain([right.intermediate.as_slice(), &right.root]) {
            collateral.add(der).unwrap();
        }
        collateral
    };
    for veks in [[&old[..], &right.vek], [&right.vek, &old]] {
        let chosen = Endorsements::choose(&report, &CertificateTable::default(), &heap(veks));
        assert_eq!(chosen.vek, right.vek);
        for handed in [&old, &right.vek] {
            let table = CertificateTable::of(vec![(Entry::Vcek, handed.clone())]);
            assert_eq!(Endorsements::choose(&report, &table, &heap(veks)).vek, right.vek);
        }
    }
    // Where nothing fits, what is there is tried, and refused for what it is.
    let table = CertificateTable::of(vec![(Entry::Vcek, old.clone())]);
    assert_eq!(Endorsements::choose(&report, &table, &Collateral::new()).vek, old);
}

#[test]
fn every_genuine_report_verifies_at_its_time() {
    let Some(vectors) = Vectors::open() else { return };
    let cache = VekCache::new(64);
    for case in vectors.manifest["reports"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let report = Report::parse(&vectors.read(case["report"]["file"].as_str().unwrap())).unwrap();
        let with = vectors.endorsements(case);
        let now = time(case["time"].as_str().unwrap());
        let verified = report.verify(&with, &no_list(), now).unwrap();
        let (fields, claims) = (&case["fields"], verified.claims());
        assert_eq!(claims.tee, Tee::Snp, "{name}");
        assert_eq!(claims.product.to_string(), fields["product"].as_str().unwrap(), "{name}");
        assert_eq!(claims.measurement.to_string(), fields["measurement"].as_str().unwrap(), "{name}");
        assert_eq!(claims.host_data.to_string(), fields["host_data"].as_str().unwrap(), "{name}");
        assert_eq!(claims.report_data.to_string(), fields["report_data"].as_str().unwrap(), "{name}");
        assert_eq!(claims.chip_id.to_string(), fields["chip_id"].as_str().unwrap(), "{name}");
        assert_eq!(claims.report_id, fields["report_id"].as_str().unwrap(), "{name}");
        assert_eq!(u64::from(claims.version), fields["version"].as_u64().unwrap(), "{name}");
        assert_eq!(format!("{:#x}", claims.policy.0), fields["policy"].as_str().unwrap(), "{name}");
        assert_eq!(format!("{:#x}", claims.platform_info.0), fields["platform_info"].as_str().unwrap(), "{name}");
        for (member, tcb) in [
            ("reported_tcb", claims.reported_tcb),
            ("committed_tcb", claims.committed_tcb),
            ("current_tcb", claims.current_tcb),
            ("launch_tcb", claims.launch_tcb),
        ] {
            let wanted = fields[member]["raw"].as_str().unwrap();
            assert_eq!(hex::encode(attest::snp::encode_tcb(&tcb)), wanted, "{name} {member}");
        }
        let (major, minor, build) = claims.firmware_current;
        assert_eq!(format!("{major}.{minor}.{build}"), fields["current_fw"].as_str().unwrap(), "{name}");
        assert_eq!(verified.crl(), &CrlStatus::Absent { reason: "test".to_owned() });

        // The same through the cache, cold and warm, and the bytes survive the JSON form.
        assert_eq!(report.verify_cached(&with, &no_list(), now, &cache), Ok(verified.clone()), "{name}");
        assert_eq!(report.verify_cached(&with, &no_list(), now, &cache), Ok(verified), "{name}");
        let text = kbs::to_json(&report, &CertificateTable::default()).to_string();
        assert_eq!(kbs::from_slice(text.as_bytes()).unwrap().0.as_bytes(), report.as_bytes(), "{name}");

        // A revocation list is asked for unless the policy does without.
        assert_eq!(report.verify(&with, &CrlPolicy::Required, now), Err(SnpError::CrlMissing), "{name}");
        // A year before and thirty years after, the chain is out of date, with and without the cache.
        let late = UnixTime(now.0 + 30 * 365 * 86400);
        let expired = report.verify(&with, &no_list(), late).unwrap_err();
        assert_eq!(expired.code(), Code::SnpExpired, "{name}");
        assert_eq!(report.verify_cached(&with, &no_list(), late, &cache).unwrap_err().code(), Code::SnpExpired);
        // The chain is found in a heap, whatever its order.
        let mut heap = Collateral::new();
        for file in fs::read_dir(vectors.folder.join("roots")).unwrap() {
            heap.add(&fs::read(file.unwrap().path()).unwrap()).unwrap();
        }
        heap.add(&with.vek).unwrap();
        assert_eq!(Endorsements::choose(&report, &CertificateTable::default(), &heap), with, "{name}");
    }
    assert!(!cache.is_empty());
}

/// What each forged or changed report is refused with. `None` is accepted.
const NEGATIVES: &[(&str, Option<Code>)] = &[
    ("n01-", Some(Code::SnpSignature)),
    ("n02-", Some(Code::SnpSignature)),
    ("n03-", Some(Code::SnpSignature)),
    ("n04-", Some(Code::SnpSignature)),
    ("n05-", Some(Code::SnpSignature)),
    ("n06-", Some(Code::SnpChip)),
    ("n08-", Some(Code::SnpSignature)),
    ("n09-", Some(Code::SnpSignature)),
    ("n12-", None),
    ("n13-", Some(Code::SnpFormat)),
    ("n14-", Some(Code::SnpFormat)),
    ("n15-", Some(Code::SnpVersion)),
    ("n16-", Some(Code::SnpVersion)),
    ("n18-", Some(Code::SnpSigningKey)),
    ("n20-", Some(Code::SnpTcb)),
    ("n21-", Some(Code::SnpChain)),
    ("n23-", Some(Code::SnpExpired)),
    ("n30-", Some(Code::SnpRoot)),
    ("n31-", Some(Code::SnpChain)),
    ("n40-", Some(Code::SnpTcb)),
    ("n41-", Some(Code::SnpChip)),
    ("n42-", Some(Code::SnpCertificate)),
    ("n43-", Some(Code::SnpCertificate)),
    ("n45-", Some(Code::SnpExpired)),
    ("n46-", Some(Code::SnpExpired)),
    ("n47-", Some(Code::SnpProduct)),
    ("n49-", Some(Code::SnpChain)),
    ("n50-", Some(Code::SnpChain)),
    ("n51-", Some(Code::SnpDebug)),
    ("n52-", Some(Code::SnpMigration)),
    ("n53-", Some(Code::SnpVmpl)),
    ("n55-", Some(Code::SnpPolicy)),
    ("n56-", Some(Code::SnpMigration)),
    ("n57-", Some(Code::SnpAlias)),
    ("n59-", Some(Code::SnpChip)),
    ("n60-", Some(Code::SnpReserved)),
];

#[test]
fn every_negative_is_refused_for_its_own_reason() {
    let Some(vectors) = Vectors::open() else { return };
    let mut seen = 0;
    for case in vectors.manifest["negatives"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let Some((_, wanted)) = NEGATIVES.iter().find(|(prefix, _)| name.starts_with(prefix)) else { continue };
        let bytes = vectors.read(case["report"]["file"].as_str().unwrap());
        let with = vectors.endorsements(case);
        let now = vectors.time_of(case);
        let forged = case["ark"].as_str().unwrap().contains("forged");
        if forged && let Ok(report) = Report::parse(&bytes) {
            // In production the pin hides every other reason.
            let error = report.verify(&with, &no_list(), now).unwrap_err();
            assert_eq!(error.code(), Code::SnpRoot, "{name}");
        }
        let got = if forged && !name.starts_with("n30-") {
            vectors.forged(&bytes, &with, now)
        } else {
            real(&bytes, &with, now)
        };
        assert_eq!(got.map_err(|error| error.code()).err(), *wanted, "{name}");
        seen += 1;
    }
    assert_eq!(seen, vectors.manifest["negatives"].as_array().unwrap().len(), "a negative has no named code here");
}

#[test]
fn the_emulated_report_is_refused_in_production() {
    let Some(vectors) = Vectors::open() else { return };
    let case = &vectors.manifest["emulated"];
    let case = case.as_array().map_or(case, |cases| &cases[0]);
    let bytes = vectors.read(case["report"].as_str().unwrap());
    let with = vectors.endorsements(case);
    let error = Report::parse(&bytes).unwrap().verify(&with, &no_list(), UnixTime(1_780_000_000)).unwrap_err();
    assert_eq!(error, SnpError::Emulated { mark: "a certificate names a test organisation" });
}

/// Adversary row 1: every single bit, in the signed range, in the signature and behind it.
#[test]
fn every_single_bit_flip_is_refused() {
    let Some(vectors) = Vectors::open() else { return };
    let case = vectors.report("milan-v3-dstack");
    let good = vectors.read(case["report"]["file"].as_str().unwrap());
    let with = vectors.endorsements(case);
    let now = time(case["time"].as_str().unwrap());
    let cache = VekCache::new(1);
    let verify = |bytes: &[u8]| Report::parse(bytes)?.verify_cached(&with, &no_list(), now, &cache);
    assert!(verify(&good).is_ok());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = verify(&bad).unwrap_err();
        if bit / 8 >= 0x330 {
            assert_eq!(error, SnpError::UnsignedTail { offset: bit / 8 });
        }
    }
}

/// Adversary row 2.
#[test]
fn every_other_length_is_refused() {
    let Some(vectors) = Vectors::open() else { return };
    let good = vectors.read(vectors.report("milan-v3-dstack")["report"]["file"].as_str().unwrap());
    let doubled = [good.as_slice(), &good].concat();
    for length in (0..doubled.len()).filter(|length| *length != good.len()) {
        assert_eq!(Report::parse(&doubled[..length]), Err(SnpError::Length { got: length }));
    }
}

/// Adversary row 5: order swapped, leaf as intermediate, missing parts, and junk in each place.
#[test]
fn chains_in_disorder_are_refused() {
    let Some(vectors) = Vectors::open() else { return };
    let case = vectors.report("milan-v3-dstack");
    let report = Report::parse(&vectors.read(case["report"]["file"].as_str().unwrap())).unwrap();
    let good = vectors.endorsements(case);
    let now = time(case["time"].as_str().unwrap());
    let refuse = |with: Endorsements| report.verify(&with, &no_list(), now).unwrap_err();
    let (root, intermediate, vek) = (good.root.clone(), good.intermediate.clone(), good.vek.clone());
    let of = |root: &[u8], intermediate: &[u8], vek: &[u8]| Endorsements {
        root: root.to_vec(),
        intermediate: intermediate.to_vec(),
        vek: vek.to_vec(),
        crl: None,
    };
    assert_eq!(refuse(of(&intermediate, &root, &vek)).code(), Code::SnpRoot);
    assert!(matches!(refuse(of(&root, &vek, &vek)), SnpError::Key { role: Role::Intermediate, .. }));
    assert_eq!(refuse(of(&root, &root, &vek)), SnpError::ChainSignature { role: Role::Vek });
    assert!(matches!(refuse(of(&root, &intermediate, &intermediate)), SnpError::Key { role: Role::Vek, .. }));
    assert!(matches!(refuse(of(&root, &[], &vek)), SnpError::Missing { role: Role::Intermediate, .. }));
    assert!(matches!(refuse(of(&[], &intermediate, &vek)), SnpError::Missing { role: Role::Root, .. }));
    let other = vectors.read("roots/SEV-VLEK-Milan.pem");
    let mut heap = Collateral::new();
    heap.add(&other).unwrap();
    for (place, length) in [(0, root.len()), (1, intermediate.len()), (2, vek.len())] {
        for cut in [1, length / 2, length - 1] {
            let mut parts = [root.clone(), intermediate.clone(), vek.clone()];
            parts[place].truncate(cut);
            let error = refuse(of(&parts[0], &parts[1], &parts[2]));
            assert_eq!(error.code(), Code::SnpCertificate);
        }
        let mut parts = [root.clone(), intermediate.clone(), vek.clone()];
        parts[place].push(0);
        assert_eq!(refuse(of(&parts[0], &parts[1], &parts[2])).code(), Code::SnpCertificate, "trailing byte");
    }
}

/// Adversary row 6: the table's order does not matter, and the other kind of key does not count.
#[test]
fn the_endorsement_key_is_chosen_by_the_reports_word() {
    use attest::snp::Entry;
    let Some(vectors) = Vectors::open() else { return };
    let case = vectors.report("milan-v3-dstack");
    let report = Report::parse(&vectors.read(case["report"]["file"].as_str().unwrap())).unwrap();
    let good = vectors.endorsements(case);
    let vlek = vectors.endorsements(vectors.report("milan-vlek-aws-trustee")).vek;
    let mut entries = vec![
        (Entry::Vlek, vlek.clone()),
        (Entry::Vcek, good.vek.clone()),
        (Entry::Ask, good.intermediate.clone()),
        (Entry::Ark, good.root.clone()),
    ];
    for _ in 0..4 {
        entries.rotate_left(1);
        let chosen = Endorsements::choose(&report, &CertificateTable::of(entries.clone()), &Collateral::new());
        assert_eq!(chosen, good);
    }
    // A VLEK under its own intermediate, presented for a report that says VCEK.
    let with = Endorsements { intermediate: vectors.der("roots/SEV-VLEK-Milan.pem"), vek: vlek, ..good };
    let now = time("2025-01-09T22:14:21+00:00");
    assert_eq!(
        report.verify(&with, &no_list(), now),
        Err(SnpError::VekKind { report: SigningKey::Vcek, certificate: SigningKey::Vlek })
    );
}

/// Patch levels of different products mean different things, so the product comes first.
#[test]
fn a_chain_of_another_product_is_refused_before_its_levels_are_compared() {
    let Some(vectors) = Vectors::open() else { return };
    let milan = vectors.report("milan-v3-dstack");
    let report = Report::parse(&vectors.read(milan["report"]["file"].as_str().unwrap())).unwrap();
    let genoa = vectors.endorsements(vectors.report("genoa-v5-live"));
    let now = time("2026-07-17T01:05:04+00:00");
    assert_eq!(
        report.verify(&genoa, &no_list(), now),
        Err(SnpError::ProductMismatch { report: Product::Milan, chain: Product::Genoa })
    );
}

fn real(bytes: &[u8], with: &Endorsements, now: UnixTime) -> Result<(), SnpError> {
    Report::parse(bytes)?.verify(with, &no_list(), now)?.appraise(&strict()).map(|_| ())
}

fn strict() -> Expected {
    Expected::strict(
        Allowed::any("vectors bind nothing"),
        Allowed::any("vectors have no reference values"),
        Allowed::any("vectors have no reference values"),
        TcbFloor::None { reason: "vectors are old".to_owned() },
        Allowed::any("vectors come from many machines"),
    )
}

fn no_list() -> CrlPolicy {
    CrlPolicy::AbsentOk { reason: "test".to_owned() }
}

struct Vectors {
    folder: PathBuf,
    manifest: Value,
}

impl Vectors {
    fn open() -> Option<Self> {
        let folder = std::env::var_os("CONFIDE_VECTORS")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from)
            .join("snp");
        if !folder.exists() {
            println!("skipped: vectors are not here");
            return None;
        }
        let manifest = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        Some(Self { folder, manifest })
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.join(name)).unwrap()
    }

    fn report(&self, name: &str) -> &Value {
        self.manifest["reports"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap()
    }

    fn der(&self, name: &str) -> Vec<u8> {
        let bytes = self.read(name);
        if bytes.first() == Some(&0x30) {
            return bytes;
        }
        x509_cert::der::pem::decode_vec(&bytes).unwrap().1
    }

    fn endorsements(&self, case: &Value) -> Endorsements {
        let vek = case["vek"].as_str().or(case["vek"]["file"].as_str()).unwrap();
        Endorsements {
            vek: self.der(vek),
            intermediate: self.der(case["ica"].as_str().unwrap()),
            root: self.der(case["ark"].as_str().unwrap()),
            crl: None,
        }
    }

    /// The time of the genuine report that a negative was made of; what is expired is expired at a fixed later day.
    fn time_of(&self, case: &Value) -> UnixTime {
        if case["must"].as_str().unwrap().contains("reject at now") {
            return time("2026-09-01T00:00:00+00:00");
        }
        time(self.report(case["base"].as_str().unwrap())["time"].as_str().unwrap())
    }

    /// Against the forged root, as if it were a trusted one of a test.
    fn forged(&self, bytes: &[u8], with: &Endorsements, now: UnixTime) -> Result<(), SnpError> {
        let root = UnanchoredRoot {
            spki: spki(&with.root),
            product: Product::Milan,
            organization: "Advanced Micro Devices".to_owned(),
            prefix: String::new(),
            vek_prefix: String::new(),
            marker: None,
        };
        let checked = Report::parse(bytes)?.check_unanchored(with, &root, &no_list(), now)?;
        strict().admit(checked.claims()).map(|_| ())
    }
}

fn spki(der: &[u8]) -> Digest384 {
    use x509_cert::der::{Decode, Encode};
    let certificate = x509_cert::Certificate::from_der(der).unwrap();
    let spki = certificate.tbs_certificate.subject_public_key_info.to_der().unwrap();
    Digest384::from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, &spki).as_ref()).unwrap()
}

/// Seconds since 1970 of an RFC 3339 time in UTC.
fn time(text: &str) -> UnixTime {
    let text = text.replace("+00:00", "Z");
    UnixTime(text.parse::<x509_cert::der::DateTime>().unwrap().unix_duration().as_secs())
}
