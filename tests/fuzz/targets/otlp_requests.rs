#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub)]

#[path = "../bodies/otlp_requests.rs"]
mod body;
#[path = "../../../src/otlp/mod.rs"]
mod otlp;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::body(data));
