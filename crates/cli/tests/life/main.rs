//! A bundle's life seen from outside: it is made or nothing is left, its workload reaches what it may and is reached
//! where it may, remote data appears in it, and all of it ends when it is asked to.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test says what went wrong by failing")]

mod building;
#[path = "../common/house.rs"]
mod house;
mod nfs;
mod place;
mod running;
mod script;
