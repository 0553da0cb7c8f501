//! A fleet in simulated time: workers with the real engine behind the receiver `kafka`, over a broker in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod judge;
mod recordings;
mod simulation;
mod store;
mod worker;
mod world;
