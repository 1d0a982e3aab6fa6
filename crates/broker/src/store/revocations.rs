//! What an administrator revoked: one row for each thing, with the reason; a lifted one keeps its row.

use super::db::{Connection, DatabaseError, OptionalExtension, Row, params};
use super::{StoreError, policies};
use claims::{Digest256, UnixTime};
use serde::{Deserialize, Serialize};

/// What can be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    /// A measurement: launch digest, MRTD, MRENCLAVE, digest of a CCE policy.
    Image,
    /// HOST_DATA or its counterpart, or the name of a site.
    Site,
    /// A chip id, or what names a device.
    Chip,
    /// A resource's path, or a prefix of paths.
    Key,
    /// A version of a policy, as `NAME@VERSION`.
    Policy,
    /// A release rule.
    Rule,
}

impl What {
    const ALL: [Self; 6] = [Self::Image, Self::Site, Self::Chip, Self::Key, Self::Policy, Self::Rule];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Site => "site",
            Self::Chip => "chip",
            Self::Key => "key",
            Self::Policy => "policy",
            Self::Rule => "rule",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.name() == name)
    }
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Revoked {
    /// SHA-256 over kind, a zero byte, and subject.
    pub(crate) id: Digest256,
    pub(crate) what: What,
    pub(crate) subject: String,
    pub(crate) reason: String,
    pub(crate) added: u64,
    pub(crate) admin: String,
    /// When it was lifted; until then it is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lifted: Option<u64>,
}

/// The id of a revocation.
pub(crate) fn id_of(what: What, subject: &str) -> Digest256 {
    Digest256::of(&[what.name().as_bytes(), &[0], subject.as_bytes()].concat())
}

/// What a policy's version is called here.
pub(crate) fn version_name(name: &str, version: u64) -> String {
    format!("{name}@{version}")
}

const COLUMNS: &str = "id, what, subject, reason, added, admin, lifted";

/// Revokes; again with another reason, or after it was lifted, too. Whether it was not in force before.
pub(crate) fn add(connection: &Connection, revoked: &Revoked) -> Result<bool, StoreError> {
    let there = find(connection, revoked.what, &revoked.subject)?;
    connection
        .prepare_cached(
            "INSERT INTO revocations (id, what, subject, reason, added, admin) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET reason = excluded.reason, added = excluded.added, admin = excluded.admin,
             lifted = NULL",
        )?
        .execute(params![
            revoked.id.0,
            revoked.what.name(),
            revoked.subject,
            revoked.reason,
            revoked.added.cast_signed(),
            revoked.admin
        ])?;
    policies::changed(connection)?;
    Ok(there.is_none())
}

/// Lifts a revocation; what it was about, where it was in force.
pub(crate) fn lift(connection: &Connection, id: &Digest256, now: UnixTime) -> Result<Option<Revoked>, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM revocations WHERE id = ? AND lifted IS NULL");
    let there = connection.prepare_cached(&query)?.query_row([id.0], read).optional()?.transpose()?;
    if there.is_some() {
        connection
            .prepare_cached("UPDATE revocations SET lifted = ? WHERE id = ?")?
            .execute(params![now.0.cast_signed(), id.0])?;
        policies::changed(connection)?;
    }
    Ok(there)
}

/// Every revocation, also those that were lifted.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Revoked>, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM revocations ORDER BY added, what, subject");
    let mut statement = connection.prepare_cached(&query)?;
    let rows = statement.query_map([], read)?;
    rows.map(|row| row.map_err(StoreError::from)?).collect()
}

/// The revocation of one thing, where one is in force.
pub(crate) fn find(connection: &Connection, what: What, subject: &str) -> Result<Option<Revoked>, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM revocations WHERE id = ? AND lifted IS NULL");
    let id = id_of(what, subject);
    connection.prepare_cached(&query)?.query_row([id.0], read).optional()?.transpose()
}

/// Whether anything is revoked at all: asked first, so that a broker without revocations looks once.
pub(crate) fn any(connection: &Connection) -> Result<bool, StoreError> {
    let some: Option<i64> = connection
        .prepare_cached("SELECT added FROM revocations WHERE lifted IS NULL LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(some.is_some())
}

/// The first of these things that is revoked.
pub(crate) fn first(connection: &Connection, things: &[(What, String)]) -> Result<Option<Revoked>, StoreError> {
    if !any(connection)? {
        return Ok(None);
    }
    for (what, subject) in things {
        if let Some(revoked) = find(connection, *what, subject)? {
            return Ok(Some(revoked));
        }
    }
    Ok(None)
}

/// The revocation of a version of this policy whose text is `body`: the same text under a new number is the same policy.
pub(crate) fn of_text(connection: &Connection, name: &str, body: &str) -> Result<Option<Revoked>, StoreError> {
    let same = policies::versions(connection, name)?.into_iter().filter(|stored| stored.body == body);
    let things: Vec<_> = same.map(|stored| (What::Policy, version_name(name, stored.version))).collect();
    first(connection, &things)
}

fn read(row: &Row) -> Result<Result<Revoked, StoreError>, DatabaseError> {
    let what: String = row.get(1)?;
    let Some(what) = What::parse(&what) else { return Ok(Err(StoreError::Damaged { what: "revocation" })) };
    Ok(Ok(Revoked {
        id: Digest256(row.get(0)?),
        what,
        subject: row.get(2)?,
        reason: row.get(3)?,
        added: row.get::<_, i64>(4)?.cast_unsigned(),
        admin: row.get(5)?,
        lifted: row.get::<_, Option<i64>>(6)?.map(i64::cast_unsigned),
    }))
}
