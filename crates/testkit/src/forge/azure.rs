//! Azure's shape: an HCL report around an SNP or a TD report whose report data is the hash of the runtime claims, which
//! name the vTPM's attestation key; and a quote by that key.

use super::Change::{Made as After, Plan as Before};
use super::intel::Model;
use super::{Forge, Mutator, Result, Sent, accepted, amd, refused, tpm};
use crate::text::TextVector;
use aws_lc_rs::digest::{SHA256, SHA384, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claims::{Code, ReportData};
use serde_json::{Value, json};

/// Evidence before anything is signed.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) tpm: tpm::Plan,
    pub(super) snp: Option<amd::Plan>,
    /// The body of the TDX quote.
    pub(super) body: Vec<u8>,
    pub(super) claims: Value,
    /// Whether the hardware's report binds the runtime claims.
    pub(super) bound: bool,
    pub(super) hash_type: u32,
    pub(super) sent: Sent,
}

/// Every mutator on a TDX machine.
pub const MUTATORS: &[Mutator<Plan, Sent>] = &[
    accepted("ok-tdx", HCL, "nothing changed", Before(|_| ())),
    accepted(
        "padded",
        HCL,
        "zeros behind the claims, as the NV index has them",
        After(|sent| sent.edit("hcl", |hcl| hcl.extend([0; 100]))),
    ),
    refused(
        "length",
        HCL,
        "more bytes than are read",
        (Code::AzureFormat, "Length"),
        After(|sent| sent.edit("hcl", |hcl| hcl.resize(16_385, 0))),
    ),
    refused(
        "truncated",
        HCL,
        "it ends in the header",
        (Code::AzureFormat, "Truncated"),
        After(|sent| sent.edit("hcl", |hcl| hcl.truncate(14))),
    ),
    refused(
        "magic",
        HCL,
        "it does not start with HCLA",
        (Code::AzureFormat, "Magic"),
        After(|sent| put(sent, 0, b"X")),
    ),
    refused("field", HCL, "version 3", (Code::AzureFormat, "Field"), After(|sent| put(sent, 4, &[3]))),
    refused(
        "hash-type",
        HCL,
        "the claims are bound by SHA-384",
        (Code::AzureFormat, "HashType"),
        Before(|plan| plan.hash_type = 2),
    ),
    refused(
        "claim-size",
        HCL,
        "the claims are longer than the report",
        (Code::AzureFormat, "ClaimSize"),
        After(|sent| put(sent, 0x4D0, &[0xFF; 4])),
    ),
    refused(
        "padding",
        HCL,
        "a byte behind the claims is not zero",
        (Code::AzureFormat, "Padding"),
        After(|sent| sent.edit("hcl", |hcl| hcl.push(1))),
    ),
    refused(
        "json",
        CLAIMS,
        "the claims have no settings",
        (Code::AzureFormat, "Json"),
        Before(|plan| plan.claims["vm-configuration"] = Value::Null),
    ),
    refused(
        "key-missing",
        CLAIMS,
        "no key is called HCLAkPub",
        (Code::AzureKey, "KeyMissing"),
        Before(|plan| plan.claims["keys"][0]["kid"] = "HCLEkPub".into()),
    ),
    refused(
        "key",
        CLAIMS,
        "the attestation key is no RSA key",
        (Code::AzureKey, "Key"),
        Before(|plan| plan.claims["keys"][0]["kty"] = "EC".into()),
    ),
    refused(
        "td-form",
        TD,
        "a hash in the TD report is wrong",
        (Code::AzureFormat, "TdForm"),
        After(|sent| put(sent, 0x20 + 32, &[0])),
    ),
    refused(
        "td-mismatch",
        TD,
        "the quote is of another trust domain",
        (Code::AzureTd, "TdMismatch"),
        After(|sent| sent.edit("td-body", |body| body.iter_mut().skip(136).take(1).for_each(|byte| *byte ^= 1))),
    ),
    refused(
        "hardware",
        TD,
        "a TDX machine where an SNP one is wanted",
        (Code::AzureTd, "Hardware"),
        Before(|plan| plan.sent.set("want.tee", "snp")),
    ),
    refused(
        "binding",
        CLAIMS,
        "the report binds other claims",
        (Code::AzureBinding, "Binding"),
        Before(|plan| plan.bound = false),
    ),
    refused(
        "quote",
        CLAIMS,
        "another key than the claims' signed the quote",
        (Code::TpmSignature, "Quote.Signature"),
        Before(|plan| plan.tpm.signer = super::keys::KeyName("signer", super::keys::Kind::Pkcs1)),
    ),
    refused(
        "nonce",
        CLAIMS,
        "the quote is of another session",
        (Code::TpmNonce, "Quote.Nonce"),
        Before(|plan| plan.tpm.nonce = b"another".to_vec()),
    ),
    refused(
        "secure-boot",
        CLAIMS,
        "Secure Boot is off",
        (Code::AzureVm, "Setting"),
        Before(|plan| plan.claims["vm-configuration"]["secure-boot"] = false.into()),
    ),
    refused(
        "console",
        CLAIMS,
        "a console is attached",
        (Code::AzureVm, "Setting"),
        Before(|plan| plan.claims["vm-configuration"]["console-enabled"] = true.into()),
    ),
    refused(
        "user-data",
        CLAIMS,
        "other user data",
        (Code::ReportData, "UserData"),
        Before(|plan| plan.sent.set("want.user-data", [1; 64])),
    ),
    refused(
        "measurement",
        TD,
        "another launch measurement",
        (Code::Measurement, "Measurement"),
        Before(|plan| plan.sent.set("want.mrtd", [1; 48])),
    ),
];

