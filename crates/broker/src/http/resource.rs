//! `GET /kbs/v0/resource/…`: the only place where a secret leaves.
//!
//! *Takes* a session, by cookie or token, and a path.
//! *Guarantees* that the policy admitted the session's evidence for this path now, that the decision is in the audit
//! log, and that only the attested key reads the answer. Who is not admitted learns nothing about what exists.
//! *Does not check* evidence again: the session ends soon.

use super::gate::bearer;
use super::protocol;
use super::refusal::Refusal;
use super::{Answer, Call, json};
use crate::app::{App, decision_id};
use crate::challenge::session_id;
use crate::clock::after;
use crate::explain::{self, Change};
use crate::jwe::Recipient;
use crate::path::ResourcePath;
use crate::policy::{Decision, Mode, Permit, Question, RuleTrace, combine, decide, unruled};
use crate::rego::release::{self, Opinion, PolicyTrace};
use crate::rego::snapshot::EPOCH;
use crate::revocation::{self, unrevoked};
use crate::store::audit::{Kind, Log};
use crate::store::db::Connection;
use crate::store::revocations::Revoked;
use crate::store::secrets::{self, Sealed, Vault};
use crate::store::{StoreError, leases, rules, sessions};
use crate::token::Session;
use crate::vault::Found;
use axum::http::{HeaderValue, StatusCode};
use claims::{ChipId, Code, Digest256, Secret, UnixTime};
use serde::Serialize;
use serde_json::Value as Json;
use std::sync::Arc;

/// How often a decision is made again when policies change under it.
const ATTEMPTS: usize = 3;

/// A secret that a permit opened.
struct Released(Secret<Vec<u8>>);

impl Released {
    /// Opens what the permit is for; there is no other way to a secret's value.
    fn open(vault: &Vault, permit: &Permit, value: Value) -> Result<Self, StoreError> {
        match value {
            Value::Sealed(sealed) => vault.open(permit.resource(), sealed).map(Self),
            Value::Fetched(found) => Ok(Self(found.value)),
        }
    }
}

/// A value as it is kept.
enum Value {
    /// In the broker's own store.
    Sealed(Sealed),
    /// In Vault: read for a decision that permitted, and released only where the decision that is written down permits.
    Fetched(Found),
}

impl Value {
    fn version(&self) -> Option<u64> {
        match self {
            Self::Sealed(sealed) => Some(sealed.version),
            Self::Fetched(found) => found.version,
        }
    }
}

