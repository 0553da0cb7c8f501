//! Fixtures for the tests of this crate and of its dependents.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test support"
)]

pub mod drive;
pub mod engine;
pub mod errands;
pub mod fake_engine;
pub mod rig;
pub mod sim_disk;