/// Every mutator on an SNP machine.
pub const MUTATORS_SNP: &[Mutator<Plan, Sent>] = &[
    accepted("ok-snp", HCL, "nothing changed", Before(|_| ())),
    refused(
        "snp-production",
        HCL,
        "the forged root, to production",
        (Code::SnpRoot, "Snp.RootNotPinned"),
        Before(|plan| plan.sent.set("anchor", "production")),
    ),
    refused(
        "snp-signature",
        HCL,
        "the SNP report is changed",
        (Code::SnpSignature, "Snp.Signature"),
        After(|sent| put(sent, 0x20 + 0x90, &[0])),
    ),
    refused(
        "snp-debug",
        HCL,
        "the guest may be debugged",
        (Code::SnpDebug, "Snp.Debug"),
        Before(|plan| plan.snp.iter_mut().for_each(|snp| snp.fields.policy.0 |= 1 << 19)),
    ),
    refused(
        "snp-binding",
        CLAIMS,
        "the report binds other claims",
        (Code::AzureBinding, "Binding"),
        Before(|plan| plan.bound = false),
    ),
];

impl Forge {
    fn azure_plan(&self) -> Result<Plan> {
        let tpm = self.tpm_plan()?;
        let mut sent = Sent::new("azure");
        sent.fields.clone_from(&tpm.sent.fields);
        sent.set("want.tee", "tdx");
        let body = self.intel_plan(Model::Tdx4)?.quote.body;
        sent.set("want.mrtd", body.get(136..184).ok_or("no measurement")?);
        let claims = json!({
            "keys": [{
                "e": "AQAB",
                "key_ops": ["sign"],
                "kid": "HCLAkPub",
                "kty": "RSA",
                "n": URL_SAFE_NO_PAD.encode(self.keys.modulus(tpm::KEY)?),
            }],
            "user-data": "00".repeat(64),
            "vm-configuration": { "console-enabled": false, "secure-boot": true, "tpm-enabled": true, "vmUniqueId": "forged" },
        });
        Ok(Plan { tpm, snp: None, body, claims, bound: true, hash_type: 1, sent })
    }

