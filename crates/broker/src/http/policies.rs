//! Policies and reference values, as the command line and upstream's tools set them.
//!
//! A policy is compiled and its own cases are run before anything is written; a change is in force when it is answered.

use super::admin::Change;
use super::gate::{Admin, Scope};
use super::protocol::strict;
use super::refusal::Refusal;
use super::{Answer, Call, Table, json};
use crate::app::App;
use crate::policy::Mode;
use crate::rego::snapshot::{CLASSES, Policy};
use crate::rego::{RegoError, Use, cases, shipped};
use crate::store::audit::Kind;
use crate::store::policies::{self, Stored};
use crate::store::revocations::{self, Revoked};
use crate::try_out;
use crate::verify;
use axum::http::StatusCode;
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use claims::Code;
use serde::Deserialize;
use serde_json::{Value, json as object};
use std::sync::Arc;

/// Name of the policy that upstream's only endpoint for release policies sets: for every path.
const UPSTREAM: &str = "resource-policy";

pub(crate) fn register(table: Table) -> Table {
    table
        .guarded(Scope::Change, "POST", "/kbs/v0/attestation-policy", set_attestation)
        .guarded(Scope::Change, "POST", "/kbs/v0/resource-policy", set_resource)
        .guarded(Scope::Look, "GET", "/kbs/v0/resource-policy", get_resource)
        .guarded(Scope::Look, "GET", "/confide/v0/policies", list)
        .guarded(Scope::Look, "POST", "/confide/v0/policies/try", try_policy)
        .guarded(Scope::Change, "POST", "/confide/v0/policies/{id}", set)
        .guarded(Scope::Look, "GET", "/confide/v0/policies/{id}", show)
        .guarded(Scope::Look, "GET", "/confide/v0/policies/confide/{id}", show_shipped)
        .guarded(Scope::Change, "DELETE", "/confide/v0/policies/{id}", remove)
}

/// A policy as the command line sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    #[serde(default = "release")]
    r#use: Use,
    #[serde(default)]
    r#for: String,
    /// Text of the policy; none takes that of `version`.
    #[serde(default)]
    policy: Option<String>,
    /// Version to go back to.
    #[serde(default)]
    version: Option<u64>,
    /// Check only.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
struct UpstreamPolicy {
    #[serde(default)]
    policy_id: Option<String>,
    policy: String,
}

fn release() -> Use {
    Use::Release
}

