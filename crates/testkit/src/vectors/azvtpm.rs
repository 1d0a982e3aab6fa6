//! Vectors of HCL reports and TPM quotes of Azure.
//!
//! A positive is verified as far as its files go: hardware report, binding, quote, PCRs. Where the manifest says that
//! the hardware report does not verify, it must be refused, and form and binding alone must hold.

use super::{Case, Run, Verdict, snp};
use attest::azure::{
    AzureError, AzureEvidence, Console, Expected, ExpectedHardware, Hardware, HclReport, VerifiedAzure, VmRules,
};
use attest::snp::{BelievedVersions, Endorsements, PlatformRules, Rule};
use attest::tpm::{self, EnrolledKey, PcrValues, Quote, Selection, Signature, TpmError};
use claims::azure::TpmClaims;
use claims::bytes::Digest256;
use claims::{Allowed, UnixTime};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const KIND: &str = "azvtpm";

pub(super) fn run(base: &Path, manifest: &Value, now: UnixTime, run: &mut Run<'_>) {
    for case in snp::list(manifest, "vectors") {
        positive(base, case, now, run);
    }
    for case in snp::list(manifest, "negatives") {
        let of = snp::list(manifest, "vectors").find(|vector| vector["name"] == case["base"]).unwrap_or(&Value::Null);
        let name = snp::text(case, "name");
        let expected = if snp::text(case, "must") == "accept" { Verdict::Accept } else { Verdict::Refuse };
        match Input::read(base, of, case) {
            Ok(input) => tell(run, name, expected, input.whole(snp::time(case).unwrap_or(now)), None),
            Err(error) => run.error(KIND, name, error),
        }
    }
}

fn positive(base: &Path, case: &Value, now: UnixTime, run: &mut Run<'_>) {
    let name = snp::text(case, "name");
    let input = match Input::read(base, case, &Value::Null) {
        Ok(input) => input,
        Err(error) => return run.error(KIND, name, error),
    };
    let at = snp::time(case).unwrap_or(now);
    if let Some(hcl) = &input.hcl {
        let checked = HclReport::parse(hcl).map(|report| (bound(&report), difference_hcl(case, &report)));
        let (result, detail) = match checked {
            Ok((result, detail)) => (result, detail),
            Err(error) => (Err(error), None),
        };
        tell(run, &format!("{name} (form and binding)"), Verdict::Accept, result, detail);
    }
    let hardware = &case["expected"]["snp_signature"];
    let genuine = hardware == "ok" && case["expected"]["vek_binding"] == "ok";
    if input.quote.is_some() {
        let detail = input.quoted(case).err();
        let expected = if hardware.is_null() || genuine { Verdict::Accept } else { Verdict::Refuse };
        tell(run, name, expected, input.whole(at), detail);
    } else if input.endorsements.is_some() {
        let expected = if genuine { Verdict::Accept } else { Verdict::Refuse };
        tell(run, &format!("{name} (hardware report)"), expected, input.hardware(at), None);
    }
}

/// What a case names, read; a negative replaces parts of its base.
struct Input {
    hcl: Option<Vec<u8>>,
    endorsements: Option<Endorsements>,
    enrolled: Option<Vec<u8>>,
    quote: Option<(Vec<u8>, Vec<u8>)>,
    pcrs: Vec<Digest256>,
    nonce: Option<Vec<u8>>,
}

