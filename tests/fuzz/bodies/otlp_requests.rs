//! Any request can be split at any limit without losing an item, and the counts of the parts add up. First byte:
//! signal; next two bytes: limit.

use bytes::Bytes;

use otlp::{MergedRequest, Payload, Signal, count_items, split};

pub fn body(data: &[u8]) {
    let Some(([pick, low, high], bytes)) = data.split_first_chunk() else { return };
    let signal = Signal::ALL[usize::from(pick % 3)];
    let bytes = Bytes::copy_from_slice(bytes);
    let limit = usize::from(u16::from_le_bytes([*low, *high]));
    let _ = count_items(signal, &bytes);
    let parts = split(signal, &bytes, limit);
    let Ok(payload) = Payload::parse(signal, bytes) else { return };
    let parts = parts.expect("what parses splits");
    let count = |part: &Bytes| Payload::parse(signal, part.clone()).expect("parses").item_count();
    assert_eq!(parts.iter().map(count).sum::<usize>(), payload.item_count());
    assert_eq!(count(&MergedRequest::new(parts).joined()), payload.item_count());
}