/// What is known of a value when the decision is written down.
enum Source {
    /// The broker's own store has it, if anybody.
    Store,
    /// Vault has it, and was not asked: no policy would have permitted.
    Unasked,
    /// Vault was asked.
    Vault(Result<Option<Found>, &'static str>),
}

/// How a decision came out.
enum Outcome {
    Refused(Code),
    Absent,
    /// Permitted, but what keeps the value does not give it.
    Unavailable(&'static str),
    Granted(Permit, Value),
}

/// Releases a resource to an attested guest.
pub(crate) async fn fetch(app: Arc<App>, call: Call) -> Answer {
    let resource =
        ResourcePath::parse(&call.rest).map_err(|code| Refusal::of(code, "a resource path is REPOSITORY/TYPE/TAG"))?;
    let version = super::confide::number(&call.query, "version")?;
    let now = app.clock.now();
    let session = Arc::new(session(&app, &call, now).await?);
    app.metrics.policy_evaluations.add();
    let id = decision_id().map_err(|code| Refusal::of(code, "try again later"))?;
    let outcome = decided(&app, &call, &session, &resource, version, &id, now).await;
    let outcome = outcome.inspect_err(|_| app.metrics.policy_errors.add())?;
    let (permit, value) = match outcome {
        Outcome::Granted(permit, value) => (permit, value),
        Outcome::Absent => {
            app.metrics.policy_approvals.add();
            return Err(Refusal::of(Code::Absent, "permitted, but not stored").decided(&id));
        }
        Outcome::Unavailable(problem) => {
            app.metrics.policy_approvals.add();
            tracing::warn!(decision = id, session = session.decision, problem, "permitted, but not to be had");
            return Err(Refusal::of(Code::Store, "what keeps this secret does not give it").decided(&id));
        }
        Outcome::Refused(code) => {
            app.metrics.policy_violations.add();
            tracing::info!(decision = id, session = session.decision, %code, "release refused");
            // Which claim differs would tell whether a rule names the resource. A lease is no such sign: who hears of
            // it meets the rule otherwise.
            let (code, words) = match code {
                Code::Lease => (code, "Access denied by policy"),
                // So it is with a revocation: of what the guest is, or of what it would be given otherwise.
                Code::Revoked => (code, "Access denied: revoked"),
                _ => (Code::Denied, "Access denied by policy"),
            };
            return Err(Refusal::of(code, words).decided(&id));
        }
    };
    app.metrics.policy_approvals.add();
    let vault = Arc::clone(&app.store.vault);
    let released = Released::open(&vault, &permit, value)?;
    let recipient = Recipient::parse(&session.key, session.old)
        .map_err(|_| Refusal::of(Code::Format, "the guest's key is not one that secrets can be encrypted to"))?;
    let jwe = recipient.encrypt(&released.0).map_err(|error| {
        tracing::error!(%error, decision = id, "a release could not be encrypted");
        Refusal::of(Code::Busy, "try again later")
    })?;
    app.metrics.resource_reads.add();
    tracing::info!(decision = id, session = session.decision, "released");
    let mut answer = json(StatusCode::OK, &jwe)?;
    if let Ok(id) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert(super::audit::DECISION, id);
    }
    Ok(answer)
}

/// Asks policies, off the runtime's threads, then rules, in the transaction that writes the decision down. Where policies
/// changed in between they are asked again.
async fn decided(
    app: &Arc<App>,
    call: &Call,
    session: &Arc<Session>,
    resource: &ResourcePath,
    version: Option<u64>,
    id: &str,
    now: UnixTime,
) -> Result<Outcome, Refusal> {
    let mut snapshot = app.policies.now(&app.store, now).await?;
    let kept = app.keeper.as_ref().and_then(|keeper| Some((Arc::clone(keeper), keeper.keeps(resource)?.clone())));
    for _ in 0..ATTEMPTS {
        let epoch = snapshot.epoch;
        let (opinion, ruled) = match snapshot.release.is_empty() {
            true => (Opinion::default(), None),
            false => {
                let (path, query) = (resource.clone(), query(&call.query));
                let (asker, consulted) = (Arc::clone(session), Arc::clone(&snapshot));
                let ask = move |connection: &Connection| {
                    let ruled = rules::names(connection, path.as_str())?;
                    let (policies, references) = (&consulted.release, &consulted.references);
                    Ok((release::consult(policies, &path, &query, &asker.ear, references, ruled), Some(ruled)))
                };
                app.store.read(ask).await?
            }
        };
        let mut settle = Settle {
            log: Arc::clone(&app.store.audit),
            mode: app.mode,
            now,
            id: id.to_owned(),
            facts: Facts::new(call, session, resource),
            session: Arc::clone(session),
            resource: resource.clone(),
            version,
            opinion,
            epoch,
            ruled,
            source: if kept.is_some() { Source::Unasked } else { Source::Store },
        };
        if let Some((keeper, kept)) = &kept {
            // Vault hears of nothing that is refused. What it gives is released only if the decision, made again in the
            // transaction that writes it down, still permits.
            let permitted;
            (settle, permitted) = app.store.read(move |connection| settle.would_permit(connection)).await?;
            if permitted {
                let (kept, path) = (kept.clone(), resource.clone());
                let found = keeper.ask(move |vault| vault.read(&kept, &path, version)).await;
                settle.source = Source::Vault(found.map_err(|error| error.name()));
            }
        }
        if let Some(outcome) = app.store.write(move |connection| settle.run(connection)).await? {
            return Ok(outcome);
        }
        snapshot = app.policies.reload(&app.store, now).await?;
    }
    Err(Refusal::of(Code::Busy, "the policies are changing; try again later"))
}

/// The query as an object of texts, for policies.
fn query(text: &str) -> Json {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('=')).take(32);
    Json::Object(pairs.map(|(name, value)| (name.to_owned(), value.into())).collect())
}

