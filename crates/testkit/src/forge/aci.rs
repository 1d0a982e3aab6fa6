//! The shape of a confidential container group: an SNP report, the host's certificates, the container policy, and the
//! endorsement of the utility VM (COSE_Sign1 with a chain to the root that a `did:x509` names).

use super::Change::{Made as After, Plan as Before};
use super::keys::{KeyName, Kind};
use super::x509::{self, CertificatePlan};
use super::{Forge, Mutator, NOW, Result, Sent, accepted, amd, refused};
use crate::text::TextVector;
use attest::snp::encode_tcb;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ciborium::Value;
use claims::{Code, HostData};
use coset::iana;
use coset::{CoseSign1Builder, HeaderBuilder, TaggedCborSerializable};
use serde_json::json;
use x509_cert::der::Encode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::ExtendedKeyUsage;

/// Evidence before it is signed.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) snp: amd::Plan,
    pub(super) root: CertificatePlan,
    pub(super) authority: CertificatePlan,
    pub(super) leaf: CertificatePlan,
    pub(super) algorithm: iana::Algorithm,
    pub(super) critical: bool,
    pub(super) issuer: Option<String>,
    pub(super) feed: &'static str,
    pub(super) signed_at: u64,
    pub(super) svn: &'static str,
    pub(super) measurement: Option<[u8; 48]>,
    pub(super) thumbprint: Option<[u8; 32]>,
    pub(super) signer: KeyName,
    pub(super) policy: Vec<u8>,
    pub(super) tcb: Option<u64>,
    pub(super) sent: Sent,
}

/// Every mutator.
pub const MUTATORS: &[Mutator<Plan, Sent>] = &[
    accepted("ok", UVM, "nothing changed", Before(|_| ())),
    refused(
        "file",
        FILES,
        "the host's certificates are no JSON",
        (Code::AciFormat, "File"),
        After(|sent| sent.set("host-amd-cert-base64", "e30=")),
    ),
    refused(
        "cose",
        COSE,
        "the endorsement is cut short",
        (Code::AciFormat, "Cose"),
        After(|sent| edit(sent, |cose| cose.truncate(cose.len() / 2))),
    ),
    refused(
        "critical",
        COSE,
        "a critical header that nobody understands",
        (Code::AciFormat, "Critical"),
        Before(|plan| plan.critical = true),
    ),
    refused(
        "algorithm",
        COSE,
        "an algorithm that is not taken",
        (Code::AciFormat, "Algorithm"),
        Before(|plan| plan.algorithm = iana::Algorithm::ES512),
    ),
    refused(
        "did",
        UVM,
        "the wanted issuer is no did:x509",
        (Code::AciFormat, "Did"),
        Before(|plan| plan.sent.set("want.issuer", "did:web:issuer.example")),
    ),
    refused(
        "issuer",
        UVM,
        "another issuer than wanted",
        (Code::AciIssuer, "Issuer"),
        Before(|plan| plan.issuer = Some("did:x509:0:sha256:AAAA::eku:1.2.3".to_owned())),
    ),
    refused(
        "root",
        UVM,
        "the chain ends at another root than the issuer's",
        (Code::AciChain, "Root"),
        Before(|plan| plan.root.serial = 99),
    ),
    refused(
        "chain",
        UVM,
        "the leaf is not signed by the authority",
        (Code::AciChain, "Chain"),
        Before(|plan| plan.leaf.signer = ROOT),
    ),
    refused(
        "purpose",
        UVM,
        "the leaf is for another purpose",
        (Code::AciChain, "Chain"),
        Before(|plan| plan.leaf.extensions.retain(|(oid, ..)| *oid != PURPOSE)),
    ),
    refused(
        "thumbprint",
        COSE,
        "the thumbprint of another leaf",
        (Code::AciChain, "Thumbprint"),
        Before(|plan| plan.thumbprint = Some([1; 32])),
    ),
    refused(
        "future",
        UVM,
        "signed after the verification time",
        (Code::AciChain, "Future"),
        Before(|plan| plan.signed_at = NOW + 1),
    ),
    refused(
        "signature",
        COSE,
        "another key signed the endorsement",
        (Code::AciSignature, "Signature"),
        Before(|plan| plan.signer = ROOT),
    ),
    refused(
        "production",
        FILES,
        "the forged root, to production",
        (Code::SnpRoot, "Snp.RootNotPinned"),
        Before(|plan| plan.sent.set("anchor", "production")),
    ),
    refused(
        "snp-debug",
        FILES,
        "the guest may be debugged",
        (Code::SnpDebug, "Snp.Debug"),
        Before(|plan| plan.snp.fields.policy.0 |= 1 << 19),
    ),
    refused(
        "tcb",
        FILES,
        "the host's certificates are for another TCB",
        (Code::AciTcb, "Tcb"),
        Before(|plan| plan.tcb = Some(1)),
    ),
    refused(
        "measurement",
        UVM,
        "the endorsement is for another utility VM",
        (Code::AciMeasurement, "Measurement"),
        Before(|plan| plan.measurement = Some([1; 48])),
    ),
    refused(
        "policy-digest",
        FILES,
        "another policy than HOST_DATA's",
        (Code::AciPolicy, "PolicyDigest"),
        After(|sent| sent.set("security-policy-base64", "e30=")),
    ),
    refused(
        "policy",
        FILES,
        "a policy that the rule does not list",
        (Code::AciPolicy, "Policy"),
        Before(|plan| plan.sent.set("want.policy", [1; 32])),
    ),
    refused(
        "feed",
        UVM,
        "another feed",
        (Code::AciIssuer, "Feed"),
        Before(|plan| plan.feed = "ContainerPlat-Other-UVM"),
    ),
    refused("svn", UVM, "an old utility VM", (Code::AciSvn, "Svn"), Before(|plan| plan.svn = "99")),
];

