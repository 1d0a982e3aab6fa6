//! Runs every manifest below a folder.
fn main() {}
