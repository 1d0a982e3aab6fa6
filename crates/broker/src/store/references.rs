//! Reference values: one row for each value of a name, so that adding one touches no other.

use super::db::{Connection, OptionalExtension, params};
use super::{StoreError, policies};
use crate::rego::engine::References;
use claims::{Digest256, UnixTime};
use serde::Serialize;
use serde_json::Value;

/// A value of a name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Entry {
    /// SHA-256 over name, a zero byte, and the value as canonical JSON.
    pub(crate) id: Digest256,
    pub(crate) name: String,
    pub(crate) value: Value,
    /// Policies get the value itself, not a list with it.
    pub(crate) single: bool,
    pub(crate) added: u64,
    /// Not used from then on.
    pub(crate) expires: Option<u64>,
    /// When it was revoked.
    pub(crate) revoked: Option<u64>,
    pub(crate) reason: Option<String>,
}

/// The id of a value; none when it has no canonical form.
pub(crate) fn id_of(name: &str, value: &Value) -> Option<Digest256> {
    let value = claims::json::canonical(value).ok()?;
    Some(Digest256::of(&[name.as_bytes(), &[0], &value].concat()))
}

/// Adds a value, or gives one that is there a new end. Whether it is new. One that was revoked stays so.
pub(crate) fn add(connection: &Connection, entry: &Entry) -> Result<bool, StoreError> {
    let value = serde_json::to_string(&entry.value).map_err(|_| StoreError::Damaged { what: "reference value" })?;
    let there: Option<i64> = connection
        .prepare_cached("SELECT added FROM reference_values WHERE id = ?")?
        .query_row([entry.id.0], |row| row.get(0))
        .optional()?;
    connection
        .prepare_cached(
            "INSERT INTO reference_values (id, name, value, single, added, expires) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET single = excluded.single, expires = excluded.expires",
        )?
        .execute(params![
            entry.id.0,
            entry.name,
            value,
            entry.single,
            entry.added.cast_signed(),
            entry.expires.map(u64::cast_signed)
        ])?;
    policies::changed(connection)?;
    Ok(there.is_none())
}

/// Removes a value; whether it was there.
pub(crate) fn remove(connection: &Connection, id: &Digest256) -> Result<bool, StoreError> {
    let removed = connection.prepare_cached("DELETE FROM reference_values WHERE id = ?")?.execute([id.0])? == 1;
    policies::changed(connection)?;
    Ok(removed)
}

/// Removes every value of a name that is not revoked.
pub(crate) fn clear(connection: &Connection, name: &str) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM reference_values WHERE name = ? AND revoked IS NULL")?.execute([name])?;
    Ok(())
}

/// Revokes a value, with the reason. Whether it was there.
pub(crate) fn revoke(connection: &Connection, id: &Digest256, reason: &str, now: UnixTime) -> Result<bool, StoreError> {
    let revoked = connection
        .prepare_cached("UPDATE reference_values SET revoked = coalesce(revoked, ?), reason = ? WHERE id = ?")?
        .execute(params![now.0.cast_signed(), reason, id.0])?;
    policies::changed(connection)?;
    Ok(revoked == 1)
}

/// Gives a value an end, or another one. Whether it was there.
pub(crate) fn expire(connection: &Connection, id: &Digest256, end: u64) -> Result<bool, StoreError> {
    let changed = connection
        .prepare_cached("UPDATE reference_values SET expires = ? WHERE id = ?")?
        .execute(params![end.cast_signed(), id.0])?;
    policies::changed(connection)?;
    Ok(changed == 1)
}

/// Every value, also those that expired or were revoked.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Entry>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, value, single, added, expires, revoked, reason FROM reference_values ORDER BY name, added, id",
    )?;
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let value: String = row.get(2)?;
        let time = |column| -> Result<Option<u64>, StoreError> {
            Ok(row.get::<_, Option<i64>>(column)?.map(i64::cast_unsigned))
        };
        out.push(Entry {
            id: Digest256(row.get(0)?),
            name: row.get(1)?,
            value: serde_json::from_str(&value).map_err(|_| StoreError::Damaged { what: "reference value" })?,
            single: row.get(3)?,
            added: row.get::<_, i64>(4)?.cast_unsigned(),
            expires: time(5)?,
            revoked: time(6)?,
            reason: row.get(7)?,
        });
    }
    Ok(out)
}

/// Every value of a name.
pub(crate) fn of_name(connection: &Connection, name: &str) -> Result<Vec<Entry>, StoreError> {
    Ok(all(connection)?.into_iter().filter(|entry| entry.name == name).collect())
}

/// The values in force, as policies see them: a list for each name, or the one value that was given as single.
///
/// A name all of whose values have expired or were revoked stays, with an empty list: a policy that compares only where
/// there is a value would otherwise take an end for "anything will do".
pub(crate) fn live(connection: &Connection, now: UnixTime) -> Result<References, StoreError> {
    let mut live = References::new();
    for entry in all(connection)? {
        let in_force = entry.revoked.is_none() && entry.expires.is_none_or(|end| now.0 < end);
        if in_force && entry.single {
            live.insert(entry.name, entry.value);
            continue;
        }
        let values = live.entry(entry.name).or_insert_with(|| Value::Array(Vec::new()));
        if let (true, Value::Array(list)) = (in_force, values) {
            list.push(entry.value);
        }
    }
    Ok(live)
}

/// When a value in force expires next.
pub(crate) fn next_end(connection: &Connection, now: UnixTime) -> Result<Option<u64>, StoreError> {
    let end: Option<i64> = connection
        .prepare_cached("SELECT min(expires) FROM reference_values WHERE expires > ?")?
        .query_row([now.0.cast_signed()], |row| row.get(0))?;
    Ok(end.map(i64::cast_unsigned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_value_leaves_its_name_with_nothing_in_it() {
        let connection = Connection::open_in_memory().unwrap();
        crate::store::schema::create(&connection).unwrap();
        crate::store::schema_policy::ensure(&connection).unwrap();
        let entry = |name: &str, value: &str, expires| {
            let (name, value) = (name.to_owned(), Value::from(value));
            let id = id_of(&name, &value).unwrap();
            Entry { id, name, value, single: false, added: 1, expires, revoked: None, reason: None }
        };
        let (short, revoked) = (entry("snp_host_data", "aa", Some(10)), entry("rtmr_1", "bb", None));
        add(&connection, &short).unwrap();
        add(&connection, &revoked).unwrap();
        let at = |time| serde_json::to_value(live(&connection, UnixTime(time)).unwrap()).unwrap();
        assert_eq!(at(9), serde_json::json!({"snp_host_data": ["aa"], "rtmr_1": ["bb"]}));
        assert!(revoke(&connection, &revoked.id, "a bad kernel", UnixTime(5)).unwrap());
        assert_eq!(at(10), serde_json::json!({"snp_host_data": [], "rtmr_1": []}));
        assert!(remove(&connection, &short.id).unwrap());
        assert_eq!(at(10), serde_json::json!({"rtmr_1": []}), "only taking it away lifts the restriction");
    }
}
