//! Tests of the data plane with prost as the oracle.

pub(crate) mod completeness;
mod edits;
mod fuzz;
mod hostile;
mod oracle;
mod reading;
mod requests;
mod status;
pub(crate) mod strategies;

use bytes::Bytes;

use super::{Payload, Signal};

/// Parses a request that must be valid.
fn parse(signal: Signal, bytes: &[u8]) -> Payload {
    Payload::parse(signal, Bytes::copy_from_slice(bytes)).expect("a good request")
}
