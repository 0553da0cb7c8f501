//! The integration tests: one binary. Peers that need installing live in named targets (`.ci/run`), not here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "tests spawn and read time as they like")]

#[allow(dead_code, unreachable_pub, reason = "shared with the library's own tests")]
#[path = "../../src/testing/tls.rs"]
mod authority;
mod cli;
mod config;
mod demo;
mod echoes;
mod explain;
#[allow(dead_code, unreachable_pub, reason = "shared with the library's own tests")]
#[path = "../../src/testing/fake_kms.rs"]
mod fake_kms;
mod forward;
mod fuzz;
mod gateway;
mod kms;
mod leak;
mod memory;
mod operations;
mod otlp;
mod page;
mod panels;
mod rates;
mod recogniser;
mod redaction;
mod reload;
mod requirements;
mod runs;
mod spool;
mod strangers;
mod tap;
mod tidy;
mod totals;
