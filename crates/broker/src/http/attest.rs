//! `/auth` and `/attest`: from a challenge to a session.
//!
//! *Takes* anybody's requests.
//! *Guarantees* that a session stands for evidence that a verifier accepted, bound to a nonce of ours and a key, and
//! that the nonce is taken together with the audit entry.
//! *Does not check* whether a secret may go to the guest: that is decided when one is asked for.

use super::protocol::{self, Message, VerifiedInitData};
use super::refusal::Refusal;
use super::{Answer, Call, json};
use crate::app::{App, decision_id};
use crate::challenge::{Pending, Version, session_id};
use crate::clock::after;
use crate::explain::{self, Change};
use crate::jwe::Recipient;
use crate::policy::{Appraised, Mode, Question, RuleTrace, decide};
use crate::store::audit::{Kind, Log};
use crate::store::{StoreError, leases, rules, sessions};
use crate::token::{Session, Statement, session_end};
use crate::verify::Verified;
use attest::snp::CrlStatus;
use axum::http::{StatusCode, header};
use claims::kbs::{Challenge, Request, Token};
use claims::site::Site;
use claims::{Code, Digest256, UnixTime};
use rusqlite::Connection;
use serde::Serialize;
use std::sync::Arc;

/// Longest lease that a `site.json` can ask for.
const MAX_LEASE_SECONDS: u64 = 86_400;

/// `POST /kbs/v0/auth`: a challenge. Nothing is stored.
pub(crate) async fn auth(app: Arc<App>, call: Call) -> Answer {
    app.metrics.auth_requests.add();
    let answer = challenge(&app, &call);
    if answer.is_ok() {
        app.metrics.auth_successes.add()
    } else {
        app.metrics.auth_errors.add()
    }
    answer
}

fn challenge(app: &App, call: &Call) -> Answer {
    let request: Request = protocol::strict(&call.body)?;
    let version = Version::parse(&request.version)
        .map_err(|code| Refusal::of(code, "KBS Client Protocol Version Mismatch: 0.4.0 and 0.2.0 are spoken here"))?;
    if request.tee != "snp" {
        return Err(Refusal::of(Code::TeeUnsupported, "this kind of evidence is not appraised here"));
    }
    let made = app.challenges.make(version, app.clock.now()).map_err(busy)?;
    let body = Challenge { nonce: made.nonce, extra_params: serde_json::Value::String(String::new()) };
    with_cookie(json(StatusCode::OK, &body)?, &made.cookie, made.expires)
}

/// `POST /kbs/v0/attest`: evidence for a challenge.
pub(crate) async fn attest(app: Arc<App>, call: Call) -> Answer {
    app.metrics.attestation_requests.add();
    let answer = attempt(&app, &call).await;
    if answer.is_ok() {
        app.metrics.attestation_successes.add()
    } else {
        app.metrics.attestation_failures.add()
    }
    answer
}

async fn attempt(app: &Arc<App>, call: &Call) -> Answer {
    let now = app.clock.now();
    let not_ours = || Refusal::of(Code::Nonce, "the challenge is unknown, expired or used");
    let cookie = protocol::cookie(&call.headers).ok_or_else(not_ours)?;
    let pending = app.challenges.read(cookie, now).map_err(|_| not_ours())?;
    let message = Message::read(&call.body, &pending)?;
    Recipient::parse(&message.runtime_data.tee_pubkey, pending.version == Version::V0_2_0)
        .map_err(|_| Refusal::of(Code::Format, "the guest's key is not one that secrets can be encrypted to"))?;
    let decision = decision_id().map_err(busy)?;
    let mut facts = Facts::new(call, &message, pending.version);

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

    let claims = Appraised::from(&appraisal.verified.claims);
    facts.revocation = Some(appraisal.verified.revocation.clone());
    facts.claims = Some(claims.clone());
    let lease_seconds = lease_seconds(appraisal.site(), app.settings.lease_seconds);
    let session = Session {
        decision: decision.clone(),
        claims,
        key: message.runtime_data.tee_pubkey.clone(),
        old: pending.version == Version::V0_2_0,
        lease_seconds,
        expires: session_end(now, app.settings.session_seconds),
    };
    let settle = Settle {
        log: Arc::clone(&app.store.audit),
        mode: app.mode,
        now,
        pending,
        id: session_id(cookie),
        session: session.clone(),
        facts,
        site_text: appraisal.site_text(),
    };
    let affirming = match app.store.write(move |connection| settle.run(connection)).await? {
        Ok(affirming) => affirming,
        Err(code) => {
            tracing::info!(decision, %code, "attestation refused");
            return Err(Refusal::of(code, "no release rule admits this evidence").decided(&decision));
        }
    };
    tracing::info!(decision, affirming, "attested");
    let statement = Statement {
        affirming,
        claims: &appraisal.verified.claims,
        runtime_data: &message.runtime_data,
        additional_evidence: &message.additional_evidence,
        init_data: appraisal.init_claims(),
    };
    let token = app.tokens.issue(&session, &statement, now).map_err(busy)?;
    with_cookie(json(StatusCode::OK, &Token { token })?, cookie, UnixTime(session.expires))
}

