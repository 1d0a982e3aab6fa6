//! The `confide` command.
fn main() {}