/// The session of a request. The cookie counts first; a token beside it must be of the same session.
pub(super) async fn session(app: &App, call: &Call, now: UnixTime) -> Result<Session, Refusal> {
    let by_cookie = match protocol::cookie(&call.headers) {
        None => None,
        Some(cookie) => {
            let id = session_id(cookie);
            let kept = app.store.read(move |connection| sessions::find(connection, &id, now)).await?;
            kept.and_then(|text| serde_json::from_str::<Session>(&text).ok())
        }
    };
    let by_token = bearer(&call.headers).map(|token| app.tokens.read(token, now));
    match (by_cookie, by_token) {
        (Some(session), None) => Ok(session),
        (None, Some(Ok(session))) => Ok(session),
        (Some(session), Some(Ok(other))) if session == other => Ok(session),
        (Some(_), Some(_)) => Err(Refusal::of(Code::Binding, "cookie and token are not of one session")),
        (None, Some(Err(code))) => Err(Refusal::of(code, "the attestation token is not valid here")),
        (None, None) => Err(Refusal::of(Code::Session, "Attestation Token not found")),
    }
}

/// What happens in one transaction: decision, first-use chip, lease, audit; and the value that was current then.
struct Settle {
    log: Arc<Log>,
    mode: Mode,
    now: UnixTime,
    id: String,
    session: Arc<Session>,
    resource: ResourcePath,
    /// The version asked for; the newest otherwise.
    version: Option<u64>,
    facts: Facts,
    /// What policies said, when the store had this number, and whether rules named the resource then (none where there
    /// are no policies).
    opinion: Opinion,
    epoch: u64,
    ruled: Option<bool>,
    source: Source,
}

impl Settle {
    /// What the decision would be now. Nothing is written.
    fn would_permit(self, connection: &Connection) -> Result<(Self, bool), StoreError> {
        let permitted = self.decision(connection)?.0.permit.is_some();
        Ok((self, permitted))
    }

    /// The decision, who else holds the resource, and what was revoked.
    fn decision(&self, connection: &Connection) -> Result<(Decision, Vec<String>, Option<Revoked>), StoreError> {
        let others = leases::others(connection, self.resource.as_str(), &self.session.instance, self.now)?;
        let mut revoked = revocation::of_session(connection, &self.session)?;
        let ruled = match &self.session.claims {
            Some(claims) => {
                let rules = rules::of_resource(connection, self.resource.as_str())?;
                let rules = unrevoked(connection, rules)?;
                decide(self.mode, &rules, claims, Question::Release { resource: &self.resource, others: &others })
            }
            None => unruled(),
        };
        let mut decision = combine(ruled, &self.opinion, &self.resource);
        if decision.outcome.is_ok() && revoked.is_none() {
            // Asked for those only that would be admitted: nobody else learns whether the resource is there.
            revoked = revocation::of_resource(connection, &self.resource)?;
        }
        if revoked.is_some() {
            (decision.outcome, decision.permit) = (Err(Code::Revoked), None);
        }
        Ok((decision, others, revoked))
    }