    fn azure_plan_snp(&self) -> Result<Plan> {
        let mut plan = self.azure_plan()?;
        let snp = self.amd_plan(amd::BASE)?;
        plan.sent.set("want.tee", "snp");
        plan.sent.remove("want.mrtd");
        plan.sent.set("crl-policy", "absent-ok");
        for name in ["anchor", "anchor-product"] {
            plan.sent.set(name, snp.rest.settings.get(name).ok_or("no anchor")?);
        }
        plan.snp = Some(snp);
        Ok(plan)
    }

    fn azure_make(&self, plan: &Plan) -> Result<Sent> {
        let claims = claims::json::canonical(&plan.claims)?;
        let mut report_data = digest(&SHA256, &claims).as_ref().to_vec();
        report_data.resize(64, 0);
        if !plan.bound {
            report_data = vec![5; 64];
        }
        let mut sent = plan.sent.clone();
        let hardware = match &plan.snp {
            None => {
                let mut body = plan.body.clone();
                super::intel::put(&mut body, 520, &report_data);
                let report = td_report(&body)?;
                sent.add("td-body", body);
                report
            }
            Some(snp) => {
                let mut snp = snp.clone();
                snp.fields.report_data = ReportData::from_slice(&report_data).ok_or("no report data")?;
                let made = self.amd_make(&snp)?;
                for (name, bytes) in [("vek", made.vek), ("intermediate", made.intermediate), ("root", made.root)] {
                    sent.add(name, bytes);
                }
                made.report
            }
        };
        let length = u32::try_from(claims.len())?;
        let mut hcl = b"HCLA".to_vec();
        let end = 0x4D4 + length;
        for word in [2, end, 2, 0, 0, 0, 0] {
            hcl.extend(word.to_le_bytes());
        }
        hcl.extend(hardware);
        hcl.resize(0x4C0, 0);
        let kind = if plan.snp.is_some() { 2u32 } else { 4 };
        for word in [length + 20, 1, kind, plan.hash_type, length] {
            hcl.extend(word.to_le_bytes());
        }
        hcl.extend(claims);
        let (message, signature) = self.tpm_quote(&plan.tpm)?;
        sent.add("hcl", hcl);
        sent.add("quote", message);
        sent.add("signature", signature);
        plan.tpm.pcrs.iter().for_each(|value| sent.add("pcr", value));
        Ok(sent)
    }

    /// Every vector of Azure confidential VMs.
    pub fn azure_vectors(&self) -> Result<Vec<TextVector>> {
        let mut vectors = self.spoil(MUTATORS, Self::azure_plan, Self::azure_make)?;
        vectors.extend(self.spoil(MUTATORS_SNP, Self::azure_plan_snp, Self::azure_make)?);
        Ok(vectors)
    }
}

/// A TD report with the fields of a quote's body (Intel TDX module 1.5 ABI, `TDREPORT_STRUCT`); its MAC is zero.
fn td_report(body: &[u8]) -> Result<Vec<u8>> {
    let mut report = vec![0; 1024];
    let part = |range: std::ops::Range<usize>| body.get(range).ok_or("the body is short");
    super::intel::put(&mut report, 0, &[0x81]);
    super::intel::put(&mut report, 128, part(520..584)?);
    super::intel::put(&mut report, 264, part(0..120)?);
    super::intel::put(&mut report, 512, part(120..520)?);
    let hashes =
        [(32, 256..495), (80, 512..1024)].map(|(at, range)| (at, report.get(range).map(|part| digest(&SHA384, part))));
    for (at, hash) in hashes {
        super::intel::put(&mut report, at, hash.ok_or("the report is short")?.as_ref());
    }
    Ok(report)
}

fn put(sent: &mut Sent, at: usize, bytes: &[u8]) {
    sent.edit("hcl", |hcl| super::intel::put(hcl, at, bytes));
}

const HCL: &str = "OpenHCL, igvm attestation report (HCLA), versions 1 and 2";
const CLAIMS: &str = "Azure confidential VM guest attestation, runtime claims";
const TD: &str = "Intel TDX module 1.5 ABI, TDREPORT_STRUCT";
