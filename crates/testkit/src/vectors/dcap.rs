//! SGX and TDX quotes: each vector on its axes (genuine, patch level, dates) and under the strict rule, and each of the
//! manifest's tampered variants on each vector that verifies.
//!
//! What a manifest wants is read from its results, `dcap_qvl_0_7_1` and `independent`. They are of tools with limits and
//! policies of their own, so four kinds of results are told apart:
//!
//! * a status: ours must be the same, with the same advisories;
//! * an error of `dcap-qvl`'s built-in policy (SEPT_VE_DISABLE, service TDs, debugging): Intel leaves that to policy, so
//!   the quote must be genuine, the strict rule must refuse it, and a rule that tolerates it must accept it;
//! * expired collateral: genuine, with the status that the independent check found, and refused for its dates;
//! * TCB info of version 2, which `dcap-qvl` does not read: the independent check decides.
//!
//! Any other error means that the quote is refused.

mod forge;
mod tampered;
mod wanted;

use super::{Case, Run, Verdict};
use attest::dcap::{
    Collateral, DcapError, Expected, ExpectedBody, PlatformRules, Quote, SgxExpected, Staleness, TcbRules, TdxExpected,
    Tolerance, UnanchoredRoot,
};
use claims::dcap::{DcapClaims, DcapTee, TcbStatus};
use claims::{Allowed, UnixTime};
use serde_json::Value;
use std::fs;
use std::path::Path;
use tampered::{Base, Donor};
use wanted::{Wanted, differing_field};

const KIND: &str = "dcap";

pub(super) fn run(base: &Path, manifest: &Value, _now: UnixTime, run: &mut Run<'_>) {
    let donors = donors(base, manifest);
    let variants: Vec<&str> = list(manifest, "tampered_variants").map(|variant| text(variant, "id")).collect();
    for entry in list(manifest, "vectors") {
        match Vector::read(base, entry, manifest) {
            Ok(vector) => {
                vector.run(&donors, run);
                vector.tamper(&variants, &donors, run);
            }
            Err(error) => run.error(KIND, text(entry, "name"), error),
        }
        corpus(base, entry, run);
    }
}

/// The vectors of this manifest, and of those in the folders beside it: variants borrow from them.
fn donors(base: &Path, manifest: &Value) -> Vec<Donor> {
    let mut manifests = vec![(base.to_owned(), manifest.clone())];
    let beside = base.parent().and_then(|parent| fs::read_dir(parent).ok());
    for folder in beside.into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path != base) {
        let other = fs::read(folder.join("manifest.json")).ok();
        manifests.extend(other.and_then(|bytes| serde_json::from_slice(&bytes).ok()).map(|other| (folder, other)));
    }
    let mut donors = Vec::new();
    for (folder, manifest) in &manifests {
        for entry in list(manifest, "vectors") {
            let read = |member| fs::read(folder.join(text(entry, "dir")).join(entry[member].as_str()?)).ok();
            let bundle = read("collateral").and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let test_root = entry["custom_root"].is_string();
            donors.extend(read("quote").map(|quote| Donor { quote, bundle, test_root }));
        }
    }
    donors
}

/// A result with the collateral of another evaluation: `independent_with_v3_evalN` names a file of the corpus. No time
/// lies in the validity of all of it, so the axes are compared without the dates.
fn corpus(base: &Path, entry: &Value, run: &mut Run<'_>) {
    let expected = &entry["expected"];
    for (key, found) in expected.as_object().into_iter().flatten() {
        let Some(number) = key.strip_prefix("independent_with_v3_eval") else { continue };
        let name = format!("{} (evaluation {number})", text(entry, "name"));
        match with_corpus(base, entry, number).and_then(|claims| Ok((claims, Wanted::independent(found)?))) {
            Ok((claims, Wanted::Genuine { status, advisories, .. })) => {
                let detail = wanted::differing_verdict(&claims, status, advisories.as_deref());
                tell(run, &name, Verdict::Accept, admit(&lenient(claims.tee), &claims), detail);
            }
            Ok(_) => run.error(KIND, &name, "the manifest names no status".to_owned()),
            Err(error) => run.error(KIND, &name, error),
        }
    }
}

/// After the end of everything, so that only what has expired is to be tolerated.
const LATE: UnixTime = UnixTime(4_000_000_000);