    /// The decision; none when policies or rules are not what they were.
    fn run(mut self, connection: &Connection) -> Result<Option<Outcome>, StoreError> {
        if sessions::number(connection, EPOCH)? != self.epoch {
            return Ok(None);
        }
        if let Some(ruled) = self.ruled
            && rules::names(connection, self.resource.as_str())? != ruled
        {
            return Ok(None);
        }
        let (decision, others, revoked) = self.decision(connection)?;
        let value = match std::mem::replace(&mut self.source, Source::Unasked) {
            // Looked up either way, so that time does not tell whether it exists.
            Source::Store => Ok(secrets::fetch(connection, &self.resource, self.version)?.map(Value::Sealed)),
            // Another session's lease ended, or a rule came, since it was asked whether to ask Vault.
            Source::Unasked if decision.permit.is_some() => return Ok(None),
            Source::Unasked => Ok(None),
            Source::Vault(found) => found.map(|found| found.map(Value::Fetched)),
        };
        self.facts.trace = decision.trace;
        self.facts.policies = self.opinion.trace;
        self.facts.revoked = revoked;
        let outcome = match (decision.outcome, decision.permit) {
            (Ok(_), Some(permit)) => {
                self.facts.rule = Some(*permit.rule());
                self.facts.concurrent = !others.is_empty();
                if let (Ok(_), Some(chip)) = (&value, permit.bind_chip()) {
                    rules::bind_chip(connection, permit.rule(), chip)?;
                }
                match value {
                    Ok(Some(value)) => {
                        let until = after(self.now, self.session.lease_seconds);
                        leases::hold(connection, self.resource.as_str(), &self.session.instance, until)?;
                        self.facts.version = value.version();
                        self.facts.kept_in = matches!(value, Value::Fetched(_)).then_some("vault");
                        Outcome::Granted(permit, value)
                    }
                    Ok(None) => {
                        self.facts.code = Some(Code::Absent.name());
                        Outcome::Absent
                    }
                    Err(problem) => {
                        self.facts.code = Some(Code::Store.name());
                        self.facts.problem = Some(problem);
                        Outcome::Unavailable(problem)
                    }
                }
            }
            (outcome, _) => {
                let code = outcome.err().unwrap_or(Code::Denied);
                self.facts.code = Some(code.name());
                if let Some(claims) = &self.session.claims {
                    self.facts.site_changes =
                        explain::site_changes(connection, &self.facts.trace, &claims.host_data, None)?;
                }
                // A policy of a revoked version denies everybody: who asks is not told which paths it is for.
                let told = code == Code::Revoked && self.facts.revoked.is_none();
                Outcome::Refused(if told { Code::Denied } else { code })
            }
        };
        self.facts.held_by = others;
        self.log.append(connection, self.now, Kind::Release, &self.id, &self.facts)?;
        Ok(Some(outcome))
    }
}

/// The audit entry of a release decision.
#[derive(Serialize)]
struct Facts {
    peer: String,
    /// The decision of the attestation.
    session: String,
    resource: String,
    /// Report id, or what else names the guest.
    report_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    chip_id: Option<ChipId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Digest256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// Where the value is kept, if not in the broker's own store.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_in: Option<&'static str>,
    /// Why what keeps the value did not give it.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'static str>,
    /// Report ids of other guests that hold the resource.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held_by: Vec<String>,
    /// Released although another guest holds it (a shared lease).
    concurrent: bool,
    trace: Vec<RuleTrace>,
    /// What each policy that covers the resource said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<PolicyTrace>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    site_changes: Vec<Change>,
    /// What an administrator revoked, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<Revoked>,
}

impl Facts {
    fn new(call: &Call, session: &Session, resource: &ResourcePath) -> Self {
        Self {
            peer: call.peer.to_string(),
            session: session.decision.clone(),
            resource: resource.to_string(),
            report_id: session.instance.clone(),
            chip_id: session.claims.as_ref().map(|claims| claims.chip_id),
            code: None,
            rule: None,
            version: None,
            kept_in: None,
            problem: None,
            held_by: Vec::new(),
            concurrent: false,
            trace: Vec::new(),
            policies: Vec::new(),
            site_changes: Vec::new(),
            revoked: None,
        }
    }
}