impl Input {
    fn read(base: &Path, case: &Value, change: &Value) -> Result<Self, String> {
        let named = case["hcl"]["file"].as_str().and_then(|file| Path::new(file).parent()).map(Path::to_owned);
        let folder = base.join(named.unwrap_or_else(|| PathBuf::from(snp::text(case, "name"))));
        let file = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let beside = |name: &str| {
            let path = folder.join(name);
            path.exists().then(|| file(&path)).transpose()
        };
        let member = |name: &str| {
            let text = change[name]["file"].as_str().or(case[name]["file"].as_str());
            text.map(|name| file(&base.join(name))).transpose()
        };
        let message = match member("msg")? {
            Some(message) => Some(message),
            None => beside("quote.msg")?,
        };
        let list = if change["pcrs_sha256"].is_array() { &change["pcrs_sha256"] } else { &case["pcrs_sha256"] };
        let pcrs: Result<Vec<Digest256>, _> =
            list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::parse).collect();
        let nonce = case["nonce"].as_str().map(hex::decode).transpose().map_err(|error| error.to_string())?;
        Ok(Self {
            hcl: member("hcl")?,
            endorsements: match (beside("vcek.der")?, case["ica"].as_str()) {
                (Some(vek), Some(ica)) => Some(Endorsements {
                    vek,
                    intermediate: root(base, ica)?,
                    root: root(base, &ica.replace("SEV-VLEK-", "ARK-").replace("SEV-", "ARK-"))?,
                    crl: None,
                }),
                _ => None,
            },
            enrolled: beside("akpub.pem")?,
            quote: message.zip(beside("quote.sig")?),
            pcrs: pcrs.map_err(|error| error.to_string())?,
            nonce,
        })
    }

    /// Everything that is there: HCL report and quote by its key, or a quote by the key that comes apart.
    fn whole(&self, at: UnixTime) -> Result<(), AzureError> {
        let Some((message, signature)) = &self.quote else { return self.hardware(at) };
        let parse = || Quote::parse(message, Signature::raw_rsa(signature)?);
        let Some(hcl) = &self.hcl else {
            let key = EnrolledKey::from_pem(self.enrolled.as_deref().unwrap_or_default())?;
            parse()?.verify(&key)?.appraise(&self.expected().quote, &self.values()?)?;
            return Ok(());
        };
        let evidence = AzureEvidence { hcl: HclReport::parse(hcl)?, quote: parse()?, pcrs: self.values()? };
        self.verified(evidence, at)?.appraise(&self.expected()).map(|_| ())
    }

    fn verified(&self, evidence: AzureEvidence, at: UnixTime) -> Result<VerifiedAzure, AzureError> {
        match &self.endorsements {
            Some(with) => evidence.verify_snp(with, &snp::no_list(), at),
            None => Err(AzureError::Hardware { wanted: "SNP" }),
        }
    }

    fn hardware(&self, at: UnixTime) -> Result<(), AzureError> {
        let report = HclReport::parse(self.hcl.as_deref().unwrap_or_default())?;
        match &self.endorsements {
            Some(with) => report.verify_snp(with, &snp::no_list(), at).map(|_| ()),
            None => Err(AzureError::Hardware { wanted: "SNP" }),
        }
    }

    fn values(&self) -> Result<PcrValues, TpmError> {
        PcrValues::from_zero(&self.pcrs)
    }

    fn expected(&self) -> Expected {
        let mut rule = snp::strict();
        rule.versions = BelievedVersions::AlsoVersion2 { reason: "some vectors are of old firmware".to_owned() };
        rule.platform = PlatformRules { alias_check: Rule::NotAsked, ..PlatformRules::STRICT };
        Expected {
            hardware: ExpectedHardware::Snp(Box::new(rule)),
            quote: tpm::Expected {
                nonce: match &self.nonce {
                    Some(nonce) => Allowed::only(nonce.clone()),
                    None => Allowed::any("this vector names no nonce"),
                },
                selection: Selection::ALL,
                pcrs: BTreeMap::new(),
                others: "vectors have no reference values".to_owned(),
            },
            vm: VmRules {
                console: Console::Allowed { reason: "Azure's images enable it".to_owned() },
                ..VmRules::strict()
            },
            user_data: Allowed::any("vectors bind nothing"),
        }
    }

    /// Compares what the quote says with the manifest; the error is the first difference.
    fn quoted(&self, case: &Value) -> Result<(), String> {
        let Some((message, signature)) = &self.quote else { return Ok(()) };
        let quote = Signature::raw_rsa(signature).and_then(|signature| Quote::parse(message, signature));
        let quote = quote.map_err(|error| error.to_string())?;
        let claims: &TpmClaims = quote.claimed();
        let found = [
            ("/quote/qualified_signer", claims.qualified_signer.clone()),
            ("/quote/extra_data", claims.nonce.clone()),
            ("/quote/clock_info/clock", claims.clock.to_string()),
            ("/quote/clock_info/reset", claims.reset_count.to_string()),
            ("/quote/clock_info/restart", claims.restart_count.to_string()),
            ("/quote/clock_info/safe", u8::from(claims.safe).to_string()),
            ("/quote/firmware_version", claims.firmware_version.clone()),
            ("/quote/pcr_digest", claims.pcr_digest.to_string()),
        ];
        differs(case, found).map_or(Ok(()), Err)
    }
}

