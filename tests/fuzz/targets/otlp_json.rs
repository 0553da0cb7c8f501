//! Any text as OTLP/JSON: refused, or a request that parses, and that comes back from its own JSON as it was. The first
//! byte picks the signal.
#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub)]

#[path = "../../../src/otlp/mod.rs"]
mod otlp;

use otlp::{Payload, Signal, json};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((pick, text)) = data.split_first() else { return };
    let signal = Signal::ALL[usize::from(pick % 3)];
    let Ok(wire) = json::decode(signal, text) else { return };
    assert!(Payload::parse(signal, wire.clone().into()).is_ok());
    let mut again = String::new();
    json::encode(signal, &wire, &mut again).expect("encodes");
    assert!(json::decode(signal, again.as_bytes()).expect("decodes") == wire);
});
