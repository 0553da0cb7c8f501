//! The basic services under every crate: time, randomness, secrets and their sources, pseudonyms, bounded maps, durable
//! files, hex, calendar days, session folders, compression, the notations of JSON and Python, stack frames,
//! terminal-safe text, enums with words, structs with defaults.
//! Imports no other crate of this workspace. Only this crate reads the time and asks the system for randomness.
//! `config` reads configuration, `telemetry` counts and logs.

/// The placeholder for content that was moved to the vault, in telemetry and in everything derived from it.
pub const CONTENT: &str = "[CONTENT]";

pub mod bounded_map;
pub mod calendar;
pub mod clock;
pub mod compression;
pub mod files;
pub mod folders;
pub mod hex;
pub mod key_source;
pub mod notation;
pub mod pseudonym;
pub mod rng;
pub mod secret;
pub mod sha256;
pub mod stack_frames;
pub mod terminal;
pub mod with_defaults;
pub mod word_enum;
