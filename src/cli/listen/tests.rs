//! Tests of `--listen`.

use super::{DEFAULT_ENDPOINTS, parse_listen_address};
use crate::app::defaults::DEFAULT_CONFIG;

/// Each of the three default ports is replaced once, so that rewording the default does not disable `--listen`.
#[test]
fn every_usual_port_is_replaced() {
    for usual in DEFAULT_ENDPOINTS {
        assert_eq!(DEFAULT_CONFIG.matches(usual).count(), 1, "{usual}");
    }
    let text = parse_listen_address("0.0.0.0:5000").unwrap().apply_to(DEFAULT_CONFIG);
    for wanted in ["\"0.0.0.0:5000\"", "\"0.0.0.0:5001\"", "\"127.0.0.1:5002\""] {
        assert!(text.contains(wanted), "{wanted}");
    }
    assert!(DEFAULT_ENDPOINTS.iter().all(|usual| !text.contains(usual)));
    assert!(parse_listen_address("[::1]:5000").is_ok() && parse_listen_address("localhost:0").is_ok());
}

/// For an invalid address, or one without room for three ports, the error says what to give.
#[test]
fn what_is_no_address_is_said() {
    for (text, wanted) in [("4317", "127.0.0.1:14317"), ("127.0.0.1:99999", "127.0.0.1:14317"), ("[::]:65534", "65533")]
    {
        let error = parse_listen_address(text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}