fn with_corpus(base: &Path, entry: &Value, number: &str) -> Result<DcapClaims, String> {
    let folder = base.join("collateral_corpus");
    let read = |name: &str| fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"));
    let fmspc = text(&entry["expected"], "pck_fmspc");
    let mut heap = Collateral::new();
    let files = [
        format!("{fmspc}-{number}.tcb"),
        format!("qe3_identity-{number}.id"),
        "platform.crl".to_owned(),
        "processor.crl".to_owned(),
        "IntelSGXRootCA.crl".to_owned(),
    ];
    for name in &files {
        heap.add(&read(name)?).map_err(|error| format!("{name}: {error}"))?;
    }
    let quote =
        fs::read(base.join(text(entry, "dir")).join(text(entry, "quote"))).map_err(|error| error.to_string())?;
    let verified = heap.verify().and_then(|with| Quote::parse(&quote)?.verify(&with, LATE));
    verified.map(|verified| verified.claims().clone()).map_err(|error| error.to_string())
}

/// A vector, read.
struct Vector<'a> {
    name: &'a str,
    entry: &'a Value,
    quote: Vec<u8>,
    /// None, when there is none for this platform.
    collateral: Option<Vec<u8>>,
    root: Option<UnanchoredRoot>,
    at: UnixTime,
    wanted: Wanted,
}

impl<'a> Vector<'a> {
    fn read(base: &Path, entry: &'a Value, manifest: &Value) -> Result<Self, String> {
        let name = text(entry, "name");
        let folder = base.join(text(entry, "dir"));
        let file = |name: &str| fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"));
        let expected = &entry["expected"];
        let mut at = expected["verify_at_unix"].as_u64();
        let mut collateral = entry["collateral"].as_str().map(&file).transpose()?;
        let mut wanted = Wanted::of(entry)?;
        if collateral.is_none() && wanted == Wanted::WithBorrowed {
            // A second vector of the same platform model has collateral; its dates need not fit.
            let lender = list(manifest, "vectors").find(|other| {
                other["collateral"].is_string() && other["expected"]["pck_fmspc"] == expected["pck_fmspc"]
            });
            match lender {
                Some(lender) => {
                    let path = base.join(text(lender, "dir")).join(text(lender, "collateral"));
                    collateral = Some(fs::read(path).map_err(|error| error.to_string())?);
                    at = lender["expected"]["verify_at_unix"].as_u64();
                    wanted = Wanted::independent(&expected["independent"])?;
                }
                // Without any, the signatures are all that can be judged.
                None => wanted = Wanted::SignaturesHold,
            }
        }
        let root = entry["custom_root"].as_str().map(&file).transpose()?;
        let root = root.map(|der| UnanchoredRoot::from_der(&der)).transpose().map_err(|error| error.to_string())?;
        let quote = file(text(entry, "quote"))?;
        Ok(Self { name, entry, quote, collateral, root, at: UnixTime(at.unwrap_or(0)), wanted })
    }

