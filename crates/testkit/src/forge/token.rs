//! Tokens of attestation services: results in EAR's form, and in that of Microsoft's service for SNP guests.

use super::Change::{Made as After, Plan as Before};
use super::keys::{KeyName, Kind};
use super::x509::{self, CertificatePlan};
use super::{Forge, Mutator, NOW, Result, Sent, accepted, refused};
use crate::text::TextVector;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use claims::Code;
use serde_json::{Map, Value, json};

/// A token before it is signed.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    pub(super) key: KeyName,
    /// The key set; a certificate is added with `certified`.
    pub(super) jwk: Map<String, Value>,
    pub(super) certified: Option<KeyName>,
    pub(super) sent: Sent,
}

/// Every mutator of an EAR.
pub const MUTATORS: &[Mutator<Plan, Sent>] = &[
    accepted("ok-ear", EAR, "nothing changed", Before(|_| ())),
    accepted(
        "ok-certified",
        JWK,
        "the key's certificate leads to the root",
        Before(|plan| plan.certified = Some(ROOT)),
    ),
    refused(
        "form",
        JWS,
        "two parts only",
        (Code::JwtFormat, "Form"),
        After(|sent| sent.edit("token", |token| token.retain(|byte| *byte != b'.'))),
    ),
    refused(
        "critical",
        JWS,
        "a critical header",
        (Code::JwtAlgorithm, "Critical"),
        Before(|plan| set(&mut plan.header, "crit", json!(["x"]))),
    ),
    refused(
        "algorithm-none",
        JWS,
        "alg none",
        (Code::JwtAlgorithm, "AlgorithmRefused"),
        Before(|plan| set(&mut plan.header, "alg", json!("none"))),
    ),
    refused(
        "algorithm-hmac",
        JWS,
        "HMAC, whose key would be the public key",
        (Code::JwtAlgorithm, "AlgorithmRefused"),
        Before(|plan| set(&mut plan.header, "alg", json!("HS256"))),
    ),
    refused(
        "algorithm-mismatch",
        JWS,
        "another algorithm than the key's",
        (Code::JwtAlgorithm, "AlgorithmMismatch"),
        Before(|plan| set(&mut plan.header, "alg", json!("ES256"))),
    ),
    refused(
        "key-set",
        JWK,
        "a coordinate has the wrong length",
        (Code::JwtKey, "KeySet"),
        Before(|plan| set(&mut plan.jwk, "x", json!("AAAA"))),
    ),
    refused(
        "chain",
        JWK,
        "the key's certificate is another root's",
        (Code::JwtKey, "Chain"),
        Before(|plan| plan.certified = Some(OTHER)),
    ),
    refused(
        "key-unknown",
        JWS,
        "a key that the set does not hold",
        (Code::JwtKey, "KeyUnknown"),
        Before(|plan| set(&mut plan.header, "kid", json!("k2"))),
    ),
    refused("signature", JWS, "another key signed", (Code::JwtSignature, "Signature"), Before(|plan| plan.key = OTHER)),
    refused(
        "expired",
        JWT,
        "verified when it ends",
        (Code::JwtTime, "Expired"),
        Before(|plan| set(&mut plan.claims, "exp", json!(NOW))),
    ),
    refused(
        "not-yet-valid",
        JWT,
        "verified before it begins",
        (Code::JwtTime, "NotYetValid"),
        Before(|plan| set(&mut plan.claims, "nbf", json!(NOW + 1))),
    ),
    refused(
        "no-expiry",
        JWT,
        "it does not say until when",
        (Code::JwtTime, "NoExpiry"),
        Before(|plan| drop(plan.claims.remove("exp"))),
    ),
    refused(
        "issuer",
        JWT,
        "another issuer",
        (Code::JwtIssuer, "Issuer"),
        Before(|plan| set(&mut plan.claims, "iss", json!("https://other.example"))),
    ),
    refused(
        "audience",
        JWT,
        "for somebody else",
        (Code::JwtAudience, "Audience"),
        Before(|plan| set(&mut plan.claims, "aud", json!(["other"]))),
    ),
    refused(
        "claim",
        EAR,
        "no submodules",
        (Code::JwtFormat, "Claim"),
        Before(|plan| drop(plan.claims.remove("submods"))),
    ),
    refused(
        "profile",
        EAR,
        "another profile",
        (Code::JwtClaim, "Differs"),
        Before(|plan| set(&mut plan.claims, "eat_profile", json!("tag:other"))),
    ),
    refused(
        "status",
        EAR,
        "the tier is a warning",
        (Code::JwtStatus, "Differs"),
        Before(|plan| submod(plan, "ear.status", json!("warning"))),
    ),
    refused(
        "status-vector",
        EAR,
        "the status is better than its own trust vector",
        (Code::JwtStatus, "Differs"),
        Before(|plan| submod(plan, "ear.trustworthiness-vector", json!({ "configuration": 96 }))),
    ),
    refused(
        "submod-missing",
        EAR,
        "a submodule is missing",
        (Code::JwtSubmod, "Submod"),
        Before(|plan| plan.sent.set("want.submod", "gpu0")),
    ),
    refused(
        "nonce",
        EAR,
        "the nonce of another session",
        (Code::JwtBinding, "Differs"),
        Before(|plan| set(&mut plan.claims, "eat_nonce", json!("another"))),
    ),
];

