//! The binary: parses arguments, runs, exits.
fn main() {}