    fn run(&self, donors: &[Donor], run: &mut Run<'_>) {
        let mut bytes = self.quote.as_slice();
        if let Err(error @ DcapError::Trailing { offset }) = Quote::parse(bytes) {
            // Bytes that nobody vouches for: refused. What is before them is a vector all the same.
            tell(run, &format!("{} (with what follows it)", self.name), Verdict::Refuse, Err(error), None);
            bytes = bytes.get(..offset).unwrap_or_default();
        }
        let quote = match Quote::parse(bytes) {
            Ok(quote) => quote,
            Err(error) => return tell(run, self.name, self.wanted.verdict(), Err(error), None),
        };
        let read = differing_field(&self.entry["expected"], &quote, self.quote.len());
        tell(run, &format!("{} (read)", self.name), Verdict::Accept, Ok(()), read);
        let Some(file) = &self.collateral else {
            let signed = quote.check_signatures().map(|_| ());
            return tell(run, &format!("{} (signatures)", self.name), self.wanted.verdict(), signed, None);
        };
        let mut verified = verify(&quote, file, self.root.as_ref(), self.at);
        let checked_apart = self.entry["expected"]["independent"]["platform"].is_string();
        if let (Err(DcapError::CrlMissing { .. }), true, None) = (&verified, checked_apart, &self.root) {
            // The independent check looks at no list: refused without one, and judged with the lists of other vectors.
            tell(run, &format!("{} (no revocation list)", self.name), Verdict::Refuse, verified.map(|_| ()), None);
            verified = verify_with_lent_lists(&quote, file, donors);
        }
        let strict = verified.as_ref().map_err(Clone::clone).and_then(|claims| admit(&strict(claims.tee), claims));
        match &self.wanted {
            Wanted::Refused => tell(run, self.name, Verdict::Refuse, verified.map(|_| ()), None),
            Wanted::Genuine { status, advisories, tolerated } => {
                if let (Ok(claims), None) = (&verified, status) {
                    let attributes = admit(&any_tcb(claims.tee), claims);
                    let verdict = if self.by_policy() { Verdict::Refuse } else { Verdict::Accept };
                    tell(run, &format!("{} (attributes)", self.name), verdict, attributes, None);
                }
                let detail = verified
                    .as_ref()
                    .ok()
                    .and_then(|claims| wanted::differing_verdict(claims, *status, advisories.as_deref()));
                // The axes: genuine, and accepted by a rule that lists its status and tolerates the rest.
                let lenient = verified.and_then(|claims| admit(&lenient(claims.tee), &claims));
                tell(run, self.name, Verdict::Accept, lenient, detail);
                let verdict = if *tolerated { Verdict::Refuse } else { Verdict::Accept };
                tell(run, &format!("{} (strict)", self.name), verdict, strict, None);
            }
            Wanted::SignaturesHold | Wanted::WithBorrowed => {
                tell(run, self.name, Verdict::Accept, verified.map(|_| ()), None);
            }
        }
    }

    /// Whether the other tool refused it for its attributes.
    fn by_policy(&self) -> bool {
        wanted::by_policy(text(&self.entry["expected"]["dcap_qvl_0_7_1"], "error"))
    }

    /// Every variant, on a vector that is genuine under the production root and carries its own chain.
    fn tamper(&self, variants: &[&str], donors: &[Donor], run: &mut Run<'_>) {
        let (Wanted::Genuine { .. }, Some(file), None) = (&self.wanted, &self.collateral, &self.root) else { return };
        let Ok((quote, bundle)) = Quote::parse(&self.quote)
            .map_err(drop)
            .and_then(|quote| serde_json::from_slice::<Value>(file).map(|bundle| (quote, bundle)).map_err(drop))
        else {
            return;
        };
        let Ok(claims) = verify(&quote, file, None, self.at) else { return };
        let bytes = self.quote.get(..self.quote.len().saturating_sub(quote.padding())).unwrap_or_default();
        let base = Base { quote: bytes, bundle: &bundle, at: self.at, claims: &claims, donors };
        for id in variants {
            let name = format!("{} {id}", self.name);
            let attempts = match base.attempts(id) {
                Ok(attempts) => attempts,
                Err(why) => {
                    run.skip(&format!("{name}: {why}"));
                    continue;
                }
            };
            let several = attempts.len() > 1;
            for (index, attempt) in attempts.into_iter().enumerate() {
                let wanted = if attempt.codes.is_empty() { Verdict::Accept } else { Verdict::Refuse };
                let code = attempt.result.as_ref().err().map(DcapError::code);
                let other = code.filter(|code| !attempt.codes.contains(code));
                let detail = other.map(|code| format!("{code} is another reason than {:?}", attempt.codes));
                let name = match (attempt.part, several) {
                    ("", false) => name.clone(),
                    ("", true) => format!("{name}: {}", index + 1),
                    (part, _) => format!("{name}: {part}"),
                };
                tell(run, &name, wanted, attempt.result, detail);
            }
        }
    }
}

/// What a variant is judged by.
#[derive(Debug, Clone, Copy)]
enum Judge {
    /// Everything that can be tolerated is.
    Lenient,
    /// The same, but for dates.
    Dated,
}

impl Judge {
    fn of(self, quote: &Quote, bundle: &Value, root: Option<&UnanchoredRoot>, at: UnixTime) -> Result<(), DcapError> {
        let claims = verify(quote, bundle.to_string().as_bytes(), root, at)?;
        let mut rule = lenient(claims.tee);
        if matches!(self, Self::Dated) {
            rule.tcb.staleness = Staleness::Refused;
        }
        admit(&rule, &claims)
    }
}

