//! Runs published vectors: finds manifests below a folder, and gives each to the runner of its kind. A folder of our own
//! text vectors is run as that.

mod aci;
mod azvtpm;
mod cce;
mod dcap;
mod enclave;
mod layers;
mod measure;
mod nvgpu;
mod ratls;
mod snp;
mod texts;
mod tokens;

use claims::UnixTime;
use serde::Serialize;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// File names of manifests.
const MANIFESTS: [&str; 3] = ["manifest.json", "golden.json", "expected.json"];

/// One case and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Case {
    /// What kind of vector.
    pub kind: &'static str,
    /// Its name in the manifest.
    pub name: String,
    /// What the manifest says.
    pub expected: Verdict,
    /// What the verifier said.
    pub got: Verdict,
    /// The code of a refusal.
    pub code: Option<String>,
    /// What went wrong beside the verdict: a claim that differs, a file that cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Accepted, refused, or not even run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The evidence holds, or the value is equal.
    Accept,
    /// It is refused.
    Refuse,
    /// It could not be run, or gave another value.
    Error,
}

/// Sums over all cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Accepted, as expected.
    pub verified: usize,
    /// Refused, as expected.
    pub refused_as_expected: usize,
    /// Anything else.
    pub disagree: usize,
    /// Cases and manifests that were not run.
    pub skipped: usize,
}

/// What a runner reports to.
pub trait Report {
    /// A case was run.
    fn case(&mut self, case: &Case);
    /// Something was not run, and why.
    fn skipped(&mut self, what: &str);
}

impl Case {
    /// Whether the verifier said what the manifest says.
    pub fn agrees(&self) -> bool {
        self.expected == self.got && self.detail.is_none()
    }
}

impl Counts {
    fn add(&mut self, case: &Case) {
        match case.expected {
            _ if !case.agrees() => self.disagree += 1,
            Verdict::Accept => self.verified += 1,
            Verdict::Refuse => self.refused_as_expected += 1,
            Verdict::Error => self.disagree += 1,
        }
    }
}

/// Runs everything below `folder`; `now` is what "expired today" is judged by.
pub fn run(folder: &Path, now: UnixTime, report: &mut dyn Report) -> std::io::Result<Counts> {
    let mut run = Run { counts: Counts::default(), report };
    if crate::text::is_folder(folder) {
        texts::run(folder, &mut run)?;
        return Ok(run.counts);
    }
    for path in manifests(folder)? {
        let manifest: Value = match fs::read(&path).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(manifest)) => manifest,
            _ => {
                run.error("manifest", &path.display().to_string(), "not readable as JSON".to_owned());
                continue;
            }
        };
        let base = path.parent().unwrap_or(folder);
        let runners = runners_of(&manifest);
        if runners.is_empty() {
            run.skip(&format!("{}: no runner for this kind yet", path.display()));
        }
        for runner in runners {
            runner(base, &manifest, now, &mut run);
        }
    }
    Ok(run.counts)
}

/// Runs one manifest: its folder, its content, the time of "today".
type Runner = fn(&Path, &Value, UnixTime, &mut Run<'_>);

/// Which kinds of vectors a manifest holds, by the members that only these kinds have. One manifest may hold several.
fn runners_of(manifest: &Value) -> Vec<Runner> {
    let has = |pointer: &str| manifest.pointer(pointer).is_some();
    let any = |list: &str, of: fn(&Value) -> bool| manifest[list].as_array().is_some_and(|cases| cases.iter().any(of));
    let snp = |case: &Value| case["vek"].is_string() || case["vek"].is_object();
    let azure = |case: &Value| case["hcl"].is_object() || case["quote"].is_object() || case["msg"].is_object();
    let kinds: [(bool, Runner); 11] = [
        (any("reports", snp) || any("negatives", snp) || any("emulated", snp), snp::run),
        (has("/aci_host_data_check"), aci::run),
        (any("cases", |case| case["ovmf"].is_string()), measure::run),
        (any("vectors", |case| case["quote"].is_string()), dcap::run),
        (has("/measurement/expected"), enclave::run),
        (any("vectors", azure) || any("negatives", azure), azvtpm::run),
        (has("/rims") || has("/golden_pairs") || any("evidence", |case| case["certs"].is_object()), nvgpu::run),
        (has("/ratls/expected"), |base, manifest, now, run| ratls::run(base, &manifest["ratls"], now, run)),
        (has("/tokens"), |base, manifest, now, run| tokens::run(base, &manifest["tokens"], now, run)),
        (
            any("layers", |case| case["tar"].is_string() || case["generate"].is_string())
                || any("images", |case| case["image"].is_string()),
            layers::run,
        ),
        (any("cases", |case| case["policy"].is_string()), cce::run),
    ];
    kinds.into_iter().filter_map(|(held, runner)| held.then_some(runner)).collect()
}

/// The counts, and where cases are told.
struct Run<'a> {
    counts: Counts,
    report: &'a mut dyn Report,
}

impl Run<'_> {
    fn tell(&mut self, case: &Case) {
        self.counts.add(case);
        self.report.case(case);
    }

    fn error(&mut self, kind: &'static str, name: &str, detail: String) {
        let (expected, got) = (Verdict::Accept, Verdict::Error);
        self.tell(&Case { kind, name: name.to_owned(), expected, got, code: None, detail: Some(detail) });
    }

    fn skip(&mut self, what: &str) {
        self.counts.skipped += 1;
        self.report.skipped(what);
    }
}

/// A file of a manifest. Roots of vendors are in one set of vectors and named by others: what does not lie beside the
/// manifest is looked for in the published set (`CONFIDE_VECTORS`, or `../shared/vectors`), in the folder of its kind.
fn locate(base: &Path, kind: &str, name: &str) -> PathBuf {
    let here = base.join(name);
    if here.exists() {
        return here;
    }
    let published = std::env::var_os("CONFIDE_VECTORS").map(PathBuf::from).into_iter();
    let published = published.chain([PathBuf::from("../shared/vectors")]);
    published.map(|folder| folder.join(kind).join(name)).find(|path| path.exists()).unwrap_or(here)
}

/// Every `manifest.json`, `golden.json` and `expected.json` below a folder, sorted.
fn manifests(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() && MANIFESTS.iter().any(|manifest| name == *manifest) => {
                    found.push(entry.path());
                }
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}
