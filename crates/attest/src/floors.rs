//! Least patch levels that the vendors' bulletins ask for, as dated data.
//!
//! *Takes* the table that ships with this program (`data/floors.json`), or another of the same form, and the time.
//! *Guarantees* that a table is well-formed, and says how old it is. *Does not check* that the table is complete: it
//! knows what was public on its date, and a processor without a row is refused by those who ask for a floor.

use crate::snp::{ModelFloor, TcbFloor};
use claims::UnixTime;
use claims::snp::{Product, TcbVersion};
use serde::Deserialize;

/// After so many days a table should be looked at again: bulletins come about four times a year.
pub const STALE_AFTER_DAYS: u64 = 90;
/// Longest table that is read.
pub const MAX_LENGTH: usize = 1 << 20;

/// A table of floors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floors {
    /// When its rows were collected: `YYYY-MM-DD`.
    pub as_of: String,
    /// AMD SEV-SNP, by processor model.
    pub snp: Vec<SnpFloor>,
    /// Intel's TCB recovery events, oldest first.
    pub intel: Vec<IntelFloor>,
    collected: UnixTime,
}

/// Least levels of one processor model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpFloor {
    /// Product.
    pub product: Product,
    /// CPUID family, model, stepping.
    pub cpuid: (u8, u8, u8),
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
    /// The bulletin that asks for it.
    pub bulletin: String,
    /// Where the row comes from.
    pub source: String,
}

/// A TCB recovery event: collateral that was made for it, or a later one, knows its advisories.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntelFloor {
    /// `tcbEvaluationDataNumber` of its TCB info and identities.
    pub tcb_evaluation_data_number: u32,
    /// Day of the event.
    pub date: String,
    /// Where the row comes from.
    pub source: String,
}

/// A table that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FloorsError {
    /// Too long.
    #[error("the table of floors has {got} bytes, at most {MAX_LENGTH} are read")]
    Length {
        /// Bytes found.
        got: usize,
    },
    /// Not the JSON wanted.
    #[error("the table of floors is malformed")]
    Json(#[from] serde_json::Error),
    /// Not a day.
    #[error("`{got}` is not a day like 2026-11-22")]
    Date {
        /// Text found.
        got: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    as_of: String,
    snp: Vec<SnpFloor>,
    intel: Vec<IntelFloor>,
}

impl Floors {
    /// The table that ships with this program.
    pub fn shipped() -> Result<Self, FloorsError> {
        Self::parse(include_bytes!("../data/floors.json"))
    }

    /// A table of the same form.
    pub fn parse(bytes: &[u8]) -> Result<Self, FloorsError> {
        if bytes.len() > MAX_LENGTH {
            return Err(FloorsError::Length { got: bytes.len() });
        }
        let Table { as_of, snp, intel } = serde_json::from_slice(bytes)?;
        let collected = day(&as_of).ok_or_else(|| FloorsError::Date { got: as_of.clone() })?;
        if let Some(row) = intel.iter().find(|row| day(&row.date).is_none()) {
            return Err(FloorsError::Date { got: row.date.clone() });
        }
        Ok(Self { as_of, snp, intel, collected })
    }

    /// How many days old the table is, when that is more than [`STALE_AFTER_DAYS`].
    pub fn stale(&self, UnixTime(now): UnixTime) -> Option<u64> {
        let days = now.saturating_sub(self.collected.0) / 86_400;
        (days > STALE_AFTER_DAYS).then_some(days)
    }

    /// The floors of AMD processors, as an expectation.
    pub fn snp_floor(&self) -> TcbFloor {
        let row = |row: &SnpFloor| ModelFloor {
            product: row.product,
            cpuid: Some(row.cpuid),
            floor: TcbVersion { fmc: None, bootloader: 0, tee: 0, snp: row.snp, microcode: row.microcode },
        };
        TcbFloor::ByModel(self.snp.iter().map(row).collect())
    }

    /// The number of Intel's newest TCB recovery event that is older than `grace_days` at `now`.
    pub fn intel_floor(&self, UnixTime(now): UnixTime, grace_days: u64) -> Option<u32> {
        let due = now.saturating_sub(grace_days.saturating_mul(86_400));
        let due = |row: &&IntelFloor| day(&row.date).is_some_and(|UnixTime(date)| date <= due);
        self.intel.iter().filter(due).map(|row| row.tcb_evaluation_data_number).max()
    }
}

/// Midnight (UTC) of a day, by `x509-cert`'s calendar.
fn day(text: &str) -> Option<UnixTime> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none() && [year, month, day].map(str::len) == [4, 2, 2];
    let (year, month, day) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    let time = x509_cert::der::DateTime::new(year, month, day, 0, 0, 0).ok().filter(|_| whole)?;
    Some(UnixTime(time.unix_duration().as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_says_how_old_it_is() {
        let floors = Floors::shipped().unwrap();
        let UnixTime(collected) = floors.collected;
        assert_eq!(collected, 1_749_168_000, "{}", floors.as_of);
        assert_eq!(floors.stale(UnixTime(collected + 90 * 86_400)), None);
        assert_eq!(floors.stale(UnixTime(collected + 91 * 86_400)), Some(91));
        assert_eq!(floors.stale(UnixTime(0)), None);
    }

    #[test]
    fn an_event_counts_when_its_grace_is_over() {
        let floors = Floors::shipped().unwrap();
        let event = UnixTime(1_747_094_400); // 2025-05-13
        assert_eq!(floors.intel_floor(event, 0), Some(19));
        assert_eq!(floors.intel_floor(event, 30), Some(18));
        assert_eq!(floors.intel_floor(UnixTime(0), 0), None);
    }

    #[test]
    fn a_table_is_refused_for_what_is_wrong_with_it() {
        let date = |bytes: &[u8]| match Floors::parse(bytes) {
            Err(FloorsError::Date { got }) => got,
            other => panic!("{other:?}"),
        };
        assert_eq!(date(br#"{"as_of":"2025-13-01","snp":[],"intel":[]}"#), "2025-13-01");
        assert_eq!(date(br#"{"as_of":"2025-1-1","snp":[],"intel":[]}"#), "2025-1-1");
        let extra = br#"{"as_of":"2025-01-01","snp":[],"intel":[],"x":1}"#;
        assert!(matches!(Floors::parse(extra), Err(FloorsError::Json(_))));
        let long = vec![b' '; MAX_LENGTH + 1];
        assert!(matches!(Floors::parse(&long), Err(FloorsError::Length { got }) if got == long.len()));
    }
}