/// Every mutator of a token of Microsoft's service.
pub const MUTATORS_MAA: &[Mutator<Plan, Sent>] = &[
    accepted("ok-maa-snp", MAA, "nothing changed", Before(|_| ())),
    refused(
        "maa-type",
        MAA,
        "a token about an enclave",
        (Code::JwtFormat, "Claim"),
        Before(|plan| set(&mut plan.claims, "x-ms-attestation-type", json!("sgx"))),
    ),
    refused(
        "maa-compliance",
        MAA,
        "not a compliant utility VM",
        (Code::JwtClaim, "Differs"),
        Before(|plan| set(&mut plan.claims, "x-ms-compliance-status", json!("none"))),
    ),
    refused(
        "maa-debug",
        MAA,
        "the guest may be debugged",
        (Code::JwtDebug, "Differs"),
        Before(|plan| set(&mut plan.claims, "x-ms-sevsnpvm-is-debuggable", json!(true))),
    ),
    refused(
        "maa-migration",
        MAA,
        "the guest may be migrated",
        (Code::JwtDebug, "Differs"),
        Before(|plan| set(&mut plan.claims, "x-ms-sevsnpvm-migration-allowed", json!(true))),
    ),
    refused(
        "maa-vmpl",
        MAA,
        "VMPL 1",
        (Code::JwtClaim, "Differs"),
        Before(|plan| set(&mut plan.claims, "x-ms-sevsnpvm-vmpl", json!(1))),
    ),
    refused(
        "maa-measurement",
        MAA,
        "another launch measurement",
        (Code::Measurement, "Differs"),
        Before(|plan| plan.sent.set("want.measurement", [1; 48])),
    ),
    refused(
        "maa-host-data",
        MAA,
        "another policy",
        (Code::HostData, "Differs"),
        Before(|plan| plan.sent.set("want.host-data", [1; 32])),
    ),
    refused(
        "maa-binding",
        MAA,
        "report data of another session",
        (Code::JwtBinding, "Differs"),
        Before(|plan| plan.sent.set("want.report-data", [1; 64])),
    ),
];

impl Forge {
    fn token_plan(&self) -> Result<Plan> {
        let point = self.keys.info(KEY)?;
        let point = point.subject_public_key.raw_bytes().get(1..).ok_or("no point")?;
        let (x, y) = point.split_at(48);
        let nonce = hex::encode(self.keys.bytes::<32>("token nonce")?);
        let submod = json!({
            "ear.status": "affirming",
            "ear.trustworthiness-vector": { "configuration": 2, "executables": 3, "hardware": 2 },
        });
        let mut sent = Sent::new("token");
        sent.set("profile", "ear");
        sent.set("want.issuer", ISSUER);
        sent.set("want.audience", "confide");
        sent.set("want.submod", "cpu0");
        sent.set("want.nonce", &nonce);
        let claims = json!({
            "aud": "confide",
            "eat_nonce": nonce,
            "eat_profile": "tag:github.com,2024:confidential-containers/Trustee",
            "exp": NOW + 300,
            "iat": NOW - 10,
            "iss": ISSUER,
            "submods": { "cpu0": submod },
        });
        Ok(Plan {
            header: members(json!({ "alg": "ES384", "kid": "k1", "typ": "JWT" })),
            claims: members(claims),
            key: KEY,
            jwk: members(json!({
                "alg": "ES384",
                "crv": "P-384",
                "kid": "k1",
                "kty": "EC",
                "x": URL_SAFE_NO_PAD.encode(x),
                "y": URL_SAFE_NO_PAD.encode(y),
            })),
            certified: None,
            sent,
        })
    }

