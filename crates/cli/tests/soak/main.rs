//! A broker as people run it, a process of its own, under load, attack and bad luck. Short here; `make soak` runs it long:
//! `SOAK_SESSIONS`, `SOAK_KILLS`, `SOAK_IDLE` say how much, `SOAK_SEED` repeats a run. Every figure is printed on a line
//! that starts with `soak:`; a test fails when something is lost, wrong or without bound, never because it is slow.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test says what went wrong by failing")]

#[path = "../../../broker/tests/support/mod.rs"]
mod support;

mod abuse;
mod clock;
mod disk;
mod idle;
mod kills;
mod memory;
mod process;
mod wire;

use std::time::Duration;

/// A number that the environment may raise.
fn amount(name: &str, short: u64) -> u64 {
    std::env::var(name).ok().map_or(short, |text| text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`")))
}

fn figure(what: &str, value: impl std::fmt::Display) {
    println!("soak: {what:<58} {value}");
}

/// Random numbers that a seed repeats (SplitMix64).
struct Dice(u64);

impl Dice {
    /// From `SOAK_SEED`, else from the time; says which.
    fn new(test: &str) -> Self {
        let seed = amount("SOAK_SEED", u64::from(std::process::id()) << 20 | support::now().0 & 0xf_ffff);
        figure(&format!("{test}: SOAK_SEED"), seed);
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// The delay below which this share of all lies.
fn at(sorted: &[Duration], share: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a list that fits memory"
    )]
    let index = ((sorted.len() - 1) as f64 * share) as usize;
    sorted[index]
}
