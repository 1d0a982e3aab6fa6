//! Candidates that take turns: the least time of each counts, as others use this machine too.

use std::time::{Duration, Instant};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(120);

/// A name, and what is timed under it.
pub(crate) type Candidate<'a> = (&'a str, Box<dyn FnMut() + 'a>);

/// Seconds per call of each candidate; prints a line for each.
pub(crate) fn race<const N: usize>(candidates: &mut [Candidate<'_>; N]) -> [f64; N] {
    let mut best = [f64::INFINITY; N];
    for _ in 0..ROUNDS {
        for ((_, candidate), best) in candidates.iter_mut().zip(&mut best) {
            *best = best.min(time(candidate));
        }
    }
    for ((name, _), seconds) in candidates.iter().zip(best) {
        println!("  {name:24} {:8.0} us {:8.0} per second and core", seconds * 1e6, 1.0 / seconds);
    }
    best
}

/// Seconds per call over one round.
fn time(candidate: &mut dyn FnMut()) -> f64 {
    candidate();
    let start = Instant::now();
    let mut calls = 0_u32;
    while start.elapsed() < ROUND {
        candidate();
        calls += 1;
    }
    start.elapsed().as_secs_f64() / f64::from(calls)
}
