//! The `confide-dev` command: `confide` with the emulated TEE.
fn main() {}
