//! What a session stands for, as things that can be revoked; asked in the transaction of every decision.
//!
//! *Takes* sessions made by `http/attest`, whose claims a verifier vouched for.
//! *Guarantees* that a session is found revoked as soon as the revocation is written, however old the session is.
//! *Does not check* what a guest keeps of secrets that it was given before.

use crate::path::ResourcePath;
use crate::store::StoreError;
use crate::store::db::Connection;
use crate::store::revocations::{self, Revoked, What};
use crate::store::rules::{self, Rule};
use crate::token::Session;
use claims::HostData;
use claims::site::Site;
use serde_json::Value;

/// Where evidence of each kind says which image runs.
const IMAGES: [&str; 6] =
    ["/measurement", "/measurement_hex", "/quote/body/mr_td", "/body/mr_enclave", "/mr_td", "/policy_sha256"];
/// Where it names the processor or the device.
const CHIPS: [&str; 3] = ["/chip_id", "/ppid", "/device_id"];
const EVIDENCE: &str = "ear.veraison.annotated-evidence";

/// The revocation that a session falls under, where there is one.
pub(crate) fn of_session(connection: &Connection, session: &Session) -> Result<Option<Revoked>, StoreError> {
    if !revocations::any(connection)? {
        return Ok(None);
    }
    let mut things = of_evidence(&session.ear);
    things.extend(session.rule.map(|rule| (What::Rule, rule.to_string())));
    things.extend(session.appraised_by.iter().map(|policy| (What::Policy, policy.clone())));
    if let Some(revoked) = revocations::first(connection, &things)? {
        return Ok(Some(revoked));
    }
    of_site_names(connection, session)
}

/// The revocation of a resource: of its path, or of a prefix.
pub(crate) fn of_resource(connection: &Connection, path: &ResourcePath) -> Result<Option<Revoked>, StoreError> {
    let text = path.as_str();
    let ends = text.match_indices('/').map(|(end, _)| end).chain([text.len()]);
    let things: Vec<_> = ends.filter_map(|end| Some((What::Key, text.get(..end)?.to_owned()))).collect();
    revocations::first(connection, &things)
}

/// The rules that are in force.
pub(crate) fn unrevoked(connection: &Connection, rules: Vec<Rule>) -> Result<Vec<Rule>, StoreError> {
    if !revocations::any(connection)? {
        return Ok(rules);
    }
    let mut kept = Vec::new();
    for rule in rules {
        if revocations::find(connection, What::Rule, &rule.id.to_string())?.is_none() {
            kept.push(rule);
        }
    }
    Ok(kept)
}

/// What a guest is told. The reason is the administrator's: it is in the decision.
pub(crate) fn words(what: What) -> &'static str {
    match what {
        What::Image => "this image is revoked",
        What::Site => "this site is revoked",
        What::Chip => "this processor or device is revoked",
        What::Key => "this resource is revoked",
        What::Policy => "the policy that affirmed this guest is revoked",
        What::Rule => "the release rule for this guest is revoked",
    }
}

/// Images, sites and chips in the evidence of an attestation result.
fn of_evidence(ear: &Value) -> Vec<(What, String)> {
    let mut things = Vec::new();
    for submod in ear.get("submods").and_then(Value::as_object).into_iter().flat_map(|submods| submods.values()) {
        let Some(evidence) = submod.get(EVIDENCE).and_then(Value::as_object) else { continue };
        let mut add = |what, value: Option<&Value>| {
            things.extend(value.and_then(Value::as_str).map(|text| (what, text.to_ascii_lowercase())));
        };
        add(What::Site, evidence.get("init_data"));
        for claims in evidence.values().filter(|claims| claims.is_object()) {
            IMAGES.iter().for_each(|pointer| add(What::Image, claims.pointer(pointer)));
            CHIPS.iter().for_each(|pointer| add(What::Chip, claims.pointer(pointer)));
        }
    }
    things
}

/// A site is also known by its name: as its rules call it, and its `site.json`, where that is known.
fn of_site_names(connection: &Connection, session: &Session) -> Result<Option<Revoked>, StoreError> {
    let Some(claims) = &session.claims else { return Ok(None) };
    let names = site_names(connection, &claims.host_data)?;
    revocations::first(connection, &names.into_iter().map(|name| (What::Site, name)).collect::<Vec<_>>())
}

fn site_names(connection: &Connection, host_data: &HostData) -> Result<Vec<String>, StoreError> {
    let mut names: Vec<String> =
        rules::of_host_data(connection, host_data)?.into_iter().map(|rule| rule.reference.site).collect();
    let text = rules::site(connection, host_data)?;
    names.extend(text.and_then(|text| Site::parse(text.as_bytes()).ok()).map(|site| site.site));
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_evidence_names_what_can_be_revoked() {
        let ear = |evidence: Value| json!({"submods": {"cpu0": {EVIDENCE: evidence}}});
        let found = |evidence: Value| of_evidence(&ear(evidence));
        let pair = |what, text: &str| (what, text.to_owned());
        let snp = json!({"snp": {"measurement": "AA", "chip_id": "bb"}, "init_data": "cc", "report_data": "dd"});
        assert_eq!(found(snp), [pair(What::Site, "cc"), pair(What::Image, "aa"), pair(What::Chip, "bb")]);
        let tdx = json!({"tdx": {"quote": {"body": {"mr_td": "aa"}}, "ppid": "bb"}});
        assert_eq!(found(tdx), [pair(What::Image, "aa"), pair(What::Chip, "bb")]);
        assert_eq!(found(json!({"sgx": {"body": {"mr_enclave": "aa"}}})), [pair(What::Image, "aa")]);
        assert_eq!(found(json!({"aci": {"policy_sha256": "aa"}})), [pair(What::Image, "aa")]);
        assert_eq!(found(json!({"nvidia": {"device_id": "aa"}})), [pair(What::Chip, "aa")]);
    }
}
