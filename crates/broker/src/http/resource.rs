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
use crate::policy::{Mode, Permit, Question, RuleTrace, combine, decide, unruled};
use crate::rego::release::{self, Opinion, PolicyTrace};
use crate::rego::snapshot::EPOCH;
use crate::store::audit::{Kind, Log};
use crate::store::db::Connection;
use crate::store::secrets::{self, Sealed, Vault};
use crate::store::{StoreError, leases, rules, sessions};
use crate::token::Session;
use axum::http::{HeaderValue, StatusCode};
use claims::{ChipId, Code, Digest256, Secret, UnixTime};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// How often a decision is made again when policies change under it.
const ATTEMPTS: usize = 3;

/// A secret that a permit opened.
struct Released(Secret<Vec<u8>>);

impl Released {
    /// Opens what the permit is for; there is no other way to a secret's value.
    fn open(vault: &Vault, permit: &Permit, sealed: Sealed) -> Result<Self, StoreError> {
        vault.open(permit.resource(), sealed).map(Self)
    }
}

/// Releases a resource to an attested guest.
pub(crate) async fn fetch(app: Arc<App>, call: Call) -> Answer {
    let resource =
        ResourcePath::parse(&call.rest).map_err(|code| Refusal::of(code, "a resource path is REPOSITORY/TYPE/TAG"))?;
    let version = super::confide::number(&call.query, "version")?;
    let now = app.clock.now();
    let session = session(&app, &call, now).await?;
    app.metrics.policy_evaluations.add();
    let id = decision_id().map_err(|code| Refusal::of(code, "try again later"))?;
    let outcome = decided(&app, &call, &session, &resource, version, &id, now).await?;
    let (permit, sealed) = match outcome {
        Ok((permit, Some(sealed))) => (permit, sealed),
        Ok((_, None)) => {
            app.metrics.policy_approvals.add();
            return Err(Refusal::of(Code::Absent, "permitted, but not stored").decided(&id));
        }
        Err(code) => {
            app.metrics.policy_violations.add();
            tracing::info!(decision = id, session = session.decision, %code, "release refused");
            // Which claim differs would tell whether a rule names the resource. A lease is no such sign: who hears of
            // it meets the rule otherwise.
            let code = if code == Code::Lease { code } else { Code::Denied };
            return Err(Refusal::of(code, "Access denied by policy").decided(&id));
        }
    };
    app.metrics.policy_approvals.add();
    let vault = Arc::clone(&app.store.vault);
    let released = Released::open(&vault, &permit, sealed)?;
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
    session: &Session,
    resource: &ResourcePath,
    version: Option<u64>,
    id: &str,
    now: UnixTime,
) -> Result<Result<(Permit, Option<Sealed>), Code>, Refusal> {
    let mut snapshot = app.policies.now(&app.store, now).await?;
    for _ in 0..ATTEMPTS {
        let epoch = snapshot.epoch;
        let (ear, path, query) = (session.ear.clone(), resource.clone(), query(&call.query));
        let (ruled_path, consulted) = (resource.to_string(), Arc::clone(&snapshot));
        let ruled = app.store.read(move |connection| rules::names(connection, &ruled_path)).await?;
        let opinion = match snapshot.release.is_empty() {
            true => Opinion::default(),
            false => tokio::task::spawn_blocking(move || {
                release::consult(&consulted.release, &path, &query, &ear, &consulted.references, ruled)
            })
            .await
            .map_err(|_| Refusal::of(Code::Busy, "try again later"))?,
        };
        let settle = Settle {
            log: Arc::clone(&app.store.audit),
            mode: app.mode,
            now,
            id: id.to_owned(),
            facts: Facts::new(call, session, resource),
            session: session.clone(),
            resource: resource.clone(),
            version,
            opinion,
            epoch,
            ruled,
        };
        if let Some(outcome) = app.store.write(move |connection| settle.run(connection)).await? {
            return Ok(outcome);
        }
        snapshot = app.policies.reload(&app.store, now).await?;
    }
    Err(Refusal::of(Code::Busy, "the policies are changing; try again later"))
}

/// The query as an object of texts, for policies.
fn query(text: &str) -> Value {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('=')).take(32);
    Value::Object(pairs.map(|(name, value)| (name.to_owned(), value.into())).collect())
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
    session: Session,
    resource: ResourcePath,
    /// The version asked for; the newest otherwise.
    version: Option<u64>,
    facts: Facts,
    /// What policies said, when the store had this number, and whether rules named the resource then.
    opinion: Opinion,
    epoch: u64,
    ruled: bool,
}

impl Settle {
    /// The decision; none when policies or rules are not what they were.
    #[expect(clippy::type_complexity, reason = "store, staleness and refusal are three different things")]
    fn run(mut self, connection: &Connection) -> Result<Option<Result<(Permit, Option<Sealed>), Code>>, StoreError> {
        if sessions::number(connection, EPOCH)? != self.epoch
            || rules::names(connection, self.resource.as_str())? != self.ruled
        {
            return Ok(None);
        }
        let instance = &self.session.instance;
        let others = leases::others(connection, self.resource.as_str(), instance, self.now)?;
        let ruled = match &self.session.claims {
            Some(claims) => {
                let rules = rules::of_resource(connection, self.resource.as_str())?;
                decide(self.mode, &rules, claims, Question::Release { resource: &self.resource, others: &others })
            }
            None => unruled(),
        };
        let decision = combine(ruled, &self.opinion, &self.resource);
        // Looked up either way, so that time does not tell whether it exists.
        let sealed = secrets::fetch(connection, &self.resource, self.version)?;
        self.facts.trace = decision.trace;
        self.facts.policies = self.opinion.trace;
        let outcome = match (decision.outcome, decision.permit) {
            (Ok(_), Some(permit)) => {
                if let Some(chip) = permit.bind_chip() {
                    rules::bind_chip(connection, permit.rule(), chip)?;
                }
                self.facts.rule = Some(*permit.rule());
                self.facts.concurrent = !others.is_empty();
                match &sealed {
                    Some(sealed) => {
                        let until = after(self.now, self.session.lease_seconds);
                        leases::hold(connection, self.resource.as_str(), instance, until)?;
                        self.facts.version = Some(sealed.version);
                    }
                    None => self.facts.code = Some(Code::Absent.name()),
                }
                Ok((permit, sealed))
            }
            (outcome, _) => {
                let code = outcome.err().unwrap_or(Code::Denied);
                self.facts.code = Some(code.name());
                if let Some(claims) = &self.session.claims {
                    self.facts.site_changes =
                        explain::site_changes(connection, &self.facts.trace, &claims.host_data, None)?;
                }
                Err(code)
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
            held_by: Vec::new(),
            concurrent: false,
            trace: Vec::new(),
            policies: Vec::new(),
            site_changes: Vec::new(),
        }
    }
}