/// The claims of a quote, with a collateral file of any kind.
fn verify(quote: &Quote, file: &[u8], root: Option<&UnanchoredRoot>, at: UnixTime) -> Result<DcapClaims, DcapError> {
    let mut heap = Collateral::new();
    heap.add(file)?;
    match root {
        None => quote.verify(&heap.verify()?, at).map(|verified| verified.claims().clone()),
        Some(root) => {
            let collateral = heap.check_unanchored(root)?;
            quote.check_unanchored(&collateral, at).map(|checked| checked.claims().clone())
        }
    }
}

/// The same with the revocation lists of other vectors: they are about authorities, not about a platform. Their dates need
/// not fit, so the axes are compared after the end of everything.
fn verify_with_lent_lists(quote: &Quote, file: &[u8], donors: &[Donor]) -> Result<DcapClaims, DcapError> {
    let mut heap = Collateral::new();
    heap.add(file)?;
    for bundle in donors.iter().filter(|donor| !donor.test_root).filter_map(|donor| donor.bundle.as_ref()) {
        let members = ["root_ca_crl", "pck_crl", "pck_crl_issuer_chain"];
        let lists = members.iter().filter_map(|member| Some(((*member).to_owned(), bundle.get(*member)?.clone())));
        heap.add(Value::Object(lists.collect()).to_string().as_bytes())?;
    }
    heap.add_chain_of(quote)?;
    quote.verify(&heap.verify()?, LATE).map(|verified| verified.claims().clone())
}

fn admit(rule: &Expected, claims: &DcapClaims) -> Result<(), DcapError> {
    rule.admit(claims).map(|_| ())
}

/// What a production rule asks, but for reference values: vectors are of unknown software.
fn strict(tee: DcapTee) -> Expected {
    const UNKNOWN: &str = "vectors have no reference values";
    Expected {
        report_data: Allowed::any("vectors bind nothing"),
        tcb: TcbRules::strict(0),
        platform: PlatformRules::any("vectors come from many machines"),
        body: match tee {
            DcapTee::Sgx => ExpectedBody::Sgx(Box::new(SgxExpected::strict(
                Allowed::any(UNKNOWN),
                Allowed::any(UNKNOWN),
                Allowed::any(UNKNOWN),
                0,
            ))),
            DcapTee::Tdx => {
                let registers = std::array::from_fn(|_| Allowed::any(UNKNOWN));
                ExpectedBody::Tdx(Box::new(TdxExpected::strict(Allowed::any(UNKNOWN), registers)))
            }
        },
    }
}

/// Every status but `Revoked`, and collateral of any age; attributes by the strict rule.
fn any_tcb(tee: DcapTee) -> Expected {
    let mut rule = strict(tee);
    rule.tcb.also = TcbStatus::ALL.iter().map(|status| (*status, REASON.to_owned())).collect();
    rule.tcb.staleness = Staleness::Grace { seconds: u64::MAX, reason: REASON.to_owned() };
    rule
}

const REASON: &str = "the vector's axes are compared one by one";

/// Every status but `Revoked`, collateral of any age, and every attribute.
fn lenient(tee: DcapTee) -> Expected {
    let tolerated = || Tolerance::Tolerated { reason: REASON.to_owned() };
    let mut rule = any_tcb(tee);
    match &mut rule.body {
        ExpectedBody::Sgx(body) => body.debugging = tolerated(),
        ExpectedBody::Tdx(body) => {
            body.debugging = tolerated();
            body.sept_ve = tolerated();
            body.migration = tolerated();
            body.perfmon = tolerated();
            body.reserved = tolerated();
            body.mr_service_td = Allowed::any(REASON);
        }
    }
    rule
}

fn tell(run: &mut Run<'_>, name: &str, expected: Verdict, result: Result<(), DcapError>, detail: Option<String>) {
    let (got, code) = match result {
        Ok(()) => (Verdict::Accept, None),
        Err(error) => (Verdict::Refuse, Some(error.code().to_string())),
    };
    run.tell(&Case { kind: KIND, name: name.to_owned(), expected, got, code, detail });
}

fn list<'a>(manifest: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    manifest[member].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or("")
}