/// Whether the report's own report data binds the claims. Not a verification: nobody vouches for the report here.
fn bound(report: &HclReport) -> Result<(), AzureError> {
    match report.hardware() {
        Hardware::Snp(hardware) => report.check_binding(&hardware.claimed().report_data),
        Hardware::Tdx(hardware) => report.check_binding(&hardware.report_data()),
    }
}

fn difference_hcl(case: &Value, report: &HclReport) -> Option<String> {
    let vm = report.vm_configuration();
    let found = [
        ("/hcl_header/version", report.version().to_string()),
        ("/var_data_sha256", report.claims_hash().to_string()),
        ("/claims_summary/vm-configuration/console-enabled", vm.console_enabled.to_string()),
        ("/claims_summary/vm-configuration/secure-boot", vm.secure_boot.to_string()),
        ("/claims_summary/vm-configuration/tpm-enabled", vm.tpm_enabled.to_string()),
        ("/claims_summary/vm-configuration/vmUniqueId", vm.vm_unique_id.clone().unwrap_or_default()),
    ];
    let hardware = match report.hardware() {
        Hardware::Snp(hardware) => differs(
            case,
            [
                ("/snp_fields/measurement", hardware.claimed().measurement.to_string()),
                ("/snp_fields/report_data", hardware.claimed().report_data.to_string()),
                ("/snp_fields/chip_id", hardware.claimed().chip_id.to_string()),
            ],
        ),
        Hardware::Tdx(_) => None,
    };
    differs(case, found).or(hardware)
}

fn differs<const N: usize>(case: &Value, found: [(&str, String); N]) -> Option<String> {
    found.into_iter().find_map(|(pointer, got)| {
        let wanted = case.pointer(pointer)?;
        let wanted = wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned);
        (wanted != got).then(|| format!("{pointer} is {got}, the manifest says {wanted}"))
    })
}

/// AMD's certificates are not in this kind of folder: they lie in `roots` or `snp/roots`, here or in a folder above.
fn root(base: &Path, name: &str) -> Result<Vec<u8>, String> {
    let base = fs::canonicalize(base).map_err(|error| format!("{}: {error}", base.display()))?;
    let configured = std::env::var_os("CONFIDE_VECTORS").map(PathBuf::from);
    let above = base.ancestors().take(4).map(Path::to_owned).chain(configured);
    let published = super::locate(&base, "snp", &format!("roots/{name}.pem"));
    let path = above
        .flat_map(|folder| [folder.join("roots"), folder.join("snp/roots")])
        .map(|folder| folder.join(format!("{name}.pem")))
        .chain([published])
        .find(|path| path.exists());
    let path = path.ok_or_else(|| format!("{name}.pem is in no folder `roots` or `snp/roots` here or above"))?;
    let pem = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    x509_cert::der::pem::decode_vec(&pem).map(|(_, der)| der).map_err(|error| format!("{}: {error}", path.display()))
}

fn tell(run: &mut Run<'_>, name: &str, expected: Verdict, result: Result<(), AzureError>, detail: Option<String>) {
    let (got, code) = match result {
        Ok(()) => (Verdict::Accept, None),
        Err(error) => (Verdict::Refuse, Some(error.code().to_string())),
    };
    run.tell(&Case { kind: KIND, name: name.to_owned(), expected, got, code, detail });
}