impl Forge {
    fn aci_plan(&self) -> Result<Plan> {
        let policy = b"package policy\n\napi_version := \"0.10.0\"\nframework_version := \"0.2.3\"\n".to_vec();
        let mut snp = self.amd_plan(amd::BASE)?;
        snp.rest.set("crl-policy", "absent-ok");
        let certificate = |serial, subject: &str, issuer: &str, key, signer, extensions| CertificatePlan {
            serial,
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
            valid: (NOW - 86_400 * 365, NOW + 86_400 * 365),
            key,
            signer,
            says: None,
            extensions,
        };
        let purpose = ExtendedKeyUsage(vec![ObjectIdentifier::new(UVM_PURPOSE)?]).to_der()?;
        let mut for_purpose = x509::signer()?;
        for_purpose.push((PURPOSE, false, purpose));
        let root = certificate(1, ROOT_NAME, ROOT_NAME, ROOT, ROOT, x509::authority(None)?);
        let issuer = digest(&SHA256, &root.make(&self.keys)?);
        let mut sent = Sent::new("aci");
        for name in ["anchor", "anchor-product", "crl-policy", "want.report-data"] {
            sent.set(name, snp.rest.settings.get(name).ok_or("no such setting")?);
        }
        sent.set("want.issuer", format!("did:x509:0:sha256:{}::eku:{UVM_PURPOSE}", URL_SAFE_NO_PAD.encode(issuer)));
        sent.set("want.svn", "100");
        sent.set("want.policy", digest(&SHA256, &policy));
        Ok(Plan {
            snp,
            root,
            authority: certificate(2, CA_NAME, ROOT_NAME, CA, ROOT, x509::authority(Some(0))?),
            leaf: certificate(3, "CN=Forged UVM signer", CA_NAME, LEAF, CA, for_purpose),
            algorithm: iana::Algorithm::ES384,
            critical: false,
            issuer: None,
            feed: "ContainerPlat-AMD-UVM",
            signed_at: NOW - 3600,
            svn: "100",
            measurement: None,
            thumbprint: None,
            signer: LEAF,
            policy,
            tcb: None,
            sent,
        })
    }

