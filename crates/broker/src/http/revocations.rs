//! `/confide/v0/revocations`: images, sites, chips, keys, policies' versions and rules that are not believed any more.

use super::admin::written;
use super::gate::{Admin, Scope};
use super::protocol::strict;
use super::refusal::Refusal;
use super::{Answer, Call, Table, json};
use crate::app::App;
use crate::path::ResourcePath;
use crate::store::db::Connection;
use crate::store::revocations::{self, Revoked, What};
use crate::store::{StoreError, policies, rules, secrets};
use axum::http::StatusCode;
use claims::{Code, Digest256};
use serde::Deserialize;
use serde_json::json as object;
use std::sync::Arc;

/// Longest reason.
const MAX_REASON: usize = 1024;

pub(crate) fn register(table: Table) -> Table {
    table
        .guarded(Scope::Change, "POST", "/confide/v0/revocations", revoke)
        .guarded(Scope::Look, "GET", "/confide/v0/revocations", list)
        .guarded(Scope::Change, "POST", "/confide/v0/revocations/{id}", lift)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    what: What,
    subject: String,
    reason: String,
    /// Check only.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lifting {
    reason: String,
}

async fn revoke(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let Wanted { what, subject, reason, dry_run } = strict(&call.body)?;
    let (subject, reason) = (checked(what, &subject)?, checked_reason(&reason)?);
    let now = app.clock.now();
    let name = subject.clone();
    let known = app.store.read(move |connection| known(connection, what, &name)).await?;
    if what == What::Policy && known == Some(false) {
        return Err(Refusal::of(Code::Absent, "there is no such version of the policy"));
    }
    let id = revocations::id_of(what, &subject);
    let answer = object!({"id": id, "what": what, "subject": subject, "known": known});
    if dry_run {
        return json(StatusCode::OK, &answer);
    }
    let admin_name = admin.name().to_owned();
    let revoked = Revoked { id, what, subject, reason, added: now.0, admin: admin_name, lifted: None };
    let object = format!("{} {}: {}", what.name(), revoked.subject, revoked.reason);
    let work = move |connection: &Connection| revocations::add(connection, &revoked);
    let changed = written(&app, &admin, &call, "revoke", object, work).await?;
    json(if changed { StatusCode::CREATED } else { StatusCode::OK }, &answer)
}

async fn list(app: Arc<App>, _: Admin, _: Call) -> Answer {
    let revoked = app.store.read(revocations::all).await?;
    json(StatusCode::OK, &object!({"revocations": revoked}))
}

async fn lift(app: Arc<App>, admin: Admin, call: Call) -> Answer {
    let id: Digest256 =
        call.rest.parse().map_err(|_| Refusal::of(Code::Format, "a revocation's id is 64 hex digits"))?;
    let Lifting { reason } = strict(&call.body)?;
    let (reason, now) = (checked_reason(&reason)?, app.clock.now());
    let object = format!("{id}: {reason}");
    let work = move |connection: &Connection| Ok(revocations::lift(connection, &id, now)?.is_some());
    match written(&app, &admin, &call, "lift revocation", object, work).await? {
        true => json(StatusCode::OK, &object!({"id": id, "lifted": true})),
        false => Err(Refusal::of(Code::Absent, "there is no such revocation in force")),
    }
}

/// Whether the store knows what is revoked; none where it cannot tell. A typing error revokes nothing.
fn known(connection: &Connection, what: What, subject: &str) -> Result<Option<bool>, StoreError> {
    let rules_say = |says: &dyn Fn(&rules::Rule) -> bool| Ok(Some(rules::all(connection)?.iter().any(says)));
    match what {
        What::Image => rules_say(&|rule| {
            let measurements = &rule.reference.launch_measurements;
            measurements.iter().any(|entry| entry.launch_measurement.to_string() == subject)
        }),
        What::Site => {
            rules_say(&|rule| rule.reference.site == subject || rule.reference.host_data.to_string() == subject)
        }
        What::Rule => rules_say(&|rule| rule.id.to_string() == subject),
        What::Key => {
            let listed = secrets::list(connection)?;
            Ok(Some(listed.iter().any(|secret| crate::rego::release::covers(subject, &secret.path))))
        }
        What::Policy => {
            match subject.rsplit_once('@').and_then(|(name, version)| Some((name, version.parse().ok()?))) {
                Some((name, version)) => Ok(Some(policies::version(connection, name, version)?.is_some())),
                None => Ok(Some(false)),
            }
        }
        What::Chip => Ok(None),
    }
}

/// The one spelling of a subject.
fn checked(what: What, subject: &str) -> Result<String, Refusal> {
    let wrong = |words| Err(Refusal::of(Code::Format, words));
    let hex =
        |lengths: &[usize]| lengths.contains(&subject.len()) && subject.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lower = subject.to_ascii_lowercase();
    match what {
        What::Image if hex(&[64, 96]) => Ok(lower),
        What::Image => wrong("an image is named by its measurement, 64 or 96 hex digits"),
        What::Site if hex(&[64, 96, 128]) => Ok(lower),
        What::Site if (1..=128).contains(&subject.len()) && !subject.chars().any(char::is_control) => {
            Ok(subject.to_owned())
        }
        What::Site => wrong("a site is named by its HOST_DATA in hex, or by a name of 1 to 128 bytes"),
        What::Chip
            if (8..=128).contains(&subject.len()) && subject.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            Ok(lower)
        }
        What::Chip => wrong("a chip is named by 8 to 128 digits and letters, as evidence names it"),
        What::Rule if hex(&[64]) => Ok(lower),
        What::Rule => wrong("a rule's id is 64 hex digits"),
        What::Key => {
            let segments = subject.split('/').count();
            let padded = format!("{subject}{}", "/a".repeat(3_usize.saturating_sub(segments)));
            match ResourcePath::parse(&padded) {
                Ok(_) => Ok(subject.to_owned()),
                Err(code) => Err(Refusal::of(code, "a key is named by REPOSITORY[/TYPE[/TAG]]")),
            }
        }
        What::Policy => match subject.rsplit_once('@') {
            Some((name, version)) if version.parse::<u32>().is_ok_and(|number| number.to_string() == version) => {
                super::policies::checked_name(name)?;
                Ok(subject.to_owned())
            }
            _ => wrong("a policy's version is named NAME@NUMBER"),
        },
    }
}

fn checked_reason(reason: &str) -> Result<String, Refusal> {
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(Refusal::of(Code::Format, "a reason has 1 to 1024 bytes in one line"));
    }
    Ok(reason.to_owned())
}
