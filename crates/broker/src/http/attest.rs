//! `/auth` and `/attest`: from a challenge to a session.
//!
//! *Takes* anybody's requests.
//! *Guarantees* that a session stands for evidence that a verifier accepted, bound to a nonce of ours and a key, and
//! that the nonce is taken together with the audit entry.
//! *Does not check* whether a secret may go to the guest: that is decided when one is asked for.

use super::protocol::{self, Message, VerifiedInitData};
use super::refusal::Refusal;
use super::{Answer, Call, json};
use crate::app::{App, CHALLENGE_EPOCH, decision_id};
use crate::challenge::{Pending, Version, session_id};
use crate::clock::after;
use crate::ear::{Ear, Issue, Said};
use crate::explain::{self, Change};
use crate::intake;
use crate::jwe::Recipient;
use crate::policy::{Appraised, Mode, Question, RuleTrace, decide};
use crate::rego::Snapshot;
use crate::revocation::{self, unrevoked};
use crate::store::audit::{Kind, Log};
use crate::store::db::Connection;
use crate::store::revocations::{self, Revoked, What};
use crate::store::{StoreError, leases, rules, sessions};
use crate::token::{Session, session_end};
use crate::verify::{self, Verified};
use attest::snp::CrlStatus;
use axum::http::{StatusCode, header};
use claims::kbs::{Challenge, Request, TeeKey, Token};
use claims::nvgpu::GoldenMeasurements;
use claims::site::Site;
use claims::{Code, Digest256, UnixTime};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// Longest lease that a `site.json` can ask for.
const MAX_LEASE_SECONDS: u64 = 86_400;
/// Longest name of an appraisal policy that a guest may ask for.
const MAX_SELECTOR: usize = 64;

/// `POST /kbs/v0/auth`: a challenge. Nothing is stored.
pub(crate) async fn auth(app: Arc<App>, call: Call) -> Answer {
    app.metrics.auth_requests.add();
    let answer = challenge(&app, &call).await;
    if answer.is_ok() {
        app.metrics.auth_successes.add()
    } else {
        app.metrics.auth_errors.add()
    }
    answer
}

async fn challenge(app: &App, call: &Call) -> Answer {
    let request: Request = protocol::strict(&call.body)?;
    let version = Version::parse(&request.version)
        .map_err(|code| Refusal::of(code, "KBS Client Protocol Version Mismatch: 0.4.0 and 0.2.0 are spoken here"))?;
    let kind = verify::Kind::parse(&request.tee).ok().filter(|kind| app.appraiser.takes(*kind));
    let wrong = "this kind of evidence is not appraised here as the primary one";
    let kind = kind.ok_or_else(|| Refusal::of(Code::TeeUnsupported, wrong))?;
    let selector = selector(&request.extra_params)?;
    if let Some(selector) = &selector
        && !app.policies.now(&app.store, app.clock.now()).await?.knows(selector)
    {
        return Err(unknown_selector());
    }
    let made = app.challenges.make(version, kind, selector.as_deref(), app.clock.now()).map_err(busy)?;
    let body = Challenge { nonce: made.nonce, extra_params: serde_json::Value::String(String::new()) };
    with_cookie(json(StatusCode::OK, &body)?, &made.cookie, made.expires)
}

/// The appraisal policy that a guest asks for, as upstream's clients do: an empty one is none. Other members are not ours.
fn selector(extra: &Value) -> Result<Option<String>, Refusal> {
    let wrong =
        || Refusal::of(Code::Format, "attestation-policy-selector is 1 to 64 letters, digits, dashes, underscores");
    match extra.get("attestation-policy-selector") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if name.is_empty() => Ok(None),
        Some(Value::String(name)) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            let sound = name.len() <= MAX_SELECTOR && name.bytes().all(plain);
            if sound { Ok(Some(name.clone())) } else { Err(wrong()) }
        }
        Some(_) => Err(wrong()),
    }
}

fn unknown_selector() -> Refusal {
    Refusal::of(Code::Selector, "no appraisal policy has the name that the guest selects")
}

/// `POST /kbs/v0/attest`: evidence for a challenge.
pub(crate) async fn attest(app: Arc<App>, call: Call) -> Answer {
    app.metrics.attestation_requests.add();
    let mut kind = None;
    let answer = attempt(&app, &call, &mut kind).await;
    match (&answer, kind) {
        (Ok(_), Some(kind)) => app.metrics.attestation_successes.add(kind),
        (Err(refusal), Some(kind)) if refusal.is_verdict() => app.metrics.attestation_failures.add(kind),
        _ => app.metrics.attestation_errors.add(),
    }
    answer
}

