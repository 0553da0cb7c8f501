//! Fixtures for the tests of this crate and of its users.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test support"
)]

pub mod gateway;
pub mod journal;
pub mod schema;
pub mod vandal;
