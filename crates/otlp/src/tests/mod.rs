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

use super::wire::put_bytes;
use super::{Payload, Signal};

/// Parses a request that must be valid.
fn parse(signal: Signal, bytes: &[u8]) -> Payload {
    Payload::parse(signal, Bytes::copy_from_slice(bytes)).expect("a good request")
}

/// `bytes` as the field of a message that is the field of another one, and so on, by numbers from the inside out.
pub(crate) fn within(numbers: &[u32], bytes: Vec<u8>) -> Vec<u8> {
    numbers.iter().fold(bytes, |inner, number| {
        let mut outer = Vec::new();
        put_bytes(&mut outer, *number, &inner);
        outer
    })
}