    fn token_plan_maa(&self) -> Result<Plan> {
        let mut plan = self.token_plan()?;
        let measurement = self.keys.bytes::<48>("maa measurement")?;
        let host_data = self.keys.bytes::<32>("maa host data")?;
        let report_data = self.keys.bytes::<64>("maa report data")?;
        plan.sent.set("profile", "maa-snp");
        plan.sent.remove("want.submod");
        plan.sent.remove("want.nonce");
        plan.sent.set("want.measurement", measurement);
        plan.sent.set("want.host-data", host_data);
        plan.sent.set("want.report-data", report_data);
        plan.claims = members(json!({
            "aud": "confide",
            "exp": NOW + 300,
            "iss": ISSUER,
            "x-ms-attestation-type": "sevsnpvm",
            "x-ms-compliance-status": "azure-compliant-uvm",
            "x-ms-sevsnpvm-bootloader-svn": 4,
            "x-ms-sevsnpvm-guestsvn": 2,
            "x-ms-sevsnpvm-hostdata": hex::encode(host_data),
            "x-ms-sevsnpvm-is-debuggable": false,
            "x-ms-sevsnpvm-launchmeasurement": hex::encode(measurement),
            "x-ms-sevsnpvm-microcode-svn": 219,
            "x-ms-sevsnpvm-migration-allowed": false,
            "x-ms-sevsnpvm-reportdata": hex::encode(report_data),
            "x-ms-sevsnpvm-snpfw-svn": 24,
            "x-ms-sevsnpvm-tee-svn": 0,
            "x-ms-sevsnpvm-vmpl": 0,
        }));
        Ok(plan)
    }

    fn token_make(&self, plan: &Plan) -> Result<Sent> {
        let part = |members: &Map<String, Value>| -> Result<String> {
            Ok(URL_SAFE_NO_PAD.encode(claims::json::canonical(members)?))
        };
        let message = format!("{}.{}", part(&plan.header)?, part(&plan.claims)?);
        let signature = self.keys.sign_fixed(plan.key, message.as_bytes())?;
        let mut sent = plan.sent.clone();
        let mut jwk = plan.jwk.clone();
        if let Some(issuer) = plan.certified {
            let certificate = |serial, subject: &str, key, signer, extensions| CertificatePlan {
                serial,
                subject: subject.to_owned(),
                issuer: "CN=Token root".to_owned(),
                valid: (NOW - 86_400, NOW + 86_400),
                key,
                signer,
                says: None,
                extensions,
            };
            let leaf = certificate(2, "CN=Token signer", KEY, issuer, x509::signer()?).make(&self.keys)?;
            set(&mut jwk, "x5c", json!([STANDARD.encode(leaf)]));
            sent.add("root", certificate(1, "CN=Token root", ROOT, ROOT, x509::authority(None)?).make(&self.keys)?);
        }
        sent.add("keys", claims::json::canonical(&json!({ "keys": [jwk] }))?);
        sent.add("token", format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)));
        Ok(sent)
    }

    /// Every vector of tokens.
    pub fn token_vectors(&self) -> Result<Vec<TextVector>> {
        let mut vectors = self.spoil(MUTATORS, Self::token_plan, Self::token_make)?;
        vectors.extend(self.spoil(MUTATORS_MAA, Self::token_plan_maa, Self::token_make)?);
        Ok(vectors)
    }
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn set(members: &mut Map<String, Value>, name: &str, value: Value) {
    members.insert(name.to_owned(), value);
}

fn submod(plan: &mut Plan, name: &str, value: Value) {
    if let Some(members) = plan.claims.get_mut("submods").and_then(|submods| submods["cpu0"].as_object_mut()) {
        set(members, name, value);
    }
}

const ISSUER: &str = "https://issuer.example";
const KEY: KeyName = KeyName("token key", Kind::P384);
const OTHER: KeyName = KeyName("token other", Kind::P384);
const ROOT: KeyName = KeyName("token root", Kind::P384);
const JWS: &str = "RFC 7515, sections 4.1 and 7.1";
const JWK: &str = "RFC 7517, sections 4 and 4.7";
const JWT: &str = "RFC 7519, section 4.1";
const EAR: &str = "draft-fv-rats-ear, section 3; draft-ietf-rats-ar4si";
const MAA: &str = "Microsoft Azure Attestation, claim sets";
