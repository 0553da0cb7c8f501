//! The integration tests, in one binary. Tests against peers that must be installed are separate targets (`.ci/run`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "tests spawn and read time as they like")]
// The futures of whole gateways are nested deeper than the default allows.
#![recursion_limit = "256"]

mod budgets;
mod cli;
mod client;
mod config;
mod counted_by;
mod demo;
mod echoes;
mod explain;
mod forward;
mod fuzz;
mod gateway;
mod hooks;
mod identities;
mod keys;
mod kms;
mod leak;
mod manual;
mod memory;
mod migrate;
mod operations;
mod otlp;
mod page;
mod quickstart;
mod rates;
mod recogniser;
mod redaction;
mod reference;
mod reload;
mod requirements;
mod runs;
mod sampling;
mod setup;
mod sources;
mod spool;
mod strangers;
mod tap;
mod tidy;
mod totals;
mod usefulness;