/// `kind` is what the evidence is of, once there is evidence to judge.
async fn attempt(app: &Arc<App>, call: &Call, kind: &mut Option<verify::Kind>) -> Answer {
    let now = app.clock.now();
    let not_ours = || Refusal::of(Code::Nonce, "the challenge is unknown, expired or used");
    let cookie = protocol::cookie(&call.headers).ok_or_else(not_ours)?;
    let pending = app.challenges.read(cookie, now).map_err(|_| not_ours())?;
    let message = Arc::new(Message::read(&call.body, &pending)?);
    Recipient::parse(&message.runtime_data.tee_pubkey, pending.version == Version::V0_2_0)
        .map_err(|_| Refusal::of(Code::Format, "the guest's key is not one that secrets can be encrypted to"))?;
    let decision = decision_id().map_err(busy)?;
    *kind = Some(pending.kind);
    let mut facts = Facts::new(call, &message, &pending);

    let appraisal = match appraise(app, &message, &pending, now).await {
        Ok(appraisal) => appraisal,
        Err(code) => {
            facts.code = Some(code.name());
            let (log, id) = (Arc::clone(&app.store.audit), decision.clone());
            app.store.write(move |connection| log.append(connection, now, Kind::Attest, &id, &facts)).await?;
            tracing::info!(decision, %code, "evidence refused");
            return Err(Refusal::of(code, "the evidence is refused").decided(&decision));
        }
    };

    let claims = appraisal.verified.snp.as_ref().map(Appraised::from);
    facts.revocation = appraisal.verified.revocation.clone();
    facts.claims = claims.clone();
    let expires = session_end(now, app.settings.session_seconds);
    let session = Session {
        decision: decision.clone(),
        instance: instance(&appraisal.verified, &message.runtime_data.tee_pubkey)?,
        claims,
        key: message.runtime_data.tee_pubkey.clone(),
        old: pending.version == Version::V0_2_0,
        lease_seconds: lease_seconds(appraisal.site(), app.settings.lease_seconds),
        expires,
        rule: None,
        appraised_by: Vec::new(),
        ear: Value::Null,
    };
    let settle = Settle {
        log: Arc::clone(&app.store.audit),
        mode: app.mode,
        now,
        pending,
        id: session_id(cookie),
        session,
        facts,
        site_text: appraisal.site_text(),
        issue: app.tokens.issue(now, expires),
        ear: appraisal.ear,
    };
    let (session, affirming) = match app.store.write(move |connection| settle.run(connection)).await? {
        Ok(settled) => settled,
        Err((code, words)) => {
            tracing::info!(decision, %code, "attestation refused");
            return Err(Refusal::of(code, words).decided(&decision));
        }
    };
    tracing::info!(decision, affirming, "attested");
    let token = app.tokens.sign(&session).map_err(busy)?;
    with_cookie(json(StatusCode::OK, &Token { token })?, cookie, UnixTime(session.expires))
}

/// Evidence that a verifier accepted and that is bound to this session.
struct Appraisal {
    verified: Verified,
    init_data: Option<VerifiedInitData>,
    ear: Ear,
}

impl Appraisal {
    fn site(&self) -> Option<&Site> {
        match &self.init_data {
            Some(VerifiedInitData::Site { site, .. }) => Some(site),
            _ => None,
        }
    }

    fn site_text(&self) -> Option<String> {
        match &self.init_data {
            Some(VerifiedInitData::Site { text, .. }) => Some(text.clone()),
            _ => None,
        }
    }
}

