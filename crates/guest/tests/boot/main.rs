//! Boots for real, under plain emulation, as far as a guest gets without a broker.

mod refusals;
mod vm;
mod volumes;
