//! The seams under everything: time, randomness, secrets, pseudonyms, durable files, hex, calendar days, folders of
//! sessions, text made safe for a terminal. Invariants: imports nothing of ours; the only place that reads time and
//! asks the system for randomness. Neighbours: every crate uses it; `config` reads what users write, `telemetry` counts
//! and logs.

/// What stands in place of content that went to the vault, in telemetry and in everything made from it.
pub const CONTENT: &str = "[CONTENT]";

pub mod calendar;
pub mod clock;
pub mod files;
pub mod folders;
pub mod hex;
pub mod pseudonym;
pub mod rng;
pub mod secret;
pub mod terminal;