/// Verification of CPU and devices, init-data, appraisal by policy; all off the runtime's threads.
async fn appraise(app: &Arc<App>, message: &Arc<Message>, pending: &Pending, now: UnixTime) -> Result<Appraisal, Code> {
    let snapshot = app.policies.now(&app.store, now).await.map_err(|error| {
        tracing::error!(%error, "the policies cannot be read");
        Code::Store
    })?;
    let binding = message.binding(pending.version)?;
    // It may have gone since the challenge was made.
    if pending.selector.as_ref().is_some_and(|selector| !snapshot.knows(selector)) {
        return Err(Code::Selector);
    }
    let (appraiser, message, kind) = (Arc::clone(&app.appraiser), Arc::clone(message), pending.kind);
    let selector = pending.selector.clone();
    let work = move || {
        let enrolled = enrolled_keys(&snapshot);
        let session = verify::Session { binding, now, enrolled: &enrolled };
        let verified = appraiser.verify(kind, &message.evidence, &session)?;
        let devices = match message.additional_evidence.is_empty() {
            true => Vec::new(),
            false => {
                let imported = golden_measurements(&snapshot);
                appraiser.verify_devices(&message.additional_evidence, &message.runtime_data, now, &imported)?
            }
        };
        let init_data = match &message.init_data {
            None => None,
            Some(init_data) => Some(VerifiedInitData::check(init_data, &verified.init)?),
        };
        let said = Said {
            runtime_data: &message.runtime_data,
            additional_evidence: &message.additional_evidence,
            init_data: match &init_data {
                Some(VerifiedInitData::Toml(claims)) => Some(claims.clone()),
                // The site file is in the evidence by its digest; a token stays small.
                Some(VerifiedInitData::Site { .. }) | None => None,
            },
        };
        let ear = Ear::appraise(&snapshot, selector.as_deref(), &verified, &devices, &said);
        Ok(Appraisal { verified, init_data, ear })
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Code::Busy)?
}

/// Attestation keys of TPMs, from the reference values.
fn enrolled_keys(snapshot: &Snapshot) -> Vec<Vec<u8>> {
    use base64::Engine;
    let listed = snapshot.references.get(verify::TRUSTED_KEYS).and_then(Value::as_array);
    let texts = listed.into_iter().flatten().filter_map(Value::as_str);
    texts.filter_map(|text| base64::engine::general_purpose::STANDARD.decode(text).ok()).collect()
}

/// Measurements of NVIDIA's RIMs that were imported.
fn golden_measurements(snapshot: &Snapshot) -> Vec<GoldenMeasurements> {
    let listed = snapshot.references.get(intake::GOLDEN).and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(|value| serde_json::from_value(value.clone()).ok()).collect()
}

/// Names the guest among holders: by its evidence, else by its key.
fn instance(verified: &Verified, key: &TeeKey) -> Result<String, Refusal> {
    if let Some(instance) = &verified.instance {
        return Ok(instance.clone());
    }
    let key = claims::json::canonical(key).map_err(|_| busy(Code::Busy))?;
    Ok(format!("key-{}", Digest256::of(&key)))
}

/// A guest may be silent for its check interval and its grace before it stops; a lease outlasts that.
fn lease_seconds(site: Option<&Site>, default: u64) -> u64 {
    let Some(site) = site else { return default };
    let check = site.attestation.check_frequency;
    let silent = check.saturating_add(site.attestation.grace);
    check.saturating_mul(2).max(silent).clamp(1, MAX_LEASE_SECONDS)
}

/// What happens in one transaction: appraisal by the rules, taking of the nonce, renewal of leases, audit, session.
struct Settle {
    log: Arc<Log>,
    mode: Mode,
    now: UnixTime,
    pending: Pending,
    id: [u8; 32],
    session: Session,
    facts: Facts,
    site_text: Option<String>,
    issue: Issue,
    ear: Ear,
}

impl Settle {
    /// The session and whether its evidence is affirmed, or why there is none.
    fn run(mut self, connection: &Connection) -> Result<Settled, StoreError> {
        if let Some(code) = self.rules(connection)? {
            return self.refuse(connection, code, words(code));
        }
        self.session.rule = self.facts.rule;
        if self.facts.rule.is_some() {
            self.ear.admit_cpu();
        }
        self.session.appraised_by = self.ear.appraised_by();
        self.session.ear = self.ear.claims(self.issue);
        if let Some(revoked) = revocation::of_session(connection, &self.session)? {
            let words = revocation::words(revoked.what);
            self.facts.revoked = Some(revoked);
            return self.refuse(connection, Code::Revoked, words);
        }
        // Another broker on the same store may have ended the challenges of this epoch.
        if sessions::number(connection, CHALLENGE_EPOCH)? != self.pending.epoch {
            return self.refuse(connection, Code::Nonce, words(Code::Nonce));
        }
        if !sessions::take(connection, &self.pending.nonce, self.pending.expires)? {
            return self.refuse(connection, Code::Nonce, words(Code::Nonce));
        }
        if self.facts.rule.is_some() {
            let until = after(self.now, self.session.lease_seconds);
            leases::renew(connection, &self.session.instance, self.now, until)?;
            if let (Some(text), Some(claims)) = (&self.site_text, &self.session.claims) {
                rules::keep_site(connection, &claims.host_data, text)?;
            }
        }
        self.facts.submods = self.session.ear.get("submods").cloned();
        let session = serde_json::to_string(&self.session).map_err(|_| StoreError::Damaged { what: "session" })?;
        sessions::keep(connection, &self.id, &session, UnixTime(self.session.expires))?;
        self.log.append(connection, self.now, Kind::Attest, &self.session.decision, &self.facts)?;
        Ok(Ok((self.session, self.ear.affirming())))
    }

