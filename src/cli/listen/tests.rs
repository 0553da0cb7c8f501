//! Tests of `--listen`.

use super::{USUAL, listen};
use crate::app::defaults::TEXT;

/// Each of the three default ports is replaced once, so that rewording the default does not disable `--listen`.
#[test]
fn every_usual_port_is_replaced() {
    for usual in USUAL {
        assert_eq!(TEXT.matches(usual).count(), 1, "{usual}");
    }
    let text = listen("0.0.0.0:5000").unwrap().put(TEXT);
    for wanted in ["\"0.0.0.0:5000\"", "\"0.0.0.0:5001\"", "\"127.0.0.1:5002\""] {
        assert!(text.contains(wanted), "{wanted}");
    }
    assert!(USUAL.iter().all(|usual| !text.contains(usual)));
    assert!(listen("[::1]:5000").is_ok() && listen("localhost:0").is_ok());
}

/// For an invalid address, or one without room for three ports, the error says what to give.
#[test]
fn what_is_no_address_is_said() {
    for (text, wanted) in [("4317", "127.0.0.1:14317"), ("127.0.0.1:99999", "127.0.0.1:14317"), ("[::]:65534", "65533")]
    {
        let error = listen(text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}
