//! What several benches share: the loads that they send, seeded generators of OTLP trace requests, and a back end.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "benches only"
)]

pub mod back_end;
pub mod load;