/// `POST /confide/v0/policies/NAME`: a new version, or an older one again.
async fn set(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let proposal: Proposal = strict(&call.body)?;
    let name = checked_name(&call.rest)?.to_owned();
    let (used_for, prefix, body) = match (proposal.policy, proposal.version) {
        (Some(body), None) => (proposal.r#use, proposal.r#for, body),
        (None, Some(version)) => {
            let wanted = name.clone();
            let old = app.store.read(move |connection| policies::version(connection, &wanted, version)).await?;
            let old = old.ok_or_else(|| Refusal::of(Code::Absent, "there is no such version of the policy"))?;
            (old.used_for, old.prefix, old.body)
        }
        _ => return Err(Refusal::of(Code::Format, "either `policy` or `version` is wanted")),
    };
    let stored = Stored { name, version: 0, used_for, prefix, added: app.clock.now().0, body };
    activate(&app, &admin, &call, stored, proposal.dry_run).await
}

/// Upstream's endpoint for appraisal policies. `default` is what older tools call `default_cpu`.
async fn set_attestation(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let sent: UpstreamPolicy = strict(&call.body)?;
    let name = match sent.policy_id.as_deref().unwrap_or("default") {
        "default" => "default_cpu".to_owned(),
        name => name.to_owned(),
    };
    upstream(&app, &admin, &call, name, Use::Appraisal, &sent.policy).await
}

async fn set_resource(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let sent: UpstreamPolicy = strict(&call.body)?;
    upstream(&app, &admin, &call, UPSTREAM.to_owned(), Use::Release, &sent.policy).await
}

async fn upstream(app: &Arc<App>, admin: &Admin, call: &Call, name: String, used_for: Use, text: &str) -> Answer {
    let body = decode(text).and_then(|bytes| String::from_utf8(bytes).ok());
    let body = body.ok_or_else(|| Refusal::of(Code::Format, "`policy` is not base64 of a text"))?;
    let stored = Stored { name, version: 0, used_for, prefix: String::new(), added: 0, body };
    activate(app, admin, call, stored, false).await?;
    Ok(super::admin::empty())
}

/// What older servers answered: the text in base64url.
async fn get_resource(app: Arc<App>, _: Admin, _: Call) -> Answer {
    let stored = app.store.read(|connection| policies::in_force(connection, UPSTREAM)).await?;
    json(StatusCode::OK, &URL_SAFE_NO_PAD.encode(stored.ok_or_else(absent)?.body))
}

/// Checks a policy, then writes it down as a version and puts it into force.
async fn activate(app: &Arc<App>, admin: &Admin, call: &Call, stored: Stored, dry_run: bool) -> Answer {
    check_place(&stored)?;
    let policy = compiled(&stored)?;
    let (used_for, checked) = (stored.used_for, policy.clone());
    let cases = tokio::task::spawn_blocking(move || cases::run(&checked, used_for)).await;
    let (count, failed) = cases.map_err(|_| unusable(&policy_panicked()))?.map_err(|error| unusable(&error))?;
    if let Some(first) = failed.first() {
        let detail = format!("case `{}`: got {}, wanted {}", first.name, first.got, first.wanted);
        return Err(Refusal::of(Code::PolicyCases, "a case of the policy fails").explained(detail));
    }
    let (name, body) = (stored.name.clone(), stored.body.clone());
    let revoked = app.store.read(move |connection| revocations::of_text(connection, &name, &body)).await?;
    if let Some(revoked) = revoked {
        return Err(revoked_version(&revoked));
    }
    let mut version = None;
    if !dry_run {
        let (log, now) = (Arc::clone(&app.store.audit), app.clock.now());
        let (name, peer, kept) = (admin.name().to_owned(), call.peer.to_string(), stored.clone());
        let digest = policy.program.digest().to_string();
        let written = app
            .store
            .write(move |connection| {
                if let Some(revoked) = revocations::of_text(connection, &kept.name, &kept.body)? {
                    return Ok(Err(revoked));
                }
                let (used_for, body) = (kept.used_for, &kept.body);
                let version = policies::set(connection, &kept.name, used_for, &kept.prefix, body, now)?;
                let object = format!("{} {} for `{}`, {digest}", used_for.name(), kept.name, kept.prefix);
                let version_of = Some(version);
                let action = "set policy";
                let facts = Change { admin: &name, peer, action, object: &object, version: version_of, changed: true };
                log.append(connection, now, Kind::Admin, "", &facts)?;
                Ok(Ok(version))
            })
            .await?;
        version = Some(written.map_err(|revoked| revoked_version(&revoked))?);
        app.policies.reload(&app.store, now).await?;
    }
    json(
        StatusCode::OK,
        &object!({"name": stored.name, "use": stored.used_for, "for": stored.prefix, "version": version,
            "digest": policy.program.digest(), "rego": policy.program.version, "path": policy.path_form,
            "cases": count}),
    )
}

async fn list(app: Arc<App>, _: Admin, _: Call) -> Answer {
    // Of a kind that is not looked at here no evidence gets to its policy.
    let taken = |name: &str| verify::Kind::parse(name).map_or(true, |kind| app.appraiser.takes(kind));
    let current = app.store.read(policies::current).await?;
    let own: Vec<Value> = current.iter().map(summary).collect();
    let shipped: Vec<Value> = shipped::TEXTS
        .iter()
        .filter(|(name, _)| *name != "none" && taken(name))
        .map(|(name, text)| {
            object!({"name": format!("confide/{name}"), "digest": claims::Digest256::of(text.as_bytes()),
                "use": Use::Appraisal})
        })
        .collect();
    json(StatusCode::OK, &object!({"policies": own, "shipped": shipped}))
}

/// A policy with its versions; `?version=N` for the text of one.
async fn show(app: Arc<App>, _: Admin, call: Call) -> Answer {
    let name = checked_name(&call.rest)?.to_owned();
    let number = super::confide::number(&call.query, "version")?;
    let (versions, current) = app
        .store
        .read(move |connection| Ok((policies::versions(connection, &name)?, policies::in_force(connection, &name)?)))
        .await?;
    let wanted = number.or(current.as_ref().map(|stored| stored.version)).or(versions.first().map(|one| one.version));
    let shown = versions.iter().find(|stored| Some(stored.version) == wanted).ok_or_else(absent)?;
    let mut value = summary(shown);
    if let Some(members) = value.as_object_mut() {
        members.insert("policy".into(), shown.body.clone().into());
        members.insert("in_force".into(), object!(current.map(|stored| stored.version)));
        members.insert("versions".into(), versions.iter().map(summary).collect());
    }
    json(StatusCode::OK, &value)
}

/// The text of a policy that comes with the broker.
async fn show_shipped(_: Arc<App>, _: Admin, call: Call) -> Answer {
    let text = shipped::TEXTS.iter().find(|(known, _)| *known == call.rest).ok_or_else(absent)?.1;
    let name = format!("confide/{}", call.rest);
    json(StatusCode::OK, &object!({"name": name, "use": Use::Appraisal, "policy": text}))
}

async fn remove(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let name = checked_name(&call.rest)?.to_owned();
    let (log, now) = (Arc::clone(&app.store.audit), app.clock.now());
    let removed = app
        .store
        .write(move |connection| {
            let removed = policies::remove(connection, &name)?;
            let (action, peer) = ("remove policy", call.peer.to_string());
            let facts = Change { admin: admin.name(), peer, action, object: &name, version: None, changed: removed };
            log.append(connection, now, Kind::Admin, "", &facts)?;
            Ok(removed)
        })
        .await?;
    app.policies.reload(&app.store, now).await?;
    if removed { json(StatusCode::OK, &object!({"removed": true})) } else { Err(absent()) }
}

/// `POST /confide/v0/policies/try`: which recorded decisions a proposed policy would flip. Writes nothing.
async fn try_policy(app: Arc<App>, _: Admin, call: Call) -> Answer {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Trial {
        name: String,
        #[serde(default)]
        r#for: String,
        policy: String,
    }
    let trial: Trial = strict(&call.body)?;
    let name = checked_name(&trial.name)?.to_owned();
    let stored = Stored { name, version: 0, used_for: Use::Release, prefix: trial.r#for, added: 0, body: trial.policy };
    check_place(&stored)?;
    let policy = compiled(&stored)?;
    let snapshot = app.policies.now(&app.store, app.clock.now()).await?;
    let development = app.mode == Mode::Development;
    let mode = if development { Mode::Development } else { Mode::Production };
    let report =
        app.store.read(move |connection| try_out::replay(connection, mode, &snapshot, Arc::new(policy))).await?;
    json(StatusCode::OK, &report)
}

fn compiled(stored: &Stored) -> Result<Policy, Refusal> {
    Policy::compile(stored).map_err(|error| unusable(&error))
}

fn unusable(error: &RegoError) -> Refusal {
    Refusal::of(error.code(), "the policy cannot be used").explained(error.to_string())
}

fn policy_panicked() -> RegoError {
    RegoError::Evaluation("the engine failed".into())
}

fn revoked_version(revoked: &Revoked) -> Refusal {
    let detail = format!("{}: {}", revoked.subject, revoked.reason);
    Refusal::of(Code::Revoked, "this version of the policy is revoked").explained(detail)
}

fn absent() -> Refusal {
    Refusal::of(Code::Absent, "there is no such policy")
}

/// A release policy is for a prefix of paths, an appraisal policy for a class, which its name says.
fn check_place(stored: &Stored) -> Result<(), Refusal> {
    checked_name(&stored.name)?;
    match stored.used_for {
        Use::Release => {
            let segments: Vec<&str> = stored.prefix.split('/').collect();
            let padded = match segments.as_slice() {
                [""] => "a/a/a".to_owned(),
                [one] => format!("{one}/a/a"),
                [one, two] => format!("{one}/{two}/a"),
                _ => stored.prefix.clone(),
            };
            crate::path::ResourcePath::parse(&padded)
                .map(drop)
                .map_err(|code| Refusal::of(code, "a policy is for REPOSITORY[/TYPE[/TAG]], or for every path"))
        }
        Use::Appraisal => {
            let class = stored.name.rsplit_once('_').map(|(_, class)| class);
            if class.is_some_and(|class| CLASSES.contains(&class)) && stored.prefix.is_empty() {
                return Ok(());
            }
            // One that no evidence is ever given to would be believed to protect.
            Err(Refusal::of(
                Code::Policy,
                "an appraisal policy is named default_cpu, default_gpu or default_switch, or SELECTOR_cpu and so on",
            ))
        }
    }
}

pub(crate) fn checked_name(name: &str) -> Result<&str, Refusal> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let good = (1..=128).contains(&name.len()) && name.bytes().all(sound) && !name.starts_with('.') && name != "try";
    if good {
        Ok(name)
    } else {
        Err(Refusal::of(Code::Format, "a policy's name is letters, digits, dash, underscore, dot"))
    }
}

fn summary(stored: &Stored) -> Value {
    object!({"name": stored.name, "use": stored.used_for, "for": stored.prefix, "version": stored.version,
        "added": stored.added, "digest": claims::Digest256::of(stored.body.as_bytes())})
}

/// Either alphabet, with or without padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [&alphabet::URL_SAFE, &alphabet::STANDARD]
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok())
}
