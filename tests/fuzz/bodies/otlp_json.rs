//! Any text as OTLP/JSON is refused, or gives a request that parses and whose JSON converts to the same JSON again
//! (the order of fields may differ from the text). The first byte selects the signal.

use otlp::{Payload, Signal, json};

pub fn body(data: &[u8]) {
    let Some((pick, text)) = data.split_first() else { return };
    let signal = Signal::ALL[usize::from(pick % 3)];
    let Ok(wire) = json::decode(signal, text) else { return };
    assert!(Payload::parse(signal, wire.clone().into()).is_ok());
    let (mut once, mut twice) = (String::new(), String::new());
    json::encode(signal, &wire, &mut once).expect("encodes");
    let wire = json::decode(signal, once.as_bytes()).expect("decodes");
    json::encode(signal, &wire, &mut twice).expect("encodes");
    assert!(once == twice);
}
