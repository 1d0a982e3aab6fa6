//! Attesting again while the workload runs, so that revocation and raised patch levels take effect.
//!
//! *Takes* the broker's answers and a clock that only counts forward; the wall clock decides nothing.
//! *Guarantees* that the workload is stopped after a refusal that was confirmed by asking a second time, and after the
//! grace period without an answer.
//! *Does not check* the running workload: a compromise at run time is not seen.
//!
//! Only the pinned broker's own no is a refusal. No route, another server in its place, a malformed answer, a busy
//! broker or a silent processor are all *no answer*, so that somebody in between gains nothing but the grace period.

use crate::broker_client::{ClientError, Keeper};
use claims::Code;
use claims::site::Attestation;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Wait after the first check without an answer; doubled up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(30);

/// What happened in one check.
#[derive(Debug)]
pub enum Check {
    /// The broker accepted the evidence again.
    Accepted,
    /// No answer; since how long, and why.
    Unanswered {
        /// Since the first check without an answer.
        silent: Duration,
        /// Why.
        why: ClientError,
    },
    /// The broker said no; it is asked once more.
    Doubted(ClientError),
}

/// Why the workload must stop.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The broker refused, twice.
    #[error("the broker no longer accepts this machine")]
    Refused(#[source] ClientError),
    /// No answer for longer than the grace period.
    #[error("the broker did not answer for {} s", silent.as_secs())]
    Silent {
        /// Since the first check without an answer.
        silent: Duration,
        /// The last failure.
        #[source]
        last: ClientError,
    },
}

impl Stop {
    /// The stable code of the refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(error) => error.code(),
            Self::Silent { .. } => Code::Broker,
        }
    }
}

/// Checks in a thread of its own; `tell` hears of every check, `stop` is called at most once.
pub fn start(
    keeper: Arc<Keeper>,
    schedule: &Attestation,
    mut tell: impl FnMut(&Check) + Send + 'static,
    stop: impl FnOnce(Stop) + Send + 'static,
) -> io::Result<()> {
    let every = Duration::from_secs(schedule.check_frequency.max(1));
    let grace = Duration::from_secs(schedule.grace);
    thread::Builder::new().name("reattest".into()).spawn(move || {
        let start = Instant::now();
        let mut clock = Clock { now: &mut || start.elapsed(), sleep: &mut thread::sleep };
        stop(watch(every, grace, &mut clock, &mut || keeper.attest().map(drop), &mut tell));
    })?;
    Ok(())
}

/// Time that counts forward only.
struct Clock<'a> {
    now: &'a mut dyn FnMut() -> Duration,
    sleep: &'a mut dyn FnMut(Duration),
}

fn watch(
    every: Duration,
    grace: Duration,
    clock: &mut Clock<'_>,
    attest: &mut dyn FnMut() -> Result<(), ClientError>,
    tell: &mut dyn FnMut(&Check),
) -> Stop {
    // Since when there is no answer, and the last wait between two tries.
    let mut silence: Option<(Duration, Duration)> = None;
    let mut doubted = false;
    let mut wait = every;
    loop {
        (clock.sleep)(wait);
        let asked = (clock.now)();
        match attest() {
            Ok(()) => {
                (silence, doubted, wait) = (None, false, every);
                tell(&Check::Accepted);
            }
            Err(error) if error.is_refusal() && doubted => return Stop::Refused(error),
            Err(error) if error.is_refusal() => {
                (doubted, wait) = (true, Duration::ZERO);
                tell(&Check::Doubted(error));
            }
            Err(why) => {
                let (since, pause) = match silence {
                    Some((since, pause)) => (since, pause.saturating_mul(2).min(LONGEST)),
                    None => (asked, FIRST),
                };
                let silent = (clock.now)().saturating_sub(since);
                if silent >= grace {
                    return Stop::Silent { silent, last: why };
                }
                silence = Some((since, pause));
                // Asked a last time when the grace period ends.
                wait = pause.min(grace.saturating_sub(silent));
                tell(&Check::Unanswered { silent, why });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const EVERY: Duration = Duration::from_secs(120);
    const GRACE: Duration = Duration::from_secs(300);

    fn refused() -> ClientError {
        ClientError::Refused { status: 403, code: Some(Code::SnpTcbFloor), detail: "E-SNP-TCB-FLOOR".into() }
    }

    fn unreachable() -> ClientError {
        ClientError::Unreachable { source: "no route".into() }
    }

    /// Runs the loop against a broker that answers by time; says when and why it stopped, and how often it asked.
    fn run(broker: impl Fn(u64) -> Result<(), ClientError>) -> (u64, Stop, usize) {
        let time = Cell::new(Duration::ZERO);
        let mut asked = 0;
        let mut clock = Clock { now: &mut || time.get(), sleep: &mut |wait| time.set(time.get().saturating_add(wait)) };
        let mut ask = || {
            asked += 1;
            assert!(asked < 10_000, "the loop does not end");
            broker(time.get().as_secs())
        };
        let stop = watch(EVERY, GRACE, &mut clock, &mut ask, &mut |_| ());
        (time.get().as_secs(), stop, asked)
    }

    #[test]
    fn a_refusal_is_confirmed_and_then_ends_it() {
        let (at, stop, asked) = run(|now| if now < 600 { Ok(()) } else { Err(refused()) });
        assert_eq!((at, asked), (600, 6));
        assert!(matches!(stop, Stop::Refused(_)));
        assert_eq!(stop.code(), Code::SnpTcbFloor);
    }

    #[test]
    fn one_odd_refusal_does_not_end_it() {
        let once = Cell::new(true);
        let (at, stop, _) = run(|now| match now {
            0..=1000 if now == 240 && once.replace(false) => Err(refused()),
            0..=1000 => Ok(()),
            _ => Err(refused()),
        });
        assert_eq!(at, 1080);
        assert!(matches!(stop, Stop::Refused(_)));
    }

    #[test]
    fn silence_ends_it_exactly_after_the_grace_period() {
        let (at, stop, asked) = run(|now| if now < 240 { Ok(()) } else { Err(unreachable()) });
        assert_eq!(at, 240 + 300);
        assert!(matches!(stop, Stop::Silent { silent: GRACE, .. }), "{stop:?}");
        assert_eq!(stop.code(), Code::Broker);
        assert!(asked < 20, "asked {asked} times");
    }

    #[test]
    fn a_broker_that_comes_back_within_the_grace_period_is_enough() {
        let (at, _, _) = run(|now| match now {
            240..=500 | 2000.. => Err(unreachable()),
            _ => Ok(()),
        });
        assert!(at > 2300, "stopped at {at}");
    }

    #[test]
    fn everything_but_the_pinned_brokers_no_is_silence() {
        for error in [
            || ClientError::Malformed { what: "the challenge" },
            || ClientError::Refused { status: 503, code: Some(Code::Busy), detail: String::new() },
            || ClientError::Refused { status: 429, code: None, detail: String::new() },
            || ClientError::Identity { source: rustls::Error::General("another".into()) },
            || ClientError::Evidence(crate::evidence::EvidenceError::Timeout { seconds: 20 }),
        ] {
            let (at, stop, _) = run(move |_| Err(error()));
            assert_eq!(at, 120 + 300);
            assert!(matches!(stop, Stop::Silent { .. }));
        }
    }
}