    fn aci_make(&self, plan: &Plan) -> Result<Sent> {
        let mut snp = plan.snp.clone();
        let host_data = digest(&SHA256, &plan.policy);
        snp.fields.host_data = HostData::from_slice(host_data.as_ref()).ok_or("no digest")?;
        let made = self.amd_make(&snp)?;
        let tcb = plan.tcb.unwrap_or(u64::from_le_bytes(encode_tcb(&snp.fields.reported_tcb)));
        let host = json!({
            "certificateChain": format!("{}{}", x509::pem(&made.intermediate)?, x509::pem(&made.root)?),
            "tcbm": format!("{tcb:016X}"),
            "vcekCert": x509::pem(&made.vek)?,
        });
        let mut sent = plan.sent.clone();
        sent.add("report", made.report);
        sent.add("host-amd-cert-base64", STANDARD.encode(claims::json::canonical(&host)?));
        sent.add("security-policy-base64", STANDARD.encode(&plan.policy));
        let measurement = plan.measurement.unwrap_or(*snp.fields.measurement.as_bytes());
        sent.add("reference-info-base64", STANDARD.encode(self.uvm(plan, &measurement)?));
        Ok(sent)
    }

    /// The endorsement of a utility VM, in the older form.
    fn uvm(&self, plan: &Plan, measurement: &[u8; 48]) -> Result<Vec<u8>> {
        let payload = json!({
            "x-ms-sevsnpvm-guestsvn": plan.svn,
            "x-ms-sevsnpvm-launchmeasurement": hex::encode(measurement),
        });
        let chain = [&plan.leaf, &plan.authority, &plan.root].map(|plan| plan.make(&self.keys));
        let chain = chain.into_iter().map(|der| der.map(Value::Bytes)).collect::<Result<Vec<_>>>()?;
        let issuer = plan.issuer.as_deref().map_or_else(
            || plan.sent.fields.iter().find(|(name, _)| *name == "want.issuer").map(|(_, value)| value.as_slice()),
            |issuer| Some(issuer.as_bytes()),
        );
        let issuer = String::from_utf8(issuer.unwrap_or_default().to_vec())?;
        let mut header = HeaderBuilder::new()
            .algorithm(plan.algorithm)
            .value(33, Value::Array(chain))
            .text_value("iss".to_owned(), Value::Text(issuer))
            .text_value("feed".to_owned(), Value::Text(plan.feed.to_owned()))
            .text_value("signingtime".to_owned(), Value::Tag(1, Box::new(plan.signed_at.into())));
        if let Some(thumbprint) = plan.thumbprint {
            header = header.value(34, Value::Array(vec![(-16).into(), Value::Bytes(thumbprint.to_vec())]));
        }
        if plan.critical {
            header = header.add_critical(iana::HeaderParameter::Iv);
        }
        let mut failed = None;
        let signed = CoseSign1Builder::new()
            .protected(header.build())
            .payload(claims::json::canonical(&payload)?)
            .create_signature(&[], |message| {
                self.keys.sign_fixed(plan.signer, message).unwrap_or_else(|error| {
                    failed = Some(error);
                    Vec::new()
                })
            })
            .build();
        match failed {
            Some(error) => Err(error),
            None => Ok(signed.to_tagged_vec().map_err(|error| error.to_string())?),
        }
    }

    /// Every vector of container groups.
    pub fn aci_vectors(&self) -> Result<Vec<TextVector>> {
        self.spoil(MUTATORS, Self::aci_plan, Self::aci_make)
    }
}

/// Changes the endorsement under its base64.
fn edit(sent: &mut Sent, change: fn(&mut Vec<u8>)) {
    sent.edit("reference-info-base64", |text| {
        let mut cose = STANDARD.decode(&text).unwrap_or_default();
        change(&mut cose);
        *text = STANDARD.encode(cose).into_bytes();
    });
}

const ROOT_NAME: &str = "CN=Forged UVM root";
const CA_NAME: &str = "CN=Forged UVM CA";
const ROOT: KeyName = KeyName("uvm root", Kind::P384);
const CA: KeyName = KeyName("uvm ca", Kind::P384);
const LEAF: KeyName = KeyName("uvm leaf", Kind::P384);
/// Extended key usage.
const PURPOSE: &str = "2.5.29.37";
/// Microsoft's purpose of utility VM signers.
const UVM_PURPOSE: &str = "1.3.6.1.4.1.311.76.59.1.2";
const COSE: &str = "RFC 9052, sections 3.1 and 4.2";
const UVM: &str = "microsoft/hcsshim, UVM endorsements; did:x509 method specification";
const FILES: &str = "microsoft/hcsshim, security context folder";
