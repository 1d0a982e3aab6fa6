//! The broker's time: read from the system once, then counted by the monotonic clock, so that a clock that is set
//! while the broker runs neither revives nor kills a session.

use claims::UnixTime;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(crate) struct Clock {
    base: UnixTime,
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let base = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { base: UnixTime(base), started: Instant::now() }
    }

    pub(crate) fn now(&self) -> UnixTime {
        after(self.base, self.started.elapsed().as_secs())
    }
}

/// `seconds` after `time`.
pub(crate) fn after(time: UnixTime, seconds: u64) -> UnixTime {
    UnixTime(time.0.saturating_add(seconds))
}