/// Evidence that a verifier accepted and that is bound to this session.
struct Appraisal {
    verified: Verified,
    init_data: Option<VerifiedInitData>,
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

    fn init_claims(&self) -> Option<serde_json::Value> {
        match &self.init_data {
            Some(VerifiedInitData::Toml(claims)) => Some(claims.clone()),
            // The site file is in the evidence by its digest; a token stays small.
            Some(VerifiedInitData::Site { .. }) | None => None,
        }
    }
}

async fn appraise(app: &Arc<App>, message: &Message, pending: &Pending, now: UnixTime) -> Result<Appraisal, Code> {
    let (report, table) = attest::snp::kbs::from_json(&message.evidence).map_err(|error| error.code())?;
    if !message.additional_evidence.is_empty() {
        // Device evidence that nobody appraises must not look as if somebody had.
        return Err(Code::TeeUnsupported);
    }
    let binding = message.binding(pending.version)?;
    let signed = report.claimed().report_data;
    let appraiser = Arc::clone(&app.appraiser);
    let verified =
        tokio::task::spawn_blocking(move || appraiser.verify(&report, &table, now)).await.map_err(|_| Code::Busy)??;
    if verified.claims.report_data != signed {
        return Err(Code::SnpFormat);
    }
    protocol::check_report_data(&signed.0, &binding)?;
    let init_data = match &message.init_data {
        None => None,
        Some(init_data) => Some(VerifiedInitData::check(init_data, &verified.claims.host_data)?),
    };
    Ok(Appraisal { verified, init_data })
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
}

impl Settle {
    /// Whether a rule admits the evidence, or why there is no session.
    fn run(mut self, connection: &Connection) -> Result<Result<bool, Code>, StoreError> {
        let claims = &self.session.claims;
        let mut decision =
            decide(self.mode, &rules::of_host_data(connection, &claims.host_data)?, claims, Question::Appraise);
        if decision.outcome.is_err() {
            // Rules for other host data cannot admit, but one of them may explain.
            decision = decide(self.mode, &rules::all(connection)?, claims, Question::Appraise);
        }
        self.facts.trace = decision.trace;
        self.facts.rule = decision.outcome.ok();
        if let Err(code) = decision.outcome {
            self.facts.code = Some(code.name());
            let text = self.site_text.as_deref();
            self.facts.site_changes = explain::site_changes(connection, &self.facts.trace, &claims.host_data, text)?;
            // Our own guests are told at once; an upstream client gets a token that says `contraindicated`.
            if text.is_some() {
                return self.refuse(connection, code);
            }
        }
        if !sessions::take(connection, &self.pending.nonce, self.pending.expires)? {
            return self.refuse(connection, Code::Nonce);
        }
        let affirming = decision.outcome.is_ok();
        if affirming {
            let until = after(self.now, self.session.lease_seconds);
            leases::renew(connection, &claims.report_id, self.now, until)?;
            if let Some(text) = &self.site_text {
                rules::keep_site(connection, &claims.host_data, text)?;
            }
        }
        let session = serde_json::to_string(&self.session).map_err(|_| StoreError::Damaged { what: "session" })?;
        sessions::keep(connection, &self.id, &session, UnixTime(self.session.expires))?;
        self.log.append(connection, self.now, Kind::Attest, &self.session.decision, &self.facts)?;
        Ok(Ok(affirming))
    }

    fn refuse(mut self, connection: &Connection, code: Code) -> Result<Result<bool, Code>, StoreError> {
        self.facts.code = Some(code.name());
        self.log.append(connection, self.now, Kind::Attest, &self.session.decision, &self.facts)?;
        Ok(Err(code))
    }
}

/// The audit entry of an attestation.
#[derive(Serialize)]
struct Facts {
    peer: String,
    protocol: &'static str,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trace: Vec<RuleTrace>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    site_changes: Vec<Change>,
}

impl Facts {
    fn new(call: &Call, message: &Message, version: Version) -> Self {
        Self {
            peer: call.peer.to_string(),
            protocol: match version {
                Version::V0_2_0 => "0.2.0",
                Version::V0_4_0 => "0.4.0",
            },
            evidence: claims::json::canonical(&message.evidence).ok().map(|bytes| Digest256::of(&bytes)),
            code: None,
            rule: None,
            claims: None,
            revocation: None,
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