    /// Asks the release rules, which know bare SNP only; why the guest must be told no at once.
    fn rules(&mut self, connection: &Connection) -> Result<Option<Code>, StoreError> {
        let Some(claims) = &self.session.claims else { return Ok(None) };
        let own = rules::of_host_data(connection, &claims.host_data)?;
        let mut decision = decide(self.mode, &own, claims, Question::Appraise);
        if let Ok(rule) = decision.outcome
            && let Some(revoked) = revocations::find(connection, What::Rule, &rule.to_string())?
        {
            let others = unrevoked(connection, own)?;
            decision = decide(self.mode, &others, claims, Question::Appraise);
            if decision.outcome.is_err() {
                self.facts.trace = decision.trace;
                self.facts.revoked = Some(revoked);
                return Ok(Some(Code::Revoked));
            }
        }
        if decision.outcome.is_err() {
            // Rules for other host data cannot admit, but one of them may explain.
            decision = decide(self.mode, &rules::all(connection)?, claims, Question::Appraise);
        }
        self.facts.trace = decision.trace;
        self.facts.rule = decision.outcome.ok();
        let Err(code) = decision.outcome else { return Ok(None) };
        let text = self.site_text.as_deref();
        self.facts.site_changes = explain::site_changes(connection, &self.facts.trace, &claims.host_data, text)?;
        if self.ear.affirming() {
            return Ok(None);
        }
        self.facts.code = Some(code.name());
        // Our own guests are told at once; an upstream client gets a token that says what the evidence is worth.
        Ok(text.is_some().then_some(code))
    }

    fn refuse(mut self, connection: &Connection, code: Code, words: &'static str) -> Result<Settled, StoreError> {
        self.facts.code = Some(code.name());
        self.log.append(connection, self.now, Kind::Attest, &self.session.decision, &self.facts)?;
        Ok(Err((code, words)))
    }
}

/// The session and whether its evidence is affirmed, or why there is none.
type Settled = Result<(Session, bool), (Code, &'static str)>;

fn words(code: Code) -> &'static str {
    match code {
        Code::Nonce => "the challenge is used",
        Code::Revoked => revocation::words(What::Rule),
        _ => "no release rule admits this evidence",
    }
}

/// The audit entry of an attestation.
#[derive(Serialize)]
struct Facts {
    peer: String,
    protocol: &'static str,
    tee: &'static str,
    /// The appraisal policy that the guest asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<String>,
    /// SHA-256 of the evidence as canonical JSON.
    evidence: Option<Digest256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Digest256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<Appraised>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation: Option<CrlStatus>,
    /// What an administrator revoked, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<Revoked>,
    /// What release policies had as input: proposed ones are tried against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    submods: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trace: Vec<RuleTrace>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    site_changes: Vec<Change>,
}

impl Facts {
    fn new(call: &Call, message: &Message, pending: &Pending) -> Self {
        Self {
            peer: call.peer.to_string(),
            tee: pending.kind.name(),
            selector: pending.selector.clone(),
            protocol: match pending.version {
                Version::V0_2_0 => "0.2.0",
                Version::V0_4_0 => "0.4.0",
            },
            evidence: claims::json::canonical_text(&message.evidence).ok().map(|bytes| Digest256::of(&bytes)),
            code: None,
            rule: None,
            claims: None,
            revocation: None,
            revoked: None,
            submods: None,
            trace: Vec::new(),
            site_changes: Vec::new(),
        }
    }
}

fn with_cookie(mut response: axum::response::Response, cookie: &str, expires: UnixTime) -> Answer {
    let value = protocol::set_cookie(cookie, expires).ok_or_else(|| busy(Code::Busy))?;
    response.headers_mut().insert(header::SET_COOKIE, value);
    Ok(response)
}

fn busy(code: Code) -> Refusal {
    Refusal::of(code, "try again later")
}
