//! The loads that the benches send: seeded generators of OTLP trace requests.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "benches only")]

pub mod load;
