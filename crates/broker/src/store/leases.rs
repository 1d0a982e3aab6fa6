//! Who holds which resource: one row per resource and guest (report id), to the end of a second: never shorter than
//! promised.

use super::StoreError;
use super::db::{Connection, params};
use claims::UnixTime;

/// Report ids of other guests that hold `resource` now.
pub(crate) fn others(
    connection: &Connection,
    resource: &str,
    report_id: &str,
    now: UnixTime,
) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT report_id FROM leases WHERE resource = ? AND report_id <> ? AND until >= ? ORDER BY report_id LIMIT 16",
    )?;
    let rows = statement.query_map(params![resource, report_id, now.0.cast_signed()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Gives or renews a lease.
pub(crate) fn hold(
    connection: &Connection,
    resource: &str,
    report_id: &str,
    until: UnixTime,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO leases (resource, report_id, until) VALUES (?1, ?2, ?3)
             ON CONFLICT (resource, report_id) DO UPDATE
             SET until = CASE WHEN leases.until < ?3 THEN ?3 ELSE leases.until END",
        )?
        .execute(params![resource, report_id, until.0.cast_signed()])?;
    Ok(())
}

/// Renews every lease that this guest still has; one that ended must be asked for again.
pub(crate) fn renew(
    connection: &Connection,
    report_id: &str,
    now: UnixTime,
    until: UnixTime,
) -> Result<usize, StoreError> {
    Ok(connection
        .prepare_cached("UPDATE leases SET until = CASE WHEN until < ?1 THEN ?1 ELSE until END WHERE report_id = ?2 AND until >= ?3")?
        .execute(params![until.0.cast_signed(), report_id, now.0.cast_signed()])?)
}
