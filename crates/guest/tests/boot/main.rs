//! Boots for real, under plain emulation, as far as a guest gets without a broker.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests stop at the first error")]

mod refusals;
mod vm;
mod volumes;
