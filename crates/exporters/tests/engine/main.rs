//! The whole engine in simulated time: clients, clock, disk, back ends and the process fail as a seed decides.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod back_end;
mod outage;
mod simulation;
mod world;
