//! Release rules: one per `reference.json`, named by the digest of its canonical form.

use super::StoreError;
use super::db::{Connection, OptionalExtension, Params, params};
use claims::reference::Reference;
use claims::{ChipId, Digest256, HostData, UnixTime};

/// A rule as the policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) id: Digest256,
    pub(crate) added: u64,
    pub(crate) reference: Reference,
    /// The chip that asked first, where the rule says `first-use`.
    pub(crate) chip: Option<ChipId>,
}

/// Adds a rule, or finds it there; its id. A chip that was bound stays bound.
pub(crate) fn add(
    connection: &Connection,
    id: &Digest256,
    reference: &Reference,
    text: &str,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let added = connection
        .prepare_cached(
            "INSERT INTO rules (id, name, site, added, host_data, reference) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![id.0, reference.name, reference.site, now.0.cast_signed(), reference.host_data.0, text])?;
    for resource in &reference.resources {
        connection
            .prepare_cached("INSERT INTO rule_resources (resource, rule) VALUES (?, ?) ON CONFLICT DO NOTHING")?
            .execute(params![resource, id.0])?;
    }
    Ok(added == 1)
}

/// Removes a rule; whether it was there.
pub(crate) fn remove(connection: &Connection, id: &Digest256) -> Result<bool, StoreError> {
    Ok(connection.prepare_cached("DELETE FROM rules WHERE id = ?")?.execute([id.0])? == 1)
}

/// Every rule, in the order they were added.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Rule>, StoreError> {
    select(connection, "SELECT id, added, reference, chip FROM rules ORDER BY added, id", [])
}

/// The rules for guests with this HOST_DATA: no other rule can admit them.
pub(crate) fn of_host_data(connection: &Connection, host_data: &HostData) -> Result<Vec<Rule>, StoreError> {
    select(
        connection,
        "SELECT id, added, reference, chip FROM rules WHERE host_data = ? ORDER BY added, id",
        [host_data.0],
    )
}

/// The rules that name `resource`.
pub(crate) fn of_resource(connection: &Connection, resource: &str) -> Result<Vec<Rule>, StoreError> {
    select(
        connection,
        "SELECT id, added, reference, chip FROM rules JOIN rule_resources ON rule = id
         WHERE resource = ? ORDER BY added, id",
        [resource],
    )
}

/// Whether any rule names `resource`.
pub(crate) fn names(connection: &Connection, resource: &str) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM rule_resources WHERE resource = ?)")?
        .query_row([resource], |row| row.get(0))?)
}

/// Binds a `first-use` rule to a chip, unless it is bound already.
pub(crate) fn bind_chip(connection: &Connection, id: &Digest256, chip: &ChipId) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE rules SET chip = ? WHERE id = ? AND chip IS NULL")?
        .execute(params![chip.0, id.0])?;
    Ok(())
}

/// Keeps the text of a `site.json` under its digest, for explanations.
pub(crate) fn keep_site(connection: &Connection, host_data: &HostData, body: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO sites (host_data, body) VALUES (?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![host_data.0, body])?;
    Ok(())
}

/// The text of the `site.json` with this digest, where it is known.
pub(crate) fn site(connection: &Connection, host_data: &HostData) -> Result<Option<String>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT body FROM sites WHERE host_data = ?")?
        .query_row([host_data.0], |row| row.get(0))
        .optional()?)
}

fn select(connection: &Connection, query: &str, values: impl Params) -> Result<Vec<Rule>, StoreError> {
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(values)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let damaged = || StoreError::Damaged { what: "release rule" };
        let chip: Option<Vec<u8>> = row.get(3)?;
        out.push(Rule {
            id: Digest256(row.get(0)?),
            added: row.get::<_, i64>(1)?.cast_unsigned(),
            reference: Reference::parse(row.get::<_, String>(2)?.as_bytes()).map_err(|_| damaged())?,
            chip: match chip {
                None => None,
                Some(bytes) => Some(ChipId::from_slice(&bytes).ok_or_else(damaged)?),
            },
        });
    }
    Ok(out)
}
